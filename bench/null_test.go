package bench

import (
	"context"
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// nullDriver does nothing, so that what is measured is the actors alone.
type nullDriver struct{ tell func(messages.Notice) }

func (*nullDriver) Info(context.Context) (messages.DriverInfo, error) {
	return messages.DriverInfo{Name: "null"}, nil
}
func (d *nullDriver) Notify(tell func(messages.Notice)) { d.tell = tell }
func (*nullDriver) Create(context.Context, messages.Incarnation, messages.Create) (messages.PIDs, error) {
	return messages.PIDs{Host: 1, Guest: 1}, nil
}
func (*nullDriver) Start(context.Context, messages.Incarnation) error { return nil }

// Exec of the command "true" is over before it returns.
func (d *nullDriver) Exec(_ context.Context, l messages.Launch) (messages.PIDs, error) {
	if l.Spec.Args[0] == "true" {
		d.tell(messages.ExitNotice{Process: l.Process})
	}
	return messages.PIDs{Host: 2, Guest: 2}, nil
}

func (*nullDriver) Way(messages.Incarnation) string { return "" }

// Kill always succeeds, and the process dies.
func (d *nullDriver) Kill(_ context.Context, p messages.Incarnation, _ syscall.Signal, _ bool) error {
	d.tell(messages.ExitNotice{Process: p, Exit: messages.Exit{Status: messages.ExitKilled}})
	return nil
}
func (d *nullDriver) KillSandbox(_ context.Context, p messages.Incarnation) error {
	return d.Kill(context.Background(), p, syscall.SIGKILL, true)
}
func (*nullDriver) Resize(context.Context, messages.Incarnation, messages.WindowSize) error {
	return nil
}
func (*nullDriver) CloseIO(context.Context, messages.Incarnation) error { return nil }
func (*nullDriver) Pause(context.Context, messages.Incarnation) error   { return nil }
func (*nullDriver) Resume(context.Context, messages.Incarnation) error  { return nil }
func (*nullDriver) Update(context.Context, messages.Incarnation, *messages.Resources) error {
	return nil
}
func (*nullDriver) Checkpoint(context.Context, messages.Incarnation, messages.Checkpoint) error {
	return nil
}
func (*nullDriver) Stats(context.Context, messages.Incarnation) (messages.Usage, error) {
	return messages.Usage{}, nil
}
func (*nullDriver) Delete(context.Context, messages.Incarnation) error { return nil }
func (*nullDriver) Close() error                                       { return nil }
