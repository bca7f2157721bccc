package messages

import (
	"io"
	"log/slog"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Stdio says where the standard streams of a process come from and go to.
//
// A stream is named by
//   - "": null. Reads give EOF, writes are discarded.
//   - a path: a FIFO, or a file that is appended to.
//   - "file://PATH": a file, created if need be and appended to.
//   - "binary://PATH?ARG=VALUE": stdout and stderr only; a logging program as
//     containerd's (core/runtime/v2/logging) is started and fed. Both streams
//     must name the same program.
//
// Pipes, where one of its streams is not nil, is used in place of the name.
type Stdio struct {
	Stdin, Stdout, Stderr string
	Pipes                 Pipes
	// Terminal gives the process a terminal. Its output is all on Stdout;
	// Stderr is not used.
	Terminal bool
	// Size is the terminal's first size; the zero value leaves the default.
	Size WindowSize
}

// Pipes are in-memory streams, for programs that embed the runtime.
type Pipes struct {
	// Stdin is read until EOF or CloseIO, whichever is first. What has been
	// read from it is delivered before the process sees EOF.
	Stdin io.Reader
	// Stdout and Stderr are written by one goroutine each. They are not
	// closed. A Write that blocks delays only its own process.
	Stdout, Stderr io.Writer
}

// LogValue keeps the contents of in-memory streams out of logs.
func (s Stdio) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("stdin", s.Stdin),
		slog.String("stdout", s.Stdout),
		slog.String("stderr", s.Stderr),
		slog.Bool("terminal", s.Terminal),
	)
}

// WindowSize is a terminal's, in characters.
type WindowSize struct {
	Cols, Rows uint16
}

// Mount is one mount of a container's root file system, as containerd gives it.
type Mount struct {
	// Type of the file system ("overlay", "bind", "ext4").
	Type string
	// Source of the mount: a device or a folder.
	Source string
	// Target below the root file system; empty for the root itself.
	Target string
	// Options are those of fstab(5).
	Options []string
}

// Resources are the limits of a container (runtime-spec, config-linux.md).
type Resources = specs.LinuxResources

// ExecSpec is what an exec runs.
//
// It carries the environment: it is never printed whole (see LogValue).
type ExecSpec struct {
	specs.Process
}

// LogValue shows the command's name only: arguments and environment may hold
// secrets.
func (s ExecSpec) LogValue() slog.Value {
	name := ""
	if len(s.Args) > 0 {
		name = s.Args[0]
	}
	return slog.GroupValue(slog.String("command", name), slog.Int("args", len(s.Args)), slog.Int("env", len(s.Env)))
}

// Usage is what a container uses.
type Usage struct {
	CPU    CPUUsage
	Memory MemoryUsage
	PIDs   PIDUsage
}

// CPUUsage is in nanoseconds since the container began.
type CPUUsage struct {
	Total, User, System uint64
}

// MemoryUsage is in bytes.
type MemoryUsage struct {
	Current, Max, Limit, Cache uint64
}

// PIDUsage counts processes.
type PIDUsage struct {
	Current, Limit uint64
}
