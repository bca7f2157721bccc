package messages

// Notice is what a driver reports of its own accord. The set is closed.
//
// A driver reports in the order in which things happened to one container: its
// OOM before the exit that it explains.
type Notice interface{ notice() }

type (
	// ExitNotice reports that a process is gone. A driver sends exactly one for
	// every incarnation whose Create (an init) or Exec (an exec) succeeded, as
	// soon as the process is gone, which may be before that call has returned;
	// and none for one whose call failed.
	ExitNotice struct {
		Process Incarnation
		Exit    Exit
	}
	// OOMNotice reports that the kernel killed in the container's sandbox for
	// want of memory. Process is the container's init.
	OOMNotice struct{ Process Incarnation }
)

func (ExitNotice) notice() {}
func (OOMNotice) notice()  {}

// Launch is what a driver needs to start an exec.
type Launch struct {
	// Init is the container that it runs in.
	Init Incarnation
	// Process is the exec.
	Process Incarnation
	Spec    ExecSpec
	// Stdio has the terminal size that was last asked for.
	Stdio Stdio
	// StdinClosed: CloseIO came before Start, so stdin ends with what is in it.
	StdinClosed bool
	// Adopt is the process to take charge of, in place of starting one.
	Adopt *Survivor
}

// Survivor is a process that an earlier runtime has left, as the driver finds it
// written down. It is handed back to the driver in a Create or an Exec whose
// Adopt it is, and then in a Start if it was started.
type Survivor struct {
	Process Process
	// Sandbox, Bundle and RestoreFrom are those of the Create, for an init.
	Sandbox     SandboxID
	Bundle      string
	RestoreFrom string
	// Spec is what an exec runs, without its environment.
	Spec  ExecSpec
	Stdio Stdio
	// PIDs are as they were told.
	PIDs    PIDs
	Started bool
	// Ended: it is gone, and nobody saw how. After its Start an exit with
	// [ExitUnknown] is told for it.
	Ended bool
}
