package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killedRun is a troupe run that was killed with SIGKILL when its command had
// begun, and the state folder that it has left.
func killedRun(t *testing.T, script string) (name, state string) {
	t.Helper()
	cmd := command(t, "run", "--", "sh", "-c", "echo begun; "+script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := make([]byte, 6)
	if _, err := out.Read(begun); err != nil || string(begun) != "begun\n" {
		t.Fatalf("it said %q, %v", begun, err)
	}
	dirs, _ := filepath.Glob(filepath.Join(baseDir, "cli-"+pidOf(cmd)+"-*"))
	if len(dirs) != 1 {
		t.Fatalf("its folders are %q", dirs)
	}
	state = filepath.Join(dirs[0], "state")
	// It lives: nobody else's to adopt.
	if r := troupe(t, "adopt", "--kill", "--state-dir", state); r.code != exitOK || r.out != "" || !strings.Contains(r.errOut, "nothing was left") {
		t.Errorf("adopt of a program that lives exits %d: %s%s", r.code, r.out, r.errOut)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	t.Cleanup(func() {
		troupe(t, "adopt", "--kill", "--state-dir", state)
		nothingLeft(t, cmd.Process.Pid)
	})
	return "run-" + pidOf(cmd), state
}

func pidOf(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }

// What a killed program has left is listed without being touched, and then killed.
func TestAdoptKill(t *testing.T) {
	needSandbox(t)
	name, state := killedRun(t, "sleep 1000")
	for range 2 {
		if r := troupe(t, "adopt"); !strings.Contains(r.out, name+" runs: host pid ") {
			t.Fatalf("adopt exits %d: %s%s", r.code, r.out, r.errOut)
		}
	}
	r := troupe(t, "adopt", "--kill", "--state-dir", state)
	if r.code != exitOK || r.errOut != "" || !strings.HasSuffix(r.out, "\n"+name+" exited with 137\n") {
		t.Errorf("adopt --kill exits %d: %s%s", r.code, r.out, r.errOut)
	}
	if _, err := os.Stat(filepath.Dir(state)); !os.IsNotExist(err) {
		t.Errorf("its folder is still there: %v", err)
	}
}

// Its true exit is awaited, and a signal ends the waiting and nothing else.
func TestAdoptWait(t *testing.T) {
	needSandbox(t)
	name, state := killedRun(t, "sleep 5; exit 7")
	cmd := command(t, "adopt", "--wait", "--state-dir", state)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 256)
	if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), name+" runs: ") {
		t.Fatalf("it said %q, %v", line[:n], err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("the interrupted wait ended with %v", err)
	}
	begin := time.Now()
	r := troupe(t, "adopt", "--wait", "--state-dir", state)
	if r.code != exitOK || !strings.HasSuffix(r.out, "\n"+name+" exited with 7\n") {
		t.Errorf("adopt --wait exits %d after %v: %s%s", r.code, time.Since(begin), r.out, r.errOut)
	}
}

// A file that can not be read is named, and makes the exit code 1.
func TestAdoptUnreadable(t *testing.T) {
	needSandbox(t)
	state := t.TempDir()
	path := filepath.Join(state, "c1", "container.json")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := troupe(t, "adopt", "--state-dir", state); r.code != exitFailure || !strings.Contains(r.errOut, path) {
		t.Errorf("adopt exits %d: %s%s", r.code, r.out, r.errOut)
	}
	for _, args := range [][]string{{"adopt", "--wait", "--kill"}, {"adopt", "x"}} {
		if r := troupe(t, args...); r.code != exitUsage {
			t.Errorf("troupe %q exits %d: %s", args, r.code, r.errOut)
		}
	}
}
