package actors

import (
	"slices"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// replied checks a reply against the events and the host.
func (w *simWitness) replied(a *simAsk) {
	s, cmd := w.sim, a.item.cmd
	if a.forgotten {
		if _, isWait := cmd.(messages.Wait); isWait {
			s.fail("kept", "%q was answered although its asker had long given up", simDirective(cmd))
		}
	}
	if a.reply.Err != nil || a.reply.Reply == nil {
		if a.reply.Err == nil {
			s.fail("reply", "%q was answered by nothing", simDirective(cmd))
		}
		if messages.KindOf(a.reply.Err) == messages.Internal && len(s.inputs) == 0 && !w.faulty() {
			s.fail("reply", "%q failed though nothing went wrong: %v", simDirective(cmd), a.reply.Err)
		}
		return
	}
	told := func(is func(messages.Event, *simLife) bool) {
		if !w.told(is) {
			s.fail("event", "%q was answered before its event was published", simDirective(cmd))
		}
	}
	switch r := a.reply.Reply.(type) {
	case messages.Created:
		told(func(e messages.Event, l *simLife) bool {
			c, ok := e.(messages.ContainerCreated)
			return ok && c.PIDs == r.PIDs || l != nil && l.pids == r.PIDs
		})
	case messages.Started:
		told(func(e messages.Event, l *simLife) bool {
			c, ok := e.(messages.ContainerStarted)
			x, ok2 := e.(messages.ExecStarted)
			return ok && c.PIDs == r.PIDs || ok2 && x.PIDs == r.PIDs || l != nil && l.pids == r.PIDs && l.started
		})
		if h := w.host(r.PIDs); h == nil || !h.started || h.id.Process != r.Process {
			s.fail("truth", "%s was said to be started and was not", r.Process)
		}
	case messages.Exited:
		told(func(e messages.Event, l *simLife) bool {
			x, ok := e.(messages.ProcessExited)
			return ok && x.Process == r.Process && x.Exit == r.Exit ||
				l != nil && l.process == r.Process && l.exit != nil && *l.exit == r.Exit
		})
	case messages.Deleted:
		told(func(e messages.Event, l *simLife) bool {
			x, ok := e.(messages.ProcessDeleted)
			return ok && x.Process == r.Process || l != nil && l.process == r.Process && l.deleted
		})
	case messages.ProcessState:
		w.state(r)
	case messages.PidList:
		for _, p := range r.Processes {
			if h := w.host(p.PIDs); h == nil || h.id.Process != p.Process {
				s.fail("truth", "pids told %v for %s, which are not its own", p.PIDs, p.Process)
			}
		}
	}
}

// faulty tells whether the plan has something go wrong on the host.
func (w *simWitness) faulty() bool {
	for i := range w.sim.plan.items {
		switch w.sim.plan.items[i].kind {
		case simFaultItem:
			return true
		}
	}
	return false
}

// told tells whether some event has been published, as far as subscribers are
// concerned: it is in the publisher's mailbox, or was before.
func (w *simWitness) told(is func(messages.Event, *simLife) bool) bool {
	for _, l := range w.lives {
		if is(nil, l) {
			return true
		}
	}
	for _, m := range w.sim.boxes[0].queue {
		if p, ok := m.message.(publish); ok && is(p.event, nil) {
			return true
		}
	}
	return false
}

func (w *simWitness) state(r messages.ProcessState) {
	h := w.host(r.PIDs)
	switch r.Status {
	case messages.StatusRunning, messages.StatusPaused:
		if h == nil || !h.started {
			w.sim.fail("truth", "%s was said to be %s and was never started", r.Process, r.Status)
		}
	case messages.StatusStopped:
		if r.Exit != nil {
			w.truth(r.Process, r.PIDs, r.Exit)
		}
	}
}

// travels tells whether a message about an asker is under way.
func (w *simWitness) travels(asker *request) bool {
	for _, m := range w.sim.boxes {
		for _, mail := range m.queue {
			switch msg := mail.message.(type) {
			case *request:
				if msg == asker {
					return true
				}
			case lifecycle.Command:
				if msg.Asker == lifecycle.Asker(asker) {
					return true
				}
			case lifecycle.Abandon:
				if msg.Asker == lifecycle.Asker(asker) {
					return true
				}
			case lifecycle.Deleted:
				for _, r := range msg.Replies {
					if r.To == lifecycle.Asker(asker) {
						return true
					}
				}
			}
		}
	}
	return false
}

// idle is called when no message is under way: whatever needs only the actors'
// own knowledge has been answered by then, whatever hangs.
func (w *simWitness) idle() {
	for _, a := range w.sim.asks {
		if a == nil || !a.sent || a.answered || a.gone {
			continue
		}
		switch a.item.cmd.(type) {
		case messages.State, messages.Pids, messages.Connect, messages.Info, messages.Exec:
			w.sim.fail("order 7", "%q waits for something outside of the actors", simDirective(a.item.cmd))
		}
	}
}

// stall is called when nothing can go on before the clock moves. Whoever waits
// then waits for a call that hangs in its own container, and for no other.
func (w *simWitness) stall() {
	s := w.sim
	for _, a := range s.asks {
		if a == nil || !a.sent || a.answered || a.gone {
			continue
		}
		switch cmd := a.item.cmd.(type) {
		case messages.Wait, messages.Shutdown:
		case messages.Create:
			if !w.hangs(func(p messages.Incarnation) bool { return true }) {
				s.fail("order 7", "%q waits and no call hangs", simDirective(cmd))
			}
		default:
			id := cmd.Target().Container
			if !w.hangs(func(p messages.Incarnation) bool { return p.Container == id }) && len(s.timers) == 0 {
				s.fail("order 7", "%q waits and no call of its container hangs", simDirective(cmd))
			}
		}
	}
	for _, p := range s.host.processes {
		l := w.lifeOf(p)
		if p.dead && l != nil && l.exit == nil && (l.started || p.init == p) && len(s.timers) == 0 &&
			!w.hangs(func(q messages.Incarnation) bool { return q.Container == p.id.Container }) {
			s.fail("order 3", "the exit of %s is not told and no call of its container hangs", p.id)
		}
	}
}

// hangs tells whether a call to the driver is under way for some process.
func (w *simWitness) hangs(of func(messages.Incarnation) bool) bool {
	return slices.ContainsFunc(w.sim.tasks, func(t *simTask) bool { return t.call != nil && of(t.call.process) })
}
