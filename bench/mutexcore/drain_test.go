package mutexcore_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/bench/mutexcore"
	"github.com/troupe-run/troupe/messages"
)

// containerd#10589: an init's exit waited for ever for that of an exec which
// nobody saw. The baseline does not win by such a fault.
func TestAnInitsExitWaitsForItsExecsForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		driver := fake.New()
		c := mutexcore.New(driver)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		first := messages.Init("c")
		_, err := c.Create(ctx, messages.Create{Container: "c", Bundle: "/none"})
		must(err)
		_, err = c.Start(ctx, messages.Start{Process: first})
		must(err)
		e := messages.Process{Container: "c", Exec: "e"}
		x := messages.Exec{Process: e}
		x.Spec.Args, x.Spec.Cwd = []string{"sleep", "inf"}, "/"
		_, err = c.Exec(ctx, x)
		must(err)
		_, err = c.Start(ctx, messages.Start{Process: e})
		must(err)

		driver.Before(func(_ context.Context, call string, _ messages.Incarnation) error {
			if call == "kill" {
				return messages.Unavailable
			}
			return nil
		})
		// The init is the first incarnation of the core.
		driver.Report(messages.ExitNotice{Process: messages.Incarnation{Process: first, Number: 1}, Exit: messages.Exit{Status: 4}})
		from := time.Now()
		exited, err := c.Wait(ctx, messages.Wait{Process: first})
		if err != nil || exited.Exit.Status != 4 || time.Since(from) != 10*time.Second {
			t.Errorf("the init exited with %+v, %v after %v, want 4 after 10 s", exited.Exit, err, time.Since(from))
		}
		exited, err = c.Wait(ctx, messages.Wait{Process: e})
		if err != nil || exited.Exit.Status != messages.ExitUnknown || exited.Exit.Reason == "" {
			t.Errorf("the exec exited with %+v, %v, want an unknown status with a reason", exited.Exit, err)
		}
		driver.Before(nil)
		must(c.Shutdown(ctx))
	})
}
