package actors

import (
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// machine is what a shell runs: lifecycle's process, container, sandbox or
// directory.
type machine[M any] interface {
	*M
	Apply(lifecycle.Input, *[]lifecycle.Effect)
}

// shell makes an actor of a machine. It turns a message into an input, commits
// the state after it, and runs the effects in their order; it decides nothing.
type shell[M any, P machine[M]] struct {
	rt     *Runtime
	name   string
	parent *actor.PID // nil for the directory
	// self is the incarnation of a process or container, for its parent; its
	// zero value for others.
	self     messages.Incarnation
	state    M
	children map[string]childActor
	// effects is the list of the step that runs, kept for the next one.
	effects []lifecycle.Effect

	// calls counts the calls to the driver that have not returned.
	calls int
	// retired: the parent sends nothing more; the actor ends when no call can
	// come back to it or to a child.
	retired bool
	// lost: the machine can not go on, and the parent stands in for it. All it
	// does is answer.
	lost bool
}

// childActor is an actor that this one spawned and sends to.
type childActor struct {
	pid  *actor.PID
	self messages.Incarnation
}

// Messages of the shells among themselves; inputs and notices of lifecycle are
// sent as they are.
type (
	// retire tells a child that its parent sends nothing more.
	retire struct{}
	// returned brings the outcome of a call to the driver.
	returned struct{ answer lifecycle.Answer }
)

func newShell[M any, P machine[M]](rt *Runtime, name string, parent *actor.PID, state M) *shell[M, P] {
	return &shell[M, P]{rt: rt, name: name, parent: parent, state: state}
}

// Receive implements actor.Actor.
func (s *shell[M, P]) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *request:
		if err := m.ctx.Err(); err != nil {
			m.answer(lifecycle.Reply{Err: expired(m.cmd, err)})
			return
		}
		s.take(ctx, lifecycle.Command{Asker: m, Cmd: m.cmd})
	case lifecycle.Input:
		s.take(ctx, m)
	case returned:
		s.calls--
		s.take(ctx, m.answer)
		if s.lost && m.answer.PIDs != (messages.PIDs{}) {
			s.rt.discard(s.self) // nobody else knows that it has come about
		}
		s.endIfDone(ctx)
	case retire:
		s.retired = true
		s.endIfDone(ctx)
	case *actor.Terminated: // a child has ended
		s.tellIfLost(ctx)
		s.endIfDone(ctx)
	}
}

func (r *request) answer(a lifecycle.Reply) { r.reply <- a }

// take runs one input through the machine.
func (s *shell[M, P]) take(ctx actor.Context, in lifecycle.Input) {
	if s.lost {
		s.drop(ctx, in, "its actor failed")
		return
	}
	if stepped, reason := s.advance(ctx, in); reason != "" {
		s.crash(ctx, in, stepped, reason)
	}
}

// advance steps the machine and runs the effects. It returns why it panicked,
// or "". A step that panics leaves the state as it was; an effect that panics
// does not keep the others from being run.
func (s *shell[M, P]) advance(ctx actor.Context, in lifecycle.Input) (stepped bool, reason string) {
	reason = s.step(in)
	stepped = reason == ""
	if hook := s.rt.options.sabotage; hook != nil {
		s.effects = hook(s.name, s.effects)
	}
	for _, e := range s.effects {
		if r := s.runGuarded(ctx, in, e); r != "" {
			reason = r
		}
	}
	clear(s.effects) // so that the list keeps nothing alive
	s.effects = s.effects[:0]
	return stepped, reason
}

// step is the machine's, with the state restored if it panics.
func (s *shell[M, P]) step(in lifecycle.Input) (reason string) {
	before := s.state
	defer func() {
		if r := recover(); r != nil {
			s.state, s.effects = before, s.effects[:0]
			reason = s.panicked(in, r)
		}
	}()
	if hook := s.rt.options.fault; hook != nil {
		hook(s.name, in)
	}
	P(&s.state).Apply(in, &s.effects)
	return ""
}

func (s *shell[M, P]) runGuarded(ctx actor.Context, in lifecycle.Input, e lifecycle.Effect) (reason string) {
	defer func() {
		if r := recover(); r != nil {
			reason = s.panicked(e, r)
			switch e := e.(type) {
			case lifecycle.Forward:
				s.refuse(e.In, reason)
			case lifecycle.Pass:
				s.refuse(in, reason)
			}
		}
	}()
	if _, ok := e.(lifecycle.Pass); ok {
		ctx.Send(s.children[s.target(in)].pid, in)
	} else {
		s.run(ctx, e)
	}
	return ""
}

// target is the child that a command is for: a container's are execs, a
// sandbox's are containers.
func (s *shell[M, P]) target(in lifecycle.Input) string {
	t := in.(lifecycle.Command).Cmd.Target()
	if s.self.Number != 0 {
		return string(t.Exec)
	}
	return string(t.Container)
}

// panicked logs a panic and describes it.
func (s *shell[M, P]) panicked(at, r any) string {
	s.rt.log.Error("actor panicked", slog.String("actor", s.name), slog.String("at", fmt.Sprintf("%T", at)),
		slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
	return fmt.Sprintf("panic in the actor of %s at %T: %v", s.name, at, r)
}

// drop gives up an input that the machine could not take. Those who wait for
// what is in it are answered. An asker that gave up is forgotten by whichever
// child it waited for, which the machine alone could have told.
func (s *shell[M, P]) drop(ctx actor.Context, in lifecycle.Input, reason string) {
	s.refuse(in, reason)
	switch in := in.(type) {
	case lifecycle.Deleted:
		for _, r := range in.Replies {
			r.To.(*request).answer(r)
		}
	case lifecycle.Abandon:
		for _, child := range ctx.Children() {
			ctx.Send(child, in)
		}
	}
}

// refuse answers the asker of a command that could not be taken.
func (s *shell[M, P]) refuse(in lifecycle.Input, reason string) {
	c, ok := in.(lifecycle.Command)
	if !ok || c.Asker == nil {
		return
	}
	c.Asker.(*request).answer(lifecycle.Reply{
		Err: refusal(c.Cmd, messages.Internal, messages.Text(reason), "this is a defect: please report it"),
	})
}

// crash tells the machine that its actor panicked over an input: it answers its
// askers, and the parent kills what stands behind it. A command is refused. What
// the host or another actor told is taken again, since it is told only once: an
// exit that is not taken would be lost.
func (s *shell[M, P]) crash(ctx actor.Context, in lifecycle.Input, stepped bool, reason string) {
	_, second := s.advance(ctx, lifecycle.Crash{Reason: reason, Input: in})
	if _, isCommand := in.(lifecycle.Command); !stepped && !isCommand && second == "" {
		stepped, second = s.advance(ctx, in)
	}
	if !stepped {
		s.drop(ctx, in, reason)
	}
	if second != "" {
		s.lose(ctx)
	}
}

// lose gives up the machine of a process or container that panicked twice. Its
// children end before its parent is told, so that their exits come before the
// one that the parent tells. Nobody stands in for a sandbox or the directory:
// they go on with the state that they had.
func (s *shell[M, P]) lose(ctx actor.Context) {
	if s.self.Number == 0 || s.lost {
		return
	}
	s.lost = true
	if m, ok := any(P(&s.state)).(interface{ Askers() []lifecycle.Command }); ok {
		for _, c := range m.Askers() {
			s.refuse(c, "its actor failed")
		}
	}
	reason := "the actor of its container failed"
	for _, id := range slices.Sorted(maps.Keys(s.children)) {
		c := s.children[id]
		delete(s.children, id)
		ctx.Send(s.rt.reaper, disown{process: c.self})
		ctx.Send(c.pid, lifecycle.Doom{Reason: reason})
		ctx.Send(c.pid, lifecycle.Expire{At: s.rt.world.Now()})
		ctx.Send(c.pid, lifecycle.Crash{Reason: reason})
	}
	for _, pid := range ctx.Children() {
		ctx.Poison(pid)
	}
	s.tellIfLost(ctx)
}

// tellIfLost tells the parent that the machine is lost, once no child is left.
func (s *shell[M, P]) tellIfLost(ctx actor.Context) {
	if s.lost && !s.retired && len(ctx.Children()) == 0 {
		ctx.Send(s.parent, lifecycle.Lost{Process: s.self, At: s.rt.world.Now()})
	}
}

// run does one effect.
func (s *shell[M, P]) run(ctx actor.Context, e lifecycle.Effect) {
	switch e := e.(type) {
	case lifecycle.Reply:
		if c, ok := e.Reply.(messages.Connected); ok {
			c.Exec = s.rt.options.Driver.Way(s.self)
			e.Reply = c
		}
		e.To.(*request).answer(e)
	case lifecycle.Publish:
		ctx.Send(s.rt.publisher, publish{e.Event})
	case lifecycle.Call:
		s.calls++
		s.rt.call(ctx.Self(), e)
	case lifecycle.Discard:
		s.rt.discard(e.Target)
	case lifecycle.KillChild:
		s.rt.killChild(e.Target)
	case lifecycle.Forward:
		ctx.Send(s.children[e.To].pid, e.In)
	case lifecycle.SpawnExec, lifecycle.SpawnContainer, lifecycle.SpawnSandbox:
		s.spawn(ctx, e)
	case lifecycle.Retire:
		s.part(ctx, e.Child)
	case lifecycle.SetDrainTimer:
		self := ctx.Self()
		s.rt.world.AfterFunc(s.rt.options.Timeouts.Drain, func() {
			s.rt.system.Root.Send(self, lifecycle.DrainExpired{At: s.rt.world.Now()})
		})
	default: // a notice
		if s.parent != nil {
			ctx.Send(s.parent, e)
		}
	}
}

// spawn makes the actor of a new child. It is not inlined, because the states
// of children are large: with room for them in its frame, run would take 3 KB of
// stack for every actor that a message goes down through, and a third of the
// core's time would go into the growth of new goroutines' stacks.
//
//go:noinline
func (s *shell[M, P]) spawn(ctx actor.Context, e lifecycle.Effect) {
	switch e := e.(type) {
	case lifecycle.SpawnExec:
		child := newShell(s.rt, e.Exec.ID.String(), ctx.Self(), e.Exec)
		child.self = e.Exec.ID
		s.adopt(ctx, string(e.Exec.ID.Exec), child.self, child)
	case lifecycle.SpawnContainer:
		id := e.Container.Init.ID
		child := newShell(s.rt, id.String(), ctx.Self(), e.Container)
		child.self = id
		ctx.Send(s.adopt(ctx, string(id.Container), id, child), e.Create)
	case lifecycle.SpawnSandbox:
		child := newShell(s.rt, "sandbox "+string(e.Sandbox.ID), ctx.Self(), e.Sandbox)
		s.adopt(ctx, string(e.Sandbox.ID), messages.Incarnation{}, child)
	}
}

// adopt spawns the actor of a child. The reaper knows it before the driver can
// be asked for its process, so that no exit finds nobody.
func (s *shell[M, P]) adopt(ctx actor.Context, id string, self messages.Incarnation, child actor.Actor) *actor.PID {
	pid := ctx.Spawn(s.rt.props(func() actor.Actor { return child }))
	if s.children == nil {
		s.children = make(map[string]childActor)
	}
	s.children[id] = childActor{pid: pid, self: self}
	if self.Number != 0 {
		ctx.Send(s.rt.reaper, own{process: self, owner: pid})
	}
	return pid
}

// part lets a child end.
func (s *shell[M, P]) part(ctx actor.Context, id string) {
	child := s.children[id]
	delete(s.children, id)
	ctx.Send(s.rt.reaper, disown{process: child.self})
	ctx.Send(child.pid, retire{})
}

// endIfDone ends the actor once nothing can come to it any more. It stays for a
// child that waits for a call, since the library ends children with it: what the
// call makes too late has to be discarded.
func (s *shell[M, P]) endIfDone(ctx actor.Context) {
	if s.retired && s.calls == 0 && len(ctx.Children()) == 0 {
		ctx.Stop(ctx.Self())
	}
}
