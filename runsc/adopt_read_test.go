package runsc

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestControlAwaitRead: a request is read when the other side has the last byte of
// it, and who waits for that is told when the connection is closed first.
func TestControlAwaitRead(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		defer ends[i].Close()
	}
	conn, server := &controlConn{unix: ends[0].(*net.UnixConn)}, ends[1]
	send := func() chan error {
		t.Helper()
		if err := conn.send(methodState, "c", nil); err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() { read <- conn.awaitRead() }()
		return read
	}
	const size = len(`{"method":"` + methodState + `","arg":"c"}`)
	read := send()
	if _, err := io.ReadFull(server, make([]byte, size-1)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-read:
		t.Fatalf("told before the last byte was read: %v", err)
	default:
	}
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	read = send()
	conn.close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the error is %v", err)
	}
}
