package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The exit code is the command's, or says why it did not run.
func TestRunExitCodes(t *testing.T) {
	needSandbox(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		code   int
		errOut string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"--", "sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143, ""},
		{[]string{"no-such-command"}, 127, "no-such-command"},
		{[]string{"/no/such/command"}, 127, "/no/such/command"},
		{[]string{file}, 126, "permission denied"},
		{[]string{"--rootfs", file, "true"}, 125, "is not a folder"},
		{[]string{"--rootfs", "/absent", "true"}, 125, "/absent"},
		{[]string{"--bundle", "/absent"}, 125, "/absent/config.json"},
		{[]string{"--platform", "steam", "true"}, 125, "steam"},
	} {
		r := finish(t, command(t, append([]string{"run"}, c.args...)...))
		if r.code != c.code || !strings.Contains(r.errOut, c.errOut) || (c.errOut == "" && r.errOut != "") {
			t.Errorf("run %q exits %d and says %q; want %d and %q", c.args, r.code, r.errOut, c.code, c.errOut)
		}
	}
}

// Streams are kept apart, and stdin is passed on to its end.
func TestRunStreams(t *testing.T) {
	needSandbox(t)
	cmd := command(t, "run", "--", "sh", "-c", "tr a-z A-Z; echo done >&2")
	cmd.Stdin = strings.NewReader("one\ntwo\n")
	if r := finish(t, cmd); r.code != 0 || r.out != "ONE\nTWO\n" || r.errOut != "done\n" {
		t.Errorf("exits %d and prints %q, %q", r.code, r.out, r.errOut)
	}
}

// A large output arrives whole.
func TestRunLargeOutput(t *testing.T) {
	needSandbox(t)
	const size = 32 << 20
	r := finish(t, command(t, "run", "--", "head", "-c", "33554432", "/dev/zero"))
	if r.code != 0 || len(r.out) != size || strings.Trim(r.out, "\x00") != "" {
		t.Errorf("exits %d with %d bytes, want %d", r.code, len(r.out), size)
	}
}

// Environment, folder and user are those of the flags; what is written stays in
// the sandbox.
func TestRunFlags(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	t.Setenv("TROUPE_TEST_HERE", "here")
	cmd := command(t, "run", "-e", "A=b c", "-e", "TROUPE_TEST_HERE", "--user", "12:34", "--cwd", "/usr", "--",
		"sh", "-c", "echo $A $TROUPE_TEST_HERE $(id -u):$(id -g) $(pwd)")
	if r := finish(t, cmd); r.out != "b c here 12:34 /usr\n" {
		t.Errorf("prints %q, %q", r.out, r.errOut)
	}
	cmd = command(t, "run", "--", "sh", "-c", "pwd; echo x >file && cat file")
	cmd.Dir = dir
	if r := finish(t, cmd); r.out != dir+"\nx\n" {
		t.Errorf("prints %q, %q; want the folder %s", r.out, r.errOut, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err == nil {
		t.Error("a file that was written in the sandbox is on the host")
	}
}

// busybox makes a root file system of one program.
func busybox(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		if os.Getenv("TROUPE_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("no busybox: install busybox-static")
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rootfs := t.TempDir()
	if err := os.Chmod(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(rootfs, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "bin", "busybox"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	return rootfs
}

// A root file system of the user's is not written to either, and nothing of our
// environment is passed on.
func TestRunRootfs(t *testing.T) {
	needSandbox(t)
	rootfs := busybox(t)
	t.Setenv("TROUPE_TEST_SECRET", "x")
	r := finish(t, command(t, "run", "--rootfs", rootfs, "--", "/bin/busybox", "sh", "-c",
		"busybox pwd; busybox env | busybox grep TROUPE; busybox touch /new && busybox ls /new"))
	if r.code != 0 || r.out != "/\n/new\n" {
		t.Errorf("exits %d and prints %q, %q", r.code, r.out, r.errOut)
	}
	entries, err := os.ReadDir(rootfs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "bin" {
			t.Errorf("%s is in the root file system now", e.Name())
		}
	}
}

// A bundle is run as it is.
func TestRunBundle(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	text, err := json.Marshal(specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{Args: []string{"/bin/busybox", "sh", "-c", "echo bundled; exit 5"}, Cwd: "/"},
		Root:    &specs.Root{Path: busybox(t), Readonly: true},
		Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.NetworkNamespace}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := finish(t, command(t, "run", "--bundle", dir)); r.code != 5 || r.out != "bundled\n" {
		t.Errorf("exits %d and prints %q, %q", r.code, r.out, r.errOut)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := finish(t, command(t, "run", "--bundle", dir)); r.code != exitNotRun || !strings.Contains(r.errOut, "config.json") {
		t.Errorf("with a malformed config.json exits %d and says %q", r.code, r.errOut)
	}
}

// started runs a command that prints "ready" when signals can come.
func started(t *testing.T, script string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := command(t, "run", "--", "sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return cmd, &errOut
}

// Signals are the command's; one that lives through them is killed by the third.
func TestRunSignals(t *testing.T) {
	needSandbox(t)
	cmd, errOut := started(t, "trap 'exit 42' USR1; echo ready; while :; do sleep 0.05; done")
	_ = cmd.Process.Signal(syscall.SIGUSR1)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("after SIGUSR1: %v, %s", cmd.ProcessState, errOut)
	}

	cmd, errOut = started(t, "echo ready; exec sleep 1000")
	_ = cmd.Process.Signal(syscall.SIGINT)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(syscall.SIGINT) {
		t.Errorf("after SIGINT: %v, %s", cmd.ProcessState, errOut)
	}

	cmd, errOut = started(t, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	for range patience {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		// Two of one signal that are pending are one (signal(7)).
		time.Sleep(50 * time.Millisecond)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(syscall.SIGKILL) {
		t.Errorf("after three SIGTERM: %v, %s", cmd.ProcessState, errOut)
	}
}

// A reader that goes away ends the command, and leaves no sandbox.
func TestRunBrokenPipe(t *testing.T) {
	needSandbox(t)
	cmd := command(t, "run", "--", "yes")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+int(syscall.SIGPIPE) {
		t.Errorf("%v, want exit status %d", cmd.ProcessState, 128+int(syscall.SIGPIPE))
	}
	nothingLeft(t, cmd.Process.Pid)
}
