package runsc

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// sandboxGone is the reason of an exit that nobody gave.
const sandboxGone = "the sandbox is gone"

// lastWords is how long a process of a sandbox that is gone may take to tell its
// own status: the sandbox's last answers are on their way.
const lastWords = 500 * time.Millisecond

// lastBreath is how long a sandbox that has closed its socket may take to be
// gone, on a machine that is busy.
const lastBreath = 2 * time.Second

// watchSandbox tells the exit of a root container's init, which is that of its
// sandbox.
func (c *container) watchSandbox() {
	select {
	case <-c.sandbox.sentry.gone:
	case <-c.driver.stop:
		return
	}
	end := c.sandbox.sentry.end
	if end.unknown != nil && c.asksStatus() {
		if status := lastAnswer(c.waited, -1); status >= 0 {
			end = exitCode{code: status}
		}
	}
	c.finish(c.exitOfSandbox(end))
}

// askStatus asks the sandbox for the status of a root container's init. It is the
// way of kernels before Linux 6.15 without a subreaper, and comes too late for an
// init that is gone at once: then the status is lost, and its exit says so.
func (c *container) askStatus() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.over:
		case <-c.driver.stop:
		case <-ctx.Done():
		}
		cancel()
	}()
	if status, err := c.askInit(ctx); err == nil {
		c.waited <- status
	}
}

// exitOfSandbox reads a sentry's end: by itself it exits with the guest's code,
// which is 128 + the signal's number for a guest that died by one. A sentry that
// itself died by a signal was killed from outside.
func (c *container) exitOfSandbox(end exitCode) messages.Exit {
	e := messages.Exit{Status: end.status(), At: time.Now()}
	switch {
	case end.unknown != nil:
		e.Status, e.Reason = messages.ExitUnknown, "its exit status is lost: "+end.unknown.Error()
	case end.signal != 0:
		e.Reason = fmt.Sprintf("%s: it died by signal %d", sandboxGone, int(end.signal))
	default:
		// A sentry that fails logs why and exits with 128 (runsc/cmd/util/util.go).
		if texts := parseLog(readMemory(c.log)); end.code == 128 && len(texts) > 0 {
			e.Reason = "the sandbox failed: " + cut(texts[len(texts)-1])
		}
	}
	return e
}

// finish tells a container's exit, once. The kernel's kill for want of memory
// comes before the exit that it explains.
func (c *container) finish(e messages.Exit) {
	c.driver.mu.Lock()
	// What ended by itself in the last moment has no other reason.
	if c.reason != "" && e.Reason != "" {
		e.Reason = c.reason
	}
	c.driver.mu.Unlock()
	if e.Status == messages.ExitKilled && c.sandbox.isGone() && c.sandbox.oom.grew() {
		c.driver.notify(messages.OOMNotice{Process: c.init})
		e.Reason = "the kernel killed the sandbox for want of memory"
	}
	c.driver.notify(messages.ExitNotice{Process: c.init, Exit: e})
	close(c.over)
}

// killed is the exit of what died with the sandbox or with its container.
func killed(reason string) messages.Exit {
	return messages.Exit{Status: messages.ExitKilled, At: time.Now(), Reason: reason}
}

// watchMember tells the exit of a container that joined a sandbox: its init is
// no process of the host, and its sandbox lives on. A wait that begins
// after the exit still gets the status (runsc/boot/loader.go, waitContainer).
func (c *container) watchMember() {
	select {
	case <-c.started:
		if e, known := c.waitMember(); known {
			c.finish(e)
		}
	case <-c.dropped:
		c.finish(killed("it was ended before its start"))
	case <-c.sandbox.sentry.gone:
		c.finish(killed(sandboxGone))
	case <-c.driver.stop:
	}
}

// waitMember is false if the driver was closed first.
func (c *container) waitMember() (messages.Exit, bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type answer struct {
		status int
		err    error
	}
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		answers := make(chan answer, 1)
		go func() {
			status, err := c.askInit(ctx)
			answers <- answer{status, err}
		}()
		var a answer
		select {
		case a = <-answers:
		case <-c.sandbox.sentry.gone:
			a = lastAnswer(answers, answer{err: errors.New(sandboxGone)})
		case <-c.dropped:
			a = lastAnswer(answers, answer{err: errors.New("it was deleted")})
		case <-c.driver.stop:
			return messages.Exit{}, false
		}
		switch {
		case a.err == nil:
			return messages.Exit{Status: a.status, At: time.Now()}, true
		case c.wasDropped(errors.Is(a.err, messages.NotFound)):
			return killed("it was deleted"), true
		case c.sandbox.isGone() || c.endsSoon():
			return killed(sandboxGone), true
		case errors.Is(a.err, messages.NotFound):
			return messages.Exit{Status: messages.ExitUnknown, At: time.Now(), Reason: "somebody else deleted the container"}, true
		}
		c.driver.log.Warn("wait for a container", "container", c.id(), "error", a.err)
		pauseFor(ctx, pause)
	}
}

// askInit waits for a container's init, over the control socket or by a `runsc
// wait`. The sandbox answers that as often as it is asked.
func (c *container) askInit(ctx context.Context) (int, error) {
	client, err := c.control(ctx)
	if err != nil {
		return 0, err
	}
	if client != nil {
		status, err := client.Wait(ctx, c.init.Container)
		if err == nil || !c.needsCLI(err) && !errors.Is(err, errBadReply) {
			return status.exit(), err
		}
	}
	return c.driver.client.Wait(ctx, c.id(), nil)
}

func lastAnswer[T any](answers chan T, none T) T {
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case a := <-answers:
		return a
	case <-t.C:
		return none
	}
}

// wasDropped tells whether the container was deleted. One that runsc does not
// know any more may be in the middle of a Delete of ours.
func (c *container) wasDropped(unknown bool) bool {
	if !unknown {
		return isClosed(c.dropped)
	}
	t := time.NewTimer(c.driver.options.DeleteTimeout)
	defer t.Stop()
	select {
	case c.deleting <- struct{}{}:
		// Nobody deletes, or nobody does any more.
		<-c.deleting
	case <-c.dropped:
	case <-c.driver.stop:
	case <-t.C:
	}
	return isClosed(c.dropped)
}

// endsSoon tells whether the sandbox is about to end: it closes its connections
// a moment before its process is gone.
func (c *container) endsSoon() bool {
	t := time.NewTimer(lastBreath)
	defer t.Stop()
	select {
	case <-c.sandbox.sentry.gone:
		return true
	case <-t.C:
		return false
	}
}

// waitOver waits for the container's exit to be told.
func (c *container) waitOver(ctx context.Context) bool {
	select {
	case <-c.over:
		return true
	case <-ctx.Done():
		return false
	}
}

// killSentry kills the sandbox without asking it.
func (c *container) killSentry() error {
	if err := c.sandbox.sentry.pidfd.signal(syscall.SIGKILL); err != nil && !c.sandbox.isGone() && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
