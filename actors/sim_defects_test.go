package actors

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// simDefect is something that an implementation could get wrong.
type simDefect struct {
	name string
	// rules are the right names for it.
	rules []string
	// change is what becomes of one effect of an actor; rest are the effects of
	// the same step that come after it.
	change func(d *simSaboteur, actor string, e lifecycle.Effect, rest []lifecycle.Effect) []lifecycle.Effect
}

// simSaboteur changes the effects of the real machines into those that machines
// with a defect would have. It does so at every turn and not only once: a defect
// is there all the time.
type simSaboteur struct {
	sim    *sim
	defect *simDefect
	// held is what a defect keeps for later, by the name of its actor.
	held map[string]lifecycle.Effect
}

// sabotage is Options.sabotage.
func (d *simSaboteur) sabotage(actor string, effects []lifecycle.Effect) (out []lifecycle.Effect) {
	for i, e := range effects {
		out = append(out, d.defect.change(d, actor, e, effects[i+1:])...)
	}
	return out
}

// simForget makes a defect that leaves out some effects.
func simForget(what func(lifecycle.Effect) bool) func(*simSaboteur, string, lifecycle.Effect, []lifecycle.Effect) []lifecycle.Effect {
	return func(_ *simSaboteur, _ string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
		if what(e) {
			return nil
		}
		return []lifecycle.Effect{e}
	}
}

// simTwice makes a defect that has some effects twice.
func simTwice(what func(lifecycle.Effect) bool) func(*simSaboteur, string, lifecycle.Effect, []lifecycle.Effect) []lifecycle.Effect {
	return func(_ *simSaboteur, _ string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
		if what(e) {
			return []lifecycle.Effect{e, e}
		}
		return []lifecycle.Effect{e}
	}
}

func simIs[E lifecycle.Effect](e lifecycle.Effect) bool {
	_, ok := e.(E)
	return ok
}

func simForwards[I lifecycle.Input](e lifecycle.Effect) bool {
	f, ok := e.(lifecycle.Forward)
	if !ok {
		return false
	}
	_, ok = f.In.(I)
	return ok
}

func simPublishes[E messages.Event](e lifecycle.Effect) bool {
	p, ok := e.(lifecycle.Publish)
	if !ok {
		return false
	}
	_, ok = p.Event.(E)
	return ok
}

// simExitFirst tells an exit that came during the start before the start.
func simExitFirst(d *simSaboteur, actor string, e lifecycle.Effect, rest []lifecycle.Effect) []lifecycle.Effect {
	if i := slices.IndexFunc(rest, simPublishes[messages.ProcessExited]); simPublishes[messages.ExecStarted](e) && i >= 0 {
		d.held[actor] = rest[i]
		return []lifecycle.Effect{rest[i], e}
	}
	if d.held[actor] != nil && simPublishes[messages.ProcessExited](e) {
		return nil
	}
	return []lifecycle.Effect{e}
}

// simInitFirst tells an init's exit when its execs begin to be ended.
func simInitFirst(d *simSaboteur, actor string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
	if simIs[lifecycle.SetDrainTimer](e) {
		for _, p := range d.sim.host.processes {
			if p.id.String() == actor {
				d.held[actor] = lifecycle.Publish{Event: messages.ProcessExited{Process: p.id.Process, PIDs: p.pids, Exit: p.exit}}
				return []lifecycle.Effect{d.held[actor], e}
			}
		}
	}
	if d.held[actor] != nil && simPublishes[messages.ProcessExited](e) {
		return nil
	}
	return []lifecycle.Effect{e}
}

// simFalseStatus tells another status than the process had.
func simFalseStatus(_ *simSaboteur, _ string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
	if p, ok := e.(lifecycle.Publish); ok {
		if x, ok := p.Event.(messages.ProcessExited); ok {
			x.Exit.Status++
			return []lifecycle.Effect{lifecycle.Publish{Event: x}}
		}
	}
	return []lifecycle.Effect{e}
}

// simStartLate starts an exec of a container once more when the container answers
// something after its exit.
func simStartLate(d *simSaboteur, actor string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
	if c, ok := e.(lifecycle.Call); ok {
		if x, ok := c.Do.(lifecycle.DoExec); ok {
			d.held[x.Launch.Init.String()] = lifecycle.Call{Target: c.Target, Do: x}
		}
	}
	if simPublishes[messages.ProcessExited](e) {
		d.held["over "+actor] = e
	}
	if again := d.held[actor]; again != nil && d.held["over "+actor] != nil && simIs[lifecycle.Reply](e) {
		return []lifecycle.Effect{e, again}
	}
	return []lifecycle.Effect{e}
}

// simOOMLate tells an OOM after the exit that it explains.
func simOOMLate(d *simSaboteur, actor string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
	if simPublishes[messages.ContainerOOM](e) {
		d.held[actor] = e
		return nil
	}
	if oom := d.held[actor]; oom != nil && simPublishes[messages.ProcessExited](e) {
		return []lifecycle.Effect{e, oom}
	}
	return []lifecycle.Effect{e}
}

// simStateLate answers State only after time has passed.
func simStateLate(d *simSaboteur, _ string, e lifecycle.Effect, _ []lifecycle.Effect) []lifecycle.Effect {
	if r, ok := e.(lifecycle.Reply); ok {
		if _, ok := r.Reply.(messages.ProcessState); ok {
			d.sim.AfterFunc(1, func() { r.To.(*request).answer(r) })
			return nil
		}
	}
	return []lifecycle.Effect{e}
}

var simDefects = []*simDefect{
	{"exit before start", []string{"order 2"}, simExitFirst},
	{"init's exit before its execs'", []string{"order 4"}, simInitFirst},
	{"exit dropped", []string{"order 3"}, simForget(simPublishes[messages.ProcessExited])},
	{"exit twice", []string{"order 3"}, simTwice(simPublishes[messages.ProcessExited])},
	{"false status", []string{"truth"}, simFalseStatus},
	{"start after init's exit", []string{"order 6"}, simStartLate},
	{"OOM after exit", []string{"order 5"}, simOOMLate},
	{"State waits", []string{"order 7"}, simStateLate},
	{"event dropped", []string{"order 1", "event"}, simForget(simPublishes[messages.ExecAdded])},
	{"reply never sent", []string{"answer", "order 7"}, simForget(simIs[lifecycle.Reply])},
	{"reply twice", []string{"once"}, simTwice(simIs[lifecycle.Reply])},
	{"watcher leaked", []string{"kept"}, simForget(simForwards[lifecycle.Abandon])},
	{"actor leaked", []string{"actors", "owners"}, simForget(simIs[lifecycle.Retire])},
	{"execs not ended with their init", []string{"order 3", "answer", "shutdown", "delete"}, simForget(simForwards[lifecycle.Doom])},
	{"execs not released", []string{"order 7", "answer", "delete"}, simForget(simForwards[lifecycle.Drop])},
	{"late process kept", []string{"stray", "held"}, simForget(simIs[lifecycle.Discard])},
}

// TestSimulateFindsDefects has the simulation find each of the defects that it
// is there for, so that its silence means something.
func TestSimulateFindsDefects(t *testing.T) {
	const seeds = 2000
	for _, d := range simDefects {
		t.Run(d.name, func(t *testing.T) {
			w := &simWorkshop{defect: d}
			defer w.close()
			for seed := uint64(1); seed <= seeds; seed++ {
				v := w.run(newSimPlan(seed), nil)
				if v == nil {
					continue
				}
				if !slices.Contains(d.rules, v.rule) {
					t.Fatalf("seed %d blames something else: %v", seed, v)
				}
				t.Logf("found after %d seeds: %v", seed, v)
				return
			}
			t.Fatalf("not found in %d seeds", seeds)
		})
	}
}

// TestSimulateExplains wants of a failing seed that it is told in the same words
// each time, as a plan that has been cut down to what it takes.
func TestSimulateExplains(t *testing.T) {
	i := slices.IndexFunc(simDefects, func(d *simDefect) bool { return d.name == "exit twice" })
	w := &simWorkshop{defect: simDefects[i]}
	defer w.close()
	seed := uint64(1)
	for w.run(newSimPlan(seed), nil) == nil {
		seed++
	}
	once, again := w.explain(seed), w.explain(seed)
	if once != again {
		t.Fatalf("seed %d is told in two ways:\n%s\n---\n%s", seed, once, again)
	}
	_, plan, _ := strings.Cut(once, "# its plan, cut down\n")
	plan, _, _ = strings.Cut(plan, "\n\n")
	// One create, and the end's kill.
	if lines := strings.Split(strings.TrimSpace(plan), "\n"); len(lines) != 1 || !strings.HasPrefix(lines[0], "create c") {
		t.Errorf("a create is all that it takes, and the plan was cut down to:\n%s", plan)
	}
	if !strings.Contains(once, fmt.Sprintf("make simulate SEED=%d", seed)) {
		t.Errorf("it is not said how to replay it:\n%s", once)
	}
}
