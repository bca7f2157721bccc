package runsc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	runc "github.com/containerd/go-runc"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

func process(args ...string) specs.Process {
	return specs.Process{Args: args, Env: []string{"PATH=/bin", "SECRET=hidden"}, Cwd: "/"}
}

// One life of a container, by the command line alone.
func TestClient(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	s := newStage(t, func(o *runsc.Options) { o.Log, o.LogFormat = log, "json" })
	c, ctx := s.Client(), s.context()
	if v, err := c.Version(ctx); err != nil || v == "" {
		t.Errorf("version %q %v", v, err)
	}
	bundle, pidFile := s.bundle(nil, "sleep", "1000"), filepath.Join(s.dir, "pid")
	if err := c.Create(ctx, "c", bundle, &runsc.CreateOpts{PidFile: pidFile}); err != nil {
		t.Fatal(err)
	}
	pid, err := runc.ReadPidFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, c.Create(ctx, "c", bundle, nil), messages.AlreadyExists, "runsc create c")
	if st, err := c.State(ctx, "c"); err != nil || st.Status != "created" || st.Pid != pid {
		t.Errorf("%+v %v", st, err)
	}
	if err := c.Start(ctx, "c", nil); err != nil {
		t.Fatal(err)
	}
	wantKind(t, c.Start(ctx, "c", nil), messages.FailedPrecondition, "runsc start c", "running")
	if pids, err := c.Ps(ctx, "c"); err != nil || len(pids) != 1 || pids[0] != 1 {
		t.Errorf("%v %v", pids, err)
	}
	if u, err := c.Stats(ctx, "c"); err != nil || u.PIDs.Current != 1 {
		t.Errorf("%+v %v", u, err)
	}

	t.Run("exec", func(t *testing.T) {
		for want, line := range map[int]string{0: "exit 0", 3: "exit 3", 128: "exit 128", 143: "kill -TERM $$"} {
			if status, err := c.Exec(ctx, "c", process("sh", "-c", line), nil); err != nil || status != want {
				t.Errorf("%s: %d %v", line, status, err)
			}
		}
		pipes, err := runc.NewPipeIO(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer pipes.Close()
		go func() {
			_, _ = io.WriteString(pipes.Stdin(), "in\n")
			_ = pipes.Stdin().Close()
		}()
		if status, err := c.Exec(ctx, "c", process("sh", "-c", "cat; echo $SECRET >&2"), &runsc.ExecOpts{IO: pipes}); err != nil || status != 0 {
			t.Errorf("%d %v", status, err)
		}
		out, _ := bufio.NewReader(pipes.Stdout()).ReadString('\n')
		errs, _ := bufio.NewReader(pipes.Stderr()).ReadString('\n')
		if out != "in\n" || errs != "hidden\n" {
			t.Errorf("it wrote %q and %q", out, errs)
		}
		_, err = c.Exec(ctx, "c", process("nosuch"), nil)
		wantKind(t, err, messages.NotFound, "runsc exec c", "nosuch")
		_, err = c.Exec(ctx, "unknown", process("true"), nil)
		wantKind(t, err, messages.NotFound, "runsc exec unknown")
	})

	t.Run("detached with a terminal", func(t *testing.T) {
		socket, err := runc.NewTempConsoleSocket()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		host, guest := filepath.Join(s.dir, "host"), filepath.Join(s.dir, "guest")
		spec := process("sh", "-c", "tty; read x; echo got $x; exit 5")
		spec.Terminal = true
		if _, err := c.Exec(ctx, "c", spec, &runsc.ExecOpts{Detach: true, ConsoleSocket: socket, PidFile: host, InternalPidFile: guest}); err != nil {
			t.Fatal(err)
		}
		console, err := socket.ReceiveMaster()
		if err != nil {
			t.Fatal(err)
		}
		defer console.Close()
		hostPID, err := runc.ReadPidFile(host)
		if err != nil {
			t.Fatal(err)
		}
		guestPID, err := runc.ReadPidFile(guest)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", hostPID)); err != nil {
			t.Errorf("no stub: %s %v", b, err)
		}
		_, _ = io.WriteString(console, "word\n")
		var text strings.Builder
		_, _ = io.Copy(&text, console)
		if !strings.Contains(text.String(), "got word") {
			t.Errorf("it wrote %q", text.String())
		}
		wantKind(t, c.Kill(ctx, "c", 9, &runsc.KillOpts{PID: guestPID}), messages.NotFound, "runsc kill c")
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", hostPID))
		if strings.Contains(string(b), "hidden") {
			t.Error("the environment of the process is that of its stub")
		}
	})

	t.Run("detached and killed", func(t *testing.T) {
		guest := filepath.Join(s.dir, "guest2")
		if _, err := c.Exec(ctx, "c", process("sleep", "1000"), &runsc.ExecOpts{Detach: true, InternalPidFile: guest}); err != nil {
			t.Fatal(err)
		}
		pid, err := runc.ReadPidFile(guest)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Kill(ctx, "c", 9, &runsc.KillOpts{PID: pid}); err != nil {
			t.Error(err)
		}
	})

	if err := c.Pause(ctx, "c"); err != nil {
		t.Error(err)
	}
	if err := c.Resume(ctx, "c"); err != nil {
		t.Error(err)
	}
	wantKind(t, c.Kill(ctx, "c", 77, nil), messages.InvalidArgument, "runsc kill c")
	wantKind(t, c.Delete(ctx, "c", nil), messages.FailedPrecondition, "runsc delete c")
	type answer struct {
		status int
		err    error
	}
	waited := make(chan answer)
	go func() {
		status, err := c.Wait(ctx, "c", nil)
		waited <- answer{status, err}
	}()
	// The wait ends with its context too. Meanwhile the other has begun.
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = c.Wait(short, "c", nil)
	wantKind(t, err, messages.DeadlineExceeded, "runsc wait c")
	if err := c.Kill(ctx, "c", 15, &runsc.KillOpts{All: true}); err != nil {
		t.Error(err)
	}
	if a := <-waited; a.err != nil || a.status != 143 {
		t.Errorf("%+v", a)
	}
	if err := c.Delete(ctx, "c", &runsc.DeleteOpts{Force: true}); err != nil {
		t.Error(err)
	}
	_, err = c.State(ctx, "c")
	wantKind(t, err, messages.NotFound, "runsc state c")
	if b, _ := os.ReadFile(log); !strings.Contains(string(b), "in state running") || !strings.HasSuffix(string(b), "}\n") {
		t.Errorf("the log has %q", b)
	}
}

// An embedder's context ends a call at once, whatever runsc does.
func TestClientCallsEndWithTheirContext(t *testing.T) {
	path := fakeRunsc(t, "state", "trap '' TERM INT; sleep 1000 & wait")
	s := newStage(t, func(o *runsc.Options) { o.Path, o.CallTimeout = path, 300*time.Millisecond })
	begin := time.Now()
	_, err := s.Client().State(context.Background(), "c")
	wantKind(t, err, messages.DeadlineExceeded, "runsc state c")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.Join(context.Canceled, errors.New("no more")))
	_, err = s.Client().State(ctx, "c")
	wantKind(t, err, messages.Canceled, "no more")
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}
