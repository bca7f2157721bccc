package lifecycle

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

// cell is a phase and an input of a machine.
type cell struct {
	machine string
	in      Phase
	on      Kind
}

// reached has the phases that steps have ended in, by the cell they began in.
var reached = make(map[cell]map[Phase]bool)

// TestMain has every rule noted when it runs, for TestWalk. Tests run one after
// the other, so that a plain map will do.
func TestMain(m *testing.M) {
	watch(processTable, func(p *Process) Phase { return p.Phase })
	watch(containerTable, func(c *Container) Phase { return c.Phase })
	watch(sandboxTable, func(s *Sandbox) Phase { return s.Phase })
	watch(directoryTable, func(d *Directory) Phase { return d.Phase })
	os.Exit(m.Run())
}

func watch[M any](t *table[M], phase func(*M) Phase) {
	for _, ph := range t.phases {
		for _, k := range t.kinds {
			c := cell{t.machine, ph, k}
			ends := make(map[Phase]bool)
			reached[c] = ends
			r := *t.cells[ph][k]
			do := r.do
			r.do = func(m *M, in Input, out *[]Effect) {
				do(m, in, out)
				ends[phase(m)] = true
			}
			t.cells[ph][k] = &r
		}
	}
}

// unreachedEdges lists the edges that a rule declares and no run has taken. One
// that is taken and not declared panics in the run itself.
func unreachedEdges() []string {
	return slices.Concat(unreached(processTable), unreached(containerTable), unreached(sandboxTable), unreached(directoryTable))
}

// crashInMidStep is what no walk can do, whose panics come before a step: one
// that came after an exec was noted as ended, and before the init's exit was told.
func crashInMidStep() {
	for _, doomed := range []bool{false, true} {
		w := newWorld(nil, seeded(0), tight)
		x := messages.Process{Container: "c", Exec: "x"}
		id := messages.Incarnation{Process: x, Number: 2}
		inputs := []Input{
			Command{Cmd: messages.Create{}}, Answer{Op: 1}, Command{Cmd: messages.Start{}}, Answer{Op: 2},
			Command{Cmd: messages.Exec{Process: x}, Number: 2}, Command{Cmd: messages.Start{Process: x}},
			Started{Process: id}, Exit{},
		}
		if doomed {
			inputs = append(inputs, Doom{})
		}
		c := NewContainer(messages.Incarnation{Process: messages.Init("c"), Number: 1}, "c", messages.Create{}, w.config)
		for _, in := range inputs {
			c, _ = c.Step(in)
		}
		c.execs["x"] = child{id: id, stage: ended}
		c.Step(Crash{})
	}
}

func unreached[M any](t *table[M]) []string {
	var missing []string
	for _, k := range t.kinds {
		for _, ph := range t.phases {
			for _, to := range t.cells[ph][k].to {
				if !reached[cell{t.machine, ph, k}][to] {
					missing = append(missing, fmt.Sprintf("%s: %s in %s (%s) ends in %s", t.machine, k, ph, t.cells[ph][k].name, to))
				}
			}
		}
	}
	return missing
}

// TestTablesAreTotal: a table with a hole, or with two rules for one cell, can
// not be made.
func TestTablesAreTotal(t *testing.T) {
	none := rule[Process]{name: "nothing", do: func(*Process, Input, *[]Effect) {}}
	phases, kinds := []Phase{Created, Running}, []Kind{onExit, onDoom}
	for name, test := range map[string]struct {
		rows []processRow
		want string
	}{
		"whole": {[]processRow{on(onExit, none, phases...), on(onDoom, none, phases...)}, ""},
		"hole":  {[]processRow{on(onExit, none, phases...), on(onDoom, none, Created)}, "test: no rule for doom in Running"},
		"twice": {[]processRow{on(onExit, none, phases...), on(onDoom, none, phases...), on(onDoom, none, Running)}, "test: two rules for doom in Running"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := panicOf(func() { newTable("test", phases, kinds, test.rows) }); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestUndeclaredEdge: a rule that takes a machine where it does not say panics.
func TestUndeclaredEdge(t *testing.T) {
	phases, kinds := []Phase{Created, Running}, []Kind{onExit}
	table := newTable("test", phases, kinds, []processRow{
		on(onExit, rule[Process]{"run", []Phase{Created}, func(p *Process, _ Input, _ *[]Effect) { p.Phase = Running }}, phases...),
	})
	p := Process{Phase: Created}
	want := `test: "run" went from Created to Running`
	if got := panicOf(func() { table.step(&p, &p.Phase, onExit, Exit{}, new([]Effect)) }); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := panicOf(func() { table.step(&p, &p.Phase, onDoom, Doom{}, new([]Effect)) }); got != "test: no input doom in Running" {
		t.Errorf("got %q", got)
	}
}

func panicOf(fn func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = fmt.Sprint(r)
		}
	}()
	fn()
	return ""
}

// TestNames: every phase and every kind of input has a name of its own, and
// belongs to a table.
func TestNames(t *testing.T) {
	var phases []Phase
	var kinds []Kind
	phases = append(append(append(append(phases, processPhases...), containerPhases...), sandboxPhases...), directoryPhases...)
	kinds = append(append(append(append(kinds, processKinds...), containerKinds...), sandboxKinds...), directoryKinds...)
	for ph := range numPhases {
		if ph.String() == "" || slices.Index(phaseNames[:], ph.String()) != int(ph) || !slices.Contains(phases, ph) {
			t.Errorf("phase %d is called %q", ph, ph)
		}
	}
	for k := range numKinds {
		if k.String() == "" || slices.Index(kindNames[:], k.String()) != int(k) || !slices.Contains(kinds, k) {
			t.Errorf("kind %d is called %q", k, k)
		}
	}
}
