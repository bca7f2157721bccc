package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/messages"
)

// simWitness checks what is promised: it sees the published events, the replies
// and the host, and never the state of an actor.
type simWitness struct {
	sim    *sim
	events chan messages.Event
	count  int
	lives  []*simLife
	// lost are those whose actors panicked twice. Their ids are free, and
	// nobody tells their deletion.
	lost []messages.Incarnation
}

// simLife is one life of an id, as the events tell it.
type simLife struct {
	process messages.Process
	pids    messages.PIDs
	// created is set for an init, added for an exec, from the first.
	started, deleted, paused bool
	exit                     *messages.Exit
	exitAt                   int // which event that was
}

// look takes in what the last step has led to.
func (w *simWitness) look() {
	for len(w.events) > 0 {
		e := <-w.events
		w.count++
		if w.sim.trace != nil {
			w.sim.note("event: %s", simEvent(e))
		}
		w.event(e)
	}
	w.sim.poll()
	for _, a := range w.sim.asks {
		if a != nil && a.gone && !a.forgotten && !w.travels(a.req) {
			a.forgotten = true
			w.sim.poll()
		}
	}
}

// life is the present life of a process; nil if it has none.
func (w *simWitness) life(p messages.Process) *simLife {
	for i := len(w.lives) - 1; i >= 0; i-- {
		if l := w.lives[i]; l.process == p && !l.deleted {
			return l
		}
	}
	return nil
}

// forgiven tells whether a process's actor, or its container's, was lost.
func (w *simWitness) forgiven(p messages.Process) bool {
	return slices.ContainsFunc(w.lost, func(i messages.Incarnation) bool {
		return i.Process == p || i.IsInit() && i.Container == p.Container
	})
}

// event checks the orders of the events.
func (w *simWitness) event(e messages.Event) {
	s, p := w.sim, e.Subject()
	l, init := w.life(p), w.life(messages.Init(p.Container))
	begin := func(pids messages.PIDs) {
		if l != nil && !w.forgiven(p) {
			s.fail("order 1", "%s was made twice", p)
		}
		w.lives = append(w.lives, &simLife{process: p, pids: pids})
	}
	switch e := e.(type) {
	case messages.ContainerCreated:
		begin(e.PIDs)
	case messages.ExecAdded:
		begin(messages.PIDs{})
		if init == nil || init.exit != nil {
			s.fail("order 1", "%s was added to a container that does not live", p)
		}
	case messages.ContainerStarted, messages.ExecStarted:
		switch {
		case l == nil:
			s.fail("order 1", "%s was started before it was made", p)
		case l.started:
			s.fail("order 1", "%s was started twice", p)
		case l.exit != nil:
			s.fail("order 2", "%s was started after its exit", p)
		case init == nil || init.exit != nil:
			s.fail("order 6", "%s was started after the exit of its init", p)
		}
		if x, isExec := e.(messages.ExecStarted); isExec && l != nil {
			l.pids = x.PIDs
		}
		if l != nil {
			l.started = true
		}
	case messages.ProcessExited:
		w.exited(l, e)
	case messages.ProcessDeleted:
		w.deleted(l, e)
	case messages.ContainerOOM:
		if l == nil || l.exit != nil {
			s.fail("order 5", "an OOM of %s was told after the exit that it explains", p)
		}
	case messages.ContainerPaused:
		if l == nil || !l.started || l.exit != nil || l.paused {
			s.fail("pause", "%s was paused out of order", p)
		} else {
			l.paused = true
		}
	case messages.ContainerResumed:
		if l == nil || l.exit != nil || !l.paused {
			s.fail("pause", "%s was resumed out of order", p)
		} else {
			l.paused = false
		}
	case messages.EventsDropped:
		s.fail("harness", "the witness missed %d events", e.Count)
	}
}

// exited checks an exit: there is one, after the start, of a process that is
// gone, and an init's is the last.
func (w *simWitness) exited(l *simLife, e messages.ProcessExited) {
	s, p := w.sim, e.Process
	switch {
	case l == nil:
		s.fail("order 1", "the exit of %s was told, which is not", p)
		return
	case l.exit != nil:
		s.fail("order 3", "the exit of %s was told twice", p)
	case !p.IsInit() && !l.started:
		s.fail("order 2", "the exit of %s was told before its start", p)
	}
	l.exit, l.exitAt = &e.Exit, w.count
	if p.IsInit() {
		for _, x := range w.lives {
			if x.process.Container == p.Container && !x.deleted && x.started && x.exit == nil {
				s.fail("order 4", "the exit of init %s was told before that of %s", p, x.process)
			}
		}
	}
	w.truth(p, l.pids, &e.Exit)
}

// truth compares an exit with what the host did.
func (w *simWitness) truth(p messages.Process, pids messages.PIDs, e *messages.Exit) {
	h := w.host(pids)
	switch {
	case e.Reason != "" && (h == nil || h.exit.Reason != e.Reason):
		// The runtime says that it does not know.
	case h == nil:
		w.sim.fail("truth", "%s has pids %v, which are nobody's", p, pids)
	case !h.dead:
		w.sim.fail("truth", "the exit of %s was told, which lives", p)
	case h.exit.Status != e.Status:
		w.sim.fail("truth", "the exit of %s was told with status %d and was %d", p, e.Status, h.exit.Status)
	}
}

func (w *simWitness) deleted(l *simLife, e messages.ProcessDeleted) {
	s, p := w.sim, e.Process
	switch {
	case l == nil:
		s.fail("order 1", "%s was deleted, which is not", p)
		return
	case l.exit == nil && (p.IsInit() || l.started):
		s.fail("order 1", "%s was deleted before its exit was told", p)
	case (e.Exit == nil) != (l.exit == nil) || e.Exit != nil && e.Exit.Status != l.exit.Status:
		s.fail("truth", "%s was deleted with another exit than was told", p)
	}
	l.deleted = true
	if p.IsInit() {
		for _, x := range w.lives {
			if x.process.Container == p.Container && !x.deleted && !w.forgiven(x.process) {
				s.fail("order 1", "container %s was deleted before %s", p, x.process)
			}
		}
	}
}

// host is the process of some pids.
func (w *simWitness) host(pids messages.PIDs) *simProcess {
	for _, p := range w.sim.host.processes {
		if p.pids == pids {
			return p
		}
	}
	return nil
}

// called checks what the driver is asked for: nothing is started after the exit
// of the container's init has been told. It is when the runtime made the call
// that counts, since the goroutine of a call may take its time to begin.
func (w *simWitness) called(p, init messages.Incarnation) {
	h := w.sim.host.find(init)
	if h == nil {
		return
	}
	if l := w.lifeOf(h); l != nil && l.exit != nil && l.exitAt <= w.sim.running.born {
		w.sim.fail("order 6", "the driver was asked to start %s after the exit of its init", p)
	}
}

var _ actor.Mailbox = (*simMailbox)(nil)
