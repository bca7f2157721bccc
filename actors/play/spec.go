package play

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// Program is what a create or an exec runs.
type Program struct {
	Args []string
	// Env is what the script asks for, as NAME=VALUE, beside [Program.Environ].
	Env []string
	// Cwd is a path in the container.
	Cwd      string
	UID, GID uint32
	Terminal bool
}

// CreateSpec is what a create directive asks for.
type CreateSpec struct {
	Container messages.ContainerID
	// Sandbox is empty, or Container's id, where the container is a sandbox of
	// its own.
	Sandbox messages.SandboxID
	// Rootfs is a folder of the host, or empty for the host's root.
	Rootfs  string
	Program Program
}

// Bundler makes the bundle of a container: the folder with its config.json.
type Bundler interface {
	// Bundle returns an absolute path, and a function that removes what was
	// made, to be called when the container is deleted. An error is printed as
	// that of the create.
	Bundle(spec CreateSpec) (dir string, cleanup func(), err error)
}

// Environ is the whole environment of the program. It does not depend on that
// of the script's reader, so that a script gives the same everywhere.
func (p Program) Environ() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C"}
	if p.Terminal {
		env = append(env, "TERM=xterm")
	}
	for _, e := range p.Env {
		name, _, _ := strings.Cut(e, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		env = append(env, e)
	}
	return env
}

// Process is the program as the runtime specification has it, without
// capabilities.
func (p Program) Process() specs.Process {
	return specs.Process{
		Args:     p.Args,
		Env:      p.Environ(),
		Cwd:      p.Cwd,
		User:     specs.User{UID: p.UID, GID: p.GID},
		Terminal: p.Terminal,
	}
}
