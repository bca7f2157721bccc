package actors

import (
	"context"
	"errors"

	"github.com/troupe-run/troupe/messages"
)

// Adopt takes charge of what an earlier runtime on the same state has left, when
// its program was killed: sandboxes, their containers, and execs that live. Each
// is created and started anew as far as this runtime's subscribers see, and its
// true exit is told; what ended meanwhile is told as ended with
// [messages.ExitUnknown]. It returns what was taken, in that order.
//
// What can not be taken charge of does not keep the others from it; the error
// joins one for each. It is Unimplemented if the driver remembers nothing.
func (rt *Runtime) Adopt(ctx context.Context) ([]messages.Survivor, error) {
	driver, ok := rt.options.Driver.(Rememberer)
	if !ok {
		return nil, &messages.Error{
			Kind: messages.Unimplemented, Op: "adopt", Err: messages.Text("the driver remembers nothing"),
			Hint: "use one that implements actors.Rememberer",
		}
	}
	survivors, err := driver.Survivors(ctx)
	failed := []error{err} // what could not be read; Join leaves out nil
	taken := make([]messages.Survivor, 0, len(survivors))
	for _, s := range survivors {
		if err := rt.adopt(ctx, s); err != nil {
			failed = append(failed, err)
			continue
		}
		taken = append(taken, s)
	}
	// Inits come last: with the exit of one that has ended nothing starts any
	// more in its container, and execs that have ended with it are told first.
	for _, s := range taken {
		if s.Process.IsInit() && s.Started {
			if _, err := Ask(ctx, rt, messages.Start{Process: s.Process}); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return taken, errors.Join(failed...)
}

// adopt makes the actor of a survivor. An exec is started too, where it was.
func (rt *Runtime) adopt(ctx context.Context, s messages.Survivor) error {
	if s.Process.IsInit() {
		_, err := Ask(ctx, rt, messages.Create{
			Container: s.Process.Container, Sandbox: s.Sandbox, Bundle: s.Bundle,
			Stdio: s.Stdio, RestoreFrom: s.RestoreFrom, Adopt: &s,
		})
		return err
	}
	_, err := Ask(ctx, rt, messages.Exec{Process: s.Process, Spec: s.Spec, Stdio: s.Stdio, Adopt: &s})
	if err != nil || !s.Started {
		return err
	}
	_, err = Ask(ctx, rt, messages.Start{Process: s.Process})
	return err
}
