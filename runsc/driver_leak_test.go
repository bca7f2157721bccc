package runsc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

func openFiles() int {
	fds, _ := os.ReadDir("/proc/self/fd")
	return len(fds)
}

// After many cycles all is as it was (containerd#11160, gvisor#6225).
func TestExecCyclesLeakNothing(t *testing.T) { eachWay(t, testExecCyclesLeakNothing) }

func testExecCyclesLeakNothing(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	cycle := func(n int) {
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for j := range n {
					l := s.launch(init, fmt.Sprintf("e%d-%d", i, j), "sh", "-c", "echo x; exit 3")
					var out buffer
					l.Stdio.Pipes.Stdout = &out
					if _, err := s.Exec(s.context(), l); err != nil {
						t.Error(err)
						return
					}
					if e, ok := s.notices.wait(l.Process, 30*time.Second); !ok || e.Status != 3 {
						t.Errorf("%s: %+v %v", l.Process, e, ok)
					}
					if err := s.Delete(s.context(), l.Process); err != nil {
						t.Error(err)
					}
					if out.String() != "x\n" {
						t.Errorf("%s wrote %q", l.Process, out.String())
					}
					if n := s.notices.count(l.Process); n != 1 {
						t.Errorf("%d exits of %s", n, l.Process)
					}
				}
			})
		}
		all.Wait()
	}
	cycle(2)
	fds, routines, files, processes := openFiles(), runtime.NumGoroutine(), len(s.files()), len(s.processes())
	cycle(125)
	s.until(func() bool {
		return openFiles() <= fds && runtime.NumGoroutine() <= routines && len(s.processes()) <= processes
	})
	if n := len(s.files()); n != files {
		t.Errorf("%d files became %d: %q", files, n, s.files())
	}
}

func TestContainerCyclesLeakNothing(t *testing.T) { eachWay(t, testContainerCyclesLeakNothing) }

func testContainerCyclesLeakNothing(t *testing.T, s *stage) {
	cycle := func() {
		init := s.run("c", "true")
		s.wantExit(init, 0)
		s.mustDelete(init)
	}
	cycle()
	fds, routines := openFiles(), runtime.NumGoroutine()
	for range 10 {
		cycle()
	}
	s.until(func() bool { return openFiles() <= fds && runtime.NumGoroutine() <= routines })
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// A runsc and what it starts get no file of ours but those that they are given.
func TestNoFileLeaksIntoChildren(t *testing.T) { eachWay(t, testNoFileLeaksIntoChildren) }

func testNoFileLeaksIntoChildren(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	pids := s.exec(s.launch(init, "e", "sleep", "1000"))
	state, err := s.Client().State(s.context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	mine, _ := filepath.Glob(filepath.Join(s.options.StateDir, "*"))
	for _, pid := range []int{state.Pid, pids.Host} {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if len(fds) == 0 {
			t.Fatalf("process %d has no files", pid)
		}
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			if strings.Contains(to, "pidfd") || strings.Contains(to, "process spec") || len(mine) > 0 && strings.HasPrefix(to, mine[0]) {
				t.Errorf("process %d has %s", pid, to)
			}
		}
	}
}

// The kernel's kill is told before the exit that it explains (gvisor#12838).
func TestOOMIsToldBeforeTheExit(t *testing.T) {
	s := newStage(t)
	if _, err := os.Stat("/sys/fs/cgroup/memory/memory.limit_in_bytes"); err != nil {
		if b, err := os.ReadFile("/sys/fs/cgroup/cgroup.subtree_control"); err != nil || !strings.Contains(string(b), "memory") {
			runsc.Missing(t, "no memory cgroup found")
		}
	}
	limit := int64(96 << 20)
	bundle := s.bundle(func(p *specs.Spec) {
		p.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	}, "sh", "-c", "dd if=/dev/zero of=/tmp/big bs=1M count=500")
	init := s.create("c", messages.Create{Bundle: bundle})
	if err := s.Start(s.context(), init); err != nil {
		t.Fatal(err)
	}
	e := s.exit(init)
	t.Logf("%+v", e)
	s.notices.mu.Lock()
	defer s.notices.mu.Unlock()
	if len(s.notices.all) != 2 || s.notices.all[0] != (messages.OOMNotice{Process: init}) {
		t.Errorf("told %+v", s.notices.all)
	}
}
