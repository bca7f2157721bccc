package actors_test

import (
	"context"
	"testing"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// A runtime takes charge of what one before it has left: what lives tells its
// true exit to the new one, what has ended meanwhile is told as ended, each once
// and in order.
func TestAdopt(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	first := fake.New()
	rt, err := actors.New(actors.Options{Driver: first})
	if err != nil {
		t.Fatal(err)
	}
	exec := func(rt *actors.Runtime, id messages.ExecID, args ...string) messages.Process {
		t.Helper()
		p := messages.Process{Container: "demo", Exec: id}
		x := messages.Exec{Process: p}
		x.Spec.Args, x.Spec.Cwd = args, "/"
		if _, err := actors.Ask(ctx, rt, x); err != nil {
			t.Fatal(err)
		}
		if _, err := actors.Ask(ctx, rt, messages.Start{Process: p}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if _, err := actors.Ask(ctx, rt, messages.Create{Container: "demo", Bundle: "/none"}); err != nil {
		t.Fatal(err)
	}
	if _, err := actors.Ask(ctx, rt, messages.Start{Process: messages.Init("demo")}); err != nil {
		t.Fatal(err)
	}
	lives := exec(rt, "lives", "sleep", "inf")
	ends := exec(rt, "ends", "sleep", "inf")

	second := first.Orphan()
	second.Exit(ends, 3) // nobody is there to see it
	rt2, err := actors.New(actors.Options{Driver: second})
	if err != nil {
		t.Fatal(err)
	}
	sub := rt2.Subscribe(0)
	taken, err := rt2.Adopt(ctx)
	if err != nil || len(taken) != 3 {
		t.Fatalf("Adopt took %v, %v", taken, err)
	}
	if again, err := rt2.Adopt(ctx); err != nil || len(again) != 0 {
		t.Fatalf("a second Adopt took %v, %v", again, err)
	}
	if e, err := actors.Ask(ctx, rt2, messages.Wait{Process: ends}); err != nil || e.Exit.Status != messages.ExitUnknown || e.Exit.Reason == "" {
		t.Errorf("the exit that nobody saw is %+v, %v", e, err)
	}
	if s, err := actors.Ask(ctx, rt2, messages.State{Process: lives}); err != nil || s.Status != messages.StatusRunning {
		t.Errorf("what lives is %+v, %v", s, err)
	}
	second.Exit(lives, 7)
	if e, err := actors.Ask(ctx, rt2, messages.Wait{Process: lives}); err != nil || e.Exit.Status != 7 {
		t.Errorf("what lived exited with %+v, %v", e, err)
	}
	if err := rt2.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	exits := map[messages.Process]int{}
	for e := range sub.Events() {
		if x, ok := e.(messages.ProcessExited); ok {
			if exits[messages.Init("demo")] > 0 {
				t.Errorf("%v was told after the init's exit", x.Process)
			}
			exits[x.Process]++
		}
	}
	for _, p := range []messages.Process{lives, ends, messages.Init("demo")} {
		if exits[p] != 1 {
			t.Errorf("%v exited %d times", p, exits[p])
		}
	}
}
