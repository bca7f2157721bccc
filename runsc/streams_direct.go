package runsc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"
)

// handOver opens the FIFOs and files among places for the process itself, which
// the sandbox takes by the control socket: no byte of theirs comes through this
// program. Everything else, and what can not be opened, is left as it is.
//
// An output FIFO is opened for reading too. The process so is a reader of its
// own: one that goes away and comes back finds what was written meanwhile, up to
// a pipe's capacity, and the process waits then and is not killed by SIGPIPE,
// also when this program is gone. The price: the reader sees the end when the
// last process that has the FIFO is gone, as with a shell's pipe, and not when a
// grandchild outlives the process.
//
// A file is opened for appending, since the sentry writes at offsets of its own
// (pkg/sentry/fsimpl/host, inode), which the host then ignores (open(2)).
//
// None of them is known to Go's poller: the sandbox changes flags that belong to
// the open file and not to a descriptor.
func (st *streams) handOver(places *[3]place) error {
	for i := range places {
		p := &places[i]
		if p.kind != placePath && p.kind != placeFile {
			continue
		}
		if i == 2 && places[1].kind == placeHanded && places[1].path == p.path {
			st.child[2], p.kind = st.child[1], placeHanded
			continue
		}
		f, isFIFO, err := openHanded(*p, i == 0)
		if err != nil {
			return st.openFailed(p.stream, p.path, err)
		}
		if f == nil {
			continue
		}
		st.child[i], p.kind = f, placeHanded
		switch {
		case isFIFO && i == 0:
			hold, err := reopen(f, os.O_WRONLY)
			if err != nil {
				return st.openFailed(p.stream, p.path, err)
			}
			st.in = &input{hold: hold}
		case isFIFO:
			st.handed = append(st.handed, newHandedFIFO(f))
		}
	}
	return nil
}

// openHanded gives no file for what is neither a FIFO nor a file.
func openHanded(p place, input bool) (_ *os.File, isFIFO bool, err error) {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.kind == placeFile && !input:
		if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
			return nil, false, err
		}
	case err != nil:
		// Whoever opens it says why.
		return nil, false, nil
	case info.Mode().Type() == fs.ModeNamedPipe:
		isFIFO = true
	case !info.Mode().IsRegular():
		return nil, false, nil
	}
	flags := unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	switch {
	case input:
		flags |= unix.O_RDONLY
	case isFIFO:
		flags |= unix.O_RDWR
	default:
		flags |= unix.O_WRONLY | unix.O_APPEND
		if p.kind == placeFile {
			flags |= unix.O_CREAT
		}
	}
	fd, err := unix.Open(p.path, flags, 0o644)
	if err != nil {
		return nil, false, &fs.PathError{Op: "open", Path: p.path, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (st.Mode&unix.S_IFMT == unix.S_IFIFO) != isFIFO {
		err = errors.New("it has become another kind of file")
	}
	if err == nil {
		// os.NewFile gives a blocking file to no poller.
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, false, &fs.PathError{Op: "open", Path: p.path, Err: err}
	}
	return os.NewFile(uintptr(fd), p.path), isFIFO, nil
}

// handedFIFO is our hold on an output FIFO that the process has: what is in it
// lives for as long as somebody has it open.
type handedFIFO struct {
	// ctx ends with stop; it cancels the wait for a reader.
	ctx    context.Context
	cancel context.CancelFunc
	// done is closed when finish has nothing to wait for any more.
	done chan struct{}

	mu   sync.Mutex
	file *os.File
}

func newHandedFIFO(file *os.File) *handedFIFO {
	h := &handedFIFO{done: make(chan struct{}), file: file}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// finish lets go of the FIFO when the process is gone. A reader that is there
// reads what is in it, and then its end. Where there is none, the FIFO is held
// until one comes, or stop. It does not block.
func (h *handedFIFO) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return
	}
	w, err := reopen(h.file, os.O_WRONLY)
	h.file.Close()
	h.file = nil
	if err != nil || hasReader(w) {
		if w != nil {
			w.Close()
		}
		close(h.done)
		return
	}
	go func() {
		defer close(h.done)
		defer w.Close()
		awaitReader(h.ctx, w)
	}()
}

// stop lets go of it, and of what is in it.
func (h *handedFIFO) stop() {
	h.cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		h.file.Close()
		h.file = nil
		close(h.done)
	}
}

// hasReader tells whether somebody has the other end of a FIFO open: a writer
// gets POLLERR when nobody has (poll(2)).
func hasReader(w *os.File) bool {
	has := false
	_ = withFDs([]*os.File{w}, nil, func(fds []int) error {
		poll := []unix.PollFd{{Fd: int32(fds[0])}}
		n, err := unix.Poll(poll, 0)
		has = err == nil && (n == 0 || poll[0].Revents&unix.POLLERR == 0)
		return err
	})
	return has
}

// awaitReader waits for a reader of a FIFO: for one that has no writer but w, or
// to have what is in it. The name may be another FIFO's by now.
func awaitReader(ctx context.Context, w *os.File) {
	_ = withFDs([]*os.File{w}, nil, func(fds []int) error {
		again, err := fifo.OpenFifo(ctx, fmt.Sprintf("/proc/self/fd/%d", fds[0]), unix.O_WRONLY, 0)
		if err == nil {
			again.Close()
		}
		return err
	})
}

// processGone tells that the process is gone. What was handed to it is let go
// of, so that its readers and writers see the end; what is copied ends by itself.
func (st *streams) processGone() {
	if st.in != nil && st.in.isHanded() {
		st.in.stop()
	}
	for _, h := range st.handed {
		h.finish()
	}
}

// isHeld tells whether f is to stay open when the process has it.
func (st *streams) isHeld(f *os.File) bool {
	for _, h := range st.handed {
		if h.isFile(f) {
			return true
		}
	}
	return false
}

func (h *handedFIFO) isFile(f *os.File) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.file == f
}
