package runsc

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// TestControlFind: what state files lead to no client, and with which error.
func TestControlFind(t *testing.T) {
	serve := func(conn *net.UnixConn, _ string, _ json.RawMessage) { succeed(conn, "2") }
	for _, test := range []struct {
		name   string
		change func(container, sandbox map[string]any)
		kind   error
		says   string
	}{
		{"as it is", nil, nil, ""},
		{"moved root", func(_, s map[string]any) { s["controlSocketPath"] = "/no/such/folder/runsc-c.sock" }, nil, ""},
		{"from before 2024", func(_, s map[string]any) { delete(s, "controlSocketPath") }, messages.Unavailable, "from before 2024"},
		{"no socket", func(_, s map[string]any) { s["controlSocketPath"], s["id"] = "/no/such.sock", "other" }, messages.Unavailable, "no such file"},
		{"not a socket", func(_, s map[string]any) { s["controlSocketPath"], s["id"] = "/etc/passwd", "other" }, messages.Unavailable, "not a socket"},
		{"another process", func(_, s map[string]any) { s["pid"] = 1 }, messages.Unavailable, "the sandbox is process 1"},
		{"no process", func(_, s map[string]any) { s["pid"] = 0 }, messages.Unavailable, "no sandbox"},
		{"no sandbox", func(c, _ map[string]any) { c["sandbox"] = nil }, messages.Unavailable, "no sandbox"},
		{"no spec", func(c, _ map[string]any) { delete(c, "spec") }, messages.Internal, "no spec"},
		{"another container", func(c, _ map[string]any) { c["id"] = "d" }, messages.Internal, `of container "d"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serveControl(t, serve)
			f.writeState(t, test.change)
			c, err := dialSandbox(context.Background(), f.root, "c", controlOptions{})
			if err == nil {
				_, err = c.State(testContext(t), "c")
				c.Close()
			}
			if test.kind == nil && err == nil {
				return
			}
			if test.kind == nil || !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	root := t.TempDir()
	for id, kind := range map[string]error{"c": messages.NotFound, "../c": messages.InvalidArgument, "": messages.InvalidArgument} {
		if _, err := dialSandbox(context.Background(), root, id, controlOptions{}); !errors.Is(err, kind) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := dialSandbox(context.Background(), filepath.Join(root, "none"), "c", controlOptions{}); !errors.Is(err, messages.NotFound) {
		t.Errorf("no root folder: %v", err)
	}
}

// TestControlFindInPod: a container's file names the sandbox that it is in.
func TestControlFindInPod(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"pod_sandbox:pod.state", "c_sandbox:pod.state", "c_sandbox:pod.lock", "cc_sandbox:pod.state"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"pod": "pod_sandbox:pod.state", "c": "c_sandbox:pod.state"} {
		if got, err := findRecord(root, id); err != nil || filepath.Base(got) != want {
			t.Errorf("%s: %s, %v", id, got, err)
		}
	}
	if _, err := findRecord(root, "b"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// TestControlTornState: runsc writes its state file in place.
func TestControlTornState(t *testing.T) {
	f := serveControl(t, func(*net.UnixConn, string, json.RawMessage) {})
	path := filepath.Join(f.root, "c_sandbox:c.state")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{nil, whole[:1], whole[:len(whole)/2], whole[:len(whole)-1]} {
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readRecordOnce(path); err == nil {
			t.Errorf("%q was taken", torn)
		}
		written := make(chan error)
		go func() {
			time.Sleep(2 * tornReadPause)
			written <- os.WriteFile(path, whole, 0o600)
		}()
		if record, _, err := readRecord(path); err != nil || record.ID != "c" {
			t.Errorf("%+v, %v", record, err)
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, whole[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readRecord(path); err == nil {
		t.Error("a file that stays torn was taken")
	}
}

// TestControlRecordIsReadAnew when runsc has changed it, and only then.
func TestControlRecordIsReadAnew(t *testing.T) {
	f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) { succeed(conn, "2") })
	c := f.client(t, controlOptions{})
	first, err := c.record("read", "c")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.record("read", "c"); err != nil || again != first {
		t.Errorf("read again though nothing changed: %v", err)
	}
	for _, status := range []string{"paused", "stopped"} {
		f.writeState(t, func(container, _ map[string]any) { container["status"] = status })
		if _, err := c.Exec(testContext(t), fakeProcess, fakeSpec, devNull(t)); !errors.Is(err, messages.FailedPrecondition) || !strings.Contains(err.Error(), status) {
			t.Errorf("the error is %v", err)
		}
	}
	if err := os.Remove(filepath.Join(f.root, "c_sandbox:c.state")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(testContext(t), fakeProcess, fakeSpec, devNull(t)); !errors.Is(err, messages.NotFound) {
		t.Errorf("the error is %v", err)
	}
}

// TestControlVerify: each answer that is not gVisor's makes a sandbox one for the
// command line.
func TestControlVerify(t *testing.T) {
	const event = `{"event":{"type":"stats","id":"c"},"containerUsage":{"c":0}}`
	good := func(method string) (result, refusal string) {
		switch method {
		case methodState:
			return "2", ""
		case methodProcesses:
			return `[{"pid":1,"threads":[1],"cmd":"x"}]`, ""
		case methodEvent:
			return event, ""
		case methodWaitPID, methodSignal:
			return "", "PID (-977) must be positive"
		case methodExec:
			return "", `container "not c" not found`
		}
		return "", "unknown method"
	}
	for _, test := range []struct {
		name, method string
		result       string
		refusal      string
		kind         error
	}{
		{name: "as gVisor", kind: nil},
		{"takes every method", noMethod, "{}", "", messages.Unimplemented},
		{"no state", methodState, "", "unknown method", messages.Unimplemented},
		{"another state", methodState, "9", "", messages.Unimplemented},
		{"processes by another name", methodProcesses, `[{"Pid":1}]`, "", messages.Unimplemented},
		{"processes of another shape", methodProcesses, `{"1":"init"}`, "", messages.Unimplemented},
		{"no processes", methodProcesses, `null`, "", messages.Unimplemented},
		{"another event", methodEvent, `{"stats":{}}`, "", messages.Unimplemented},
		{"waits for what has no pid", methodWaitPID, "0", "", messages.Unimplemented},
		{"does not read the pid", methodWaitPID, "", "PID (0) must be positive", messages.Unimplemented},
		{"signals what has no pid", methodSignal, "{}", "", messages.Unimplemented},
		{"does not read the container", methodExec, "", `container "" not found`, messages.Unimplemented},
		{"starts what is nothing", methodExec, "5", "", messages.Unimplemented},
		{"other arguments", methodExec, "", "json: unknown field", messages.Unimplemented},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serveControl(t, func(conn *net.UnixConn, method string, _ json.RawMessage) {
				result, refusal := good(method)
				if method == test.method {
					result, refusal = test.result, test.refusal
				}
				if refusal != "" {
					refuse(conn, refusal)
				} else {
					succeed(conn, result)
				}
			})
			err := f.client(t, controlOptions{}).verify(testContext(t), "c")
			if test.kind == nil && err == nil {
				return
			}
			if test.kind == nil || !errors.Is(err, test.kind) || !strings.Contains(err.Error(), "command line") || !strings.Contains(err.Error(), test.method) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	t.Run("lost", func(t *testing.T) {
		f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) { conn.Close() })
		if err := f.client(t, controlOptions{}).verify(testContext(t), "c"); !errors.Is(err, messages.Unavailable) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("no version", func(t *testing.T) {
		f := serveControl(t, func(*net.UnixConn, string, json.RawMessage) {})
		f.writeState(t, func(_, s map[string]any) { delete(s, "metricMetadata") })
		if err := f.client(t, controlOptions{}).verify(testContext(t), "c"); !errors.Is(err, messages.Unimplemented) || !strings.Contains(err.Error(), "version") {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestControlCgroupCPU reads both kinds of cgroups.
func TestControlCgroupCPU(t *testing.T) {
	for _, test := range []struct {
		name, membership string
		files            map[string]string
		want             uint64
		fails            bool
	}{
		{"v1", "4:cpu,cpuacct:/a/b\n0::/\n", map[string]string{"sys/fs/cgroup/cpuacct/a/b/cpuacct.usage": "123\n"}, 123, false},
		{"v2", "0::/a/b\n", map[string]string{"sys/fs/cgroup/a/b/cpu.stat": "usage_usec 7\nuser_usec 1\n"}, 7000, false},
		{"none", "0::/a\n", nil, 0, true},
		{"no count", "0::/a\n", map[string]string{"sys/fs/cgroup/a/cpu.stat": "user_usec 1\n"}, 0, true},
		{"garbage", "what\n", nil, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			files := map[string]string{"proc/7/cgroup": test.membership}
			for path, text := range test.files {
				files[path] = text
			}
			for path, text := range files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := cgroupCPU(root, 7); got != test.want || test.fails != (err != nil) {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}
