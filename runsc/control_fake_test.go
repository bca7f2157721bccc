package runsc

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

// fakeControl is a control server that does what a test wants, and a state file
// that leads to it.
type fakeControl struct {
	root     string
	listener *net.UnixListener
	conns    sync.WaitGroup
}

// serveControl answers every request on every connection with serve. As in
// gVisor, a connection is the client's to close.
func serveControl(t *testing.T, serve func(conn *net.UnixConn, method string, arg json.RawMessage)) *fakeControl {
	t.Helper()
	f := &fakeControl{root: t.TempDir()}
	var err error
	f.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(f.root, "runsc-c.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	f.writeState(t, nil)
	f.conns.Go(func() {
		for {
			conn, err := f.listener.AcceptUnix()
			if err != nil {
				return
			}
			f.conns.Go(func() {
				defer conn.Close()
				var r struct {
					Method string
					Arg    json.RawMessage
				}
				// The first connection of a client looks only who is there.
				for requests := json.NewDecoder(conn); requests.Decode(&r) == nil; {
					serve(conn, r.Method, r.Arg)
				}
			})
		}
	})
	t.Cleanup(func() {
		f.listener.Close()
		f.conns.Wait()
	})
	return f
}

// writeState writes the state file, with other values for some keys.
func (f *fakeControl) writeState(t *testing.T, change func(container, sandbox map[string]any)) {
	t.Helper()
	sandbox := map[string]any{
		"id": "c", "pid": os.Getpid(), "uid": 0, "gid": 0,
		"controlSocketPath": filepath.Join(f.root, "runsc-c.sock"),
		"metricMetadata":    map[string]string{"version": "test"},
	}
	container := map[string]any{
		"id": "c", "status": "running", "sandbox": sandbox,
		"spec": map[string]any{"process": map[string]any{"cwd": "/", "args": []string{"x"}}},
	}
	if change != nil {
		change(container, sandbox)
	}
	data, err := json.Marshal(container)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.root, "c_sandbox:c.state"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fakeControl) client(t *testing.T, o controlOptions) *controlClient {
	t.Helper()
	c, err := dialSandbox(context.Background(), f.root, "c", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func succeed(conn *net.UnixConn, result string) {
	fmt.Fprintf(conn, `{"success":true,"err":"","result":%s}`, result)
}

func refuse(conn *net.UnixConn, text string) {
	quoted, _ := json.Marshal(text)
	fmt.Fprintf(conn, `{"success":false,"err":%s,"result":null}`, quoted)
}

var fakeProcess = messages.Process{Container: "c", Exec: "e"}

var fakeSpec = func() (s messages.ExecSpec) {
	s.Args, s.Cwd = []string{"true"}, "/"
	return s
}()
