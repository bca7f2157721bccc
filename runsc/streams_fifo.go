package runsc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"
)

// openDestination opens a file or FIFO to write to. It never blocks.
func openDestination(p place) (io.WriteCloser, error) {
	flags := os.O_WRONLY | os.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY
	if p.kind == placeFile {
		if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
			return nil, err
		}
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(p.path, flags, 0o644)
	if errors.Is(err, unix.ENXIO) {
		// A FIFO that nobody reads yet, or else a socket (open(2)).
		if info, statErr := os.Stat(p.path); statErr == nil && info.Mode().Type() == fs.ModeNamedPipe {
			return newFIFO(p.path), nil
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() == fs.ModeNamedPipe {
		w := newFIFO(p.path)
		if err = w.adopt(f); err == nil {
			return w, nil
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fifoWriter is a FIFO to write to that may have no reader yet.
//
// Once it had one, it also holds an end to read from: a reader that goes away
// and comes back finds what was written meanwhile, up to a pipe's capacity, and
// the writer waits instead of failing with EPIPE.
type fifoWriter struct {
	path string
	// ctx ends with Close; it cancels the wait for a reader.
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	w      io.WriteCloser
	r      *os.File
}

func newFIFO(path string) *fifoWriter {
	ctx, cancel := context.WithCancel(context.Background())
	return &fifoWriter{path: path, ctx: ctx, cancel: cancel}
}

// open waits for the first reader, until Close. Opening both ends at once would
// not wait, but what a short process writes would be gone with our own reading
// end before anybody came to read it.
func (f *fifoWriter) open() error {
	f.mu.Lock()
	isOpen := f.w != nil
	f.mu.Unlock()
	if isOpen {
		return nil
	}
	w, err := fifo.OpenFifo(f.ctx, f.path, unix.O_WRONLY, 0)
	if err != nil {
		if f.ctx.Err() != nil {
			return os.ErrClosed
		}
		return err
	}
	if err := f.adopt(w); err != nil {
		w.Close()
		return err
	}
	return nil
}

// adopt takes an open write end, and opens the one to read from.
func (f *fifoWriter) adopt(w io.WriteCloser) error {
	r, err := reopen(w, os.O_RDONLY)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		r.Close()
		return os.ErrClosed
	}
	f.w, f.r = w, r
	return nil
}

// finish waits, when all is written, until somebody has what is still in the
// FIFO, or Close. It waits only if the reader has gone away: one that is there
// keeps the bytes alive without us.
func (f *fifoWriter) finish() {
	f.mu.Lock()
	w := f.w
	if f.closed || w == nil {
		f.mu.Unlock()
		return
	}
	// Ours is the only reader that may be there for nothing.
	f.r.Close()
	f.mu.Unlock()
	conn, err := w.(syscall.Conn).SyscallConn()
	if err != nil {
		return
	}
	orphaned, own := false, -1
	err = conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		// A writer gets POLLERR when there is no reader (poll(2)).
		n, err := unix.Poll(fds, 0)
		unread, _ := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		orphaned = err == nil && n == 1 && fds[0].Revents&unix.POLLERR != 0 && unread > 0
		if orphaned {
			own, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
			orphaned = err == nil
		}
	})
	if err != nil || !orphaned {
		return
	}
	defer unix.Close(own)
	// This open returns when a reader comes, and that reader finds the bytes
	// because we still write. The name may be another FIFO's by now.
	if again, err := fifo.OpenFifo(f.ctx, fmt.Sprintf("/proc/self/fd/%d", own), unix.O_WRONLY, 0); err == nil {
		again.Close()
	}
}

func (f *fifoWriter) Write(p []byte) (int, error) { return f.w.Write(p) }

func (f *fifoWriter) Close() error {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.w == nil {
		f.closed = true
		return nil
	}
	f.closed = true
	return errors.Join(f.w.Close(), f.r.Close())
}

// reopen opens the other end of a FIFO: of the same one, also if its name is
// gone or names another by now. It does not block, since one end is open.
func reopen(end any, flag int) (*os.File, error) {
	c, ok := end.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no file descriptor", end)
	}
	conn, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var f *os.File
	var openErr error
	err = conn.Control(func(fd uintptr) {
		f, openErr = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), flag|unix.O_NONBLOCK, 0)
	})
	return f, errors.Join(err, openErr)
}
