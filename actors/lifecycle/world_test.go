package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// world is the whole tree of machines with a mailbox each, a driver with a host
// behind it, and askers. Which mailbox is read next, what the driver answers
// and when, and what dies, the dice say. It stands for package actors as far as
// the machines can tell: mailboxes are in order, nothing else is.
type world struct {
	t      testing.TB
	dice   *dice
	config *Config
	dir    *node
	reaper *node
	owners map[messages.Incarnation]*node
	// nodes are all that have not ended, in the order in which they were made,
	// so that a seed replays.
	nodes  []*node
	host   *host
	orders *orders
	askers []*asker
	asked  int
	// timers are the containers that wait for their drain time-out.
	timers []*node
	now    time.Time
	steps  int
	log    []string
	// story is what a script shows, and called are its calls; nil for a walk.
	story  *[]string
	called []*flight
}

// node is an actor: a machine, its mailbox and its children.
type node struct {
	name     string
	parent   *node
	self     messages.Incarnation
	state    any
	take     func(Input) []Effect
	children map[string]*node
	inbox    []any
	calls    int
	retired  bool
	ended    bool
	// panics are those of the next steps; lost: a second in a row was too many.
	panics int
	lost   bool
	// pausedLate: a pause that was answered for has succeeded since, so that
	// execs which were on their way are started in a container that is paused.
	pausedLate bool
}

// Messages that are not inputs of a machine.
type (
	toRetire   struct{}
	toEnd      struct{}
	toOwn      struct{ node *node }
	toDisown   struct{ process messages.Incarnation }
	toReturned struct{ answer Answer }
)

// asker is someone who waits for the reply to a command.
type asker struct {
	number   int
	cmd      messages.AnyCommand
	answered bool
	// abandoned: it gave up; forgotten: the machines have been told.
	abandoned, forgotten bool
}

func (a *asker) String() string { return fmt.Sprintf("asker %d", a.number) }

func newWorld(t testing.TB, d *dice, limits Limits) *world {
	w := &world{
		t: t, dice: d, config: &Config{Limits: limits, RuntimePID: 1, Driver: messages.DriverInfo{Name: "fake"}},
		owners: make(map[messages.Incarnation]*node),
		now:    time.Unix(1_000_000, 0).UTC(),
	}
	w.host = &host{w: w, guests: make(map[messages.Incarnation]*guest), sandboxes: make(map[messages.SandboxID]messages.Incarnation)}
	w.orders = &orders{w: w, lives: make(map[messages.Process]*life)}
	w.reaper = &node{name: "reaper"}
	w.nodes = append(w.nodes, w.reaper)
	w.dir = grow(w, "directory", nil, messages.Incarnation{}, NewDirectory(w.config))
	return w
}

// grow makes an actor of a machine.
func grow[M interface{ Step(Input) (M, []Effect) }](w *world, name string, parent *node, self messages.Incarnation, m M) *node {
	n := &node{name: name, parent: parent, self: self, children: make(map[string]*node), state: m}
	n.take = func(in Input) []Effect {
		next, out := n.state.(M).Step(in)
		n.state = next
		return out
	}
	w.nodes = append(w.nodes, n)
	if self.Number != 0 {
		w.send(w.reaper, toOwn{n})
	}
	return n
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	if len(w.log) > 2000 {
		w.log = w.log[len(w.log)-2000:]
	}
	w.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(w.log, "\n"))
}

// note keeps what happens for the message of a failure. Formatting every line
// would be most of the cost of a walk, so it is left until a seed is replayed.
func (w *world) note(format string, args ...any) {
	if testing.Verbose() {
		w.log = append(w.log, fmt.Sprintf(format, args...))
	}
}

func (w *world) send(to *node, m any) { to.inbox = append(to.inbox, m) }

// busy lists the actors that have something to read.
func (w *world) busy() []*node {
	var all []*node
	for _, n := range w.nodes {
		if len(n.inbox) > 0 && !n.ended {
			all = append(all, n)
		}
	}
	return all
}

// deliver lets an actor read one message.
func (w *world) deliver(n *node) {
	m := n.inbox[0]
	n.inbox = n.inbox[1:]
	w.steps++
	if n == w.reaper {
		w.reap(m)
		return
	}
	switch m := m.(type) {
	case toReturned:
		n.calls--
		w.step(n, m.answer)
	case toRetire:
		n.retired = true
	case toEnd:
		w.end(n)
		delete(n.parent.children, string(n.self.Exec))
		w.tellLost(n.parent)
	case Input:
		w.step(n, m)
	}
	if n.retired && n.calls == 0 {
		w.end(n)
	}
}

func (w *world) end(n *node) {
	n.ended = true
	w.nodes = slices.DeleteFunc(w.nodes, func(o *node) bool { return o == n })
}

func (w *world) reap(m any) {
	switch m := m.(type) {
	case toOwn:
		w.owners[m.node.self] = m.node
	case toDisown:
		delete(w.owners, m.process)
	case messages.ExitNotice:
		if n, ok := w.owners[m.Process]; ok {
			w.send(n, Exit{Exit: m.Exit})
		}
	case messages.OOMNotice:
		if n, ok := w.owners[m.Process]; ok {
			w.send(n, OOM{})
		}
	}
}

func (w *world) apply(n *node, in Input) {
	if testing.Verbose() {
		w.note("%s <- %s", n.name, inputText(in))
	}
	out := n.take(in)
	for _, e := range out {
		if testing.Verbose() {
			w.note("    %s", effectText(e))
		}
		w.run(n, in, e)
	}
	if a, ok := in.(Abandon); ok && !passedOn(out) && w.story == nil {
		w.forget(n, a.Asker.(*asker))
	}
	w.orders.hold(n)
}

func passedOn(out []Effect) bool {
	return slices.ContainsFunc(out, func(e Effect) bool { _, ok := e.(Forward); return ok })
}

// forget notes that an asker's Abandon has arrived where the asker would be
// kept. Its command may still be on the way, to somewhere that the Abandon does
// not go, or its reply, inside a Deleted: then it comes.
func (w *world) forget(at *node, a *asker) {
	_, isCreate := a.cmd.(messages.Create)
	_, isShutdown := a.cmd.(messages.Shutdown)
	keeps := false
	switch at.state.(type) {
	case Process:
		keeps = true
	case Container:
		keeps = a.cmd.Target().IsInit()
	case Sandbox:
		keeps = isCreate
	case Directory:
		keeps = isShutdown
	}
	if !keeps {
		return
	}
	for _, n := range w.nodes {
		for _, m := range n.inbox {
			switch m := m.(type) {
			case Command:
				if m.Asker == Asker(a) {
					return
				}
			case Deleted:
				if slices.ContainsFunc(m.Replies, func(r Reply) bool { return r.To == Asker(a) }) {
					return
				}
			}
		}
	}
	a.forgotten = true
}

// run does an effect, as an actor does.
func (w *world) run(n *node, in Input, e Effect) {
	if c, ok := e.(Call); ok && w.story != nil {
		w.called = append(w.called, &flight{from: n, call: c})
	}
	if w.story != nil {
		w.tell(e)
	}
	switch e := e.(type) {
	case Reply:
		w.answer(e)
	case Publish:
		w.orders.published(e.Event)
	case Call:
		w.orders.called(n, e)
		n.calls++
		w.host.calls = append(w.host.calls, &flight{from: n, call: e})
	case Discard:
		w.host.jobs = append(w.host.jobs, job{target: e.Target, release: true})
	case KillChild:
		w.host.jobs = append(w.host.jobs, job{target: e.Target})
	case Forward:
		w.send(w.child(n, e.To, e), e.In)
	case Pass:
		w.send(w.child(n, w.target(n, in), e), in)
	case SpawnExec:
		id := e.Exec.ID
		w.orders.born(id)
		n.children[string(id.Exec)] = grow(w, id.String(), n, id, e.Exec)
	case SpawnContainer:
		id := e.Container.Init.ID
		w.orders.born(id)
		child := grow(w, id.String(), n, id, e.Container)
		n.children[string(id.Container)] = child
		w.send(child, e.Create)
	case SpawnSandbox:
		n.children[string(e.Sandbox.ID)] = grow(w, "sandbox "+string(e.Sandbox.ID), n, messages.Incarnation{}, e.Sandbox)
	case Retire:
		child := w.child(n, e.Child, e)
		delete(n.children, e.Child)
		w.send(w.reaper, toDisown{child.self})
		w.send(child, toRetire{})
	case SetDrainTimer:
		w.timers = append(w.timers, n)
	default: // a notice
		if n.parent == nil {
			w.fail("%s has nobody to tell %#v", n.name, e)
		}
		w.send(n.parent, e)
	}
}

func (w *world) child(n *node, id string, e Effect) *node {
	child, ok := n.children[id]
	if !ok {
		w.fail("%s has no child for %#v", n.name, e)
	}
	return child
}

// target is the child that a command is for.
func (w *world) target(n *node, in Input) string {
	c, ok := in.(Command)
	if !ok {
		w.fail("%s passes on %#v, which has no target", n.name, in)
	}
	t := c.Cmd.Target()
	if n.self.Number != 0 {
		return string(t.Exec)
	}
	return string(t.Container)
}

// ask sends a command for a new asker.
func (w *world) ask(cmd messages.AnyCommand) *asker {
	w.asked++
	a := &asker{number: w.asked, cmd: cmd}
	w.askers = append(w.askers, a)
	w.send(w.dir, Command{Asker: a, Cmd: cmd})
	return a
}

// answer takes a reply to its asker.
func (w *world) answer(r Reply) {
	if w.story != nil {
		return
	}
	a, ok := r.To.(*asker)
	if !ok {
		w.fail("a reply to nobody: %#v", r)
	}
	switch {
	case a.answered:
		w.fail("%s %s is answered twice, the second time with %#v", a.cmd.Verb(), a.cmd.Target(), r)
	case a.forgotten:
		w.fail("%s %s was abandoned and is answered with %#v", a.cmd.Verb(), a.cmd.Target(), r)
	case r.Err == nil && !answers(a.cmd, r.Reply):
		w.fail("%s %s is answered with a %T", a.cmd.Verb(), a.cmd.Target(), r.Reply)
	}
	a.answered = true
}

// outstanding lists the askers that still wait.
func (w *world) outstanding() []*asker {
	w.askers = slices.DeleteFunc(w.askers, func(a *asker) bool { return a.answered || a.forgotten })
	var all []*asker
	for _, a := range w.askers {
		if !a.abandoned {
			all = append(all, a)
		}
	}
	return all
}
