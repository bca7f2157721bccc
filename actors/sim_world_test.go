package actors

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// simEpoch is when every scenario begins.
var simEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Go implements world: fn becomes a task, which runs when the scheduler lets it.
func (s *sim) Go(fn func()) {
	s.tasks = append(s.tasks, &simTask{fn: fn, born: s.witness.count, weight: s.weigh()})
}

// AfterFunc implements world. Stopping a timer that is due is too late, as it is
// for the real ones, whose function may have begun by then.
func (s *sim) AfterFunc(d time.Duration, fn func()) func() {
	t := &simTimer{at: s.now.Add(d), fn: fn}
	s.timers = append(s.timers, t)
	return func() {
		if i := slices.Index(s.timers, t); i >= 0 && !t.due {
			s.timers = slices.Delete(s.timers, i, i+1)
		}
	}
}

// Now implements world.
func (s *sim) Now() time.Time { return s.now }

// Mailbox implements world.
func (s *sim) Mailbox() actor.MailboxProducer {
	return func() actor.Mailbox {
		m := &simMailbox{sim: s, weight: s.weigh()}
		s.boxes = append(s.boxes, m)
		return m
	}
}

type simTimer struct {
	at  time.Time
	fn  func()
	due bool
}

// simMailbox hands over one message each time that the scheduler picks it, in
// the order in which they came.
type simMailbox struct {
	sim     *sim
	invoker actor.MessageInvoker
	self    *actor.PID
	name    string
	queue   []simMail
	busy    bool
	weight  int
}

type simMail struct {
	message any
	system  bool
}

// PostUserMessage implements actor.Mailbox.
func (m *simMailbox) PostUserMessage(message any) { m.post(simMail{message, false}) }

// PostSystemMessage implements actor.Mailbox.
func (m *simMailbox) PostSystemMessage(message any) { m.post(simMail{message, true}) }

func (m *simMailbox) post(mail simMail) {
	m.queue = append(m.queue, mail)
	if m.sim.inlined() && !m.busy && len(m.queue) == 1 {
		m.deliver()
	}
}

// RegisterHandlers implements actor.Mailbox.
func (m *simMailbox) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	m.invoker = invoker
	ctx := invoker.(actor.Context)
	m.self = ctx.Self()
	switch a := ctx.Actor().(type) {
	case interface{ simName() string }:
		m.name = a.simName()
	case *reaper:
		m.name = "reaper"
	case *publisher:
		m.name = "publisher"
	}
}

// simName is the actor's name in traces.
func (s *shell[M, P]) simName() string { return s.name }

// Start implements actor.Mailbox.
func (m *simMailbox) Start() {}

// UserMessageCount implements actor.Mailbox.
func (m *simMailbox) UserMessageCount() int { return len(m.queue) }

// deliver hands over the first message.
func (m *simMailbox) deliver() {
	mail := m.queue[0]
	m.queue = m.queue[1:]
	m.busy = true
	defer func() {
		m.busy = false
		if r := recover(); r != nil {
			m.sim.fail("panic", "the actor of %s let a panic out at %T: %v", m.name, mail.message, r)
		}
	}()
	if l, ok := mail.message.(lifecycle.Lost); ok {
		m.sim.witness.lost = append(m.sim.witness.lost, l.Process)
	}
	if m.sim.trace != nil && !mail.system {
		m.sim.note("%s takes %s", m.name, simMessage(mail.message))
	}
	if mail.system {
		m.invoker.InvokeSystemMessage(mail.message)
	} else {
		m.invoker.InvokeUserMessage(mail.message)
	}
}

// simMessage is a message in a trace. It names no pid of the library and no
// address, so that it is the same in every run.
func simMessage(m any) string {
	switch m := m.(type) {
	case *request:
		return simDirective(m.cmd)
	case lifecycle.Command:
		return simDirective(m.Cmd)
	case lifecycle.Abandon:
		return "abandon " + m.Process.String()
	case lifecycle.Answer:
		return fmt.Sprintf("answer of call %d by the runtime: %v", m.Op, m.Err)
	case returned:
		return fmt.Sprintf("answer of call %d: %v", m.answer.Op, m.answer.Err)
	case own:
		return "own " + m.process.String()
	case disown:
		return "disown " + m.process.String()
	case publish:
		return simEvent(m.event)
	case messages.ExitNotice:
		return fmt.Sprintf("exit of %s status=%d", m.Process, m.Exit.Status)
	case messages.OOMNotice:
		return "oom of " + m.Process.String()
	case lifecycle.Exit:
		return fmt.Sprintf("exit status=%d", m.Exit.Status)
	case lifecycle.Deleted:
		return fmt.Sprintf("deleted %s, %d replies", m.Process, len(m.Replies))
	case lifecycle.Started:
		return "started " + m.Process.String()
	case lifecycle.Failed:
		return "failed " + m.Process.String()
	case lifecycle.Exited:
		return "exited " + m.Process.String()
	case lifecycle.Made:
		return "made " + m.Process.String()
	case lifecycle.Crashed:
		return "crashed " + m.Process.String()
	case lifecycle.Lost:
		return "lost " + m.Process.String()
	case lifecycle.Doom:
		return "doom: " + m.Reason
	}
	return fmt.Sprintf("%T", m)
}

// simTask is a function that the runtime wants run elsewhere. It begins, and
// goes on after each of its calls to the driver, when the scheduler picks it.
type simTask struct {
	fn     func()
	co     *simCoroutine
	call   *simCall // the call that it is in; nil before the first
	born   int      // how many events had been told when it was made
	weight int
}

// simCoroutine runs tasks, one after the other. It is a coroutine and not a
// goroutine among others: only one side runs at a time, so nothing races.
type simCoroutine struct {
	job    func()
	resume func() (finished, ok bool)
	stop   func()
	yield  func(finished bool) bool
}

func newSimCoroutine() *simCoroutine {
	c := new(simCoroutine)
	c.resume, c.stop = iter.Pull(func(yield func(bool) bool) {
		c.yield = yield
		for {
			c.job()
			if !yield(true) {
				return
			}
		}
	})
	return c
}

// resume runs a task until it calls the driver or ends.
func (s *sim) resume(i int) {
	t := s.tasks[i]
	if t.co == nil {
		t.co = s.shop.coroutine()
		t.co.job = t.fn
	}
	before := s.running
	s.running = t
	t.call = nil
	finished, _ := t.co.resume()
	s.running = before
	if finished {
		s.shop.idle = append(s.shop.idle, t.co)
		s.tasks = slices.Delete(s.tasks, slices.Index(s.tasks, t), slices.Index(s.tasks, t)+1)
	}
}

// park is called by the driver: it stops the task until the scheduler picks it.
func (s *sim) park(c *simCall) {
	t := s.running
	t.call = c
	t.co.yield(false)
}

// simContext is the context of an asker. Only its error is ever asked for.
type simContext struct{ err error }

func (c *simContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c *simContext) Done() <-chan struct{}       { return nil }
func (c *simContext) Err() error                  { return c.err }
func (c *simContext) Value(any) any               { return nil }

var _ context.Context = (*simContext)(nil)
