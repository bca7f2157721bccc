package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/messages"
)

// publisher tells events to every subscriber, in one order for all of them: the
// order in which they came to its mailbox. A subscriber that does not read loses
// events and delays nobody.
type publisher struct {
	subscribers []*subscriber
	// silent is closed when nothing more is told.
	silent chan<- struct{}
}

type subscriber struct {
	sub    *Subscription
	missed uint64
}

type (
	publish     struct{ event messages.Event }
	subscribe   struct{ sub *Subscription }
	unsubscribe struct{ sub *Subscription }
	// flush is answered when everything that came before it has been told.
	flush struct{ done chan<- struct{} }
)

// Receive implements actor.Actor.
func (p *publisher) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case publish:
		for _, s := range p.subscribers {
			s.tell(m.event)
		}
	case subscribe:
		p.subscribers = append(p.subscribers, &subscriber{sub: m.sub})
		close(m.sub.ready)
	case unsubscribe:
		p.end(m.sub)
	case flush:
		close(m.done)
	case *actor.Stopping:
		for len(p.subscribers) > 0 {
			p.end(p.subscribers[0].sub)
		}
	case *actor.Stopped:
		close(p.silent)
	}
}

func (p *publisher) end(sub *Subscription) {
	for i, s := range p.subscribers {
		if s.sub == sub {
			p.subscribers = append(p.subscribers[:i:i], p.subscribers[i+1:]...)
			if s.missed > 0 {
				sub.events <- messages.EventsDropped{Count: s.missed} // its place is kept
			}
			close(sub.events)
			return
		}
	}
}

// tell hands over an event, after a note of what was missed before it.
func (s *subscriber) tell(e messages.Event) {
	if s.missed > 0 && s.room() {
		s.sub.events <- messages.EventsDropped{Count: s.missed}
		s.missed = 0
	}
	if s.missed == 0 && s.room() {
		s.sub.events <- e
	} else {
		s.missed++
	}
}

// room tells whether an event fits. One place is kept, so that what is missed
// before the end can be told. Only the publisher sends, so a place that is free
// stays free.
func (s *subscriber) room() bool { return len(s.sub.events) < cap(s.sub.events)-1 }

// Subscription is one observer of events.
type Subscription struct {
	rt     *Runtime
	events chan messages.Event
	ready  chan struct{}
}

// Subscribe begins to observe: every event that is published after it returns
// is told, in the one order that all subscribers see. capacity is how many
// events are held while the subscriber does not read; 0 is Limits.Events. What
// goes beyond it is lost and counted by a [messages.EventsDropped] in its place.
func (rt *Runtime) Subscribe(capacity int) *Subscription {
	if capacity <= 0 {
		capacity = rt.options.Limits.Events
	}
	sub := &Subscription{rt: rt, events: make(chan messages.Event, capacity+1), ready: make(chan struct{})}
	rt.system.Root.Send(rt.publisher, subscribe{sub})
	select {
	case <-sub.ready:
		return sub
	case <-rt.ended:
	}
	<-rt.silent
	select {
	case <-sub.ready: // it came in time, and has been closed
	default:
		close(sub.events)
	}
	return sub
}

// Events is closed by Close and when the runtime ends.
func (s *Subscription) Events() <-chan messages.Event { return s.events }

// Sync returns when every event that was published before the call is in
// Events. An event is published before the command that caused it is answered.
func (s *Subscription) Sync(ctx context.Context) error {
	done := make(chan struct{})
	s.rt.system.Root.Send(s.rt.publisher, flush{done})
	select {
	case <-done:
		return nil
	case <-s.rt.ended:
		return &messages.Error{Kind: messages.Unavailable, Op: "wait for events", Err: messages.Text("the runtime has ended")}
	case <-ctx.Done():
		return &messages.Error{Kind: messages.KindOf(ctx.Err()), Op: "wait for events", Err: ctx.Err()}
	}
}

// Close ends the subscription. What is in Events can still be read.
func (s *Subscription) Close() { s.rt.system.Root.Send(s.rt.publisher, unsubscribe{s}) }
