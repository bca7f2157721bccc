package mutexcore

import (
	"context"
	"errors"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// initProcess is a container's first process.
type initProcess struct {
	process
	sandbox messages.SandboxID
	bundle  string
}

// created tells that the driver has made it.
func (i *initProcess) created(cmd messages.Create, pids messages.PIDs) {
	i.mu.Lock()
	i.pids = pids
	i.container.core.events.send(messages.ContainerCreated{
		Container: cmd.Container, Sandbox: cmd.Sandbox, Bundle: cmd.Bundle, Rootfs: cmd.Rootfs,
		Stdio: cmd.Stdio, Checkpoint: cmd.RestoreFrom, PIDs: pids,
	})
	i.mu.Unlock()
	i.container.release(&i.process)
}

func (i *initProcess) start(ctx context.Context, cmd messages.Start) (messages.PIDs, error) {
	i.mu.Lock()
	if i.deleted {
		i.mu.Unlock()
		return messages.PIDs{}, gone(cmd)
	}
	if i.status != messages.StatusCreated {
		i.mu.Unlock()
		return messages.PIDs{}, refusal(cmd, messages.FailedPrecondition, "it was started before", "delete the container and create it anew")
	}
	c := i.container
	c.hold(&i.process)
	err := c.core.driver.Start(ctx, i.id)
	if err != nil {
		i.status = messages.StatusStopped
	} else {
		i.status = messages.StatusRunning
		c.core.events.send(messages.ContainerStarted{Container: c.id, PIDs: i.pids})
	}
	pids := i.pids
	i.mu.Unlock()
	c.release(&i.process)
	return pids, err
}

func (i *initProcess) kill(ctx context.Context, cmd messages.Kill) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.deleted || i.exit != nil {
		return refusal(cmd, messages.NotFound, "it is gone", "")
	}
	return i.container.core.driver.Kill(ctx, i.id, cmd.Signal, cmd.All)
}

func (i *initProcess) pause(ctx context.Context, cmd messages.Pause) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.container
	if i.status != messages.StatusRunning || c.isPaused() {
		return refusal(cmd, messages.FailedPrecondition, "it is not running", "start or resume it first")
	}
	if err := c.core.driver.Pause(ctx, i.id); err != nil {
		return err
	}
	c.setPaused(true)
	c.core.events.send(messages.ContainerPaused{Container: c.id})
	return nil
}

func (i *initProcess) resume(ctx context.Context, cmd messages.Resume) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	c := i.container
	if !c.isPaused() {
		return refusal(cmd, messages.FailedPrecondition, "it is not paused", "pause it first")
	}
	if err := c.core.driver.Resume(ctx, i.id); err != nil {
		return err
	}
	c.setPaused(false)
	c.core.events.send(messages.ContainerResumed{Container: c.id})
	return nil
}

// delete releases the container. One that was not started is killed first, and
// its exit told.
func (i *initProcess) delete(ctx context.Context, cmd messages.Delete) (messages.Deleted, error) {
	i.mu.Lock()
	unborn := !i.deleted && i.exit == nil && i.status != messages.StatusRunning
	i.mu.Unlock()
	if unborn {
		kill := messages.Kill{Process: cmd.Process, Signal: syscall.SIGKILL, All: true}
		if err := i.kill(ctx, kill); err != nil && !errors.Is(err, messages.NotFound) {
			return messages.Deleted{}, err
		}
		if _, err := i.wait(ctx, messages.Wait(cmd)); err != nil {
			return messages.Deleted{}, err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.deleted:
		return messages.Deleted{}, gone(cmd)
	case i.exit == nil:
		return messages.Deleted{}, refusal(cmd, messages.FailedPrecondition, "it has not exited", "kill it and wait for its exit")
	}
	c := i.container
	for _, e := range c.list() {
		if _, err := e.delete(ctx, messages.Delete{Process: e.id.Process}); err != nil && !errors.Is(err, messages.NotFound) {
			return messages.Deleted{}, err
		}
	}
	if err := c.core.driver.Delete(ctx, i.id); err != nil {
		return messages.Deleted{}, err
	}
	d := i.released()
	c.core.forget(c)
	return d, nil
}

func (i *initProcess) state() (messages.ProcessState, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.describe(i.container.isPaused())
	s.Sandbox, s.Bundle = i.sandbox, i.bundle
	return s, !i.deleted
}
