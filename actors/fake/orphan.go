package fake

import (
	"cmp"
	"context"
	"slices"

	"github.com/troupe-run/troupe/messages"
)

// Orphan makes the driver of a successor: what runs here goes on, and nobody is
// told of it until the successor has taken charge. It is what a host sees of a
// program that was killed with its runtime. The driver that it was called on is
// cut off.
func (d *Driver) Orphan() *Driver {
	next := New()
	d.do(func() {
		for _, p := range d.host.processes {
			p.orphan = true
		}
		h := d.host
		d.host = newHost(d.do)
		next.do(func() {
			h.do, h.tell = next.do, func(messages.Notice) {}
			next.host = h
		})
	})
	return next
}

// Survivors implements actors.Rememberer.
func (d *Driver) Survivors(ctx context.Context) (all []messages.Survivor, err error) {
	err = d.run(ctx, "survivors", messages.Incarnation{}, func() error {
		all = d.host.survivors()
		return nil
	})
	return all, err
}

// survivors lists the orphans: a sandbox's root container first, a container
// before its execs.
func (h *host) survivors() []messages.Survivor {
	var orphans []*process
	for _, p := range h.processes {
		if p.orphan {
			orphans = append(orphans, p)
		}
	}
	rank := func(p *process) int {
		switch {
		case h.sandboxes[p.sandbox] == p.id:
			return 0
		case p.id.IsInit():
			return 1
		}
		return 2
	}
	slices.SortFunc(orphans, func(a, b *process) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.id.Number, b.id.Number))
	})
	var all []messages.Survivor
	for _, p := range orphans {
		all = append(all, messages.Survivor{
			Process: p.id.Process, Sandbox: p.sandbox, Bundle: p.bundle, Spec: p.spec, Stdio: p.stdio,
			PIDs: p.pids, Started: p.started, Ended: p.ended,
		})
	}
	return all
}

// adopt gives an orphan a new number. An exec that has ended is told so at once,
// an init that was started when its Start comes.
func (h *host) adopt(id, init messages.Incarnation) (messages.PIDs, error) {
	for old, p := range h.processes {
		if old.Process != id.Process || !p.orphan {
			continue
		}
		delete(h.processes, old)
		if h.sandboxes[p.sandbox] == old {
			h.sandboxes[p.sandbox] = id
		}
		for _, q := range h.processes {
			if q.init == old {
				q.init = id
			}
		}
		p.id, p.init, p.orphan, p.adopted = id, init, false, true
		h.processes[id] = p
		if p.ended && !(id.IsInit() && p.started) {
			h.tellEnded(p)
		}
		return p.pids, nil
	}
	return messages.PIDs{}, refuse("adopt", id, messages.NotFound, "nothing of that name was left")
}

// tellEnded tells the exit of a process that ended as an orphan.
func (h *host) tellEnded(p *process) {
	h.tell(messages.ExitNotice{Process: p.id, Exit: messages.Exit{
		Status: messages.ExitUnknown, At: at(), Reason: "it ended while no runtime was there",
	}})
}
