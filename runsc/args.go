package runsc

import (
	"slices"
	"strconv"

	runc "github.com/containerd/go-runc"
)

// CreateOpts are the options of [Client.Create].
type CreateOpts struct {
	// IO is the process's; nil gives it nothing to read and discards its output.
	IO runc.IO
	// ConsoleSocket receives the terminal's master, if the spec asks for one.
	ConsoleSocket runc.ConsoleSocket
	// PidFile is written last, with the sandbox's pid.
	PidFile string
	// UserLog is where the sandbox logs what it does not support.
	UserLog string
}

func (o *CreateOpts) args() []string {
	var a []string
	a = appendFlag(a, "pid-file", o.PidFile)
	if o.ConsoleSocket != nil {
		a = appendFlag(a, "console-socket", o.ConsoleSocket.Path())
	}
	return appendFlag(a, "user-log", o.UserLog)
}

// ExecOpts are the options of [Client.Exec].
type ExecOpts struct {
	// IO is the process's; nil gives it nothing to read and discards its output.
	IO runc.IO
	// ConsoleSocket receives the terminal's master. Only with Detach: without,
	// IO is the terminal.
	ConsoleSocket runc.ConsoleSocket
	// PidFile is written with the pid of the runsc that stands for the process
	// on the host.
	PidFile string
	// InternalPidFile is written, before PidFile, with the process's pid in the
	// sandbox.
	InternalPidFile string
	// Detach returns as soon as the process is started.
	Detach bool
}

func (o *ExecOpts) args() []string {
	var a []string
	if o.Detach {
		a = append(a, "--detach")
	}
	a = appendFlag(a, "pid-file", o.PidFile)
	a = appendFlag(a, "internal-pid-file", o.InternalPidFile)
	if o.ConsoleSocket != nil {
		a = appendFlag(a, "console-socket", o.ConsoleSocket.Path())
	}
	return a
}

// KillOpts are the options of [Client.Kill].
type KillOpts struct {
	// All signals every process of the container.
	All bool
	// PID, if not 0, signals the process with this pid in the sandbox's root
	// pid namespace.
	PID int
}

func (o *KillOpts) args() []string {
	var a []string
	if o.All {
		a = append(a, "--all")
	}
	if o.PID != 0 {
		a = append(a, "--pid="+strconv.Itoa(o.PID))
	}
	return a
}

// DeleteOpts are the options of [Client.Delete].
type DeleteOpts struct {
	// Force kills what runs, and finds nothing wrong in an unknown id.
	Force bool
}

func (o *DeleteOpts) args() []string {
	if o.Force {
		return []string{"--force"}
	}
	return nil
}

// CheckpointOpts are the options of [Client.Checkpoint].
type CheckpointOpts struct {
	// ImagePath is the folder to write to. It is made if need be.
	ImagePath string
	// LeaveRunning goes on with the sandbox; else it ends.
	LeaveRunning bool
	// Compression is "none" or "flate-best-speed"; empty is runsc's default.
	Compression string
}

func (o *CheckpointOpts) args() []string {
	a := appendFlag(nil, "image-path", o.ImagePath)
	if o.LeaveRunning {
		a = append(a, "--leave-running")
	}
	return appendFlag(a, "compression", o.Compression)
}

// RestoreOpts are the options of [Client.Restore].
type RestoreOpts struct {
	// IO is for a container of a pod, which gets its streams here and not at
	// create.
	IO runc.IO
	// ImagePath is the folder of the checkpoint.
	ImagePath string
	// Detach returns once it runs; else the call lasts as long as the container.
	Detach bool
}

func (o *RestoreOpts) args() []string {
	a := appendFlag(nil, "image-path", o.ImagePath)
	if o.Detach {
		a = append(a, "--detach")
	}
	return a
}

// WaitOpts are the options of [Client.Wait].
type WaitOpts struct {
	// PID, if not 0, waits for the process with this pid in the sandbox's root
	// pid namespace and not for the container.
	PID int
}

func (o *WaitOpts) args() []string {
	if o.PID == 0 {
		return nil
	}
	return []string{"--rootpid=" + strconv.Itoa(o.PID)}
}

func appendFlag(a []string, name, value string) []string {
	if value == "" {
		return a
	}
	return append(a, "--"+name+"="+value)
}

// globalArgs are the flags before the command, in an order that is always the
// same. logPath is that of this call's own log.
func (o *Options) globalArgs(logPath string) []string {
	var a []string
	a = appendFlag(a, "root", o.Root)
	a = appendFlag(a, "log", logPath)
	a = appendFlag(a, "log-format", o.LogFormat)
	a = appendFlag(a, "platform", o.Platform)
	a = appendFlag(a, "network", o.Network)
	if o.Debug {
		a = append(a, "--debug=true")
	}
	a = appendFlag(a, "debug-log", o.DebugLog)
	a = appendFlag(a, "panic-log", o.PanicLog)
	names := make([]string, 0, len(o.Config))
	for name := range o.Config {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		// A pair of runsc_config may be empty on purpose: it is given whole.
		a = append(a, "--"+name+"="+o.Config[name])
	}
	return a
}
