package messages

import (
	"fmt"
	"strings"
)

// MaxIDLength is the longest id that is taken, in bytes. It is containerd's
// own limit (pkg/identifiers), so that an id that containerd takes is one that
// Troupe takes.
const MaxIDLength = 76

type (
	// SandboxID names a sandbox: one sentry, and the containers in it (a pod).
	SandboxID string
	// ContainerID names a container, unique in a runtime.
	ContainerID string
	// ExecID names an exec, unique in its container only: two containers may
	// each have an exec of the same id.
	ExecID string
)

// Validate reports an InvalidArgument error if the id is empty, longer than
// [MaxIDLength], or has a character other than letters, digits and "_.-", or
// could be read as a path ("." and "..").
func (id SandboxID) Validate() error { return validateID("sandbox", string(id)) }

// Validate has the rules of [SandboxID.Validate].
func (id ContainerID) Validate() error { return validateID("container", string(id)) }

// Validate has the rules of [SandboxID.Validate].
func (id ExecID) Validate() error { return validateID("exec", string(id)) }

func validateID(what, id string) error {
	reason := ""
	switch {
	case id == "":
		reason = "it is empty"
	case len(id) > MaxIDLength:
		reason = fmt.Sprintf("it has %d characters", len(id))
	case id == "." || id == "..":
		reason = "it is a path"
	case strings.IndexFunc(id, notIDRune) >= 0:
		reason = "it has other characters"
	default:
		return nil
	}
	return &Error{
		Kind: InvalidArgument,
		Op:   fmt.Sprintf("read %s id %.100q", what, id),
		Err:  Text(reason),
		Hint: fmt.Sprintf("an id has 1 to %d letters, digits or any of _.-", MaxIDLength),
	}
}

func notIDRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("_.-", r)
}

// Process names a process: the init of a container, or one of its execs.
type Process struct {
	Container ContainerID
	// Exec is empty for the container's init.
	Exec ExecID
}

// Init names the init process of a container.
func Init(c ContainerID) Process { return Process{Container: c} }

// IsInit tells whether p is a container's init.
func (p Process) IsInit() bool { return p.Exec == "" }

// String is "container" for an init and "container/exec" for an exec.
func (p Process) String() string {
	if p.IsInit() {
		return string(p.Container)
	}
	return string(p.Container) + "/" + string(p.Exec)
}

// Validate checks both ids; an empty exec id is an init and valid.
func (p Process) Validate() error {
	if err := p.Container.Validate(); err != nil {
		return err
	}
	if p.IsInit() {
		return nil
	}
	return p.Exec.Validate()
}

// ParseProcess reads what [Process.String] writes.
func ParseProcess(s string) (Process, error) {
	c, e, isExec := strings.Cut(s, "/")
	p := Process{Container: ContainerID(c), Exec: ExecID(e)}
	if isExec {
		if err := p.Exec.Validate(); err != nil {
			return Process{}, err
		}
	}
	return p, p.Container.Validate()
}

// Incarnation names one life of a process. An id can be used again after
// Delete; a number never is, in one runtime. What comes late from the host
// (an exit, an answer) names the incarnation that it belongs to, so that it is
// never credited to a later process, whatever its id or its pid.
type Incarnation struct {
	Process
	Number uint64
}

func (i Incarnation) String() string { return fmt.Sprintf("%s#%d", i.Process, i.Number) }

// PIDs are the numbers of a started process.
type PIDs struct {
	// Host is the process on the host that stands for it: the sandbox (sentry)
	// for an init, and for an exec its stub, or the sandbox too where it has
	// none. Zero if there is none. It is not unique: Guest tells apart what runs
	// in one sandbox.
	Host int
	// Guest is the process's number in the sandbox's root pid namespace.
	// Zero if it is not known.
	Guest int
}
