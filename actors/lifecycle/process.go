package lifecycle

import (
	"fmt"
	"slices"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Limits bound what one machine holds for others. A command beyond a limit is
// refused as ResourceExhausted.
type Limits struct {
	// Waiters is how many askers can wait for the exit of one process.
	Waiters int
	// Postponed is how many commands of one machine can wait for its next
	// phase.
	Postponed int
	// Calls is how many calls to the driver one machine can have in flight.
	Calls int
	// Execs is how many execs one container can have.
	Execs int
	// Containers is how many containers one sandbox can have.
	Containers int
}

// Config is what the machines of one runtime share. It does not change.
type Config struct {
	Limits
	// RuntimePID and Driver are told by Connect and Info.
	RuntimePID int
	Driver     messages.DriverInfo
}

// Process is the machine of one process, an init or an exec.
type Process struct {
	ID messages.Incarnation
	// Init is the container's init; ID itself for an init.
	Init messages.Incarnation
	// Sandbox and Bundle are told by State.
	Sandbox messages.SandboxID
	Bundle  string
	Phase   Phase
	Stdio   messages.Stdio
	// PIDs are set once the process is created (init) or started (exec).
	PIDs messages.PIDs
	// Exit is set when it has been told, never before.
	Exit *messages.Exit

	create *messages.Create   // what an init was created from
	spec   *messages.ExecSpec // what an exec runs
	adopt  *messages.Survivor // the process that an exec is, if it exists already
	config *Config

	// held is an exit that is known and not told: start has not returned yet,
	// or execs still live.
	held *messages.Exit
	// doom is why the process has to end; empty while it has not.
	doom string
	// failure is why it is Broken.
	failure error
	// stdinClosed: CloseIO came before Start.
	stdinClosed bool
	// dropped: its container is being deleted.
	dropped bool
	// making is the call that makes the process on the host; made once its
	// success has been taken. A success that comes after the call was given up
	// is discarded by these.
	making Op
	made   bool
	// started: its start has been told.
	started bool

	lastOp Op
	calls  []call
	// overdue are calls that were answered for and have not returned. They
	// count against Limits.Calls, since each holds a goroutine.
	overdue   []call
	waiters   []Asker
	postponed []Command
	deleters  []Asker
}

// call is a call to the driver that is not answered yet.
type call struct {
	op    Op
	do    Do
	asker Asker
	cmd   messages.AnyCommand
	// forced: the machine itself wants the process dead, whatever it takes;
	// round is how often it has tried before.
	forced bool
	round  int
}

// NewInit is an init that is to be created from c.
func NewInit(id messages.Incarnation, sandbox messages.SandboxID, c messages.Create, cfg *Config) Process {
	return Process{
		ID: id, Init: id, Sandbox: sandbox, Bundle: c.Bundle, Phase: Creating,
		Stdio: c.Stdio, create: &c, config: cfg,
	}
}

// NewExec is an exec that is registered with the container of init.
func NewExec(id messages.Incarnation, init Process, e messages.Exec) Process {
	return Process{
		ID: id, Init: init.ID, Sandbox: init.Sandbox, Bundle: init.Bundle, Phase: Created,
		Stdio: e.Stdio, spec: &e.Spec, adopt: e.Adopt, config: init.config,
	}
}

// IsInit tells whether it is its container's init.
func (p *Process) IsInit() bool { return p.ID.IsInit() }

// Step takes an input and returns the process after it, with what to do.
func (p Process) Step(in Input) (Process, []Effect) {
	var out []Effect
	p.Apply(in, &out)
	return p, out
}

// Apply is Step in place, and appends to out: for callers that keep a copy of
// the state before, and whose heap a copy for every input would burden.
func (p *Process) Apply(in Input, out *[]Effect) {
	processTable.step(p, &p.Phase, p.kind(in), in, out)
}

func (p *Process) kind(in Input) Kind {
	switch in := in.(type) {
	case Command:
		return commandKind(in.Cmd)
	case Answer:
		return p.answerKind(in)
	case Exit:
		return onExit
	case Abandon:
		return onAbandon
	case Doom:
		return onDoom
	case Expire:
		return onExpire
	case Drop:
		return onDrop
	case Drained:
		return onDrained
	case Crash:
		return onCrash
	}
	panic(fmt.Sprintf("lifecycle: a process has no input %T", in))
}

func (p *Process) answerKind(a Answer) Kind {
	i := p.call(a.Op)
	if i < 0 {
		return onLate
	}
	ok, failed := onCallOK, onCallFailed
	switch p.calls[i].do.(type) {
	case DoCreate:
		ok, failed = onCreateOK, onCreateFailed
	case DoStart, DoExec:
		ok, failed = onStartOK, onStartFailed
	case DoDelete:
		ok, failed = onDeleteOK, onDeleteFailed
	}
	if a.Err != nil {
		return failed
	}
	return ok
}

// call finds a call by its number; -1 if there is none.
func (p *Process) call(op Op) int {
	return slices.IndexFunc(p.calls, func(c call) bool { return c.op == op })
}

// begin asks the driver to do something.
func (p *Process) begin(c call, out *[]Effect) {
	p.lastOp++
	c.op = p.lastOp
	p.calls = append(slices.Clip(p.calls), c)
	*out = append(*out, Call{Op: c.op, Target: p.ID, Do: c.do})
}

// finish takes the call that an answer belongs to off the list.
func (p *Process) finish(a Answer) call {
	i := p.call(a.Op)
	c := p.calls[i]
	if a.Overdue {
		p.overdue = append(slices.Clip(p.overdue), call{op: c.op, do: c.do})
	}
	p.calls = slices.Delete(slices.Clone(p.calls), i, i+1)
	return c
}

// force kills the process for the machine's own reasons. If a forced kill is
// under way already, that one is enough.
func (p *Process) force(out *[]Effect) {
	if slices.ContainsFunc(p.calls, func(c call) bool { return c.forced }) {
		return
	}
	p.begin(call{do: DoKill{Signal: syscall.SIGKILL, All: p.IsInit()}, forced: true}, out)
}

// postpone keeps a command for the next phase.
func (p *Process) postpone(c Command, out *[]Effect) {
	if len(p.postponed) >= p.config.Postponed {
		p.refuse(c, messages.ResourceExhausted, fmt.Sprintf("%d commands wait for it already", len(p.postponed)),
			"wait for their answers", out)
		return
	}
	p.postponed = append(slices.Clip(p.postponed), c)
}

// replay takes up what was postponed, in the order in which it came.
func (p *Process) replay(out *[]Effect) {
	waiting := p.postponed
	p.postponed = nil
	for _, c := range waiting {
		p.Apply(c, out)
	}
}

// wait adds an asker to those that wait for the exit.
func (p *Process) wait(c Command, out *[]Effect) {
	if len(p.waiters) >= p.config.Waiters {
		p.refuse(c, messages.ResourceExhausted, fmt.Sprintf("%d askers wait for its exit already", len(p.waiters)),
			"share one wait", out)
		return
	}
	p.waiters = append(slices.Clip(p.waiters), c.Asker)
}

// forget drops everything that is kept for an asker.
func (p *Process) forget(a Asker) {
	same := func(b Asker) bool { return b == a }
	p.waiters = slices.DeleteFunc(slices.Clone(p.waiters), same)
	p.deleters = slices.DeleteFunc(slices.Clone(p.deleters), same)
	p.postponed = slices.DeleteFunc(slices.Clone(p.postponed), func(c Command) bool { return c.Asker == a })
	p.calls = slices.Clone(p.calls)
	for i := range p.calls {
		if p.calls[i].asker == a {
			p.calls[i].asker = nil
		}
	}
}

// Askers lists every asker that is not answered yet, with what it asked.
func (p *Process) Askers() []Command {
	var all []Command
	for _, c := range p.calls {
		if c.asker != nil {
			all = append(all, Command{Asker: c.asker, Cmd: c.cmd})
		}
	}
	for _, a := range p.waiters {
		all = append(all, Command{Asker: a, Cmd: messages.Wait{Process: p.ID.Process}})
	}
	for _, a := range p.deleters {
		all = append(all, Command{Asker: a, Cmd: messages.Delete{Process: p.ID.Process}})
	}
	return append(all, p.postponed...)
}

// reply answers an asker, if there is one.
func reply(to Asker, r messages.Reply, out *[]Effect) {
	if to != nil {
		*out = append(*out, Reply{To: to, Reply: r})
	}
}

// fail answers an asker with an error, if there is one.
func fail(to Asker, err error, out *[]Effect) {
	if to != nil {
		*out = append(*out, Reply{To: to, Err: err})
	}
}

// refuse answers a command with an error of the machine's own.
func (p *Process) refuse(c Command, kind error, why, hint string, out *[]Effect) {
	fail(c.Asker, &messages.Error{Kind: kind, Op: c.Cmd.Verb(), Process: c.Cmd.Target(), Err: messages.Text(why), Hint: hint}, out)
}

// status is the OCI status that a phase is told as.
func (p *Process) status(paused bool) messages.Status {
	switch p.Phase {
	case Creating, Created, Starting:
		return messages.StatusCreated
	case Running, Draining:
		if !p.started {
			return messages.StatusCreated // killed before its Start
		}
		if paused {
			return messages.StatusPaused
		}
		return messages.StatusRunning
	}
	return messages.StatusStopped
}

// Live tells whether a process of the guest stands behind it, as far as has
// been told.
func (p *Process) Live() bool { return p.Phase == Running || p.Phase == Draining }
