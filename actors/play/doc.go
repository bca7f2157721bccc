// Package play is the message protocol as text: a small script language that
// drives a runtime by messages and prints what comes back. The same file runs
// against the fake driver in tests and against real runsc (troupe play FILE).
//
// # Format
//
// The format is that of github.com/cockroachdb/datadriven: a directive line,
// optional lines of input, "----", the expected output, a blank line. A line
// that starts with # between two directives is a comment. A directive line that
// ends in \ goes on in the next line. Output that has blank lines stands
// between two pairs of "----" lines.
//
//	exec demo/greet env=(NAME=world)
//	sh -c 'echo hello $NAME; exit 3'
//	----
//	added demo/greet
//
//	start demo/greet
//	----
//	started demo/greet
//
//	wait demo/greet
//	----
//	exited demo/greet status=3
//
// A process is named C (the init of container C) or C/E (exec E in it). A
// command to run is the directive's input: words separated by blanks, quoted as
// in a shell; nothing is expanded. Several values are (a, b).
//
// # Directives
//
//	create C [sandbox=S] [rootfs=DIR] [terminal] [cwd=DIR] [user=UID:GID] [env=(K=V, ...)]
//	                         makes a container that runs the input
//	exec C/E [terminal] [cwd=DIR] [user=UID:GID] [env=(K=V, ...)]
//	                         registers a process that runs the input
//	start P                  starts it
//	wait P [timeout=5s]      until it has exited
//	kill P SIGNAL [all]      sends a signal: TERM, SIGTERM or 15
//	resize P COLSxROWS       sets the size of its terminal
//	write P                  writes the lines of the input to its stdin
//	closeio P                ends its stdin
//	state P                  prints its status
//	pids C                   prints its processes: init, or the exec's id
//	stats C                  prints which of memory and pids are not zero
//	pause C, resume C        freezes and thaws
//	update C memory=BYTES    sets its limit
//	delete P                 releases it
//	output P [stderr]        prints what it has written so far; also after delete
//	events                   prints the events since the last events
//	parallel                 sends its input's directives, one a line, all at
//	                         once; a command to run stands behind -- there
//	sleep 100ms              waits
//
// An error prints "error KIND: text" and the script goes on. Pids and times are
// never printed, so that a file stays the same from run to run.
//
// # Order
//
// Directives run one after the other; each is answered before the next is sent.
// The lines of a parallel are handed over in the order of the lines and then
// run side by side; their outputs stand in the order of the lines.
//
// events is complete for everything that the script was told: an event is
// published before the reply that it goes with, and events waits for all that
// was published. One that no reply has told of yet, such as the exit of a process
// that nobody waited for, may or may not be in it.
//
// output is complete for a process that was deleted: Delete drains its streams.
// For one whose exit the script was told it waits until the stream is quiet,
// for a bounded time, which in practice is complete too. Lines of a terminal
// end in a plain newline, and what can not be printed is escaped.
//
// What still lives at the end of a script is killed and deleted, and is in
// [Result.Leftovers].
package play
