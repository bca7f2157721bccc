package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// Fault is called by an actor before each of its steps, with the actor's name
// and the input; a test panics in it.
type Fault func(name string, in lifecycle.Input)

// WithFault gives the options a fault.
func (o Options) WithFault(f Fault) Options {
	o.fault = f
	return o
}

// SendNowhere sends a message to an actor that is not there, so that the
// library logs it as a dead letter.
func (rt *Runtime) SendNowhere(message any) {
	rt.system.Root.Send(actor.NewPID(rt.system.Address(), "nobody"), message)
}

// InFlight are the messages that a command is in on its way, and that name its
// asker afterwards.
func InFlight(cmd messages.AnyCommand) []any {
	r := &request{ctx: context.Background(), cmd: cmd}
	return []any{
		r, lifecycle.Command{Asker: r, Cmd: cmd}, lifecycle.Abandon{Asker: r, Process: cmd.Target()},
		lifecycle.Deleted{Replies: []lifecycle.Reply{{To: r}}},
	}
}
