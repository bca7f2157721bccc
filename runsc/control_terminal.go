package runsc

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// A guestTerminal makes a pty that is ours the controlling terminal of a process
// in the sandbox, as far as its host side goes.
//
// The host's line discipline works on what is typed: it echoes, edits and turns
// Ctrl-C into a signal for the terminal's foreground process group. But it knows
// no such group, since the session is the sandbox's. `runsc exec` is itself the
// session's leader on the host, gets the signals and passes them on; without
// it, they are sent from here: on the keys that the line discipline takes for
// signals, and on a new size. The keys reach the pty all the same, for the "^C" that
// the user sees and for the input that a signal flushes. A pty is hung up by the
// death of this program, so that who takes charge of the process then sends that.
type guestTerminal struct {
	client  *controlClient
	process messages.Process
	keys    io.Writer
	// master is a file of our own for ioctls, which show the slave's settings
	// (drivers/tty/tty_ioctl.c, tty_mode_ioctl).
	master *os.File

	mu sync.Mutex
	// pid is 0 until the process is started, and due has the signals for it.
	pid int
	due []syscall.Signal
	// quoted: the key before this one was VLNEXT.
	quoted bool
}

// keySignalTimeout bounds how long typing waits for a sandbox that hangs.
const keySignalTimeout = 2 * time.Second

// terminal is for the process p, whose pty has its master at fd, which stays the
// caller's; keys is where what is typed is written. Close it: the pty is not
// hung up before.
func (c *controlClient) terminal(p messages.Process, fd uintptr, keys io.Writer) (*guestTerminal, error) {
	own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, &messages.Error{Kind: messages.Internal, Op: "take the terminal of", Process: p, Err: os.NewSyscallError("fcntl", err)}
	}
	return &guestTerminal{client: c, process: p, keys: keys, master: os.NewFile(uintptr(own), "pty")}, nil
}

// Started tells the pid that Exec gave, and sends what was due before: a process
// can show that it is there, and its user type, before Exec has returned.
func (t *guestTerminal) Started(pid int) {
	t.mu.Lock()
	t.pid = pid
	due := t.due
	t.due = nil
	t.mu.Unlock()
	for _, signal := range due {
		// As in Write.
		_ = t.signal(context.Background(), signal)
	}
}

// Write types p.
func (t *guestTerminal) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		next, signal := t.nextSignal(p[written:])
		n, err := t.keys.Write(p[written : written+next])
		written += n
		if err != nil {
			return written, err
		}
		if signal != 0 {
			t.settle()
			// It is for processes that may be gone; their exit is told anyway.
			_ = t.signal(context.Background(), signal)
		}
	}
	return written, nil
}

// A key that is written to the master reaches the line discipline by a kernel
// worker. The signal must not overtake it: the shell that gets the terminal back
// by the signal would set it anew, and read the key as one that was typed for it.
const (
	settleTries = 10
	settlePause = 500 * time.Microsecond
)

// settle waits until the line discipline has the keys. A poll of the slave that
// finds no input runs the worker first (drivers/tty/n_tty.c, n_tty_poll); where
// there is input, it is what the signal flushes, and is awaited to be gone.
func (t *guestTerminal) settle() {
	_ = withFDs([]*os.File{t.master}, nil, func(fds []int) error {
		// The slave is open for this moment only: open, it would keep the
		// terminal from its end.
		slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fds[0]), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno != 0 {
			return errno
		}
		defer unix.Close(int(slave))
		for range settleTries {
			poll := []unix.PollFd{{Fd: int32(slave), Events: unix.POLLIN}}
			if n, err := unix.Poll(poll, 0); err != nil || n == 0 {
				return err
			}
			time.Sleep(settlePause)
		}
		return nil
	})
}

// nextSignal is how many bytes there are up to the first that is a signal, with
// it, or all. The settings are those of this moment, as they are for the line
// discipline when it gets the bytes.
func (t *guestTerminal) nextSignal(p []byte) (int, syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	settings, err := t.settings()
	if err != nil {
		return len(p), 0
	}
	for i, key := range p {
		if signal := t.press(settings, key); signal != 0 {
			return i + 1, signal
		}
	}
	return len(p), 0
}

// press is what a key means to the line discipline (drivers/tty/n_tty.c,
// n_tty_receive_char_special, in its order).
func (t *guestTerminal) press(s *unix.Termios, key byte) syscall.Signal {
	if s.Iflag&unix.ISTRIP != 0 {
		key &= 0x7f
	}
	is := func(char int) bool { return key == s.Cc[char] && key != 0 }
	switch {
	case s.Lflag&unix.EXTPROC != 0:
		// The other end of a network connection has done it (termios(3)).
		t.quoted = false
	case t.quoted:
		t.quoted = false
	case s.Iflag&unix.IXON != 0 && (is(unix.VSTART) || is(unix.VSTOP)):
	case s.Lflag&unix.ISIG != 0 && is(unix.VINTR):
		return syscall.SIGINT
	case s.Lflag&unix.ISIG != 0 && is(unix.VQUIT):
		return syscall.SIGQUIT
	case s.Lflag&unix.ISIG != 0 && is(unix.VSUSP):
		return syscall.SIGTSTP
	case s.Lflag&unix.ICANON != 0 && s.Lflag&unix.IEXTEN != 0 && is(unix.VLNEXT):
		t.quoted = true
	}
	return 0
}

func (t *guestTerminal) settings() (s *unix.Termios, err error) {
	err = withFDs([]*os.File{t.master}, nil, func(fds []int) (err error) {
		s, err = unix.IoctlGetTermios(fds[0], unix.TCGETS)
		return err
	})
	return s, err
}

// Resize sets the size and tells the foreground process group, if it is another
// one than before.
func (t *guestTerminal) Resize(ctx context.Context, size messages.WindowSize) error {
	var changed bool
	err := withFDs([]*os.File{t.master}, nil, func(fds []int) error {
		now, err := unix.IoctlGetWinsize(fds[0], unix.TIOCGWINSZ)
		if err != nil {
			return err
		}
		changed = now.Col != size.Cols || now.Row != size.Rows
		return unix.IoctlSetWinsize(fds[0], unix.TIOCSWINSZ, &unix.Winsize{Col: size.Cols, Row: size.Rows})
	})
	if err != nil {
		return &messages.Error{Kind: messages.Internal, Op: "resize the terminal of", Process: t.process, Err: fmt.Errorf("set the size: %w", err)}
	}
	if !changed {
		return nil
	}
	return t.signal(ctx, syscall.SIGWINCH)
}

// Close gives the master back. Keys that come later are still written.
func (t *guestTerminal) Close() error { return t.master.Close() }

// signal tells the foreground process group, once there is one.
func (t *guestTerminal) signal(ctx context.Context, signal syscall.Signal) error {
	t.mu.Lock()
	pid := t.pid
	if pid == 0 && !slices.Contains(t.due, signal) {
		t.due = append(t.due, signal)
	}
	t.mu.Unlock()
	if pid == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keySignalTimeout)
	defer cancel()
	return t.client.signalForeground(ctx, t.process, pid, signal)
}

// signalForeground tells the foreground process group of a process's terminal. A
// process that is gone has none.
func (c *controlClient) signalForeground(ctx context.Context, p messages.Process, pid int, signal syscall.Signal) error {
	if err := c.Signal(ctx, p, pid, signal, signalForeground); messages.KindOf(err) != messages.NotFound {
		return err
	}
	return nil
}
