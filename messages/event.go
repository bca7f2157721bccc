package messages

// Event is something that happened, told to every subscriber in the same
// order. The set is closed.
//
// For a container the order is ContainerCreated, ContainerStarted, the init's
// ProcessExited, ProcessDeleted; for an exec ExecAdded, ExecStarted, its
// ProcessExited, ProcessDeleted. Every exec's ProcessExited comes before its
// init's, and ContainerOOM before the exit that it explains.
type Event interface {
	// Subject is the process that the event is about.
	Subject() Process
	event()
}

type (
	// ContainerCreated tells that Create succeeded.
	ContainerCreated struct {
		Container ContainerID
		Sandbox   SandboxID
		Bundle    string
		Rootfs    []Mount
		Stdio     Stdio
		// Checkpoint is where it will be restored from, or empty.
		Checkpoint string
		PIDs       PIDs
	}
	// ContainerStarted tells that the init runs.
	ContainerStarted struct {
		Container ContainerID
		PIDs      PIDs
	}
	// ExecAdded tells that an exec is registered.
	ExecAdded struct{ Process Process }
	// ExecStarted tells that an exec runs.
	ExecStarted struct {
		Process Process
		PIDs    PIDs
	}
	// ProcessExited tells that a process that was started, or the init of a
	// container that was created, is gone. There is one for each.
	ProcessExited struct {
		Process Process
		PIDs    PIDs
		Exit    Exit
	}
	// ContainerOOM tells that the kernel killed for want of memory.
	ContainerOOM struct{ Container ContainerID }
	// ContainerPaused tells that every process of it is frozen.
	ContainerPaused struct{ Container ContainerID }
	// ContainerResumed tells the end of a pause.
	ContainerResumed struct{ Container ContainerID }
	// ContainerCheckpointed tells that an image is complete.
	ContainerCheckpointed struct {
		Container ContainerID
		ImagePath string
	}
	// ProcessDeleted tells that a process is released and its id free.
	ProcessDeleted struct {
		Process Process
		PIDs    PIDs
		// Exit is nil for a process that was never started.
		Exit *Exit
	}
	// EventsDropped tells one subscriber, in the place where they are missing,
	// how many events it lost by being too slow. Its subject is empty.
	EventsDropped struct{ Count uint64 }
)

func (e ContainerCreated) Subject() Process      { return Init(e.Container) }
func (e ContainerStarted) Subject() Process      { return Init(e.Container) }
func (e ExecAdded) Subject() Process             { return e.Process }
func (e ExecStarted) Subject() Process           { return e.Process }
func (e ProcessExited) Subject() Process         { return e.Process }
func (e ContainerOOM) Subject() Process          { return Init(e.Container) }
func (e ContainerPaused) Subject() Process       { return Init(e.Container) }
func (e ContainerResumed) Subject() Process      { return Init(e.Container) }
func (e ContainerCheckpointed) Subject() Process { return Init(e.Container) }
func (e ProcessDeleted) Subject() Process        { return e.Process }
func (EventsDropped) Subject() Process           { return Process{} }

func (ContainerCreated) event()      {}
func (ContainerStarted) event()      {}
func (ExecAdded) event()             {}
func (ExecStarted) event()           {}
func (ProcessExited) event()         {}
func (ContainerOOM) event()          {}
func (ContainerPaused) event()       {}
func (ContainerResumed) event()      {}
func (ContainerCheckpointed) event() {}
func (ProcessDeleted) event()        {}
func (EventsDropped) event()         {}
