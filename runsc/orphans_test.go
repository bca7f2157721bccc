package runsc_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// children are the pids of this process's children, with their states.
func children(t *testing.T) map[int]string {
	t.Helper()
	found := map[int]string{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		line := string(b)
		f := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
		if ppid, _ := strconv.Atoi(f[1]); ppid == os.Getpid() {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found[pid] = f[0]
		}
	}
	return found
}

// A subreaper can not be undone, so the test is a process of its own.
func TestSubreaper(t *testing.T) {
	if os.Getenv("TROUPE_TEST_SUBREAPER") == "" {
		runscPath(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestSubreaper$", "-test.v")
		cmd.Env = append(os.Environ(), "TROUPE_TEST_SUBREAPER=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	s := newStage(t, func(o *runsc.Options) { o.Subreaper = true })
	// The embedder's own children: one that is dead and one that dies later, in a
	// session of its own as a sandbox is. Nobody waits for them but the embedder
	// (containerd#2855, runwasi#745).
	var own []*exec.Cmd
	for _, line := range []string{"exit 42", "sleep 1; exit 43"} {
		cmd := exec.Command("/bin/sh", "-c", line)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		own = append(own, cmd)
	}
	root := s.pod("pod")
	state, err := s.Client().State(s.context(), "pod")
	if err != nil {
		t.Fatal(err)
	}
	if _, ours := children(t)[state.Pid]; !ours {
		t.Errorf("the sandbox %d is no child of ours", state.Pid)
	}
	for i := range 5 {
		init := s.run(fmt.Sprint("c", i), "sh", "-c", "exit 7")
		s.wantExit(init, 7)
		s.mustDelete(init)
		m := s.join("pod", fmt.Sprint("m", i), "sh", "-c", "exit 8")
		if err := s.Start(s.context(), m); err != nil {
			t.Fatal(err)
		}
		s.wantExit(m, 8)
		s.mustDelete(m)
	}
	_, err = s.Create(s.context(), s.incarnation(messages.Init("pod")), messages.Create{Container: "pod", Bundle: s.bundle(nil, "true")})
	wantKind(t, err, messages.AlreadyExists, "pod")
	if n := s.notices.count(root); n != 0 {
		t.Error("a create that found the id in use ended the container that has it")
	}
	s.mustDelete(root)
	s.wantExitReason(root)

	s.until(func() bool {
		zombies := 0
		for pid, state := range children(t) {
			if state == "Z" && pid != own[0].Process.Pid && pid != own[1].Process.Pid {
				zombies++
			}
		}
		return zombies == 0
	})
	for i, cmd := range own {
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 42+i {
			t.Errorf("the embedder's child exited with %d, want %d", code, 42+i)
		}
	}
	if left := children(t); len(left) > 0 {
		time.Sleep(100 * time.Millisecond)
		if left = children(t); len(left) > 0 {
			t.Errorf("children are left: %v", left)
		}
	}
}

func (s *stage) wantExitReason(p messages.Incarnation) {
	s.t.Helper()
	if e := s.exit(p); e.Reason == "" {
		s.t.Errorf("the exit %+v of %s has no reason", e, p)
	}
}
