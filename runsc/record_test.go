package runsc

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// A process is known by its number and its start time together.
func TestHostProcess(t *testing.T) {
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := hostProcess{os.Getpid(), self.born}.hold()
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	for _, h := range []hostProcess{{os.Getpid(), self.born + 1}, {os.Getpid(), 0}, {0, 0}, {-1, 1}} {
		if p, err := h.hold(); err == nil {
			p.close()
			t.Errorf("%+v was held", h)
		}
	}
}

// What can not be written whole is not there at all, and what was there stays.
func TestWriteMemo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exec-e.json")
	want := execMemo{Version: memoVersion, Exec: "e", At: time.Now().UTC()}
	if err := writeMemo(path, want); err != nil {
		t.Fatal(err)
	}
	if err := writeMemo(path, make(chan int)); err == nil {
		t.Error("a channel was written")
	}
	if got, err := readMemo[execMemo](path); err != nil || got.Exec != "e" || !got.At.Equal(want.At) {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := writeMemo(filepath.Join(path, "x"), want); err == nil {
		t.Error("written into a file")
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("there are %v", list)
	}
}

func FuzzReadMemo(f *testing.F) {
	f.Add([]byte(`{"version":1,"container":"c","sandbox":"c","sentry":{"pid":1,"born":2},"at":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"version":1,"stdio":[]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "m.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := readMemo[containerMemo](path); err == nil && m.Version != memoVersion {
			t.Errorf("version %d was taken", m.Version)
		}
		_, _ = readMemo[execMemo](path)
	})
}

// BenchmarkWriteMemo is what is added to each exec.
func BenchmarkWriteMemo(b *testing.B) {
	for name, dir := range map[string]string{"tmpfs": "/dev/shm", "disk": ""} {
		b.Run(name, func(b *testing.B) {
			dir, err := os.MkdirTemp(dir, "memo")
			if err != nil {
				b.Fatal(err)
			}
			defer os.RemoveAll(dir)
			path := filepath.Join(dir, "exec-e.json")
			m := execMemo{Version: memoVersion, Container: "demo", Exec: "e", Way: ExecControl, Host: hostProcess{1, 2}, Guest: 3,
				Args: []string{"sh", "-c", "exit 3"}, Cwd: "/", At: time.Now()}
			m.Stdio = newStdioMemo(messages.Stdio{Stdout: "/run/fifo"}, &streams{})
			b.ReportAllocs()
			for b.Loop() {
				if err := writeMemo(path, m); err != nil {
					b.Fatal(err)
				}
				if err := os.Remove(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
