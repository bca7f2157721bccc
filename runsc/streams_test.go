package runsc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// drainTimeout is short, so that the tests of what a drain does not get are.
const drainTimeout = 300 * time.Millisecond

// scripted is a process with streams.
type scripted struct {
	*streams
	t   *testing.T
	cmd *exec.Cmd
}

// greet is the process of these streams.
var greet = messages.Process{Container: "demo", Exec: "greet"}

// openIO opens streams that are closed at the end of the test.
func openIO(t *testing.T, s messages.Stdio, log *slog.Logger) *streams {
	t.Helper()
	st, err := openStreams(t.Context(), greet, s, streamOptions{DrainTimeout: drainTimeout, Logger: log, ID: "greet", Namespace: "tests"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// runScript starts a script with st, in a process group that does not outlive the
// test.
func runScript(t *testing.T, st *streams, script string) *scripted {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if st.terminal() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if _, err := st.openPty(); err != nil {
			t.Fatal(err)
		}
	}
	st.Set(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	if err := st.CloseAfterStart(); err != nil {
		t.Fatal(err)
	}
	return &scripted{st, t, cmd}
}

// wait waits for the process's own success.
func (r *scripted) wait() {
	r.t.Helper()
	if err := r.cmd.Wait(); err != nil {
		r.t.Fatal(err)
	}
}

// end is what a driver does with a process that is gone. It tells how long the
// drain took.
func (r *scripted) end() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.Drain(context.Background())
	took := time.Since(began)
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	return took
}

func mkfifo(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads a FIFO or file to its end in the background.
func readAll(t *testing.T, path string) func() string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		b, err := os.ReadFile(path)
		if err != nil {
			b = []byte(err.Error())
		}
		done <- string(b)
	}()
	return func() string {
		t.Helper()
		select {
		case s := <-done:
			return s
		case <-time.After(10 * time.Second):
			t.Fatalf("no end of %s in 10 s", path)
			return ""
		}
	}
}

// within fails the test if f takes longer than d.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s took longer than %s\n%s", what, d, buf[:runtime.Stack(buf, true)])
	}
}

// untilTrue waits until ok holds.
func untilTrue(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 10 s: %s", what)
		}
	}
}

// lockedBuffer is a Writer to look into while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %q, not %q", what, got, want)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func hashOf(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestLargeOutputArrivesWhole sends 100 MB through every kind of stream.
func TestLargeOutputArrivesWhole(t *testing.T) {
	const size = 100 << 20
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if out, err := exec.Command("/bin/sh", "-c", fmt.Sprintf("head -c %d /dev/urandom > %s", size, source)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := hashOf(t, f)

	fromFile := func(path string) func(*testing.T) string {
		return func(t *testing.T) string {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer os.Remove(path)
			defer f.Close()
			return hashOf(t, f)
		}
	}
	type kind struct {
		stdio  messages.Stdio
		script string
		got    func(*testing.T) string
	}
	kinds := map[string]func(*testing.T) kind{
		"memory": func(t *testing.T) kind {
			h := sha256.New()
			return kind{messages.Stdio{Pipes: messages.Pipes{Stdout: h}}, "cat " + source,
				func(*testing.T) string { return hex.EncodeToString(h.Sum(nil)) }}
		},
		"fifo": func(t *testing.T) kind {
			path := mkfifo(t, "out")
			hash := make(chan string, 1)
			go func() {
				f, err := os.Open(path)
				if err != nil {
					hash <- err.Error()
					return
				}
				defer f.Close()
				hash <- hashOf(t, f)
			}()
			return kind{messages.Stdio{Stdout: path}, "cat " + source, func(*testing.T) string { return <-hash }}
		},
		"file": func(t *testing.T) kind {
			path := filepath.Join(dir, "file")
			return kind{messages.Stdio{Stdout: "file://" + path}, "cat " + source, fromFile(path)}
		},
		"logging program": func(t *testing.T) kind {
			path := filepath.Join(dir, "log")
			return kind{messages.Stdio{Stdout: program("cat <&3 >" + path + " 5>&- & cat <&4 5>&- & exec 5>&-; wait")}, "cat " + source, fromFile(path)}
		},
		"terminal": func(t *testing.T) kind {
			h := sha256.New()
			return kind{messages.Stdio{Terminal: true, Pipes: messages.Pipes{Stdout: h}}, "stty raw -echo; cat " + source,
				func(*testing.T) string { return hex.EncodeToString(h.Sum(nil)) }}
		},
		"stdin from a file": func(t *testing.T) kind {
			h := sha256.New()
			return kind{messages.Stdio{Stdin: source, Pipes: messages.Pipes{Stdout: h}}, "cat",
				func(*testing.T) string { return hex.EncodeToString(h.Sum(nil)) }}
		},
		"stdin from memory": func(t *testing.T) kind {
			h := sha256.New()
			f, err := os.Open(source)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return kind{messages.Stdio{Pipes: messages.Pipes{Stdin: f, Stdout: h}}, "cat",
				func(*testing.T) string { return hex.EncodeToString(h.Sum(nil)) }}
		},
	}
	for name, open1 := range kinds {
		t.Run(name, func(t *testing.T) {
			k := open1(t)
			began := time.Now()
			r := runScript(t, openIO(t, k.stdio, nil), k.script)
			r.wait()
			r.end()
			equal(t, "the hash", k.got(t), want)
			t.Logf("%d MB/s", int(size/1e6/time.Since(began).Seconds()))
		})
	}
}

// TestStreamsThatAreNotNamed: stdin is empty and output is discarded, not
// refused.
func TestStreamsThatAreNotNamed(t *testing.T) {
	r := runScript(t, openIO(t, messages.Stdio{}, nil), `[ -z "$(cat)" ] && echo out && echo err >&2`)
	r.wait()
	r.end()

	var out bytes.Buffer
	r = runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdout: &out}}, nil), `cat; echo err >&2 && echo out`)
	r.wait()
	r.end()
	equal(t, "stdout", out.String(), "out\n")
}

// TestOneDestinationForBoth: what goes to one place is one stream, in the order
// in which it was written.
func TestOneDestinationForBoth(t *testing.T) {
	const script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
	const want = "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"
	existing := filepath.Join(t.TempDir(), "existing")
	if err := os.WriteFile(existing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	created := filepath.Join(t.TempDir(), "new", "created")
	fifo := mkfifo(t, "fifo")
	var memory lockedBuffer
	for _, c := range []struct {
		name  string
		stdio messages.Stdio
		got   func() string
	}{
		{"a path", messages.Stdio{Stdout: existing, Stderr: existing}, readAll(t, existing)},
		{"a path and its URL", messages.Stdio{Stdout: "file://" + created, Stderr: filepath.Dir(created) + "/../new/created"}, nil},
		{"a FIFO", messages.Stdio{Stdout: fifo, Stderr: fifo}, readAll(t, fifo)},
		{"memory", messages.Stdio{Pipes: messages.Pipes{Stdout: &memory, Stderr: &memory}}, memory.String},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := runScript(t, openIO(t, c.stdio, nil), script)
			if len(r.outs) != 1 {
				t.Fatalf("there are %d outputs", len(r.outs))
			}
			r.wait()
			r.end()
			switch c.name {
			case "a path":
				c.got()
				c.got = readAll(t, existing)
			case "a path and its URL":
				c.got = readAll(t, created)
			}
			equal(t, "what arrived", c.got(), want)
		})
	}
}

// incomparable can not be compared with ==; finding out whether stdout and
// stderr are one Writer must not panic.
type incomparable struct{ to []io.Writer }

func (i incomparable) Write(p []byte) (int, error) { return i.to[0].Write(p) }

func TestWritersThatCanNotBeCompared(t *testing.T) {
	var out, errs bytes.Buffer
	r := runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdout: incomparable{[]io.Writer{&out}}, Stderr: incomparable{[]io.Writer{&errs}}}}, nil), "echo out; echo err >&2")
	r.wait()
	r.end()
	equal(t, "stdout", out.String(), "out\n")
	equal(t, "stderr", errs.String(), "err\n")
}

// TestFilesAreAppendedTo: also by two writers, and file:// makes folders.
func TestFilesAreAppendedTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "log")
	for i := range 2 {
		r := runScript(t, openIO(t, messages.Stdio{Stdout: "file://" + path}, nil), fmt.Sprintf("echo %d", i))
		r.wait()
		r.end()
	}
	r := runScript(t, openIO(t, messages.Stdio{Stderr: path}, nil), "echo 2 >&2")
	r.wait()
	r.end()
	equal(t, "the file", readAll(t, path)(), "0\n1\n2\n")
}

// failing is a Writer that takes n bytes.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	n := min(f.n, len(p))
	f.n -= n
	if n < len(p) {
		return n, errors.New("gone away")
	}
	return n, nil
}

// TestAFailingDestinationDoesNotStopTheProcess: it is told once, with what was
// lost, and the process goes on.
func TestAFailingDestinationDoesNotStopTheProcess(t *testing.T) {
	for name, stdio := range map[string]messages.Stdio{
		"memory":    {Pipes: messages.Pipes{Stdout: &failing{n: 10}}},
		"full disk": {Stdout: "/dev/full"},
	} {
		t.Run(name, func(t *testing.T) {
			var log lockedBuffer
			r := runScript(t, openIO(t, stdio, slog.New(slog.NewTextHandler(&log, nil))), "head -c 1000000 /dev/zero")
			r.wait()
			r.end()
			said := log.String()
			if strings.Count(said, "level=WARN") != 1 || !strings.Contains(said, `process=demo/greet`) || !strings.Contains(said, "stream=stdout") {
				t.Fatalf("the log is\n%s", said)
			}
			want := "bytes=1000000"
			if name == "memory" {
				want = "bytes=999990"
			}
			if !strings.Contains(said, want) {
				t.Fatalf("the log does not say %s:\n%s", want, said)
			}
		})
	}
}

// TestNamesThatCanNotBeOpened: the error has its kind, names the stream, the
// process and what was named, and says what to do; and nothing stays open.
func TestNamesThatCanNotBeOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	before := countFDs(t)
	for _, c := range []struct {
		stdio messages.Stdio
		kind  error
		says  string
	}{
		{messages.Stdio{Stdin: missing}, messages.NotFound, missing},
		{messages.Stdio{Stdout: missing}, messages.NotFound, missing},
		{messages.Stdio{Stdin: file, Stdout: file, Stderr: missing}, messages.NotFound, "open the stderr of demo/greet"},
		{messages.Stdio{Stdin: dir}, messages.InvalidArgument, "open the stdin of demo/greet"},
		{messages.Stdio{Stdout: dir}, messages.InvalidArgument, dir},
		{messages.Stdio{Stdout: socket}, messages.InvalidArgument, socket},
		{messages.Stdio{Stdout: file + "/below"}, messages.NotFound, "below"},
		{messages.Stdio{Stdout: "file://" + file + "/below"}, messages.NotFound, "below"},
		{messages.Stdio{Stdout: "file://a/b"}, messages.InvalidArgument, "three slashes"},
		{messages.Stdio{Stdout: "http://a/b"}, messages.InvalidArgument, `no scheme "http"`},
		{messages.Stdio{Stdout: "://"}, messages.InvalidArgument, "use a path"},
		{messages.Stdio{Stdin: "binary:///bin/true"}, messages.InvalidArgument, "logging program"},
		{messages.Stdio{Stdout: "binary:///bin/true", Stderr: file}, messages.InvalidArgument, "same logging program"},
		{messages.Stdio{Stdout: "binary:///bin/true", Stderr: "binary:///bin/false"}, messages.InvalidArgument, "same logging program"},
		{messages.Stdio{Stdout: "binary://" + missing}, messages.NotFound, "logging contract"},
		{messages.Stdio{Stdout: "binary://" + file}, messages.FailedPrecondition, "logging contract"},
	} {
		st, err := openStreams(t.Context(), greet, c.stdio, streamOptions{})
		if err == nil {
			st.Close()
			t.Errorf("%+v was opened", c.stdio)
			continue
		}
		var e *messages.Error
		if !errors.As(err, &e) || messages.KindOf(err) != c.kind || e.Hint == "" {
			t.Errorf("%+v: the kind is %v, the hint %q: %v", c.stdio, messages.KindOf(err), e.Hint, err)
		}
		if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), " of demo/greet: ") {
			t.Errorf("%+v: the error does not say %q: %v", c.stdio, c.says, err)
		}
	}
	untilTrue(t, "all is closed", func() bool { return countFDs(t) == before })
}

// TestOwnerOfTheChildsEnds: uid and gid are configurable, for pipes and ptys.
func TestOwnerOfTheChildsEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		Missing(t, "only root can give files away")
	}
	for _, terminal := range []bool{false, true} {
		var out bytes.Buffer
		st, err := openStreams(t.Context(), greet, messages.Stdio{Terminal: terminal, Pipes: messages.Pipes{Stdout: &out}}, streamOptions{UID: 1234, GID: 5678})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		r := runScript(t, st, "stat -L -c %u:%g /proc/self/fd/1")
		r.wait()
		r.end()
		equal(t, "the owner", strings.TrimSpace(out.String()), "1234:5678")
	}
}

// TestNothingIsInherited: a child that is started beside has none of our
// descriptors.
func TestNothingIsInherited(t *testing.T) {
	list := func() string {
		var out bytes.Buffer
		r := runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdout: &out}}, nil), "exec ls /proc/self/fd")
		r.wait()
		r.end()
		return out.String()
	}
	// What go test itself was started with is inherited by all.
	before := list()
	fifo := mkfifo(t, "in")
	runScript(t, openIO(t, messages.Stdio{Terminal: true, Stdin: fifo}, nil), "cat")
	runScript(t, openIO(t, messages.Stdio{Stdin: fifo, Stdout: program("exec 5>&-; cat <&3")}, nil), "cat")
	openIO(t, messages.Stdio{Stdout: mkfifo(t, "out")}, nil)
	equal(t, "the list of descriptors", list(), before)
}
