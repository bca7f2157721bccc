package runsc_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// A sandbox is looked at when its container has started, at the first need, once.
func TestTheWayIsFoundOutOnce(t *testing.T) {
	s, log := logged(t)
	dials := s.CountDials()
	init := s.create("c", messages.Create{}, "sleep", "1000")
	s.wantWay(init, "")
	if err := s.Start(s.context(), init); err != nil {
		t.Fatal(err)
	}
	s.wantWay(init, "")
	if dials.Count() != 0 {
		t.Error("it was found out before it was needed")
	}
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			l := s.launch(init, "e"+string(rune('a'+i%26))+string(rune('a'+i/26)), "true")
			if _, err := s.Exec(s.context(), l); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := dials.Count(); n != 1 {
		t.Errorf("it was found out %d times", n)
	}
	s.wantWay(init, "control")
	s.wantWay(s.incarnation(messages.Init("unknown")), "")
	if strings.Contains(log.String(), "command line") {
		t.Error(log.String())
	}
	for _, p := range s.processes() {
		if strings.Contains(p, " exec ") {
			t.Errorf("a process of the host stands for an exec: %s", p)
		}
	}
}

// What can not be understood is spoken to by the command line, and that is told
// once.
func TestTheCommandLineTakesOver(t *testing.T) {
	s, log := logged(t)
	dials := s.RefuseToDial(&messages.Error{Kind: messages.Unimplemented, Op: "verify", Err: messages.Text("it is of another version")})
	init := s.run("c", "sleep", "1000")
	for range 3 {
		l := s.launch(init, "e", "sh", "-c", "exit 3")
		s.exec(l)
		s.wantExit(l.Process, 3)
		s.mustDelete(l.Process)
	}
	if _, err := s.Stats(s.context(), init); err != nil {
		t.Error(err)
	}
	s.wantWay(init, "cli: it is of another version")
	if n := strings.Count(log.String(), "by the command line from now on"); n != 1 || dials.Count() != 1 {
		t.Errorf("told %d times after %d dials: %s", n, dials.Count(), log)
	}
	if err := s.Kill(s.context(), init, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	s.wantExit(init, 137)

	// With the socket demanded, an exec fails.
	s, _ = logged(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	s.RefuseToDial(&messages.Error{Kind: messages.Unimplemented, Op: "verify", Err: messages.Text("it is of another version")})
	init = s.run("c", "sleep", "1000")
	_, err := s.Exec(s.context(), s.launch(init, "e", "true"))
	t.Log(err)
	wantKind(t, err, messages.Unavailable, "c/e", "another version", "auto")
}

// A sandbox that does not answer at the first need is not given up for good.
func TestASandboxThatHangsAtFirst(t *testing.T) {
	s, _ := logged(t)
	init := s.run("c", "sleep", "1000")
	pid := s.sentry("c")
	hang(t, pid)
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := s.Exec(short, s.launch(init, "e", "true"))
	wantKind(t, err, messages.DeadlineExceeded, "c/e")
	s.wantWay(init, "")
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l := s.launch(init, "e", "true")
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.wantWay(init, "control")
}
