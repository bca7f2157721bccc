package mutexcore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// Core runs containers on a driver. All its methods can be used from any
// goroutine, and wait as long as the driver does.
type Core struct {
	driver  actors.Driver
	events  *publisher
	notices *notices
	number  atomic.Uint64 // of the last incarnation

	mu sync.Mutex
	// containers has those that are being created too, so that an id is used once.
	containers map[messages.ContainerID]*container
	ending     bool

	end    sync.Once
	endErr error
}

// New starts a core on a driver, which it uses alone and closes in Shutdown.
func New(driver actors.Driver) *Core {
	c := &Core{
		driver: driver, events: newPublisher(), notices: newNotices(),
		containers: make(map[messages.ContainerID]*container),
	}
	go c.events.forward()
	go c.processExits()
	driver.Notify(c.notices.put)
	return c
}

// refusal is the error of a command that the core does not carry out.
func refusal(cmd messages.AnyCommand, kind error, why, hint string) error {
	return &messages.Error{Kind: kind, Op: cmd.Verb(), Process: cmd.Target(), Err: messages.Text(why), Hint: hint}
}

func (c *Core) nextIncarnation(p messages.Process) messages.Incarnation {
	return messages.Incarnation{Process: p, Number: c.number.Add(1)}
}

// container is the one that a command is for.
func (c *Core) container(cmd messages.AnyCommand) (*container, error) {
	if err := cmd.Validate(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	ctr, ending := c.containers[cmd.Target().Container], c.ending
	c.mu.Unlock()
	switch {
	case ctr != nil && ctr.isMade():
		return ctr, nil
	case ending:
		return nil, refusal(cmd, messages.Unavailable, "the core has ended", "start a new one")
	}
	return nil, refusal(cmd, messages.NotFound, "there is no such container", "create it first")
}

// runnable is what an init and an exec can both do.
type runnable interface {
	start(context.Context, messages.Start) (messages.PIDs, error)
	kill(context.Context, messages.Kill) error
	delete(context.Context, messages.Delete) (messages.Deleted, error)
	state() (messages.ProcessState, bool)
	wait(context.Context, messages.Wait) (messages.Exit, error)
}

// process is the one that a command is for.
func (c *Core) process(cmd messages.AnyCommand) (runnable, error) {
	ctr, err := c.container(cmd)
	if err != nil {
		return nil, err
	}
	if cmd.Target().IsInit() {
		return ctr.init, nil
	}
	if e := ctr.exec(cmd.Target().Exec); e != nil {
		return e, nil
	}
	return nil, gone(cmd)
}

// gone is the error of a command for a process that is not there.
func gone(cmd messages.AnyCommand) error {
	return refusal(cmd, messages.NotFound, "there is no such process", "create or register it first")
}

// Create makes a container.
func (c *Core) Create(ctx context.Context, cmd messages.Create) (messages.Created, error) {
	if err := cmd.Validate(); err != nil {
		return messages.Created{}, err
	}
	if cmd.Sandbox == "" {
		cmd.Sandbox = messages.SandboxID(cmd.Container)
	}
	ctr := newContainer(c, cmd)
	if err := c.reserve(ctr, cmd); err != nil {
		return messages.Created{}, err
	}
	defer close(ctr.made)
	pids, err := c.driver.Create(ctx, ctr.init.id, cmd)
	if err != nil {
		c.forget(ctr)
		return messages.Created{}, err
	}
	ctr.init.created(cmd, pids)
	return messages.Created{Container: cmd.Container, PIDs: pids}, nil
}

func (c *Core) reserve(ctr *container, cmd messages.Create) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ending:
		return refusal(cmd, messages.Unavailable, "the core has ended", "start a new one")
	case c.containers[cmd.Container] != nil:
		return refusal(cmd, messages.AlreadyExists, "the id is in use", "delete that container first")
	}
	c.containers[cmd.Container] = ctr
	return nil
}

func (c *Core) forget(ctr *container) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.containers, ctr.id)
}

// Exec registers a process of a container.
func (c *Core) Exec(_ context.Context, cmd messages.Exec) (messages.Added, error) {
	ctr, err := c.container(cmd)
	if err != nil {
		return messages.Added{}, err
	}
	return messages.Added{Process: cmd.Process}, ctr.add(cmd)
}

// Start starts an init or an exec.
func (c *Core) Start(ctx context.Context, cmd messages.Start) (messages.Started, error) {
	p, err := c.process(cmd)
	if err != nil {
		return messages.Started{}, err
	}
	pids, err := p.start(ctx, cmd)
	return messages.Started{Process: cmd.Process, PIDs: pids}, err
}

// Kill sends a signal.
func (c *Core) Kill(ctx context.Context, cmd messages.Kill) (messages.Killed, error) {
	p, err := c.process(cmd)
	if err != nil {
		return messages.Killed{}, err
	}
	return messages.Killed{Process: cmd.Process}, p.kill(ctx, cmd)
}

// State tells what is known of a process. It waits for a call to the driver
// that is under way for the same process.
func (c *Core) State(_ context.Context, cmd messages.State) (messages.ProcessState, error) {
	p, err := c.process(cmd)
	if err != nil {
		return messages.ProcessState{}, err
	}
	s, ok := p.state()
	if !ok {
		return messages.ProcessState{}, gone(cmd)
	}
	return s, nil
}

// Wait waits for the exit of a process.
func (c *Core) Wait(ctx context.Context, cmd messages.Wait) (messages.Exited, error) {
	p, err := c.process(cmd)
	if err != nil {
		return messages.Exited{}, err
	}
	exit, err := p.wait(ctx, cmd)
	return messages.Exited{Process: cmd.Process, Exit: exit}, err
}

// Delete releases a process; with an init its execs.
func (c *Core) Delete(ctx context.Context, cmd messages.Delete) (messages.Deleted, error) {
	p, err := c.process(cmd)
	if err != nil {
		return messages.Deleted{}, err
	}
	return p.delete(ctx, cmd)
}

// Pids lists the processes that live.
func (c *Core) Pids(_ context.Context, cmd messages.Pids) (messages.PidList, error) {
	ctr, err := c.container(cmd)
	if err != nil {
		return messages.PidList{}, err
	}
	return messages.PidList{Container: cmd.Container, Processes: ctr.pids()}, nil
}

// Pause freezes a container.
func (c *Core) Pause(ctx context.Context, cmd messages.Pause) (messages.Paused, error) {
	ctr, err := c.container(cmd)
	if err != nil {
		return messages.Paused{}, err
	}
	return messages.Paused(cmd), ctr.init.pause(ctx, cmd)
}

// Resume ends a pause.
func (c *Core) Resume(ctx context.Context, cmd messages.Resume) (messages.Resumed, error) {
	ctr, err := c.container(cmd)
	if err != nil {
		return messages.Resumed{}, err
	}
	return messages.Resumed(cmd), ctr.init.resume(ctx, cmd)
}

// Shutdown kills and deletes every container, and ends the core, its driver and
// its subscriptions. A second call waits for the first and has its error.
func (c *Core) Shutdown(ctx context.Context) error {
	c.end.Do(func() {
		c.endErr = c.deleteAll(ctx)
		c.endErr = errors.Join(c.endErr, c.driver.Close())
		c.notices.close()
		c.events.close()
	})
	return c.endErr
}

// deleteAll ends the containers side by side, those too that are being created.
func (c *Core) deleteAll(ctx context.Context) error {
	c.mu.Lock()
	c.ending = true
	var all []*container
	for _, ctr := range c.containers {
		all = append(all, ctr)
	}
	c.mu.Unlock()

	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, ctr := range all {
		wg.Go(func() {
			<-ctr.made
			errs[i] = c.deleteOne(ctx, messages.Init(ctr.id))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Core) deleteOne(ctx context.Context, p messages.Process) error {
	if _, err := c.Kill(ctx, messages.Kill{Process: p, Signal: syscall.SIGKILL, All: true}); err != nil && !errors.Is(err, messages.NotFound) {
		return err
	}
	if _, err := c.Wait(ctx, messages.Wait{Process: p}); err != nil && !errors.Is(err, messages.NotFound) {
		return err
	}
	if _, err := c.Delete(ctx, messages.Delete{Process: p}); err != nil && !errors.Is(err, messages.NotFound) {
		return err
	}
	return nil
}
