package runsc_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// What a sandbox does wrong on its control socket, seen through the driver.

// logged is a stage whose driver's log is kept.
func logged(t *testing.T, change ...func(*runsc.Options)) (*stage, *buffer) {
	log := &buffer{}
	return newStage(t, append(change, func(o *runsc.Options) {
		o.Logger = slog.New(slog.NewTextHandler(log, nil))
	})...), log
}

// proxied is one with a proxy before its sandboxes.
func proxied(t *testing.T) (*stage, *runsc.ControlProxy, *buffer) {
	s, log := logged(t)
	proxy := runsc.NewControlProxy(t, s.dir)
	s.ProxyControl(proxy)
	return s, proxy, log
}

// sentry is the pid of a container's sandbox.
func (s *stage) sentry(id string) int {
	s.t.Helper()
	state, err := s.Client().State(s.context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return state.Pid
}

// guests are the pids in a container.
func (s *stage) guests(id string) int {
	s.t.Helper()
	pids, err := s.Client().Ps(s.context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return len(pids)
}

func (s *stage) wantWay(init messages.Incarnation, way string) {
	s.t.Helper()
	if got := s.Way(init); got != way && !(strings.HasSuffix(way, ":") && strings.HasPrefix(got, way)) {
		s.t.Errorf("the way is %q, want %q", got, way)
	}
}

// A method that has gone is a definite no: the command line does it.
func TestAnUnknownMethod(t *testing.T) {
	s, proxy, log := proxied(t)
	init := s.run("c", "sleep", "1000")
	first := s.launch(init, "first", "sleep", "1000")
	s.exec(first)
	refusal := func(w io.Writer) { _, _ = io.WriteString(w, `{"success":false,"err":"unknown method","result":null}`) }
	proxy.Fail("ExecuteAsync", runsc.ControlFault{Then: refusal})
	l := s.launch(init, "e", "sh", "-c", "exit 3")
	s.exec(l)
	s.wantExit(l.Process, 3)
	s.wantWay(init, "cli:")
	if n := strings.Count(log.String(), "by the command line from now on"); n != 1 {
		t.Error(log)
	}
	// Who waited over the socket goes on.
	if err := s.Kill(s.context(), first.Process, unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(first.Process, 143)
}

// The connection ends between an exec and its answer: the process is found, and
// never started again.
func TestTheAnswerToAnExecIsLost(t *testing.T) {
	s, proxy, log := proxied(t)
	init := s.run("c", "sleep", "1000")
	s.exec(s.launch(init, "known", "sleep", "1000"))
	proxy.Fail("ExecuteAsync", runsc.ControlFault{Forward: true})
	l := s.launch(init, "e", "sleep", "1000")
	pids := s.exec(l)
	if n := s.guests("c"); n != 3 {
		t.Errorf("there are %d processes, want init and two execs", n)
	}
	if !strings.Contains(log.String(), "its process found") {
		t.Error(log)
	}
	if err := s.Kill(s.context(), l.Process, unix.SIGTERM, false); err != nil {
		t.Error(err)
	}
	s.wantExit(l.Process, 143)
	s.mustDelete(l.Process)
	if pids.Guest == 0 {
		t.Error("it has no pid")
	}

	// One that can not be found is an error, and not tried again.
	proxy.Fail("ExecuteAsync", runsc.ControlFault{})
	before := proxy.Calls("ExecuteAsync")
	l = s.launch(init, "e", "sleep", "1000")
	_, err := s.Exec(s.context(), l)
	t.Log(err)
	wantKind(t, err, messages.Unavailable, "c/e", "before it answered")
	if n := proxy.Calls("ExecuteAsync") - before; n != 1 || s.guests("c") != 2 {
		t.Errorf("it was asked for %d times, and there are %d processes", n, s.guests("c"))
	}
	s.wantWay(init, "control")
	if s.notices.count(l.Process) != 0 {
		t.Error("an exit of it was told")
	}
}

// An answer that is none: the exec fails, is not repeated, and the next one goes
// by the command line. What has no end is not read to it.
func TestABadAnswerToAnExec(t *testing.T) {
	for name, answer := range map[string]func(io.Writer){
		"garbage": func(w io.Writer) { _, _ = io.WriteString(w, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"no pid":  func(w io.Writer) { _, _ = io.WriteString(w, `{"success":true,"err":"","result":-1}`) },
		"oversized": func(w io.Writer) {
			_, _ = io.WriteString(w, `{"success":true,"err":"`+strings.Repeat("x", 1<<20)+`","result":1}`)
		},
		"without end": func(w io.Writer) {
			_, _ = io.WriteString(w, `{"success":true,"err":"`)
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 64<<10)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, proxy, log := proxied(t)
			init := s.run("c", "sleep", "1000")
			s.exec(s.launch(init, "known", "sleep", "1000"))
			proxy.Fail("ExecuteAsync", runsc.ControlFault{Then: answer})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l := s.launch(init, "e", "true")
			_, err := s.Exec(s.context(), l)
			runtime.ReadMemStats(&after)
			wantKind(t, err, messages.Internal, "c/e", "control protocol")
			if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
				t.Errorf("it took %d bytes", n)
			}
			s.wantWay(init, "cli:")
			if n := strings.Count(log.String(), "by the command line from now on"); n != 1 {
				t.Error(log)
			}
			l = s.launch(init, "e", "sh", "-c", "exit 3")
			s.exec(l)
			s.wantExit(l.Process, 3)
		})
	}
}

// The connection of a wait ends while sandbox and process live: it is waited for
// anew.
func TestAWaitIsLost(t *testing.T) {
	s, proxy, _ := proxied(t)
	init := s.run("c", "sleep", "1000")
	first := s.launch(init, "first", "true")
	s.exec(first)
	s.wantExit(first.Process, 0)
	proxy.Fail("WaitPID", runsc.ControlFault{Then: func(io.Writer) {}})
	l := s.launch(init, "e", "sleep", "1000")
	s.exec(l)
	// Before those there were the verification's and the first one's.
	s.until(func() bool { return proxy.Calls("WaitPID") == 4 })
	if err := s.Kill(s.context(), l.Process, unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(l.Process, 143)
}

// A wait that gets nonsense says nothing of the process: it is killed, and told
// to be gone when it is.
func TestABadAnswerToAWait(t *testing.T) {
	s, proxy, _ := proxied(t)
	init := s.run("c", "sleep", "1000")
	s.exec(s.launch(init, "first", "sleep", "1000"))
	// The other call is the verification's.
	s.until(func() bool { return proxy.Calls("WaitPID") == 2 })
	proxy.Fail("WaitPID", runsc.ControlFault{Then: func(w io.Writer) { _, _ = io.WriteString(w, "[]") }})
	l := s.launch(init, "e", "sleep", "1000")
	s.exec(l)
	if e := s.exit(l.Process); e.Status != 137 || !strings.Contains(e.Reason, "control protocol") {
		t.Errorf("%+v", e)
	}
	if n := s.guests("c"); n != 2 {
		t.Errorf("there are %d processes, want init and one exec", n)
	}
	s.wantWay(init, "cli:")
}

// Nobody listens any more and the sandbox lives: the command line.
func TestTheSocketIsRefused(t *testing.T) {
	s, proxy, _ := proxied(t)
	init := s.run("c", "sleep", "1000")
	first := s.launch(init, "first", "sleep", "1000")
	s.exec(first)
	proxy.Refuse()
	l := s.launch(init, "e", "sh", "-c", "exit 3")
	s.exec(l)
	s.wantExit(l.Process, 3)
	if _, err := s.Stats(s.context(), init); err != nil {
		t.Error(err)
	}
	if err := s.Kill(s.context(), first.Process, unix.SIGTERM, false); err != nil {
		t.Error(err)
	}
	s.wantExit(first.Process, 143)
}

// A sandbox that is killed while calls are under way and processes are waited
// for: each is told of in bounded time.
func TestASandboxThatIsKilledInTheMiddle(t *testing.T) {
	s, proxy, _ := proxied(t)
	init := s.run("c", "sleep", "1000")
	var execs []messages.Incarnation
	for _, id := range []string{"a", "b", "c", "d"} {
		l := s.launch(init, id, "sleep", "1000")
		s.exec(l)
		execs = append(execs, l.Process)
	}
	held := make(chan struct{})
	proxy.Fail("ExecuteAsync", runsc.ControlFault{Forward: true, Then: func(io.Writer) { <-held }})
	failed := make(chan error, 1)
	l := s.launch(init, "e", "sleep", "1000")
	go func() {
		_, err := s.Exec(s.context(), l)
		failed <- err
	}()
	s.until(func() bool { return s.guests("c") == 6 })
	begin := time.Now()
	if err := unix.Kill(s.sentry("c"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	close(held)
	err := <-failed
	t.Log(err)
	wantKind(t, err, messages.FailedPrecondition, "c/e", "dead")
	for _, p := range append(execs, init) {
		if e := s.exit(p); e.Status != 137 || !strings.Contains(e.Reason, "sandbox is gone") {
			t.Errorf("%s: %+v", p, e)
		}
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("it took %v", d)
	}
	wantKind(t, s.Kill(s.context(), execs[0], 9, false), messages.NotFound)
	_, err = s.Exec(s.context(), s.launch(init, "late", "true"))
	wantKind(t, err, messages.FailedPrecondition, "dead")
	for _, p := range append(execs, init) {
		s.mustDelete(p)
		if n := s.notices.count(p); n != 1 {
			t.Errorf("%d exits of %s", n, p)
		}
	}
}

// A sandbox that hangs after it was understood: every call ends with its context.
func TestASandboxThatHangs(t *testing.T) {
	s, _ := logged(t)
	init := s.run("c", "sleep", "1000")
	live := s.launch(init, "live", "sleep", "1000")
	s.exec(live)
	hang(t, s.sentry("c"))
	for name, call := range map[string]func(context.Context) error{
		"c/e": func(ctx context.Context) error {
			_, err := s.Exec(ctx, s.launch(init, "e", "sleep", "1000"))
			return err
		},
		"c/live": func(ctx context.Context) error { return s.Kill(ctx, live.Process, unix.SIGKILL, false) },
		"kill c": func(ctx context.Context) error { return s.Kill(ctx, init, unix.SIGKILL, true) },
		"measure c": func(ctx context.Context) error {
			_, err := s.Stats(ctx, init)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		begin := time.Now()
		wantKind(t, call(ctx), messages.DeadlineExceeded, name)
		cancel()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("%s took %v", name, d)
		}
	}
	s.wantWay(init, "control")
	if err := s.KillSandbox(s.context(), init); err != nil {
		t.Fatal(err)
	}
	for _, p := range []messages.Incarnation{live.Process, init} {
		if e := s.exit(p); e.Status != 137 {
			t.Errorf("%s: %+v", p, e)
		}
	}
}
