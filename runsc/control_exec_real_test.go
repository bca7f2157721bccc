package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// TestControlExecAsCommandLine runs each case by `runsc exec` and by the control
// socket, in the same sandbox, and wants the same of both.
func TestControlExecAsCommandLine(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	sh := func(script string) messages.ExecSpec { return s.execSpec("sh", "-c", script) }
	with := func(spec messages.ExecSpec, change func(*specs.Process)) messages.ExecSpec {
		change(&spec.Process)
		return spec
	}
	const status = "grep -e ^Cap -e ^NoNewPrivs /proc/self/status"
	all := []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_CHECKPOINT_RESTORE"}
	for _, test := range []struct {
		name string
		spec messages.ExecSpec
		// status and stdout are what is wanted beside equality; stdout is a part.
		status int
		stdout string
		// kind is that of a refusal.
		kind error
	}{
		{name: "true", spec: s.execSpec("true")},
		{name: "false", spec: s.execSpec("false"), status: 1},
		{name: "exit code", spec: sh("exit 7"), status: 7},
		{name: "highest exit code", spec: sh("exit 255"), status: 255},
		{name: "stdout and stderr", spec: sh("echo out; echo err >&2"), stdout: "out\n"},
		{name: "stdin at its end", spec: s.execSpec("cat")},
		{name: "died by SIGKILL", spec: sh("kill -KILL $$"), status: 137},
		{name: "died by SIGTERM", spec: sh("kill -TERM $$"), status: 143},
		{name: "died by SIGSEGV", spec: sh("kill -SEGV $$"), status: 139},
		{name: "a real-time signal", spec: sh("kill -s 40 $$"), status: 168},
		{name: "absolute path", spec: s.execSpec("/bin/true")},
		{name: "relative path", spec: with(s.execSpec("bin/true"), func(p *specs.Process) { p.Cwd = "/usr" })},
		{name: "missing command", spec: s.execSpec("no-such-command"), kind: messages.NotFound},
		{name: "missing path", spec: s.execSpec("/no/such/command"), kind: messages.NotFound},
		{name: "empty command", spec: s.execSpec(""), kind: messages.FailedPrecondition},
		{name: "a folder", spec: s.execSpec("/etc"), kind: messages.FailedPrecondition},
		{name: "not executable", spec: s.execSpec("/etc/passwd"), kind: messages.FailedPrecondition},
		{name: "PATH of the process", spec: with(s.execSpec("true"), func(p *specs.Process) { p.Env = []string{"PATH=/nowhere:/bin"} })},
		{name: "PATH without it", spec: with(s.execSpec("true"), func(p *specs.Process) { p.Env = []string{"PATH=/nowhere"} }), kind: messages.NotFound},
		{name: "no PATH", spec: with(s.execSpec("true"), func(p *specs.Process) { p.Env = nil }), kind: messages.NotFound},
		{name: "PATH to a file that is not executable", spec: with(s.execSpec("passwd"), func(p *specs.Process) { p.Env = []string{"PATH=/etc"} }), kind: messages.FailedPrecondition},
		{name: "cwd", spec: with(s.execSpec("pwd"), func(p *specs.Process) { p.Cwd = "/usr/bin" }), stdout: "/usr/bin\n"},
		{name: "missing cwd", spec: with(s.execSpec("true"), func(p *specs.Process) { p.Cwd = "/no/such/folder" }), kind: messages.NotFound},
		{name: "cwd is a file", spec: with(s.execSpec("true"), func(p *specs.Process) { p.Cwd = "/etc/passwd" })},
		{name: "environment", spec: with(s.execSpec("env"), func(p *specs.Process) { p.Env = append(p.Env, "A=1", "B=two words", "A=3", "E=") }), stdout: "B=two words\n"},
		{name: "broken environment", spec: with(s.execSpec("true"), func(p *specs.Process) { p.Env = append(p.Env, "NOVALUE") }), kind: messages.InvalidArgument},
		{name: "HOME is added", spec: with(sh("echo $HOME"), func(p *specs.Process) { p.User.UID = 1 }), stdout: "/usr/sbin\n"},
		{name: "user and group", spec: with(s.execSpec("id"), func(p *specs.Process) { p.User.UID, p.User.GID = 4321, 8765 }), stdout: "uid=4321 gid=8765"},
		{name: "groups", spec: with(s.execSpec("id", "-G"), func(p *specs.Process) {
			p.User.UID, p.User.GID, p.User.AdditionalGids = 4321, 8765, []uint32{11, 12}
		}), stdout: "8765 11 12\n"},
		{name: "capabilities of the container, without NET_RAW", spec: sh(status), stdout: "CapEff:\t00000000000000e3\n"},
		{name: "capabilities of its own", spec: with(sh(status), func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all[:1], Ambient: all[:1]}
		}), stdout: "CapEff:\t0000010000200001\n"},
		{name: "no capabilities", spec: with(sh(status), func(p *specs.Process) { p.Capabilities = &specs.LinuxCapabilities{} }), stdout: "CapEff:\t0000000000000000\n"},
		{name: "capabilities of a user", spec: with(sh(status), func(p *specs.Process) { p.User.UID = 1000 }), stdout: "CapEff:\t0000000000000000\n"},
		{name: "no new privileges", spec: with(sh(status), func(p *specs.Process) { p.NoNewPrivileges = true }), stdout: "NoNewPrivs:\t1\n"},
		{name: "limits are the container's", spec: sh("ulimit -Hn; ulimit -Sn"), stdout: "777\n555\n"},
		{name: "umask", spec: sh("umask"), stdout: "0022\n"},
		{name: "many arguments", spec: s.execSpec(append([]string{"sh", "-c", "echo $#; echo \"$2\"", "x"}, strings.Split(strings.Repeat("a b,", 2000), ",")...)...), stdout: "2001\na b\n"},
		{name: "large output", spec: sh("head -c 3000000 /dev/zero | tr '\\0' x"), stdout: strings.Repeat("x", 100)},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := s.byCommandLine(t, test.spec)
			got, err := s.byControl(t, c, test.spec)
			if test.kind != nil {
				if !errors.Is(err, test.kind) {
					t.Errorf("the error is %v, and is to be %v", err, test.kind)
				}
				if want.refused == "" || !strings.Contains(want.refused, got.refused) {
					t.Errorf("refused by control with\n%s\nand by the command line with\n%s", got.refused, want.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// gVisor puts the environment in the order of a map.
			want.stdout, got.stdout = sortedLines(want.stdout), sortedLines(got.stdout)
			if got != want {
				t.Errorf("by control\n%.300s\nby the command line\n%.300s", fmt.Sprint(got), fmt.Sprint(want))
			}
			if got.status != test.status {
				t.Errorf("status %d, want %d", got.status, test.status)
			}
			for _, line := range strings.SplitAfter(test.stdout, "\n") {
				if !strings.Contains(got.stdout, line) {
					t.Errorf("stdout is\n%.300s\nand is to have\n%s", got.stdout, line)
				}
			}
		})
	}
}

func sortedLines(s string) string {
	lines := strings.SplitAfter(s, "\n")
	sort.Strings(lines)
	return strings.Join(lines, "")
}

// TestControlExecRefusesRelativeCwd: the command line refuses it before it asks
// the sandbox, and so is it done here.
func TestControlExecRefusesRelativeCwd(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	spec := s.execSpec("true")
	spec.Cwd = "bin"
	if want := s.byCommandLine(t, spec); want.refused == "" {
		t.Fatalf("the command line took it: %+v", want)
	}
	if _, err := s.byControl(t, c, spec); !errors.Is(err, messages.InvalidArgument) {
		t.Errorf("the error is %v", err)
	}
}

// TestControlExecPaused: `runsc exec` refuses a paused container. The socket
// would hang until it is resumed.
func TestControlExecPaused(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	if o, err := s.byControl(t, c, s.execSpec("true")); err != nil || o.status != 0 {
		t.Fatal(o, err)
	}
	s.must(t, "pause", s.id)
	want := s.byCommandLine(t, s.execSpec("true"))
	if !strings.Contains(want.refused, "in state paused") {
		t.Fatalf("the command line says %q", want.refused)
	}
	begin := time.Now()
	if _, err := s.byControl(t, c, s.execSpec("true")); !errors.Is(err, messages.FailedPrecondition) || !strings.Contains(err.Error(), "paused") {
		t.Errorf("the error is %v", err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("it took %v", d)
	}
	s.must(t, "resume", s.id)
	if o, err := s.byControl(t, c, s.execSpec("true")); err != nil || o.status != 0 {
		t.Fatal(o, err)
	}
}

// TestControlExecLate: what is started after its caller has gone is killed, and
// leaves no record in the sandbox.
func TestControlExecLate(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	if err := syscall.Kill(c.sandbox.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := c.Exec(ctx, s.process("late"), s.execSpec("sleep", "12345"), devNull(t))
	if err := syscall.Kill(c.sandbox.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, messages.DeadlineExceeded) {
		t.Fatalf("the error is %v", err)
	}
	eventually(t, "the answer has come and the process is waited for", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.active) == 0
	})
	eventually(t, "only init is left", func() bool {
		list, err := c.Processes(testContext(t), messages.ContainerID(s.id))
		return err == nil && len(list) == 1
	})
}

// TestControlSignal: each mode, and a process that is gone.
func TestControlSignal(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	ctx := testContext(t)
	start := func(args ...string) int {
		pid, err := c.Exec(ctx, s.process("e"), s.execSpec(args...), devNull(t))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	wait := func(pid, want int) {
		t.Helper()
		ws, err := c.WaitPID(ctx, s.process("e"), pid)
		if err != nil || ws.exit() != want {
			t.Errorf("exit %d, %v; want %d", ws.exit(), err, want)
		}
	}
	signal := func(pid int, sig syscall.Signal, mode signalMode) error {
		return c.Signal(ctx, s.process("e"), pid, sig, mode)
	}

	one, other := start("sleep", "1000"), start("sleep", "1000")
	if err := signal(one, syscall.SIGTERM, signalProcess); err != nil {
		t.Fatal(err)
	}
	wait(one, 143)
	if err := signal(one, syscall.SIGTERM, signalProcess); !errors.Is(err, messages.NotFound) {
		t.Errorf("signal to a process that is gone: %v", err)
	}
	if _, err := c.WaitPID(ctx, s.process("e"), one); !errors.Is(err, messages.NotFound) {
		t.Errorf("second wait: %v", err)
	}
	list, err := c.Processes(ctx, messages.ContainerID(s.id))
	if err != nil || len(list) != 2 {
		t.Fatalf("processes: %+v, %v", list, err)
	}
	group := 0
	for _, g := range list {
		if int(g.PID) == other {
			group = int(g.PGID)
		}
	}
	if err := signal(group, syscall.SIGUSR1, signalGroup); err != nil {
		t.Fatal(err)
	}
	wait(other, 128+int(syscall.SIGUSR1))
	if err := signal(4711, syscall.SIGTERM, signalGroup); !errors.Is(err, messages.NotFound) {
		t.Errorf("signal to no group: %v", err)
	}
	plain := start("sleep", "1000")
	if err := signal(plain, syscall.SIGINT, signalForeground); !errors.Is(err, messages.FailedPrecondition) {
		t.Errorf("signal to the foreground without a terminal: %v", err)
	}
	if err := signal(0, syscall.SIGKILL, signalAll); err != nil {
		t.Fatal(err)
	}
	// Init is dead with it, and the sandbox with init: the wait is answered or
	// its connection ends.
	if ws, err := c.WaitPID(ctx, s.process("e"), plain); err == nil && ws.exit() != 137 {
		t.Errorf("exit %d", ws.exit())
	} else if err != nil && !errors.Is(err, ErrReplyLost) && !errors.Is(err, errNotConnected) {
		t.Errorf("the error is %v", err)
	}
}

// TestControlState: what State, Usage and Wait tell of init, alive and dead.
func TestControlState(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	ctx, id := testContext(t), messages.ContainerID(s.id)
	if state, err := c.State(ctx, id); err != nil || state != guestRunning {
		t.Errorf("state %v, %v", state, err)
	}
	if state, err := c.State(ctx, "nobody"); err != nil || state != guestStopped {
		t.Errorf("state of no container: %v, %v", state, err)
	}
	busy, err := c.Exec(ctx, s.process("busy"), s.execSpec("sh", "-c", "while :; do :; done"), devNull(t))
	if err != nil {
		t.Fatal(err)
	}
	var usage messages.Usage
	eventually(t, "its CPU time is counted", func() bool {
		usage, err = c.Usage(ctx, id)
		return err != nil || usage.CPU.Total > uint64(50*time.Millisecond)
	})
	if err != nil || usage.Memory.Current == 0 || usage.PIDs.Current != 2 || usage.CPU.Total > uint64(testTimeout) {
		t.Errorf("usage %+v, %v", usage, err)
	}
	if err := c.Signal(ctx, s.process("busy"), busy, syscall.SIGKILL, signalProcess); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Usage(ctx, "nobody"); !errors.Is(err, messages.NotFound) {
		t.Errorf("usage of no container: %v", err)
	}
	type waited struct {
		status waitStatus
		err    error
	}
	done := make(chan waited)
	go func() {
		ws, err := c.Wait(ctx, id)
		done <- waited{ws, err}
	}()
	if err := c.Signal(ctx, messages.Init(id), 0, syscall.SIGKILL, signalProcess); err != nil {
		t.Fatal(err)
	}
	if w := <-done; w.err == nil && w.status.exit() != 137 || w.err != nil && !errors.Is(w.err, ErrReplyLost) {
		t.Errorf("wait for init: exit %d, %v", w.status.exit(), w.err)
	}
	eventually(t, "the sandbox is gone", func() bool {
		_, err := c.State(ctx, id)
		return errors.Is(err, errNotConnected) || errors.Is(err, ErrReplyLost)
	})
	if _, err := c.State(ctx, id); !errors.Is(err, messages.Unavailable) {
		t.Errorf("state of a sandbox that is gone: %v", err)
	}
	if _, err := c.Exec(ctx, s.process("e"), s.execSpec("true"), devNull(t)); err == nil {
		t.Error("an exec in a sandbox that is gone succeeded")
	}
}

// TestControlSandboxKilled: a sandbox that is killed ends the waits at once.
func TestControlSandboxKilled(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	ctx := testContext(t)
	const n = 20
	errs := make(chan error, n)
	for range n {
		pid, err := c.Exec(ctx, s.process("e"), s.execSpec("sleep", "1000"), devNull(t))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := c.WaitPID(ctx, s.process("e"), pid)
			errs <- err
		}()
	}
	kill(t, c.sandbox.PID)
	for range n {
		if err := <-errs; !errors.Is(err, ErrReplyLost) && !errors.Is(err, errNotConnected) {
			t.Errorf("the error is %v", err)
		}
	}
}

// TestControlLongRoot: the socket is reached where its path is too long for an
// address.
func TestControlLongRoot(t *testing.T) {
	old := os.TempDir()
	long := old + "/" + strings.Repeat("long-name-", 12)
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(long) })
	t.Setenv("TMPDIR", long)
	s := startControlSandbox(t, nil)
	c := s.client(t)
	if len(c.sandbox.ControlSocketPath) < 108 {
		t.Fatalf("the path %s is not long", c.sandbox.ControlSocketPath)
	}
	if o, err := s.byControl(t, c, s.execSpec("true")); err != nil || o.status != 0 {
		t.Error(o, err)
	}
}

// TestControlStorm: many execs, several at once, leave nothing here and no
// process in the sandbox.
func TestControlStorm(t *testing.T) {
	s := startControlSandbox(t, nil)
	c := s.client(t)
	ctx, null, spec := testContext(t), devNull(t), s.execSpec("sh", "-c", "exit $N")
	run := func(n int) {
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				for i := range n / 8 {
					want := (worker*31 + i) % 256
					own := spec
					own.Env = append([]string{fmt.Sprintf("N=%d", want)}, spec.Env...)
					pid, err := c.Exec(ctx, s.process("storm"), own, null)
					if err != nil {
						t.Error(err)
						return
					}
					ws, err := c.WaitPID(ctx, s.process("storm"), pid)
					if err != nil || ws.exit() != want {
						t.Errorf("exit %d, %v; want %d", ws.exit(), err, want)
					}
				}
			})
		}
		all.Wait()
	}
	run(16)
	files, goroutines := openFiles(t), runtime.NumGoroutine()
	run(400)
	eventually(t, "files and goroutines are as before", func() bool {
		return openFiles(t) <= files && runtime.NumGoroutine() <= goroutines
	})
	if list, err := c.Processes(ctx, messages.ContainerID(s.id)); err != nil || len(list) != 1 {
		t.Errorf("processes: %+v, %v", list, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.active) != 0 || len(c.records) != 1 {
		t.Errorf("%d connections and %d records are kept", len(c.active), len(c.records))
	}
}
