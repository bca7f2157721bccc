package runsc

import (
	"context"
	"errors"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// Delete releases a process. It can be called again if its context ended it.
func (d *Driver) Delete(ctx context.Context, p messages.Incarnation) error {
	if !p.IsInit() {
		return d.deleteExec(ctx, p)
	}
	d.mu.Lock()
	c := d.containers[p]
	ready := c != nil && c.phase != phaseCreating
	d.mu.Unlock()
	if !ready {
		return nil
	}
	if err := enter(ctx, c.deleting, p); err != nil {
		return err
	}
	defer func() { <-c.deleting }()
	d.mu.Lock()
	done := d.containers[p] == nil
	d.mu.Unlock()
	if done {
		return nil
	}
	if err := c.release(ctx); err != nil {
		return about("delete", p.Process, c.sandboxName(), err)
	}
	c.removeLocks()
	if err := c.rootfs.unmount(ctx); err != nil {
		return mountError(p.Process, "unmount the root file system of", err, "see who uses it with fuser(1)")
	}
	_ = c.streams.Close()
	if err := c.cgroup.remove(ctx); err != nil {
		d.log.Warn("remove a cgroup", "container", c.id(), "error", err)
	}
	c.removeDir()
	if c.log != nil {
		_ = c.log.Close()
	}
	c.forgetRecord()
	d.forget(c)
	if c.isRoot() {
		c.sandbox.sentry.pidfd.close()
	}
	return nil
}

// forgetRecord drops what the client of the sandbox has kept of the container.
func (c *container) forgetRecord() {
	c.driver.mu.Lock()
	client := c.sandbox.link.client
	c.driver.mu.Unlock()
	if client != nil {
		client.forget(c.init.Container)
	}
}

// enter takes the one slot.
func enter(ctx context.Context, slot chan struct{}, p messages.Incarnation) error {
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return endError("delete", p.Process, context.Cause(ctx))
	}
}

// release ends the container and makes runsc forget it.
func (c *container) release(ctx context.Context) error {
	if c.isRoot() {
		// A root container is deleted by killing its sandbox. Through the pidfd
		// that works for one that hangs, and hits no other.
		if !c.isOver() {
			c.setReason("it was deleted")
		}
		if err := c.killSentry(); err != nil {
			return err
		}
		// An adopted one may not have been started yet.
		c.drop()
		if !c.waitOver(ctx) {
			return endError("delete", c.init.Process, context.Cause(ctx))
		}
		c.streams.Drain(ctx)
		return c.runDelete(ctx)
	}
	if c.isOver() {
		c.streams.Drain(ctx)
	}
	bounded, cancel := context.WithTimeout(ctx, c.driver.options.DeleteTimeout)
	err := c.runDelete(bounded)
	cancel()
	if err != nil && ctx.Err() == nil && errors.Is(err, messages.DeadlineExceeded) {
		c.driver.log.Warn("runsc delete hangs: killing the sandbox", "container", c.id(), "sandbox", string(c.sandbox.id))
		c.setReason("its sandbox did not answer and was killed")
		if err := c.killSentry(); err != nil {
			return err
		}
		select {
		case <-c.sandbox.sentry.gone:
		case <-ctx.Done():
			return endError("delete", c.init.Process, context.Cause(ctx))
		}
		err = c.runDelete(ctx)
	}
	if err != nil {
		return err
	}
	c.drop()
	if !c.waitOver(ctx) {
		return endError("delete", c.init.Process, context.Cause(ctx))
	}
	c.streams.Drain(ctx)
	return nil
}

// runDelete runs `runsc delete`. For runsc a sandbox that is dead and not reaped
// is running (kill(pid, 0), runsc/sandbox/sandbox.go), and a container in it can
// then not be deleted; so it is tried again until somebody has reaped it.
func (c *container) runDelete(ctx context.Context) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := c.driver.client.Delete(ctx, c.id(), &DeleteOpts{Force: true})
		// The second is also said of a container whose state runsc has removed all
		// the same, since the sandbox has not known it any more.
		if err == nil || errors.Is(err, messages.NotFound) {
			return nil
		}
		if isEnd(err) || !c.sandbox.isGone() || c.sandbox.sentry.pidfd.isReaped() {
			return err
		}
		if !pauseFor(ctx, pause) {
			return err
		}
	}
}

func (d *Driver) deleteExec(ctx context.Context, i messages.Incarnation) error {
	d.mu.Lock()
	p := d.execs[i]
	ready := p != nil && p.guest != 0
	d.mu.Unlock()
	if !ready {
		return nil
	}
	if err := enter(ctx, p.deleting, i); err != nil {
		return err
	}
	defer func() { <-p.deleting }()
	if !isClosed(p.over) {
		return &messages.Error{Kind: messages.FailedPrecondition, Op: "delete", Process: i.Process, Err: messages.Text("it runs"), Hint: "kill it first"}
	}
	p.streams.Drain(ctx)
	if err := p.streams.Close(); err != nil {
		d.log.Warn("close streams", "process", i.String(), "error", err)
	}
	p.forgetMemo()
	d.forgetExec(p)
	return nil
}

// Resize sets the size of a process's terminal.
func (d *Driver) Resize(_ context.Context, p messages.Incarnation, size messages.WindowSize) error {
	s, err := d.streamsOf("resize", p)
	if err != nil {
		return err
	}
	return s.Resize(size)
}

// CloseIO ends a process's stdin.
func (d *Driver) CloseIO(_ context.Context, p messages.Incarnation) error {
	s, err := d.streamsOf("close the stdin of", p)
	if err != nil {
		return err
	}
	err = s.CloseIO()
	d.rememberClosed(p)
	return about("close the stdin of", p.Process, "", err)
}

func (d *Driver) streamsOf(op string, i messages.Incarnation) (*streams, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.containers[i]; c != nil && c.phase != phaseCreating {
		return c.streams, nil
	}
	if p := d.execs[i]; p != nil && p.guest != 0 {
		return p.streams, nil
	}
	return nil, &messages.Error{Kind: messages.NotFound, Op: op, Process: i.Process, Err: messages.Text("there is no such process")}
}

const (
	retryFirst = 20 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)
