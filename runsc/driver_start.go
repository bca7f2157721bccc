package runsc

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Start starts a created container, or restores it.
//
// A container whose start failed can not be started again. It is killed, and its
// exit is told with the failure as the reason.
func (d *Driver) Start(ctx context.Context, init messages.Incarnation) error {
	c, err := d.container("start", init)
	if err != nil {
		return err
	}
	if c.adoption != nil && c.adoption.started {
		return c.startAdopted(ctx)
	}
	if err := c.beginStart(); err != nil {
		return err
	}
	err = c.runStart(ctx)
	if err != nil && c.ranAnyway(err) {
		d.log.Info("runsc start failed on a container that has run and ended", "container", c.id(), "error", err)
		err = nil
	}
	if err != nil {
		err = about("start", init.Process, c.sandboxName(), err)
		c.failStart(err)
		return err
	}
	c.adoptGofer()
	d.setPhase(c, phaseStarted)
	close(c.started)
	if c.isRoot() && c.asksStatus() {
		go c.askStatus()
	}
	return nil
}

func (c *container) beginStart() error {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	fail := func(why string) error {
		return &messages.Error{Kind: messages.FailedPrecondition, Op: "start", Process: c.init.Process, Err: messages.Text(why)}
	}
	switch {
	case c.phase == phaseFailed:
		return fail("its start has failed before; delete it and create it anew")
	case c.phase != phaseCreated:
		return fail("it was started before")
	case c.isOver():
		return fail("it is dead")
	}
	c.phase = phaseStarting
	return nil
}

func (d *Driver) setPhase(c *container, p phase) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.phase = p
}

func (c *container) runStart(ctx context.Context) error {
	client := c.driver.client
	restore := &RestoreOpts{ImagePath: c.create.RestoreFrom, Detach: true}
	switch {
	case c.isRoot() && restore.ImagePath != "":
		return client.Restore(ctx, c.id(), restore)
	case c.isRoot():
		return client.Start(ctx, c.id(), nil)
	case c.streams.terminal():
		// The sandbox has the terminal since create.
		if restore.ImagePath != "" {
			return client.Restore(ctx, c.id(), restore)
		}
		return client.Start(ctx, c.id(), nil)
	case restore.ImagePath != "":
		restore.IO = c.streams
		return client.Restore(ctx, c.id(), restore)
	}
	return client.Start(ctx, c.id(), c.streams)
}

// ranAnyway tells whether a failed `runsc start` is that of a container whose
// init was gone before runsc had finished its own books (it still sets the OOM
// score, say): then the sandbox has exited by itself, and what runsc says is not
// that the start itself failed.
func (c *container) ranAnyway(err error) bool {
	return c.isRoot() && !strings.Contains(err.Error(), "starting root container") && !isEnd(err) &&
		c.endsSoon() && c.sandbox.sentry.end.unknown == nil && c.sandbox.sentry.end.signal == 0
}

func isEnd(err error) bool {
	k := messages.KindOf(err)
	return k == messages.DeadlineExceeded || k == messages.Canceled || k == messages.Unavailable
}

// failStart kills what could not be started.
func (c *container) failStart(why error) {
	c.driver.setPhase(c, phaseFailed)
	c.setReason("it could not be started: " + why.Error())
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if c.isRoot() {
		if err := c.killSentry(); err != nil {
			c.driver.log.Warn("kill the sandbox of a container that could not be started", "container", c.id(), "error", err)
			return
		}
		c.waitOver(ctx)
		return
	}
	if err := c.driver.client.Delete(ctx, c.id(), &DeleteOpts{Force: true}); err != nil && !c.sandbox.isGone() {
		c.driver.log.Warn("delete a container that could not be started", "container", c.id(), "error", err)
	}
	c.drop()
	c.waitOver(ctx)
}

// drop tells that runsc has let go of the container.
func (c *container) drop() {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	if !isClosed(c.dropped) {
		close(c.dropped)
	}
}

// Pause freezes the container's sandbox.
func (d *Driver) Pause(ctx context.Context, init messages.Incarnation) error {
	c, err := d.container("pause", init)
	if err != nil {
		return err
	}
	return about("pause", init.Process, "", d.client.Pause(ctx, c.id()))
}

// Resume ends a pause.
func (d *Driver) Resume(ctx context.Context, init messages.Incarnation) error {
	c, err := d.container("resume", init)
	if err != nil {
		return err
	}
	return about("resume", init.Process, "", d.client.Resume(ctx, c.id()))
}

// Update changes the container's limits.
func (d *Driver) Update(ctx context.Context, init messages.Incarnation, r *messages.Resources) error {
	c, err := d.container("update", init)
	if err != nil {
		return err
	}
	if !c.bundle.hasResources() {
		return &messages.Error{Kind: messages.FailedPrecondition, Op: "update", Process: init.Process,
			Err:  messages.Text("the bundle's config.json has no linux.resources, and runsc can not update what has none"),
			Hint: `add "resources": {} to linux in config.json before create`}
	}
	return about("update", init.Process, "", d.client.Update(ctx, c.id(), r))
}

// Checkpoint writes the state of the container's sandbox.
func (d *Driver) Checkpoint(ctx context.Context, init messages.Incarnation, m messages.Checkpoint) error {
	c, err := d.container("checkpoint", init)
	if err != nil {
		return err
	}
	return about("checkpoint", init.Process, "", d.client.Checkpoint(ctx, c.id(), &CheckpointOpts{ImagePath: m.ImagePath, LeaveRunning: m.LeaveRunning}))
}

// Stats asks what the container uses.
func (d *Driver) Stats(ctx context.Context, init messages.Incarnation) (messages.Usage, error) {
	c, err := d.container("measure", init)
	if err != nil {
		return messages.Usage{}, err
	}
	client, err := c.control(ctx)
	if err != nil {
		return messages.Usage{}, about("measure", init.Process, "", err)
	}
	if client != nil {
		u, err := client.Usage(ctx, init.Container)
		if err == nil || !c.needsCLI(err) && !errors.Is(err, errBadReply) {
			return u, about("measure", init.Process, "", err)
		}
	}
	u, err := d.client.Stats(ctx, c.id())
	return u, about("measure", init.Process, "", err)
}

// KillSandbox kills the sandbox of a container through its pidfd.
func (d *Driver) KillSandbox(_ context.Context, init messages.Incarnation) error {
	c, err := d.container("kill the sandbox of", init)
	if err != nil {
		return err
	}
	if err := c.killSentry(); err != nil {
		return &messages.Error{Kind: messages.Internal, Op: "kill the sandbox of", Process: init.Process, Sandbox: c.sandbox.id, Err: err}
	}
	return nil
}

// isTerminating tells the signals that end a container which was never started
// (runsc/container/container.go, signalCreated).
func isTerminating(s syscall.Signal) bool { return s == syscall.SIGKILL || s == syscall.SIGTERM }
