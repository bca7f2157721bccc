package bench

import (
	"context"
	"fmt"
	"testing"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// newRuntime is a runtime on a driver that does nothing, with one container
// that runs.
func newRuntime(b *testing.B) *actors.Runtime {
	b.Helper()
	rt, err := actors.New(actors.Options{Driver: &nullDriver{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = rt.Shutdown(context.Background()) })
	_, err = actors.Ask(b.Context(), rt, messages.Create{Container: "demo", Bundle: "/none"})
	check(b, err)
	_, err = actors.Ask(b.Context(), rt, messages.Start{Process: messages.Init("demo")})
	check(b, err)
	return rt
}

func check(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// add registers an exec of the container.
func add(b *testing.B, rt *actors.Runtime, id, command string) messages.Process {
	b.Helper()
	p := messages.Process{Container: "demo", Exec: messages.ExecID(id)}
	x := messages.Exec{Process: p}
	x.Spec.Args, x.Spec.Cwd = []string{command}, "/"
	_, err := actors.Ask(b.Context(), rt, x)
	check(b, err)
	return p
}

// start starts an exec.
func start(b *testing.B, rt *actors.Runtime, p messages.Process) {
	b.Helper()
	_, err := actors.Ask(b.Context(), rt, messages.Start{Process: p})
	check(b, err)
}

// populate starts n execs that live on.
func populate(b *testing.B, rt *actors.Runtime, n int) {
	b.Helper()
	for i := range n {
		start(b, rt, add(b, rt, fmt.Sprintf("live-%d", i), "sleep"))
	}
}
