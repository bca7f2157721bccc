package runsc

import (
	"context"
	"encoding/json"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// Exec starts a process in a running container and gives its pid in the
// sandbox's root pid namespace. stdio are its files 0, 1 and 2, all three; with
// a terminal, its slave three times. They stay the caller's, to be closed as
// soon as Exec has returned, and belong to the sandbox's user afterwards and are
// blocking, as with `runsc exec`. A regular file must be open for appending: the
// sandbox keeps an offset of its own.
//
// A process that was started is to be waited for with WaitPID, once: its
// record stays in the sandbox until then, and the connection open.
//
// A command that is not there is NotFound, and one that can not be run is
// FailedPrecondition or InvalidArgument; a container that is not
// running is FailedPrecondition, and a paused one is so before it is asked,
// since it would not answer. When ctx ends first, and the process is started
// all the same, it is killed and waited for.
func (c *controlClient) Exec(ctx context.Context, p messages.Process, spec messages.ExecSpec, stdio [3]*os.File) (pid int, err error) {
	const op = "start exec"
	record, err := c.record(op, p.Container)
	if err != nil {
		return 0, err
	}
	if record.Status != "created" && record.Status != "running" {
		return 0, &messages.Error{Kind: messages.FailedPrecondition, Op: op, Process: p, Err: messages.Text("the container is " + record.Status)}
	}
	args, err := newExecArgs(record.Spec.Process, &spec.Process, netRawAllowed(c.options.NetRaw, c.options.FlagOverride, record.Spec.Annotations))
	if err != nil {
		return 0, &messages.Error{Kind: messages.InvalidArgument, Op: op, Process: p, Err: err, Hint: "check the process's spec"}
	}
	args.ContainerID = string(p.Container)
	if err := c.prepare(stdio[:]); err != nil {
		return 0, &messages.Error{Kind: messages.Internal, Op: op, Process: p, Err: err, Hint: "check that the streams can be given to the sandbox's user"}
	}
	pid, err = c.exec(ctx, p, args, stdio[:])
	if err != nil {
		return 0, controlError(op, p, err)
	}
	return pid, nil
}

// exec asks for a process. The answer is read by a goroutine of its own, so
// that it is not lost when the caller does not wait for it any longer.
func (c *controlClient) exec(ctx context.Context, p messages.Process, args execArgs, files []*os.File) (int, error) {
	type started struct {
		pid int
		err error
	}
	k := controlCall{method: methodExec, arg: args, files: files, limit: maxReply}
	deadline := c.deadline(ctx)
	conn, err := c.request(ctx, k, deadline)
	if err != nil {
		return 0, err
	}
	answered := make(chan started, 1)
	go func() {
		var pid int
		raw, err := c.receive(context.Background(), conn, k, deadline.Add(lateAnswer))
		if err == nil {
			pid, err = decodePID(raw)
		}
		if err == nil {
			c.keep(pid, conn)
		} else {
			c.disconnect(conn)
		}
		answered <- started{pid, err}
	}()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case s := <-answered:
		return s.pid, s.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = context.DeadlineExceeded
	}
	go func() {
		if s := <-answered; s.err == nil {
			c.discard(p, s.pid)
		}
	}()
	return 0, err
}

// discard kills a process that nobody wants any more, and takes its record.
func (c *controlClient) discard(p messages.Process, pid int) {
	ctx, cancel := context.WithTimeout(context.Background(), lateAnswer)
	defer cancel()
	if err := c.Signal(ctx, p, pid, syscall.SIGKILL, signalProcess); err != nil && messages.KindOf(err) != messages.NotFound {
		// Nobody will wait, and a connection that is open delays the sandbox's end.
		if conn := c.takeKept(pid); conn != nil {
			c.disconnect(conn)
		}
		return
	}
	// What the wait gives is of no interest; without it the record stays.
	_, _ = c.WaitPID(ctx, p, pid)
}

// decodePID reads a pid, which is positive.
func decodePID(raw json.RawMessage) (int, error) {
	pid, err := decodeResult[int32](raw)
	if err == nil && pid <= 0 {
		err = badReply("the pid is %d", pid)
	}
	return int(pid), err
}

// WaitPID waits for a process that Exec started, or any other of the container,
// without bound but ctx's. It gives the status of wait(2).
//
// The first wait that is answered takes the record: a later one is NotFound. A
// wait that is given up with ctx goes on in the sandbox and takes it too, so
// that another one has to begin while the process lives.
//
// ErrReplyLost is what a sandbox that dies gives, or one that is restored.
func (c *controlClient) WaitPID(ctx context.Context, p messages.Process, pid int) (waitStatus, error) {
	return c.wait(ctx, p, c.waitCall(p, pid))
}

// waitCall is the call of WaitPID.
func (c *controlClient) waitCall(p messages.Process, pid int) controlCall {
	return controlCall{method: methodWaitPID, arg: waitPIDArgs{PID: int32(pid), CID: string(p.Container)}, limit: maxReply, over: c.takeKept(pid)}
}

// Wait waits for a container's init, as often as one likes. The sandbox is gone
// soon after its first container's init, which can be before it has answered:
// that is ErrReplyLost.
func (c *controlClient) Wait(ctx context.Context, container messages.ContainerID) (waitStatus, error) {
	return c.wait(ctx, messages.Init(container), controlCall{method: methodWait, arg: string(container), limit: maxReply})
}

func (c *controlClient) wait(ctx context.Context, p messages.Process, k controlCall) (waitStatus, error) {
	raw, err := c.do(ctx, k, time.Time{})
	if err == nil {
		var status waitStatus
		if status, err = decodeStatus(raw); err == nil {
			return status, nil
		}
	}
	return 0, controlError("wait for", p, err)
}

// decodeStatus reads the status of a process that has ended, and not one of
// those that wait(2) gives of others.
func decodeStatus(raw json.RawMessage) (waitStatus, error) {
	status, err := decodeResult[uint32](raw)
	if err != nil {
		return 0, err
	}
	if ws := syscall.WaitStatus(status); !ws.Exited() && !ws.Signaled() {
		return 0, badReply("the status is %#x", status)
	}
	return waitStatus(status), nil
}

// Signal sends a signal. pid is as mode says. It is NotFound for a process that
// is gone.
func (c *controlClient) Signal(ctx context.Context, p messages.Process, pid int, signal syscall.Signal, mode signalMode) error {
	args := signalArgs{CID: string(p.Container), Signo: int32(signal), PID: int32(pid), Mode: mode}
	if _, err := c.do(ctx, controlCall{method: methodSignal, arg: args, limit: maxReply}, c.deadline(ctx)); err != nil {
		return controlError("signal", p, err)
	}
	return nil
}

// Processes lists the processes of a container, by pid; none for a container
// that the sandbox does not know.
func (c *controlClient) Processes(ctx context.Context, container messages.ContainerID) ([]guestProcess, error) {
	const op = "list the processes of"
	list, err := c.processes(ctx, container)
	if err != nil {
		return nil, controlError(op, messages.Init(container), err)
	}
	return list, nil
}

func (c *controlClient) processes(ctx context.Context, container messages.ContainerID) ([]guestProcess, error) {
	raw, err := c.do(ctx, controlCall{method: methodProcesses, arg: string(container), limit: maxListReply}, c.deadline(ctx))
	if err != nil {
		return nil, err
	}
	return decodeProcesses(raw)
}

// decodeProcesses reads a list of processes, whose pids are positive.
func decodeProcesses(raw json.RawMessage) ([]guestProcess, error) {
	// An empty list is a null: a Go slice that nothing was appended to.
	if string(raw) == "null" {
		return nil, nil
	}
	list, err := decodeResult[[]guestProcess](raw)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		if g.PID <= 0 {
			return nil, badReply("a process has the pid %d", g.PID)
		}
	}
	return list, nil
}

// State tells where a container is. One that the sandbox does not know is
// stopped, as far as it can tell.
func (c *controlClient) State(ctx context.Context, container messages.ContainerID) (guestState, error) {
	state, err := c.state(ctx, container)
	if err != nil {
		return 0, controlError("ask for the state of", messages.Init(container), err)
	}
	return state, nil
}

func (c *controlClient) state(ctx context.Context, container messages.ContainerID) (guestState, error) {
	raw, err := c.do(ctx, controlCall{method: methodState, arg: string(container), limit: maxReply}, c.deadline(ctx))
	if err != nil {
		return 0, err
	}
	state, err := decodeResult[int](raw)
	if err != nil {
		return 0, err
	}
	if s := guestState(state); s >= guestCreating && s <= guestStopped {
		return s, nil
	}
	return 0, badReply("the state is %d", state)
}

// prepare makes streams what a process in the sandbox expects: blocking, since
// the sandbox shows it the flags that they have here (pkg/sentry/fsimpl/host),
// and its user's, who may have to open them again (runsc/sandbox/sandbox.go,
// configureStdios). Memory devices (/dev/null) are the machine's and keep their
// owner.
func (c *controlClient) prepare(files []*os.File) error {
	uid, gid := c.sandbox.UID, c.sandbox.GID
	owned := !c.options.Rootless && (uid > 0 || gid > 0)
	return withFDs(files, nil, func(fds []int) error {
		for i, fd := range fds {
			if err := unix.SetNonblock(fd, false); err != nil {
				return &os.PathError{Op: "make blocking", Path: files[i].Name(), Err: err}
			}
			var st unix.Stat_t
			if !owned || unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) == memoryDevices {
				continue
			}
			switch err := unix.Fchown(fd, uid, gid); err {
			case nil, unix.EINVAL, unix.EPERM, unix.EROFS:
			default:
				return &os.PathError{Op: "chown", Path: files[i].Name(), Err: err}
			}
		}
		return nil
	})
}

// memoryDevices is the major number of /dev/null and its like
// (include/uapi/linux/major.h, MEM_MAJOR).
const memoryDevices = 1
