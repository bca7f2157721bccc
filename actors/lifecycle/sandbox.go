package lifecycle

import (
	"fmt"
	"slices"

	"github.com/troupe-run/troupe/messages"
)

// Sandbox is the machine of a sandbox: it routes to its containers and decides
// what the failure of one means.
type Sandbox struct {
	ID    messages.SandboxID
	Phase Phase
	// Health is the last that the directory was told.
	Health messages.Health

	config *Config
	// root is the container that the sandbox lives and ends with.
	root       messages.Incarnation
	containers map[messages.ContainerID]resident
	postponed  []Command
}

// resident is what a sandbox knows of a container.
type resident struct {
	id messages.Incarnation
	// made: its creation was told, so an exit is owed.
	made, exited bool
	exit         *messages.Exit // as it was told
}

// NewSandbox is a sandbox without containers.
func NewSandbox(id messages.SandboxID, cfg *Config) Sandbox {
	return Sandbox{ID: id, Phase: Empty, Health: messages.HealthStarting, config: cfg, containers: make(map[messages.ContainerID]resident)}
}

// Step takes an input and returns the sandbox after it, with what to do.
func (s Sandbox) Step(in Input) (Sandbox, []Effect) {
	var out []Effect
	s.Apply(in, &out)
	return s, out
}

// Apply is Step in place, and appends to out: for callers that keep a copy of
// the state before, and whose heap a copy for every input would burden.
func (s *Sandbox) Apply(in Input, out *[]Effect) {
	sandboxTable.step(s, &s.Phase, s.kind(in), in, out)
}

func (s *Sandbox) kind(in Input) Kind {
	switch in := in.(type) {
	case Command:
		if _, isCreate := in.Cmd.(messages.Create); isCreate {
			return cmdCreate
		}
		return toContainer
	case Made:
		return onMade
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
	case Abandon:
		return onAbandon
	case Doom:
		return onDoom
	case Crash:
		return onCrash
	}
	panic(fmt.Sprintf("lifecycle: a sandbox has no input %T", in))
}

var sandboxPhases = []Phase{Empty, Making, Alive, Over}

var sandboxKinds = []Kind{
	cmdCreate, toContainer,
	onMade, onStarted, onFailed, onExited, onDeleted, onCrashed, onLost, onUnresponsive,
	onAbandon, onDoom, onCrash,
}

var sandboxTable *table[Sandbox]

func init() {
	on := func(k Kind, rule rule[Sandbox], in ...Phase) row[Sandbox] { return row[Sandbox]{k, in, rule} }
	always := sandboxPhases
	nothing := rule[Sandbox]{"nothing", nil, func(*Sandbox, Input, *[]Effect) {}}
	well := rule[Sandbox]{"tell that the sandbox answers", nil, func(s *Sandbox, _ Input, out *[]Effect) { s.feels(messages.HealthAlive, out) }}

	sandboxTable = newTable("sandbox", sandboxPhases, sandboxKinds, []row[Sandbox]{
		on(cmdCreate, rule[Sandbox]{"create it, as the root container", []Phase{Making}, (*Sandbox).onCreateRoot}, Empty),
		on(cmdCreate, rule[Sandbox]{"postpone", nil, (*Sandbox).onCreatePostpone}, Making),
		on(cmdCreate, rule[Sandbox]{"create it", nil, (*Sandbox).onCreate}, Alive),
		on(cmdCreate, rule[Sandbox]{"refuse: has ended", nil, (*Sandbox).onCreateOver}, Over),
		on(toContainer, rule[Sandbox]{"the container's table", nil, (*Sandbox).onCommand}, always...),

		on(onMade, rule[Sandbox]{"the sandbox is there: replay", []Phase{Alive}, (*Sandbox).onMade}, Making),
		on(onMade, rule[Sandbox]{"note it", nil, (*Sandbox).onMade}, Empty, Alive, Over),
		on(onStarted, well, always...),
		on(onFailed, nothing, always...),
		on(onExited, rule[Sandbox]{"note it; the root container: the sandbox has ended", []Phase{Over}, (*Sandbox).onExited}, Alive),
		on(onExited, rule[Sandbox]{"note it", nil, (*Sandbox).onExited}, Empty, Making, Over),
		on(onDeleted, rule[Sandbox]{"pass it on; the root container could not be created: replay", []Phase{Empty}, (*Sandbox).onDeleted}, Making),
		on(onDeleted, rule[Sandbox]{"pass it on", nil, (*Sandbox).onDeleted}, Empty, Alive, Over),
		on(onCrashed, rule[Sandbox]{"kill the container", nil, (*Sandbox).onCrashed}, always...),
		on(onLost, rule[Sandbox]{"discard it; the root container could not be created: replay", []Phase{Empty}, (*Sandbox).onLost}, Making),
		on(onLost, rule[Sandbox]{"discard it, tell an unknown exit in its place; the root container: the sandbox has ended", []Phase{Over}, (*Sandbox).onLost}, Alive),
		on(onLost, rule[Sandbox]{"discard it, tell an unknown exit in its place", nil, (*Sandbox).onLost}, Empty, Over),
		on(onUnresponsive, rule[Sandbox]{"tell it", nil, func(s *Sandbox, _ Input, out *[]Effect) { s.feels(messages.HealthUnresponsive, out) }}, always...),
		on(onAbandon, rule[Sandbox]{"forget the asker", nil, (*Sandbox).onAbandon}, always...),
		on(onDoom, rule[Sandbox]{"doom every container", nil, (*Sandbox).onDoom}, always...),
		on(onCrash, rule[Sandbox]{"answer every asker with the error", nil, (*Sandbox).onCrash}, always...),
	})
}

// refuse answers a command with an error that names the sandbox.
func (s *Sandbox) refuse(c Command, kind error, why, hint string, out *[]Effect) {
	fail(c.Asker, &messages.Error{
		Kind: kind, Op: c.Cmd.Verb(), Process: c.Cmd.Target(), Sandbox: s.ID, Err: messages.Text(why), Hint: hint,
	}, out)
}

// undo answers a Create that is refused. The directory counted its container
// in when it passed the command on, so the answer goes by way of a Deleted.
func (s *Sandbox) undo(c Command, kind error, why, hint string, out *[]Effect) {
	var replies []Effect
	s.refuse(c, kind, why, hint, &replies)
	d := Deleted{Process: messages.Incarnation{Process: c.Cmd.Target(), Number: c.Number}}
	for _, r := range replies {
		d.Replies = append(d.Replies, r.(Reply))
	}
	*out = append(*out, d)
}

func (s *Sandbox) onCreateRoot(in Input, out *[]Effect) {
	s.Phase = Making
	s.onCreate(in, out)
	s.root = messages.Incarnation{Process: in.(Command).Cmd.Target(), Number: in.(Command).Number}
}

func (s *Sandbox) onCreate(in Input, out *[]Effect) {
	c := in.(Command)
	if len(s.containers) >= s.config.Containers {
		s.undo(c, messages.ResourceExhausted, fmt.Sprintf("the sandbox has %d containers", len(s.containers)), "delete some that have stopped", out)
		return
	}
	id := messages.Incarnation{Process: c.Cmd.Target(), Number: c.Number}
	*out = append(*out, SpawnContainer{
		Container: NewContainer(id, s.ID, c.Cmd.(messages.Create), s.config),
		Create:    c,
	})
	s.containers[id.Container] = resident{id: id}
}

func (s *Sandbox) onCreatePostpone(in Input, out *[]Effect) {
	c := in.(Command)
	if len(s.postponed) >= s.config.Postponed {
		s.undo(c, messages.ResourceExhausted, fmt.Sprintf("%d containers wait for the sandbox already", len(s.postponed)), "wait for their answers", out)
		return
	}
	s.postponed = append(slices.Clip(s.postponed), c)
}

func (s *Sandbox) onCreateOver(in Input, out *[]Effect) {
	s.undo(in.(Command), messages.FailedPrecondition, "the sandbox has ended", "delete its containers and create a new one", out)
}

func (s *Sandbox) replay(out *[]Effect) {
	waiting := s.postponed
	s.postponed = nil
	for _, c := range waiting {
		sandboxTable.step(s, &s.Phase, cmdCreate, c, out)
	}
}

func (s *Sandbox) onCommand(in Input, out *[]Effect) {
	c := in.(Command)
	if _, ok := s.containers[c.Cmd.Target().Container]; !ok {
		s.refuse(c, messages.NotFound, "there is no such container", "create it first", out)
		return
	}
	*out = append(*out, Pass{})
}

// feels tells the directory of another health. There is none after the end.
func (s *Sandbox) feels(h messages.Health, out *[]Effect) {
	if s.Health != h && s.Health != messages.HealthOver {
		s.Health = h
		*out = append(*out, Changed{Sandbox: s.ID, Health: h})
	}
}

// known gives the container of an incarnation; false for one that is freed.
func (s *Sandbox) known(id messages.Incarnation) (resident, bool) {
	r, ok := s.containers[id.Container]
	return r, ok && r.id == id
}

func (s *Sandbox) onMade(in Input, out *[]Effect) {
	r, ok := s.known(in.(Made).Process)
	if !ok {
		return
	}
	r.made = true
	s.containers[r.id.Container] = r
	if s.Phase == Making && r.id == s.root {
		s.Phase = Alive
		s.feels(messages.HealthAlive, out)
		s.replay(out)
	}
}

func (s *Sandbox) onExited(in Input, out *[]Effect) {
	told := in.(Exited)
	r, ok := s.known(told.Process)
	if !ok {
		return
	}
	r.exited, r.exit = true, told.Exit
	s.containers[r.id.Container] = r
	if r.id == s.root {
		s.Phase = Over
		s.feels(messages.HealthOver, out)
	}
}

func (s *Sandbox) onDeleted(in Input, out *[]Effect) {
	d := in.(Deleted)
	if _, ok := s.known(d.Process); ok {
		*out = append(*out, Retire{Child: string(d.Process.Container)})
		delete(s.containers, d.Process.Container)
	}
	*out = append(*out, d)
	s.rootless(d.Process, out)
}

// rootless begins anew when the root container could not be created.
func (s *Sandbox) rootless(id messages.Incarnation, out *[]Effect) {
	if s.Phase == Making && id == s.root {
		s.Phase = Empty
		s.replay(out)
	}
}

func (s *Sandbox) onCrashed(in Input, out *[]Effect) {
	if r, ok := s.known(in.(Crashed).Process); ok && !r.exited {
		*out = append(*out, KillChild{Target: r.id})
	}
}

func (s *Sandbox) onLost(in Input, out *[]Effect) {
	l := in.(Lost)
	r, ok := s.known(l.Process)
	if !ok {
		return
	}
	*out = append(*out, Discard{Target: r.id})
	if r.made {
		*out = append(*out, standIn(r.id, messages.PIDs{}, r.exit, !r.exited, l)...)
	}
	if r.id == s.root && s.Phase == Alive {
		s.Phase = Over
		s.feels(messages.HealthOver, out)
	}
	delete(s.containers, r.id.Container)
	*out = append(*out, Retire{Child: string(r.id.Container)}, Deleted{Process: r.id})
	s.rootless(r.id, out)
}

func (s *Sandbox) onAbandon(in Input, out *[]Effect) {
	a := in.(Abandon)
	// A Create that is postponed goes on: its container may be wanted by now
	// only to be deleted, but a Create that is taken up is never undone.
	s.postponed = slices.Clone(s.postponed)
	for i := range s.postponed {
		if s.postponed[i].Asker == a.Asker {
			s.postponed[i].Asker = nil
		}
	}
	if _, ok := s.containers[a.Process.Container]; ok {
		*out = append(*out, Forward{To: string(a.Process.Container), In: a})
	}
}

func (s *Sandbox) onDoom(in Input, out *[]Effect) {
	waiting := s.postponed
	s.postponed = nil
	for _, c := range waiting {
		s.undo(c, messages.Unavailable, in.(Doom).Reason, "", out)
	}
	for _, id := range sortedKeys(s.containers) {
		*out = append(*out, Forward{To: string(id), In: in})
	}
}

func (s *Sandbox) onCrash(in Input, out *[]Effect) {
	waiting := s.postponed
	s.postponed = nil
	for _, c := range waiting {
		s.undo(c, messages.Internal, in.(Crash).Reason, "this is a defect: please report it", out)
	}
	// The directory has counted in the container of a Create that panicked here.
	if c, ok := in.(Crash).Input.(Command); ok && s.kind(c) == cmdCreate {
		id := messages.Incarnation{Process: c.Cmd.Target(), Number: c.Number}
		if _, made := s.known(id); !made {
			*out = append(*out, Deleted{Process: id})
		}
	}
}
