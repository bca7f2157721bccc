package bench

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// bare speaks gVisor's control protocol and does nothing else: it checks
// nothing, holds nothing and bounds nothing. It is what the protocol itself
// costs (gVisor, pkg/urpc and runsc/boot/controller.go).
type bare struct {
	path string
	null [3]*os.File
}

func newBare(b *testing.B, root string) *bare {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(root, "demo_sandbox:demo.state"))
	check(b, err)
	var state struct {
		Sandbox struct{ ControlSocketPath string }
	}
	check(b, json.Unmarshal(data, &state))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	check(b, err)
	b.Cleanup(func() { null.Close() })
	return &bare{path: state.Sandbox.ControlSocketPath, null: [3]*os.File{null, null, null}}
}

// call makes one call on a connection of its own.
func (p *bare) call(b *testing.B, method string, arg any, files ...*os.File) (result int) {
	b.Helper()
	return p.begin(b, method, arg, files...)()
}

// begin sends a call, and gives how to read the answer to it.
func (p *bare) begin(b *testing.B, method string, arg any, files ...*os.File) (answer func() (result int)) {
	b.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: p.path, Net: "unix"})
	check(b, err)
	request, err := json.Marshal(map[string]any{"method": "containerManager." + method, "arg": arg})
	check(b, err)
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = conn.WriteMsgUnix(request, rights, nil)
	check(b, err)
	return func() int {
		b.Helper()
		defer conn.Close()
		var reply struct {
			Success bool
			Err     string
			Result  int
		}
		check(b, json.NewDecoder(conn).Decode(&reply))
		if !reply.Success {
			b.Fatalf("%s: %s", method, reply.Err)
		}
		return reply.Result
	}
}

func (p *bare) start(b *testing.B, args ...string) (pid int) {
	b.Helper()
	return p.call(b, "ExecuteAsync", map[string]any{
		"argv": args, "envv": []string{"PATH=/usr/bin:/bin"}, "wd": "/", "Capabilities": struct{}{},
		"SupportTTYs": true, "GuestFDs": []int{0, 1, 2}, "ContainerID": "demo",
	}, p.null[:]...)
}

func (p *bare) wait(b *testing.B, pid int) (status int) {
	b.Helper()
	return p.beginWait(b, pid)()
}

func (p *bare) beginWait(b *testing.B, pid int) (wait func() (status int)) {
	b.Helper()
	return p.begin(b, "WaitPID", map[string]any{"PID": pid, "CID": "demo"})
}

func (p *bare) kill(b *testing.B, pid int) {
	b.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: p.path, Net: "unix"})
	check(b, err)
	defer conn.Close()
	request, err := json.Marshal(map[string]any{"method": "containerManager.Signal", "arg": map[string]any{"CID": "demo", "Signo": 9, "PID": pid}})
	check(b, err)
	_, err = conn.Write(request)
	check(b, err)
	reply := make([]byte, 4096)
	n, err := conn.Read(reply)
	check(b, err)
	if !bytes.Contains(reply[:n], []byte(`"success":true`)) {
		b.Fatalf("Signal: %s", reply[:n])
	}
}
