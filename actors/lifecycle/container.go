package lifecycle

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/troupe-run/troupe/messages"
)

// Container is the machine of a container: its init process, the execs that it
// knows of, and whether it is paused.
type Container struct {
	Init  Process
	Phase Phase

	execs map[messages.ExecID]child
	// starting and live count the execs that were asked to start and have not
	// answered, and those together with the ones that run.
	starting, live int
	// savedFrom is the phase to go back to after a checkpoint.
	savedFrom Phase
	// ending: it is to be deleted as soon as it has stopped.
	ending bool
	// refused is how often its deletion has failed while it is to end.
	refused int
	// starved: memory ran out before the container was told of.
	starved bool
	// deletion is the init's call to the driver, held until the execs are
	// released.
	deletion  *Call
	postponed []Command
	// scratch is the init's list of effects, kept from step to step.
	scratch *[]Effect
}

// child is what a container knows of an exec.
type child struct {
	id    messages.Incarnation
	stage stage
	pids  messages.PIDs
	exit  *messages.Exit // as it was told
}

type stage uint8

const (
	added stage = iota
	starting
	running
	ended
)

// NewContainer is a container that is to be created.
func NewContainer(id messages.Incarnation, sandbox messages.SandboxID, c messages.Create, cfg *Config) Container {
	return Container{
		Init: NewInit(id, sandbox, c, cfg), Phase: Open,
		execs: make(map[messages.ExecID]child),
	}
}

// Step takes an input and returns the container after it, with what to do.
func (c Container) Step(in Input) (Container, []Effect) {
	var out []Effect
	c.Apply(in, &out)
	return c, out
}

// Apply is Step in place, and appends to out: for callers that keep a copy of
// the state before, and whose heap a copy for every input would burden.
func (c *Container) Apply(in Input, out *[]Effect) {
	containerTable.step(c, &c.Phase, c.kind(in), in, out)
}

func (c *Container) kind(in Input) Kind {
	switch in := in.(type) {
	case Command:
		if in.Cmd.Target().IsInit() {
			return commandKind(in.Cmd)
		}
		switch in.Cmd.(type) {
		case messages.Exec:
			return cmdExec
		case messages.Start:
			return toExecStart
		}
		return toExec
	case Answer:
		return c.answerKind(in)
	case Started:
		return onStarted
	case Failed:
		return onFailed
	case Exited:
		return onExited
	case Deleted:
		return onDeleted
	case Crashed:
		return onCrashed
	case Lost:
		return onLost
	case Unresponsive:
		return onUnresponsive
	case OOM:
		return onOOM
	case DrainExpired:
		return onDrainExpired
	}
	return c.Init.kind(in)
}

// answerKind tells the container's own calls from its init's; both are numbered
// and kept by the init's machine.
func (c *Container) answerKind(a Answer) Kind {
	k := c.Init.answerKind(a)
	if k == onLate {
		return k
	}
	ok := a.Err == nil
	switch c.Init.calls[c.Init.call(a.Op)].do.(type) {
	case DoPause:
		return pick(ok, onPauseOK, onPauseFailed)
	case DoResume:
		return pick(ok, onResumeOK, onResumeFailed)
	case DoCheckpoint:
		return pick(ok, onCheckpointOK, onCheckpointFailed)
	}
	return k
}

func pick(ok bool, yes, no Kind) Kind {
	if ok {
		return yes
	}
	return no
}

// delegate hands an input to the init and looks through its effects for what
// concerns the container; the rest goes on, with the notices to the sandbox.
func (c *Container) delegate(in Input, out *[]Effect) {
	// The list is the container's own, but for a rule that comes back here.
	effects := c.scratch
	if effects == nil {
		effects = new([]Effect)
	}
	c.scratch = nil
	defer func() { *effects, c.scratch = (*effects)[:0], effects }()
	c.Init.Apply(in, effects)
	for _, e := range *effects {
		switch e := e.(type) {
		case Gone:
			c.close(out)
		case Exited:
			c.Phase = Closed
			*out = append(*out, e)
			c.replay(out)
			if c.ending {
				c.Apply(Command{Cmd: messages.Delete{Process: c.Init.ID.Process}}, out)
			}
		case Deleted:
			c.Phase = Released
			*out = append(*out, e)
		case Made:
			*out = append(*out, e)
			if c.starved {
				*out = append(*out, Publish{Event: messages.ContainerOOM{Container: c.Init.ID.Container}})
			}
		case Call:
			if _, isDelete := e.Do.(DoDelete); isDelete && len(c.execs) > 0 {
				c.clear(e, out)
				continue
			}
			*out = append(*out, e)
		default:
			*out = append(*out, e)
		}
	}
}

// close begins the end of the container: its init is gone. Execs that live are
// ended, and told, before the init's exit is; those that were not started never
// will be.
func (c *Container) close(out *[]Effect) {
	c.Phase = Closing
	c.replay(out)
	doom := Doom{Reason: fmt.Sprintf("the init of container %s has exited", c.Init.ID.Container)}
	for _, e := range c.inOrder() {
		// One that was not started has those who wait for it.
		if e.stage != ended {
			*out = append(*out, Forward{To: string(e.id.Exec), In: doom})
		}
	}
	if c.drained(out) {
		return
	}
	*out = append(*out, SetDrainTimer{})
}

// drained tells the init's exit if no exec lives.
func (c *Container) drained(out *[]Effect) bool {
	if c.Phase != Closing || c.live > 0 {
		return false
	}
	c.delegate(Drained{}, out)
	return true
}

// clear holds the deletion of the container until its execs are released.
func (c *Container) clear(deletion Call, out *[]Effect) {
	c.Phase = Clearing
	c.deletion = &deletion
	for _, e := range c.inOrder() {
		*out = append(*out, Forward{To: string(e.id.Exec), In: Drop{}})
	}
}

// cleared lets the deletion go on if no exec is left.
func (c *Container) cleared(out *[]Effect) {
	if c.Phase == Clearing && c.deletion != nil && len(c.execs) == 0 {
		*out = append(*out, *c.deletion)
		c.deletion = nil
	}
}

func (e child) live() bool { return e.stage == starting || e.stage == running }

// Askers lists every asker of the container and its init that is not answered
// yet, with what it asked.
func (c *Container) Askers() []Command { return append(c.Init.Askers(), c.postponed...) }

// inOrder lists the execs by id, so that effects have one order.
func (c *Container) inOrder() []child {
	all := make([]child, 0, len(c.execs))
	for _, e := range c.execs {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b child) int { return cmp.Compare(a.id.Exec, b.id.Exec) })
	return all
}

// known gives the exec of an incarnation; false for one that is freed, or whose
// id has been taken by a later one.
func (c *Container) known(id messages.Incarnation) (child, bool) {
	e, ok := c.execs[id.Exec]
	return e, ok && e.id == id
}

// turn moves an exec to another stage and keeps the counts.
func (c *Container) turn(e child, to stage) {
	c.count(e.stage, -1)
	c.count(to, 1)
	e.stage = to
	c.execs[e.id.Exec] = e
}

// free forgets an exec.
func (c *Container) free(e child) {
	c.count(e.stage, -1)
	delete(c.execs, e.id.Exec)
}

func (c *Container) count(s stage, by int) {
	switch s {
	case starting:
		c.starting += by
		c.live += by
	case running:
		c.live += by
	}
}

func (c *Container) postpone(cmd Command, out *[]Effect) {
	if len(c.postponed) >= c.Init.config.Postponed {
		c.Init.refuse(cmd, messages.ResourceExhausted, fmt.Sprintf("%d commands wait for the container already", len(c.postponed)),
			"wait for their answers", out)
		return
	}
	c.postponed = append(slices.Clip(c.postponed), cmd)
}

// replay takes up what was postponed, in the order in which it came.
func (c *Container) replay(out *[]Effect) {
	waiting := c.postponed
	c.postponed = nil
	for _, cmd := range waiting {
		c.Apply(cmd, out)
	}
}
