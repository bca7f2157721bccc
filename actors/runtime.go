package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// Options say how a runtime works. Only Driver has to be set.
type Options struct {
	// Driver runs the processes. The runtime uses it alone from New on, and
	// closes it in Shutdown.
	Driver Driver
	// Logger is told what no asker is: a panic, a call that came too late.
	// Nil discards it.
	Logger *slog.Logger
	// Timeouts bound the calls to the driver.
	Timeouts Timeouts
	// Limits bound what the runtime holds.
	Limits Limits

	world world // nil: the real one
	// fault, where it is set, is called before every step: a test panics in it.
	fault func(actor string, in lifecycle.Input)
	// sabotage, where it is set, changes what a step has led to: a test of the
	// simulation's checker builds its defects with it.
	sabotage func(actor string, effects []lifecycle.Effect) []lifecycle.Effect
}

// Timeouts bound the calls to the driver, each from when it begins. Zero is the
// default; a negative one is an error of New.
type Timeouts struct {
	// Create and Start of a container. Default 60 s each.
	Create, Start time.Duration
	// Exec is the start of an exec. Default 30 s.
	Exec time.Duration
	// Kill of a process; after it a SIGKILL of an init becomes a SIGKILL of the
	// sandbox. Default 10 s.
	Kill time.Duration
	// Delete of a process, with the draining of its output. Default 30 s.
	Delete time.Duration
	// Checkpoint of a container. Default 10 min.
	Checkpoint time.Duration
	// Call is every other call. Default 10 s.
	Call time.Duration
	// Drain is how long an init's exit waits for the exits of its execs.
	// Default 10 s.
	Drain time.Duration
}

// Limits bound what the runtime holds; a command beyond one is refused as
// ResourceExhausted. Zero is the default; a negative one is an error of New.
type Limits struct {
	// Commands that are not answered yet, waits included. Default 65,536.
	Commands int
	// Waiters for the exit of one process. Default 1,024.
	Waiters int
	// Postponed commands of one process, container or sandbox. Default 64.
	Postponed int
	// Calls to the driver for one process at once. Default 64.
	Calls int
	// Execs of one container. Default 65,536.
	Execs int
	// Containers of one sandbox. Default 1,024.
	Containers int
	// Events that one subscription holds for a subscriber that does not read.
	// Default 4,096.
	Events int
}

// grace is how much later than its deadline a call to the driver is given up
// if it does not return.
const grace = time.Second

// Runtime runs sandboxes. All its methods can be used from any goroutine.
type Runtime struct {
	options   Options
	log       *slog.Logger
	world     world
	system    *actor.ActorSystem
	directory *actor.PID
	reaper    *actor.PID
	publisher *actor.PID
	// admission holds a token for every command that is not answered.
	admission chan struct{}
	// requests are those that were answered, to be used again.
	requests sync.Pool
	// ctx ends with the runtime, and with it every call to the driver.
	ctx  context.Context
	stop context.CancelFunc
	// ending is taken by the Shutdown that ends the actors.
	ending chan struct{}
	ended  chan struct{}
	// silent is closed when the publisher has told its last.
	silent chan struct{}
}

// New starts a runtime on a driver. It fails if an option is wrong, or if the
// driver can not work here.
func New(o Options) (*Runtime, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	rt := &Runtime{
		options: o, log: o.Logger, world: o.world, ctx: ctx, stop: stop,
		system:    newSystem(o.Logger),
		admission: make(chan struct{}, o.Limits.Commands),
		requests:  sync.Pool{New: newRequest},
		ending:    make(chan struct{}, 1),
		ended:     make(chan struct{}),
		silent:    make(chan struct{}),
	}
	infoCtx, cancel := context.WithTimeout(ctx, o.Timeouts.Call)
	defer cancel()
	info, err := o.Driver.Info(infoCtx)
	if err != nil {
		stop()
		return nil, &messages.Error{
			Kind: messages.KindOf(err), Op: "start a runtime", Err: err,
			Hint: "the driver can not work here; `troupe doctor` tells what is missing",
		}
	}
	rt.startActors(&lifecycle.Config{
		Limits: lifecycle.Limits{
			Waiters: o.Limits.Waiters, Postponed: o.Limits.Postponed, Calls: o.Limits.Calls,
			Execs: o.Limits.Execs, Containers: o.Limits.Containers,
		},
		RuntimePID: os.Getpid(), Driver: info,
	})
	o.Driver.Notify(rt.notice)
	return rt, nil
}

func (rt *Runtime) startActors(cfg *lifecycle.Config) {
	rt.publisher = rt.system.Root.Spawn(rt.props(func() actor.Actor { return &publisher{silent: rt.silent} }))
	rt.reaper = rt.system.Root.Spawn(rt.props(func() actor.Actor { return &reaper{owners: make(map[messages.Incarnation]*actor.PID)} }))
	rt.directory = rt.system.Root.Spawn(rt.props(func() actor.Actor {
		return newShell(rt, "directory", nil, lifecycle.NewDirectory(cfg))
	}))
}

// complete fills in defaults, and names every field that is wrong.
func (o *Options) complete() error {
	var wrong []error
	if o.Driver == nil {
		wrong = append(wrong, messages.Text("Driver is nil"))
	}
	duration := func(name string, d *time.Duration, def time.Duration) {
		if *d < 0 {
			wrong = append(wrong, fmt.Errorf("the option Timeouts.%s is negative: %v", name, *d))
		} else if *d == 0 {
			*d = def
		}
	}
	t := &o.Timeouts
	duration("Create", &t.Create, time.Minute)
	duration("Start", &t.Start, time.Minute)
	duration("Exec", &t.Exec, 30*time.Second)
	duration("Kill", &t.Kill, 10*time.Second)
	duration("Delete", &t.Delete, 30*time.Second)
	duration("Checkpoint", &t.Checkpoint, 10*time.Minute)
	duration("Call", &t.Call, 10*time.Second)
	duration("Drain", &t.Drain, 10*time.Second)
	limit := func(name string, n *int, def int) {
		if *n < 0 {
			wrong = append(wrong, fmt.Errorf("the option Limits.%s is negative: %d", name, *n))
		} else if *n == 0 {
			*n = def
		}
	}
	l := &o.Limits
	limit("Commands", &l.Commands, 65536)
	limit("Waiters", &l.Waiters, 1024)
	limit("Postponed", &l.Postponed, 64)
	limit("Calls", &l.Calls, 64)
	limit("Execs", &l.Execs, 65536)
	limit("Containers", &l.Containers, 1024)
	limit("Events", &l.Events, 4096)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.world == nil {
		o.world = realWorld{}
	}
	if len(wrong) > 0 {
		return &messages.Error{
			Kind: messages.InvalidArgument, Op: "start a runtime", Err: errors.Join(wrong...),
			Hint: "correct the options",
		}
	}
	return nil
}

// notice takes a report of the driver. It never blocks.
func (rt *Runtime) notice(n messages.Notice) { rt.system.Root.Send(rt.reaper, n) }

// Shutdown kills and deletes every container, ends the actors, closes every
// subscription and the driver. A second call waits for the first. When ctx ends
// first, what is left is given up: the driver is closed all the same, and the
// error says that processes may live.
func (rt *Runtime) Shutdown(ctx context.Context) error {
	select {
	case rt.ending <- struct{}{}:
	default:
		select {
		case <-rt.ended:
			return nil
		case <-ctx.Done():
			return &messages.Error{Kind: messages.DeadlineExceeded, Op: "shut down", Err: ctx.Err()}
		}
	}
	_, err := Ask(ctx, rt, messages.Shutdown{Now: true})
	if err != nil {
		err = &messages.Error{
			Kind: messages.KindOf(err), Op: "shut down", Err: err,
			Hint: "processes may still live: list them with `runsc list`",
		}
	}
	rt.awaitChores(ctx)
	rt.stop()
	close(rt.ended)
	for _, pid := range []*actor.PID{rt.directory, rt.reaper, rt.publisher} {
		_ = rt.system.Root.PoisonFuture(pid).Wait()
	}
	rt.system.Shutdown()
	return errors.Join(err, rt.options.Driver.Close())
}

// awaitChores waits for the calls that no actor waits for: what is being
// discarded would be left behind.
func (rt *Runtime) awaitChores(ctx context.Context) {
	done := make(chan struct{})
	rt.system.Root.Send(rt.reaper, idle{done})
	select {
	case <-done:
	case <-ctx.Done():
	}
}
