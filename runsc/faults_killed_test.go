package runsc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// A sentry that dies by SIGKILL under load takes what ran in it along: each
// process of it has one exit, 137 and with a reason, init's the last; a later
// start is refused as FailedPrecondition; the other sandbox notices nothing; and
// the id can be deleted and used again (containerd#10589, containerd#9719).
func TestSentryKilledUnderLoad(t *testing.T) {
	eachWayOfActors(t, actors.Timeouts{}, func(t *testing.T, c *company) {
		doomed := c.sleeper("doomed")
		c.sleeper("other")
		_, long := c.begin(execIn("doomed", "long"), messages.Stdio{}, "sleep", "1000")
		here, there := c.load("doomed"), c.load("other")
		here.await(4)
		there.await(4)

		c.strike(doomed.PIDs.Host, unix.SIGKILL)
		struck := time.Now()
		if e := long(); e.Status != messages.ExitKilled || e.Reason == "" {
			t.Errorf("the exec's exit is %+v", e)
		}
		init := answered(c, messages.Wait{Process: messages.Init("doomed")})
		if e := init.Exit; e.Status != messages.ExitKilled || e.Reason == "" {
			t.Errorf("init's exit is %+v", e)
		}
		if d := time.Since(struck); d > 5*time.Second {
			t.Errorf("the exits took %v", d)
		}
		here.awaitRefused(4)
		here.end()
		// Unavailable in the moment when its sockets are closed and it is not gone.
		here.wantRefusals(messages.FailedPrecondition, messages.Unavailable)
		if list, err := try(c, atOnce, messages.Pids{Container: "doomed"}); err == nil && len(list.Processes) > 0 {
			t.Errorf("these live on: %v", list.Processes)
		}

		answered(c, messages.Delete{Process: execIn("doomed", "long")})
		answered(c, messages.Delete{Process: messages.Init("doomed")})
		there.await(8)
		there.wantUntouched()
		c.sleeper("doomed2")
		again := c.load("doomed2")
		again.await(4)
		again.wantUntouched()
	})
}

// A gofer that dies by SIGKILL under load leaves a sandbox without its files.
// What becomes of its processes is gVisor's; but every command is answered, each
// exec that was started has its exit, init can be killed and deleted, and the
// other sandbox notices nothing.
func TestGoferKilledUnderLoad(t *testing.T) {
	timeouts := actors.Timeouts{Exec: 3 * time.Second, Kill: 2 * time.Second, Delete: 10 * time.Second}
	eachWayOfActors(t, timeouts, func(t *testing.T, c *company) {
		c.sleeper("doomed")
		c.sleeper("other")
		_, long := c.begin(execIn("doomed", "long"), messages.Stdio{}, "sleep", "1000")
		here, there := c.load("doomed"), c.load("other")
		here.await(4)

		c.strike(c.gofer("doomed"), unix.SIGKILL)
		there.await(8)
		if _, err := try(c, atOnce, messages.State{Process: messages.Init("doomed")}); err != nil {
			t.Error(err)
		}
		// NotFound where the sandbox has gone with its gofer.
		if _, err := try(c, bounded, messages.Kill{Process: messages.Init("doomed"), Signal: unix.SIGKILL, All: true}); err != nil {
			wantKind(t, err, messages.NotFound, "doomed")
		}
		if e := long(); e.Status != messages.ExitKilled {
			t.Errorf("the exec's exit is %+v", e)
		}
		if e := answered(c, messages.Wait{Process: messages.Init("doomed")}).Exit; e.Status != messages.ExitKilled {
			t.Errorf("init's exit is %+v", e)
		}
		here.end()
		whole, cut, refused := here.counts()
		t.Logf("%d execs ended by themselves, %d did not, %d were refused: %v", whole, cut, refused, here.errors())
		answered(c, messages.Delete{Process: execIn("doomed", "long")})
		answered(c, messages.Delete{Process: messages.Init("doomed")})
		there.await(4)
		there.wantUntouched()
	})
}

// An exec's runsc that dies by SIGKILL under load is not the end of its process:
// that one is killed and gone when its exit is told, which says so, and nothing
// else is touched.
func TestExecStubsKilledUnderLoad(t *testing.T) {
	c := newCompany(t, actors.Timeouts{}, byCLI)
	c.sleeper("c")
	work := c.load("c")
	work.await(4)
	var guests []int
	var exits []func() messages.Exit
	for i := range 6 {
		started, exit := c.begin(execIn("c", fmt.Sprintf("long%d", i)), messages.Stdio{}, "sleep", "1000")
		guests, exits = append(guests, started.PIDs.Guest), append(exits, exit)
		c.strike(started.PIDs.Host, unix.SIGKILL)
	}
	for i, exit := range exits {
		if e := exit(); e.Status != messages.ExitKilled || !strings.Contains(e.Reason, "signal 9") {
			t.Errorf("the exit is %+v", e)
		}
		live, err := c.Client().Ps(c.context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(live, guests[i]) {
			t.Errorf("the process %d lives on when its exit was told", guests[i])
		}
		answered(c, messages.Delete{Process: execIn("c", fmt.Sprintf("long%d", i))})
	}
	work.await(4)
	work.wantUntouched()
}
