package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

const (
	// giveUpAfter failures in a row a worker stops: its sandbox is gone.
	giveUpAfter = 20
	// failurePause keeps what fails at once from filling the report.
	failurePause = 50 * time.Millisecond
	// releaseTimeout bounds the letting go of one exec.
	releaseTimeout = 30 * time.Second
)

// worker runs one exec after the other in one container.
type worker struct {
	*run
	number    int
	container messages.ContainerID
	rand      *rand.Rand
	// ctx ends with the load; calls that have begun go on (see call).
	ctx context.Context
}

// work runs execs until the load ends. Its error says why it ended before.
func (w *worker) work() error {
	failures := 0
	for n := 0; w.ctx.Err() == nil && w.take(); n++ {
		p := messages.Process{Container: w.container, Exec: messages.ExecID(fmt.Sprintf("w%d-%d", w.number, n))}
		err := w.one(p, w.options.draw(w.rand))
		if err == nil {
			failures = 0
			continue
		}
		if failures++; failures == giveUpAfter {
			return fmt.Errorf("gave up in container %s after %d failures in a row, the last: %w", w.container, failures, err)
		}
		select {
		case <-time.After(failurePause):
		case <-w.ctx.Done():
		}
	}
	return nil
}

// call is the context of one call: the end of the load does not end it.
func (r *run) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), r.options.CallTimeout)
}

// waited is what wait told.
type waited struct {
	exit messages.Exit
	err  error
	at   time.Time
}

// one is the life of one exec, from its registration to its release.
func (w *worker) one(p messages.Process, plan plan) error {
	w.recorder.count(func(c *Counts) {
		c.Started++
		if plan.terminal {
			c.Terminal++
		}
	})
	begun := time.Now()
	e := Exec{Process: p, Args: plan.args, Terminal: plan.terminal}
	var out counter
	if plan.output > 0 || plan.terminal {
		e.Stdout = &out
	}
	err := w.recorder.timed(OpAdd, func() error {
		ctx, cancel := w.call()
		defer cancel()
		return w.target.Add(ctx, e)
	})
	if err != nil {
		w.recorder.count(func(c *Counts) { c.Failed++ })
		return err
	}

	// Asked before the start, so that the answer is not late. It is given up
	// when the exec is released.
	waitCtx, cancelWait := context.WithCancel(context.Background())
	defer cancelWait()
	exited := make(chan waited, 1)
	go func() {
		exit, err := w.target.Wait(waitCtx, p)
		exited <- waited{exit, err, time.Now()}
	}()

	l := life{worker: w, process: p, plan: plan, exited: exited, stopWait: cancelWait}
	err = l.run()
	w.checker.Settled(p, l.outcome)
	if l.outcome.Exited && err == nil {
		w.verify(p, plan, l, out.n.Load())
	}
	w.recorder.count(func(c *Counts) {
		c.Bytes += uint64(out.n.Load())
		switch {
		case err != nil:
			c.Failed++
		case plan.cancel:
			c.Cancelled++
		case l.cut:
			c.Cut++
		default:
			c.Completed++
			if plan.kill {
				c.Killed++
			}
		}
	})
	if err == nil && !plan.cancel && !l.cut {
		w.recorder.took(OpWhole, time.Since(begun))
	}
	return err
}

// verify looks at the result of an exec that went through its life.
func (w *worker) verify(p messages.Process, plan plan, l life, bytes int64) {
	status := l.outcome.Status
	if l.killed {
		// The kill may have come after the end.
		if status != messages.ExitKilled && (status != 0 || plan.kill) {
			w.checker.Violate(RuleStatus, "%s (%s): killed, and exited with status %d", p, plan.command, status)
		}
		return
	}
	if status != 0 {
		w.checker.Violate(RuleStatus, "%s (%s): exited with status %d", p, plan.command, status)
	}
	if plan.output > 0 && bytes != plan.output {
		w.checker.Violate(RuleOutput, "%s: wrote %d bytes, %d arrived (terminal: %v)", p, plan.output, bytes, plan.terminal)
	}
}

// life is that of one registered exec.
type life struct {
	*worker
	process  messages.Process
	plan     plan
	exited   chan waited
	stopWait context.CancelFunc
	outcome  Outcome
	// killed: we sent SIGKILL. cut: because the load ended.
	killed, cut bool
}

// run starts the exec, lets it live as planned, and releases it.
func (l *life) run() error {
	begun := time.Now()
	if err := l.start(); err != nil {
		return errors.Join(err, l.release())
	}
	if l.plan.cancel {
		// The client has lost interest; it cleans up whatever became of it.
		return l.release()
	}
	var done waited
	if l.plan.kill {
		l.sleep(l.plan.lifetime)
		killed := time.Now()
		if err := l.kill(); err != nil {
			return errors.Join(err, l.release())
		}
		if done = l.wait(); done.err == nil {
			l.recorder.took(OpKillToExit, done.at.Sub(killed))
		}
	} else {
		select {
		case done = <-l.exited:
		case <-l.over:
			// The load has ended and this one would go on.
			l.killed, l.cut = true, true
			if err := l.signal(); err != nil && !gone(err) {
				l.recorder.failed(OpKill, err)
			}
			done = l.wait()
		}
		if done.err == nil && !l.killed {
			l.recorder.took(OpStartToExit, done.at.Sub(begun))
		}
	}
	if done.err != nil {
		l.recorder.failed("exec wait", done.err)
		return errors.Join(done.err, l.release())
	}
	l.outcome = Outcome{Exited: true, Status: done.exit.Status}
	return l.recorder.timed(OpDelete, l.delete)
}

func (l *life) start() error {
	ctx, cancel := l.call()
	defer cancel()
	if !l.plan.cancel {
		return l.recorder.timed(OpStart, func() error { return l.target.Start(ctx, l.process) })
	}
	impatient, cancelStart := context.WithTimeout(ctx, l.plan.patience)
	defer cancelStart()
	err := l.target.Start(impatient, l.process)
	if impatient.Err() != nil || errors.Is(err, messages.DeadlineExceeded) || errors.Is(err, messages.Canceled) {
		// As planned. A server may see the deadline before we do.
		return nil
	}
	if err != nil {
		l.recorder.failed(OpStart, err)
	}
	return err
}

func (l *life) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.ctx.Done():
	}
}

func (l *life) signal() error {
	ctx, cancel := l.call()
	defer cancel()
	return l.target.Kill(ctx, l.process, syscall.SIGKILL)
}

func (l *life) kill() error {
	l.killed = true
	return l.recorder.timed(OpKill, l.signal)
}

// wait waits for the exit, for as long as a call may take.
func (l *life) wait() waited {
	timeout := time.NewTimer(l.options.CallTimeout)
	defer timeout.Stop()
	select {
	case done := <-l.exited:
		return done
	case <-timeout.C:
		return waited{err: &messages.Error{
			Kind: messages.DeadlineExceeded, Op: "wait for", Process: l.process,
			Err: fmt.Errorf("no exit within %v of its kill", l.options.CallTimeout),
		}}
	}
}

func (l *life) delete() error {
	ctx, cancel := l.call()
	defer cancel()
	return l.target.Delete(ctx, l.process)
}

// release lets go of an exec of which it is not known what became of it: it may
// never start, or be starting, or run. It ends when it is deleted.
func (l *life) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	l.killed = true
	for {
		killErr := l.target.Kill(ctx, l.process, syscall.SIGKILL)
		err := l.target.Delete(ctx, l.process)
		if err == nil || gone(err) {
			l.learn()
			return nil
		}
		if !errors.Is(err, messages.FailedPrecondition) && !errors.Is(err, messages.DeadlineExceeded) || ctx.Err() != nil {
			if killErr != nil && !gone(killErr) {
				err = errors.Join(err, killErr)
			}
			l.recorder.failed("exec release", err)
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// learn takes what wait has told by the time that the exec is deleted: its
// exit, or that it never ran. A target may leave the wait unanswered.
func (l *life) learn() {
	select {
	case done := <-l.exited:
		l.outcome = outcomeOf(done)
	case <-time.After(time.Second):
		l.stopWait()
	}
}

func outcomeOf(done waited) Outcome {
	switch {
	case done.err == nil:
		return Outcome{Exited: true, Status: done.exit.Status}
	case errors.Is(done.err, messages.FailedPrecondition):
		return Outcome{NeverStarted: true}
	}
	return Outcome{}
}

// counter counts what an exec writes.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
