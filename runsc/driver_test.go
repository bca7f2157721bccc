package runsc_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// gVisor's own shim waits for an init after it has started it, and loses the
// status of one that is gone at once.
func TestInitThatIsGoneAtOnceKeepsItsStatus(t *testing.T) {
	s := newStage(t)
	cases := []struct {
		status int
		args   []string
	}{
		{0, []string{"true"}},
		{1, []string{"false"}},
		{7, []string{"sh", "-c", "exit 7"}},
		{143, []string{"sh", "-c", "kill -TERM $$"}},
	}
	s.rootfs()
	const workers, rounds = 4, 12
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				c := cases[(w+i)%len(cases)]
				init := s.run(fmt.Sprintf("c%d-%d", w, i), c.args...)
				s.wantExit(init, c.status)
				s.mustDelete(init)
				if n := s.notices.count(init); n != 1 {
					t.Errorf("%d exits of %s were told", n, init)
				}
			}
		})
	}
	all.Wait()
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

func TestExecTellsItsStatusAndPIDs(t *testing.T) { eachWay(t, testExecTellsItsStatusAndPIDs) }

func testExecTellsItsStatusAndPIDs(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	for want, args := range map[int][]string{0: {"true"}, 1: {"false"}, 7: {"sh", "-c", "exit 7"}, 128: {"sh", "-c", "exit 128"}, 137: {"sh", "-c", "kill -KILL $$"}} {
		l := s.launch(init, fmt.Sprintf("e%d", want), args...)
		pids := s.exec(l)
		if pids.Host == 0 || pids.Guest == 0 {
			t.Errorf("the pids of %s are %+v", l.Process, pids)
		}
		s.wantExit(l.Process, want)
		s.mustDelete(l.Process)
	}
	wantKind(t, s.Kill(s.context(), init, 0, false), messages.InvalidArgument)
	if err := s.Kill(s.context(), init, 9, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(init, 137)
	s.mustDelete(init)
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// Before Linux 6.15 and without a subreaper the sandbox is asked.
func TestStatusOnAKernelThatKeepsNone(t *testing.T) { eachWay(t, testStatusOnAKernelThatKeepsNone) }

func testStatusOnAKernelThatKeepsNone(t *testing.T, s *stage) {
	s.ForgetCodes()
	init := s.run("c", "sh", "-c", "while ! [ -e /tmp/go ]; do sleep 0.05; done; exit 7")
	s.until(func() bool {
		if s.options.ExecDriver == runsc.ExecControl {
			return s.Way(init) == runsc.ExecControl
		}
		for _, p := range s.processes() {
			if strings.Contains(p, " wait ") {
				return true
			}
		}
		return false
	})
	s.exec(s.launch(init, "e", "sh", "-c", "echo > /tmp/go"))
	s.wantExit(init, 7)
	s.mustDelete(init)
	// A status that is lost is told to be.
	init = s.create("c", messages.Create{}, "true")
	s.mustDelete(init)
	if e := s.exit(init); e.Status != messages.ExitUnknown || e.Reason == "" {
		t.Errorf("%+v", e)
	}
}

// A driver that is closed leaves what runs alone, and tells nothing more.
func TestCloseLeavesWhatRuns(t *testing.T) { eachWay(t, testCloseLeavesWhatRuns) }

func testCloseLeavesWhatRuns(t *testing.T, s *stage) {
	root := s.pod("pod")
	c := s.join("pod", "c", "sleep", "1000")
	if err := s.Start(s.context(), c); err != nil {
		t.Fatal(err)
	}
	pids := s.exec(s.launch(root, "e", "sleep", "1000"))
	routines := runtime.NumGoroutine()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return runtime.NumGoroutine() < routines })
	for name, id := range map[string]string{"the sandbox": "pod", "its member": "c"} {
		if st, err := s.Client().State(s.context(), id); err != nil || st.Status != "running" {
			t.Errorf("%s: %+v %v", name, st, err)
		}
	}
	guests, err := s.Client().Ps(s.context(), "pod")
	if err != nil || !slices.Contains(guests, pids.Guest) {
		t.Errorf("the exec %d is not among %v %v", pids.Guest, guests, err)
	}
	wantKind(t, s.Start(s.context(), s.incarnation(messages.Init("x"))), messages.NotFound)
	_, err = s.Create(s.context(), s.incarnation(messages.Init("x")), messages.Create{Container: "x", Bundle: s.bundle(nil, "true")})
	wantKind(t, err, messages.Unavailable, "closed")
	for _, id := range []string{"c", "pod"} {
		if err := s.Client().Delete(s.context(), id, &runsc.DeleteOpts{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	s.until(func() bool { return len(s.processes()) == 0 })
	if len(s.notices.all) > 0 {
		t.Errorf("told %+v", s.notices.all)
	}
}
