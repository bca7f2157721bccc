package mutexcore

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// drainTime is how long an init's exit waits for those of its execs. It is the
// default of package actors.
const drainTime = 10 * time.Second

// container is an init and its execs.
type container struct {
	core *Core
	id   messages.ContainerID
	init *initProcess
	// made is closed when the call that creates it has returned.
	made chan struct{}

	mu    sync.Mutex
	execs map[messages.ExecID]*execProcess
	// closed: the init is gone, so that nothing is registered or started.
	closed bool
	paused bool
}

func newContainer(core *Core, cmd messages.Create) *container {
	c := &container{
		core: core, id: cmd.Container, made: make(chan struct{}),
		execs: make(map[messages.ExecID]*execProcess),
	}
	c.init = &initProcess{sandbox: cmd.Sandbox, bundle: cmd.Bundle}
	c.init.process = newProcess(c, messages.Init(cmd.Container), cmd.Stdio)
	c.init.held = true // until its creation is told
	return c
}

func (c *container) isMade() bool {
	select {
	case <-c.made:
		return true
	default:
		return false
	}
}

func (c *container) exec(id messages.ExecID) *execProcess {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.execs[id]
}

// add registers an exec.
func (c *container) add(cmd messages.Exec) error {
	e := &execProcess{parent: c.init, spec: cmd.Spec}
	e.process = newProcess(c, cmd.Process, cmd.Stdio)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return refusal(cmd, messages.FailedPrecondition, "the init has exited", "delete the container")
	case c.execs[cmd.Process.Exec] != nil:
		return refusal(cmd, messages.AlreadyExists, "the id is in use", "delete that exec first, or use another id")
	}
	c.execs[cmd.Process.Exec] = e
	c.core.events.send(messages.ExecAdded{Process: cmd.Process})
	return nil
}

func (c *container) remove(e *execProcess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.execs, e.id.Exec)
}

// list has the execs in the order of their ids.
func (c *container) list() (all []*execProcess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.execs {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *execProcess) int { return cmp.Compare(a.id.Exec, b.id.Exec) })
	return all
}

func (c *container) pids() (live []messages.ProcessPIDs) {
	all := []*process{&c.init.process}
	for _, e := range c.list() {
		all = append(all, &e.process)
	}
	for _, p := range all {
		if l, ok := p.line(); ok {
			live = append(live, l)
		}
	}
	return live
}

func (c *container) isPaused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused
}

func (c *container) setPaused(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
}

// begin marks an exec as live before the driver starts it, so that the init's
// exit waits for it, and holds its exit until its start is told.
func (c *container) begin(e *execProcess, cmd messages.Start) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return refusal(cmd, messages.FailedPrecondition, "the init has exited", "delete the container")
	case c.paused:
		return refusal(cmd, messages.FailedPrecondition, "the container is paused", "resume it first")
	}
	e.live, e.held = true, true
	return nil
}

// hold keeps an exit back until what comes before it is told.
func (c *container) hold(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.held = true
}

// release lets an exit through, and takes the one that was kept back.
func (c *container) release(p *process) {
	c.mu.Lock()
	early := p.early
	p.held, p.early = false, nil
	c.mu.Unlock()
	if early != nil {
		c.settle(p, *early)
	}
}

// abandon is release for an exec that was not started and has no exit.
func (c *container) abandon(e *execProcess) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.live, e.held, e.early = false, false, nil
}

// exited takes an exit that the driver reports.
func (c *container) exited(id messages.Incarnation, exit messages.Exit) {
	c.mu.Lock()
	p := c.incarnation(id)
	if p == nil {
		c.mu.Unlock()
		return
	}
	if p.held {
		p.early = &exit
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.settle(p, exit)
}

// incarnation finds a process by its number; mu is held.
func (c *container) incarnation(id messages.Incarnation) *process {
	if id.IsInit() {
		if c.init.id == id {
			return &c.init.process
		}
	} else if e := c.execs[id.Exec]; e != nil && e.id == id {
		return &e.process
	}
	return nil
}

// settle tells an exit; an init's after those of the execs that live.
func (c *container) settle(p *process, exit messages.Exit) {
	if !p.id.IsInit() {
		p.setExited(exit)
		c.mu.Lock()
		p.live = false
		c.mu.Unlock()
		return
	}
	var live []*execProcess
	c.mu.Lock()
	c.closed, c.paused = true, false
	for _, e := range c.execs {
		if e.live {
			live = append(live, e)
		}
	}
	c.mu.Unlock()
	if len(live) == 0 {
		p.setExited(exit)
		return
	}
	go c.drain(live, exit)
}

// drain kills the execs that outlive their init, and tells its exit last. One
// whose end is not seen in time is told as unknown (containerd's shim waits for
// ever, containerd#10589).
func (c *container) drain(live []*execProcess, exit messages.Exit) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, e := range live {
		wg.Go(func() {
			// It fails for one that is gone or was not started, and whatever
			// else goes wrong shows in that no exit comes.
			_ = e.kill(ctx, messages.Kill{Process: e.id.Process, Signal: syscall.SIGKILL})
			select {
			case <-e.gone:
			case <-ctx.Done():
				e.setExited(messages.Exit{Status: messages.ExitUnknown, At: time.Now(), Reason: "its init is gone, and its own exit was not seen"})
			}
		})
	}
	wg.Wait()
	c.init.setExited(exit)
}
