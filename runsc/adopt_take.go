package runsc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// adopt takes charge of a container that Survivors has found.
//
// Its init goes on as it was. Its exit is told after its Start, also if it was
// gone before that: then with [messages.ExitUnknown], unless the kernel still
// knows its status.
func (d *Driver) adopt(ctx context.Context, init messages.Incarnation, m messages.Create) (messages.PIDs, error) {
	fail := func(kind error, why, hint string) (messages.PIDs, error) {
		return messages.PIDs{}, &messages.Error{Kind: kind, Op: "adopt", Process: init.Process, Sandbox: m.Sandbox, Err: messages.Text(why), Hint: hint}
	}
	d.mu.Lock()
	h := d.heirs[m.Container]
	var pod *sandbox
	if h != nil && !h.isRoot() {
		pod = d.sandboxes[h.memo.Sandbox]
	}
	d.mu.Unlock()
	switch {
	case h == nil:
		return fail(messages.NotFound, "nothing of that name was left", "ask for the survivors first")
	case !h.isRoot() && pod == nil:
		return fail(messages.FailedPrecondition, "its sandbox is not adopted", "adopt the sandbox's first container before the others")
	}
	c := d.newContainer(init, m)
	c.create.Sandbox, c.create.Bundle, c.create.RestoreFrom = h.memo.Sandbox, h.memo.Bundle, h.memo.RestoreFrom
	c.create.Stdio = h.memo.Stdio.stdio()
	c.adoption = h.adoption()
	if err := d.reserve(c); err != nil {
		return messages.PIDs{}, err
	}
	var err error
	if c.streams, err = c.adoptedStreams(ctx, h); err != nil {
		d.forget(c)
		return messages.PIDs{}, err
	}
	c.takeOver(h, pod)
	d.settleAdopted(c, h)
	return messages.PIDs{Host: h.memo.Sentry.PID, Guest: h.memo.Guest}, nil
}

func (h *heir) adoption() *adoption {
	a := &adoption{started: h.isStarted(), gone: h.sentry == nil, paused: h.state != nil && h.state.Status == "paused", execs: map[messages.ExecID]*execHeir{}}
	for _, x := range h.execs {
		a.execs[x.memo.Exec] = x
	}
	return a
}

// adoptedStreams are those of an init. What went through the program that is dead
// has no other end any more; only a container that joined a sandbox and was not
// started has streams yet to be given.
func (c *container) adoptedStreams(ctx context.Context, h *heir) (*streams, error) {
	if !c.isRoot() && !c.adoption.started && !c.adoption.gone {
		return openStreams(ctx, c.init.Process, c.create.Stdio, c.driver.streamOptions(c.id()))
	}
	return adoptStreams(c.init.Process, h.memo.Stdio, c.driver.streamOptions(c.id())), nil
}

// takeOver gives the container what the heir has.
func (c *container) takeOver(h *heir, pod *sandbox) {
	d := c.driver
	c.dir, c.lock, c.token, c.rootfs = h.dir, h.lock, h.memo.Token, h.rootfs()
	c.bundle = h.bundle(c.init.Process)
	c.cgroup = &cgroup{root: cgroupRoot, path: h.memo.Cgroup, foreign: h.memo.Cgroup == ""}
	c.removeStale()
	switch {
	case pod != nil:
		c.sandbox = pod
		if h.sentry != nil {
			h.sentry.close()
		}
	case h.sentry == nil:
		c.sandbox = &sandbox{id: h.memo.Sandbox, sentry: goneGuard(h.memo.Sentry.PID, unseen), link: newLink()}
	default:
		c.sandbox = &sandbox{id: h.memo.Sandbox, sentry: watch(h.sentry, d.codes), link: newLink()}
		if o := newOOMCounter(c.cgroup.root, h.memo.Sentry.PID); o != nil {
			// What the kernel killed meanwhile counts.
			o.start = h.memo.OOM
			c.sandbox.oom = o
		}
	}
}

// bundle is the container's as runsc has it. The user's may have changed or be
// gone.
func (h *heir) bundle(p messages.Process) *bundle {
	if h.state != nil && h.state.Spec != nil {
		b := &bundle{dir: h.memo.Bundle, spec: h.state.Spec}
		if b.spec.Root != nil {
			b.root = b.spec.Root.Path
		}
		return b
	}
	if b, err := openBundle(p, h.memo.Bundle); err == nil {
		return b
	}
	return &bundle{dir: h.memo.Bundle, spec: &specs.Spec{}}
}

// removeStale removes the sockets and pid files of calls that have died with
// their program.
func (c *container) removeStale() {
	entries, _ := os.ReadDir(c.dir)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), memoSuffix) {
			_ = os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
}

// settleAdopted publishes what was taken over and begins to watch for its end.
func (d *Driver) settleAdopted(c *container, h *heir) {
	d.mu.Lock()
	c.phase = phaseCreated
	if c.adoption.started {
		// Its execs are adopted before its Start.
		c.phase = phaseStarted
	}
	if c.isRoot() {
		d.sandboxes[c.sandbox.id] = c.sandbox
	}
	delete(d.heirs, h.memo.Container)
	d.mu.Unlock()
	go c.watchAdopted()
}

// watchAdopted tells the exit of a container that was adopted, after its Start if
// it was started: until then its execs are being adopted.
func (c *container) watchAdopted() {
	if c.adoption.started {
		select {
		case <-c.started:
		case <-c.dropped:
		case <-c.driver.stop:
			return
		}
	}
	switch {
	case c.isRoot():
		c.watchSandbox()
	case c.adoption.gone:
		c.finish(lost(unseen))
	default:
		c.watchMember()
	}
}

// lost is the exit of what nobody saw.
func lost(why error) messages.Exit {
	return messages.Exit{Status: messages.ExitUnknown, At: time.Now(), Reason: "its exit status is lost: " + why.Error()}
}

// startAdopted starts nothing: from here on the container's exit is told.
//
// A paused container is resumed, since nothing tells a successor that it is
// paused, and who does not know that can not resume it.
func (c *container) startAdopted(ctx context.Context) error {
	d := c.driver
	d.mu.Lock()
	told := c.adoption.told
	c.adoption.told = true
	d.mu.Unlock()
	if told {
		return &messages.Error{Kind: messages.FailedPrecondition, Op: "start", Process: c.init.Process, Err: messages.Text("it was started before")}
	}
	if c.adoption.paused && !c.sandbox.isGone() {
		d.log.Warn("resume a container that was paused when its program was killed", "container", c.id())
		if err := d.client.Resume(ctx, c.id()); err != nil {
			d.log.Warn("resume a container", "container", c.id(), "error", err)
		}
	}
	close(c.started)
	if c.isRoot() && c.asksStatus() {
		go c.askStatus()
	}
	return nil
}

// asksStatus tells whether a root container's init is to be waited for by `runsc
// wait` too. The sandbox of an adopted one is nobody's child here.
func (c *container) asksStatus() bool {
	return c.driver.waits || c.adoption != nil && !c.adoption.gone && !pidfdInfoKnown()
}

// goneGuard is for a process that was gone before anybody could watch it.
func goneGuard(pid int, why error) *guard {
	g := &guard{pidfd: closedPidfd(pid), gone: make(chan struct{}), end: exitCode{unknown: why}}
	close(g.gone)
	return g
}

// adopt takes charge of an exec of an adopted container. The exit of one that is
// gone is told at once.
func (p *process) adopt(ctx context.Context) (messages.PIDs, error) {
	d := p.init.driver
	d.mu.Lock()
	var x *execHeir
	if a := p.init.adoption; a != nil {
		x = a.execs[p.self.Exec]
	}
	d.mu.Unlock()
	if x == nil {
		return messages.PIDs{}, &messages.Error{Kind: messages.NotFound, Op: "adopt", Process: p.self.Process, Err: messages.Text("nothing of that name was left"), Hint: "ask for the survivors first"}
	}
	if err := d.reserveExec(p); err != nil {
		return messages.PIDs{}, err
	}
	var err error
	if p.client, err = p.init.control(ctx); err != nil {
		d.forgetExec(p)
		return messages.PIDs{}, about("adopt", p.self.Process, "", err)
	}
	p.memo = x.path
	p.streams = adoptStreams(p.self.Process, x.memo.Stdio, d.streamOptions(string(p.self.Exec)))
	d.mu.Lock()
	p.guest = x.memo.Guest
	delete(p.init.adoption.execs, p.self.Exec)
	d.mu.Unlock()
	await := func() (messages.Exit, bool) { return lost(unseen), true }
	if !x.gone {
		await = p.beginAwait(ctx, x)
	}
	go func() {
		defer x.release()
		if e, told := await(); told {
			p.tellExit(e)
		}
	}()
	return messages.PIDs{Host: x.memo.Host.PID, Guest: x.memo.Guest}, nil
}

// beginAwait begins to wait for an exec that was adopted, before it is told to be:
// what ends after that is seen. The result ends the wait; its second result is
// false if the driver was closed first.
//
// The sandbox is asked, as often as there is somebody who waits: each of those
// that wait when the process ends is told (runsc/boot/loader.go, waitPID). The
// stub is no child of ours, and its exit code is there for those who had it open
// before it was reaped (PIDFD_GET_INFO).
func (p *process) beginAwait(ctx context.Context, x *execHeir) func() (messages.Exit, bool) {
	var standIn *guard
	if x.stub != nil {
		standIn = watch(x.stub, codeOfGone)
	}
	hangsUp := x.isToHangUp()
	if hangsUp && p.client == nil {
		p.warnHangUp(messages.Text("its sandbox is not spoken to over the control socket"))
	}
	var await func() (messages.Exit, bool)
	switch {
	case p.client != nil:
		await = p.beginAwaitGuest(ctx, hangsUp)
	case standIn != nil && pidfdInfoKnown():
		return func() (messages.Exit, bool) { return p.awaitStandIn(standIn) }
	default:
		await = func() (messages.Exit, bool) { return p.awaitByCLI(context.Background()) }
	}
	return func() (messages.Exit, bool) {
		e, told := await()
		if told && e.Status == messages.ExitUnknown && standIn != nil {
			// The stub was told.
			if status, known := standIn.lastStatus(); known {
				return messages.Exit{Status: status, At: time.Now()}, true
			}
		}
		return e, told
	}
}

// beginAwaitGuest waits over the control socket, and hangs the terminal up
// meanwhile if that is still to do. The request is sent when it returns.
func (p *process) beginAwaitGuest(ctx context.Context, hangsUp bool) func() (messages.Exit, bool) {
	k := p.client.waitCall(p.self.Process, p.guest)
	conn, err := p.client.request(ctx, k, time.Time{})
	return func() (messages.Exit, bool) {
		if hangsUp {
			defer p.beginHangUp(conn)()
		}
		if err == nil {
			raw, err := p.client.answer(context.Background(), conn, k, time.Time{})
			if err == nil {
				if status, err := decodeStatus(raw); err == nil {
					return messages.Exit{Status: status.exit(), At: time.Now()}, true
				}
			}
		}
		// Whatever it was, it is asked for anew, and dealt with there.
		e, told := p.awaitGuest()
		if e.Status == messages.ExitUnknown {
			e = lost(unseen)
		}
		return e, told
	}
}

// awaitStandIn waits for the end of a stub, and so of its process. One that was
// killed, by the hang-up of its terminal for instance, says nothing of the
// process, which then is waited for by the command line.
func (p *process) awaitStandIn(stub *guard) (messages.Exit, bool) {
	select {
	case <-stub.gone:
	case <-p.init.driver.stop:
		return messages.Exit{}, false
	case <-p.init.sandbox.sentry.gone:
	}
	if status, known := stub.lastStatus(); known {
		return messages.Exit{Status: status, At: time.Now()}, true
	}
	e, told := p.awaitByCLI(context.Background())
	// runsc itself fails with 128 (runsc/cmd/util/util.go), and what it has logged
	// went to the program that is dead. Of a process that is gone it may be the
	// status.
	if told && e.Status == messages.ExitUnknown && isClosed(stub.gone) && stub.end == (exitCode{code: 128}) {
		return messages.Exit{Status: 128, At: time.Now()}, true
	}
	return e, told
}

// lastStatus is that of a stub which ends at about this moment, if it tells one
// of its process.
func (g *guard) lastStatus() (int, bool) {
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-g.gone:
		return g.end.code, g.end.unknown == nil && g.end.signal == 0 && g.end.code != 128
	case <-t.C:
		return 0, false
	}
}

// awaitByCLI waits for a process in the sandbox by `runsc wait`.
func (p *process) awaitByCLI(ctx context.Context) (messages.Exit, bool) {
	c := p.init
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		status int
		err    error
	}
	for pause := waitAgainFirst; ; pause = min(2*pause, waitAgainMost) {
		answers := make(chan answer, 1)
		go func() {
			status, err := c.driver.client.Wait(ctx, c.id(), &WaitOpts{PID: p.guest})
			answers <- answer{status, err}
		}()
		var a answer
		select {
		case a = <-answers:
		case <-c.sandbox.sentry.gone:
			a = lastAnswer(answers, answer{err: errors.New(sandboxGone)})
		case <-c.driver.stop:
			return messages.Exit{}, false
		}
		switch {
		case a.err == nil:
			return messages.Exit{Status: a.status, At: time.Now()}, true
		case c.sandbox.isGone() || c.endsSoon():
			return killed(sandboxGone), true
		case errors.Is(a.err, messages.NotFound):
			return lost(unseen), true
		}
		c.driver.log.Warn("wait for a process", "process", p.self.String(), "error", a.err)
		if !pauseFor(ctx, pause) {
			return messages.Exit{}, false
		}
	}
}
