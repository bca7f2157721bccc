package runsc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// consoles waits for all consoles of this program: one thread and one file
// descriptor, from the first terminal on.
var consoles = sync.OnceValues(func() (*console.Epoller, error) {
	e, err := console.NewEpoller()
	if err != nil {
		return nil, fmt.Errorf("wait for consoles: %w", err)
	}
	go e.Wait()
	return e, nil
})

// terminal is the host's side of a process's pty. Before there is a console it
// only remembers the size.
type terminal struct {
	mu   sync.Mutex
	size messages.WindowSize
	// console is nil until openPty or attachConsole.
	console *console.EpollConsole
	// slave is the child's end of a pty that was made here, until it started.
	slave *os.File
	// guest passes the terminal's signals on to a process that has no stub.
	guest  *guestTerminal
	hungUp bool
	closed bool
}

// terminal tells whether the process has a terminal.
func (st *streams) terminal() bool { return st.tty != nil }

// attachConsole takes over the master of a pty, as runsc sends it over its
// console socket, and begins to copy. It owns master from the call on, also if
// it fails.
func (st *streams) attachConsole(master *os.File) error {
	defer master.Close()
	if st.tty == nil {
		return st.failed("attach a console to", errors.New("the process has no terminal"))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.attach(master); err != nil {
		return st.failed("attach a console to", err)
	}
	return nil
}

func (st *streams) attach(master *os.File) error {
	if err := st.tty.attach(master); err != nil {
		return err
	}
	var keys io.Writer = st.tty.console
	if st.options.Guest != nil {
		guest, err := st.options.Guest(master, keys)
		if err != nil {
			return err
		}
		st.tty.lead(guest)
		keys = guest
	}
	st.outs[0].start(consoleIntake{st.tty.console, make([]byte, ptyChunk)}, nil)
	if st.in != nil {
		st.in.start(keys, func() {})
	}
	return nil
}

func (t *terminal) lead(g *guestTerminal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.guest = g
}

// started tells the pid of a process that has no stub.
func (st *streams) started(guestPID int) {
	if st.tty == nil {
		return
	}
	st.tty.mu.Lock()
	g := st.tty.guest
	st.tty.mu.Unlock()
	if g != nil {
		g.Started(guestPID)
	}
}

// openPty makes a pty of its own and begins to copy. The slave, which Set gives
// to the child, stays ours and is closed by CloseAfterStart.
//
// The pty is as the kernel makes it: echoing, line by line, and with "\n" turned
// into "\r\n". runsc makes its own in the same way (runsc/console/console.go),
// so a process can not tell which of the two it has.
func (st *streams) openPty() (slave *os.File, err error) {
	if st.tty == nil {
		return nil, st.failed("open a pty for", errors.New("the process has no terminal"))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, st.failed("open a pty for", fmt.Errorf("open /dev/ptmx: %w", err))
	}
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	defer master.Close()
	if slave, err = openSlave(fd, st.options.UID, st.options.GID); err != nil {
		return nil, st.failed("open a pty for", err)
	}
	// Without a slave the console would be at its end already.
	if err := st.attach(master); err != nil {
		slave.Close()
		return nil, st.failed("open a pty for", err)
	}
	st.tty.mu.Lock()
	defer st.tty.mu.Unlock()
	st.tty.slave = slave
	return slave, nil
}

// openSlave opens the other end of a pty without its name, which may be that of
// another pty in another mount namespace (ioctl_tty(2), TIOCGPTPEER).
func openSlave(master, uid, gid int) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the pty: %w", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("open the pty's slave: %w", errno)
	}
	slave := os.NewFile(fd, "pty slave")
	if uid != 0 || gid != 0 {
		if err := slave.Chown(uid, gid); err != nil {
			slave.Close()
			return nil, err
		}
	}
	return slave, nil
}

// attach takes a duplicate of master.
func (t *terminal) attach(master *os.File) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return fmt.Errorf("its streams are closed: %w", os.ErrClosed)
	case t.console != nil:
		return errors.New("it has a console already")
	}
	e, err := consoles()
	if err != nil {
		return err
	}
	own, err := duplicate(master)
	if err != nil {
		return err
	}
	c, err := console.ConsoleFromFile(own)
	if err != nil {
		own.Close()
		return fmt.Errorf("%s: %w", master.Name(), err)
	}
	if err := t.apply(c); err != nil {
		own.Close()
		return err
	}
	if t.console, err = e.Add(c); err != nil {
		own.Close()
		return fmt.Errorf("wait for the console: %w", err)
	}
	return nil
}

// duplicate gives a file that Go's own poller does not know. An EpollConsole
// must see EAGAIN: a Read that waited in Go's poller would hold its lock, and
// Shutdown would wait for that.
func duplicate(master *os.File) (*os.File, error) {
	conn, err := master.SyscallConn()
	if err != nil {
		return nil, err
	}
	var own *os.File
	var dupErr error
	err = conn.Control(func(fd uintptr) {
		var n int
		if n, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3); dupErr != nil {
			return
		}
		if dupErr = unix.SetNonblock(n, false); dupErr != nil {
			unix.Close(n)
			return
		}
		own = os.NewFile(uintptr(n), master.Name())
	})
	return own, errors.Join(err, dupErr)
}

// apply sets the size that was last asked for; the zero value is nobody's wish.
func (t *terminal) apply(c console.Console) error {
	if t.size == (messages.WindowSize{}) {
		return nil
	}
	if err := c.Resize(console.WinSize{Width: t.size.Cols, Height: t.size.Rows}); err != nil {
		return fmt.Errorf("set the size: %w", err)
	}
	return nil
}

// Resize sets the size of the terminal; before there is a console it is
// remembered, and without a terminal or after its end there is nothing to do.
func (st *streams) Resize(size messages.WindowSize) error {
	if st.tty == nil {
		return nil
	}
	if err := st.tty.resize(size); err != nil {
		return st.failed("resize the terminal of", err)
	}
	return nil
}

func (t *terminal) resize(size messages.WindowSize) error {
	t.mu.Lock()
	t.size = size
	guest, idle := t.guest, t.console == nil || t.hungUp || t.closed
	if idle || guest == nil {
		defer t.mu.Unlock()
		if idle {
			return nil
		}
		return t.apply(t.console)
	}
	t.mu.Unlock()
	// It asks the sandbox. The terminal may be closed meanwhile.
	if err := guest.Resize(context.Background(), size); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (t *terminal) childEnd() *os.File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slave
}

func (t *terminal) closeChildEnd() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slave != nil {
		t.slave.Close()
		t.slave = nil
	}
}

// hangUp lets the copy of the output end as soon as the pty is empty.
func (t *terminal) hangUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hangUpLocked()
}

func (t *terminal) hangUpLocked() {
	if t.console == nil || t.hungUp {
		return
	}
	t.hungUp = true
	// It is known to the epoller, else there were no console.
	e, _ := consoles()
	t.console.Shutdown(e.CloseConsole)
}

func (t *terminal) close() {
	t.closeChildEnd()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	if t.guest != nil {
		// It has the master too, and the pty is hung up with the last one.
		_ = t.guest.Close()
	}
	t.hangUpLocked()
	if t.console == nil {
		return
	}
	t.console.Close()
	// A Write to a full pty goes on waiting after Shutdown; woken again, it
	// finds the file closed.
	t.console.Shutdown(func(int) error { return nil })
}

// ptyChunk is the most that one read of a pty gives: the kernel's N_TTY_BUF_SIZE.
const ptyChunk = 4096

// consoleIntake reads a console. It keeps a buffer, since an EpollConsole reads
// and waits in one call.
type consoleIntake struct {
	console *console.EpollConsole
	buf     []byte
}

func (c consoleIntake) take(use func([]byte)) error {
	n, err := c.console.Read(c.buf)
	if n > 0 {
		use(c.buf[:n])
		return nil
	}
	// EIO: no slave is open (pty(7) has nothing on it; n_tty_read in the
	// kernel's drivers/tty/n_tty.c flushes what is buffered before it says so).
	// EAGAIN: hung up, and a grandchild still has the slave.
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EAGAIN) {
		return io.EOF
	}
	return err
}
