package runsc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// cleanupTimeout bounds each runsc call that takes something back. Those run
// after the caller's context has ended.
const cleanupTimeout = 10 * time.Second

// Create makes a container from its bundle. The order is: check everything that
// can be checked without side effects, mount, open streams, `runsc create`, hold
// the sandbox by a pidfd. What was done is taken back in the reverse order if a
// later step fails.
func (d *Driver) Create(ctx context.Context, init messages.Incarnation, m messages.Create) (_ messages.PIDs, err error) {
	if m.Adopt != nil {
		return d.adopt(ctx, init, m)
	}
	c := d.newContainer(init, m)
	if err := d.reserve(c); err != nil {
		return messages.PIDs{}, err
	}
	var undo []func()
	undo = append(undo, func() { d.forget(c) })
	defer func() {
		if err != nil {
			for _, f := range slices.Backward(undo) {
				f()
			}
		}
	}()

	if c.bundle, err = openBundle(init.Process, m.Bundle); err != nil {
		return messages.PIDs{}, err
	}
	if err := c.check(); err != nil {
		return messages.PIDs{}, err
	}
	if !c.isRoot() {
		if c.sandbox, err = d.sandboxFor(m); err != nil {
			return messages.PIDs{}, err
		}
	}
	if c.dir, err = d.makeDir(init.Process); err != nil {
		return messages.PIDs{}, err
	}
	undo = append(undo, func() { c.removeDir() })
	if c.rootfs, err = mountRootfs(init.Process, c.bundle.root, m.Rootfs); err != nil {
		return messages.PIDs{}, err
	}
	undo = append(undo, func() { c.unmount() })
	if err := c.bundle.checkRoot(init.Process); err != nil {
		return messages.PIDs{}, err
	}
	if err := c.bundle.checkCommand(init.Process); err != nil {
		return messages.PIDs{}, err
	}
	if c.streams, err = openStreams(ctx, init.Process, m.Stdio, d.streamOptions(string(init.Container))); err != nil {
		return messages.PIDs{}, err
	}
	undo = append(undo, func() { _ = c.streams.Close() })
	c.cgroup = newCgroup(cgroupRoot, c.bundle.cgroupPath(c.create))
	if err := c.rememberCreating(); err != nil {
		return messages.PIDs{}, err
	}
	undo = append(undo, func() { c.takeBack() })
	if err := c.runCreate(ctx); err != nil {
		return messages.PIDs{}, about("create", init.Process, c.sandboxName(), err)
	}
	if err := c.rememberCreated(); err != nil {
		return messages.PIDs{}, err
	}
	return d.settle(c), nil
}

func (d *Driver) newContainer(init messages.Incarnation, m messages.Create) *container {
	return &container{
		driver: d, init: init, create: m,
		started: make(chan struct{}), over: make(chan struct{}), dropped: make(chan struct{}),
		waited: make(chan int, 1), deleting: make(chan struct{}, 1),
	}
}

// reserve keeps the incarnation's place, so that a second Create of it fails.
func (d *Driver) reserve(c *container) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return &messages.Error{Kind: messages.Unavailable, Op: "create", Process: c.init.Process, Err: messages.Text("the driver is closed")}
	}
	if d.containers[c.init] != nil {
		return &messages.Error{Kind: messages.AlreadyExists, Op: "create", Process: c.init.Process, Err: messages.Text("it exists")}
	}
	d.containers[c.init] = c
	return nil
}

func (d *Driver) forget(c *container) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.containers, c.init)
	if c.isRoot() && c.sandbox != nil && d.sandboxes[c.sandbox.id] == c.sandbox {
		delete(d.sandboxes, c.sandbox.id)
	}
}

// settle publishes what was made and begins to watch for its end.
func (d *Driver) settle(c *container) messages.PIDs {
	d.mu.Lock()
	c.phase = phaseCreated
	if c.isRoot() {
		d.sandboxes[c.sandbox.id] = c.sandbox
	}
	d.mu.Unlock()
	if c.isRoot() {
		go c.watchSandbox()
	} else {
		go c.watchMember()
	}
	return c.pids()
}

func (c *container) pids() messages.PIDs {
	pids := messages.PIDs{Host: c.sandbox.sentry.pidfd.pid}
	if c.isRoot() {
		// The first process of the sandbox's root pid namespace (runsc/boot/loader.go).
		pids.Guest = 1
	}
	return pids
}

// check looks at everything that needs no side effect.
func (c *container) check() error {
	if err := c.bundle.checkMembership(c.create); err != nil {
		return err
	}
	p := c.init.Process
	if c.bundle.spec.Process.Terminal != c.create.Stdio.Terminal {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "create", Process: p,
			Err:  messages.Text(fmt.Sprintf("the bundle has process.terminal=%v and the streams have %v", c.bundle.spec.Process.Terminal, c.create.Stdio.Terminal)),
			Hint: "set terminal in both or in none"}
	}
	if from := c.create.RestoreFrom; from != "" {
		if info, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			return &messages.Error{Kind: messages.NotFound, Op: "find the checkpoint of", Process: p, Err: err, Hint: "name the folder that Checkpoint wrote"}
		} else if err != nil || !info.IsDir() {
			return &messages.Error{Kind: messages.InvalidArgument, Op: "use the checkpoint of", Process: p, Err: errors.Join(err, fmt.Errorf("%s is no folder that can be read", from)), Hint: "name the folder that Checkpoint wrote"}
		}
	}
	return nil
}

// sandboxFor finds the live sandbox that a container is to join.
func (d *Driver) sandboxFor(m messages.Create) (*sandbox, error) {
	d.mu.Lock()
	s := d.sandboxes[m.Sandbox]
	d.mu.Unlock()
	fail := func(kind error, why, hint string) error {
		return &messages.Error{Kind: kind, Op: "create", Process: messages.Init(m.Container), Sandbox: m.Sandbox, Err: messages.Text(why), Hint: hint}
	}
	switch {
	case s == nil:
		return nil, fail(messages.NotFound, "there is no such sandbox", "create the container with the sandbox's id first")
	case s.isGone():
		return nil, fail(messages.FailedPrecondition, "the sandbox is gone", "delete its containers and create them anew")
	}
	return s, nil
}

func (c *container) sandboxName() messages.SandboxID {
	if c.isRoot() {
		return ""
	}
	return c.create.Sandbox
}

// makeDir makes a folder for one container's pid files and sockets. Its name is
// short, since a socket's path is.
func (d *Driver) makeDir(p messages.Process) (string, error) {
	err := os.MkdirAll(d.options.StateDir, 0o711)
	dir := ""
	if err == nil {
		dir, err = os.MkdirTemp(d.options.StateDir, "c")
	}
	if err == nil {
		return dir, nil
	}
	return "", stateError("make a state folder for", p, d.options.StateDir, err)
}

// stateError is that of a state folder which can not be written.
func stateError(op string, p messages.Process, dir string, err error) error {
	e := &messages.Error{Op: op, Process: p, Err: err}
	e.Hint, e.Kind = kindOfHost(err)
	switch {
	case e.Kind == messages.Internal:
		e.Hint = "choose another state folder"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		e.Kind, e.Hint = messages.ResourceExhausted, "make room on the disk of "+dir
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTDIR):
		e.Kind, e.Hint = messages.FailedPrecondition, "choose a state folder that can be written"
	}
	return e
}

func (c *container) removeDir() {
	if err := os.RemoveAll(c.dir); err != nil {
		c.driver.log.Warn("remove a state folder", "container", c.id(), "error", err)
	}
	c.unlockDir()
}

func (c *container) unmount() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if err := c.rootfs.unmount(ctx); err != nil {
		c.driver.log.Warn("unmount a root file system", "container", c.id(), "error", err)
	}
}

func (d *Driver) streamOptions(id string) streamOptions {
	return streamOptions{UID: d.options.UID, GID: d.options.GID, DrainTimeout: d.options.DrainTimeout, Logger: d.log, ID: id, Namespace: d.options.Namespace}
}

// runCreate runs `runsc create` and holds the sandbox that came of it.
func (c *container) runCreate(ctx context.Context) error {
	pidFile := filepath.Join(c.dir, "pid")
	opts := &CreateOpts{PidFile: pidFile, UserLog: c.create.UserLog}
	var master chan received
	if c.create.Stdio.Terminal {
		socket, err := newConsoleSocket(filepath.Join(c.dir, "tty"))
		if err != nil {
			return err
		}
		defer socket.close()
		opts.ConsoleSocket = socket
		var stop func()
		master, stop = receiveMaster(ctx, socket)
		defer stop()
	} else if c.isRoot() {
		// The streams of a container that joins a sandbox are given at start.
		opts.IO = c.streams
	}
	call := c.driver.client.createCall(c.id(), c.create.Bundle, opts)
	call.token = c.token
	_, log, err := call.runKeepingLog(ctx)
	if err != nil {
		if log != nil {
			_ = log.Close()
		}
		if c.taken = isTaken(err); c.isRoot() && !c.taken {
			killLeftovers(c.driver.options.Root, c.id(), c.token)
		}
		return err
	}
	if c.isRoot() {
		c.log = log
		if err := c.holdSandbox(pidFile); err != nil {
			return err
		}
	} else {
		_ = log.Close()
	}
	_ = os.Remove(pidFile)
	if master == nil {
		return nil
	}
	// runsc has sent it before it has ended.
	select {
	case r := <-master:
		if r.err != nil {
			return r.err
		}
		return c.streams.attachConsole(r.file)
	case <-time.After(cleanupTimeout):
		return &messages.Error{Kind: messages.Internal, Op: "receive the terminal of", Process: c.init.Process, Err: messages.Text("runsc has sent none")}
	}
}

// isTaken tells that the id is that of a container which somebody else made. It
// is not ours to delete.
func isTaken(err error) bool { return errors.Is(err, messages.AlreadyExists) }

// received is the master of a terminal.
type received struct {
	file *os.File
	err  error
}

// receiveMaster waits for the master beside the call that sends it. stop frees
// one that nobody takes.
func receiveMaster(ctx context.Context, s *consoleSocket) (chan received, func()) {
	ctx, cancel := context.WithCancel(ctx)
	got := make(chan received, 1)
	go func() {
		f, err := s.receive(ctx)
		got <- received{f, err}
		close(got)
	}()
	return got, func() {
		cancel()
		if r := <-got; r.file != nil {
			_ = r.file.Close()
		}
	}
}

// holdSandbox opens the pidfd of the sandbox, before anything in it can run and
// end.
func (c *container) holdSandbox(pidFile string) error {
	pid, err := runc.ReadPidFile(pidFile)
	if err != nil {
		return &messages.Error{Kind: messages.Internal, Op: "read the sandbox's pid of", Process: c.init.Process, Err: err}
	}
	p, err := claim(pid, sentryName)
	if err != nil {
		hint, kind := kindOfHost(err)
		if kind == messages.Internal {
			kind, hint = messages.Unavailable, "it ended as soon as it was made: see runsc's debug log"
		}
		return &messages.Error{Kind: kind, Op: "find the sandbox of", Process: c.init.Process, Err: err, Hint: hint}
	}
	c.sandbox = &sandbox{id: sandboxOf(c.create), sentry: watch(p, c.driver.codes), link: newLink(), oom: newOOMCounter(c.cgroup.root, pid)}
	c.adoptGofer()
	return nil
}

// adoptGofer sees to it that the container's gofer is reaped, where that is for
// us to do.
func (c *container) adoptGofer() {
	if !c.driver.options.Subreaper {
		return
	}
	s, err := readState(c.driver.options.Root, string(sandboxOf(c.create)), c.id())
	if err != nil || s.GoferPID == 0 {
		return
	}
	if p, err := claim(s.GoferPID, goferName); err == nil {
		g := watch(p, codeOfGone)
		go func() {
			<-g.gone
			p.close()
		}()
	}
}

// takeBack undoes what `runsc create` may have done.
func (c *container) takeBack() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if c.sandbox != nil && c.isRoot() {
		_ = c.sandbox.sentry.pidfd.signal(unix.SIGKILL)
		<-c.sandbox.sentry.gone
		c.sandbox.sentry.pidfd.close()
	}
	if !c.taken {
		if err := c.driver.client.Delete(ctx, c.id(), &DeleteOpts{Force: true}); err != nil {
			c.driver.log.Warn("take back a container", "container", c.id(), "error", err)
		}
	}
	if err := c.cgroup.remove(ctx); err != nil {
		c.driver.log.Warn("remove a cgroup", "container", c.id(), "error", err)
	}
	if c.log != nil {
		_ = c.log.Close()
	}
}
