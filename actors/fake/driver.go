package fake

import (
	"context"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// Hook is a fault: it is given the name of the call and the process that the
// call is for.
type Hook func(ctx context.Context, call string, p messages.Incarnation) error

// Driver is a driver without a host. Its state belongs to one goroutine, which
// runs what the methods send it.
type Driver struct {
	work   chan func()
	closed chan struct{}
	ended  chan struct{} // the goroutine has

	// What follows is only touched by the goroutine, and read by others when it
	// has ended.
	host   *host
	before Hook
	after  Hook
	calls  []string
}

// New starts a driver. Close ends it.
func New() *Driver {
	d := &Driver{work: make(chan func()), closed: make(chan struct{}), ended: make(chan struct{})}
	d.host = newHost(d.do)
	go func() {
		defer close(d.ended)
		for {
			select {
			case fn := <-d.work:
				fn()
			case <-d.closed:
				return
			}
		}
	}()
	return d
}

// do runs fn in the driver's goroutine and waits for it. After Close it does
// nothing.
func (d *Driver) do(fn func()) {
	done := make(chan struct{})
	select {
	case d.work <- func() { fn(); close(done) }:
		<-done
	case <-d.closed:
	}
}

// read is do for what changes nothing: it works after Close too.
func (d *Driver) read(fn func()) {
	done := make(chan struct{})
	select {
	case d.work <- func() { fn(); close(done) }:
		<-done
	case <-d.ended:
		fn()
	}
}

// Before sets what happens when a call begins. An error of it is the call's,
// and the call has no effect.
func (d *Driver) Before(h Hook) { d.do(func() { d.before = h }) }

// After sets what happens when a call has had its effect, before it returns.
// An error of it is the call's all the same.
func (d *Driver) After(h Hook) { d.do(func() { d.after = h }) }

// Calls lists the calls so far: "exec demo/one#2".
func (d *Driver) Calls() (calls []string) {
	d.read(func() { calls = slices.Clone(d.calls) })
	return calls
}

// Held lists the incarnations that the driver holds something of, so that a
// test sees what is left behind. After Close it is what was held then.
func (d *Driver) Held() (held []messages.Incarnation) {
	d.read(func() { held = slices.Collect(maps.Keys(d.host.processes)) })
	return held
}

// Live lists the incarnations whose process lives.
func (d *Driver) Live() (live []messages.Incarnation) {
	d.read(func() {
		for id, p := range d.host.processes {
			if p.live() {
				live = append(live, id)
			}
		}
	})
	return live
}

// Exit ends a process by itself, with a status.
func (d *Driver) Exit(p messages.Process, status int) {
	d.do(func() {
		for id, proc := range d.host.processes {
			if id.Process == p {
				d.host.exit(proc, messages.Exit{Status: status})
			}
		}
	})
}

// KillSentry ends the sandbox that a container lives in, as a SIGKILL of its
// process on the host does.
func (d *Driver) KillSentry(c messages.ContainerID) {
	d.do(func() {
		for id := range d.host.processes {
			if id.Process == messages.Init(c) {
				d.host.killSandbox(id)
			}
		}
	})
}

// OOM reports that the kernel killed a container's sandbox for want of memory.
func (d *Driver) OOM(c messages.ContainerID) {
	d.do(func() {
		for id := range d.host.processes {
			if id.Process == messages.Init(c) {
				d.host.tell(messages.OOMNotice{Process: id})
				d.host.killSandbox(id)
				return
			}
		}
	})
}

// Report tells the runtime something that did not happen on this host.
func (d *Driver) Report(n messages.Notice) { d.do(func() { d.host.tell(n) }) }

// run makes one call: hook, effect, hook.
func (d *Driver) run(ctx context.Context, call string, p messages.Incarnation, effect func() error) error {
	var before, after Hook
	d.do(func() {
		d.calls = append(d.calls, call+" "+p.String())
		before, after = d.before, d.after
	})
	if before != nil {
		if err := before(ctx, call, p); err != nil {
			return err
		}
	}
	var err error = closedError(call, p)
	d.do(func() { err = effect() })
	if err != nil {
		return err
	}
	if after != nil {
		return after(ctx, call, p)
	}
	return nil
}

func closedError(call string, p messages.Incarnation) error {
	return &messages.Error{Kind: messages.Unavailable, Op: call, Process: p.Process, Err: messages.Text("the driver is closed")}
}

// Info implements actors.Driver.
func (d *Driver) Info(ctx context.Context) (messages.DriverInfo, error) {
	err := d.run(ctx, "info", messages.Incarnation{}, func() error { return nil })
	return messages.DriverInfo{Name: "fake"}, err
}

// Notify implements actors.Driver.
func (d *Driver) Notify(tell func(messages.Notice)) { d.do(func() { d.host.tell = tell }) }

// Create implements actors.Driver.
func (d *Driver) Create(ctx context.Context, init messages.Incarnation, c messages.Create) (pids messages.PIDs, err error) {
	err = d.run(ctx, "create", init, func() error {
		pids, err = d.host.create(init, c)
		return err
	})
	return pids, err
}

// Start implements actors.Driver.
func (d *Driver) Start(ctx context.Context, init messages.Incarnation) error {
	return d.run(ctx, "start", init, func() error { return d.host.start(init) })
}

// Exec implements actors.Driver.
func (d *Driver) Exec(ctx context.Context, l messages.Launch) (pids messages.PIDs, err error) {
	err = d.run(ctx, "exec", l.Process, func() error {
		pids, err = d.host.exec(l)
		return err
	})
	return pids, err
}

// Way implements actors.Driver.
func (d *Driver) Way(messages.Incarnation) string { return "fake" }

// Kill implements actors.Driver.
func (d *Driver) Kill(ctx context.Context, p messages.Incarnation, signal syscall.Signal, all bool) error {
	return d.run(ctx, "kill", p, func() error { return d.host.kill(p, signal, all) })
}

// KillSandbox implements actors.Driver.
func (d *Driver) KillSandbox(ctx context.Context, init messages.Incarnation) error {
	return d.run(ctx, "kill sandbox", init, func() error {
		d.host.killSandbox(init)
		return nil
	})
}

// Resize implements actors.Driver.
func (d *Driver) Resize(ctx context.Context, p messages.Incarnation, size messages.WindowSize) error {
	return d.run(ctx, "resize", p, func() error { return d.host.resize(p, size) })
}

// CloseIO implements actors.Driver.
func (d *Driver) CloseIO(ctx context.Context, p messages.Incarnation) error {
	return d.run(ctx, "closeio", p, func() error { return d.host.closeIO(p) })
}

// Pause implements actors.Driver.
func (d *Driver) Pause(ctx context.Context, init messages.Incarnation) error {
	return d.run(ctx, "pause", init, func() error { return d.host.mustRun(init) })
}

// Resume implements actors.Driver.
func (d *Driver) Resume(ctx context.Context, init messages.Incarnation) error {
	return d.run(ctx, "resume", init, func() error { return d.host.mustRun(init) })
}

// Update implements actors.Driver.
func (d *Driver) Update(ctx context.Context, init messages.Incarnation, _ *messages.Resources) error {
	return d.run(ctx, "update", init, func() error { return d.host.mustRun(init) })
}

// Checkpoint implements actors.Driver. Without LeaveRunning the sandbox ends.
func (d *Driver) Checkpoint(ctx context.Context, init messages.Incarnation, c messages.Checkpoint) error {
	return d.run(ctx, "checkpoint", init, func() error {
		if err := d.host.mustRun(init); err != nil {
			return err
		}
		if !c.LeaveRunning {
			d.host.killSandbox(init)
		}
		return nil
	})
}

// Stats implements actors.Driver.
func (d *Driver) Stats(ctx context.Context, init messages.Incarnation) (u messages.Usage, err error) {
	err = d.run(ctx, "stats", init, func() error {
		u = messages.Usage{
			Memory: messages.MemoryUsage{Current: 1 << 20},
			PIDs:   messages.PIDUsage{Current: d.host.count(init)},
		}
		return d.host.mustRun(init)
	})
	return u, err
}

// Delete implements actors.Driver.
func (d *Driver) Delete(ctx context.Context, p messages.Incarnation) error {
	return d.run(ctx, "delete", p, func() error {
		d.host.delete(p)
		return nil
	})
}

// Close implements actors.Driver. Processes that still live are forgotten.
func (d *Driver) Close() error {
	d.do(func() { d.host.stop() })
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return nil
}

// at is when something happened.
func at() time.Time { return time.Now() }
