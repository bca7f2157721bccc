package actors

import (
	"time"
)

// simStepLimit is far beyond what any plan needs.
const simStepLimit = 20000

// weigh is how often something is picked.
func (s *sim) weigh() int {
	if !s.plan.lopsided {
		return 1
	}
	return []int{1, 16, 256}[s.rng.IntN(3)]
}

func (s *sim) inlined() bool { return s.plan.inline > 0 && s.rng.IntN(8) < s.plan.inline }

// simOption is something that the scheduler can do next.
type simOption struct {
	kind   simOptionKind
	index  int
	weight int
}

type simOptionKind uint8

const (
	simDeliver simOptionKind = iota
	simResume                // a task begins, or its call returns
	simAct                   // a call takes effect
	simFire                  // a timer's function runs
	simEnd                   // a process dies of what it was sent
	simReport                // the driver reports
	simSend                  // a client asks
	simAbandon               // an asker gives up
	simMishap                // something goes wrong on the host
	simRead                  // the slow observer reads
)

// step does one thing; false if there is nothing to do, ever.
func (s *sim) step() bool {
	s.steps++
	if s.steps > simStepLimit {
		s.fail("rest", "it does not come to rest")
		return false
	}
	total, mail := s.survey()
	if !mail {
		s.witness.idle()
	}
	if total == 0 || !s.calm && s.plan.haste > 0 && s.rng.IntN(256) < s.plan.haste {
		if total == 0 {
			s.witness.stall()
		}
		if s.advance() {
			return true
		}
		if total == 0 {
			return false
		}
	}
	n := s.rng.IntN(total)
	for _, o := range s.options {
		if n -= o.weight; n < 0 {
			s.take(o)
			break
		}
	}
	s.witness.look()
	return true
}

// survey lists what can be done now.
func (s *sim) survey() (total int, mail bool) {
	s.options = s.options[:0]
	add := func(kind simOptionKind, i, weight int) {
		s.options = append(s.options, simOption{kind, i, weight})
		total += weight
	}
	for i, m := range s.boxes {
		if len(m.queue) > 0 {
			add(simDeliver, i, m.weight)
			mail = true
		}
	}
	for i, t := range s.tasks {
		switch {
		case t.call == nil || t.call.canReturn(s.now):
			add(simResume, i, t.weight)
		case t.call.canAct(s.now):
			add(simAct, i, t.weight)
		}
	}
	for i, t := range s.timers {
		if t.due {
			add(simFire, i, 1)
		}
	}
	for i, p := range s.host.processes {
		if p.dying != nil && !p.dead {
			add(simEnd, i, p.weight)
		}
	}
	for i, n := range s.host.notices {
		if s.host.tellable(i) {
			add(simReport, i, n.weight)
		}
	}
	for i, a := range s.asks {
		switch {
		case a == nil:
		case !a.sent && s.due(a):
			add(simSend, i, a.weight)
		case a.sent && !a.answered && !a.gone && a.item.abandon:
			add(simAbandon, i, a.weight)
		}
	}
	if !s.calm {
		for i, it := range s.chaos {
			if it.kind != simFaultItem && it.kind != simPanicItem && s.host.mishap(it, false) {
				add(simMishap, i, 1)
			}
		}
	}
	if len(s.slow.events) > 0 && s.plan.slow > 1 {
		add(simRead, 0, 1)
	}
	return total, mail
}

// due tells whether an ask can be sent: what it comes after is there. Of those
// of the plan, none is sent once the end has begun.
func (s *sim) due(a *simAsk) bool {
	if a.item.after < 0 {
		return true
	}
	if s.calm {
		return false
	}
	before := s.asks[a.item.after]
	return before.answered || before.gone || before.sent && !a.item.answered
}

func (s *sim) take(o simOption) {
	switch o.kind {
	case simDeliver:
		s.boxes[o.index].deliver()
	case simResume:
		s.resume(o.index)
	case simAct:
		s.host.act(s.tasks[o.index].call)
	case simFire:
		t := s.timers[o.index]
		s.timers = append(s.timers[:o.index:o.index], s.timers[o.index+1:]...)
		t.fn()
	case simEnd:
		p := s.host.processes[o.index]
		s.host.end(p, p.dying.status, p.dying.reason)
	case simReport:
		s.host.report(o.index)
	case simSend:
		s.send(s.asks[o.index])
	case simAbandon:
		s.abandon(s.asks[o.index])
	case simMishap:
		it := s.chaos[o.index]
		s.chaos = append(s.chaos[:o.index:o.index], s.chaos[o.index+1:]...)
		s.host.mishap(it, true)
	case simRead:
		s.slow.read(s)
	}
}

// advance moves the clock to when something is due next; false if nothing is.
func (s *sim) advance() bool {
	var next time.Time
	consider := func(at time.Time) {
		if at.After(s.now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, t := range s.timers {
		if !t.due {
			consider(t.at)
		}
	}
	for _, t := range s.tasks {
		if t.call != nil {
			consider(t.call.wakes())
		}
	}
	if next.IsZero() {
		return false
	}
	s.now = next
	s.note("the clock is at %v", s.now.Sub(simEpoch))
	for _, t := range s.timers {
		t.due = t.due || !t.at.After(s.now)
	}
	return true
}
