package actors

import (
	"context"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// simCall is a call to the driver that has begun.
type simCall struct {
	verb    string
	process messages.Incarnation
	effect  func() error
	// ready tells whether the effect can take place; nil: at once.
	ready func() bool
	fault simFault
	// effectAt and returnAt are the earliest times of its two steps, and
	// deadline is when it gives up, if it is not ready by then.
	effectAt, returnAt, deadline time.Time
	done                         bool // its effect has taken place, or will not
	err                          error
}

// simLateness is how long after the runtime has answered for it a late call
// returns.
const simLateness = grace + 5*time.Second

// do is one call to the driver.
func (h *simHost) do(verb string, p messages.Incarnation, timeout time.Duration, effect func() error) error {
	return h.doWhen(nil, verb, p, timeout, effect)
}

// doWhen is a call that hangs until it is ready.
func (h *simHost) doWhen(ready func() bool, verb string, p messages.Incarnation, timeout time.Duration, effect func() error) error {
	if h.closed {
		return simRefusal(verb, p, messages.Unavailable, "the scenario is over")
	}
	s := h.sim
	c := &simCall{
		verb: verb, process: p, effect: effect, ready: ready,
		fault: s.faultOf(verb, p.Process), deadline: s.now.Add(timeout),
	}
	switch c.fault {
	case simFails:
		c.done, c.err = true, simRefusal(verb, p, messages.Internal, "it went wrong")
	case simHangs:
		c.done, c.returnAt, c.err = true, c.deadline, simRefusal(verb, p, messages.DeadlineExceeded, "it hung")
	case simLate:
		c.returnAt = c.deadline.Add(simLateness)
	case simDull:
		c.effectAt = c.deadline.Add(simLateness)
	case simPanics:
		c.done = true
	}
	if s.trace != nil {
		s.note("driver: %s %s begins", verb, p)
	}
	s.park(c)
	if h.closed {
		return simRefusal(verb, p, messages.Unavailable, "the scenario is over")
	}
	if s.trace != nil {
		s.note("driver: %s %s returns: %v", verb, p, c.err)
	}
	if c.fault == simPanics {
		panic("the driver has a defect")
	}
	return c.err
}

// act is the effect of a call.
func (h *simHost) act(c *simCall) {
	c.done = true
	if c.ready != nil && !c.ready() {
		c.err = simRefusal(c.verb, c.process, messages.DeadlineExceeded, "it hung")
		return
	}
	if h.sim.trace != nil {
		h.sim.note("driver: %s %s takes effect", c.verb, c.process)
	}
	c.err = c.effect()
}

// canAct tells whether the effect can take place now. A call that has to wait
// for something gives up at its deadline.
func (c *simCall) canAct(now time.Time) bool {
	if c.done || now.Before(c.effectAt) {
		return false
	}
	return c.ready == nil || c.ready() || !now.Before(c.deadline)
}

func (c *simCall) canReturn(now time.Time) bool { return c.done && !now.Before(c.returnAt) }

// wakes is when the clock has to be for the call to go on.
func (c *simCall) wakes() time.Time {
	switch {
	case c.done:
		return c.returnAt
	case c.ready != nil && !c.ready() && c.deadline.After(c.effectAt):
		return c.deadline
	}
	return c.effectAt
}

func simRefusal(verb string, p messages.Incarnation, kind error, why string) error {
	return &messages.Error{Kind: kind, Op: verb, Process: p.Process, Err: messages.Text(why)}
}

// Info implements Driver.
func (h *simHost) Info(context.Context) (messages.DriverInfo, error) {
	return messages.DriverInfo{Name: "simulation"}, nil
}

// Notify implements Driver.
func (h *simHost) Notify(tell func(messages.Notice)) { h.tell = tell }

// Close implements Driver.
func (h *simHost) Close() error { return nil }

// Create implements Driver.
func (h *simHost) Create(_ context.Context, id messages.Incarnation, c messages.Create) (pids messages.PIDs, err error) {
	err = h.do("create", id, h.sim.timeouts().Create, func() error {
		sandbox := c.Sandbox
		var root *simProcess
		for _, p := range h.processes {
			if p.deleted || p.init != p {
				continue
			}
			if p.id.Process == id.Process {
				return simRefusal("create", id, messages.AlreadyExists, "runsc has such a container")
			}
			if p.sandbox == sandbox && p.root == p {
				root = p
			}
		}
		if root != nil && root.dead {
			return simRefusal("create", id, messages.FailedPrecondition, "its sandbox has ended")
		}
		p := h.make(id, sandbox)
		p.init, p.root = p, root
		if root == nil {
			p.root = p
		}
		pids = p.pids
		return nil
	})
	return pids, err
}

// Start implements Driver.
func (h *simHost) Start(_ context.Context, id messages.Incarnation) error {
	h.sim.witness.called(id, id)
	return h.do("start", id, h.sim.timeouts().Start, func() error {
		p := h.find(id)
		if p == nil || p.dead || p.started {
			return simRefusal("start", id, messages.FailedPrecondition, "it is not created")
		}
		p.started = true
		return nil
	})
}

// Exec implements Driver. In a paused sandbox it hangs.
func (h *simHost) Exec(_ context.Context, l messages.Launch) (pids messages.PIDs, err error) {
	ready := func() bool { return !h.frozen(l.Init) }
	h.sim.witness.called(l.Process, l.Init)
	err = h.doWhen(ready, "exec", l.Process, h.sim.timeouts().Exec, func() error {
		init := h.find(l.Init)
		if init == nil || init.dead {
			return simRefusal("exec", l.Process, messages.FailedPrecondition, "the container does not run")
		}
		p := h.make(l.Process, init.sandbox)
		p.init, p.root, p.started = init, init.root, true
		pids = p.pids
		return nil
	})
	return pids, err
}

// Kill implements Driver.
func (h *simHost) Kill(_ context.Context, id messages.Incarnation, signal syscall.Signal, all bool) error {
	return h.do("kill", id, h.sim.timeouts().Kill, func() error {
		p := h.find(id)
		if p == nil || p.dead {
			return simRefusal("kill", id, messages.NotFound, "no such process")
		}
		if signal == syscall.SIGURG { // ignored by default, signal(7)
			return nil
		}
		if all {
			for _, q := range h.processes {
				if q.init == p && q != p && !q.deleted {
					q.kill(128+int(signal), "")
				}
			}
		}
		p.kill(128+int(signal), "")
		return nil
	})
}

// Way implements Driver.
func (h *simHost) Way(messages.Incarnation) string { return "" }

// KillSandbox implements Driver.
func (h *simHost) KillSandbox(_ context.Context, id messages.Incarnation) error {
	return h.do("kill sandbox", id, h.sim.timeouts().Kill, func() error {
		if p := h.find(id); p != nil {
			p.root.kill(messages.ExitKilled, "the sandbox was killed")
		}
		return nil
	})
}

// use is a call that only needs its process to live.
func (h *simHost) use(verb string, id messages.Incarnation, timeout time.Duration, then func(*simProcess)) error {
	return h.do(verb, id, timeout, func() error {
		p := h.find(id)
		if p == nil || p.dead {
			return simRefusal(verb, id, messages.FailedPrecondition, "it does not run")
		}
		if then != nil {
			then(p)
		}
		return nil
	})
}

// Resize implements Driver.
func (h *simHost) Resize(_ context.Context, id messages.Incarnation, _ messages.WindowSize) error {
	return h.do("resize", id, h.sim.timeouts().Call, func() error { return nil })
}

// CloseIO implements Driver.
func (h *simHost) CloseIO(_ context.Context, id messages.Incarnation) error {
	return h.do("closeio", id, h.sim.timeouts().Call, func() error { return nil })
}

// Pause implements Driver.
func (h *simHost) Pause(_ context.Context, id messages.Incarnation) error {
	h.muddle(id)
	return h.use("pause", id, h.sim.timeouts().Call, func(p *simProcess) { p.paused = true })
}

// Resume implements Driver.
func (h *simHost) Resume(_ context.Context, id messages.Incarnation) error {
	h.muddle(id)
	return h.use("resume", id, h.sim.timeouts().Call, func(p *simProcess) { p.paused = false })
}

// muddle notes that pauses and resumes of a container overlap.
func (h *simHost) muddle(id messages.Incarnation) {
	for _, t := range h.sim.tasks {
		if p := h.find(id); p != nil && t.call != nil && t.call.process == id && (t.call.verb == "pause" || t.call.verb == "resume") {
			p.muddled = true
		}
	}
}

// Update implements Driver.
func (h *simHost) Update(_ context.Context, id messages.Incarnation, _ *messages.Resources) error {
	return h.use("update", id, h.sim.timeouts().Call, nil)
}

// Checkpoint implements Driver.
func (h *simHost) Checkpoint(_ context.Context, id messages.Incarnation, c messages.Checkpoint) error {
	return h.use("checkpoint", id, h.sim.timeouts().Checkpoint, func(p *simProcess) {
		if !c.LeaveRunning {
			h.end(p.root, messages.ExitKilled, "it was checkpointed")
		}
	})
}

// Stats implements Driver.
func (h *simHost) Stats(_ context.Context, id messages.Incarnation) (u messages.Usage, err error) {
	err = h.use("stats", id, h.sim.timeouts().Call, func(*simProcess) { u.PIDs.Current = 1 })
	return u, err
}

// Delete implements Driver. With a container goes what is left of its execs.
func (h *simHost) Delete(_ context.Context, id messages.Incarnation) error {
	return h.do("delete", id, h.sim.timeouts().Delete, func() error {
		p := h.find(id)
		if p == nil {
			return nil
		}
		if !id.IsInit() && !p.dead {
			return simRefusal("delete", id, messages.FailedPrecondition, "it runs")
		}
		h.end(p, messages.ExitKilled, "it was deleted")
		for _, q := range h.processes {
			if q.init == p || q == p {
				q.deleted = true
			}
		}
		return nil
	})
}
