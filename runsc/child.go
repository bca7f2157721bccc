package runsc

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// pipeWait is how long the copies of a child's output may go on when the child
// is gone: a grandchild that holds the pipe must not block the call.
const pipeWait = time.Second

// child is a process that was started here, in a session of its own. It is
// waited for without a thread: 10,000 children cost 10,000 goroutines.
type child struct {
	cmd   *exec.Cmd
	pidfd *pidfd
	// gone is closed when the child is reaped; end is set before.
	gone chan struct{}
	end  exitCode
}

// startChild starts cmd as the leader of a new session, so that its whole group
// can be killed and a Ctrl-C at the embedder's terminal is not for it.
func startChild(cmd *exec.Cmd) (*child, error) {
	fd := -1
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	cmd.SysProcAttr.PidFD = &fd
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = pipeWait
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, gone: make(chan struct{})}
	if fd >= 0 {
		c.pidfd = newPidfd(fd, cmd.Process.Pid)
	} else if p, err := openPidfd(cmd.Process.Pid); err == nil {
		// Before Linux 5.4 clone gives none; the child is not reaped yet, so its
		// number is its own.
		c.pidfd = p
	} else {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	go c.reap()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) reap() {
	defer close(c.gone)
	// An error means that the pidfd can not be polled; Wait then blocks a thread.
	_ = c.pidfd.wait()
	err := c.cmd.Wait()
	if state := c.cmd.ProcessState; state != nil {
		c.end = codeOf(state.Sys().(syscall.WaitStatus))
	} else if end, known := c.pidfd.exitCode(); known {
		// Somebody in this program waits for all children and was first.
		c.end = end
	} else {
		c.end = exitCode{unknown: err}
	}
	c.pidfd.close()
}

// kill kills the child and all of its process group.
func (c *child) kill() {
	select {
	case <-c.gone:
		return
	default:
	}
	if c.pidfd.signalGroup(unix.SIGKILL) != nil {
		_ = c.pidfd.signal(unix.SIGKILL)
	}
}

// wait waits until the child is reaped. When ctx ends first the child is killed
// and reaped, and the cause of ctx is returned.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.gone:
		return nil
	case <-ctx.Done():
	}
	c.kill()
	<-c.gone
	return context.Cause(ctx)
}

// exitCode is how a process ended.
type exitCode struct {
	code   int
	signal syscall.Signal
	// unknown says why the other fields are not set.
	unknown error
}

func codeOf(ws syscall.WaitStatus) exitCode {
	if ws.Signaled() {
		return exitCode{signal: ws.Signal()}
	}
	return exitCode{code: ws.ExitStatus()}
}

// status is the code as a shell tells it: 128 + the signal's number.
func (e exitCode) status() int {
	if e.signal != 0 {
		return 128 + int(e.signal)
	}
	return e.code
}

// Monitor is go-runc's way to start and wait for processes, without a thread
// for each: set runc.Monitor to it. Only the processes that it started are
// waited for.
type Monitor struct{}

var _ runc.ProcessMonitor = Monitor{}

// Start starts cmd. The channel gives its exit once.
func (Monitor) Start(cmd *exec.Cmd) (chan runc.Exit, error) {
	c, err := startChild(cmd)
	if err != nil {
		return nil, err
	}
	exits := make(chan runc.Exit, 1)
	go func() {
		<-c.gone
		exits <- runc.Exit{Timestamp: time.Now(), Pid: c.pid(), Status: c.end.status()}
		close(exits)
	}()
	return exits, nil
}

// StartLocked is Start. A parent-death signal follows the thread that started
// the child (prctl(2)), which is not kept here: it is an error.
func (m Monitor) StartLocked(cmd *exec.Cmd) (chan runc.Exit, error) {
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Pdeathsig != 0 {
		return nil, errors.New("start a process with a parent-death signal: it would follow a thread that is not kept")
	}
	return m.Start(cmd)
}

// Wait waits for the exit of a command that Start started.
func (Monitor) Wait(_ *exec.Cmd, exits chan runc.Exit) (int, error) {
	e := <-exits
	return e.Status, nil
}
