package load

import (
	"context"
	"io"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Target is what load is put on. Its methods are used by many goroutines at
// once, end with their context, and have errors with a kind
// ([messages.KindOf]).
type Target interface {
	// Describe says what is measured.
	Describe(ctx context.Context) (Description, error)

	// Create makes a container whose init sleeps until it is killed.
	Create(ctx context.Context, c Container) error
	// Add registers an exec.
	Add(ctx context.Context, e Exec) error
	// Start starts an init or an exec.
	Start(ctx context.Context, p messages.Process) error
	// Wait is answered by the exit of a process, also when it is asked before
	// Start.
	Wait(ctx context.Context, p messages.Process) (messages.Exit, error)
	Kill(ctx context.Context, p messages.Process, signal syscall.Signal) error
	// Delete releases a process that is stopped or was never started. When it
	// returns, an exec's output has all been written to Exec.Stdout.
	Delete(ctx context.Context, p messages.Process) error

	// Events are those of every process of the target, in the order in which it
	// tells them, from the call on. The channel ends with Close.
	Events(ctx context.Context) (<-chan messages.Event, error)
	// Roots are the pids of the programs that hold the runtime: this program,
	// or the shims. What they are made of is their tree of processes.
	Roots() []int
	// Folders are those in which the runtime keeps files.
	Folders() []string
	// Close ends what the target itself holds. Containers are deleted before.
	Close() error
}

// Description says what is measured.
type Description struct {
	// Name is short: "in process", "io.containerd.runc.v2".
	Name string `json:"name"`
	// Facts are what a reader needs to repeat it: versions, platform, image.
	Facts []Fact `json:"facts"`
}

// Fact is one line of a description.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Container is one to be made.
type Container struct {
	ID messages.ContainerID
	// Sandbox is the container that the sandbox began with: ID itself for the
	// first of a pod.
	Sandbox messages.SandboxID
}

// Exec is one to be registered.
type Exec struct {
	Process  messages.Process
	Args     []string
	Terminal bool
	// Stdout gets what it writes. Nil: null, no stream is opened at all.
	Stdout io.Writer
}
