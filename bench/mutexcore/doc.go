// Package mutexcore runs processes by locks, as today's shims do, over the same
// driver and with the same messages as package actors. It is the baseline that
// says what actors cost and what they save, and is for benchmarks only.
//
// # What is the same
//
// Create, exec, start, kill, state, wait, delete, pids, pause, resume, shutdown
// and the subscription to events, with the kinds of errors and the orders of
// events that package actors has: an exit is told after its start, however
// early it comes; the execs of an init that is gone are killed and told before
// it; an exit goes to its own incarnation.
//
// # What is not there
//
// Limits, deadlines beside the caller's, containment of panics, adoption, and
// a pause that waits for execs which start: containerd's runc shim and gVisor's
// have none of them in their core.
//
// # Which locks are held over calls to the runtime
//
// Those that both shims hold, at containerd v2.4.2 (cmd/containerd-shim-runc-v2)
// and gVisor 160fafc42237 (pkg/shim/v1):
//
//	call              containerd                      gVisor             here
//	create            none (task/service.go)          all containers'    none
//	start, delete     process/init.go, exec.go: p.mu  proc/...: p.mu     p.mu
//	kill of an init   process/init.go: p.mu           proc/init.go: p.mu p.mu
//	kill of an exec   process/exec.go: e.mu, kill(2)  proc/exec.go: e.mu p.mu
//	pause, resume     process/init.go: p.mu           none, no state     p.mu
//
// State takes the process's lock in both, and in containerd also its init's; so
// here it takes its own only. One goroutine takes exits and sets each under its
// process's lock, in both (processExits in task/service.go and runsc/service.go),
// and so here: a call that hangs keeps the exits behind its own from being told.
//
// # Order of locks
//
// A lock may be taken while one to the left of it is held, never the other way:
//
//	initProcess.mu, execProcess.mu, container.mu
//	initProcess.mu, Core.mu
//
// container.mu and Core.mu are held for a few instructions and over the sending
// of an event, which waits for no lock but the publisher's own.
package mutexcore
