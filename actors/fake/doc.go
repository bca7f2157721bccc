// Package fake is a driver without a host: containers and processes are values,
// and what goes wrong is up to the test.
//
// A process is a few words of a shell that the package understands: true,
// false, exit N, echo WORD..., sleep SECONDS, cat, joined by ";" and optionally
// wrapped in sh -c. Anything else can not be started, as a command that is not
// in the root file system. A process that reads or sleeps lives until its input
// ends, its time is over, or a signal comes.
//
// Faults are hooks: Before runs when a call begins, and its error is the
// call's; After runs when the call has had its effect and before it returns. A
// hook that blocks is a call that hangs.
package fake
