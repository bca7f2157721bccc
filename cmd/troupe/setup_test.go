package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// program builds the program once and returns its path.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "troupe-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "troupe")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// needSandbox gives the test a runsc, or skips it. With TROUPE_REQUIRE=1
// nothing is skipped.
func needSandbox(t *testing.T) {
	t.Helper()
	skip := t.Skip
	if os.Getenv("TROUPE_REQUIRE") == "1" {
		skip = t.Fatal
	}
	if os.Geteuid() != 0 {
		skip("not root: gVisor makes namespaces and mounts")
	}
	if os.Getenv(runscEnv) != "" {
		return
	}
	built, err := filepath.Abs("../../bin/runsc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(built); err == nil {
		t.Setenv(runscEnv, built)
		return
	}
	if _, err := exec.LookPath("runsc"); err != nil {
		skip("no runsc: set " + runscEnv + ", run make bin/runsc, or put one on the PATH")
	}
}

// command is the program with arguments, to be run for at most a minute.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// result is what a program gave.
type result struct {
	code        int
	out, errOut string
}

// finish runs a command to its end.
func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// troupe runs the program in this process.
func troupe(t *testing.T, args ...string) result {
	t.Helper()
	var out, errOut strings.Builder
	code := execute(t.Context(), args, &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// nothingLeft checks that the state folder of a program that has ended is gone,
// and every process whose command line names it.
func nothingLeft(t *testing.T, pid int) {
	t.Helper()
	state := fmt.Sprintf("/run/troupe/cli-%d-", pid)
	if left, err := filepath.Glob(state + "*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte(state)) {
			t.Errorf("%s lives: %q", filepath.Dir(file), text)
		}
	}
}
