package actors

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// simPlan is what happens in one scenario: what clients ask, what fails, and
// how the scheduler picks. It is a value, so that it can be cut down.
type simPlan struct {
	seed uint64
	// salt makes another schedule of the same items.
	salt  uint64
	items []simItem

	// lopsided: some of those who could go next are picked far more often than
	// others, which starves actors and calls for long.
	lopsided bool
	// inline is how many of 8 messages for an idle actor are handled before
	// the sender goes on, as the runtime's own mailboxes do.
	inline int
	// haste is how many of 256 steps move the clock although something else
	// could go on.
	haste int
	// orderly: the end is a kill and a delete of each container and then a
	// Shutdown that finds nothing; else one Shutdown does it all.
	orderly bool
	// slow is how many events the second observer holds.
	slow int
	// tight: the limits of the runtime are reached.
	tight bool
}

// simItem is one thing of a plan.
type simItem struct {
	kind simKind

	// ask: cmd is sent when the item at after (-1: none) has been sent, or
	// answered; its asker gives up at some time if abandon is set.
	cmd      messages.AnyCommand
	client   int
	after    int
	answered bool
	abandon  bool

	// The others are about a process, or an actor.
	process messages.Process
	verb    string   // fault: which call
	fault   simFault // fault: what becomes of it
	status  int      // exit
	actor   string   // panic: whose step
	nth     int      // panic: at which of its inputs
}

type simKind uint8

const (
	simAskItem    simKind = iota
	simFaultItem          // a call to the driver goes wrong
	simExitItem           // a process ends by itself
	simDieItem            // a sandbox dies
	simOOMItem            // a sandbox is killed for want of memory
	simDoubleItem         // an exit is reported twice
	simPanicItem          // a step of an actor panics
)

// simFault is how a call to the driver goes wrong.
type simFault uint8

const (
	simNoFault simFault = iota
	simFails            // an error, no effect
	simHangs            // no effect, DeadlineExceeded at its deadline
	simLate             // it takes effect and returns after the runtime has answered for it
	simDull             // it takes effect only after the runtime has answered for it
	simPanics           // the driver panics, no effect
)

var simFaultNames = [...]string{simFails: "fails", simHangs: "hangs until its deadline", simLate: "returns too late",
	simDull: "takes effect and returns too late", simPanics: "panics"}

func (it *simItem) String() string {
	switch it.kind {
	case simAskItem:
		s := simDirective(it.cmd)
		if it.abandon {
			s += "   # and gives up"
		}
		return s
	case simFaultItem:
		return fmt.Sprintf("# fault: the driver's %s of %s %s", it.verb, it.process, simFaultNames[it.fault])
	case simExitItem:
		return fmt.Sprintf("# %s ends by itself with status %d", it.process, it.status)
	case simDieItem:
		return fmt.Sprintf("# the sandbox of %s dies", it.process)
	case simOOMItem:
		return fmt.Sprintf("# the sandbox of %s is killed for want of memory", it.process)
	case simDoubleItem:
		return fmt.Sprintf("# the exit of %s is reported twice", it.process)
	}
	return fmt.Sprintf("# the actor of %s panics at its input %d", it.actor, it.nth)
}

// simDirective is a command as a play script has it.
func simDirective(cmd messages.AnyCommand) string {
	switch c := cmd.(type) {
	case messages.Create:
		if c.Sandbox != "" {
			return fmt.Sprintf("create %s sandbox=%s", c.Container, c.Sandbox)
		}
	case messages.Kill:
		s := fmt.Sprintf("kill %s %d", c.Process, int(c.Signal))
		if c.All {
			s += " all"
		}
		return s
	case messages.Resize:
		return fmt.Sprintf("resize %s %dx%d", c.Process, c.Size.Cols, c.Size.Rows)
	case messages.Update:
		return fmt.Sprintf("update %s memory=1", c.Container)
	case messages.Info:
		return "# info"
	case messages.Shutdown:
		return fmt.Sprintf("# shutdown now=%v", c.Now)
	}
	return cmd.Verb() + " " + cmd.Target().String()
}

// without is the plan less some of its items. What was to come after an item
// that is gone comes after what that one came after.
func (p *simPlan) without(gone func(i int) bool) *simPlan {
	q := *p
	q.items = nil
	at := make([]int, len(p.items))
	for i := range p.items {
		it := p.items[i]
		if it.after >= 0 {
			it.after = at[it.after]
		}
		if gone(i) {
			at[i] = it.after
			continue
		}
		at[i] = len(q.items)
		q.items = append(q.items, it)
	}
	return &q
}

func (p *simPlan) String() string {
	var b strings.Builder
	for i := range p.items {
		fmt.Fprintln(&b, &p.items[i])
	}
	return b.String()
}

// simAuthor writes a plan.
type simAuthor struct {
	*rand.Rand
	plan *simPlan
}

// newSimPlan is the plan of a seed.
func newSimPlan(seed uint64) *simPlan {
	a := simAuthor{rand.New(rand.NewPCG(seed, 0)), &simPlan{seed: seed}}
	p := a.plan
	p.lopsided, p.orderly = a.odds(1, 2), a.odds(1, 2)
	p.inline = []int{0, 0, 2, 8}[a.IntN(4)]
	p.haste = []int{0, 0, 4, 16}[a.IntN(4)]
	p.slow = 1 + a.IntN(3)
	p.tight = a.odds(1, 8)
	switch shape := a.IntN(20); {
	case shape < 12:
		a.container("c1", "")
	case shape < 17:
		a.container("c1", "pod")
		a.container("c2", "pod")
	default:
		a.container("c1", "")
		a.container("c2", "")
	}
	if a.odds(1, 12) {
		a.ask(messages.Info{}, -1)
	}
	if a.odds(1, 12) {
		a.ask(messages.Shutdown{Now: a.odds(1, 2)}, a.IntN(len(p.items)))
	}
	mishaps := a.IntN(3)
	if a.odds(1, 6) { // a stormy one
		mishaps = 3 + a.IntN(8)
	}
	for range mishaps {
		a.mishap()
	}
	if a.odds(1, 4) {
		a.panics()
	}
	return p
}

func (a simAuthor) odds(n, of int) bool { return a.IntN(of) < n }

// ask adds a command that comes after another item.
func (a simAuthor) ask(cmd messages.AnyCommand, after int) int {
	a.plan.items = append(a.plan.items, simItem{
		kind: simAskItem, cmd: cmd, client: 1 + a.IntN(3), after: after,
		answered: a.odds(3, 4), abandon: a.odds(1, 10),
	})
	return len(a.plan.items) - 1
}

// container adds a container with its execs.
func (a simAuthor) container(id messages.ContainerID, sandbox messages.SandboxID) {
	create := messages.Create{Container: id, Sandbox: sandbox, Bundle: "/bundle"}
	init := messages.Init(id)
	created := a.ask(create, -1)
	started := created
	if a.odds(11, 12) {
		started = a.ask(messages.Start{Process: init}, created)
	}
	for e := range a.IntN(4) {
		a.exec(messages.Process{Container: id, Exec: messages.ExecID(fmt.Sprintf("e%d", 1+e))}, []int{created, started})
	}
	for range a.IntN(4) {
		after := a.after(created, started, len(a.plan.items)-1)
		switch a.IntN(22) {
		case 0, 1, 2:
			a.ask(a.kill(init), after)
		case 3, 4:
			a.ask(messages.Delete{Process: init}, after)
		case 5, 6:
			a.ask(messages.Wait{Process: init}, after)
		case 7, 8:
			a.ask(messages.State{Process: init}, after)
		case 9, 10:
			paused := a.ask(messages.Pause{Container: id}, after)
			if a.odds(3, 4) {
				a.ask(messages.Resume{Container: id}, paused)
			}
		case 11:
			a.ask(messages.Checkpoint{Container: id, ImagePath: "/image", LeaveRunning: a.odds(1, 2)}, after)
		case 12:
			a.ask(messages.Pids{Container: id}, after)
		case 13:
			a.ask(messages.Stats{Container: id}, after)
		case 14:
			a.ask(messages.Update{Container: id, Resources: &messages.Resources{}}, after)
		case 15:
			a.ask(messages.Connect{Container: id}, after)
		case 16:
			a.ask(create, after)
		case 17:
			a.ask(messages.Start{Process: init}, after)
		case 18:
			a.ask(messages.CloseIO{Process: init}, after)
		default:
			killed := a.ask(messages.Kill{Process: init, Signal: syscall.SIGKILL, All: a.odds(1, 2)}, after)
			waited := a.ask(messages.Wait{Process: init}, killed)
			deleted := a.ask(messages.Delete{Process: init}, waited)
			if a.odds(1, 2) {
				again := a.ask(create, deleted)
				a.ask(messages.Start{Process: init}, again)
			}
		}
	}
}

// after picks one of the items, the later ones more often.
func (a simAuthor) after(items ...int) int { return items[a.IntN(len(items))] }

// exec adds an exec and what is asked of it.
func (a simAuthor) exec(p messages.Process, roots []int) {
	x := messages.Exec{Process: p}
	x.Spec.Args, x.Spec.Cwd = []string{"work"}, "/"
	x.Spec.Terminal = a.odds(1, 4)
	x.Stdio.Terminal = x.Spec.Terminal
	added := a.ask(x, a.after(roots...))
	started := added
	if a.odds(11, 12) {
		started = a.ask(messages.Start{Process: p}, added)
	}
	for range a.IntN(3) {
		after := a.after(added, started, started)
		switch a.IntN(12) {
		case 0, 1:
			a.ask(a.kill(p), after)
		case 2, 3:
			a.ask(messages.Wait{Process: p}, after)
		case 4, 5:
			a.ask(messages.Delete{Process: p}, after)
		case 6:
			a.ask(messages.State{Process: p}, after)
		case 7:
			a.ask(messages.Resize{Process: p, Size: messages.WindowSize{Cols: 80, Rows: 25}}, after)
		case 8:
			a.ask(messages.CloseIO{Process: p}, after)
		case 9:
			a.ask(x, after)
		case 10:
			a.ask(messages.Start{Process: p}, after)
		default:
			waited := a.ask(messages.Wait{Process: p}, a.ask(a.kill(p), after))
			again := a.ask(x, a.ask(messages.Delete{Process: p}, waited))
			a.ask(messages.Start{Process: p}, again)
		}
	}
}

func (a simAuthor) kill(p messages.Process) messages.Kill {
	signals := []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGURG}
	return messages.Kill{Process: p, Signal: signals[a.IntN(len(signals))]}
}

// anyone is the process of some command that has been planned.
func (a simAuthor) anyone() messages.Process {
	for {
		if it := a.plan.items[a.IntN(len(a.plan.items))]; it.kind == simAskItem && it.cmd.Target().Container != "" {
			return it.cmd.Target()
		}
	}
}

// mishap adds something that goes wrong in the world.
func (a simAuthor) mishap() {
	p := a.anyone()
	it := simItem{process: p, after: -1}
	switch a.IntN(12) {
	case 0, 1, 2:
		it.kind, it.status = simExitItem, a.IntN(4)
	case 3:
		it.kind, it.process = simDieItem, messages.Init(p.Container)
	case 4:
		it.kind, it.process = simOOMItem, messages.Init(p.Container)
	case 5:
		it.kind = simDoubleItem
	default:
		it.kind, it.fault = simFaultItem, simFails+simFault(a.IntN(5))
		verbs := []string{"create", "start", "start", "kill", "kill", "delete", "pause", "resume", "checkpoint", "kill sandbox", "update", "stats"}
		if !p.IsInit() {
			verbs = []string{"exec", "exec", "exec", "kill", "delete", "resize", "closeio"}
		}
		it.verb = verbs[a.IntN(len(verbs))]
	}
	a.plan.items = append(a.plan.items, it)
}

// panics adds one panic of an actor, or two of the same.
func (a simAuthor) panics() {
	p := a.anyone()
	name := p.String()
	switch a.IntN(8) {
	case 0:
		name = "directory"
	case 1:
		name = "sandbox " + string(p.Container)
		for _, it := range a.plan.items {
			if c, ok := it.cmd.(messages.Create); ok && c.Container == p.Container && c.Sandbox != "" {
				name = "sandbox " + string(c.Sandbox)
			}
		}
	}
	nth := 1 + a.IntN(10)
	a.plan.items = append(a.plan.items, simItem{kind: simPanicItem, actor: name, nth: nth, after: -1})
	// Nobody stands in for a sandbox or the directory that panics twice.
	if name == p.String() && a.odds(1, 6) {
		a.plan.items = append(a.plan.items, simItem{kind: simPanicItem, actor: name, nth: nth + 1 + a.IntN(2), after: -1})
	}
}
