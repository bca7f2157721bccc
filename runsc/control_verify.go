package runsc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/troupe-run/troupe/messages"
)

// verify finds out, before a client is used, whether its sandbox understands
// what will be asked of it: JSON fields that a server does not know it ignores
// without a word, so that another version could start a process as another user
// than the one that was named. Nothing is started and nobody is signalled.
//
// An error says what is not as expected: the sandbox is not to be spoken to
// over its socket. It is Unimplemented, unless the sandbox could not be asked
// at all.
func (c *controlClient) verify(ctx context.Context, container messages.ContainerID) error {
	const op = "verify the control server of"
	if c.sandbox.version() == "" {
		return &messages.Error{
			Kind: messages.Unimplemented, Op: op, Process: messages.Init(container),
			Err:  messages.Text("its runsc tells no version in the state file: it is from before 2024"),
			Hint: "use the command line for this sandbox",
		}
	}
	for _, check := range []struct {
		what string
		run  func(context.Context, messages.ContainerID) error
	}{
		{noMethod, c.checkUnknown},
		{methodState, c.checkState},
		{methodProcesses, c.checkProcesses},
		{methodEvent, c.checkEvent},
		{methodWaitPID, c.checkWaitPID},
		{methodSignal, c.checkSignal},
		{methodExec, c.checkExec},
	} {
		err := check.run(ctx, container)
		if err == nil {
			continue
		}
		dressed := controlError(op, messages.Init(container), fmt.Errorf("%s: %w", check.what, err))
		var e *messages.Error
		if k := messages.KindOf(dressed); errors.As(dressed, &e) && (k == messages.Internal || errors.Is(err, errUnexpected)) {
			e.Kind, e.Hint = messages.Unimplemented, "use the command line for this sandbox"
		}
		return dressed
	}
	return nil
}

// errUnexpected is an answer of the protocol that is another than gVisor gives.
const errUnexpected = messages.Text("unexpected answer")

// noMethod is one that no server has.
const noMethod = "containerManager.NoSuchMethod"

func (c *controlClient) checkUnknown(ctx context.Context, _ messages.ContainerID) error {
	return c.refused(ctx, noMethod, "", unknownMethod)
}

func (c *controlClient) checkState(ctx context.Context, container messages.ContainerID) error {
	_, err := c.state(ctx, container)
	return err
}

// checkProcesses looks at a list which, while the container runs, has its init.
func (c *controlClient) checkProcesses(ctx context.Context, container messages.ContainerID) error {
	list, err := c.processes(ctx, container)
	if err != nil {
		return err
	}
	for _, g := range list {
		if g.Cmd == "" || len(g.Threads) == 0 {
			return fmt.Errorf("%w: process %d has no name or no threads", errUnexpected, g.PID)
		}
	}
	if len(list) > 0 {
		return nil
	}
	state, err := c.state(ctx, container)
	if err == nil && state == guestRunning {
		err = fmt.Errorf("%w: the container runs and has no process", errUnexpected)
	}
	return err
}

func (c *controlClient) checkEvent(ctx context.Context, container messages.ContainerID) error {
	event, err := c.event(ctx, container)
	if err != nil {
		return err
	}
	if event.Event.Type != "stats" || event.Event.ID != string(container) || len(event.ContainerUsage) == 0 {
		return fmt.Errorf("%w: type %q, container %q, %d containers", errUnexpected, printable(event.Event.Type), printable(event.Event.ID), len(event.ContainerUsage))
	}
	return nil
}

// noPID is a pid that the server refuses by its number, which shows that it
// reads the field.
const noPID = -977

func (c *controlClient) checkWaitPID(ctx context.Context, container messages.ContainerID) error {
	return c.refused(ctx, methodWaitPID, waitPIDArgs{PID: noPID, CID: string(container)}, fmt.Sprint(noPID))
}

func (c *controlClient) checkSignal(ctx context.Context, container messages.ContainerID) error {
	return c.refused(ctx, methodSignal, signalArgs{CID: string(container), PID: noPID, Mode: signalGroup}, fmt.Sprint(noPID))
}

// checkExec names a container that can not be, since runsc takes no id with a
// space, and asks for nothing that could run: no command, and a file number
// for which no file is sent.
func (c *controlClient) checkExec(ctx context.Context, container messages.ContainerID) error {
	id := "not " + string(container)
	return c.refused(ctx, methodExec, execArgs{ContainerID: id, GuestFDs: []int{0}}, id)
}

// refused makes a call that has to be refused with a text that has part in it.
func (c *controlClient) refused(ctx context.Context, method string, arg any, part string) error {
	raw, err := c.do(ctx, controlCall{method: method, arg: arg, limit: maxReply}, c.deadline(ctx))
	var r *refusal
	switch {
	case err == nil:
		return fmt.Errorf("%w: %q, where a refusal is due", errUnexpected, printable(string(raw)))
	case !errors.As(err, &r):
		return err
	case !strings.Contains(r.text, part):
		return fmt.Errorf("%w: the refusal %q does not name %q", errUnexpected, r.text, part)
	}
	return nil
}
