package lifecycle

import (
	"maps"

	"github.com/troupe-run/troupe/messages"
)

// orders holds what is true of every run of the machines: the events in their
// orders, and the machines' own counts.
type orders struct {
	w     *world
	lives map[messages.Process]*life
}

// life is what has been told of one incarnation of a process.
type life struct {
	id                             messages.Incarnation
	added, started, exited, paused bool
	deleted                        bool
	// lost: its actor or its container's was, and nobody tells its deletion;
	// untold: both were, and nobody tells its exit.
	lost, untold bool
}

// born begins a life. The id must be free.
func (o *orders) born(id messages.Incarnation) {
	if l, ok := o.lives[id.Process]; ok && l.added && !l.deleted && !l.lost {
		o.w.fail("%s is made while %s has not been deleted", id, l.id)
	}
	o.lives[id.Process] = &life{id: id}
}

// lost notes that nobody will tell the deletion of a process, or of a container
// and what is in it.
func (o *orders) lost(n *node) {
	for p, l := range o.lives {
		if l.id == n.self || n.self.IsInit() && p.Container == n.self.Container {
			l.untold = l.lost && !l.id.IsInit()
			l.lost = true
		}
	}
}

// published holds an event against what was told before.
func (o *orders) published(e messages.Event) {
	l := o.lives[e.Subject()]
	if l == nil {
		o.w.fail("an event about a process that was never made: %#v", e)
	}
	init := o.lives[messages.Init(e.Subject().Container)]
	must := func(ok bool, why string) {
		if !ok {
			o.w.fail("%#v %s", e, why)
		}
	}
	must(!l.deleted, "after its ProcessDeleted")
	switch e := e.(type) {
	case messages.ContainerCreated:
		must(!l.added, "twice")
		l.added = true
	case messages.ContainerStarted:
		must(l.added && !l.started && !l.exited, "out of order")
		l.started = true
	case messages.ExecAdded:
		must(!l.added && init.added && !init.exited, "out of order")
		l.added = true
	case messages.ExecStarted:
		must(l.added && !l.started && !l.exited, "out of order")
		must(!init.exited, "after the exit of its init")
		l.started = true
	case messages.ProcessExited:
		must(l.added && !l.exited, "out of order")
		must(l.id.IsInit() || l.started, "of an exec that was never started")
		must(l.id.IsInit() || !init.exited, "after the exit of its init")
		l.exited = true
		o.lastExit(l, must)
		if g := o.w.host.guests[l.id]; g != nil && e.Exit.Reason == "" {
			must(e.Exit.Status == g.exit.Status && !g.alive, "is not the exit that the process had")
		}
	case messages.ContainerOOM:
		must(l.added && !l.exited, "out of order")
	case messages.ContainerPaused:
		must(l.started && !l.exited && !l.paused, "out of order")
		l.paused = true
	case messages.ContainerResumed:
		must(l.paused && !l.exited, "out of order")
		l.paused = false
	case messages.ContainerCheckpointed:
		must(l.started, "out of order")
	case messages.ProcessDeleted:
		must(l.added, "without having been told of")
		must(l.exited == (e.Exit != nil), "does not have the exit that was told")
		must(l.exited || !l.id.IsInit() && !l.started, "before its exit")
		l.deleted = true
		o.lastDeleted(l, must)
	}
}

// lastExit: an init's exit is its container's last.
func (o *orders) lastExit(init *life, must func(bool, string)) {
	if !init.id.IsInit() {
		return
	}
	for p, l := range o.lives {
		if p.Container == init.id.Container {
			must(!l.started || l.exited || l.untold, "before the exit of "+l.id.String())
		}
	}
}

// lastDeleted: a container's execs are released before it is.
func (o *orders) lastDeleted(init *life, must func(bool, string)) {
	if !init.id.IsInit() {
		return
	}
	for p, l := range o.lives {
		if p.Container == init.id.Container && !l.lost {
			must(!l.added || l.deleted, "before that of "+l.id.String())
		}
	}
}

// called holds a call against the state of the machines: nothing is started in
// a container that is paused, or whose init is known to be gone.
func (o *orders) called(n *node, c Call) {
	switch c.Do.(type) {
	case DoExec:
		if box, ok := n.parent.state.(Container); ok && !n.parent.lost {
			switch box.Phase {
			case Pausing, Frozen, Resuming, Saving:
				if !n.parent.pausedLate {
					o.w.fail("%s is started while its container is %s", n.name, box.Phase)
				}
			case Closed, Clearing, Released:
				o.w.fail("%s is started although its container is %s", n.name, box.Phase)
			}
		}
	case DoPause, DoCheckpoint:
		for _, child := range n.children {
			if p := child.state.(Process); p.Phase == Starting && !child.lost {
				o.w.fail("%s of %s while %s is being started", c.Do.Verb(), n.name, child.name)
			}
		}
	}
}

// hold checks a machine's own books.
func (o *orders) hold(n *node) {
	switch m := n.state.(type) {
	case Container:
		o.holdContainer(n, m)
	case Directory:
		members := make(map[messages.SandboxID]int)
		for _, e := range m.containers {
			members[e.sandbox]++
		}
		counted := make(map[messages.SandboxID]int)
		for s, member := range m.members {
			counted[s] = member.containers
		}
		if !maps.Equal(members, counted) {
			o.w.fail("the directory counts %v, and has %v", counted, members)
		}
		for s := range members {
			if n.children[string(s)] == nil {
				o.w.fail("the directory knows a sandbox %s that has no actor", s)
			}
		}
	case Sandbox:
		for id, r := range m.containers {
			if child := n.children[string(id)]; child == nil || child.self != r.id {
				o.w.fail("%s knows a container %s that has no actor", n.name, r.id)
			}
		}
		if m.Phase == Making != (len(m.containers) == 1 && !m.containers[m.root.Container].made) && m.Phase != Over {
			o.w.fail("%s is %s with %v", n.name, m.Phase, m.containers)
		}
	case Process:
		o.holdProcess(n, m)
	}
}

func (o *orders) holdContainer(n *node, c Container) {
	var starts, lives int
	for id, e := range c.execs {
		if child := n.children[string(id)]; child == nil || child.self != e.id {
			o.w.fail("%s knows an exec %s that has no actor", n.name, e.id)
		}
		if e.stage == starting {
			starts++
		}
		if e.live() {
			lives++
		}
	}
	if starts != c.starting || lives != c.live {
		o.w.fail("%s counts %d starting and %d live execs, and has %d and %d", n.name, c.starting, c.live, starts, lives)
	}
	if len(c.postponed) > 0 && c.Phase == Open && c.starting == 0 {
		o.w.fail("%s is idle and has postponed %v", n.name, c.postponed)
	}
	if c.Phase == Closing && c.live == 0 {
		o.w.fail("%s has no live exec and has not told its exit", n.name)
	}
	over := map[Phase]Phase{Draining: Closing, Released: Released}
	want, ok := over[c.Init.Phase]
	switch {
	case ok && c.Phase != want:
		o.w.fail("%s is %s with an init that is %s", n.name, c.Phase, c.Init.Phase)
	case c.Init.Phase == Stopped && c.Phase != Closed, c.Init.Phase == Deleting && c.Phase != Closed && c.Phase != Clearing:
		o.w.fail("%s is %s with an init that is %s", n.name, c.Phase, c.Init.Phase)
	}
	o.holdProcess(n, c.Init)
}

func (o *orders) holdProcess(n *node, p Process) {
	limits := p.config.Limits
	if len(p.waiters) > limits.Waiters || len(p.deleters) > limits.Waiters || len(p.postponed) > limits.Postponed {
		o.w.fail("%s keeps %d waiters, %d deleters, %d postponed commands", n.name, len(p.waiters), len(p.deleters), len(p.postponed))
	}
	if p.held != nil && p.Phase == Running {
		o.w.fail("%s is Running and holds an exit", n.name)
	}
	if p.Phase == Stopped && (len(p.waiters) > 0 || len(p.postponed) > 0) || p.Phase == Released && len(p.Askers()) > len(p.calls) {
		o.w.fail("%s is %s and has askers: %v", n.name, p.Phase, p.Askers())
	}
}

// complete holds after everything has been ended: each life was told in full.
func (o *orders) complete() {
	for _, l := range o.lives {
		switch {
		case !l.added || l.untold:
		case (l.started || l.id.IsInit()) && !l.exited:
			o.w.fail("the exit of %s was never told", l.id)
		case !l.deleted && !l.lost:
			o.w.fail("%s was never deleted", l.id)
		}
	}
}
