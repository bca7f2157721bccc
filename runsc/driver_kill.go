package runsc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Kill sends a signal to a process, or to all of a container's.
func (d *Driver) Kill(ctx context.Context, p messages.Incarnation, signal syscall.Signal, all bool) error {
	if signal < 1 || signal > maxSignal {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "kill", Process: p.Process,
			Err: messages.Text(fmt.Sprintf("there is no signal %d", int(signal))), Hint: "use 1 to 64"}
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
	if all {
		err = c.signalAll(ctx, signal)
	} else {
		err = c.signal(ctx, p.Process, 0, signal)
	}
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
	err := e.init.signal(ctx, p.Process, guest, signal)
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

// maxSignal is the last of the real-time signals (signal(7)), and maxCLISignal
// the last one that `runsc kill` knows (runsc/cmd/kill.go, signalMap).
const (
	maxSignal    = 64
	maxCLISignal = 31
)

// signal sends a signal to the process with a pid in the sandbox, or to the
// container's init if that is 0.
func (c *container) signal(ctx context.Context, p messages.Process, guest int, signal syscall.Signal) error {
	return c.send(ctx, p, guest, signal, signalProcess, &KillOpts{PID: guest})
}

// signalAll sends a signal to every process of the container.
func (c *container) signalAll(ctx context.Context, signal syscall.Signal) error {
	return c.send(ctx, c.init.Process, 0, signal, signalAll, &KillOpts{All: true})
}

// send sends a signal over the control socket. The command line is for what is
// not running: of a container that is created or paused runsc decides what comes
// of a signal.
func (c *container) send(ctx context.Context, p messages.Process, guest int, signal syscall.Signal, mode signalMode, o *KillOpts) error {
	client, err := c.control(ctx)
	if err != nil {
		return err
	}
	if client != nil && client.isRunning(c.init.Container) {
		err := client.Signal(ctx, p, guest, signal, mode)
		if !c.needsCLI(err) {
			return err
		}
	}
	if signal > maxCLISignal {
		return &messages.Error{Kind: messages.Unimplemented, Op: "kill", Process: p,
			Err: messages.Text(fmt.Sprintf("runsc can not send signal %d", int(signal))), Hint: fmt.Sprintf("use 1 to %d", maxCLISignal)}
	}
	return c.driver.client.Kill(ctx, c.id(), int(signal), o)
}

// needsCLI tells whether a call over the control socket was not done, and is for
// the command line to do.
func (c *container) needsCLI(err error) bool {
	if isUnusable(err) {
		c.demote(err)
	}
	switch {
	case errors.Is(err, errNotConnected):
		return !c.endsSoon()
	case errors.Is(err, errBadReply):
		return false
	}
	return messages.KindOf(err) == messages.Unimplemented
}

// lost tells whether err is that of a sandbox which ends: it closes its socket a
// moment before its process is gone.
func (c *container) lost(err error) bool {
	if errors.Is(err, errNotConnected) || errors.Is(err, ErrReplyLost) {
		return c.endsSoon()
	}
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
