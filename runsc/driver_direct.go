package runsc

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// launchControl starts the process over the control socket.
func (p *process) launchControl(ctx context.Context, l messages.Launch) (messages.PIDs, error) {
	guest, err := p.client.Exec(ctx, p.self.Process, l.Spec, p.streams.childEnds())
	if happenedUnknown(err) {
		guest, err = p.findLost(ctx, l, err)
	}
	if err != nil {
		return messages.PIDs{}, err
	}
	// A process that lives is not lost for an end that does not close.
	_ = p.streams.CloseAfterStart()
	pids := p.begun(p.init.sandbox.sentry.pidfd.pid, guest)
	p.streams.started(guest)
	return pids, nil
}

// noControl is the error of an exec that may only be started over the control
// socket.
func (p *process) noControl() error {
	d := p.init.driver
	e := &messages.Error{Kind: messages.Unavailable, Op: "start", Process: p.self.Process,
		Err:  messages.Text("the container's sandbox can not be spoken to over its control socket"),
		Hint: "set the exec driver to auto to use the command line instead"}
	d.mu.Lock()
	defer d.mu.Unlock()
	if why := p.init.sandbox.link.why; why != "" {
		e.Err = messages.Text(e.Err.Error() + ": " + why)
	}
	return e
}

// guestTerminal stands between what is typed and the pty, in the place of the
// stub that would lead the terminal's session.
func (p *process) guestTerminal(master *os.File, keys io.Writer) (g *guestTerminal, err error) {
	err = withFDs([]*os.File{master}, nil, func(fds []int) error {
		g, err = p.client.terminal(p.self.Process, uintptr(fds[0]), keys)
		return err
	})
	return g, err
}

// The pauses between two waits for one process.
const (
	waitAgainFirst = 5 * time.Millisecond
	waitAgainMost  = time.Second
)

// awaitGuest waits for the process in the sandbox. The second result is false if
// the driver was closed first.
//
// The answer to a wait takes the process's record, so that a wait whose answer
// is lost can be the last that knew the status.
func (p *process) awaitGuest() (messages.Exit, bool) {
	for pause := waitAgainFirst; ; pause = min(2*pause, waitAgainMost) {
		status, err := p.client.WaitPID(context.Background(), p.self.Process, p.guest)
		switch {
		case err == nil:
			return messages.Exit{Status: status.exit(), At: time.Now()}, true
		case isClosed(p.init.driver.stop):
			return messages.Exit{}, false
		case p.init.sandbox.isGone(), p.init.endsSoon():
			return killed(sandboxGone), true
		case errors.Is(err, messages.NotFound):
			return messages.Exit{Status: messages.ExitUnknown, At: time.Now(), Reason: "its exit status is lost: the sandbox has given it to another wait"}, true
		case errors.Is(err, errNotConnected):
			return p.awaitByCLI(context.Background())
		case isUnusable(err):
			p.init.demote(err)
			if !p.killGuest() {
				return messages.Exit{}, false
			}
			if p.init.sandbox.isGone() {
				return killed(sandboxGone), true
			}
			return killed("the sandbox can not be understood: " + reasonOf(err) + "; so it was killed"), true
		}
		p.init.driver.log.Warn("wait for a process", "process", p.self.String(), "error", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.init.driver.stop:
			t.Stop()
			return messages.Exit{}, false
		}
	}
}
