package runsc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	tail := " Z 1 20411 20411 0 -1 4194560 2852 0 0 0 1 0 0 0 20 0 5 0 151698 3642 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1792"
	s, err := parseStat("30833 (a) b ) (" + ")" + tail)
	if err != nil || !s.zombie || s.ppid != 1 || s.session != 20411 || s.born != 151698 || s.code.ExitStatus() != 7 {
		t.Errorf("%+v %v", s, err)
	}
	for _, line := range []string{"", "1", "1 (x", "1 (x) R 1", strings.Replace("1 (x)"+tail, "151698", "x", 1)} {
		if s, err := parseStat(line); err == nil {
			t.Errorf("%q was read as %+v", line, s)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("1 (x) Z 1 2 3 0 -1 4194560 2852 0 0 0 1 0 0 0 20 0 5 0 151698 3642 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1792")
	f.Fuzz(func(_ *testing.T, line string) { _, _ = parseStat(line) })
}

// A pidfd tells of an exit also to who is not the parent, as a zombie and after.
func TestExitCodeOfAnothersChild(t *testing.T) {
	for want, line := range map[int]string{7: "exit 7", 137: "kill -KILL $$"} {
		cmd := exec.Command("/bin/sh", "-c", "read x; "+line)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := openPidfd(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if _, known := p.exitCode(); known || p.isGone() {
			t.Error("it lives, and has an exit code")
		}
		_, _ = in.Write([]byte("\n"))
		if err := p.wait(); err != nil {
			t.Error(err)
		}
		if end, known := p.exitCode(); !known || end.status() != want {
			t.Errorf("of the zombie: %+v %v", end, known)
		}
		_ = cmd.Wait()
		if end, known := p.exitCode(); pidfdInfoKnown() && (!known || end.status() != want) {
			t.Errorf("after it was reaped: %+v %v", end, known)
		}
		if !p.isReaped() || !errors.Is(p.signal(unix.SIGTERM), unix.ESRCH) {
			t.Error("it was reaped and takes signals")
		}
		p.close()
		if !p.isGone() {
			t.Error("a closed pidfd is that of a process that lives")
		}
	}
}

func TestMonitorStartsAndWaits(t *testing.T) {
	var m runc.ProcessMonitor = Monitor{}
	cmd := exec.Command("/bin/sh", "-c", "exit 9")
	exits, err := m.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := m.Wait(cmd, exits); status != 9 || err != nil {
		t.Errorf("%d %v", status, err)
	}
	if _, err := m.Start(exec.Command("/nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	cmd = exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := m.StartLocked(cmd); err == nil {
		t.Error("a parent-death signal was promised")
	}
}

// A call that its context ends is killed with all of its group, and a pipe that
// something else holds does not keep it.
func TestAChildIsKilledWithItsGroup(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "sleep 1000 & echo $!; wait")
	out := &capture{}
	cmd.Stdout = out
	c, err := startChild(cmd)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := c.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	if c.end.signal != syscall.SIGKILL {
		t.Errorf("%+v", c.end)
	}
	pid := strings.TrimSpace(string(out.bytes()))
	// It has its SIGKILL, and dies when it is its turn to run.
	for late := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the grandchild %s lives", pid)
		}
	}
	c.kill()
}
