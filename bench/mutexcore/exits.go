package mutexcore

import (
	"sync"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// notices are what the driver has reported and nobody has taken, in order. It
// has no bound: a driver must not wait, and an exit must not be lost.
type notices struct {
	// more holds a token when there is something to take.
	more chan struct{}
	done chan struct{} // closed when no more is taken

	mu   sync.Mutex
	list []messages.Notice
}

func newNotices() *notices {
	return &notices{more: make(chan struct{}, 1), done: make(chan struct{})}
}

// put never waits.
func (n *notices) put(notice messages.Notice) {
	n.mu.Lock()
	n.list = append(n.list, notice)
	n.mu.Unlock()
	select {
	case n.more <- struct{}{}:
	default:
	}
}

// take waits for the next ones, and is false at the end. It may give none: a
// token can be late for what was taken with the one before it.
func (n *notices) take() ([]messages.Notice, bool) {
	select {
	case <-n.more:
	case <-n.done:
		return nil, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list, true
}

func (n *notices) close() { close(n.done) }

// processExits takes what the driver reports, one after the other.
func (c *Core) processExits() {
	for list, ok := c.notices.take(); ok; list, ok = c.notices.take() {
		for _, notice := range list {
			c.processNotice(notice)
		}
	}
}

func (c *Core) processNotice(notice messages.Notice) {
	switch n := notice.(type) {
	case messages.ExitNotice:
		if n.Exit.At.IsZero() {
			n.Exit.At = time.Now()
		}
		if ctr := c.find(n.Process.Container); ctr != nil {
			ctr.exited(n.Process, n.Exit)
		}
	case messages.OOMNotice:
		if ctr := c.find(n.Process.Container); ctr != nil && ctr.init.id == n.Process {
			c.events.send(messages.ContainerOOM{Container: ctr.id})
		}
	}
}

// find finds a container also while it is being created: its exit may come
// before the call has returned.
func (c *Core) find(id messages.ContainerID) *container {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.containers[id]
}
