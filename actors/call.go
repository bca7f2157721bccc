package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// call calls the driver off the mailbox and sends the outcome back as a
// message. A driver that does not return at its deadline is answered for, so
// that its asker is not held; what it says later still comes, with the same
// number, and the machine knows it as late.
func (rt *Runtime) call(self *actor.PID, c lifecycle.Call) {
	timeout := rt.timeout(c.Do)
	stop := rt.world.AfterFunc(timeout+grace, func() {
		rt.system.Root.Send(self, lifecycle.Answer{Op: c.Op, Err: &messages.Error{
			Kind: messages.DeadlineExceeded, Op: c.Do.Verb(), Process: c.Target.Process,
			Err:  fmt.Errorf("the runtime has not answered for %v", timeout+grace),
			Hint: "the sandbox may hang; kill its container with SIGKILL",
		}, Overdue: true})
	})
	rt.world.Go(func() {
		ctx, cancel := context.WithTimeout(rt.ctx, timeout)
		defer cancel()
		a := rt.invoke(ctx, c)
		stop()
		a.Op = c.Op
		rt.system.Root.Send(self, returned{a})
	})
}

// invoke makes the call that c.Do says. A panic of the driver is its error.
func (rt *Runtime) invoke(ctx context.Context, c lifecycle.Call) (a lifecycle.Answer) {
	defer func() {
		if r := recover(); r != nil {
			a.Err = rt.panicError(c.Do.Verb(), c.Target, r)
		}
	}()
	defer func() { a.Err = kinded(c, a.Err) }()
	d := rt.options.Driver
	switch do := c.Do.(type) {
	case lifecycle.DoCreate:
		a.PIDs, a.Err = d.Create(ctx, c.Target, do.Create)
	case lifecycle.DoStart:
		a.Err = d.Start(ctx, c.Target)
	case lifecycle.DoExec:
		a.PIDs, a.Err = d.Exec(ctx, do.Launch)
	case lifecycle.DoKill:
		a.Err = d.Kill(ctx, c.Target, do.Signal, do.All)
	case lifecycle.DoKillSandbox:
		a.Err = d.KillSandbox(ctx, c.Target)
	case lifecycle.DoResize:
		a.Err = d.Resize(ctx, c.Target, do.Size)
	case lifecycle.DoCloseIO:
		a.Err = d.CloseIO(ctx, c.Target)
	case lifecycle.DoDelete:
		a.Err = d.Delete(ctx, c.Target)
	case lifecycle.DoPause:
		a.Err = d.Pause(ctx, c.Target)
	case lifecycle.DoResume:
		a.Err = d.Resume(ctx, c.Target)
	case lifecycle.DoUpdate:
		a.Err = d.Update(ctx, c.Target, do.Resources)
	case lifecycle.DoCheckpoint:
		a.Err = d.Checkpoint(ctx, c.Target, do.Checkpoint)
	case lifecycle.DoStats:
		a.Usage, a.Err = d.Stats(ctx, c.Target)
	default:
		panic(fmt.Sprintf("actors: no such call: %T", c.Do))
	}
	return a
}

// panicError logs a panic of the driver and makes an error of it.
func (rt *Runtime) panicError(verb string, p messages.Incarnation, r any) error {
	rt.log.Error("driver panicked", slog.String("call", verb), slog.String("process", p.String()),
		slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
	return &messages.Error{
		Kind: messages.Internal, Op: verb, Process: p.Process,
		Err: fmt.Errorf("panic in the driver: %v", r), Hint: "this is a defect: please report it",
	}
}

// kinded gives an error of the driver a kind, and the name of what was tried, if
// it has none.
func kinded(c lifecycle.Call, err error) error {
	var known *messages.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &messages.Error{Kind: messages.KindOf(err), Op: c.Do.Verb(), Process: c.Target.Process, Err: err}
}

func (rt *Runtime) timeout(do lifecycle.Do) time.Duration {
	t := rt.options.Timeouts
	switch do.(type) {
	case lifecycle.DoCreate:
		return t.Create
	case lifecycle.DoStart:
		return t.Start
	case lifecycle.DoExec:
		return t.Exec
	case lifecycle.DoKill, lifecycle.DoKillSandbox:
		return t.Kill
	case lifecycle.DoDelete:
		return t.Delete
	case lifecycle.DoCheckpoint:
		return t.Checkpoint
	}
	return t.Call
}

// discard kills and deletes a process that nobody was told of. Nobody would ask
// for it again either, so what fails is repeated, ever more rarely: a driver
// deletes no exec that it has killed and that has not ended yet.
func (rt *Runtime) discard(p messages.Incarnation) {
	rt.log.Warn("discarding a process that came too late", slog.String("process", p.String()))
	rt.discardAfter(discardPause, p)
}

const (
	discardPause = 10 * time.Millisecond
	// discardPauseMost bounds the pauses; with it a discard is given up after
	// about a minute, and what is left goes with its container.
	discardPauseMost = 30 * time.Second
)

func (rt *Runtime) discardAfter(pause time.Duration, p messages.Incarnation) {
	timeout := rt.options.Timeouts.Delete
	if !p.IsInit() {
		timeout += rt.options.Timeouts.Kill
	}
	again := func() {
		if pause > discardPauseMost || rt.ctx.Err() != nil {
			rt.log.Error("a discarded process is left behind", slog.String("process", p.String()))
			return
		}
		rt.world.AfterFunc(pause, func() { rt.discardAfter(4*pause, p) })
	}
	rt.aside("discard", p, timeout, again, func(ctx context.Context) error {
		if !p.IsInit() {
			killCtx, cancel := context.WithTimeout(ctx, rt.options.Timeouts.Kill)
			defer cancel()
			if err := rt.options.Driver.Kill(killCtx, p, syscall.SIGKILL, false); err != nil && messages.KindOf(err) != messages.NotFound {
				return err
			}
		}
		return rt.options.Driver.Delete(ctx, p)
	})
}

// killChild kills the process behind an actor that panicked. An init that the
// runtime can not kill takes its sandbox with it.
func (rt *Runtime) killChild(p messages.Incarnation) {
	rt.aside("kill", p, rt.options.Timeouts.Kill*2, nil, func(ctx context.Context) error {
		killCtx, cancel := context.WithTimeout(ctx, rt.options.Timeouts.Kill)
		defer cancel()
		err := rt.options.Driver.Kill(killCtx, p, syscall.SIGKILL, p.IsInit())
		if err == nil || messages.KindOf(err) == messages.NotFound || !p.IsInit() {
			return err
		}
		return rt.options.Driver.KillSandbox(ctx, p)
	})
}

// aside does something with the driver that nobody waits for. If it fails,
// failed is called, where it is not nil.
func (rt *Runtime) aside(what string, p messages.Incarnation, timeout time.Duration, failed func(), fn func(context.Context) error) {
	attempt := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = rt.panicError(what, p, r)
			}
		}()
		ctx, cancel := context.WithTimeout(rt.ctx, timeout)
		defer cancel()
		return fn(ctx)
	}
	rt.system.Root.Send(rt.reaper, chore{1})
	rt.world.Go(func() {
		defer rt.system.Root.Send(rt.reaper, chore{-1})
		err := attempt()
		if err == nil || messages.KindOf(err) == messages.NotFound {
			return
		}
		rt.log.Warn(what+" failed", slog.String("process", p.String()), slog.Any("error", err))
		if failed != nil {
			failed()
		}
	})
}
