package runsc

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// link is how the driver speaks to one sandbox: over its control socket, or by
// the command line. That is found out at the first need after a container has
// started, once: a sandbox that is not understood then, or later, is spoken to
// by the command line until it ends.
type link struct {
	// deciding has one slot: who fills it decides.
	deciding chan struct{}

	// These are guarded by the driver's lock. way is empty until it is decided,
	// and why says why it is the command line's. client is not nil once there
	// has been one: after a demotion, calls that are under way go on with it.
	way    string
	why    string
	client *controlClient
}

func newLink() *link { return &link{deciding: make(chan struct{}, 1)} }

// Way tells how execs are started in a container's sandbox: ExecControl, or
// ExecCLI with the reason behind a colon where it was not asked for. It is empty
// as long as that is not decided, which is until the first need. It never blocks.
func (d *Driver) Way(init messages.Incarnation) string {
	if d.options.ExecDriver == ExecCLI {
		return ExecCLI
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.containers[init]
	if c == nil || c.sandbox == nil {
		return ""
	}
	if l := c.sandbox.link; l.way == ExecCLI {
		return ExecCLI + ": " + l.why
	}
	return c.sandbox.link.way
}

// control gives the client for a container's sandbox, or nil where the command
// line is to be used. The error is that of a ctx that ended first, or of a
// sandbox that has not answered in time.
func (c *container) control(ctx context.Context) (*controlClient, error) {
	d := c.driver
	if d.options.ExecDriver == ExecCLI {
		return nil, nil
	}
	l := c.sandbox.link
	client, decided := c.decided()
	if decided {
		return client, nil
	}
	select {
	case l.deciding <- struct{}{}:
		defer func() { <-l.deciding }()
	case <-ctx.Done():
		return nil, endError("ask the sandbox of", c.init.Process, context.Cause(ctx))
	}
	if client, decided = c.decided(); decided {
		return client, nil
	}
	client, err := c.dial(ctx)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		l.way, l.client = ExecControl, client
		go c.sandbox.closeAtEnd(d.stop, client)
		return client, nil
	}
	switch k := messages.KindOf(err); {
	case k == messages.DeadlineExceeded, k == messages.Canceled, k == messages.ResourceExhausted:
		// That says nothing of the sandbox, and may be over at the next need.
		return nil, err
	case k == messages.NotFound, k == messages.FailedPrecondition, c.sandbox.isGone(), errors.Is(err, syscall.ECONNREFUSED) && c.endsSoon():
		// That is not the socket's fault: the command line says what it is.
		return nil, nil
	}
	c.demote(err)
	return nil, nil
}

// decided is false while the container has not started too: before, its sandbox
// may have to be restored, and drops its connections for that.
func (c *container) decided() (*controlClient, bool) {
	c.driver.mu.Lock()
	defer c.driver.mu.Unlock()
	switch l := c.sandbox.link; {
	case c.phase != phaseStarted, l.way == ExecCLI:
		return nil, true
	default:
		return l.client, l.way != ""
	}
}

// dial gives a client that is verified.
func (c *container) dial(ctx context.Context) (*controlClient, error) {
	client, err := c.driver.dial(ctx, c.driver.options.Root, c.id(), c.driver.options.controlOptions())
	if err != nil {
		return nil, err
	}
	if err := client.verify(ctx, c.init.Container); err != nil {
		_ = client.Close()
		return nil, err
	}
	return client, nil
}

// demote gives the control socket of the container's sandbox up.
func (c *container) demote(why error) {
	c.driver.mu.Lock()
	l := c.sandbox.link
	known := l.way == ExecCLI
	if !known {
		l.way, l.why = ExecCLI, reasonOf(why)
	}
	c.driver.mu.Unlock()
	if !known {
		c.driver.log.Warn("the sandbox is spoken to by the command line from now on", "sandbox", string(c.sandbox.id), "container", c.id(), "error", why)
	}
}

// reasonOf is an error without what was tried and on which container.
func reasonOf(err error) string {
	var e *messages.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// isUnusable tells of an error that the sandbox does not speak as it was found
// to at first.
func isUnusable(err error) bool {
	return errors.Is(err, errBadReply) || messages.KindOf(err) == messages.Unimplemented
}

// closeAtEnd ends the calls of a client when its sandbox is gone, once what it
// has answered last has been read: a connection that something else still holds
// open must not keep an exit from being told.
func (s *sandbox) closeAtEnd(stop chan struct{}, client *controlClient) {
	defer client.Close()
	select {
	case <-stop:
		return
	case <-s.sentry.gone:
	}
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-stop:
	case <-t.C:
	}
}

// controlOptions reads those flags of runsc that an exec depends on.
func (o Options) controlOptions() controlOptions {
	on := func(name string) bool {
		is, err := strconv.ParseBool(o.Config[name])
		return err == nil && is
	}
	return controlOptions{Timeout: o.CallTimeout, NetRaw: on("net-raw"), FlagOverride: on("allow-flag-override"), Rootless: on("rootless")}
}
