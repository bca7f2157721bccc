// Package lifecycle decides. It holds the state machines of a process, a
// container, a sandbox and the directory of sandboxes as pure functions: an
// input goes in, the new state and a list of effects come out. It does no I/O,
// has no clock and starts no goroutine; package actors runs the effects.
//
// Every machine is total: in every phase every input has a rule with a name,
// also where the rule is that nothing happens or that the asker gets an error.
// TABLES.md is generated from the rules, and so are the protocol in the comment
// of package messages and the diagrams in the README.
//
// # Values
//
// Step takes the machine by value and returns its successor, and the caller
// goes on with that one only: a container keeps its execs, and a sandbox its
// containers, in a map that the successor shares. A Step that panics has not
// changed the map, so the last state that it returned is still true.
//
// # Promises
//
// An asker that is handed to Step is answered by exactly one Reply: at once, or
// by a later Step. An asker that is abandoned is forgotten: the machine that keeps
// it does not answer it. An answer that was on its way in a Deleted still comes,
// and so does that of a call that outlived its container.
package lifecycle
