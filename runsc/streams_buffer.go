package runsc

import (
	"fmt"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// chunkSize is the capacity of a pipe (pipe(7)), so that a full one is emptied
// by one read.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any {
	b := make([]byte, chunkSize)
	return &b
}}

// intake is where a copy reads from.
type intake interface {
	// take waits for bytes and calls use with them, at most once. The slice is
	// use's only until it returns. The error is io.EOF at the end.
	take(use func([]byte)) error
}

// fileIntake reads a pipe, a FIFO, a file or a device.
type fileIntake struct{ conn syscall.RawConn }

// newFileIntake reads from end, which is an *os.File in an interface of go-runc.
func newFileIntake(end any) (fileIntake, error) {
	f, ok := end.(syscall.Conn)
	if !ok {
		return fileIntake{}, fmt.Errorf("%T is not a file", end)
	}
	conn, err := f.SyscallConn()
	return fileIntake{conn}, err
}

// take borrows a buffer only once there is something to read: an idle stream
// costs no buffer, and there are thousands of them.
func (f fileIntake) take(use func([]byte)) error {
	var (
		chunk   *[]byte
		n       int
		readErr error
	)
	err := f.conn.Read(func(fd uintptr) bool {
		chunk = chunks.Get().(*[]byte)
		for {
			n, readErr = unix.Read(int(fd), *chunk)
			if readErr != unix.EINTR {
				break
			}
		}
		if readErr == unix.EAGAIN {
			chunks.Put(chunk)
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	defer chunks.Put(chunk)
	if readErr != nil {
		return readErr
	}
	if n == 0 {
		return io.EOF
	}
	use((*chunk)[:n])
	return nil
}

// unread is how many bytes wait in it. TIOCINQ is FIONREAD by its other name.
func (f fileIntake) unread() int64 {
	var n int
	if err := f.conn.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		return 0
	}
	return int64(n)
}
