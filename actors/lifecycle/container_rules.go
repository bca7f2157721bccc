package lifecycle

import (
	"fmt"
	"slices"

	"github.com/troupe-run/troupe/messages"
)

// Rules that several cells share.
var (
	nothingC    = rule[Container]{"nothing", nil, func(*Container, Input, *[]Effect) {}}
	impossibleC = rule[Container]{"can not happen", nil, func(c *Container, in Input, _ *[]Effect) {
		panic(fmt.Sprintf("lifecycle: container %s in %s can not get %#v", c.Init.ID, c.Phase, in))
	}}

	refuseBusy = rule[Container]{"refuse: is changing", nil, func(c *Container, in Input, out *[]Effect) {
		c.Init.refuse(in.(Command), messages.FailedPrecondition, "it is "+busy[c.Phase], "try again when that is done", out)
	}}
	refuseOver = rule[Container]{"refuse: has stopped", nil, (*Container).refuseStopped}
	answerOver = rule[Container]{"tell that it has stopped", nil, (*Container).onAnswerOver}
)

var busy = map[Phase]string{Pausing: "being paused", Resuming: "being resumed", Saving: "being checkpointed"}

func refuseC(name, why, hint string) rule[Container] {
	return rule[Container]{name, nil, func(c *Container, in Input, out *[]Effect) {
		c.Init.refuse(in.(Command), messages.FailedPrecondition, why, hint, out)
	}}
}

func (c *Container) refuseStopped(in Input, out *[]Effect) {
	if c.Phase == Released {
		c.refuseReleased(in, out)
		return
	}
	c.Init.refuse(in.(Command), messages.FailedPrecondition, "the container has stopped", "create a new one", out)
}

func (c *Container) refuseReleased(in Input, out *[]Effect) {
	c.Init.refuse(in.(Command), messages.NotFound, "it has been deleted", "", out)
}

// Pause, Resume, Checkpoint

// begin asks the driver for something that needs a container that runs.
func (c *Container) begin(cmd Command, to Phase, do Do, out *[]Effect) {
	if c.Init.Phase != Running {
		c.Init.refuse(cmd, messages.FailedPrecondition, "the container does not run", "start it first", out)
		return
	}
	if c.Init.exhausted(cmd, out) {
		return
	}
	switch {
	case c.starting == 0 || to == Resuming:
	case c.Phase == Frozen:
		// The pause came late. They hang until it ends.
		c.Init.refuse(cmd, messages.FailedPrecondition, "it is paused, and execs hang in their start", "resume it first", out)
		return
	default:
		// An exec that starts in a container that is being paused would hang.
		c.postpone(cmd, out)
		return
	}
	c.Phase = to
	c.Init.begin(call{do: do, asker: cmd.Asker, cmd: cmd.Cmd}, out)
}

func (c *Container) onPause(in Input, out *[]Effect) { c.begin(in.(Command), Pausing, DoPause{}, out) }

func (c *Container) onResume(in Input, out *[]Effect) {
	c.begin(in.(Command), Resuming, DoResume{}, out)
}

func (c *Container) onCheckpoint(in Input, out *[]Effect) {
	cmd := in.(Command)
	from := c.Phase
	c.begin(cmd, Saving, DoCheckpoint{Checkpoint: cmd.Cmd.(messages.Checkpoint)}, out)
	if c.Phase == Saving {
		c.savedFrom = from
	}
}

// answer ends a call of the container and answers its asker.
func (c *Container) answer(in Input, r messages.Reply, out *[]Effect) {
	a := in.(Answer)
	asked := c.Init.finish(a)
	if a.Err != nil {
		fail(asked.asker, a.Err, out)
		if messages.KindOf(a.Err) == messages.DeadlineExceeded {
			*out = append(*out, Unresponsive{Process: c.Init.ID})
		}
		return
	}
	reply(asked.asker, r, out)
}

func (c *Container) onPauseOK(in Input, out *[]Effect) {
	c.Phase = Frozen
	*out = append(*out, Publish{Event: messages.ContainerPaused{Container: c.Init.ID.Container}})
	c.answer(in, messages.Paused{Container: c.Init.ID.Container}, out)
	c.replay(out)
}

func (c *Container) onPauseFailed(in Input, out *[]Effect) {
	c.Phase = Open
	c.answer(in, nil, out)
	c.replay(out)
}

func (c *Container) onResumeOK(in Input, out *[]Effect) {
	c.Phase = Open
	*out = append(*out, Publish{Event: messages.ContainerResumed{Container: c.Init.ID.Container}})
	c.answer(in, messages.Resumed{Container: c.Init.ID.Container}, out)
	c.replay(out)
}

func (c *Container) onResumeFailed(in Input, out *[]Effect) {
	c.Phase = Frozen
	c.answer(in, nil, out)
	c.replay(out)
}

// onLate looks for a pause or a resume that its asker was told to have failed and
// that the sandbox has carried out since: State has to say where it stands.
func (c *Container) onLate(in Input, out *[]Effect) {
	a := in.(Answer)
	phase := &c.Phase
	if c.Phase == Saving {
		phase = &c.savedFrom
	}
	if i := slices.IndexFunc(c.Init.overdue, func(o call) bool { return o.op == a.Op }); i >= 0 && a.Err == nil {
		switch c.Init.overdue[i].do.(type) {
		case DoPause:
			if *phase == Open && c.Init.Phase == Running {
				*phase = Frozen
				*out = append(*out, Publish{Event: messages.ContainerPaused{Container: c.Init.ID.Container}})
				c.refusePostponed(out)
			}
		case DoResume:
			if *phase == Frozen {
				*phase = Open
				*out = append(*out, Publish{Event: messages.ContainerResumed{Container: c.Init.ID.Container}})
			}
		}
	}
	c.delegate(in, out)
}

// refusePostponed refuses what waits for execs to have started, or for that, in a
// container that turns out to be paused.
func (c *Container) refusePostponed(out *[]Effect) {
	waiting := c.postponed
	c.postponed = nil
	for _, cmd := range waiting {
		c.Init.refuse(cmd, messages.FailedPrecondition, "it is paused", "resume it first", out)
	}
}

func (c *Container) onCheckpointOK(in Input, out *[]Effect) {
	c.Phase = c.savedFrom
	c.onCheckpointOver(in, out)
	c.replay(out)
}

func (c *Container) onCheckpointOver(in Input, out *[]Effect) {
	done := c.Init.calls[c.Init.call(in.(Answer).Op)].do.(DoCheckpoint).Checkpoint
	if c.Phase != Released {
		*out = append(*out, Publish{Event: messages.ContainerCheckpointed{Container: done.Container, ImagePath: done.ImagePath}})
	}
	c.answer(in, messages.Checkpointed{Container: done.Container}, out)
}

func (c *Container) onCheckpointFailed(in Input, out *[]Effect) {
	c.Phase = c.savedFrom
	c.answer(in, nil, out)
	c.replay(out)
}

func (c *Container) onAnswerOver(in Input, out *[]Effect) {
	a := in.(Answer)
	asked := c.Init.finish(a)
	if asked.asker != nil {
		c.refuseStopped(Command{Asker: asked.asker, Cmd: asked.cmd}, out)
	}
}

// Update, Stats, Pids, Connect, State

func (c *Container) onUpdate(in Input, out *[]Effect) {
	cmd := in.(Command)
	c.measure(cmd, DoUpdate{Resources: cmd.Cmd.(messages.Update).Resources}, out)
}

func (c *Container) onStats(in Input, out *[]Effect) { c.measure(in.(Command), DoStats{}, out) }

// measure asks the driver for something that needs a container that exists.
func (c *Container) measure(cmd Command, do Do, out *[]Effect) {
	switch c.Init.Phase {
	case Created, Starting, Running:
		c.Init.ask(cmd, do, out)
	default:
		c.Init.refuse(cmd, messages.FailedPrecondition, "the container is not there", "create it first", out)
	}
}

func (c *Container) onCallOK(in Input, out *[]Effect) {
	a := in.(Answer)
	switch c.Init.calls[c.Init.call(a.Op)].do.(type) {
	case DoUpdate:
		c.answer(in, messages.Updated{Container: c.Init.ID.Container}, out)
	case DoStats:
		c.answer(in, messages.Measured{Container: c.Init.ID.Container, Usage: a.Usage}, out)
	default:
		c.delegate(in, out)
	}
}

func (c *Container) onPids(in Input, out *[]Effect) {
	list := messages.PidList{Container: c.Init.ID.Container}
	if c.Init.Phase == Created || c.Init.Phase == Starting || c.Init.Live() {
		list.Processes = append(list.Processes, messages.ProcessPIDs{Process: c.Init.ID.Process, PIDs: c.Init.PIDs})
	}
	for _, e := range c.inOrder() {
		if e.stage == running {
			list.Processes = append(list.Processes, messages.ProcessPIDs{Process: e.id.Process, PIDs: e.pids})
		}
	}
	reply(in.(Command).Asker, list, out)
}

func (c *Container) onConnect(in Input, out *[]Effect) {
	reply(in.(Command).Asker, messages.Connected{
		Container: c.Init.ID.Container, Sandbox: c.Init.Sandbox, PIDs: c.Init.PIDs,
		RuntimePID: c.Init.config.RuntimePID, Driver: c.Init.config.Driver,
	}, out)
}

func (c *Container) onState(in Input, out *[]Effect) {
	cmd := in.(Command)
	cmd.Paused = true
	c.delegate(cmd, out)
}

// Commands for execs

func (c *Container) onExecAdd(in Input, out *[]Effect) {
	cmd := in.(Command)
	x := cmd.Cmd.(messages.Exec)
	switch {
	case c.Init.Phase == Creating || c.Init.Phase == Broken || c.ending:
		c.Init.refuse(cmd, messages.FailedPrecondition, "the container is not there to run it", "create and start it first", out)
	case c.has(x.Process.Exec):
		c.refuseExec(cmd, messages.AlreadyExists, "the exec id is in use", "delete it first, or use another id", out)
	case len(c.execs) >= c.Init.config.Execs:
		c.refuseExec(cmd, messages.ResourceExhausted, fmt.Sprintf("the container has %d execs", len(c.execs)), "delete some that have exited", out)
	default:
		id := messages.Incarnation{Process: x.Process, Number: cmd.Number}
		*out = append(*out, SpawnExec{Exec: NewExec(id, c.Init, x)},
			Publish{Event: messages.ExecAdded{Process: x.Process}})
		reply(cmd.Asker, messages.Added{Process: x.Process}, out)
		c.execs[x.Process.Exec] = child{id: id}
	}
}

func (c *Container) has(id messages.ExecID) bool {
	_, ok := c.execs[id]
	return ok
}

// refuseExec is refuse with the exec's name in the error.
func (c *Container) refuseExec(cmd Command, kind error, why, hint string, out *[]Effect) {
	fail(cmd.Asker, &messages.Error{Kind: kind, Op: cmd.Cmd.Verb(), Process: cmd.Cmd.Target(), Err: messages.Text(why), Hint: hint}, out)
}

// exec finds the exec that a command is for; where there is none the command is
// refused.
func (c *Container) exec(cmd Command, out *[]Effect) (child, bool) {
	e, ok := c.execs[cmd.Cmd.Target().Exec]
	if !ok {
		c.refuseExec(cmd, messages.NotFound, "there is no such exec", "register it with exec first", out)
	}
	return e, ok
}

func (c *Container) onExecStart(in Input, out *[]Effect) {
	cmd := in.(Command)
	e, ok := c.exec(cmd, out)
	switch {
	case !ok:
		return
	case c.Init.Phase == Broken || c.Init.doom != "":
		c.refuseExec(cmd, messages.FailedPrecondition, "the container can not run it", "delete it", out)
		return
	case len(c.postponed) > 0:
		// A pause waits for the execs that are starting; were more of them let
		// through it might wait for ever.
		c.postpone(cmd, out)
		return
	}
	*out = append(*out, Forward{To: string(e.id.Exec), In: in})
	if e.stage == added {
		c.turn(e, starting)
	}
}

func (c *Container) onExecPostpone(in Input, out *[]Effect) {
	cmd := in.(Command)
	if _, ok := c.exec(cmd, out); ok {
		c.postpone(cmd, out)
	}
}

func (c *Container) onExecStartFrozen(in Input, out *[]Effect) {
	cmd := in.(Command)
	if _, ok := c.exec(cmd, out); ok {
		c.refuseExec(cmd, messages.FailedPrecondition, "the container is paused", "resume it first", out)
	}
}

func (c *Container) onExecStartOver(in Input, out *[]Effect) {
	cmd := in.(Command)
	if _, ok := c.exec(cmd, out); ok {
		c.refuseExec(cmd, messages.FailedPrecondition, "the container has stopped", "delete it", out)
	}
}

func (c *Container) onExecCommand(in Input, out *[]Effect) {
	cmd := in.(Command)
	e, ok := c.exec(cmd, out)
	if !ok {
		return
	}
	if c.Phase == Frozen {
		cmd.Paused = true
		*out = append(*out, Forward{To: string(e.id.Exec), In: cmd})
		return
	}
	*out = append(*out, Pass{})
}

// What befalls the container

// deletions is how often the deletion of a container that has to end is tried.
const deletions = 3

func (c *Container) onDeleteFailed(in Input, out *[]Effect) {
	if c.ending {
		// Nobody asks for it again. In the end it is released all the same and
		// discarded at leisure, so that what the driver can not do does not hold
		// up the rest.
		c.refused++
		if c.refused == deletions {
			c.Init.dropped = true
			*out = append(*out, Discard{Target: c.Init.ID})
		}
	}
	c.delegate(in, out)
	if c.Phase == Released {
		return
	}
	c.Phase = Closed
	if c.ending {
		c.Apply(Command{Cmd: messages.Delete{Process: c.Init.ID.Process}}, out)
	}
}

func (c *Container) onOOM(_ Input, out *[]Effect) {
	if c.Init.Phase == Creating {
		c.starved = true
		return
	}
	*out = append(*out, Publish{Event: messages.ContainerOOM{Container: c.Init.ID.Container}})
}

func (c *Container) onAbandon(in Input, out *[]Effect) {
	a := in.(Abandon)
	c.postponed = slices.DeleteFunc(slices.Clone(c.postponed), func(cmd Command) bool { return cmd.Asker == a.Asker })
	if a.Process.IsInit() {
		c.delegate(in, out)
	} else if c.has(a.Process.Exec) {
		*out = append(*out, Forward{To: string(a.Process.Exec), In: a})
	}
}

func (c *Container) onDoom(in Input, out *[]Effect) {
	c.ending = true
	c.delegate(in, out)
	switch c.Init.Phase {
	case Stopped:
		c.Apply(Command{Cmd: messages.Delete{Process: c.Init.ID.Process}}, out)
	case Broken:
		c.Init.force(out)
	}
}

func (c *Container) onCrash(in Input, out *[]Effect) {
	for _, cmd := range c.postponed {
		c.refuseExec(cmd, messages.Internal, in.(Crash).Reason, "this is a defect: please report it", out)
	}
	c.postponed = nil
	// The step that panicked may have moved an exec without its count.
	c.starting, c.live = 0, 0
	for _, e := range c.execs {
		c.count(e.stage, 1)
	}
	c.delegate(in, out)
	c.drained(out)
	c.cleared(out)
}

func (c *Container) onDrainExpired(in Input, out *[]Effect) {
	for _, e := range c.inOrder() {
		if e.live() {
			*out = append(*out, Forward{To: string(e.id.Exec), In: Expire(in.(DrainExpired))})
		}
	}
}

// Notices of execs

func (c *Container) onStarted(in Input, out *[]Effect) {
	s := in.(Started)
	e, ok := c.known(s.Process)
	if !ok {
		return
	}
	e.pids = s.PIDs
	c.turn(e, running)
	c.quiet(out)
}

func (c *Container) onFailed(in Input, out *[]Effect) {
	e, ok := c.known(in.(Failed).Process)
	if !ok {
		return
	}
	c.turn(e, ended)
	c.quiet(out)
	c.drained(out)
}

// quiet takes up what waited for execs to have started.
func (c *Container) quiet(out *[]Effect) {
	if c.Phase == Open && c.starting == 0 {
		c.replay(out)
	}
}

func (c *Container) onExited(in Input, out *[]Effect) {
	told := in.(Exited)
	e, ok := c.known(told.Process)
	if !ok {
		return
	}
	e.exit = told.Exit
	c.turn(e, ended)
	c.drained(out)
}

func (c *Container) onDeleted(in Input, out *[]Effect) {
	d := in.(Deleted)
	e, ok := c.known(d.Process)
	for _, r := range d.Replies {
		*out = append(*out, r)
	}
	if !ok {
		return
	}
	*out = append(*out, Retire{Child: string(e.id.Exec)})
	c.free(e)
	c.missing(out)
}

// missing takes up what waited for an exec that is freed: one that was deleted
// before its Start arrived is still counted as starting.
func (c *Container) missing(out *[]Effect) {
	c.quiet(out)
	c.drained(out)
	c.cleared(out)
}

func (c *Container) onCrashed(in Input, out *[]Effect) {
	e, ok := c.known(in.(Crashed).Process)
	if ok && e.live() {
		*out = append(*out, KillChild{Target: e.id})
	}
}

func (c *Container) onLost(in Input, out *[]Effect) {
	l := in.(Lost)
	e, ok := c.known(l.Process)
	if !ok {
		return
	}
	if e.stage != added {
		// One that has ended may still hold its streams.
		*out = append(*out, Discard{Target: e.id})
	}
	*out = append(*out, standIn(e.id, e.pids, e.exit, e.stage == running, l)...)
	*out = append(*out, Retire{Child: string(e.id.Exec)})
	c.free(e)
	c.missing(out)
}

// standIn tells what a child can not: the exit that it owes, if it does, and
// that it is released. told is an exit that was told before.
func standIn(id messages.Incarnation, pids messages.PIDs, told *messages.Exit, owed bool, l Lost) []Effect {
	var out []Effect
	if owed {
		told = &messages.Exit{Status: messages.ExitUnknown, At: l.At, Reason: "its actor failed twice"}
		out = append(out, Publish{Event: messages.ProcessExited{Process: id.Process, PIDs: pids, Exit: *told}})
	}
	return append(out, Publish{Event: messages.ProcessDeleted{Process: id.Process, PIDs: pids, Exit: told}})
}

func (c *Container) onUnresponsive(in Input, out *[]Effect) { *out = append(*out, in.(Unresponsive)) }
