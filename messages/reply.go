package messages

// Reply is the answer to a command. The set is closed.
type Reply interface{ reply() }

type (
	// Created answers Create.
	Created struct {
		Container ContainerID
		PIDs      PIDs
	}
	// Added answers Exec.
	Added struct{ Process Process }
	// Started answers Start.
	Started struct {
		Process Process
		PIDs    PIDs
	}
	// Killed answers Kill: the signal was delivered. What the process does of
	// it is told by its exit.
	Killed struct{ Process Process }
	// Resized answers Resize.
	Resized struct{ Process Process }
	// IOClosed answers CloseIO. It is remembered for a process that is not
	// started yet.
	IOClosed struct{ Process Process }
	// Paused answers Pause.
	Paused struct{ Container ContainerID }
	// Resumed answers Resume.
	Resumed struct{ Container ContainerID }
	// Updated answers Update.
	Updated struct{ Container ContainerID }
	// Checkpointed answers Checkpoint: the image is complete.
	Checkpointed struct{ Container ContainerID }
	// ProcessState answers State.
	ProcessState struct {
		Process Process
		Sandbox SandboxID
		Bundle  string
		Status  Status
		PIDs    PIDs
		Stdio   Stdio
		// Exit is set once Status is stopped, and nil for a process that could
		// not be started.
		Exit *Exit
	}
	// PidList answers Pids: the processes that were started and whose exit is
	// not told, init first, then by exec id.
	PidList struct {
		Container ContainerID
		Processes []ProcessPIDs
	}
	// Measured answers Stats.
	Measured struct {
		Container ContainerID
		Usage     Usage
	}
	// Exited answers Wait.
	Exited struct {
		Process Process
		Exit    Exit
	}
	// Deleted answers Delete. The process's IO has been drained and closed.
	Deleted struct {
		Process Process
		PIDs    PIDs
		// Exit is nil for a process that was never started.
		Exit *Exit
	}
	// Connected answers Connect.
	Connected struct {
		Container ContainerID
		Sandbox   SandboxID
		// RuntimePID is the host pid of the program that the runtime is in.
		RuntimePID int
		PIDs       PIDs
		Driver     DriverInfo
		// Exec is how execs are started in it, as the driver tells it: with
		// runsc "control" (the sandbox's control socket), or "cli" (a `runsc
		// exec` on the host for each) and, where the other way was tried, why.
		// Empty before the first need.
		Exec string
	}
	// RuntimeInfo answers Info.
	RuntimeInfo struct {
		RuntimePID int
		Driver     DriverInfo
		// Sandboxes are in the order of their ids.
		Sandboxes []SandboxInfo
	}
	// Ended answers Shutdown.
	Ended struct{}
)

// ProcessPIDs is one line of a [PidList].
type ProcessPIDs struct {
	Process Process
	PIDs    PIDs
}

// DriverInfo says what runs the processes.
type DriverInfo struct {
	// Name is "runsc" or "fake".
	Name string
	// Version as the driver tells it; it may be empty.
	Version string
}

// Health is what is known of a sandbox's sentry.
type Health string

const (
	// HealthStarting: its root container is being created.
	HealthStarting Health = "starting"
	// HealthAlive: it was created, and has answered last time.
	HealthAlive Health = "alive"
	// HealthUnresponsive: it did not answer a call in time.
	HealthUnresponsive Health = "unresponsive"
	// HealthOver: it has ended.
	HealthOver Health = "over"
)

// SandboxInfo is a sandbox of a [RuntimeInfo].
type SandboxInfo struct {
	Sandbox SandboxID
	Health  Health
	// Containers are in the order of their ids.
	Containers []ContainerID
}

func (Created) reply()      {}
func (Added) reply()        {}
func (Started) reply()      {}
func (Killed) reply()       {}
func (Resized) reply()      {}
func (IOClosed) reply()     {}
func (Paused) reply()       {}
func (Resumed) reply()      {}
func (Updated) reply()      {}
func (Checkpointed) reply() {}
func (ProcessState) reply() {}
func (PidList) reply()      {}
func (Measured) reply()     {}
func (Exited) reply()       {}
func (Deleted) reply()      {}
func (Connected) reply()    {}
func (RuntimeInfo) reply()  {}
func (Ended) reply()        {}
