package lifecycle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/troupe-run/troupe/messages"
)

// Directory is the machine at the top of the tree: it knows which sandbox has
// which container, numbers incarnations, and ends the runtime.
type Directory struct {
	Phase Phase

	config     *Config
	containers map[messages.ContainerID]entry
	members    map[messages.SandboxID]member
	// numbers counts incarnations. It only grows.
	numbers uint64
	leavers []Asker
}

// member is a sandbox of the directory.
type member struct {
	containers int
	health     messages.Health
}

// entry is a container of the directory.
type entry struct {
	sandbox messages.SandboxID
	number  uint64
}

// NewDirectory is a directory without sandboxes.
func NewDirectory(cfg *Config) Directory {
	return Directory{
		Phase: Serving, config: cfg,
		containers: make(map[messages.ContainerID]entry),
		members:    make(map[messages.SandboxID]member),
	}
}

// Step takes an input and returns the directory after it, with what to do.
func (d Directory) Step(in Input) (Directory, []Effect) {
	var out []Effect
	d.Apply(in, &out)
	return d, out
}

// Apply is Step in place, and appends to out: for callers that keep a copy of
// the state before, and whose heap a copy for every input would burden.
func (d *Directory) Apply(in Input, out *[]Effect) {
	directoryTable.step(d, &d.Phase, d.kind(in), in, out)
}

func (d *Directory) kind(in Input) Kind {
	switch in := in.(type) {
	case Command:
		switch in.Cmd.(type) {
		case messages.Create:
			return cmdCreate
		case messages.Info:
			return cmdInfo
		case messages.Shutdown:
			return cmdShutdown
		}
		return toContainer
	case Deleted:
		return onDeleted
	case Changed:
		return onChanged
	case Abandon:
		return onAbandon
	case Crash:
		return onCrash
	}
	panic(fmt.Sprintf("lifecycle: a directory has no input %T", in))
}

var directoryPhases = []Phase{Serving, Leaving, Left}

var directoryKinds = []Kind{cmdCreate, cmdInfo, cmdShutdown, toContainer, onDeleted, onChanged, onAbandon, onCrash}

var directoryTable *table[Directory]

func init() {
	on := func(k Kind, rule rule[Directory], in ...Phase) row[Directory] { return row[Directory]{k, in, rule} }
	leaving := rule[Directory]{"refuse: is shutting down", nil, (*Directory).refuseLeaving}
	nothing := rule[Directory]{"nothing", nil, func(*Directory, Input, *[]Effect) {}}

	directoryTable = newTable("directory", directoryPhases, directoryKinds, []row[Directory]{
		on(cmdCreate, rule[Directory]{"the sandbox's table, in a new sandbox if there is none", nil, (*Directory).onCreate}, Serving),
		on(cmdCreate, leaving, Leaving, Left),
		on(cmdInfo, rule[Directory]{"reply", nil, (*Directory).onInfo}, directoryPhases...),
		on(cmdShutdown, rule[Directory]{"end every sandbox; refuse if there are some and it is not now", []Phase{Leaving, Left}, (*Directory).onShutdown}, Serving),
		on(cmdShutdown, rule[Directory]{"join, end every sandbox again", nil, (*Directory).onShutdownAgain}, Leaving),
		on(cmdShutdown, rule[Directory]{"reply", nil, (*Directory).onShutdownLeft}, Left),
		on(toContainer, rule[Directory]{"the sandbox's table", nil, (*Directory).onCommand}, Serving, Leaving),
		on(toContainer, leaving, Left),
		on(onDeleted, rule[Directory]{"free the id, then reply", nil, (*Directory).onDeleted}, Serving),
		on(onDeleted, rule[Directory]{"free the id, then reply; the last one: reply to Shutdown", []Phase{Left}, (*Directory).onDeleted}, Leaving),
		on(onDeleted, nothing, Left),
		on(onChanged, rule[Directory]{"note it", nil, (*Directory).onChanged}, directoryPhases...),
		on(onAbandon, rule[Directory]{"forget the asker", nil, (*Directory).onAbandon}, directoryPhases...),
		on(onCrash, rule[Directory]{"answer every asker with the error", nil, (*Directory).onCrash}, directoryPhases...),
	})
}

func (d *Directory) refuse(c Command, kind error, why, hint string, out *[]Effect) {
	fail(c.Asker, &messages.Error{Kind: kind, Op: c.Cmd.Verb(), Process: c.Cmd.Target(), Err: messages.Text(why), Hint: hint}, out)
}

func (d *Directory) refuseLeaving(in Input, out *[]Effect) {
	d.refuse(in.(Command), messages.Unavailable, "the runtime is shutting down", "start a new one", out)
}

func (d *Directory) onCreate(in Input, out *[]Effect) {
	c := in.(Command)
	create := c.Cmd.(messages.Create)
	if _, ok := d.containers[create.Container]; ok {
		d.refuse(c, messages.AlreadyExists, "the container id is in use", "delete it first, or use another id", out)
		return
	}
	if create.Sandbox == "" {
		create.Sandbox = messages.SandboxID(create.Container)
		c.Cmd = create
	}
	m, ok := d.members[create.Sandbox]
	if !ok {
		m.health = messages.HealthStarting
		*out = append(*out, SpawnSandbox{Sandbox: NewSandbox(create.Sandbox, d.config)})
	}
	d.numbers++
	c.Number = d.numbers
	*out = append(*out, Forward{To: string(create.Sandbox), In: c})
	m.containers++
	d.members[create.Sandbox] = m
	d.containers[create.Container] = entry{sandbox: create.Sandbox, number: c.Number}
}

func (d *Directory) onCommand(in Input, out *[]Effect) {
	c := in.(Command)
	e, ok := d.containers[c.Cmd.Target().Container]
	if !ok {
		d.refuse(c, messages.NotFound, "there is no such container", "create it first", out)
		return
	}
	if _, isExec := c.Cmd.(messages.Exec); isExec {
		d.numbers++
		c.Number = d.numbers
		in = c
	}
	*out = append(*out, Forward{To: string(e.sandbox), In: in})
}

func (d *Directory) onDeleted(in Input, out *[]Effect) {
	gone := in.(Deleted)
	id := gone.Process.Container
	e, ok := d.containers[id]
	if ok && e.number == gone.Process.Number {
		delete(d.containers, id)
		d.leaves(e.sandbox, out)
	}
	for _, r := range gone.Replies {
		*out = append(*out, r)
	}
	if d.Phase == Leaving && len(d.containers) == 0 {
		d.leave(out)
	}
}

// leaves counts a container out of its sandbox. The sandbox ends with its last.
func (d *Directory) leaves(s messages.SandboxID, out *[]Effect) {
	m := d.members[s]
	m.containers--
	d.members[s] = m
	if m.containers == 0 {
		delete(d.members, s)
		*out = append(*out, Retire{Child: string(s)})
	}
}

func (d *Directory) onChanged(in Input, _ *[]Effect) {
	c := in.(Changed)
	if m, ok := d.members[c.Sandbox]; ok {
		m.health = c.Health
		d.members[c.Sandbox] = m
	}
}

func (d *Directory) onShutdown(in Input, out *[]Effect) {
	c := in.(Command)
	switch {
	case len(d.containers) == 0:
		d.leavers = []Asker{c.Asker}
		d.leave(out)
	case !c.Cmd.(messages.Shutdown).Now:
		d.refuse(c, messages.FailedPrecondition, fmt.Sprintf("there are %d containers", len(d.containers)), "delete them first, or shut down now", out)
	default:
		d.Phase = Leaving
		d.leavers = []Asker{c.Asker}
		d.doom(out)
	}
}

func (d *Directory) doom(out *[]Effect) {
	for _, s := range sortedKeys(d.members) {
		*out = append(*out, Forward{To: string(s), In: Doom{Reason: "the runtime is shutting down"}})
	}
}

func (d *Directory) onShutdownAgain(in Input, out *[]Effect) {
	if len(d.leavers) >= d.config.Waiters {
		d.refuse(in.(Command), messages.ResourceExhausted, "too many wait for the shutdown", "share one", out)
		return
	}
	d.leavers = append(slices.Clip(d.leavers), in.(Command).Asker)
	// A kill or a deletion that failed is tried again: nothing else would.
	d.doom(out)
}

func (d *Directory) onShutdownLeft(in Input, out *[]Effect) {
	reply(in.(Command).Asker, messages.Ended{}, out)
}

func (d *Directory) leave(out *[]Effect) {
	d.Phase = Left
	for _, a := range d.leavers {
		reply(a, messages.Ended{}, out)
	}
	d.leavers = nil
}

func (d *Directory) onInfo(in Input, out *[]Effect) {
	info := messages.RuntimeInfo{RuntimePID: d.config.RuntimePID, Driver: d.config.Driver}
	byID := make(map[messages.SandboxID][]messages.ContainerID, len(d.members))
	for _, c := range sortedKeys(d.containers) {
		s := d.containers[c].sandbox
		byID[s] = append(byID[s], c)
	}
	for _, s := range sortedKeys(byID) {
		info.Sandboxes = append(info.Sandboxes, messages.SandboxInfo{Sandbox: s, Health: d.members[s].health, Containers: byID[s]})
	}
	reply(in.(Command).Asker, info, out)
}

func (d *Directory) onAbandon(in Input, out *[]Effect) {
	a := in.(Abandon)
	d.leavers = slices.DeleteFunc(slices.Clone(d.leavers), func(b Asker) bool { return a.Asker == b })
	if e, ok := d.containers[a.Process.Container]; ok {
		*out = append(*out, Forward{To: string(e.sandbox), In: a})
	}
}

func (d *Directory) onCrash(in Input, out *[]Effect) {
	for _, a := range d.leavers {
		d.refuse(Command{Asker: a, Cmd: messages.Shutdown{}}, messages.Internal, in.(Crash).Reason, "this is a defect: please report it", out)
	}
	d.leavers = nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
