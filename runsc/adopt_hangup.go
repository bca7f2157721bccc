package runsc

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// isToHangUp tells of an exec that lives whether it has yet to be told that its
// terminal is gone. The kernel hangs a pty up when the program that has its master
// dies, and tells the leader of its session on the host: a stub passes that on, and
// over the control socket there is none.
func (x *execHeir) isToHangUp() bool {
	return x.memo.Way == ExecControl && x.memo.Stdio.Terminal && !x.memo.Stdio.HungUp
}

// beginHangUp begins to hang the terminal up while its process is waited for, which
// conn has asked the sandbox for; nil where it could not be asked yet. A process that
// ended before the sandbox waits for it would have its status told to the wait of the
// program that is dead. The protocol has no word for that the wait has begun, so the
// hang-up comes when all that was left of the container has been asked for, this
// request was read, and a later one answered: then it has, as good as always.
//
// A sandbox that hangs keeps nobody. end ends it when the exit is known, since the
// exec may be deleted then.
func (p *process) beginHangUp(conn *controlConn) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-p.init.started:
		case <-ctx.Done():
			return
		}
		if conn != nil {
			// An error is that of a wait which is over, or is asked for anew.
			_ = conn.awaitRead()
		}
		if err := p.hangUp(ctx); err != nil && ctx.Err() == nil {
			p.warnHangUp(err)
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

// hangUp hangs the terminal up and writes that down, so that a successor of this
// program does not do it again.
func (p *process) hangUp(ctx context.Context) error {
	if _, err := p.client.State(ctx, p.self.Container); err != nil {
		return err
	}
	if err := p.client.hangUp(ctx, p.self.Process, p.guest); err != nil {
		return err
	}
	return p.amendMemo(func(m *execMemo) { m.Stdio.HungUp = true })
}

func (p *process) warnHangUp(err error) {
	p.init.driver.log.Warn("hang up the terminal of a process whose program is dead", "container", p.init.id(), "exec", string(p.self.Exec), "error", err)
}

// awaitRead waits until the other side has read all that was sent, or the connection
// is closed. Each read makes the socket writable anew (net/unix/af_unix.c,
// unix_write_space).
func (c *controlConn) awaitRead() error {
	raw, err := c.unix.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		unread, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		failed = err
		return err != nil || unread == 0
	})
	return errors.Join(err, failed)
}

// hangUp tells the foreground process group of a process's terminal that this is
// gone, as the kernel tells the leader of a session: SIGHUP, and SIGCONT for who is
// stopped (drivers/tty/tty_jobctrl.c, tty_signal_session_leader). The pty itself is
// hung up by the end of its master.
func (c *controlClient) hangUp(ctx context.Context, p messages.Process, pid int) error {
	if err := c.signalForeground(ctx, p, pid, syscall.SIGHUP); err != nil {
		return err
	}
	return c.signalForeground(ctx, p, pid, syscall.SIGCONT)
}
