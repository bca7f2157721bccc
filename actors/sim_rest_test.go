package actors

import (
	"github.com/troupe-run/troupe/messages"
)

// rest is called when nothing can go on before the end: no call is under way
// and no timer is set.
func (w *simWitness) rest() {
	s := w.sim
	for _, a := range s.asks {
		if a == nil || !a.sent || a.answered || a.gone {
			continue
		}
		if _, isWait := a.item.cmd.(messages.Wait); !isWait {
			s.fail("answer", "%q is never answered", simDirective(a.item.cmd))
		} else if l := w.life(a.item.cmd.Target()); l != nil && l.exit != nil {
			s.fail("answer", "%q is not answered although the exit was told", simDirective(a.item.cmd))
		}
	}
	for _, p := range s.host.processes {
		if p.deleted {
			continue
		}
		l := w.lifeOf(p)
		switch {
		case p.dead && l != nil && l.exit == nil && (l.started || p.init == p):
			s.fail("order 3", "%s is gone and its exit is never told", p.id)
		case !p.dead && (l == nil || l.exit != nil && l.exit.Reason == ""):
			s.fail("stray", "%s lives and nobody was told of it", p.id)
		case !p.dead && !p.muddled && p.paused != l.paused:
			s.fail("truth", "%s is paused: %v, and was told to be: %v", p.id, p.paused, l.paused)
		}
	}
}

// lifeOf is the life that a process of the host is told as.
func (w *simWitness) lifeOf(p *simProcess) *simLife {
	for _, l := range w.lives {
		if l.pids == p.pids {
			return l
		}
	}
	return nil
}

// end is called when the runtime has ended: nothing is left.
func (w *simWitness) end() {
	s := w.sim
	for _, a := range s.asks {
		if a != nil && a.sent && !a.answered && !a.gone {
			s.fail("answer", "%q was never answered", simDirective(a.item.cmd))
		}
	}
	for _, l := range w.lives {
		switch {
		case !l.deleted && !w.forgiven(l.process):
			s.fail("order 1", "%s was never told to be deleted", l.process)
		case l.exit == nil && (l.started || l.process.IsInit()):
			s.fail("order 3", "the exit of %s was never told", l.process)
		}
	}
	if held := s.host.held(); len(held) > 0 {
		s.fail("held", "the driver still holds %v", held)
	}
	if len(s.tasks) > 0 {
		s.fail("calls", "%d calls to the driver are under way", len(s.tasks))
	}
	if len(s.timers) > 0 {
		s.fail("timers", "%d timers are set", len(s.timers))
	}
	if len(s.reaper.owners) > 0 {
		s.fail("owners", "the reaper still knows %d processes", len(s.reaper.owners))
	}
	for _, m := range s.boxes[3:] {
		if _, alive := s.rt.system.ProcessRegistry.Get(m.self); alive {
			s.fail("actors", "the actor of %s still is", m.name)
		}
	}
	s.slow.check(s)
}

// simSlow is an observer that reads rarely or never.
type simSlow struct {
	events       chan messages.Event
	seen, missed int
}

func (o *simSlow) read(s *sim) {
	switch e := (<-o.events).(type) {
	case messages.EventsDropped:
		o.missed += int(e.Count)
	default:
		o.seen++
	}
}

// check wants every event seen or counted as missed, but for those at the end
// that there was no later event to count them with.
func (o *simSlow) check(s *sim) {
	for len(o.events) > 0 {
		o.read(s)
	}
	if o.seen+o.missed > s.witness.count {
		s.fail("observer", "a slow observer was told of %d events and %d missed, of %d", o.seen, o.missed, s.witness.count)
	}
}
