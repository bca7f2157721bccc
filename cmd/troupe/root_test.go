package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Without root rights run says what is missing, with the exit code of a command
// that was not run, and makes nothing.
func TestRunWithoutRoot(t *testing.T) {
	needSandbox(t)
	// Open to another user, which a test's own folder is not.
	dir, err := os.MkdirTemp("", "troupe-root-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	built, err := program()
	if err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "troupe")
	if out, err := exec.Command("cp", built, open).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(open, "run", "--", "true")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), runscEnv+"=/bin/true") // found, and not asked
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitNotRun || !strings.Contains(string(out), "needs root") {
		t.Errorf("run as another user: %v\n%s", err, out)
	}
}
