package lifecycle

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

// act does one thing that the dice choose. Reading mail and letting calls go on
// are as likely as everything else together, so that a walk gets somewhere.
func (w *world) act(p play) {
	d := w.dice
	switch d.roll(16) {
	case 0, 1, 2:
		if p.changing && d.one(8) {
			w.race(p)
			return
		}
		w.ask(w.command(p))
	case 3, 4, 5, 6, 7, 8:
		if busy := w.busy(); len(busy) > 0 {
			w.deliver(pickOne(d, busy))
		}
	case 9, 10, 11:
		w.advanceCall(p)
	case 12:
		if g := w.host.living(); len(g) > 0 {
			if one := pickOne(d, g); one.dying || d.one(3) {
				w.host.die(one)
			}
		}
	case 13:
		if len(w.host.jobs) > 0 {
			w.host.finish(w.host.jobs[0])
			w.host.jobs = w.host.jobs[1:]
		}
	case 14:
		w.upset(p)
	case 15:
		w.settle()
	}
}

// race sends a Start with what does not go with it: the exec's Delete before it,
// a Pause or Checkpoint behind it, a panic of its actor.
func (w *world) race(p play) {
	d := w.dice
	x := messages.Process{Container: p.containers[0], Exec: pickOne(d, p.execs)}
	if d.one(2) {
		w.ask(messages.Delete{Process: x})
	}
	w.ask(messages.Start{Process: x})
	if d.one(2) {
		w.ask(messages.Pause{Container: x.Container})
	} else {
		w.ask(messages.Checkpoint{Container: x.Container, ImagePath: "/i", LeaveRunning: true})
	}
	if !d.one(3) {
		return
	}
	for _, n := range w.nodes {
		if n.self.Process == x {
			n.panics = 2 + d.roll(2)
		}
	}
}

// advanceCall carries out a call, or lets it return, or lets its time run out.
func (w *world) advanceCall(p play) {
	if len(w.host.calls) == 0 {
		return
	}
	f := pickOne(w.dice, w.host.calls)
	switch {
	case p.faults && !f.late && w.dice.one(8):
		w.host.timeOut(f)
	case !f.done:
		w.host.carryOut(f, p.faults && w.dice.one(6))
		if w.dice.one(2) {
			w.host.giveBack(f)
		}
	default:
		w.host.giveBack(f)
	}
}

// upset does what is rare: an asker gives up, the kernel kills for memory, time
// runs out, an actor panics.
func (w *world) upset(p play) {
	d := w.dice
	switch d.roll(4) {
	case 0:
		if waiting := w.outstanding(); len(waiting) > 0 {
			a := pickOne(d, waiting)
			a.abandoned = true
			w.send(w.dir, Abandon{Asker: a, Process: a.cmd.Target()})
		}
	case 1:
		if g := w.host.living(); len(g) > 0 {
			w.send(w.reaper, messages.OOMNotice{Process: pickOne(d, g).init})
		}
	case 2:
		w.expire()
	case 3:
		n := pickOne(d, w.nodes)
		if p.changing {
			n = w.nodes[len(w.nodes)-1] // an exec, where there is one
		}
		if p.panics && n != w.reaper {
			n.panics = 1
			if p.losses && n.self.Number != 0 && (p.changing || d.one(4)) {
				n.panics = 2 + d.roll(2)
			}
		}
	}
}

// expire lets the oldest drain time-out pass.
func (w *world) expire() {
	if len(w.timers) > 0 {
		if n := w.timers[0]; !n.ended {
			w.send(n, DrainExpired{At: w.now})
		}
		w.timers = w.timers[1:]
	}
}

// settle delivers all mail. The driver does nothing meanwhile, and that is no
// reason to owe anybody an answer from the machines' own knowledge.
func (w *world) settle() {
	for busy := w.busy(); len(busy) > 0; busy = w.busy() {
		w.deliver(pickOne(w.dice, busy))
	}
	for _, a := range w.outstanding() {
		switch a.cmd.(type) {
		case messages.State, messages.Pids, messages.Connect, messages.Info, messages.Exec:
			w.fail("%s %s is not answered while the driver works", a.cmd.Verb(), a.cmd.Target())
		}
	}
}

// stall is a driver that answers nothing any more: every command whose outcome
// is not somebody's exit is answered all the same.
func (w *world) stall() {
	for more := true; more; {
		w.settle()
		more = len(w.timers) > 0
		w.expire()
		for _, f := range w.host.calls {
			if !f.late && !f.from.ended {
				w.host.timeOut(f)
				more = true
			}
		}
		more = more || len(w.busy()) > 0
	}
	for _, a := range w.outstanding() {
		switch a.cmd.(type) {
		case messages.Wait, messages.Delete, messages.Shutdown:
		default:
			w.fail("%s %s is not answered although the driver hangs", a.cmd.Verb(), a.cmd.Target())
		}
	}
}

// finish ends everything: the driver answers, and what is killed dies.
func (w *world) finish() {
	for _, n := range w.nodes {
		n.panics = 0
	}
	shutdowns := 0
	for round := 0; ; round++ {
		w.settle()
		if w.quiet() {
			if w.dir.state.(Directory).Phase == Left && len(w.outstanding()) == 0 {
				break
			}
			if shutdowns++; shutdowns > 4 {
				w.stuck()
			}
			w.ask(messages.Shutdown{Now: true})
			continue
		}
		for _, j := range w.host.jobs {
			w.host.finish(j)
		}
		w.host.jobs = nil
		for _, f := range slices.Clone(w.host.calls) {
			if !f.done {
				w.host.carryOut(f, false)
			}
			w.host.giveBack(f)
		}
		for _, g := range w.host.living() {
			if g.dying && g.alive {
				w.host.die(g)
			}
		}
		if round > 50 {
			w.expire()
		}
	}
	w.orders.complete()
	if len(w.nodes) != 2 {
		w.fail("actors are left: %s", w.names())
	}
	for _, g := range w.host.order {
		if g.stuck && !g.alive {
			continue
		}
		w.fail("%s is left on the host, alive: %t", g.id, g.alive)
	}
}

// quiet tells that nothing will happen unless somebody asks.
func (w *world) quiet() bool {
	return len(w.busy()) == 0 && len(w.host.calls) == 0 && len(w.host.jobs) == 0 && len(w.timers) == 0 &&
		!slices.ContainsFunc(w.host.living(), func(g *guest) bool { return g.dying })
}

func (w *world) names() []string {
	var names []string
	for _, n := range w.nodes {
		names = append(names, n.name)
	}
	return names
}

func (w *world) stuck() {
	for _, n := range w.nodes {
		w.log = append(w.log, n.name)
		switch m := n.state.(type) {
		case Container:
			w.log = append(w.log, "  container "+m.Phase.String()+", init "+m.Init.Phase.String())
		case Process:
			w.log = append(w.log, "  exec "+m.Phase.String())
		}
	}
	for _, a := range w.outstanding() {
		w.log = append(w.log, "waits: "+a.cmd.Verb()+" "+a.cmd.Target().String())
	}
	w.fail("the runtime does not end")
}

// begin makes and starts a container and adds its execs, without faults.
func (w *world) begin(p play) {
	c := p.containers[0]
	commands := []messages.AnyCommand{messages.Create{Container: c, Bundle: "/b"}, messages.Start{Process: messages.Init(c)}}
	for _, x := range p.execs {
		commands = append(commands, execOf(messages.Process{Container: c, Exec: x}, messages.Stdio{}))
	}
	for _, cmd := range commands {
		w.ask(cmd)
		w.settle()
		for _, f := range slices.Clone(w.host.calls) {
			w.host.carryOut(f, false)
			w.host.giveBack(f)
		}
		w.settle()
	}
}

// walk takes a world from its beginning to its end.
func walk(t testing.TB, d *dice, p play, steps int) int {
	w := newWorld(t, d, tight)
	if p.changing {
		w.begin(p)
	}
	for i := 0; i < steps && !d.over(); i++ {
		w.act(p)
	}
	if d.one(4) {
		w.stall()
	}
	w.finish()
	return w.steps
}

// TestWalk plays a great many worlds from seeds, and holds the tables against
// what they did: every edge that a rule declares is taken by some world. A seed
// that fails is replayed, and told as a story, by its name:
//
//	go test ./actors/lifecycle -v -run 'TestWalk/tree/17$'
func TestWalk(t *testing.T) {
	const seeds = 2500
	worlds, steps := 0, 0
	for name, p := range plays {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
					worlds++
					steps += walk(t, seeded(seed), p, 400)
				})
			}
		})
	}
	t.Logf("%d worlds, %d steps of machines", worlds, steps)
	crashInMidStep()
	if missing := unreachedEdges(); worlds == seeds*len(plays) && len(missing) > 0 {
		t.Errorf("declared, and not seen in any world:\n%s", strings.Join(missing, "\n"))
	}
}
