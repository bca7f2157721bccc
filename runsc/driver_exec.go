package runsc

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// process is one exec.
type process struct {
	self    messages.Incarnation
	init    *container
	streams *streams
	// stub is the runsc that stands for it; nil for one that was started over the
	// control socket, by client.
	stub   *running
	client *controlClient
	// guest is its pid in the sandbox, 0 until it is told; guarded by the
	// driver's lock.
	guest int
	// over is closed when its exit is known, before it is told.
	over     chan struct{}
	deleting chan struct{}
	// memo is the file of its record.
	memo string
}

// Exec starts a process in a container: over the sandbox's control socket, or by
// a `runsc exec` that stands for it, is a child of ours and exits with its status
// (see [Options.ExecDriver]).
//
// Over the control socket a process has nothing of its own on the host, and
// PIDs.Host is that of the sandbox, as it is for an init: it is there for as long
// as the process is, and is the one that the kernel counts for it. So several
// processes have the same; Guest tells them apart.
//
// When ctx ends first the call ends with it. The sandbox may start the process
// all the same, since a request can not be taken back; then it is killed as soon
// as its pid is told.
func (d *Driver) Exec(ctx context.Context, l messages.Launch) (_ messages.PIDs, err error) {
	c, err := d.container("exec in", l.Init)
	if err != nil {
		return messages.PIDs{}, about("start", l.Process.Process, "", err)
	}
	p := &process{self: l.Process, init: c, over: make(chan struct{}), deleting: make(chan struct{}, 1)}
	if l.Adopt != nil {
		return p.adopt(ctx)
	}
	if err := d.reserveExec(p); err != nil {
		return messages.PIDs{}, err
	}
	defer func() {
		if err != nil {
			d.forgetExec(p)
		}
	}()
	if p.client, err = c.control(ctx); err == nil && p.client == nil && d.options.ExecDriver == ExecControl {
		err = p.noControl()
	}
	if err != nil {
		return messages.PIDs{}, about("start", l.Process.Process, "", err)
	}
	if p.streams, err = openStreams(ctx, l.Process.Process, l.Stdio, p.streamOptions()); err != nil {
		return messages.PIDs{}, err
	}
	pids, err := p.launch(ctx, l)
	if err == nil {
		err = p.remember(l, pids)
	}
	if err != nil {
		_ = p.streams.Close()
		return messages.PIDs{}, about("start", l.Process.Process, "", err)
	}
	if l.StdinClosed {
		if err := p.streams.CloseIO(); err != nil {
			d.log.Warn("close stdin", "process", p.self.String(), "error", err)
		}
	}
	go p.watch()
	return pids, nil
}

func (d *Driver) reserveExec(p *process) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fail := func(kind error, why string) error {
		return &messages.Error{Kind: kind, Op: "start", Process: p.self.Process, Err: messages.Text(why)}
	}
	switch {
	case d.closed:
		return fail(messages.Unavailable, "the driver is closed")
	case d.execs[p.self] != nil:
		return fail(messages.AlreadyExists, "it exists")
	case p.init.isOver():
		return fail(messages.FailedPrecondition, "its container is dead")
	}
	d.execs[p.self] = p
	return nil
}

func (d *Driver) forgetExec(p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.execs, p.self)
}

// streamOptions are those of its way: only where the sandbox is given the streams
// can they be anything but pipes.
func (p *process) streamOptions() streamOptions {
	o := p.init.driver.streamOptions(string(p.self.Exec))
	if p.client != nil {
		o.Direct, o.Guest = true, p.guestTerminal
	}
	return o
}

// launch starts the process.
func (p *process) launch(ctx context.Context, l messages.Launch) (messages.PIDs, error) {
	if p.streams.terminal() {
		if _, err := p.streams.openPty(); err != nil {
			return messages.PIDs{}, err
		}
	}
	if p.client != nil {
		pids, err := p.launchControl(ctx, l)
		if err == nil {
			return pids, nil
		}
		if !p.init.needsCLI(err) || p.init.driver.options.ExecDriver == ExecControl {
			return messages.PIDs{}, p.notStarted(err)
		}
		// Nothing was done. The command line gets through, or says why it does not.
		p.client = nil
	}
	return p.launchStub(ctx, l)
}

func (p *process) begun(host, guest int) messages.PIDs {
	d := p.init.driver
	d.mu.Lock()
	p.guest = guest
	d.mu.Unlock()
	return messages.PIDs{Host: host, Guest: guest}
}

// notStarted is the error of an exec that was not started: that the container is
// dead, where that explains it. A sandbox that is killed ends what it was asked a
// moment before its process is gone. What it has said of the command itself is
// clear, and may quote any words.
func (p *process) notStarted(err error) error {
	k := messages.KindOf(err)
	unclear := k == messages.Internal || k == messages.Unavailable
	if p.init.isOver() || p.init.sandbox.isGone() || unclear && p.init.lost(err) {
		return p.dead(err)
	}
	return err
}

func (p *process) dead(err error) error {
	return &messages.Error{Kind: messages.FailedPrecondition, Op: "start", Process: p.self.Process, Err: errors.Join(messages.Text("its container is dead"), err)}
}

// watch tells the exit of the process.
func (p *process) watch() {
	await := p.awaitStub
	if p.client != nil {
		await = p.awaitGuest
	}
	e, told := await()
	if !told {
		return
	}
	p.tellExit(e)
}

func (p *process) tellExit(e messages.Exit) {
	p.streams.processGone()
	// Who is told may delete at once.
	close(p.over)
	p.init.driver.notify(messages.ExitNotice{Process: p.self, Exit: e})
}

// killGuest kills the process in the sandbox and comes back when it is gone, or
// the sandbox is. It is false if the driver was closed.
func (p *process) killGuest() bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := p.init.signal(ctx, p.self.Process, p.guest, syscall.SIGKILL)
		if errors.Is(err, messages.NotFound) {
			return true
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.init.sandbox.sentry.gone:
			return true
		case <-p.init.driver.stop:
			return false
		}
	}
}
