package runsc

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Kill sends a signal to a process, or to all of a container's.
func (d *Driver) Kill(ctx context.Context, p messages.Incarnation, signal syscall.Signal, all bool) error {
	if signal < 1 || signal > 31 {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "kill", Process: p.Process,
			Err: messages.Text("runsc can not send signal " + signal.String()), Hint: "use 1 to 31"}
	}
	if p.IsInit() {
		return d.killInit(ctx, p, signal, all)
	}
	return d.killExec(ctx, p, signal)
}

func (d *Driver) killInit(ctx context.Context, p messages.Incarnation, signal syscall.Signal, all bool) error {
	c, err := d.container("kill", p)
	if err != nil {
		return err
	}
	// Of a container that joined a sandbox, processes may outlive the init.
	if c.isOver() && !all || c.sandbox.isGone() {
		return gone("kill", p)
	}
	err = d.client.Kill(ctx, c.id(), int(signal), &KillOpts{All: all})
	if err == nil {
		if isTerminating(signal) && !c.isRoot() {
			c.settleKill(ctx)
		}
		return nil
	}
	if isEnd(err) {
		return about("kill", p.Process, "", err)
	}
	if errors.Is(err, messages.NotFound) || c.isOver() && !all || c.lost(err) {
		return gone("kill", p)
	}
	return about("kill", p.Process, "", err)
}

// settleKill finds out whether a signal has ended a container that was never
// started. Nothing waits for such a one.
func (c *container) settleKill(ctx context.Context) {
	c.driver.mu.Lock()
	created := c.phase == phaseCreated
	c.driver.mu.Unlock()
	if !created {
		return
	}
	if s, err := c.driver.client.State(ctx, c.id()); err == nil && s.Status == "stopped" {
		c.drop()
	}
}

func (d *Driver) killExec(ctx context.Context, p messages.Incarnation, signal syscall.Signal) error {
	d.mu.Lock()
	e := d.execs[p]
	guest := 0
	if e != nil {
		guest = e.guest
	}
	d.mu.Unlock()
	switch {
	case e == nil:
		return &messages.Error{Kind: messages.NotFound, Op: "kill", Process: p.Process, Err: messages.Text("there is no such process")}
	case isClosed(e.over) || e.init.sandbox.isGone():
		return gone("kill", p)
	case guest == 0:
		return &messages.Error{Kind: messages.FailedPrecondition, Op: "kill", Process: p.Process, Err: messages.Text("it is not started yet")}
	}
	err := d.client.Kill(ctx, e.init.id(), int(signal), &KillOpts{PID: guest})
	switch {
	case err == nil:
		return nil
	case isEnd(err):
		return about("kill", p.Process, "", err)
	case errors.Is(err, messages.NotFound), isClosed(e.over), e.init.lost(err):
		return gone("kill", p)
	}
	return about("kill", p.Process, "", err)
}

// lost tells whether err is that of a sandbox which ends: it closes its socket a
// moment before its process is gone.
func (c *container) lost(err error) bool {
	for _, words := range []string{"control server", "not running", "EOF", "connection reset", "broken pipe"} {
		if strings.Contains(err.Error(), words) {
			return c.endsSoon()
		}
	}
	return c.sandbox.isGone()
}

// gone is the error of a kill that came too late.
func gone(op string, p messages.Incarnation) error {
	return &messages.Error{Kind: messages.NotFound, Op: op, Process: p.Process, Err: messages.Text("the process is gone")}
}
