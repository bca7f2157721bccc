package mutexcore

import (
	"context"
	"sync"

	"github.com/troupe-run/troupe/messages"
)

// process is what an init and an exec have in common.
type process struct {
	container *container
	id        messages.Incarnation
	stdio     messages.Stdio
	// gone is closed when the exit is told, or it is sure that there is none.
	gone chan struct{}

	// mu is held over calls to the driver.
	mu     sync.Mutex
	status messages.Status
	pids   messages.PIDs
	// exit is nil in status stopped for a process that could not be started.
	exit    *messages.Exit
	deleted bool

	// What follows is guarded by container.mu, so that the goroutine that takes
	// exits does not wait for a start that is under way.

	// live: an exec whose start is asked for and whose exit is not told.
	live bool
	// held: an exit is kept in early for now.
	held  bool
	early *messages.Exit
}

func newProcess(c *container, p messages.Process, stdio messages.Stdio) process {
	return process{
		container: c, id: c.core.nextIncarnation(p), stdio: stdio,
		gone: make(chan struct{}), status: messages.StatusCreated,
	}
}

// setExited tells the exit. The first counts, and an exec that was not started
// has none.
func (p *process) setExited(exit messages.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gone:
		return
	default:
	}
	p.exit, p.status = &exit, messages.StatusStopped
	p.container.core.events.send(messages.ProcessExited{Process: p.id.Process, PIDs: p.pids, Exit: exit})
	close(p.gone)
}

// wait waits for the exit.
func (p *process) wait(ctx context.Context, cmd messages.Wait) (messages.Exit, error) {
	select {
	case <-p.gone:
	case <-ctx.Done():
		return messages.Exit{}, &messages.Error{Kind: messages.KindOf(ctx.Err()), Op: cmd.Verb(), Process: cmd.Process, Err: ctx.Err()}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit == nil {
		return messages.Exit{}, refusal(cmd, messages.FailedPrecondition, "it did not run", "delete it")
	}
	return *p.exit, nil
}

// describe is its state as far as it is the process's own; mu is held.
func (p *process) describe(paused bool) messages.ProcessState {
	s := messages.ProcessState{Process: p.id.Process, Status: p.status, PIDs: p.pids, Stdio: p.stdio, Exit: p.exit}
	if paused && s.Status == messages.StatusRunning {
		s.Status = messages.StatusPaused
	}
	return s
}

// line is its line in a list of pids, if it runs.
func (p *process) line() (messages.ProcessPIDs, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return messages.ProcessPIDs{Process: p.id.Process, PIDs: p.pids}, p.status == messages.StatusRunning
}

// released tells the deletion; mu is held.
func (p *process) released() messages.Deleted {
	p.deleted = true
	p.container.core.events.send(messages.ProcessDeleted{Process: p.id.Process, PIDs: p.pids, Exit: p.exit})
	return messages.Deleted{Process: p.id.Process, PIDs: p.pids, Exit: p.exit}
}
