package lifecycle

import (
	"slices"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// host is a model of a driver and what lives behind it, without time: a call is
// carried out, and returns, when the dice say so.
type host struct {
	w      *world
	guests map[messages.Incarnation]*guest
	// order keeps the guests' order of making, so that a seed replays.
	order []*guest
	// sandboxes has the root container of each.
	sandboxes map[messages.SandboxID]messages.Incarnation
	calls     []*flight
	jobs      []job
	made      int
}

// guest is a process on the host.
type guest struct {
	id      messages.Incarnation
	init    messages.Incarnation
	sandbox messages.SandboxID
	pids    messages.PIDs
	alive   bool
	// dying: it was killed, or what it lives in was.
	dying, released bool
	// stuck: its deletion has failed, and may have been given up for that.
	stuck bool
	exit  messages.Exit
}

// flight is a call to the driver that has not returned.
type flight struct {
	from *node
	call Call
	// done: it has been carried out, with the outcome in answer.
	done bool
	// late: the asker was told that it did not return in time.
	late   bool
	answer Answer
}

// job is a call that nobody waits for: the kill of a child, or its release too.
type job struct {
	target  messages.Incarnation
	release bool
}

// carryOut does on the host what a call asks for, or fails it.
func (h *host) carryOut(f *flight, fault bool) {
	f.done = true
	f.answer.Op = f.call.Op
	id := f.call.Target
	g := h.guests[id]
	alive := g != nil && g.alive
	if fault {
		kind := pickOne(h.w.dice, []error{messages.Internal, messages.DeadlineExceeded, messages.Unavailable})
		f.answer.Err = driverError(f, kind)
		if _, isDelete := f.call.Do.(DoDelete); isDelete && g != nil {
			g.stuck = true
		}
		return
	}
	switch do := f.call.Do.(type) {
	case DoCreate:
		h.create(id, do.Create.Sandbox)
		f.answer.PIDs = h.guests[id].pids
	case DoStart:
		if !alive {
			f.answer.Err = driverError(f, messages.FailedPrecondition)
		}
	case DoExec:
		if init := h.guests[do.Launch.Init]; init == nil || !init.alive {
			f.answer.Err = driverError(f, messages.FailedPrecondition)
			return
		}
		h.make(id, do.Launch.Init, h.guests[do.Launch.Init].sandbox)
		f.answer.PIDs = h.guests[id].pids
	case DoKill:
		if !alive {
			f.answer.Err = driverError(f, messages.NotFound)
			return
		}
		g.dying = g.dying || do.Signal == syscall.SIGKILL
	case DoKillSandbox:
		if g != nil {
			h.killSandbox(g.sandbox)
		}
	case DoDelete:
		h.release(id)
	default:
		if !alive {
			f.answer.Err = driverError(f, messages.NotFound)
		}
	}
}

func driverError(f *flight, kind error) error {
	return &messages.Error{Kind: kind, Op: f.call.Do.Verb(), Process: f.call.Target.Process, Err: messages.Text("the driver says so")}
}

func (h *host) create(id messages.Incarnation, sandbox messages.SandboxID) {
	if _, ok := h.sandboxes[sandbox]; !ok {
		h.sandboxes[sandbox] = id
	}
	h.make(id, id, sandbox)
}

func (h *host) make(id, init messages.Incarnation, sandbox messages.SandboxID) {
	if h.guests[id] != nil {
		h.w.fail("%s is made twice", id)
	}
	h.made++
	n := h.made
	g := &guest{
		id: id, init: init, sandbox: sandbox, alive: true, pids: messages.PIDs{Host: 1000 + n, Guest: n},
		exit: messages.Exit{Status: n % 250, At: h.w.now},
	}
	h.guests[id] = g
	h.order = append(h.order, g)
}

// living lists the guests that live.
func (h *host) living() []*guest {
	var all []*guest
	for _, g := range h.order {
		if g.alive {
			all = append(all, g)
		}
	}
	return all
}

// die ends a guest, with what lives in it, and tells.
func (h *host) die(g *guest) {
	h.w.note("host: %s exits with %d", g.id, g.exit.Status)
	g.alive, g.dying = false, false
	h.w.send(h.w.reaper, messages.ExitNotice{Process: g.id, Exit: g.exit})
	h.bury(g)
	if !g.id.IsInit() {
		return
	}
	for _, o := range h.living() {
		if o.init == g.id {
			o.dying = true
		}
	}
	if h.sandboxes[g.sandbox] == g.id {
		h.killSandbox(g.sandbox)
	}
}

func (h *host) killSandbox(s messages.SandboxID) {
	for _, g := range h.living() {
		if g.sandbox == s {
			g.dying = true
		}
	}
}

// release forgets a guest. A container goes with all that is in it; an exec that
// lives on, its exit having been told as unknown, is forgotten when it dies.
func (h *host) release(id messages.Incarnation) {
	g := h.guests[id]
	if g == nil {
		return
	}
	g.released = true
	if !g.id.IsInit() {
		h.bury(g)
		return
	}
	if h.sandboxes[g.sandbox] == id {
		delete(h.sandboxes, g.sandbox)
	}
	for _, o := range slices.Clone(h.order) {
		if o.init == id {
			o.released = true
			if o.alive {
				h.die(o)
			} else {
				h.bury(o)
			}
		}
	}
}

// bury takes a released guest that is dead off the lists.
func (h *host) bury(g *guest) {
	if g.released && !g.alive {
		delete(h.guests, g.id)
		h.order = slices.DeleteFunc(h.order, func(o *guest) bool { return o == g })
	}
}

// finish does a job.
func (h *host) finish(j job) {
	h.w.note("host: %#v", j)
	g := h.guests[j.target]
	if g == nil {
		return
	}
	if !j.release {
		g.dying = true
		return
	}
	if g.alive {
		h.die(g)
	}
	h.release(j.target)
}

// giveBack lets a call return.
func (h *host) giveBack(f *flight) {
	h.calls = slices.DeleteFunc(h.calls, func(o *flight) bool { return o == f })
	h.w.note("host: %s of %s returns", f.call.Do.Verb(), f.call.Target)
	if _, isPause := f.call.Do.(DoPause); isPause && f.late && f.answer.Err == nil {
		f.from.pausedLate = true
	}
	if !f.from.ended {
		h.w.send(f.from, toReturned{f.answer})
	}
}

// timeOut answers for a call that has not returned.
func (h *host) timeOut(f *flight) {
	f.late = true
	h.w.note("host: %s of %s is late", f.call.Do.Verb(), f.call.Target)
	h.w.send(f.from, Answer{Op: f.call.Op, Overdue: true, Err: driverError(f, messages.DeadlineExceeded)})
}
