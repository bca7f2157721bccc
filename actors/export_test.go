package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
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

// Dead letters name a command as it travels, from the asker and between actors.
func CommandInFlight(c lifecycle.Command) []any {
	return []any{&request{cmd: c.Cmd}, c, returned{}, publish{}}
}
