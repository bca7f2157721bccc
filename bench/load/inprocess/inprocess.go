// Package inprocess puts load on the actors in this process.
package inprocess

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/messages"
)

// eventRoom is how many events may wait while this program has other things to
// do: some seconds of them.
const eventRoom = 1 << 16

// Options say what is loaded.
type Options struct {
	Runtime *actors.Runtime
	// Bundle makes the bundle of a container whose init sleeps, and what
	// removes it.
	Bundle func(load.Container) (dir string, remove func(), err error)
	// Folders of the runtime's files.
	Folders []string
	// Facts that are told with the results.
	Facts []load.Fact
	// Env of every exec.
	Env []string
}

// Target is the actors in this process.
type Target struct {
	options Options
	mu      sync.Mutex
	bundles map[messages.ContainerID]func()
}

var _ load.Target = (*Target)(nil)

// New uses a runtime, which stays the caller's.
func New(o Options) *Target { return &Target{options: o, bundles: map[messages.ContainerID]func(){}} }

// Describe asks the runtime what drives it.
func (t *Target) Describe(ctx context.Context) (load.Description, error) {
	info, err := actors.Ask(ctx, t.options.Runtime, messages.Info{})
	if err != nil {
		return load.Description{}, err
	}
	d := load.Description{Name: "troupe in process", Facts: t.options.Facts}
	if info.Driver.Version != "" {
		d.Facts = append(d.Facts[:len(d.Facts):len(d.Facts)], load.Fact{Name: info.Driver.Name, Value: info.Driver.Version})
	}
	return d, nil
}

// Create makes the bundle and the container.
func (t *Target) Create(ctx context.Context, c load.Container) error {
	dir, remove, err := t.options.Bundle(c)
	if err != nil {
		return err
	}
	_, err = actors.Ask(ctx, t.options.Runtime, messages.Create{Container: c.ID, Sandbox: c.Sandbox, Bundle: dir})
	if err != nil {
		remove()
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bundles[c.ID] = remove
	return nil
}

// Add registers an exec.
func (t *Target) Add(ctx context.Context, e load.Exec) error {
	cmd := messages.Exec{Process: e.Process}
	cmd.Spec.Args, cmd.Spec.Cwd, cmd.Spec.Env, cmd.Spec.Terminal = e.Args, "/", t.options.Env, e.Terminal
	cmd.Stdio.Terminal = e.Terminal
	if e.Stdout != nil {
		cmd.Stdio.Pipes.Stdout = e.Stdout
	} else if e.Terminal {
		cmd.Stdio.Pipes.Stdout = io.Discard
	}
	return ask(ctx, t, cmd)
}

func ask[R messages.Reply](ctx context.Context, t *Target, cmd messages.Command[R]) error {
	_, err := actors.Ask(ctx, t.options.Runtime, cmd)
	return err
}

// Start starts a process.
func (t *Target) Start(ctx context.Context, p messages.Process) error {
	return ask(ctx, t, messages.Start{Process: p})
}

// Wait is answered by a process's exit.
func (t *Target) Wait(ctx context.Context, p messages.Process) (messages.Exit, error) {
	exited, err := actors.Ask(ctx, t.options.Runtime, messages.Wait{Process: p})
	return exited.Exit, err
}

// Kill sends a signal.
func (t *Target) Kill(ctx context.Context, p messages.Process, signal syscall.Signal) error {
	return ask(ctx, t, messages.Kill{Process: p, Signal: signal})
}

// Delete releases a process, and removes a container's bundle.
func (t *Target) Delete(ctx context.Context, p messages.Process) error {
	if err := ask(ctx, t, messages.Delete{Process: p}); err != nil || !p.IsInit() {
		return err
	}
	t.mu.Lock()
	remove := t.bundles[p.Container]
	delete(t.bundles, p.Container)
	t.mu.Unlock()
	if remove != nil {
		remove()
	}
	return nil
}

// Events are the runtime's.
func (t *Target) Events(ctx context.Context) (<-chan messages.Event, error) {
	subscription := t.options.Runtime.Subscribe(eventRoom)
	context.AfterFunc(ctx, subscription.Close)
	return subscription.Events(), nil
}

// Roots is this program.
func (t *Target) Roots() []int { return []int{os.Getpid()} }

// Folders are those of the options.
func (t *Target) Folders() []string { return t.options.Folders }

// Close removes the bundles of containers that could not be deleted.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, remove := range t.bundles {
		remove()
	}
	clear(t.bundles)
	return nil
}
