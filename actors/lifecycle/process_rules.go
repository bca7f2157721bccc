package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Rules that several cells share.
var (
	nothing    = rule[Process]{"nothing", nil, func(*Process, Input, *[]Effect) {}}
	impossible = rule[Process]{"can not happen", nil, func(p *Process, in Input, _ *[]Effect) {
		panic(fmt.Sprintf("lifecycle: process %s in %s can not get %#v", p.ID, p.Phase, in))
	}}
	postponeRule = rule[Process]{"postpone", nil, func(p *Process, in Input, out *[]Effect) { p.postpone(in.(Command), out) }}

	refuseExists         = refusal("refuse: exists", messages.AlreadyExists, "the id is in use", "delete it first, or use another id")
	refuseIsBeingCreated = refusal("refuse: is being created", messages.FailedPrecondition, "it is being created", "wait for the answer of create")
	refuseStarted        = refusal("refuse: was started", messages.FailedPrecondition, "it was started before", "a process can be started once; register another")
	refuseGone           = refusal("refuse: is gone", messages.NotFound, "the process is gone", "wait tells how it ended")
	refuseLives          = refusal("refuse: lives", messages.FailedPrecondition, "the process lives", "kill it and wait for its exit first")
	refuseNotFound       = refusal("refuse: not found", messages.NotFound, "it has been deleted", "")

	refuseBroken = rule[Process]{"refuse: could not be started", nil, func(p *Process, in Input, out *[]Effect) {
		p.refuse(in.(Command), messages.FailedPrecondition, "it could not be started before: "+p.why(), "delete it and register another", out)
	}}
)

func refusal(name string, kind error, why, hint string) rule[Process] {
	return rule[Process]{name, nil, func(p *Process, in Input, out *[]Effect) {
		p.refuse(in.(Command), kind, why, hint, out)
	}}
}

// why says why a process is Broken.
func (p *Process) why() string {
	var e *messages.Error
	if errors.As(p.failure, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return p.failure.Error()
}

// Create

func (p *Process) onCreate(in Input, out *[]Effect) {
	c := in.(Command)
	p.begin(call{do: DoCreate{Create: *p.create}, asker: c.Asker, cmd: c.Cmd}, out)
	p.making = p.lastOp
}

func (p *Process) onCreateOK(in Input, out *[]Effect) {
	a := in.(Answer)
	c := p.finish(a)
	p.made = true
	if p.doom != "" {
		*out = append(*out, Discard{Target: p.ID})
		var replies []Reply
		if c.asker != nil {
			replies = append(replies, Reply{To: c.asker, Err: &messages.Error{
				Kind: messages.FailedPrecondition, Op: "create", Process: p.ID.Process, Err: messages.Text(p.doom),
			}})
		}
		p.release(replies, out)
		return
	}
	p.Phase, p.PIDs = Created, a.PIDs
	*out = append(*out, Publish{Event: messages.ContainerCreated{
		Container: p.ID.Container, Sandbox: p.Sandbox, Bundle: p.Bundle, Rootfs: p.create.Rootfs,
		Stdio: p.Stdio, Checkpoint: p.create.RestoreFrom, PIDs: p.PIDs,
	}}, Made{Process: p.ID})
	reply(c.asker, messages.Created{Container: p.ID.Container, PIDs: p.PIDs}, out)
	p.gone(p.held, out)
}

func (p *Process) onCreateFailed(in Input, out *[]Effect) {
	a := in.(Answer)
	c := p.finish(a)
	var replies []Reply
	if c.asker != nil {
		replies = append(replies, Reply{To: c.asker, Err: a.Err})
	}
	for _, w := range p.waiters {
		replies = append(replies, Reply{To: w, Err: p.willNotRun(a.Err)})
	}
	p.waiters = nil
	p.release(replies, out)
}

// Start

func (p *Process) onStart(in Input, out *[]Effect) {
	c := in.(Command)
	if p.doom != "" {
		p.refuse(c, messages.FailedPrecondition, p.doom, "", out)
		return
	}
	p.Phase = Starting
	var do Do = DoStart{}
	if !p.IsInit() {
		do = DoExec{Launch: messages.Launch{
			Init: p.Init, Process: p.ID, Spec: *p.spec, Stdio: p.Stdio, StdinClosed: p.stdinClosed, Adopt: p.adopt,
		}}
	}
	p.begin(call{do: do, asker: c.Asker, cmd: c.Cmd}, out)
	if !p.IsInit() {
		p.making = p.lastOp
	}
}

func (p *Process) onStartOK(in Input, out *[]Effect) {
	a := in.(Answer)
	c := p.finish(a)
	p.Phase, p.made, p.started = Running, true, true
	var started messages.Event = messages.ContainerStarted{Container: p.ID.Container, PIDs: p.PIDs}
	if !p.IsInit() {
		p.PIDs = a.PIDs
		started = messages.ExecStarted{Process: p.ID.Process, PIDs: p.PIDs}
	}
	*out = append(*out, Publish{Event: started}, Started{Process: p.ID, PIDs: p.PIDs})
	reply(c.asker, messages.Started{Process: p.ID.Process, PIDs: p.PIDs}, out)
	if p.held != nil {
		p.gone(p.held, out)
	} else if p.doom != "" {
		p.force(out)
	}
	p.replay(out)
}

func (p *Process) onStartFailed(in Input, out *[]Effect) {
	a := in.(Answer)
	c := p.finish(a)
	p.breakDown(a.Err, out)
	fail(c.asker, a.Err, out)
	if p.IsInit() {
		// Nothing may be left of a container whose start failed.
		p.force(out)
		p.gone(p.held, out)
	}
	p.replay(out)
}

// breakDown makes a process one that will never run. An exec holds nothing on
// the host then, so its waiters are answered; an init's exit is still to come.
func (p *Process) breakDown(err error, out *[]Effect) {
	p.Phase, p.failure = Broken, err
	*out = append(*out, Failed{Process: p.ID})
	if p.IsInit() {
		return
	}
	p.answerInVain(err, out)
}

// answerInVain answers those who wait for the exit of an exec that will never
// run (containerd#11483).
func (p *Process) answerInVain(err error, out *[]Effect) {
	for _, w := range p.waiters {
		fail(w, p.willNotRun(err), out)
	}
	p.waiters = nil
}

func (p *Process) willNotRun(err error) error {
	return &messages.Error{Kind: messages.FailedPrecondition, Op: "wait", Process: p.ID.Process, Err: err, Hint: "it will not run"}
}

// Kill

func (p *Process) onKill(in Input, out *[]Effect) {
	c := in.(Command)
	k := c.Cmd.(messages.Kill)
	if p.IsInit() && k.Signal == syscall.SIGKILL && p.inFlight() >= p.config.Calls && !p.killsSandbox() {
		// Calls that hang must not keep an init from being killed.
		p.begin(call{do: DoKillSandbox{}, asker: c.Asker, cmd: c.Cmd}, out)
		return
	}
	p.ask(c, DoKill{Signal: k.Signal, All: k.All}, out)
}

func (p *Process) killsSandbox() bool {
	return slices.ContainsFunc(p.calls, func(c call) bool {
		_, ok := c.do.(DoKillSandbox)
		return ok
	})
}

// ask calls the driver for an asker.
func (p *Process) ask(c Command, do Do, out *[]Effect) {
	if !p.exhausted(c, out) {
		p.begin(call{do: do, asker: c.Asker, cmd: c.Cmd}, out)
	}
}

// inFlight is how many calls to the driver have not returned.
func (p *Process) inFlight() int { return len(p.calls) + len(p.overdue) }

// exhausted refuses a command that would be one call to the driver too many.
func (p *Process) exhausted(c Command, out *[]Effect) bool {
	n := p.inFlight()
	if n < p.config.Calls {
		return false
	}
	p.refuse(c, messages.ResourceExhausted, fmt.Sprintf("%d calls for it are under way already", n), "wait for their answers", out)
	return true
}

func (p *Process) onKillUnstarted(in Input, out *[]Effect) {
	if p.IsInit() {
		p.onKill(in, out)
		return
	}
	p.refuse(in.(Command), messages.FailedPrecondition, "it was never started", "start it first, or delete it", out)
}

func (p *Process) onKillStarting(in Input, out *[]Effect) {
	c := in.(Command)
	if p.IsInit() && c.Cmd.(messages.Kill).Signal == syscall.SIGKILL {
		p.onKill(in, out)
		return
	}
	p.postpone(c, out)
}

// Resize

func (p *Process) onResize(in Input, out *[]Effect) {
	c := in.(Command)
	if !p.Stdio.Terminal {
		p.onResizeLate(in, out)
		return
	}
	p.ask(c, DoResize{Size: c.Cmd.(messages.Resize).Size}, out)
}

func (p *Process) onResizeEarly(in Input, out *[]Effect) {
	if p.IsInit() {
		p.onResize(in, out)
		return
	}
	p.Stdio.Size = in.(Command).Cmd.(messages.Resize).Size
	p.onResizeLate(in, out)
}

func (p *Process) onResizeStarting(in Input, out *[]Effect) {
	if p.IsInit() || !p.Stdio.Terminal {
		p.onResize(in, out)
		return
	}
	p.postpone(in.(Command), out)
}

func (p *Process) onResizeLate(in Input, out *[]Effect) {
	reply(in.(Command).Asker, messages.Resized{Process: p.ID.Process}, out)
}

// CloseIO

func (p *Process) onCloseIO(in Input, out *[]Effect) { p.ask(in.(Command), DoCloseIO{}, out) }

func (p *Process) onCloseIOEarly(in Input, out *[]Effect) {
	if p.IsInit() {
		p.onCloseIO(in, out)
		return
	}
	p.stdinClosed = true
	p.onCloseIOLate(in, out)
}

func (p *Process) onCloseIOStarting(in Input, out *[]Effect) {
	if p.IsInit() {
		p.onCloseIO(in, out)
		return
	}
	p.postpone(in.(Command), out)
}

func (p *Process) onCloseIOLate(in Input, out *[]Effect) {
	reply(in.(Command).Asker, messages.IOClosed{Process: p.ID.Process}, out)
}

// State and Wait

func (p *Process) onState(in Input, out *[]Effect) {
	c := in.(Command)
	reply(c.Asker, messages.ProcessState{
		Process: p.ID.Process, Sandbox: p.Sandbox, Bundle: p.Bundle,
		Status: p.status(c.Paused), PIDs: p.PIDs, Stdio: p.Stdio, Exit: p.Exit,
	}, out)
}

func (p *Process) onWait(in Input, out *[]Effect) {
	c := in.(Command)
	if p.Phase == Created && p.doom != "" && !p.IsInit() {
		fail(c.Asker, p.willNotRun(messages.Text(p.doom)), out)
		return
	}
	p.wait(c, out)
}

func (p *Process) onWaitBroken(in Input, out *[]Effect) {
	c := in.(Command)
	if p.IsInit() {
		p.wait(c, out)
		return
	}
	fail(c.Asker, p.willNotRun(p.failure), out)
}

func (p *Process) onWaitStopped(in Input, out *[]Effect) {
	reply(in.(Command).Asker, messages.Exited{Process: p.ID.Process, Exit: *p.Exit}, out)
}

// Delete

func (p *Process) onDelete(in Input, out *[]Effect) {
	c := in.(Command)
	// The machine's own Delete has no asker, and is made whatever hangs.
	if c.Asker != nil && p.exhausted(c, out) {
		return
	}
	p.Phase = Deleting
	p.deleters = []Asker{c.Asker}
	p.begin(call{do: DoDelete{}, cmd: c.Cmd}, out)
}

func (p *Process) onDeleteUnstarted(in Input, out *[]Effect) {
	c := in.(Command)
	if p.IsInit() {
		p.postpone(c, out)
		p.force(out)
		return
	}
	p.release([]Reply{{To: c.Asker, Reply: messages.Deleted{Process: p.ID.Process}}}, out)
}

func (p *Process) onDeleteAgain(in Input, out *[]Effect) {
	c := in.(Command)
	if len(p.deleters) >= p.config.Waiters {
		p.refuse(c, messages.ResourceExhausted, "too many wait for its deletion", "share one", out)
		return
	}
	p.deleters = append(p.deleters[:len(p.deleters):len(p.deleters)], c.Asker)
}

func (p *Process) onDeleteOK(in Input, out *[]Effect) {
	p.finish(in.(Answer))
	p.released(out)
}

func (p *Process) onDeleteFailed(in Input, out *[]Effect) {
	a := in.(Answer)
	p.finish(a)
	if p.dropped {
		// Its container is deleted next, and with it what is left of this.
		p.released(out)
		return
	}
	p.Phase = Stopped
	for _, d := range p.deleters {
		fail(d, a.Err, out)
	}
	p.deleters = nil
}

// released answers those who asked for Delete and releases.
func (p *Process) released(out *[]Effect) {
	var replies []Reply
	for _, d := range p.deleters {
		if d != nil {
			replies = append(replies, Reply{To: d, Reply: messages.Deleted{Process: p.ID.Process, PIDs: p.PIDs, Exit: p.Exit}})
		}
	}
	p.deleters = nil
	p.release(replies, out)
}

// release ends the machine. The event is published only for a process that was
// told of: not for a container that could not be created.
func (p *Process) release(replies []Reply, out *[]Effect) {
	if p.Phase != Creating {
		*out = append(*out, Publish{Event: messages.ProcessDeleted{Process: p.ID.Process, PIDs: p.PIDs, Exit: p.Exit}})
	}
	p.Phase = Released
	for _, w := range p.waiters {
		replies = append(replies, Reply{To: w, Err: &messages.Error{
			Kind: messages.NotFound, Op: "wait", Process: p.ID.Process, Err: messages.Text("it was deleted before it ran"),
		}})
	}
	p.waiters = nil
	*out = append(*out, Deleted{Process: p.ID, Replies: replies})
	p.replay(out)
}

func (p *Process) onDrop(_ Input, out *[]Effect) {
	p.dropped = true
	p.Phase = Deleting
	p.begin(call{do: DoDelete{}}, out)
}

func (p *Process) onDropUnstarted(_ Input, out *[]Effect) { p.release(nil, out) }

func (p *Process) onDropDeleting(Input, *[]Effect) { p.dropped = true }

// Exit

func (p *Process) onExitEarly(in Input, _ *[]Effect) {
	e := in.(Exit).Exit
	p.held = &e
}

func (p *Process) onExitUnstarted(in Input, out *[]Effect) {
	if p.IsInit() {
		e := in.(Exit).Exit
		p.gone(&e, out)
	}
}

func (p *Process) onExit(in Input, out *[]Effect) {
	e := in.(Exit).Exit
	p.gone(&e, out)
}

// gone takes an exit that is known now, if there is one: an exec tells it, an
// init has its execs ended first.
func (p *Process) gone(e *messages.Exit, out *[]Effect) {
	if e == nil {
		return
	}
	p.held = e
	if p.IsInit() {
		p.Phase = Draining
		*out = append(*out, Gone{Process: p.ID})
		return
	}
	p.tell(out)
}

func (p *Process) onDrained(_ Input, out *[]Effect) { p.tell(out) }

// tell publishes the exit and answers those who wait for it.
func (p *Process) tell(out *[]Effect) {
	p.Phase, p.Exit, p.held = Stopped, p.held, nil
	*out = append(*out, Publish{Event: messages.ProcessExited{Process: p.ID.Process, PIDs: p.PIDs, Exit: *p.Exit}},
		Exited{Process: p.ID, Exit: p.Exit})
	for _, w := range p.waiters {
		reply(w, messages.Exited{Process: p.ID.Process, Exit: *p.Exit}, out)
	}
	p.waiters = nil
	p.replay(out)
}

func (p *Process) onExpire(in Input, out *[]Effect) {
	p.gone(&messages.Exit{Status: messages.ExitUnknown, At: in.(Expire).At, Reason: "its exit was not seen in time: " + p.doom}, out)
}

// Doom and panic

func (p *Process) onDoomEarly(in Input, _ *[]Effect) { p.doom = in.(Doom).Reason }

func (p *Process) onDoomCreated(in Input, out *[]Effect) {
	p.doom = in.(Doom).Reason
	if p.IsInit() {
		p.force(out)
		return
	}
	p.answerInVain(messages.Text(p.doom), out)
}

func (p *Process) onDoomStarting(in Input, out *[]Effect) {
	p.doom = in.(Doom).Reason
	if p.IsInit() {
		p.force(out)
		return
	}
	p.giveUp(out)
}

// giveUp ends the start of an exec before its call has returned. If the call
// makes a process after all, onLateAnswer discards it.
func (p *Process) giveUp(out *[]Effect) {
	c := p.finish(Answer{Op: p.making, Overdue: true})
	err := &messages.Error{Kind: messages.FailedPrecondition, Op: "start", Process: p.ID.Process, Err: messages.Text(p.doom)}
	p.held = nil
	p.breakDown(err, out)
	fail(c.asker, err, out)
	p.replay(out)
}

func (p *Process) onDoomRunning(in Input, out *[]Effect) {
	p.doom = in.(Doom).Reason
	p.force(out)
}

func (p *Process) onCrash(in Input, out *[]Effect) {
	p.doom = in.(Crash).Reason
	for _, c := range p.Askers() {
		p.refuse(c, messages.Internal, p.doom, "this is a defect: please report it", out)
	}
	p.waiters, p.deleters, p.postponed = nil, nil, nil
	calls := make([]call, len(p.calls))
	for i, c := range p.calls {
		c.asker = nil
		calls[i] = c
	}
	p.calls = calls
	if p.Phase == Creating && p.making == 0 {
		// It panicked over the Create itself: there is nothing to kill.
		p.release(nil, out)
		return
	}
	if !p.IsInit() {
		// Its container may count on a Start that it will not take.
		switch p.Phase {
		case Created:
			p.breakDown(messages.Text(p.doom), out)
		case Starting:
			p.giveUp(out)
		}
	}
	*out = append(*out, Crashed{Process: p.ID})
}

// Answers of other calls

func (p *Process) onAbandon(in Input, _ *[]Effect) { p.forget(in.(Abandon).Asker) }

func (p *Process) onCallOK(in Input, out *[]Effect) {
	c := p.finish(in.(Answer))
	switch c.cmd.(type) {
	case messages.Kill:
		reply(c.asker, messages.Killed{Process: p.ID.Process}, out)
	case messages.Resize:
		reply(c.asker, messages.Resized{Process: p.ID.Process}, out)
	case messages.CloseIO:
		reply(c.asker, messages.IOClosed{Process: p.ID.Process}, out)
	}
}

func (p *Process) onCallFailed(in Input, out *[]Effect) {
	a := in.(Answer)
	c := p.finish(a)
	kind := messages.KindOf(a.Err)
	if kind == messages.DeadlineExceeded {
		*out = append(*out, Unresponsive{Process: p.ID})
	}
	if p.escalates(c, kind) {
		p.begin(call{do: DoKillSandbox{}, asker: c.asker, cmd: c.cmd, forced: c.forced, round: c.round}, out)
		return
	}
	fail(c.asker, a.Err, out)
	if c.forced && kind != messages.NotFound {
		p.onForceFailed(c.round+1, a.Err, out)
	}
}

// forceRounds is how often a process that has to end is killed, by whatever
// means there are, if that fails.
const forceRounds = 3

// onForceFailed kills once more. When that was the last time, those who wait to
// delete the process are told, and can try again.
func (p *Process) onForceFailed(round int, err error, out *[]Effect) {
	switch p.Phase {
	case Draining, Stopped, Deleting, Released:
		return // it is gone all the same
	}
	if round < forceRounds {
		p.begin(call{do: DoKill{Signal: syscall.SIGKILL, All: p.IsInit()}, forced: true, round: round}, out)
		return
	}
	waiting := p.postponed
	p.postponed = nil
	for _, c := range waiting {
		if _, isDelete := c.Cmd.(messages.Delete); isDelete {
			fail(c.Asker, err, out)
		} else {
			p.postponed = append(p.postponed, c)
		}
	}
}

// escalates tells whether a kill that failed is repeated as a SIGKILL of the
// sandbox: an init has to die, and the sandbox or runsc does not do it.
func (p *Process) escalates(c call, kind error) bool {
	k, isKill := c.do.(DoKill)
	if !isKill || !p.IsInit() || k.Signal != syscall.SIGKILL || kind == messages.NotFound {
		return false
	}
	return c.forced || kind == messages.DeadlineExceeded
}

func (p *Process) onLateAnswer(in Input, out *[]Effect) {
	a := in.(Answer)
	p.overdue = slices.DeleteFunc(slices.Clone(p.overdue), func(c call) bool { return c.op == a.Op })
	if a.Err == nil && a.Op == p.making && !p.made {
		p.made = true
		*out = append(*out, Discard{Target: p.ID})
	}
}
