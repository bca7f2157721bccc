package runsc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// TestControlBadServers: what a server of another version, a broken one or a
// compromised one answers.
func TestControlBadServers(t *testing.T) {
	for _, test := range []struct {
		name string
		// serve answers a call for the state.
		serve func(*net.UnixConn)
		want  error
		kind  error
	}{
		{"lost before the reply", func(*net.UnixConn) {}, ErrReplyLost, messages.Unavailable},
		{"lost in the reply", func(c *net.UnixConn) { io.WriteString(c, `{"success":true,"err"`) }, ErrReplyLost, messages.Unavailable},
		{"garbage", func(c *net.UnixConn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, errBadReply, messages.Internal},
		{"a number", func(c *net.UnixConn) { io.WriteString(c, "5 ") }, errBadReply, messages.Internal},
		{"a list", func(c *net.UnixConn) { io.WriteString(c, "[]") }, errBadReply, messages.Internal},
		{"null", func(c *net.UnixConn) { io.WriteString(c, "null") }, errBadReply, messages.Internal},
		{"an empty object", func(c *net.UnixConn) { io.WriteString(c, "{}") }, errBadReply, messages.Internal},
		{"no result", func(c *net.UnixConn) { io.WriteString(c, `{"success":true}`) }, errBadReply, messages.Internal},
		{"a result of another shape", func(c *net.UnixConn) { succeed(c, `"running"`) }, errBadReply, messages.Internal},
		{"a result out of bounds", func(c *net.UnixConn) { succeed(c, "77") }, errBadReply, messages.Internal},
		{"a number that does not fit", func(c *net.UnixConn) { succeed(c, "1e300") }, errBadReply, messages.Internal},
		{"two replies", func(c *net.UnixConn) {
			io.WriteString(c, `{"success":true,"result":2}{"success":true,"result":3}`)
		}, errBadReply, messages.Internal},
		{"too long", func(c *net.UnixConn) { succeed(c, `"`+strings.Repeat("x", 2*maxReply)+`"`) }, errBadReply, messages.Internal},
		{"without end", func(c *net.UnixConn) {
			io.WriteString(c, `{"success":true,"err":"`)
			for {
				if _, err := c.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		}, errBadReply, messages.Internal},
		{"deep", func(c *net.UnixConn) { succeed(c, strings.Repeat("[", 20000)) }, errBadReply, messages.Internal},
		{"files", func(c *net.UnixConn) {
			c.WriteMsgUnix([]byte(`{"success":true,"result":2}`), syscall.UnixRights(1, 2), nil)
		}, errBadReply, messages.Internal},
		{"files in the middle", func(c *net.UnixConn) {
			io.WriteString(c, `{"success":true,`)
			c.WriteMsgUnix([]byte(`"result":2}`), syscall.UnixRights(1), nil)
		}, errBadReply, messages.Internal},
		{"unknown method", func(c *net.UnixConn) { refuse(c, "unknown method") }, nil, messages.Unimplemented},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) {
				test.serve(conn)
				conn.Close()
			})
			c := f.client(t, controlOptions{})
			before := openFiles(t)
			_, err := c.State(testContext(t), "c")
			if test.want != nil && !errors.Is(err, test.want) || !errors.Is(err, test.kind) {
				t.Errorf("the error is %v (%v)", err, messages.KindOf(err))
			}
			if known := !happenedUnknown(err); known != (test.want == nil) {
				t.Errorf("known whether it was done: %v", known)
			}
			eventually(t, "no file is left", func() bool { return openFiles(t) <= before })
		})
	}
}

// TestControlFilesAreNotTaken: what a sandbox sends is closed by the kernel, and
// has at no time a number here.
func TestControlFilesAreNotTaken(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) {
		_ = withFDs([]*os.File{w}, nil, func(fds []int) error {
			_, _, err := conn.WriteMsgUnix([]byte(`{"success":true,"result":2}`), syscall.UnixRights(fds...), nil)
			return err
		})
		w.Close()
	})
	if _, err := f.client(t, controlOptions{}).State(testContext(t), "c"); !errors.Is(err, errBadReply) {
		t.Fatal(err)
	}
	r.SetDeadline(time.Now().Add(testTimeout))
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the pipe still has a writer: %v", err)
	}
}

// TestControlRefusalIsPrintable: a sandbox's words are quoted, and it may be
// compromised.
func TestControlRefusalIsPrintable(t *testing.T) {
	f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) {
		refuse(conn, "a\x1b[2Jb\nlevel=error "+strings.Repeat("x", 10000))
	})
	_, err := f.client(t, controlOptions{}).State(testContext(t), "c")
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 2*maxRefusalText {
		t.Errorf("the error has %d bytes: %.200q", len(fmt.Sprint(err)), err)
	}
}

// TestControlDeadlines: a server that hangs ends a short call at its deadline and
// no wait before its context.
func TestControlDeadlines(t *testing.T) {
	released := make(chan struct{})
	f := serveControl(t, func(*net.UnixConn, string, json.RawMessage) { <-released })
	defer close(released)
	c := f.client(t, controlOptions{Timeout: 50 * time.Millisecond})
	begin := time.Now()
	if _, err := c.State(context.Background(), "c"); !errors.Is(err, messages.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.State(ctx, "c"); !errors.Is(err, messages.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	canceled, cancel2 := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel2)
	if _, err := c.State(canceled, "c"); !errors.Is(err, messages.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if _, err := c.State(canceled, "c"); !errors.Is(err, messages.Canceled) {
		t.Errorf("the error is %v", err)
	}
	wait, cancel3 := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel3)
	if _, err := c.WaitPID(wait, fakeProcess, 1); !errors.Is(err, messages.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if d := time.Since(begin); d < 260*time.Millisecond || d > testTimeout {
		t.Errorf("it took %v", d)
	}
}

// TestControlExecAbandoned: an exec whose caller has gone is killed when its pid
// comes after all, and waited for.
func TestControlExecAbandoned(t *testing.T) {
	answer, calls := make(chan struct{}), make(chan string, 10)
	f := serveControl(t, func(conn *net.UnixConn, method string, arg json.RawMessage) {
		switch method {
		case methodExec:
			<-answer
			succeed(conn, "17")
		case methodSignal:
			calls <- "signal " + string(arg)
			succeed(conn, "{}")
		case methodWaitPID:
			calls <- "wait " + string(arg)
			succeed(conn, "9")
		}
	})
	c := f.client(t, controlOptions{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, fakeProcess, fakeSpec, devNull(t)); !errors.Is(err, messages.DeadlineExceeded) {
		t.Fatal(err)
	}
	close(answer)
	if got, want := <-calls, `signal {"CID":"c","Signo":9,"PID":17,"Mode":0}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := <-calls, `wait {"PID":17,"CID":"c"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestControlExecKeepsItsConnection: a wait comes on the connection of its exec,
// and on a new one where the sandbox has left that.
func TestControlExecKeepsItsConnection(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("sandbox leaves=%t", leaves), func(t *testing.T) {
			came, left := make(chan *net.UnixConn, 2), make(chan struct{})
			f := serveControl(t, func(conn *net.UnixConn, method string, _ json.RawMessage) {
				came <- conn
				if method == methodWaitPID {
					succeed(conn, "256")
					return
				}
				succeed(conn, "17")
				if leaves {
					conn.Close()
				}
				close(left)
			})
			c := f.client(t, controlOptions{})
			pid, err := c.Exec(testContext(t), fakeProcess, fakeSpec, devNull(t))
			if err != nil {
				t.Fatal(err)
			}
			<-left
			status, err := c.WaitPID(testContext(t), fakeProcess, pid)
			if err != nil || status.exit() != 1 {
				t.Errorf("the status is %d, %v", status.exit(), err)
			}
			if execs, waits := <-came, <-came; (execs == waits) == leaves {
				t.Errorf("the wait came on its exec's connection: %t", execs == waits)
			}
			if len(c.kept) > 0 || len(c.active) > 0 {
				t.Errorf("%d connections are kept and %d active", len(c.kept), len(c.active))
			}
		})
	}
}

// TestControlExecReplies: an exec that may have been started says so.
func TestControlExecReplies(t *testing.T) {
	for _, test := range []struct {
		name, reply string
		unknown     bool
	}{
		{"lost", "", true},
		{"bad", "what", true},
		{"a pid of zero", `{"success":true,"result":0}`, true},
		{"refused", `{"success":false,"err":"container \"c\" has stopped"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) {
				io.WriteString(conn, test.reply)
				conn.Close()
			})
			_, err := f.client(t, controlOptions{}).Exec(testContext(t), fakeProcess, fakeSpec, devNull(t))
			if err == nil || happenedUnknown(err) != test.unknown {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestControlClose ends what is under way.
func TestControlClose(t *testing.T) {
	here, released := make(chan struct{}), make(chan struct{})
	f := serveControl(t, func(*net.UnixConn, string, json.RawMessage) { here <- struct{}{}; <-released })
	defer close(released)
	c := f.client(t, controlOptions{})
	done := make(chan error)
	go func() {
		_, err := c.WaitPID(context.Background(), fakeProcess, 1)
		done <- err
	}()
	<-here
	c.Close()
	if err := <-done; !errors.Is(err, messages.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if _, err := c.State(testContext(t), "c"); !errors.Is(err, messages.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// TestControlBusyListener: with a full backlog connecting gives EAGAIN, which is
// tried again until the deadline.
func TestControlBusyListener(t *testing.T) {
	dir := t.TempDir()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	path := filepath.Join(dir, "s")
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	first, err := dialControl(ctx, path, time.Now().Add(testTimeout))
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	if _, err := dialControl(ctx, path, time.Now().Add(50*time.Millisecond)); !errors.Is(err, errNotConnected) || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("the error is %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := dialControl(canceled, path, time.Now().Add(testTimeout)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() {
		n, _, err := syscall.Accept(fd)
		if err == nil {
			syscall.Close(n)
		}
	})
	second, err := dialControl(ctx, path, time.Now().Add(testTimeout))
	if err != nil {
		t.Fatal(err)
	}
	second.close()
}

// TestControlBurst: many at once, over a backlog that is smaller.
func TestControlBurst(t *testing.T) {
	f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) { succeed(conn, "2") })
	c := f.client(t, controlOptions{})
	errs := make(chan error)
	const n = 300
	for range n {
		go func() {
			_, err := c.State(context.Background(), "c")
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// TestControlWaitsCostNoThread: a wait is a goroutine on the poller.
func TestControlWaitsCostNoThread(t *testing.T) {
	const n = 200
	var waiting atomic.Int32
	released := make(chan struct{})
	f := serveControl(t, func(conn *net.UnixConn, _ string, _ json.RawMessage) {
		waiting.Add(1)
		<-released
		succeed(conn, "256")
	})
	c := f.client(t, controlOptions{})
	threads := func() int {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := threads()
	statuses := make(chan int, n)
	for pid := range n {
		go func() {
			ws, err := c.WaitPID(context.Background(), fakeProcess, pid+1)
			if err != nil {
				t.Error(err)
			}
			statuses <- ws.exit()
		}()
	}
	eventually(t, "all wait", func() bool { return waiting.Load() == n })
	if more := threads() - before; more > 10+runtime.GOMAXPROCS(0) {
		t.Errorf("%d waits made %d threads", n, more)
	}
	close(released)
	for range n {
		if status := <-statuses; status != 1 {
			t.Errorf("status %d", status)
		}
	}
}

// FuzzControlReply: whatever comes, the answer is read within its bounds, and is
// one of the three that there are.
func FuzzControlReply(f *testing.F) {
	for _, seed := range []string{
		`{"success":true,"err":"","result":5}`, `{"success":false,"err":"no"}`, `{"success":true,"result":null}`,
		`{"success":true,"result":[{"pid":1,"threads":[1],"cmd":"x"}]}`, `{"success":true,"result":{"event":{"type":"stats"}}}`,
		`{`, ``, `null`, `{"success":1}`, `{"success":true}x`, "{\"success\":false,\"err\":\"\xff\x1b\"}",
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 1000)
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		const limit = 4096
		in := &pieces{data: data, size: max(chunk, 1)}
		raw, refused, err := readReply(in, limit)
		if in.read > limit {
			t.Errorf("%d bytes were read", in.read)
		}
		switch {
		case err != nil:
			if !errors.Is(err, io.EOF) && !errors.Is(err, errBadReply) {
				t.Errorf("the error is %v", err)
			}
			return
		case refused != nil:
			if refused.text != printable(refused.text) {
				t.Errorf("the refusal %q is not printable", refused.text)
			}
			_, _ = refused.kind(), refused.hint()
			return
		}
		if pid, err := decodePID(raw); err == nil && pid <= 0 {
			t.Errorf("pid %d", pid)
		}
		if list, err := decodeProcesses(raw); err == nil {
			for _, g := range list {
				if g.PID <= 0 {
					t.Errorf("pid %d", g.PID)
				}
			}
		}
		if event, err := decodeResult[eventOut](raw); err == nil {
			usageOf(event, "c", 1)
		}
		if status, err := decodeStatus(raw); err == nil {
			if exit := status.exit(); exit < 0 || exit > 255 {
				t.Errorf("status %#x is %d", status, exit)
			}
		}
	})
}

// pieces gives its data a few bytes at a time.
type pieces struct {
	data       []byte
	size, read int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.data)
	c.data = c.data[n:]
	c.read += n
	return n, nil
}
