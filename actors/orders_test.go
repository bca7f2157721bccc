package actors_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/troupe-run/troupe/messages"
)

// checkOrders checks the orders that hold for every stream of events, one after
// the other, and that at its end every started process has had its exit. Where
// actors were lost, nobody tells the deletion of what they stood for.
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

// lostReason is that of the exit which a parent tells for an actor that is lost.
const lostReason = "its actor failed twice"

// stream is what the events so far have told of each process that is not
// deleted.
type stream map[messages.Process]life

type life struct{ started, exited bool }

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
		l.exited = true
		if e.Exit.Reason == lostReason {
			// It has no ProcessDeleted: nothing is left that could be deleted.
			maps.DeleteFunc(s, func(q messages.Process, _ life) bool { return q == p || p.IsInit() && q.Container == p.Container })
			return ""
		}
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
				if q.Container == p.Container && !q.IsInit() {
					return "its exec is not deleted: " + q.String()
				}
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

// forgive forgets those that must have been released before e, if they do not
// run: their actor was lost.
func (s stream) forgive(e messages.Event) {
	p := e.Subject()
	released := func(q messages.Process, l life) bool {
		switch e.(type) {
		case messages.ContainerCreated, messages.ExecAdded:
			return (q == p || p.IsInit() && q.Container == p.Container) && l.started == l.exited
		case messages.ProcessDeleted:
			return q != p && p.IsInit() && q.Container == p.Container && l.started == l.exited
		}
		return false
	}
	maps.DeleteFunc(s, released)
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
