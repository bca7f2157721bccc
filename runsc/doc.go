// Package runsc drives gVisor's runsc: it is the host's side of every process
// that the actors own.
//
// [Client] is the runsc command line, one method per command, for programs that
// want nothing but that. [Driver] is what the actors need of the host: it makes
// containers and execs, holds their streams, and tells of each exit.
//
// # Exits
//
// Every process that is started here is held by a pidfd (pidfd_open(2)), so that
// no signal and no exit ever reaches a later process with the same number.
//
// A sandbox's process (the sentry) exits with the code of the guest's init
// (gVisor, runsc/cmd/sentry/sentrycmd/boot.go). It is not our child, so its code
// is read from the zombie, and after that from the kernel's record of it
// (PIDFD_GET_INFO, Linux 6.15). A program that owns all of its orphans, as a
// containerd shim does, sets [Options.Subreaper], and then it is waited for.
// The pidfd is opened between create and start. `runsc wait`, which other shims
// start after `runsc start`, comes too late for an init that is gone at once.
//
// A container in a sandbox that has others (a pod) does not end with a process
// of the host; there the sandbox is asked, over its control socket or by `runsc wait`.
//
// # Records
//
// What is made is written down in [Options.StateDir], without the environments of
// processes: a folder for each container with a small file for it and for each of
// its execs, from before a process is told to be there until its Delete. A process
// that can not be written down is not kept. The folder is locked for as long as
// its program lives. When that is killed, a driver of a later one finds all of it
// by [Driver.Survivors] and takes charge of it, with these limits:
//
//   - The status of an exec that ends while nobody is there is lost, since the
//     sandbox tells it once, to the wait that died with the program. It is told
//     as unknown, with the reason. That of an init is known where its zombie is
//     still there, or its sandbox lives.
//   - Pipes and terminals had their other end in the program: a process sees the
//     end of its input and an error when it writes. FIFOs and files that a process
//     has itself go on.
//   - What is in the foreground of a terminal gets SIGHUP and SIGCONT: at once where
//     a process of the host leads the terminal's session, which a `runsc exec` does
//     and a sandbox for its first init; and when it is taken charge of, once, where
//     an exec was started over the control socket, if that is spoken to then. An
//     init that joined a sandbox gets no signal.
//   - A container that is paused is resumed, since the protocol has no way to tell
//     of it.
//   - An exec whose start was not answered yet is not known. It ends with its
//     container.
//
// # Execs
//
// An exec is started over the control socket of its sandbox where that answers as
// it should, which is found out once for each sandbox ([Options.ExecDriver],
// [Driver.Way]), and else by a `runsc exec` on the host, which lives as long as
// the process and tells its exit. Over the socket there is no process of the
// host: FIFOs and files are handed to the sandbox, and the sandbox is asked for
// the exit. What has been asked for and not answered is never asked for again.
//
// A reader of an output FIFO sees its end when the last process that has it is
// gone: over the control socket also a grandchild that outlives the process.
//
// # Children
//
// Only processes that were started here are waited for. Nothing here calls
// wait4(-1), so the children of the program that embeds this package are its
// own.
//
// # Blocking
//
// Every call ends with its context, and what it has begun by then is killed and
// taken back, with one exception: an exec that hangs inside the sandbox is left
// to a goroutine that kills its process as soon as its pid is told (see
// [Driver.Exec]). A context without a deadline gets [Options.CallTimeout].
package runsc
