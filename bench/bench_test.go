package bench

import (
	"context"
	"testing"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// newRuntime is a runtime on the fake driver, with one container that runs.
func newRuntime(b *testing.B) *actors.Runtime {
	b.Helper()
	rt, err := actors.New(actors.Options{Driver: fake.New()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = rt.Shutdown(context.Background()) })
	must(b)(actors.Ask(b.Context(), rt, messages.Create{Container: "demo", Bundle: "/none"}))
	must(b)(actors.Ask(b.Context(), rt, messages.Start{Process: messages.Init("demo")}))
	return rt
}

// must fails the benchmark on an error of an Ask.
func must(b *testing.B) func(messages.Reply, error) {
	return func(_ messages.Reply, err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// add registers an exec that sleeps.
func add(b *testing.B, rt *actors.Runtime, c messages.ContainerID, e messages.ExecID) messages.Process {
	b.Helper()
	p := messages.Process{Container: c, Exec: e}
	x := messages.Exec{Process: p}
	x.Spec.Args, x.Spec.Cwd = []string{"sleep", "inf"}, "/"
	must(b)(actors.Ask(b.Context(), rt, x))
	return p
}

// running is an exec that has been started.
func running(b *testing.B, rt *actors.Runtime, c messages.ContainerID, e messages.ExecID) messages.Process {
	b.Helper()
	p := add(b, rt, c, e)
	must(b)(actors.Ask(b.Context(), rt, messages.Start{Process: p}))
	return p
}
