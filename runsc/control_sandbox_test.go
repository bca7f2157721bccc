package runsc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// controlSandbox is a real sandbox, made by the command line, whose one
// container sleeps on the host's root file system under a memory overlay.
type controlSandbox struct {
	runsc string
	root  string
	id    string
	spec  *specs.Spec
}

// testTimeout ends what hangs.
const testTimeout = 2 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// controlRunsc is the runsc to test with.
func controlRunsc(t testing.TB) string {
	if os.Getuid() != 0 {
		Missing(t, "not root: runsc needs it")
	}
	candidates := []string{os.Getenv("TROUPE_RUNSC"), "../bin/runsc"}
	for _, path := range candidates {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err == nil {
			abs, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			return abs
		}
	}
	path, err := exec.LookPath("runsc")
	if err != nil {
		Missing(t, "no runsc found: set TROUPE_RUNSC, or run make bin/runsc")
	}
	return path
}

// controlCaps is a set with NET_RAW, which runsc is to take away.
var controlCaps = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID"}

// startControlSandbox starts a sandbox, which change can make another spec for,
// and which is killed and deleted after the test.
func startControlSandbox(t testing.TB, change func(*specs.Spec)) *controlSandbox {
	t.Helper()
	s := &controlSandbox{runsc: controlRunsc(t), id: "ctl", spec: &specs.Spec{
		Version: "1.1.0",
		Root:    &specs.Root{Path: "/", Readonly: true},
		Process: &specs.Process{
			Args:         []string{"sleep", "100000"},
			Cwd:          "/",
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"},
			Capabilities: &specs.LinuxCapabilities{Bounding: controlCaps, Effective: controlCaps, Permitted: controlCaps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 777, Soft: 555}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: "pid"}, {Type: "mount"}, {Type: "ipc"}, {Type: "uts"}}},
	}}
	if change != nil {
		change(s.spec)
	}
	s.root = filepath.Join(t.TempDir(), "root")
	bundle := t.TempDir()
	data, err := json.Marshal(s.spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	s.must(t, "create", "--bundle", bundle, s.id)
	t.Cleanup(func() {
		if out, err := s.command("delete", "--force", s.id).CombinedOutput(); err != nil {
			t.Errorf("delete the sandbox: %v\n%s", err, out)
		}
		// runsc leaves a mount for --network=none.
		_ = syscall.Unmount(filepath.Join(s.root, "null-netns"), syscall.MNT_DETACH)
	})
	s.must(t, "start", s.id)
	return s
}

func (s *controlSandbox) command(verb string, args ...string) *exec.Cmd {
	flags := []string{"--root", s.root, "--platform=systrap", "--network=none", "--ignore-cgroups", "--overlay2=root:memory"}
	return exec.Command(s.runsc, append(append(flags, verb), args...)...)
}

// must runs a command whose output goes nowhere: a sandbox would hold a pipe open.
func (s *controlSandbox) must(t testing.TB, verb string, args ...string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := s.command(verb, args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("runsc %s: %v\n%s", verb, err, text)
	}
}

// client is a verified client, closed after the test.
func (s *controlSandbox) client(t testing.TB) *controlClient {
	t.Helper()
	c, err := dialSandbox(context.Background(), s.root, s.id, controlOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.verify(testContext(t), messages.ContainerID(s.id)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *controlSandbox) process(exec string) messages.Process {
	return messages.Process{Container: messages.ContainerID(s.id), Exec: messages.ExecID(exec)}
}

// execSpec is what the container's init would be, with another command.
func (s *controlSandbox) execSpec(args ...string) messages.ExecSpec {
	p := *s.spec.Process
	p.Args = args
	p.Capabilities = nil
	p.Rlimits = nil
	return messages.ExecSpec{Process: p}
}

// outcome of an exec, either way.
type execOutcome struct {
	status         int
	stdout, stderr string
	// refused is runsc's reason if nothing was started.
	refused string
}

// byCommandLine runs `runsc exec --process`.
func (s *controlSandbox) byCommandLine(t testing.TB, spec messages.ExecSpec) execOutcome {
	t.Helper()
	data, err := json.Marshal(spec.Process)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "process.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := s.command("exec", "--process", file, s.id)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := execOutcome{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	// 128 is what runsc exits with for an error of its own (runsc/cli/cli.go).
	if o.status == 128 {
		o.refused, o.stderr = o.stderr, ""
	}
	return o
}

// byControl runs the same by the control socket.
func (s *controlSandbox) byControl(t testing.TB, c *controlClient, spec messages.ExecSpec) (execOutcome, error) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	stdout, readStdout := collect(t)
	stderr, readStderr := collect(t)
	ctx, p := testContext(t), s.process("table")
	pid, err := c.Exec(ctx, p, spec, [3]*os.File{null, stdout, stderr})
	stdout.Close()
	stderr.Close()
	o := execOutcome{stdout: readStdout(), stderr: readStderr()}
	if err != nil {
		var r *refusal
		if errors.As(err, &r) {
			o.refused = r.text
		} else {
			o.refused = err.Error()
		}
		return o, err
	}
	ws, err := c.WaitPID(ctx, p, pid)
	if err != nil {
		t.Fatal(err)
	}
	o.status = ws.exit()
	return o, nil
}

// collect gives a pipe's writing end, and what came through it at its end.
func collect(t testing.TB) (*os.File, func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	text := make(chan string, 1)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r)
		r.Close()
		text <- b.String()
	}()
	return w, func() string { return <-text }
}

// devNull is stdio that goes nowhere.
func devNull(t testing.TB) [3]*os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return [3]*os.File{f, f, f}
}

// eventually waits for what has no other notification.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain: %s", testTimeout, what)
		}
	}
}

// openFiles counts this process's open files, the sockets among them.
func openFiles(t testing.TB) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func kill(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(fmt.Errorf("kill %d: %w", pid, err))
	}
}
