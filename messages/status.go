package messages

import "time"

// Status is the OCI status of a process (runtime-spec, runtime.md, State), with
// containerd's "paused".
type Status string

const (
	// StatusCreated: registered (an exec) or created in the sandbox (an init),
	// and not started.
	StatusCreated Status = "created"
	// StatusRunning: started, and its exit is not told yet.
	StatusRunning Status = "running"
	// StatusPaused: running, in a container that is paused.
	StatusPaused Status = "paused"
	// StatusStopped: its exit has been told, or it could not be started.
	StatusStopped Status = "stopped"
)

// Exit statuses that no process gave itself.
const (
	// ExitUnknown is told where the true status can not be known. It is
	// containerd's UnknownExitStatus.
	ExitUnknown = 255
	// ExitKilled is that of a process that died by SIGKILL (128 + 9), as a
	// shell and runsc tell it.
	ExitKilled = 137
)

// Exit is how and when a process ended.
type Exit struct {
	// Status is what wait(2) gives: 0 to 255, where a process that died by a
	// signal has 128 + the signal's number.
	Status int
	// At is when the exit was seen on the host.
	At time.Time
	// Reason says why the status is not the process's own ("the sandbox is
	// gone"). Empty for an exit that was seen.
	Reason string
}
