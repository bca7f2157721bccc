package actors

import (
	"context"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Driver is what the actors need of the host. package runsc has the real one.
//
// Every method but Way may block until its context ends and is called from a
// goroutine that may wait; none is called from a mailbox. Methods for one process may be
// called at the same time (a Kill while an Exec hangs). An error of a driver is
// a *messages.Error with its kind.
//
// A driver owns the host's side of an incarnation (its streams, its pid files,
// its stub) from the call that makes it until Delete. A call that fails leaves
// nothing of it behind. A call whose context ends either ends with it and
// leaves nothing, or returns late with its true result: the caller deletes what
// came too late.
type Driver interface {
	// Info tells what the driver is. An error means that it can not work here,
	// and says why.
	Info(ctx context.Context) (messages.DriverInfo, error)

	// Notify sets who is told of exits and of OOM; it is called once, before
	// anything is made. tell never blocks.
	Notify(tell func(messages.Notice))

	// Create makes the container of an init process, and its sandbox if
	// c.Sandbox has none yet, and opens its streams.
	Create(ctx context.Context, init messages.Incarnation, c messages.Create) (messages.PIDs, error)

	// Start starts the init of a created container, or restores it from its
	// checkpoint.
	Start(ctx context.Context, init messages.Incarnation) error

	// Exec starts a process in a running container.
	Exec(ctx context.Context, l messages.Launch) (messages.PIDs, error)

	// Way tells how execs are started in the container of an init: "control" or
	// "cli" for runsc, a text of its own for another driver, and nothing as long
	// as that is not known. It never blocks: it is the one method that is called
	// from a mailbox.
	Way(init messages.Incarnation) string

	// Kill sends a signal to a process, or to all of a container's.
	// It is NotFound for a process that is gone.
	Kill(ctx context.Context, p messages.Incarnation, signal syscall.Signal, all bool) error

	// KillSandbox kills the sandbox that an init lives in with SIGKILL, without
	// asking it or the runtime. It does not wait for its end, which is told as
	// the exits of every process in it.
	KillSandbox(ctx context.Context, init messages.Incarnation) error

	// Resize sets the size of a process's terminal; nothing without one.
	Resize(ctx context.Context, p messages.Incarnation, size messages.WindowSize) error

	// CloseIO ends a process's stdin after what has been written to it.
	CloseIO(ctx context.Context, p messages.Incarnation) error

	Pause(ctx context.Context, init messages.Incarnation) error
	Resume(ctx context.Context, init messages.Incarnation) error
	Update(ctx context.Context, init messages.Incarnation, r *messages.Resources) error
	Checkpoint(ctx context.Context, init messages.Incarnation, c messages.Checkpoint) error
	Stats(ctx context.Context, init messages.Incarnation) (messages.Usage, error)

	// Delete releases a process that is gone: its output is drained, for a
	// bounded time where something else still holds its pipe, and closed. For
	// an init the container is deleted too, whatever its state, and its root
	// file system unmounted. An unknown incarnation is no error.
	Delete(ctx context.Context, p messages.Incarnation) error

	// Close ends the driver. Processes that still live are left alone.
	Close() error
}

// Rememberer is a driver that writes down what it makes, so that a runtime whose
// program was killed has a successor. Create, Start and Exec of such a driver
// take charge of a [messages.Survivor] that they are given: they make nothing,
// and the exit is told as for a process of their own.
type Rememberer interface {
	// Survivors lists what an earlier runtime has left and nobody has taken
	// charge of: the root container of a sandbox before its others, a container
	// before its execs.
	Survivors(ctx context.Context) ([]messages.Survivor, error)
}
