package mutexcore

import (
	"sync"

	"github.com/troupe-run/troupe/messages"
)

const (
	// eventQueue is the size of the channel of events in both shims.
	eventQueue = 128
	// subscriptionSize is the default of package actors.
	subscriptionSize = 4096
)

// publisher tells events to every subscriber, in the order in which they were
// sent. A subscriber that does not read loses events and delays nobody.
type publisher struct {
	events  chan messages.Event
	done    chan struct{} // closed when no more is sent
	flushed chan struct{} // closed when all of it is told

	mu          sync.Mutex
	subscribers []*Subscription
	ended       bool
}

func newPublisher() *publisher {
	return &publisher{events: make(chan messages.Event, eventQueue), done: make(chan struct{}), flushed: make(chan struct{})}
}

// send hands over an event. It waits while the channel is full, which forward
// empties without waiting for anyone.
func (p *publisher) send(e messages.Event) {
	select {
	case p.events <- e:
	case <-p.done:
	}
}

// forward tells events until the end, and then what is left.
func (p *publisher) forward() {
	defer close(p.flushed)
	for {
		select {
		case e := <-p.events:
			p.tell(e)
		case <-p.done:
			for {
				select {
				case e := <-p.events:
					p.tell(e)
				default:
					return
				}
			}
		}
	}
}

func (p *publisher) tell(e messages.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subscribers {
		s.tell(e)
	}
}

// close returns when everything is told, and ends the subscriptions.
func (p *publisher) close() {
	close(p.done)
	<-p.flushed
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subscribers {
		s.end()
	}
	p.subscribers, p.ended = nil, true
}

// Subscription is one observer of events.
type Subscription struct {
	events chan messages.Event
	missed uint64 // guarded by publisher.mu
}

// Subscribe begins to observe. capacity is how many events are held while the
// subscriber does not read, 4,096 if it is 0; those beyond are lost, and counted
// by a [messages.EventsDropped] in their place.
func (c *Core) Subscribe(capacity int) *Subscription {
	if capacity <= 0 {
		capacity = subscriptionSize
	}
	s := &Subscription{events: make(chan messages.Event, capacity+1)}
	p := c.events
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		close(s.events)
	} else {
		p.subscribers = append(p.subscribers, s)
	}
	return s
}

// Events is closed by Shutdown.
func (s *Subscription) Events() <-chan messages.Event { return s.events }

// tell hands over an event after a note of what was missed before it. One place
// is kept for a note at the end.
func (s *Subscription) tell(e messages.Event) {
	if s.missed > 0 && s.room() {
		s.events <- messages.EventsDropped{Count: s.missed}
		s.missed = 0
	}
	if s.missed == 0 && s.room() {
		s.events <- e
	} else {
		s.missed++
	}
}

func (s *Subscription) room() bool { return len(s.events) < cap(s.events)-1 }

func (s *Subscription) end() {
	if s.missed > 0 {
		s.events <- messages.EventsDropped{Count: s.missed}
	}
	close(s.events)
}
