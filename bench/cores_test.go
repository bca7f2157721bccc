package bench

import (
	"context"
	"testing"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/bench/mutexcore"
	"github.com/troupe-run/troupe/messages"
)

// core is what the actors and their baseline can both do.
type core interface {
	Create(context.Context, messages.Create) (messages.Created, error)
	Exec(context.Context, messages.Exec) (messages.Added, error)
	Start(context.Context, messages.Start) (messages.Started, error)
	Kill(context.Context, messages.Kill) (messages.Killed, error)
	State(context.Context, messages.State) (messages.ProcessState, error)
	Pids(context.Context, messages.Pids) (messages.PidList, error)
	Pause(context.Context, messages.Pause) (messages.Paused, error)
	Resume(context.Context, messages.Resume) (messages.Resumed, error)
	Wait(context.Context, messages.Wait) (messages.Exited, error)
	Delete(context.Context, messages.Delete) (messages.Deleted, error)
	Shutdown(context.Context) error
	// observe gives every event from now on, and is closed by Shutdown.
	observe(capacity int) <-chan messages.Event
}

// cores are both, each made on a driver.
var cores = []struct {
	name string
	make func(testing.TB, actors.Driver) core
}{
	{"actors", func(t testing.TB, d actors.Driver) core {
		t.Helper()
		rt, err := actors.New(actors.Options{Driver: d})
		if err != nil {
			t.Fatal(err)
		}
		return actorCore{rt}
	}},
	{"mutex", func(_ testing.TB, d actors.Driver) core { return mutexCore{mutexcore.New(d)} }},
}

type mutexCore struct{ *mutexcore.Core }

func (c mutexCore) observe(capacity int) <-chan messages.Event {
	return c.Subscribe(capacity).Events()
}

type actorCore struct{ *actors.Runtime }

func (c actorCore) observe(capacity int) <-chan messages.Event {
	return c.Subscribe(capacity).Events()
}

func (c actorCore) Create(ctx context.Context, cmd messages.Create) (messages.Created, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Exec(ctx context.Context, cmd messages.Exec) (messages.Added, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Start(ctx context.Context, cmd messages.Start) (messages.Started, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Kill(ctx context.Context, cmd messages.Kill) (messages.Killed, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) State(ctx context.Context, cmd messages.State) (messages.ProcessState, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Pids(ctx context.Context, cmd messages.Pids) (messages.PidList, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Pause(ctx context.Context, cmd messages.Pause) (messages.Paused, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Resume(ctx context.Context, cmd messages.Resume) (messages.Resumed, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Wait(ctx context.Context, cmd messages.Wait) (messages.Exited, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}

func (c actorCore) Delete(ctx context.Context, cmd messages.Delete) (messages.Deleted, error) {
	return actors.Ask(ctx, c.Runtime, cmd)
}
