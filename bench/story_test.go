package bench

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// story is a core on the fake driver, and what it has told.
type story struct {
	*testing.T
	core
	driver *fake.Driver
	events <-chan messages.Event
}

// tell runs a story on both cores: that the baseline does what the actors do is
// what makes it one. Afterwards the core is ended, and must leave nothing.
func tell(t *testing.T, run func(s *story)) {
	for _, c := range cores {
		t.Run(c.name, func(t *testing.T) {
			driver := fake.New()
			s := &story{T: t, core: c.make(t, driver), driver: driver}
			s.events = s.observe(0)
			t.Cleanup(func() {
				if err := s.Shutdown(context.Background()); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				if held := driver.Held(); len(held) > 0 {
					t.Errorf("the driver still holds %v", held)
				}
			})
			run(s)
		})
	}
}

// end shuts down and gives every event: "ExecAdded c/e".
func (s *story) end() (told []string) {
	s.Helper()
	s.must(s.Shutdown(s.Context()))
	for e := range s.events {
		name := strings.TrimPrefix(fmt.Sprintf("%T", e), "messages.")
		line := name + " " + e.Subject().String()
		if x, ok := e.(messages.ProcessExited); ok {
			line += fmt.Sprintf(" %d", x.Exit.Status)
			if x.Exit.At.IsZero() {
				s.Errorf("%s has no time", line)
			}
		}
		told = append(told, line)
	}
	return told
}

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *story) refused(err, kind error) {
	s.Helper()
	if messages.KindOf(err) != kind {
		s.Errorf("%v is of kind %v, want %v", err, messages.KindOf(err), kind)
	}
}

func (s *story) create(c messages.ContainerID) {
	s.Helper()
	_, err := s.Create(s.Context(), messages.Create{Container: c, Bundle: "/none"})
	s.must(err)
}

// runs creates and starts a container that lives on.
func (s *story) runs(c messages.ContainerID) {
	s.Helper()
	s.create(c)
	s.must(s.begin(string(c)))
}

// add registers an exec with a command of the fake driver's shell.
func (s *story) add(name, command string) error {
	x := messages.Exec{Process: process(s, name)}
	x.Spec.Args, x.Spec.Cwd = []string{"sh", "-c", command}, "/"
	_, err := s.Exec(context.Background(), x)
	return err
}

func (s *story) begin(name string) error {
	_, err := s.Start(context.Background(), messages.Start{Process: process(s, name)})
	return err
}

func (s *story) remove(name string) error {
	_, err := s.Delete(context.Background(), messages.Delete{Process: process(s, name)})
	return err
}

func (s *story) signal(name string) error {
	_, err := s.Kill(context.Background(), messages.Kill{Process: process(s, name), Signal: syscall.SIGKILL})
	return err
}

// exit waits for the status of a process.
func (s *story) exit(name string) (int, error) {
	x, err := s.Wait(context.Background(), messages.Wait{Process: process(s, name)})
	return x.Exit.Status, err
}

func (s *story) exits(name string, want int) {
	s.Helper()
	if got, err := s.exit(name); err != nil || got != want {
		s.Errorf("%s exited with %d, %v, want %d", name, got, err, want)
	}
}

func (s *story) is(name string, want messages.Status) {
	s.Helper()
	got, err := s.State(context.Background(), messages.State{Process: process(s, name)})
	if err != nil || got.Status != want || (got.Exit != nil) != (want == messages.StatusStopped) {
		s.Errorf("%s is %q with exit %v, %v, want %q", name, got.Status, got.Exit, err, want)
	}
}

func process(t testing.TB, name string) messages.Process {
	t.Helper()
	p, err := messages.ParseProcess(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// checkStorm checks that each exec that was started has one exit, and that the
// init's comes after them all.
func (s *story) checkStorm(told []string) {
	s.Helper()
	started, over := make(map[string]bool), false
	for _, line := range told {
		words := strings.Fields(line)
		switch {
		case words[0] == "ExecStarted" && over:
			s.Errorf("%s was started after the init's exit", words[1])
		case words[0] == "ExecStarted":
			started[words[1]] = true
		case words[0] == "ProcessExited" && words[1] == "c":
			over = true
			if len(started) > 0 {
				s.Errorf("the init's exit is told before those of %v", started)
			}
		case words[0] == "ProcessExited" && !started[words[1]]:
			s.Errorf("%s has an exit and no start, or a second exit", words[1])
		case words[0] == "ProcessExited":
			delete(started, words[1])
		}
	}
	if !over {
		s.Error("the init has no exit")
	}
}
