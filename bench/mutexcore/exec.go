package mutexcore

import (
	"context"

	"github.com/troupe-run/troupe/messages"
)

// execProcess is a further process of a container.
type execProcess struct {
	process
	parent *initProcess
	spec   messages.ExecSpec
}

func (e *execProcess) start(ctx context.Context, cmd messages.Start) (messages.PIDs, error) {
	e.mu.Lock()
	if e.deleted {
		e.mu.Unlock()
		return messages.PIDs{}, gone(cmd)
	}
	if e.status != messages.StatusCreated {
		e.mu.Unlock()
		return messages.PIDs{}, refusal(cmd, messages.FailedPrecondition, "it was started before", "register a new exec")
	}
	c := e.container
	if err := c.begin(e, cmd); err != nil {
		e.mu.Unlock()
		return messages.PIDs{}, err
	}
	pids, err := c.core.driver.Exec(ctx, messages.Launch{Init: e.parent.id, Process: e.id, Spec: e.spec, Stdio: e.stdio})
	if err != nil {
		e.status = messages.StatusStopped
		close(e.gone)
		c.abandon(e)
		e.mu.Unlock()
		return messages.PIDs{}, err
	}
	e.pids, e.status = pids, messages.StatusRunning
	c.core.events.send(messages.ExecStarted{Process: e.id.Process, PIDs: pids})
	e.mu.Unlock()
	c.release(&e.process)
	return pids, nil
}

func (e *execProcess) kill(ctx context.Context, cmd messages.Kill) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.deleted || e.exit != nil:
		return refusal(cmd, messages.NotFound, "it is gone", "")
	case e.status != messages.StatusRunning:
		return refusal(cmd, messages.FailedPrecondition, "it does not run", "start it first")
	}
	return e.container.core.driver.Kill(ctx, e.id, cmd.Signal, false)
}

// delete releases an exec; the driver knows of one that was started.
func (e *execProcess) delete(ctx context.Context, cmd messages.Delete) (messages.Deleted, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.deleted:
		return messages.Deleted{}, gone(cmd)
	case e.status == messages.StatusRunning:
		return messages.Deleted{}, refusal(cmd, messages.FailedPrecondition, "it has not exited", "kill it and wait for its exit")
	}
	if e.exit != nil {
		if err := e.container.core.driver.Delete(ctx, e.id); err != nil {
			return messages.Deleted{}, err
		}
	}
	if e.status == messages.StatusCreated {
		close(e.gone) // for those who wait for it
	}
	d := e.released()
	e.container.remove(e)
	return d, nil
}

func (e *execProcess) state() (messages.ProcessState, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.describe(e.container.isPaused())
	s.Sandbox, s.Bundle = e.parent.sandbox, e.parent.bundle
	return s, !e.deleted
}
