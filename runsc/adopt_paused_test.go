package runsc_test

import (
	"syscall"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

// A container that was paused when its program was killed runs again, and its execs
// go on, the one whose terminal is hung up too; all their exits are told.
func TestAdoptPaused(t *testing.T) { eachWay(t, testAdoptPaused) }

func testAdoptPaused(t *testing.T, s *stage) {
	a := s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs: []plannedExec{
			{Process: execOf("demo", "e"), Args: waiting(7)},
			s.onTerminal("tty", "trap 'exit 9' HUP"),
		},
	})
	s.awaitFile("demo", "/tmp/tty-ready")
	if err := s.Client().Pause(s.context(), "demo"); err != nil {
		t.Fatal(err)
	}
	a.kill()
	wantStatus := func(want string) {
		t.Helper()
		if state, err := s.Client().State(s.context(), "demo"); err != nil || string(state.Status) != want {
			t.Fatalf("runsc tells %+v, %v, want that it is %s", state, err, want)
		}
	}
	wantStatus("paused")
	b := s.startSecond()
	for name, found := range b.adopt("demo", "demo/e", "demo/tty") {
		if found.Ended {
			t.Errorf("%s was found to have ended", name)
		}
	}
	wantStatus("running")
	if state := ask2(b, messages.State{Process: messages.Init("demo")}); state.Status != messages.StatusRunning {
		t.Errorf("its status is %v", state.Status)
	}
	b.wantExit(execOf("demo", "tty"), 9)
	s.let("demo", 7)
	b.wantExit(execOf("demo", "e"), 7)
	ask2(b, messages.Kill{Process: messages.Init("demo"), Signal: syscall.SIGKILL})
	b.wantExit(messages.Init("demo"), messages.ExitKilled)
	b.end()
	s.wantNothing()
}
