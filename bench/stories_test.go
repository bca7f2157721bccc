package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

func TestStoryOfALife(t *testing.T) {
	tell(t, func(s *story) {
		s.create("c")
		s.is("c", messages.StatusCreated)
		s.must(s.begin("c"))
		s.must(s.add("c/e", "sleep inf"))
		s.is("c/e", messages.StatusCreated)
		s.must(s.begin("c/e"))
		s.is("c/e", messages.StatusRunning)
		pids, err := s.Pids(s.Context(), messages.Pids{Container: "c"})
		if err != nil || len(pids.Processes) != 2 || pids.Processes[1].Process.Exec != "e" || pids.Processes[1].PIDs.Host == 0 {
			s.Errorf("the pids are %+v, %v", pids, err)
		}
		s.must(s.signal("c/e"))
		s.exits("c/e", messages.ExitKilled)
		s.is("c/e", messages.StatusStopped)
		s.must(s.remove("c/e"))
		s.must(s.add("c/e", "exit 3")) // the id is free
		s.must(s.begin("c/e"))
		s.exits("c/e", 3)
		s.driver.Exit(messages.Init("c"), 7)
		s.exits("c", 7)
		s.must(s.remove("c")) // and with it the exec
		want := []string{
			"ContainerCreated c", "ContainerStarted c",
			"ExecAdded c/e", "ExecStarted c/e", "ProcessExited c/e 137", "ProcessDeleted c/e",
			"ExecAdded c/e", "ExecStarted c/e", "ProcessExited c/e 3",
			"ProcessExited c 7", "ProcessDeleted c/e", "ProcessDeleted c",
		}
		if got := s.end(); !slices.Equal(got, want) {
			s.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// containerd#9719, containerd#9828: the driver tells the init's exit first.
func TestStoryOfAnInitThatIsTheLast(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		for i := range 20 {
			s.must(s.add(fmt.Sprintf("c/%d", i), "sleep inf"))
			s.must(s.begin(fmt.Sprintf("c/%d", i)))
		}
		s.must(s.add("c/late", "true"))
		s.driver.Exit(messages.Init("c"), 9)
		s.exits("c", 9)
		s.refused(s.begin("c/late"), messages.FailedPrecondition)
		s.refused(s.add("c/later", "true"), messages.FailedPrecondition)
		var exits []string
		for _, line := range s.end() {
			if strings.HasPrefix(line, "ProcessExited") {
				exits = append(exits, line)
			}
		}
		if len(exits) != 21 || exits[20] != "ProcessExited c 9" {
			s.Errorf("the exits are %v, want those of 20 execs and then the init's", exits)
		}
	})
}

// containerd#882: the exit is there before the start has returned.
func TestStoryOfAnExitThatIsEarly(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		s.driver.After(func(_ context.Context, call string, p messages.Incarnation) error {
			if call == "exec" {
				s.driver.Exit(p.Process, 7)
			}
			return nil
		})
		s.must(s.add("c/e", "sleep inf"))
		s.must(s.begin("c/e"))
		s.exits("c/e", 7)
		got := s.end()
		start, exit := slices.Index(got, "ExecStarted c/e"), slices.Index(got, "ProcessExited c/e 7")
		if start < 0 || exit < start {
			s.Errorf("told %v", got)
		}
	})
}

// containerd#8557, containerd#8617: a start that hangs, though its process is
// gone, delays no other exec.
func TestStoryOfAStartThatHangs(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		hangs, release := make(chan struct{}), make(chan struct{})
		s.driver.After(func(_ context.Context, call string, p messages.Incarnation) error {
			if call == "exec" && p.Exec == "slow" {
				s.driver.Exit(p.Process, 7)
				close(hangs)
				<-release
			}
			return nil
		})
		s.must(s.add("c/slow", "sleep inf"))
		started := make(chan error, 1)
		go func() { started <- s.begin("c/slow") }()
		<-hangs
		s.must(s.add("c/other", "exit 3"))
		s.must(s.begin("c/other"))
		s.exits("c/other", 3)
		close(release)
		s.must(<-started)
		s.exits("c/slow", 7)
	})
}

func TestStoryOfRefusals(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		_, err := s.Create(s.Context(), messages.Create{Container: "c", Bundle: "/none"})
		s.refused(err, messages.AlreadyExists)
		s.refused(s.begin("c"), messages.FailedPrecondition)
		s.refused(s.remove("c"), messages.FailedPrecondition)
		s.refused(s.begin("none"), messages.NotFound)
		s.refused(s.begin("c/none"), messages.NotFound)
		s.must(s.add("c/e", "sleep inf"))
		s.refused(s.add("c/e", "true"), messages.AlreadyExists)
		s.refused(s.signal("c/e"), messages.FailedPrecondition)
		s.must(s.begin("c/e"))
		s.refused(s.begin("c/e"), messages.FailedPrecondition)
		s.refused(s.remove("c/e"), messages.FailedPrecondition)
		s.must(s.signal("c/e"))
		s.exits("c/e", messages.ExitKilled)
		s.refused(s.signal("c/e"), messages.NotFound)
		_, err = s.Kill(s.Context(), messages.Kill{Process: messages.Init("c")})
		s.refused(err, messages.InvalidArgument)
	})
}

// containerd#11483: Wait before a Start that fails is answered.
func TestStoryOfAFailedStart(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		s.must(s.add("c/e", "nosuch"))
		waited := make(chan error, 1)
		go func() {
			_, err := s.exit("c/e")
			waited <- err
		}()
		s.refused(s.begin("c/e"), messages.NotFound)
		s.refused(<-waited, messages.FailedPrecondition)
		s.refused(s.begin("c/e"), messages.FailedPrecondition)
		s.must(s.remove("c/e"))
		if got := s.end(); slices.Contains(got, "ExecStarted c/e") || !slices.Contains(got, "ProcessDeleted c/e") {
			s.Errorf("told %v", got)
		}
	})
}

// An init that could not be started is not gone: it is killed, and deleted.
func TestStoryOfAnInitThatDoesNotStart(t *testing.T) {
	tell(t, func(s *story) {
		s.create("c")
		s.driver.Before(func(_ context.Context, call string, _ messages.Incarnation) error {
			if call == "start" {
				return messages.Unavailable
			}
			return nil
		})
		s.refused(s.begin("c"), messages.Unavailable)
		s.refused(s.begin("c"), messages.FailedPrecondition)
		s.must(s.remove("c"))
		want := []string{"ContainerCreated c", "ProcessExited c 137", "ProcessDeleted c"}
		if got := s.end(); !slices.Equal(got, want) {
			s.Errorf("told %v, want %v", got, want)
		}
	})
}

// gvisor#12838: the want of memory is told before the exit that it explains.
func TestStoryOfAWantOfMemory(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		s.driver.OOM("c")
		s.exits("c", messages.ExitKilled)
		want := []string{"ContainerCreated c", "ContainerStarted c", "ContainerOOM c", "ProcessExited c 137", "ProcessDeleted c"}
		if got := s.end(); !slices.Equal(got, want) {
			s.Errorf("told %v, want %v", got, want)
		}
	})
}

// containerd#2709: a subscriber that does not read delays nobody, and is told
// how much it has lost.
func TestStoryOfASubscriberThatDoesNotRead(t *testing.T) {
	tell(t, func(s *story) {
		slow := s.observe(1)
		s.runs("c")
		s.driver.Exit(messages.Init("c"), 0)
		s.exits("c", 0)
		s.must(s.remove("c"))
		if got := s.end(); len(got) != 4 {
			s.Errorf("told %v", got)
		}
		var got []messages.Event
		for e := range slow {
			got = append(got, e)
		}
		if len(got) != 2 || got[1] != (messages.EventsDropped{Count: 3}) {
			s.Errorf("the slow subscriber was told %v", got)
		}
	})
}

func TestStoryOfAFailedCreate(t *testing.T) {
	tell(t, func(s *story) {
		s.driver.Before(func(_ context.Context, call string, _ messages.Incarnation) error {
			if call == "create" {
				return messages.Unavailable
			}
			return nil
		})
		_, err := s.Create(s.Context(), messages.Create{Container: "c", Bundle: "/none"})
		s.refused(err, messages.Unavailable)
		s.driver.Before(nil)
		s.refused(s.begin("c"), messages.NotFound)
		s.runs("c")
	})
}

func TestStoryOfAPause(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		s.must(s.add("c/e", "sleep inf"))
		s.must(s.add("c/f", "sleep inf"))
		s.must(s.begin("c/e"))
		_, err := s.Resume(s.Context(), messages.Resume{Container: "c"})
		s.refused(err, messages.FailedPrecondition)
		_, err = s.Pause(s.Context(), messages.Pause{Container: "c"})
		s.must(err)
		s.is("c", messages.StatusPaused)
		s.is("c/e", messages.StatusPaused)
		s.is("c/f", messages.StatusCreated)
		s.refused(s.begin("c/f"), messages.FailedPrecondition)
		_, err = s.Pause(s.Context(), messages.Pause{Container: "c"})
		s.refused(err, messages.FailedPrecondition)
		_, err = s.Resume(s.Context(), messages.Resume{Container: "c"})
		s.must(err)
		s.is("c/e", messages.StatusRunning)
		s.must(s.begin("c/f"))
	})
}

// A container that was created and never started can be killed, and deleted.
func TestStoryOfTheUnstarted(t *testing.T) {
	tell(t, func(s *story) {
		s.create("killed")
		s.must(s.signal("killed"))
		s.exits("killed", messages.ExitKilled)
		s.must(s.remove("killed"))
		s.create("deleted")
		s.must(s.remove("deleted"))
		want := []string{
			"ContainerCreated killed", "ProcessExited killed 137", "ProcessDeleted killed",
			"ContainerCreated deleted", "ProcessExited deleted 137", "ProcessDeleted deleted",
		}
		if got := s.end(); !slices.Equal(got, want) {
			s.Errorf("told %v, want %v", got, want)
		}
	})
}

// Shutdown ends what lives, twice is once, and after it nothing begins.
func TestStoryOfTheEnd(t *testing.T) {
	tell(t, func(s *story) {
		s.create("a")
		s.runs("b")
		s.must(s.add("b/e", "sleep inf"))
		s.must(s.begin("b/e"))
		got := s.end()
		for _, p := range []string{"a", "b", "b/e"} {
			if !slices.Contains(got, "ProcessExited "+p+" 137") || !slices.Contains(got, "ProcessDeleted "+p) {
				s.Errorf("of %s not all was told: %v", p, got)
			}
		}
		s.must(s.Shutdown(s.Context()))
		_, err := s.Create(s.Context(), messages.Create{Container: "c", Bundle: "/none"})
		s.refused(err, messages.Unavailable)
	})
}

// containerd#10589: an init that ends amid a storm of execs. Each exec that was
// started has one exit, and the init's is the last.
func TestStoryOfAStorm(t *testing.T) {
	tell(t, func(s *story) {
		s.runs("c")
		const workers = 8
		var wg sync.WaitGroup
		var half sync.Once
		for w := range workers {
			wg.Go(func() {
				for i := range 20 {
					name := fmt.Sprintf("c/%d-%d", w, i)
					if i == 10 {
						half.Do(func() { s.driver.Exit(messages.Init("c"), 0) })
					}
					err := s.add(name, []string{"true", "exit 3", "sleep inf"}[i%3])
					if err == nil {
						err = s.begin(name)
					}
					if err != nil && !errors.Is(err, messages.FailedPrecondition) {
						s.Error(err)
					}
				}
			})
		}
		wg.Wait()
		s.exits("c", 0)
		s.checkStorm(s.end())
	})
}
