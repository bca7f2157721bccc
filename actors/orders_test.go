package actors_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

// checkOrders checks the orders that hold for every stream of events, one after
// the other, and that at its end every started process has had its exit. Where
// the actor of a container was lost, nobody tells the deletion of its execs.
func checkOrders(t *testing.T, events []messages.Event, lost bool) {
	t.Helper()
	s := stream{}
	for i, e := range events {
		if lost {
			s.forgive(e)
		}
		if wrong := s.take(e); wrong != "" {
			t.Errorf("event %d, %T of %s: %s", i, e, e.Subject(), wrong)
			for j := max(0, i-20); j <= i; j++ {
				t.Logf("%d: %s", j, describe(events[j]))
			}
			return
		}
	}
	for p, l := range s {
		if l.started && !l.exited {
			t.Errorf("%s was started and has no exit", p)
		}
	}
}

func describe(e messages.Event) string {
	if x, ok := e.(messages.ProcessExited); ok {
		return fmt.Sprintf("%T %s status=%d %s", e, x.Process, x.Exit.Status, x.Exit.Reason)
	}
	return fmt.Sprintf("%T %s", e, e.Subject())
}

// stream is what the events so far have told of each process that is not
// deleted.
type stream map[messages.Process]life

// lost: its parent told its exit, and nobody tells the deletion of its execs.
type life struct{ started, exited, lost bool }

// lostReason is that of the exit which a parent tells for an actor that is lost.
const lostReason = "its actor failed twice"

// take takes the next event and says what is wrong with it.
func (s stream) take(e messages.Event) string {
	p := e.Subject()
	l, known := s[p]
	init, initKnown := s[messages.Init(p.Container)]
	switch e := e.(type) {
	case messages.ContainerCreated:
		if known {
			return "it is there already"
		}
	case messages.ContainerStarted, messages.ExecStarted:
		switch {
		case !known:
			return "it was not added"
		case l.started:
			return "it was started before"
		case l.exited:
			return "it has exited"
		case init.exited:
			return "its init has exited"
		}
		l.started = true
	case messages.ExecAdded:
		switch {
		case known:
			return "it is there already"
		case !initKnown:
			return "there is no such container"
		case init.exited:
			return "its init has exited"
		}
	case messages.ProcessExited:
		switch {
		case !known:
			return "it was not added"
		case l.exited:
			return "a second exit"
		case !p.IsInit() && !l.started:
			return "an exec that was not started has no exit"
		case p.IsInit() && s.liveExec(p.Container) != "":
			return "init's exit comes before that of " + s.liveExec(p.Container)
		case e.Exit.At.IsZero():
			return "the exit has no time"
		}
		l.exited, l.lost = true, e.Exit.Reason == lostReason
	case messages.ContainerOOM:
		if !known || l.exited {
			return "out of memory after the exit that it explains"
		}
	case messages.ProcessDeleted:
		switch {
		case !known:
			return "it was not added"
		case (l.started || p.IsInit()) && !l.exited:
			return "it is deleted without an exit"
		case l.exited != (e.Exit != nil):
			return "the event and the exit before it differ"
		}
		if p.IsInit() {
			for q := range s {
				if q.Container != p.Container || q.IsInit() {
					continue
				}
				if !l.lost {
					return "its exec is not deleted: " + q.String()
				}
				delete(s, q)
			}
		}
		delete(s, p)
		return ""
	default:
		return ""
	}
	s[p] = l
	return ""
}

// forgive forgets the execs that must have been released before the deletion e of
// their container, if they do not run: the container's actor was lost.
func (s stream) forgive(e messages.Event) {
	d, ok := e.(messages.ProcessDeleted)
	if !ok || !d.Process.IsInit() {
		return
	}
	maps.DeleteFunc(s, func(q messages.Process, l life) bool {
		return q.Container == d.Process.Container && !q.IsInit() && l.started == l.exited
	})
}

// liveExec names an exec of a container that was started and has not exited.
func (s stream) liveExec(c messages.ContainerID) string {
	for p, l := range s {
		if p.Container == c && !p.IsInit() && l.started && !l.exited {
			return p.String()
		}
	}
	return ""
}
