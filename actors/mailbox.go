package actors

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is a queue of messages for one actor, run by one goroutine at a time.
//
// A message for an idle actor is handled on the goroutine of the sender, before
// Send returns; one for an actor that is busy is queued and handled by whoever
// keeps it busy. An ask goes down the tree without waking a goroutine, and
// with no allocation for the queue. Actors never block, so neither does a Send.
//
// System messages and the others share one queue: what a child has told comes
// before the news of its end. The library's suspension of a failed actor does
// not exist here, since a shell recovers its own panics.
//
// The atomics decide who runs the queue, and nothing else.
type mailbox struct {
	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher
	log        *slog.Logger
	// pending counts the messages that were posted and are not handled. Who
	// takes it from 0 to 1 runs the queue until it is 0 again.
	pending atomic.Int64
	// last is where senders append. first is the runner's own; it is a node
	// that has been handled, or the empty one to begin with.
	last  atomic.Pointer[node]
	first *node
	empty node
}

// node is a message that waits for its turn.
type node struct {
	message any
	system  bool
	next    atomic.Pointer[node]
}

// errand is how many messages a sender handles for an actor before it leaves
// the rest to another goroutine: it has work of its own.
const errand = 64

func newMailbox(log *slog.Logger) *mailbox {
	m := &mailbox{log: log}
	m.first = &m.empty
	m.last.Store(&m.empty)
	return m
}

// PostUserMessage implements actor.Mailbox.
func (m *mailbox) PostUserMessage(message any) { m.post(message, false) }

// PostSystemMessage implements actor.Mailbox.
func (m *mailbox) PostSystemMessage(message any) { m.post(message, true) }

// RegisterHandlers implements actor.Mailbox.
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, d actor.Dispatcher) {
	m.invoker, m.dispatcher = invoker, d
}

// Start implements actor.Mailbox.
func (m *mailbox) Start() {}

// UserMessageCount implements actor.Mailbox: messages not handled yet.
func (m *mailbox) UserMessageCount() int { return int(m.pending.Load()) }

func (m *mailbox) post(message any, system bool) {
	if m.pending.Add(1) > 1 {
		n := &node{message: message, system: system}
		m.last.Swap(n).next.Store(n)
		return
	}
	m.invoke(message, system)
	if m.pending.Add(-1) > 0 {
		m.run(errand)
	}
}

// run handles what is queued. It is called by the one runner, with at least one
// message pending, and hands over to another goroutine after limit messages.
func (m *mailbox) run(limit int) {
	for range limit {
		n := m.pop()
		message, system := n.message, n.system
		n.message = nil // n stays as the first node
		m.invoke(message, system)
		if m.pending.Add(-1) == 0 {
			return
		}
	}
	m.dispatcher.Schedule(func() { m.run(m.dispatcher.Throughput()) })
}

// pop takes the next node. A sender counts its message before it links it, so
// the runner may have to wait for the few instructions between the two.
func (m *mailbox) pop() *node {
	for {
		if n := m.first.next.Load(); n != nil {
			m.first = n
			return n
		}
		runtime.Gosched()
	}
}

func (m *mailbox) invoke(message any, system bool) {
	defer func() {
		if r := recover(); r != nil {
			m.log.Error("actor library panicked", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		}
	}()
	if system {
		m.invoker.InvokeSystemMessage(message)
	} else {
		m.invoker.InvokeUserMessage(message)
	}
}
