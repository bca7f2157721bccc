package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// A controlConn is one connection to a control server, for one call at a time.
//
// All waiting is on Go's network poller: a call that waits for years costs a
// goroutine and no thread.
type controlConn struct {
	unix *net.UnixConn
}

// The bounds of connecting. The server's backlog is 16 (gVisor,
// pkg/unet/unet.go), and connecting to a full one is EAGAIN at once
// (unix(7)): it is tried again, later and later.
const (
	dialFirstPause = 250 * time.Microsecond
	dialLastPause  = 20 * time.Millisecond
)

// dialControl connects to the socket at path, which the kernel takes up to 107
// bytes of.
func dialControl(ctx context.Context, path string, deadline time.Time) (*controlConn, error) {
	dialer := net.Dialer{Deadline: deadline}
	var busy error
	for pause := dialFirstPause; ; pause = min(2*pause, dialLastPause) {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return &controlConn{unix: conn.(*net.UnixConn)}, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && busy != nil {
			// That the time is over is not why.
			err = busy
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Until(deadline) <= pause {
			return nil, fmt.Errorf("%w: %w", errNotConnected, err)
		}
		busy = err
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func (c *controlConn) close() { c.unix.Close() }

// peerPID is the process that listens, as this process's pid namespace numbers
// it (unix(7), SO_PEERCRED: the credentials are those of the call of listen).
func (c *controlConn) peerPID() (int, error) {
	raw, err := c.unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, os.NewSyscallError("getsockopt SO_PEERCRED", credErr)
	}
	return int(cred.Pid), nil
}

// request is urpc's clientCall.
type request struct {
	Method string `json:"method"`
	Arg    any    `json:"arg"`
}

// send writes a request, and its files with the first byte of it. An error
// means that the server has not got the whole of it, and so does not act on it.
func (c *controlConn) send(method string, arg any, files []*os.File) error {
	data, err := json.Marshal(request{method, arg})
	if err != nil {
		return fmt.Errorf("%w: encode the arguments of %s: %w", errNotConnected, method, err)
	}
	err = withFDs(files, nil, func(fds []int) error {
		var rights []byte
		if len(fds) > 0 {
			rights = syscall.UnixRights(fds...)
		}
		n, _, err := c.unix.WriteMsgUnix(data, rights, nil)
		if err == nil && n < len(data) {
			_, err = c.unix.Write(data[n:])
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: send %s: %w", errNotConnected, method, err)
	}
	return nil
}

// withFDs calls f with the numbers of files, which stay open until it returns.
// os.File.Fd would make them blocking, for everyone who shares them.
func withFDs(files []*os.File, fds []int, f func([]int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) {
		inner = withFDs(files[1:], append(fds, int(fd)), f)
	}); err != nil {
		return err
	}
	return inner
}

// receive reads the reply to the request that was sent.
func (c *controlConn) receive(limit int) (json.RawMessage, *refusal, error) {
	result, refused, err := readReply(noFiles{c.unix}, limit)
	switch {
	case err == nil, errors.Is(err, errBadReply), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return result, refused, err
	case errors.Is(err, io.EOF):
		return nil, nil, ErrReplyLost
	}
	return nil, nil, fmt.Errorf("%w: %w", ErrReplyLost, err)
}

// noFiles reads from a socket and takes no files from it. Without room for
// control data the kernel closes what files come before they get a number here
// (net/core/scm.c, scm_detach_fds), and says so with MSG_CTRUNC: a sandbox can
// not fill this process's table, not for a moment.
type noFiles struct{ conn *net.UnixConn }

func (r noFiles) Read(p []byte) (int, error) {
	n, _, flags, _, err := r.conn.ReadMsgUnix(p, nil)
	n = max(n, 0) // It is -1 with an error, which no io.Reader gives.
	if flags&syscall.MSG_CTRUNC != 0 {
		return 0, badReply("files came with it")
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF // It is wrapped, where an io.Reader gives it bare.
	}
	return n, err
}
