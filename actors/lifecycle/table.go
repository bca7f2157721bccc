package lifecycle

import (
	"fmt"
	"strings"
)

// rule is one cell of a table: what a machine does with an input in a phase.
type rule[M any] struct {
	// name says what happens, as the generated table shows it.
	name string
	// to has the phases that the machine can be in afterwards, where that is
	// not only the one that it is in.
	to []Phase
	do func(m *M, in Input, out *[]Effect)
}

// row gives the rule for an input in some phases.
type row[M any] struct {
	on   Kind
	in   []Phase
	rule rule[M]
}

// table has a rule for every phase and input of a machine.
type table[M any] struct {
	machine string
	phases  []Phase
	kinds   []Kind
	cells   [numPhases][numKinds]*rule[M]
}

// newTable fills a table and panics on a cell that has no rule or two: every
// machine is total by construction.
func newTable[M any](machine string, phases []Phase, kinds []Kind, rows []row[M]) *table[M] {
	t := &table[M]{machine: machine, phases: phases, kinds: kinds}
	for i := range rows {
		r := &rows[i]
		for _, ph := range r.in {
			if t.cells[ph][r.on] != nil {
				panic(fmt.Sprintf("%s: two rules for %s in %s", machine, r.on, ph))
			}
			t.cells[ph][r.on] = &r.rule
		}
	}
	var missing []string
	for _, ph := range phases {
		for _, k := range kinds {
			if t.cells[ph][k] == nil {
				missing = append(missing, fmt.Sprintf("%s in %s", k, ph))
			}
		}
	}
	if len(missing) > 0 {
		panic(fmt.Sprintf("%s: no rule for %s", machine, strings.Join(missing, ", ")))
	}
	return t
}

// step runs the rule for an input and appends what there is to do. phase is the
// machine's own field, read again afterwards: an edge that the rule does not
// declare is a programming error.
func (t *table[M]) step(m *M, phase *Phase, k Kind, in Input, out *[]Effect) {
	from := *phase
	r := t.cells[from][k]
	if r == nil {
		panic(fmt.Sprintf("%s: no input %s in %s", t.machine, k, from))
	}
	r.do(m, in, out)
	if *phase != from && !r.allows(*phase) {
		panic(fmt.Sprintf("%s: %q went from %s to %s", t.machine, r.name, from, *phase))
	}
}

func (r *rule[M]) allows(to Phase) bool {
	for _, ph := range r.to {
		if ph == to {
			return true
		}
	}
	return false
}
