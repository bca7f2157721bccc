package actors

import (
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	cmap "github.com/orcaman/concurrent-map"
)

// The library's process registry makes 1,024 concurrent maps of SHARD_COUNT
// shards each for every actor system: 70,000 allocations, 4 to 5 ms and 3 MB
// with the default of 32, and 0.3 ms with 1. The variable is only read when a
// map is made, and with 1,024 maps one shard each is enough.
func init() { cmap.SHARD_COUNT = 1 }

// newSystem makes an actor system that logs to log.
func newSystem(log *slog.Logger) (*actor.ActorSystem, *dispatcher) {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }))
	return system, newDispatcher()
}

// props are those of every actor of the runtime.
func (rt *Runtime) props(producer actor.Producer) *actor.Props {
	options := []actor.PropsOption{actor.WithDispatcher(rt.dispatch)}
	if m := rt.world.Mailbox(); m != nil {
		options = append(options, actor.WithMailbox(m))
	}
	return actor.PropsFromProducer(producer, options...)
}

// dispatcher runs mailboxes. The library's own starts a goroutine each time an
// idle mailbox gets a message, and the growth of the fresh stack is most of what
// an ask costs; this one hands the work to a goroutine that has finished and
// waits, if there is one.
type dispatcher struct {
	work chan func()
	// idle holds a token for every goroutine that may wait for work.
	idle chan struct{}
	done chan struct{}
}

const (
	idleWorkers = 4
	// throughput is how many messages of one mailbox are handled before others
	// get their turn.
	throughput = 300
)

func newDispatcher() *dispatcher {
	return &dispatcher{work: make(chan func()), idle: make(chan struct{}, idleWorkers), done: make(chan struct{})}
}

// Schedule implements actor.Dispatcher.
func (d *dispatcher) Schedule(fn func()) {
	select {
	case d.work <- fn:
	default:
		go d.run(fn)
	}
}

// Throughput implements actor.Dispatcher.
func (d *dispatcher) Throughput() int { return throughput }

func (d *dispatcher) run(fn func()) {
	for {
		fn()
		select {
		case d.idle <- struct{}{}:
		default:
			return
		}
		select {
		case fn = <-d.work:
			<-d.idle
		case <-d.done:
			return
		}
	}
}

// close lets the goroutines that wait for work end.
func (d *dispatcher) close() { close(d.done) }

// world is what the actors need beside the driver: goroutines and a clock.
// Tests that explore interleavings have one of their own.
type world interface {
	// Go runs fn, which may block, elsewhere.
	Go(fn func())
	// AfterFunc runs fn elsewhere after d, unless the returned function is
	// called first.
	AfterFunc(d time.Duration, fn func()) (stop func())
	Now() time.Time
	// Mailbox makes the mailboxes of actors; nil for the library's own.
	Mailbox() actor.MailboxProducer
}

type realWorld struct{}

func (realWorld) Go(fn func()) { go fn() }

func (realWorld) AfterFunc(d time.Duration, fn func()) func() {
	t := time.AfterFunc(d, fn)
	return func() { t.Stop() }
}

func (realWorld) Now() time.Time { return time.Now() }

func (realWorld) Mailbox() actor.MailboxProducer { return nil }
