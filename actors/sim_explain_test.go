package actors

import (
	"fmt"
	"slices"
	"strings"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// explain runs a failing seed again and says what it shows: the order that did
// not hold, and the smallest plan found that breaks it, with its trace.
func (w *simWorkshop) explain(seed uint64) string {
	p := newSimPlan(seed)
	v := w.run(p, nil)
	if v == nil {
		return fmt.Sprintf("seed %d failed once and holds now", seed)
	}
	p = w.minimise(p, v.rule)
	trace := new(simTrace)
	v = w.run(p, trace)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d breaks an order\n%v\n\nreplay: make simulate SEED=%d\n\n# its plan, cut down\n%s\n# what happened\n%s",
		seed, v, seed, p, trace)
	return b.String()
}

// simSalts is how many schedules of a plan are tried before an item is said to
// be needed.
const simSalts = 60

// minimise drops items of a plan as long as it still breaks the same rule, by
// halves first and then by ones.
func (w *simWorkshop) minimise(p *simPlan, rule string) *simPlan {
	for size := (len(p.items) + 1) / 2; size > 0; size /= 2 {
		for again := true; again; {
			again = false
			for at := 0; at < len(p.items); {
				if q := w.still(p.without(func(i int) bool { return at <= i && i < at+size }), rule); q != nil {
					p, again = q, true
				} else {
					at += size
				}
			}
		}
	}
	for _, simpler := range []func(*simPlan){
		func(q *simPlan) { q.lopsided = false },
		func(q *simPlan) { q.inline = 0 },
		func(q *simPlan) { q.haste = 0 },
		func(q *simPlan) {
			q.items = slices.Clone(q.items)
			for i := range q.items {
				q.items[i].abandon = false
			}
		},
	} {
		q := *p
		simpler(&q)
		if r := w.still(&q, rule); r != nil {
			p = r
		}
	}
	return p
}

// still finds a schedule of a plan that breaks the rule; nil if there is none.
func (w *simWorkshop) still(p *simPlan, rule string) *simPlan {
	for salt := range uint64(simSalts) {
		q := *p
		q.salt = salt
		if v := w.run(&q, nil); v != nil && v.rule == rule {
			return &q
		}
	}
	return nil
}

func simKindIs(err error, kinds ...error) bool { return slices.Contains(kinds, messages.KindOf(err)) }

// simEvent is an event as a play script has it.
func simEvent(e messages.Event) string {
	switch e := e.(type) {
	case messages.ContainerCreated:
		return fmt.Sprintf("TaskCreate %s", e.Container)
	case messages.ContainerStarted:
		return fmt.Sprintf("TaskStart %s", e.Container)
	case messages.ExecAdded:
		return fmt.Sprintf("TaskExecAdded %s", e.Process)
	case messages.ExecStarted:
		return fmt.Sprintf("TaskExecStarted %s", e.Process)
	case messages.ProcessExited:
		return fmt.Sprintf("TaskExit %s status=%d", e.Process, e.Exit.Status)
	case messages.ContainerOOM:
		return fmt.Sprintf("TaskOOM %s", e.Container)
	case messages.ContainerPaused:
		return fmt.Sprintf("TaskPaused %s", e.Container)
	case messages.ContainerResumed:
		return fmt.Sprintf("TaskResumed %s", e.Container)
	case messages.ContainerCheckpointed:
		return fmt.Sprintf("TaskCheckpointed %s", e.Container)
	case messages.ProcessDeleted:
		return fmt.Sprintf("TaskDelete %s", e.Process)
	}
	return fmt.Sprintf("%T", e)
}

// simReply is a reply as a play script has it.
func simReply(r lifecycle.Reply) string {
	if r.Err != nil {
		return fmt.Sprintf("error %v: %v", messages.KindOf(r.Err), r.Err)
	}
	switch r := r.Reply.(type) {
	case messages.Created:
		return fmt.Sprintf("created %s", r.Container)
	case messages.Added:
		return fmt.Sprintf("added %s", r.Process)
	case messages.Started:
		return fmt.Sprintf("started %s", r.Process)
	case messages.Killed:
		return fmt.Sprintf("killed %s", r.Process)
	case messages.Exited:
		return fmt.Sprintf("exited %s status=%d", r.Process, r.Exit.Status)
	case messages.ProcessState:
		if r.Exit != nil {
			return fmt.Sprintf("%s %s status=%d", r.Process, r.Status, r.Exit.Status)
		}
		return fmt.Sprintf("%s %s", r.Process, r.Status)
	case messages.Deleted:
		return fmt.Sprintf("deleted %s", r.Process)
	case nil:
		return "no reply"
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", r.Reply), "messages."))
}
