package actors_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

func TestSmoke(t *testing.T) {
	d := fake.New()
	rt, err := actors.New(actors.Options{Driver: d})
	if err != nil {
		t.Fatal(err)
	}
	sub := rt.Subscribe(0)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	try := func(r any, err error) { t.Helper(); t.Logf("%#v %v", r, err) }
	p := messages.Process{Container: "demo", Exec: "e"}
	r1, err := actors.Ask(ctx, rt, messages.Create{Container: "demo", Bundle: "/nonexistent"})
	try(r1, err)
	r2, err := actors.Ask(ctx, rt, messages.Start{Process: messages.Init("demo")})
	try(r2, err)
	spec := messages.ExecSpec{}
	spec.Args = []string{"sleep", "100"}
	spec.Cwd = "/"
	r3, err := actors.Ask(ctx, rt, messages.Exec{Process: p, Spec: spec})
	try(r3, err)
	r4, err := actors.Ask(ctx, rt, messages.Start{Process: p})
	try(r4, err)
	r5, err := actors.Ask(ctx, rt, messages.State{Process: p})
	try(r5, err)
	r6, err := actors.Ask(ctx, rt, messages.Kill{Process: messages.Init("demo"), Signal: syscall.SIGKILL})
	try(r6, err)
	r7, err := actors.Ask(ctx, rt, messages.Wait{Process: messages.Init("demo")})
	try(r7, err)
	r8, err := actors.Ask(ctx, rt, messages.Delete{Process: messages.Init("demo")})
	try(r8, err)
	r9, err := actors.Ask(ctx, rt, messages.Info{})
	try(r9, err)
	if err := rt.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for e := range sub.Events() {
		t.Logf("%#v", e)
	}
}
