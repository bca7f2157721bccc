package runsc_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// A sentry that hangs under load delays nobody: State, Pids and Info answer at
// once for it and for the others, a Wait that was waiting goes on, a kill of its
// init becomes SIGKILL of the sandbox, then every exit is told, init's the last,
// and Delete works (gvisor#14405, gvisor#14548, containerd#10092).
func TestSentryHangsUnderLoad(t *testing.T) {
	timeouts := actors.Timeouts{Exec: 2 * time.Second, Kill: time.Second, Call: time.Second, Drain: 5 * time.Second}
	eachWayOfActors(t, timeouts, func(t *testing.T, c *company) {
		hung := c.sleeper("hung")
		c.sleeper("other")
		_, long := c.begin(execIn("hung", "long"), messages.Stdio{}, "sleep", "1000")
		here, there := c.load("hung"), c.load("other")
		here.await(4)

		hang(t, hung.PIDs.Host)
		// The load is stuck in the sandbox now, or will be.
		for _, id := range []messages.ContainerID{"hung", "other"} {
			state, err := try(c, atOnce, messages.State{Process: messages.Init(id)})
			if err != nil || state.Status != messages.StatusRunning {
				t.Errorf("the state of %s: %v, error %v", id, state.Status, err)
			}
			if _, err := try(c, atOnce, messages.Pids{Container: id}); err != nil {
				t.Error(err)
			}
		}
		if state, err := try(c, atOnce, messages.State{Process: execIn("hung", "long")}); err != nil || state.Status != messages.StatusRunning {
			t.Errorf("the state of the exec: %v, error %v", state.Status, err)
		}
		if _, err := try(c, atOnce, messages.Info{}); err != nil {
			t.Error(err)
		}
		// What has to ask the sandbox is given up, with the reason.
		_, err := try(c, bounded, messages.Stats{Container: "hung"})
		wantKind(t, err, messages.DeadlineExceeded, "hung")
		late := execIn("hung", "late")
		answered(c, messages.Exec{Process: late, Spec: execSpec("true")})
		_, err = try(c, bounded, messages.Start{Process: late})
		wantKind(t, err, messages.DeadlineExceeded, "hung/late")
		there.await(4)

		// Its answer may be that it was too late: the escalation is under way then.
		if _, err := try(c, bounded, messages.Kill{Process: messages.Init("hung"), Signal: unix.SIGKILL}); err != nil {
			t.Log(err)
		}
		if e := long(); e.Status != messages.ExitKilled || e.Reason == "" {
			t.Errorf("the exec's exit is %+v", e)
		}
		if e := answered(c, messages.Wait{Process: messages.Init("hung")}).Exit; e.Status != messages.ExitKilled || e.Reason == "" {
			t.Errorf("init's exit is %+v", e)
		}
		here.end()
		here.wantRefusals(messages.DeadlineExceeded, messages.FailedPrecondition, messages.Unavailable)
		answered(c, messages.Delete{Process: execIn("hung", "long")})
		answered(c, messages.Delete{Process: messages.Init("hung")})
		there.await(4)
		there.wantUntouched()
	})
}
