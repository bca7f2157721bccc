package actors_test

import (
	"context"
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

// containerd#13052: commands during a shutdown panicked with a send on a closed
// channel.
func TestCommandsDuringShutdownAreAnswered(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("a", "b", "c")
		b.execs("sleep inf", "a/e", "b/e", "c/e")
		const n = 20
		done := make(chan int, n)
		for i := range n {
			go func() {
				answered := 0
				for j := range 50 {
					c := []string{"a", "b", "c", "d"}[(i+j)%4]
					e := fmt.Sprintf("%s/%d-%d", c, i, j)
					_, _ = try(b, createOf(c))
					_, _ = try(b, execOf(e, "true"))
					_, _ = try(b, startOf(e))
					_, _ = try(b, waitOf(e))
					_, _ = try(b, killOf(c, syscall.SIGTERM))
					_, _ = try(b, stateOf(c))
					_, _ = try(b, deleteOf(e))
					_, _ = try(b, messages.Info{})
					sub := b.rt.Subscribe(0)
					sub.Close()
					for range sub.Events() {
					}
					answered++
				}
				done <- answered
			}()
		}
		if err := b.rt.Shutdown(b.soon(time.Hour)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		for range n {
			if got := <-done; got != 50 {
				t.Errorf("%d rounds of commands were answered, want 50", got)
			}
		}
		// A command after it is Unavailable, whatever it asks.
		refused(b, stateOf("c"), messages.Unavailable)
		refused(b, createOf("new"), messages.Unavailable)
		_, err := try(b, messages.Info{})
		if messages.KindOf(err) != messages.Unavailable {
			t.Errorf("Info after Shutdown: %v", err)
		}
		if err := b.rt.Shutdown(b.soon(time.Second)); err != nil {
			t.Errorf("a second Shutdown: %v", err)
		}
		if err := b.sub.Sync(b.soon(time.Second)); messages.KindOf(err) != messages.Unavailable {
			t.Errorf("Sync after Shutdown: %v", err)
		}
		for range b.rt.Subscribe(0).Events() { // it ends
		}
	}, withoutEnd)
}

func TestConcurrentShutdownsEndTogether(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.driver.Before(on("delete", "", func(context.Context, messages.Incarnation) error {
			time.Sleep(time.Second)
			return nil
		}))
		errs := make(chan error, 10)
		for range 10 {
			go func() { errs <- b.rt.Shutdown(b.soon(time.Hour)) }()
		}
		elapsed(t, time.Second, func() {
			for range 10 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
		})
	}, withoutEnd)
}

// The Shutdown of the protocol is refused while there are containers, unless it
// is to be now.
func TestShutdownIsRefusedWhileThereAreContainers(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		_, err := try(b, messages.Shutdown{})
		if messages.KindOf(err) != messages.FailedPrecondition {
			t.Errorf("Shutdown: %v, want FailedPrecondition", err)
		}
		b.status("c", messages.StatusRunning)
		ask(b, killOf("c", syscall.SIGKILL))
		ask(b, waitOf("c"))
		ask(b, deleteOf("c"))
		ask(b, messages.Shutdown{})
		refused(b, createOf("c"), messages.Unavailable)
	})
}

// A Shutdown while the runtime hangs ends with its context, and says that
// processes may live.
func TestShutdownWithAHungRuntimeEndsWithItsContext(t *testing.T) {
	for name, hook := range map[string]func(*bed) fake.Hook{
		"until its deadline": func(*bed) fake.Hook {
			return func(ctx context.Context, _ string, p messages.Incarnation) error { return hang(ctx, p) }
		},
		"for ever": func(b *bed) fake.Hook {
			g := b.gate()
			return func(ctx context.Context, _ string, p messages.Incarnation) error { return g.pass(ctx, p) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, actors.Options{}, func(b *bed) {
				b.runs("c", "d")
				b.execs("sleep inf", "c/e")
				b.driver.Before(hook(b))
				create := later(b, createOf("n"))
				synctest.Wait()
				began := time.Now()
				err := b.rt.Shutdown(b.soon(5 * time.Second))
				if messages.KindOf(err) != messages.DeadlineExceeded || !strings.Contains(err.Error(), "may still live") {
					t.Errorf("Shutdown: %v", err)
				}
				// Stopping actors has a bound of its own, in the library.
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("Shutdown took %v", took)
				}
				if r := <-create; r.err == nil {
					t.Error("a create that hung has succeeded")
				}
			}, withoutEnd)
		})
	}
}

// containerd#6860, gvisor#13509: what was being created when the shim ended was
// left behind.
func TestShutdownWaitsForWhatItDiscards(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		g := b.gate()
		b.driver.After(on("create", "", g.pass))
		b.driver.Before(on("delete", "", func(ctx context.Context, p messages.Incarnation) error {
			select {
			case <-ctx.Done():
				return hang(ctx, p)
			case <-time.After(time.Second):
				return nil
			}
		}))
		create := later(b, createOf("c"))
		synctest.Wait()
		ended := make(chan error, 1)
		go func() { ended <- b.rt.Shutdown(b.soon(time.Minute)) }()
		synctest.Wait()
		g.open()
		if err := <-ended; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if r := <-create; r.err == nil {
			t.Error("create succeeded in a runtime that was ending")
		}
		if left := b.driver.Held(); len(left) > 0 {
			t.Errorf("%v was left behind", left)
		}
	}, withoutEnd)
}

// What can not be deleted does not keep the others, nor Shutdown itself.
func TestShutdownWithADeleteThatFailsEnds(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c", "d")
		b.driver.Before(on("delete", "c", fail(messages.Internal)))
		began := time.Now()
		_ = b.rt.Shutdown(b.soon(10 * time.Minute))
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("Shutdown took %v", took)
		}
		if n := b.calls("delete d#"); n != 1 {
			t.Errorf("the other container was deleted %d times, want once", n)
		}
	}, withoutEnd)
}
