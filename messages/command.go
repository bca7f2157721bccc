package messages

import (
	"log/slog"
	"syscall"
)

// Command is a request that is answered by one R or by an error. Every command
// names its reply type, so that asking needs no cast:
//
//	started, err := actors.Ask(ctx, runtime, messages.Start{Process: p})
//
// The set is closed: only this package can add to it.
type Command[R Reply] interface {
	AnyCommand
	answeredBy(R)
}

// AnyCommand is a command whose reply type does not matter to the one who
// carries it.
type AnyCommand interface {
	// Target is the process that the command is for; the zero value for one
	// that is for the runtime itself.
	Target() Process
	// Verb is the command's name in errors, logs and scripts: "start".
	Verb() string
	// Validate reports an InvalidArgument error for a command that no state
	// could accept.
	Validate() error
}

type (
	// Create makes a container, and its sandbox if this is the first container
	// of it. The bundle's config.json says what runs. On an error nothing is
	// left behind and no event is published.
	Create struct {
		Container ContainerID
		// Sandbox is the pod that the container belongs to. Empty: a sandbox of
		// its own, with the container's id.
		Sandbox SandboxID
		// Bundle is the folder of config.json, absolute.
		Bundle string
		// Rootfs is mounted at the bundle's root file system first, in this
		// order, and unmounted by Delete. Empty: the spec's root is used as it is.
		Rootfs []Mount
		Stdio  Stdio
		// RestoreFrom is the folder of a checkpoint: Start restores from it.
		RestoreFrom string
		// UserLog is a file that the sandbox logs to what its owner should know,
		// such as system calls that are not supported. Empty: none. It counts
		// for the first container of a sandbox only.
		UserLog string
		// Adopt takes charge of a container that exists, in place of making one.
		Adopt *Survivor
	}

	// Exec registers a process of a container. Nothing runs before Start.
	Exec struct {
		Process Process
		Spec    ExecSpec
		Stdio   Stdio
		// Adopt takes charge of a process that exists: Start starts nothing.
		Adopt *Survivor
	}

	// Start starts the init of a created container, or a registered exec.
	Start struct{ Process Process }

	// Kill sends a signal.
	Kill struct {
		Process Process
		Signal  syscall.Signal
		// All sends it to every process of the container; init only.
		All bool
	}

	// Resize sets the size of a process's terminal. Without a terminal there is
	// nothing to do and no error.
	Resize struct {
		Process Process
		Size    WindowSize
	}

	// CloseIO closes a process's stdin, after what has been written to it.
	CloseIO struct{ Process Process }

	// Pause freezes every process of a container. In gVisor that is the whole
	// sandbox.
	Pause struct{ Container ContainerID }

	// Resume ends a pause.
	Resume struct{ Container ContainerID }

	// Update changes the limits of a container.
	Update struct {
		Container ContainerID
		Resources *Resources
	}

	// Checkpoint writes the state of the container's sandbox to ImagePath, a
	// folder. The sandbox ends with it unless LeaveRunning.
	Checkpoint struct {
		Container    ContainerID
		ImagePath    string
		LeaveRunning bool
	}

	// State asks for the status of a process. It is answered from the actor's
	// own knowledge: at once, also while the runtime hangs.
	State struct{ Process Process }

	// Pids asks for the processes of a container that Create and Start named.
	Pids struct{ Container ContainerID }

	// Stats asks what a container uses.
	Stats struct{ Container ContainerID }

	// Wait is answered when the process has exited, with its exit; at once if
	// it already has. A process that could not be started, and never will be,
	// is a FailedPrecondition.
	Wait struct{ Process Process }

	// Delete releases a process that is stopped, or was never started.
	Delete struct{ Process Process }

	// Connect asks what stands behind a container.
	Connect struct{ Container ContainerID }

	// Info asks what the runtime holds.
	Info struct{}

	// Shutdown ends the runtime. With Now every container is killed and
	// deleted first; without, it is refused while there are containers.
	Shutdown struct{ Now bool }
)

func (c Create) Target() Process     { return Init(c.Container) }
func (c Exec) Target() Process       { return c.Process }
func (c Start) Target() Process      { return c.Process }
func (c Kill) Target() Process       { return c.Process }
func (c Resize) Target() Process     { return c.Process }
func (c CloseIO) Target() Process    { return c.Process }
func (c Pause) Target() Process      { return Init(c.Container) }
func (c Resume) Target() Process     { return Init(c.Container) }
func (c Update) Target() Process     { return Init(c.Container) }
func (c Checkpoint) Target() Process { return Init(c.Container) }
func (c State) Target() Process      { return c.Process }
func (c Pids) Target() Process       { return Init(c.Container) }
func (c Stats) Target() Process      { return Init(c.Container) }
func (c Wait) Target() Process       { return c.Process }
func (c Delete) Target() Process     { return c.Process }
func (c Connect) Target() Process    { return Init(c.Container) }
func (Info) Target() Process         { return Process{} }
func (Shutdown) Target() Process     { return Process{} }

func (Create) Verb() string     { return "create" }
func (Exec) Verb() string       { return "exec" }
func (Start) Verb() string      { return "start" }
func (Kill) Verb() string       { return "kill" }
func (Resize) Verb() string     { return "resize" }
func (CloseIO) Verb() string    { return "closeio" }
func (Pause) Verb() string      { return "pause" }
func (Resume) Verb() string     { return "resume" }
func (Update) Verb() string     { return "update" }
func (Checkpoint) Verb() string { return "checkpoint" }
func (State) Verb() string      { return "state" }
func (Pids) Verb() string       { return "pids" }
func (Stats) Verb() string      { return "stats" }
func (Wait) Verb() string       { return "wait" }
func (Delete) Verb() string     { return "delete" }
func (Connect) Verb() string    { return "connect" }
func (Info) Verb() string       { return "info" }
func (Shutdown) Verb() string   { return "shutdown" }

func (Create) answeredBy(Created)          {}
func (Exec) answeredBy(Added)              {}
func (Start) answeredBy(Started)           {}
func (Kill) answeredBy(Killed)             {}
func (Resize) answeredBy(Resized)          {}
func (CloseIO) answeredBy(IOClosed)        {}
func (Pause) answeredBy(Paused)            {}
func (Resume) answeredBy(Resumed)          {}
func (Update) answeredBy(Updated)          {}
func (Checkpoint) answeredBy(Checkpointed) {}
func (State) answeredBy(ProcessState)      {}
func (Pids) answeredBy(PidList)            {}
func (Stats) answeredBy(Measured)          {}
func (Wait) answeredBy(Exited)             {}
func (Delete) answeredBy(Deleted)          {}
func (Connect) answeredBy(Connected)       {}
func (Info) answeredBy(RuntimeInfo)        {}
func (Shutdown) answeredBy(Ended)          {}

// LogValue leaves out what may be secret.
func (c Exec) LogValue() slog.Value {
	return slog.GroupValue(slog.String("process", c.Process.String()), slog.Any("spec", c.Spec), slog.Any("stdio", c.Stdio))
}
