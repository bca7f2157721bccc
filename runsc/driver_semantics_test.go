package runsc_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// An exec is the same over the control socket as by `runsc exec`.

// ways are two stages with a container each, made from equal bundles.
func ways(t *testing.T) (stages [2]*stage, inits [2]messages.Incarnation) {
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID"}
	for i, way := range []string{runsc.ExecControl, runsc.ExecCLI} {
		s := newStage(t, func(o *runsc.Options) { o.ExecDriver = way })
		root := s.rootfs()
		for _, name := range []string{"id", "env", "pwd", "grep", "umask", "tr", "sort"} {
			if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "bin", "data"), []byte("no program"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("root:x:0:0::/root:/bin/sh\nsomeone:x:4321:8765::/home/someone:/bin/sh\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		init := s.create("c", messages.Create{Bundle: s.bundle(func(p *specs.Spec) {
			p.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
			p.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 777, Soft: 555}}
		}, "sleep", "1000")})
		if err := s.Start(s.context(), init); err != nil {
			t.Fatal(err)
		}
		stages[i], inits[i] = s, init
	}
	return stages, inits
}

// seen is what an exec came to.
type seen struct {
	exit           messages.Exit
	stdout, stderr string
	kind           error
}

// see runs an exec to its end.
func (s *stage) see(init messages.Incarnation, change func(*messages.Launch), args ...string) seen {
	s.t.Helper()
	l := s.launch(init, "e", args...)
	var out, errs buffer
	l.Stdio.Pipes = messages.Pipes{Stdout: &out, Stderr: &errs}
	if change != nil {
		change(&l)
	}
	if _, err := s.Exec(s.context(), l); err != nil {
		var text string
		for _, line := range strings.Split(err.Error(), "\n") {
			text += line
		}
		s.t.Logf("%s: %s", s.options.ExecDriver, text)
		s.mustDelete(l.Process)
		return seen{kind: messages.KindOf(err)}
	}
	e := s.exit(l.Process)
	s.mustDelete(l.Process)
	s.notices.forget(l.Process)
	e.At = e.At.Truncate(1 << 62)
	return seen{exit: e, stdout: out.String(), stderr: errs.String()}
}

// forget makes room for the next exit of p.
func (n *notices) forget(p messages.Incarnation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.exits, p)
}

func TestExecIsTheSameEachWay(t *testing.T) {
	stages, inits := ways(t)
	process := func(f func(*specs.Process)) func(*messages.Launch) {
		return func(l *messages.Launch) { f(&l.Spec.Process) }
	}
	const status = "grep -e ^Cap -e ^NoNewPrivs /proc/self/status"
	all := []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_CHECKPOINT_RESTORE"}
	for _, test := range []struct {
		name   string
		args   []string
		change func(*messages.Launch)
		status int
		// stdout is a part of it.
		stdout string
		kind   error
	}{
		{name: "true", args: []string{"true"}},
		{name: "false", args: []string{"false"}, status: 1},
		{name: "exit codes", args: []string{"sh", "-c", "exit 255"}, status: 255},
		{name: "runsc's own code", args: []string{"sh", "-c", "exit 128"}, status: 128},
		{name: "stdout and stderr", args: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: "out\n"},
		{name: "stdin at its end", args: []string{"cat"}},
		{name: "stdin from memory", args: []string{"cat"}, change: func(l *messages.Launch) { l.Stdio.Pipes.Stdin = strings.NewReader("some text") }, stdout: "some text"},
		{name: "died by SIGKILL", args: []string{"sh", "-c", "kill -KILL $$"}, status: 137},
		{name: "died by SIGSEGV", args: []string{"sh", "-c", "kill -SEGV $$"}, status: 139},
		{name: "died by a real-time signal", args: []string{"sh", "-c", "kill -40 $$"}, status: 168},
		{name: "absolute path", args: []string{"/bin/true"}},
		{name: "relative path", args: []string{"bin/true"}},
		{name: "missing command", args: []string{"no-such-command"}, kind: messages.NotFound},
		{name: "missing path", args: []string{"/no/such/command"}, kind: messages.NotFound},
		{name: "a folder", args: []string{"/etc"}, kind: messages.FailedPrecondition},
		{name: "not executable", args: []string{"/bin/data"}, kind: messages.FailedPrecondition},
		{name: "PATH of the process", args: []string{"true"}, change: process(func(p *specs.Process) { p.Env = []string{"PATH=/nowhere:/bin"} })},
		{name: "PATH without it", args: []string{"true"}, change: process(func(p *specs.Process) { p.Env = []string{"PATH=/nowhere"} }), kind: messages.NotFound},
		{name: "no PATH", args: []string{"true"}, change: process(func(p *specs.Process) { p.Env = nil }), kind: messages.NotFound},
		{name: "not executable in PATH", args: []string{"data"}, kind: messages.FailedPrecondition},
		{name: "cwd", args: []string{"pwd"}, change: process(func(p *specs.Process) { p.Cwd = "/bin" }), stdout: "/bin\n"},
		{name: "missing cwd", args: []string{"true"}, change: process(func(p *specs.Process) { p.Cwd = "/no/such" }), kind: messages.NotFound},
		{name: "relative cwd", args: []string{"true"}, change: process(func(p *specs.Process) { p.Cwd = "bin" }), kind: messages.InvalidArgument},
		{name: "cwd is a file", args: []string{"true"}, change: process(func(p *specs.Process) { p.Cwd = "/etc/passwd" })},
		{name: "environment", args: []string{"sh", "-c", "env | sort"}, change: process(func(p *specs.Process) { p.Env = append(p.Env, "A=1", "B=two words", "A=3", "E=") }), stdout: "B=two words\n"},
		{name: "broken environment", args: []string{"true"}, change: process(func(p *specs.Process) { p.Env = append(p.Env, "NOVALUE") }), kind: messages.InvalidArgument},
		{name: "HOME is added", args: []string{"sh", "-c", "echo $HOME"}, change: process(func(p *specs.Process) { p.User.UID = 4321 }), stdout: "/home/someone\n"},
		{name: "user, group and groups", args: []string{"sh", "-c", "id -u; id -g; id -G"}, change: process(func(p *specs.Process) {
			p.User = specs.User{UID: 4321, GID: 8765, AdditionalGids: []uint32{11, 12}}
		}), stdout: "4321\n8765\n8765 11 12\n"},
		{name: "capabilities of the container, without NET_RAW", args: []string{"sh", "-c", status}, stdout: "CapEff:\t00000000000000e3\n"},
		{name: "capabilities of its own", args: []string{"sh", "-c", status}, change: process(func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all[:1], Ambient: all[:1]}
		}), stdout: "CapEff:\t0000010000200001\n"},
		{name: "no capabilities", args: []string{"sh", "-c", status}, change: process(func(p *specs.Process) { p.Capabilities = &specs.LinuxCapabilities{} }), stdout: "CapEff:\t0000000000000000\n"},
		{name: "an unknown capability", args: []string{"true"}, change: process(func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{Effective: []string{"CAP_FLY"}}
		}), kind: messages.InvalidArgument},
		{name: "capabilities of a user", args: []string{"sh", "-c", status}, change: process(func(p *specs.Process) { p.User.UID = 1000 }), stdout: "CapEff:\t0000000000000000\n"},
		{name: "no new privileges", args: []string{"sh", "-c", status}, change: process(func(p *specs.Process) { p.NoNewPrivileges = true }), stdout: "NoNewPrivs:\t1\n"},
		{name: "limits are the container's", args: []string{"sh", "-c", "ulimit -Hn; ulimit -Sn"}, stdout: "777\n555\n"},
		{name: "umask", args: []string{"sh", "-c", "umask"}, stdout: "0022\n"},
		{name: "many arguments", args: append([]string{"sh", "-c", "echo $#", "x"}, slices.Repeat([]string{"two words"}, 2000)...), stdout: "2000\n"},
		{name: "large output", args: []string{"sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"}, stdout: strings.Repeat("x", 100)},
		{name: "a terminal's name and size", args: []string{"sh", "-c", "stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three"}, change: func(l *messages.Launch) {
			l.Spec.Terminal, l.Stdio.Terminal, l.Stdio.Pipes.Stderr = true, true, nil
			l.Stdio.Size = messages.WindowSize{Cols: 91, Rows: 33}
		}, stdout: "33 91\r\nall three\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got [2]seen
			for i, s := range stages {
				s.t = t
				got[i] = s.see(inits[i], test.change, test.args...)
			}
			if got[0] != got[1] {
				t.Errorf("over the control socket %.300s\nby the command line %.300s", fmt.Sprintf("%+v", got[0]), fmt.Sprintf("%+v", got[1]))
			}
			if got[0].kind != test.kind || got[0].exit.Status != test.status || got[0].exit.Reason != "" || !strings.Contains(got[0].stdout, test.stdout) {
				t.Errorf("%.300s; want status %d, %q and the error %v", fmt.Sprintf("%+v", got[0]), test.status, test.stdout, test.kind)
			}
		})
	}
	for i, s := range stages {
		s.t = t
		s.wantWay(inits[i], s.options.ExecDriver)
	}
}

// A paused container refuses an exec at once, also one that nobody has spoken to
// before; a stopped one has no more of them.
func TestExecWhereItCanNotBe(t *testing.T) { eachWay(t, testExecWhereItCanNotBe) }

func testExecWhereItCanNotBe(t *testing.T, s *stage) {
	root := s.pod("pod")
	member := s.join("pod", "m", "sleep", "1000")
	refused := func(init messages.Incarnation, words ...string) {
		t.Helper()
		_, err := s.Exec(s.context(), s.launch(init, "e", "true"))
		wantKind(t, err, messages.FailedPrecondition, words...)
	}
	if err := s.Start(s.context(), member); err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(s.context(), root); err != nil {
		t.Fatal(err)
	}
	refused(root, "pod/e", "paused")
	wantKind(t, s.Kill(s.context(), root, unix.SIGTERM, false), messages.FailedPrecondition, "kill pod", "paused")
	if _, err := s.Stats(s.context(), root); err != nil {
		t.Error(err)
	}
	if err := s.Resume(s.context(), root); err != nil {
		t.Fatal(err)
	}
	l := s.launch(root, "e", "true")
	s.exec(l)
	s.wantExit(l.Process, 0)
	// The member ends, and its sandbox goes on.
	if err := s.Kill(s.context(), member, unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(member, 137)
	refused(member, "m/e", "dead")
	wantKind(t, s.Kill(s.context(), member, unix.SIGKILL, false), messages.NotFound)
	s.mustDelete(member)
	_, err := s.Exec(s.context(), s.launch(member, "e", "true"))
	wantKind(t, err, messages.NotFound, "m/e")
}

// Ctrl-C, a quoted Ctrl-C and a new size reach the foreground, typed through a
// FIFO as by containerd's clients.
func TestATerminalThroughFIFOs(t *testing.T) { eachWay(t, testATerminalThroughFIFOs) }

func testATerminalThroughFIFOs(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sh", "-c", "stty -echo; trap 'echo interrupted' INT; trap 'stty size' WINCH; echo ready; while :; do read x && echo \"got $x\"; [ \"$x\" = end ] && exit 8; done")
	l.Spec.Terminal = true
	l.Stdio = messages.Stdio{Terminal: true, Stdin: s.fifo("in"), Stdout: s.fifo("out")}
	out := s.reader(l.Stdio.Stdout)
	s.exec(l)
	in := s.open(l.Stdio.Stdin, os.O_WRONLY)
	keys := func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
	}
	s.expect(out, "ready\r\n")
	keys("one\n")
	s.expect(out, "got one\r\n")
	keys("\x03")
	s.expect(out, "interrupted\r\n")
	if err := s.Resize(s.context(), l.Process, messages.WindowSize{Cols: 132, Rows: 43}); err != nil {
		t.Fatal(err)
	}
	s.expect(out, "43 132\r\n")
	keys("end\n")
	s.expect(out, "got end\r\n")
	s.wantExit(l.Process, 8)
	if err := s.Resize(s.context(), l.Process, messages.WindowSize{Cols: 1, Rows: 1}); err != nil {
		t.Errorf("resize after the end: %v", err)
	}
	s.mustDelete(l.Process)
	if got := s.rest(out); got != "" {
		t.Errorf("there is more: %q", got)
	}
}

// A checkpoint that leaves its container running loses no exec of it.
func TestExecsOutliveACheckpoint(t *testing.T) { eachWay(t, testExecsOutliveACheckpoint) }

func testExecsOutliveACheckpoint(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sleep", "1000")
	s.exec(l)
	if err := s.Checkpoint(s.context(), init, messages.Checkpoint{Container: "c", ImagePath: filepath.Join(s.dir, "image"), LeaveRunning: true}); err != nil {
		t.Fatal(err)
	}
	if n := s.notices.count(l.Process); n != 0 {
		t.Errorf("its exit was told: %+v", s.exit(l.Process))
	}
	if err := s.Kill(s.context(), l.Process, unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(l.Process, 143)
	other := s.launch(init, "other", "true")
	s.exec(other)
	s.wantExit(other.Process, 0)
}
