package runsc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A ControlProxy stands between a driver and a real sandbox, and does to its
// calls what a sandbox that dies, hangs or lies would do.
type ControlProxy struct {
	t        testing.TB
	path     string
	listener *net.UnixListener
	conns    sync.WaitGroup

	mu     sync.Mutex
	open   []*net.UnixConn
	faults map[string]ControlFault
	seen   map[string]int
}

// ControlFault is what becomes of one call of a method; the next one goes
// through again. It may write an answer, and the connection is closed after it.
type ControlFault struct {
	// Forward sends the request to the sandbox, whose answer is not passed on.
	Forward bool
	// Then is called after that.
	Then func(w io.Writer)
	// Again makes it that of every call.
	Again bool
	// Spare is how many calls go through before.
	Spare int
}

// NewControlProxy listens in dir.
func NewControlProxy(t testing.TB, dir string) *ControlProxy {
	t.Helper()
	p := &ControlProxy{t: t, path: filepath.Join(dir, "proxy.sock"), faults: map[string]ControlFault{}, seen: map[string]int{}}
	var err error
	if p.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: p.path, Net: "unix"}); err != nil {
		t.Fatal(err)
	}
	return p
}

// Fail sets the fault of a method: "ExecuteAsync".
func (p *ControlProxy) Fail(method string, f ControlFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults["containerManager."+method] = f
}

// Calls is how often a method was called.
func (p *ControlProxy) Calls(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen["containerManager."+method]
}

// Refuse makes every later connection fail.
func (p *ControlProxy) Refuse() { p.listener.Close() }

func (p *ControlProxy) take(method string) (ControlFault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[method]++
	f, ok := p.faults[method]
	switch {
	case !ok:
	case f.Spare > 0:
		f.Spare--
		p.faults[method] = f
		return ControlFault{}, false
	case !f.Again:
		delete(p.faults, method)
	}
	return f, ok
}

// serve passes connections on to the sandbox whose socket is named by socket,
// until the test ends.
func (p *ControlProxy) serve(socket *os.File) {
	p.t.Cleanup(func() {
		p.listener.Close()
		p.mu.Lock()
		for _, conn := range p.open {
			conn.Close()
		}
		p.mu.Unlock()
		p.conns.Wait()
		socket.Close()
	})
	p.conns.Go(func() {
		for {
			conn, err := p.listener.AcceptUnix()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.open = append(p.open, conn)
			p.mu.Unlock()
			p.conns.Go(func() {
				defer conn.Close()
				if err := p.pass(conn, socket); err != nil && !errors.Is(err, net.ErrClosed) {
					p.t.Logf("proxy: %v", err)
				}
			})
		}
	})
}

func (p *ControlProxy) pass(conn *net.UnixConn, socket *os.File) error {
	request, rights, err := readRequest(conn)
	if err != nil || len(request) == 0 {
		return err
	}
	var r struct{ Method string }
	if err := json.Unmarshal(request, &r); err != nil {
		return err
	}
	fault, isFault := p.take(r.Method)
	if isFault && !fault.Forward {
		closeRights(rights)
		if fault.Then != nil {
			fault.Then(conn)
		}
		return nil
	}
	var sandbox *net.UnixConn
	err = withFDs([]*os.File{socket}, nil, func(fds []int) (err error) {
		sandbox, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d", fds[0]), Net: "unix"})
		return err
	})
	if err != nil {
		closeRights(rights)
		return err
	}
	defer sandbox.Close()
	_, _, err = sandbox.WriteMsgUnix(request, rights, nil)
	closeRights(rights)
	if err != nil {
		return err
	}
	if isFault {
		// Once it has answered, it is done.
		_, err := sandbox.Read(make([]byte, 1))
		if fault.Then != nil {
			fault.Then(conn)
		}
		return err
	}
	go func() {
		// Who asked has gone: the call is given up.
		_, _ = conn.Read(make([]byte, 1))
		sandbox.SetReadDeadline(time.Unix(1, 0))
	}()
	answer, _, err := readRequest(sandbox)
	if err == nil {
		_, err = conn.Write(answer)
	}
	return err
}

// readRequest reads one JSON value, or nothing if the other side has gone, and the files that come with it.
func readRequest(conn *net.UnixConn) (request, rights []byte, err error) {
	b, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*4))
	for !json.Valid(request) {
		n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
		if err != nil || n == 0 {
			return nil, nil, nil
		}
		request = append(request, b[:n]...)
		if oobn > 0 {
			messages, err := unix.ParseSocketControlMessage(oob[:oobn])
			if err != nil {
				return nil, nil, err
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil {
				return nil, nil, err
			}
			rights = unix.UnixRights(fds...)
		}
	}
	return request, rights, nil
}

func closeRights(rights []byte) {
	if len(rights) == 0 {
		return
	}
	messages, _ := unix.ParseSocketControlMessage(rights)
	fds, _ := unix.ParseUnixRights(&messages[0])
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
