package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// reaper takes what the driver reports and hands it to the actor that owns the
// process. It knows processes by incarnation and not by pid: a number that the
// host has used again can not reach the wrong one. The cost of an exit does not
// depend on how many processes live.
type reaper struct {
	owners map[messages.Incarnation]*actor.PID
	// chores counts those that are under way; idle are who waits for their end.
	chores int
	idle   []chan<- struct{}
}

type (
	// own tells who is told of a process. It is sent before the driver is asked
	// for the process.
	own struct {
		process messages.Incarnation
		owner   *actor.PID
	}
	// disown tells that a process is released.
	disown struct{ process messages.Incarnation }
	// chore tells that a call which no actor waits for has begun (1), or that
	// it has ended (-1).
	chore struct{ by int }
	// idle is answered when no chore is under way.
	idle struct{ done chan<- struct{} }
)

// Receive implements actor.Actor.
func (r *reaper) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case own:
		r.owners[m.process] = m.owner
	case disown:
		delete(r.owners, m.process)
	case chore:
		r.chores += m.by
		r.rest()
	case idle:
		r.idle = append(r.idle, m.done)
		r.rest()
	case messages.ExitNotice:
		r.tell(ctx, m.Process, lifecycle.Exit{Exit: m.Exit})
	case messages.OOMNotice:
		r.tell(ctx, m.Process, lifecycle.OOM{})
	}
}

// rest answers who waits for the chores, if there is none.
func (r *reaper) rest() {
	if r.chores > 0 {
		return
	}
	for _, done := range r.idle {
		close(done)
	}
	r.idle = nil
}

func (r *reaper) tell(ctx actor.Context, p messages.Incarnation, in lifecycle.Input) {
	if owner, ok := r.owners[p]; ok {
		ctx.Send(owner, in)
	}
}
