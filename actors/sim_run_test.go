package actors

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// simWorkshop is what scenarios share, since it is dear to make and holds
// nothing of any of them: an actor system and coroutines.
type simWorkshop struct {
	// defect is what the actors are made to do wrong; nil for none.
	defect *simDefect
	system *actor.ActorSystem
	idle   []*simCoroutine
	all    []*simCoroutine
	runs   int
	steps  int
}

func (w *simWorkshop) close() {
	for _, c := range w.all {
		c.stop()
	}
}

func (w *simWorkshop) coroutine() *simCoroutine {
	if n := len(w.idle); n > 0 {
		c := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return c
	}
	c := newSimCoroutine()
	w.all = append(w.all, c)
	return c
}

// simViolation is an order that did not hold. Rule is the same for all of a kind.
type simViolation struct {
	rule, text string
}

func (v *simViolation) Error() string { return v.rule + ": " + v.text }

// sim is one run of one plan. It is the runtime's world.
type sim struct {
	shop *simWorkshop
	plan *simPlan
	rng  *rand.Rand
	rt   *Runtime
	host *simHost

	now     time.Time
	boxes   []*simMailbox
	tasks   []*simTask
	running *simTask
	timers  []*simTimer
	asks    []*simAsk  // one for each item that is one, then those of the end
	chaos   []*simItem // what has not happened yet
	inputs  map[string]int
	// calm: the end has begun, nothing goes wrong any more.
	calm  bool
	steps int

	witness *simWitness
	slow    *simSlow
	trace   *simTrace
	broken  *simViolation
	options []simOption
	reaper  *reaper
}

// simTrace is what happened, a line each: what clients do as directives of a
// play script, the rest as comments.
type simTrace struct{ strings.Builder }

func (s *sim) note(format string, args ...any) {
	if s.trace != nil {
		fmt.Fprintf(s.trace, "#   "+format+"\n", args...)
	}
}

// fail keeps the first order that did not hold.
func (s *sim) fail(rule, format string, args ...any) {
	if s.broken == nil {
		s.broken = &simViolation{rule, fmt.Sprintf(format, args...)}
		s.note("VIOLATION %v", s.broken)
	}
}

// run runs a plan, and returns the order that did not hold, or nil.
func (w *simWorkshop) run(p *simPlan, trace *simTrace) *simViolation {
	if w.system == nil {
		w.system = newSystem(slog.New(slog.DiscardHandler))
	}
	s := &sim{
		shop: w, plan: p, rng: rand.New(rand.NewPCG(p.seed, 1+p.salt)), now: simEpoch, trace: trace,
	}
	s.begin()
	for s.broken == nil && s.step() {
	}
	if s.broken == nil {
		s.witness.rest()
	}
	if s.broken == nil {
		s.finish()
	}
	w.runs++
	w.steps += s.steps
	s.discard()
	return s.broken
}

// begin makes the runtime on the workshop's actor system.
func (s *sim) begin() {
	s.host = &simHost{sim: s}
	s.witness = &simWitness{sim: s}
	o := Options{Driver: s.host, world: s, Logger: slog.New(simLog{s})}
	if s.plan.tight {
		o.Limits = Limits{Waiters: 1, Postponed: 1, Calls: 2, Execs: 2, Containers: 1}
	}
	if err := o.complete(); err != nil {
		panic(err)
	}
	if d := s.shop.defect; d != nil {
		o.sabotage = (&simSaboteur{sim: s, defect: d, held: make(map[string]lifecycle.Effect)}).sabotage
	}
	ctx, stop := context.WithCancel(context.Background())
	s.rt = &Runtime{options: o, log: o.Logger, world: s, system: s.shop.system, ctx: ctx, stop: stop}
	for i := range s.plan.items {
		it := &s.plan.items[i]
		switch it.kind {
		case simAskItem:
			s.asks = append(s.asks, &simAsk{item: it, weight: s.weigh()})
			continue
		case simPanicItem:
			s.rt.options.fault, s.inputs = s.panicWhenDue, make(map[string]int)
		}
		s.chaos = append(s.chaos, it)
		s.asks = append(s.asks, nil)
	}
	s.rt.startActors(&lifecycle.Config{Limits: lifecycle.Limits{
		Waiters: o.Limits.Waiters, Postponed: o.Limits.Postponed, Calls: o.Limits.Calls,
		Execs: o.Limits.Execs, Containers: o.Limits.Containers,
	}})
	s.host.Notify(s.rt.notice)
	s.reaper = s.boxes[1].invoker.(actor.Context).Actor().(*reaper)
	s.witness.events = s.subscribe(256)
	s.slow = &simSlow{events: s.subscribe(s.plan.slow)}
}

func (s *sim) subscribe(capacity int) chan messages.Event {
	sub := &Subscription{rt: s.rt, events: make(chan messages.Event, capacity), ready: make(chan struct{})}
	s.rt.system.Root.Send(s.rt.publisher, subscribe{sub})
	return sub.events
}

func (s *sim) timeouts() Timeouts { return s.rt.options.Timeouts }

// faultOf is what goes wrong with a call. A fault of the plan happens once.
func (s *sim) faultOf(verb string, p messages.Process) simFault {
	if s.calm {
		return simNoFault
	}
	for i, it := range s.chaos {
		if it.kind == simFaultItem && it.verb == verb && it.process == p {
			s.chaos = append(s.chaos[:i:i], s.chaos[i+1:]...)
			return it.fault
		}
	}
	return simNoFault
}

// simInjected is what a plan has an actor panic with.
const simInjected = "as planned"

// panicWhenDue is the hook that the shells call before each step.
func (s *sim) panicWhenDue(name string, _ lifecycle.Input) {
	name, _, _ = strings.Cut(name, "#")
	s.inputs[name]++
	if s.calm {
		return
	}
	for i, it := range s.chaos {
		if it.kind == simPanicItem && it.actor == name && it.nth == s.inputs[name] {
			s.chaos = append(s.chaos[:i:i], s.chaos[i+1:]...)
			s.note("%s", it)
			panic(simInjected)
		}
	}
}

// finish ends everything that still is, and wants nothing to be left.
func (s *sim) finish() {
	s.calm = true
	s.note("the end")
	if s.plan.orderly {
		for _, id := range []messages.ContainerID{"c1", "c2"} {
			s.ask(messages.Kill{Process: messages.Init(id), Signal: 9, All: true})
			d := s.ask(messages.Delete{Process: messages.Init(id)})
			if s.broken == nil && (!d.answered || d.reply.Err != nil && !simKindIs(d.reply.Err, messages.NotFound, messages.Unavailable)) {
				s.fail("delete", "a container that was killed can not be deleted: %s", simReply(d.reply))
			}
		}
	}
	e := s.ask(messages.Shutdown{Now: !s.plan.orderly})
	if s.broken == nil && (!e.answered || e.reply.Err != nil) {
		s.fail("shutdown", "Shutdown is not answered by its end: answered=%v, %s", e.answered, simReply(e.reply))
	}
	if s.broken == nil {
		s.witness.end()
	}
}

// discard stops what is left of a run, so that the next begins on a clean floor.
func (s *sim) discard() {
	s.rt.stop()
	s.host.closed, s.calm, s.trace, s.plan = true, true, nil, &simPlan{}
	broken := s.broken
	for len(s.tasks) > 0 {
		s.resume(0)
	}
	for _, pid := range []*actor.PID{s.rt.directory, s.rt.reaper, s.rt.publisher} {
		s.rt.system.Root.Stop(pid)
	}
	for again := true; again; {
		again = false
		for _, m := range s.boxes {
			for len(m.queue) > 0 && !m.busy {
				m.deliver()
				again = true
			}
		}
		for len(s.tasks) > 0 {
			s.resume(0)
		}
	}
	s.broken = broken
	if broken != nil {
		s.shop.system = nil // an actor that is stuck may be left in it
	}
}

// simLog takes what the runtime logs: a panic that was not planned is a defect.
type simLog struct{ sim *sim }

// Enabled implements slog.Handler.
func (l simLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (l simLog) Handle(_ context.Context, r slog.Record) error {
	var name, value string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "actor", "process":
			name = a.Value.String()
		case "panic", "error":
			value = a.Value.String()
		}
		return true
	})
	l.sim.note("log: %s: %s: %s", r.Message, name, value)
	if r.Message == "actor panicked" && value != simInjected {
		l.sim.fail("panic", "the actor of %s panicked: %s", name, value)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (l simLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l simLog) WithGroup(string) slog.Handler { return l }
