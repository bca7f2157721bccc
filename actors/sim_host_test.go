package actors

import (
	"slices"

	"github.com/troupe-run/troupe/messages"
)

// simHost is the driver of the simulation and the host behind it. A call begins,
// takes effect and returns in three steps of the scheduler; the end of a process
// and the report of it are two.
type simHost struct {
	sim       *sim
	tell      func(messages.Notice)
	processes []*simProcess // every one that ever was, in the order of their making
	notices   []*simNotice  // what is not told yet
	pids      int
	closed    bool
}

// simProcess is one incarnation, from the effect of Create or Exec on.
type simProcess struct {
	id      messages.Incarnation
	init    *simProcess // itself for an init
	root    *simProcess // the init that its sandbox lives and ends with
	sandbox messages.SandboxID
	pids    messages.PIDs
	started bool
	paused  bool // of an init: its container
	// muddled: a pause or resume began while another was under way, so that
	// nobody can know from their answers which was the last to be carried out.
	muddled bool
	// dying is a signal or a kill of the sandbox on its way; it dies of it in a
	// step of its own.
	dying   *simDeath
	dead    bool
	exit    messages.Exit
	deleted bool
	weight  int
}

type simDeath struct {
	status int
	reason string
}

type simNotice struct {
	notice messages.Notice
	of     *simProcess
	weight int
}

func (h *simHost) find(id messages.Incarnation) *simProcess {
	for _, p := range h.processes {
		if p.id == id && !p.deleted {
			return p
		}
	}
	return nil
}

// kill lets a process die at some time from now on.
func (p *simProcess) kill(status int, reason string) {
	if p.dying == nil && !p.dead {
		p.dying = &simDeath{status, reason}
	}
}

// end lets a process end, with all that can not live without it.
func (h *simHost) end(p *simProcess, status int, reason string) {
	if p.dead {
		return
	}
	p.dead = true
	p.exit = messages.Exit{Status: status, At: h.sim.now, Reason: reason}
	h.notices = append(h.notices, &simNotice{messages.ExitNotice{Process: p.id, Exit: p.exit}, p, h.sim.weigh()})
	if h.sim.trace != nil {
		h.sim.note("host: %s is gone, status=%d", p.id, status)
	}
	for _, q := range h.processes {
		switch {
		case q.deleted:
		case q.init == p:
			h.end(q, messages.ExitKilled, "")
		case q.root == p:
			h.end(q, messages.ExitKilled, "the sandbox is gone")
		}
	}
}

// tellable tells whether a notice can be told now: that of an OOM comes before
// the exit that it explains.
func (h *simHost) tellable(i int) bool {
	_, isExit := h.notices[i].notice.(messages.ExitNotice)
	return !isExit || !slices.ContainsFunc(h.notices[:i], func(n *simNotice) bool {
		_, isOOM := n.notice.(messages.OOMNotice)
		return isOOM && n.of == h.notices[i].of.init
	})
}

func (h *simHost) report(i int) {
	n := h.notices[i]
	h.notices = slices.Delete(h.notices, i, i+1)
	h.tell(n.notice)
}

// held lists what the driver has to be asked to delete yet.
func (h *simHost) held() (held []string) {
	for _, p := range h.processes {
		if !p.deleted {
			held = append(held, p.id.String())
		}
	}
	return held
}

func (h *simHost) make(id messages.Incarnation, sandbox messages.SandboxID) *simProcess {
	h.pids++
	p := &simProcess{id: id, sandbox: sandbox, weight: h.sim.weigh(), pids: messages.PIDs{Host: 1000 + h.pids, Guest: h.pids}}
	h.processes = append(h.processes, p)
	return p
}

// frozen tells whether a pause holds up what happens in a container. In gVisor
// it is the whole sandbox that is paused.
func (h *simHost) frozen(init messages.Incarnation) bool {
	p := h.find(init)
	return p != nil && !p.dead && slices.ContainsFunc(h.processes, func(q *simProcess) bool {
		return q.paused && !q.dead && q.root == p.root
	})
}

// mishap does what a plan has gone wrong on the host. It is false while there
// is nothing that it could happen to.
func (h *simHost) mishap(it *simItem, really bool) bool {
	for _, p := range h.processes {
		if p.id.Process != it.process || p.deleted || p.dead != (it.kind == simDoubleItem) || it.kind == simExitItem && !p.started {
			continue
		}
		if !really {
			return true
		}
		if h.sim.trace != nil {
			h.sim.note("%s", it)
		}
		switch it.kind {
		case simExitItem:
			h.end(p, it.status, "")
		case simDieItem:
			h.end(p.root, messages.ExitKilled, "the sandbox is gone")
		case simOOMItem:
			h.notices = append(h.notices, &simNotice{messages.OOMNotice{Process: p.id}, p, h.sim.weigh()})
			h.end(p.root, messages.ExitKilled, "the sandbox is gone")
		case simDoubleItem:
			h.notices = append(h.notices, &simNotice{messages.ExitNotice{Process: p.id, Exit: p.exit}, p, h.sim.weigh()})
		}
		return true
	}
	return false
}
