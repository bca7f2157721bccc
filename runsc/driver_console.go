package runsc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// consoleSocket receives the master of a terminal that runsc made
// (`--console-socket`). Unlike go-runc's it ends with a context and gives the
// file itself.
type consoleSocket struct {
	listener *net.UnixListener
	path     string
}

func newConsoleSocket(path string) (*consoleSocket, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(true)
	return &consoleSocket{l, path}, os.Chmod(path, 0o600)
}

// Path is for runc.ConsoleSocket.
func (s *consoleSocket) Path() string { return s.path }

// receive waits for the master.
func (s *consoleSocket) receive(ctx context.Context) (*os.File, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.listener.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := s.listener.AcceptUnix()
	if err != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	defer conn.Close()
	stopConn := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stopConn()
	// The message is the terminal's name and one file (runsc/console/console.go).
	name, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(name, control)
	if err != nil {
		return nil, errors.Join(context.Cause(ctx), err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive the terminal: %d control messages (%v)", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive the terminal: %d files (%v)", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal of runsc"), nil
}

func (s *consoleSocket) close() { _ = s.listener.Close() }
