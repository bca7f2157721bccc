package actors_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// kinds counts the outcomes of commands by the kind of their error.
func kinds[R any](all []<-chan outcome[R]) map[error]int {
	n := make(map[error]int)
	for _, c := range all {
		n[messages.KindOf((<-c).err)]++
	}
	return n
}

// exactly checks that so many commands succeeded, and that the others were
// refused as ResourceExhausted.
func exactly[R any](t *testing.T, ok int, all []<-chan outcome[R]) {
	t.Helper()
	n := kinds(all)
	if n[nil] != ok || n[messages.ResourceExhausted] != len(all)-ok {
		t.Errorf("the outcomes are %v, want %d of success and %d of ResourceExhausted", n, ok, len(all)-ok)
	}
}

func TestCommandsBeyondTheLimitAreRefusedAtTheDoor(t *testing.T) {
	run(t, actors.Options{Limits: actors.Limits{Commands: 5}}, func(b *bed) {
		b.runs("c")
		var waits []<-chan outcome[messages.Exited]
		for range 5 {
			waits = append(waits, later(b, waitOf("c")))
		}
		synctest.Wait()
		refused(b, stateOf("c"), messages.ResourceExhausted)
		b.driver.Exit(process("c"), 0)
		exactly(t, 5, waits)
		ask(b, stateOf("c")) // the places are free again
	})
}

func TestWaitersBeyondTheLimitAreRefused(t *testing.T) {
	run(t, actors.Options{Limits: actors.Limits{Waiters: 3}}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		for _, name := range []string{"c/e", "c"} {
			var waits []<-chan outcome[messages.Exited]
			for range 10 {
				waits = append(waits, later(b, waitOf(name)))
			}
			synctest.Wait()
			b.driver.Exit(process(name), 0)
			exactly(t, 3, waits)

			// Those who wait for one deletion are as many.
			g := b.gate()
			b.driver.Before(on("delete", "", g.pass))
			var deletes []<-chan outcome[messages.Deleted]
			for range 10 {
				deletes = append(deletes, later(b, deleteOf(name)))
			}
			synctest.Wait()
			g.open()
			exactly(t, 3, deletes)
		}
	})
}

func TestPostponedCommandsBeyondTheLimitAreRefused(t *testing.T) {
	limits := actors.Limits{Postponed: 2}

	t.Run("process", func(t *testing.T) {
		run(t, actors.Options{Limits: limits}, func(b *bed) {
			b.runs("c")
			ask(b, execOf("c/e", "sleep inf"))
			g := b.gate()
			b.driver.Before(on("exec", "", g.pass))
			start := later(b, startOf("c/e"))
			synctest.Wait()
			var kills []<-chan outcome[messages.Killed]
			for range 10 {
				kills = append(kills, later(b, killOf("c/e", syscall.SIGURG)))
			}
			synctest.Wait()
			g.open()
			exactly(t, 2, kills)
			if r := <-start; r.err != nil {
				t.Error(r.err)
			}
		})
	})

	t.Run("container", func(t *testing.T) {
		run(t, actors.Options{Limits: limits}, func(b *bed) {
			b.runs("c")
			g := b.gate()
			b.driver.Before(on("checkpoint", "", g.pass))
			saved := later(b, messages.Checkpoint{Container: "c", ImagePath: "/image", LeaveRunning: true})
			synctest.Wait()
			var starts []<-chan outcome[messages.Started]
			for i := range 10 {
				name := fmt.Sprintf("c/%d", i)
				ask(b, execOf(name, "true"))
				starts = append(starts, later(b, startOf(name)))
			}
			synctest.Wait()
			g.open()
			exactly(t, 2, starts)
			if r := <-saved; r.err != nil {
				t.Error(r.err)
			}
		})
	})

	t.Run("sandbox", func(t *testing.T) {
		run(t, actors.Options{Limits: limits}, func(b *bed) {
			g := b.gate()
			b.driver.Before(on("create", "root", g.pass))
			root := later(b, messages.Create{Container: "root", Sandbox: "pod", Bundle: noBundle})
			synctest.Wait()
			var creates []<-chan outcome[messages.Created]
			for i := range 10 {
				creates = append(creates, later(b, messages.Create{
					Container: messages.ContainerID(fmt.Sprint(i)), Sandbox: "pod", Bundle: noBundle,
				}))
			}
			synctest.Wait()
			g.open()
			exactly(t, 2, creates)
			if r := <-root; r.err != nil {
				t.Error(r.err)
			}
			if n := len(ask(b, messages.Info{}).Sandboxes[0].Containers); n != 3 {
				t.Errorf("the sandbox has %d containers, want 3: those that were refused are forgotten", n)
			}
		})
	})
}

// google/gvisor#14405: and an init can be killed however many calls hang.
func TestCallsBeyondTheLimitAreRefusedButForAKillOfTheSandbox(t *testing.T) {
	run(t, actors.Options{Limits: actors.Limits{Calls: 3}}, func(b *bed) {
		b.runs("c")
		g := b.gate()
		b.driver.Before(on("kill", "", g.pass))
		var kills []<-chan outcome[messages.Killed]
		for range 10 {
			kills = append(kills, later(b, killOf("c", syscall.SIGTERM)))
		}
		synctest.Wait()
		elapsed(t, 0, func() {
			refused(b, messages.Stats{Container: "c"}, messages.ResourceExhausted)
			ask(b, killOf("c", syscall.SIGKILL))
			ask(b, waitOf("c"))
		})
		g.open()
		if n := kinds(kills); n[messages.ResourceExhausted] != 7 {
			t.Errorf("the outcomes are %v, want 7 of ResourceExhausted", n)
		}
		ask(b, deleteOf("c"))
	})
}

func TestExecsBeyondTheLimitAreRefused(t *testing.T) {
	run(t, actors.Options{Limits: actors.Limits{Execs: 3}}, func(b *bed) {
		b.runs("c", "d")
		b.execs("true", "c/1", "c/2", "c/3", "d/1")
		refused(b, execOf("c/4", "true"), messages.ResourceExhausted)
		ask(b, waitOf("c/1"))
		ask(b, deleteOf("c/1"))
		ask(b, execOf("c/4", "true"))
	})
}

func TestContainersBeyondTheLimitAreRefused(t *testing.T) {
	run(t, actors.Options{Limits: actors.Limits{Containers: 2}}, func(b *bed) {
		in := func(c string) messages.Create {
			return messages.Create{Container: messages.ContainerID(c), Sandbox: "pod", Bundle: noBundle}
		}
		ask(b, in("root"))
		ask(b, in("a"))
		refused(b, in("b"), messages.ResourceExhausted)
		refused(b, stateOf("b"), messages.NotFound)
		ask(b, deleteOf("a"))
		ask(b, in("b"))
		ask(b, createOf("other"))
	})
}

func TestEveryWrongOptionIsNamed(t *testing.T) {
	_, err := actors.New(actors.Options{
		Timeouts: actors.Timeouts{Create: -1, Start: -1, Exec: -1, Kill: -1, Delete: -1, Checkpoint: -1, Call: -1, Drain: -1},
		Limits:   actors.Limits{Commands: -1, Waiters: -1, Postponed: -1, Calls: -1, Execs: -1, Containers: -1, Events: -1},
	})
	if messages.KindOf(err) != messages.InvalidArgument {
		t.Fatalf("%v, want InvalidArgument", err)
	}
	for _, field := range []string{
		"Driver",
		"Timeouts.Create", "Timeouts.Start", "Timeouts.Exec", "Timeouts.Kill", "Timeouts.Delete",
		"Timeouts.Checkpoint", "Timeouts.Call", "Timeouts.Drain",
		"Limits.Commands", "Limits.Waiters", "Limits.Postponed", "Limits.Calls", "Limits.Execs",
		"Limits.Containers", "Limits.Events",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

// A driver that can not work here, or hangs, is an error of New and leaves
// nothing.
func TestNewWithADriverThatCanNotWorkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, want := range []error{messages.Unavailable, messages.DeadlineExceeded} {
			d := fake.New()
			if want == messages.Unavailable {
				d.Before(on("info", "", fail(want)))
			} else {
				d.Before(on("info", "", hang))
			}
			_, err := actors.New(actors.Options{Driver: d, Timeouts: actors.Timeouts{Call: time.Second}})
			var typed *messages.Error
			if messages.KindOf(err) != want || !errors.As(err, &typed) || typed.Hint == "" {
				t.Errorf("%v, want %v with a hint", err, want)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
