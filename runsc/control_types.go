package runsc

import "syscall"

// The methods of the control server that are used (gVisor,
// runsc/boot/controller.go).
const (
	methodExec      = "containerManager.ExecuteAsync"
	methodWaitPID   = "containerManager.WaitPID"
	methodWait      = "containerManager.Wait"
	methodSignal    = "containerManager.Signal"
	methodProcesses = "containerManager.Processes"
	methodEvent     = "containerManager.Event"
	methodState     = "containerManager.ContainerRuntimeState"
)

// execArgs are the arguments of ExecuteAsync (pkg/sentry/control/proc.go,
// ExecArgs) as far as a client sets them: the server fills in namespaces,
// limits and seccomp.
type execArgs struct {
	// Filename is left empty, so that the server looks Argv[0] up in Envv's PATH.
	Filename         string   `json:"filename"`
	Argv             []string `json:"argv"`
	Envv             []string `json:"envv"`
	WorkingDirectory string   `json:"wd"`
	KUID             uint32
	KGID             uint32
	ExtraKGIDs       []uint32
	NoNewPrivileges  bool
	// Capabilities is no pointer: the server takes none for every capability
	// there is, if KUID is 0 (pkg/sentry/kernel/auth, NewUserCredentials).
	Capabilities taskCapabilities
	// StdioIsPty tells that all of stdio is one terminal.
	StdioIsPty  bool
	SupportTTYs bool
	// GuestFDs are the numbers that the files get in the process, in the order
	// in which they are sent.
	GuestFDs    []int
	ContainerID string
}

// taskCapabilities are sets of bits, bit N for capability N (capabilities(7)).
type taskCapabilities struct {
	PermittedCaps, InheritableCaps, EffectiveCaps, BoundingCaps, AmbientCaps uint64
}

type waitPIDArgs struct {
	PID int32
	CID string
}

type signalArgs struct {
	CID   string
	Signo int32
	PID   int32
	Mode  signalMode
}

// signalMode says to whom a signal goes.
type signalMode int

const (
	// signalProcess: the process of the pid, or the container's init for 0.
	signalProcess signalMode = iota
	// signalAll: every process of the container. The sandbox's kernel is
	// paused for it, which waits for every task: it can hang.
	signalAll
	// signalForeground: the foreground process group of the terminal of the
	// process of the pid.
	signalForeground
	// signalGroup: the process group of that number.
	signalGroup
)

// guestState is where a container is (runsc/boot/loader.go,
// ContainerRuntimeState).
type guestState int

const (
	// guestCreating: made, and not started.
	guestCreating guestState = 1
	// guestRunning: its init lives.
	guestRunning guestState = 2
	// guestStopped: its init is gone, or there is no such container.
	guestStopped guestState = 3
)

func (s guestState) String() string {
	switch s {
	case guestCreating:
		return "creating"
	case guestRunning:
		return "running"
	case guestStopped:
		return "stopped"
	}
	return "unknown"
}

// guestProcess is one process of a container (pkg/sentry/control/proc.go,
// Process). Its numbers are those of the sandbox's root pid namespace.
type guestProcess struct {
	UID     uint32  `json:"uid"`
	PID     int32   `json:"pid"`
	PPID    int32   `json:"ppid"`
	PGID    int32   `json:"pgid"`
	Threads []int32 `json:"threads"`
	TTY     string  `json:"tty"`
	STime   string  `json:"stime"`
	Time    string  `json:"time"`
	Cmd     string  `json:"cmd"`
}

// waitStatus is a status of wait(2).
type waitStatus uint32

// exit is the status as a shell tells it: 128 + the signal's number for a
// process that died by one.
func (w waitStatus) exit() int { return codeOf(syscall.WaitStatus(w)).status() }

// eventOut answers Event (runsc/boot/events.go, EventOut), as far as it is used.
type eventOut struct {
	Event struct {
		Type string `json:"type"`
		ID   string `json:"id"`
		Data struct {
			CPU struct {
				Usage struct {
					Kernel uint64 `json:"kernel"`
					User   uint64 `json:"user"`
				} `json:"usage"`
			} `json:"cpu"`
			Memory struct {
				Cache uint64 `json:"cache"`
				Usage struct {
					Limit uint64 `json:"limit"`
					Usage uint64 `json:"usage"`
					Max   uint64 `json:"max"`
				} `json:"usage"`
			} `json:"memory"`
			Pids struct {
				Current uint64 `json:"current"`
				Limit   uint64 `json:"limit"`
			} `json:"pids"`
		} `json:"data"`
	} `json:"event"`
	// ContainerUsage is every container's CPU time, as the sentry counts it.
	ContainerUsage map[string]uint64 `json:"containerUsage"`
}
