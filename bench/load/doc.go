// Package load puts a runtime of containers under load and reports what it did:
// latencies, throughput, memory, errors, and whether every event came in order.
//
// # Usage
//
// A [Target] is what is loaded: the actors in this process (package inprocess)
// or a containerd with any runtime (package containerd). [Run] makes its
// sandboxes, keeps [Options.AtOnce] execs alive for a time or a count, clears
// everything away and returns a [Report], which is text, JSON and HTML.
//
// # What is measured
//
// Latencies are those that a client sees, from the call to its answer, in one
// [Histogram] for each operation. "start-to-exit" is from the call of start to
// the answer of a wait that was asked before it.
//
// Memory, file descriptors and threads are those of /proc, by role: the program
// that holds the runtime, sentries, gofers, stubs, guests (see [Role]).
//
// # What is checked
//
// Each exec is added, started and exits once, in this order; its status is what
// its command gives; what wait answers and what the event tells are equal; init
// is a container's last exit; the output is whole. What does not hold is a
// violation ([Checker]), and whoever runs the load should fail on one.
package load
