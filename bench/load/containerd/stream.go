package containerd

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/bench/load"
)

// stream is the output of one exec: a FIFO that a shim writes to.
type stream struct {
	path string
	// writer is our own end for writing. While it is open the reader waits, also
	// before a shim has opened the FIFO (fifo(7)); without it, what comes first
	// would be an end of file.
	writer *os.File
	done   chan struct{}
}

func openStream(folder string, e load.Exec) (*stream, error) {
	s := &stream{
		path: filepath.Join(folder, string(e.Process.Container)+"."+string(e.Process.Exec)),
		done: make(chan struct{}),
	}
	if err := unix.Mkfifo(s.path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: s.path, Err: err}
	}
	reader, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		if s.writer, err = os.OpenFile(s.path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err != nil {
			err = errors.Join(err, reader.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(s.path))
	}
	go func() {
		defer close(s.done)
		defer reader.Close()
		// An error ends it as the end of the file does: the count will show it.
		_, _ = io.Copy(e.Stdout, reader)
	}()
	return s, nil
}

// end returns when everything that was written has been read. The shim has
// closed its end by then.
func (s *stream) end() {
	_ = s.writer.Close()
	<-s.done
	_ = os.Remove(s.path)
}
