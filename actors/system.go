package actors

import (
	"context"
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

// newSystem makes an actor system that logs to log. What the library takes for
// information (its start, each message that finds no actor, as after the end of
// a process) is for debugging here.
func newSystem(log *slog.Logger) *actor.ActorSystem {
	quiet := slog.New(quieter{log.Handler()})
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
}

// quieter is a handler that takes information as debugging.
type quieter struct{ slog.Handler }

func (h quieter) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, quieterLevel(l))
}

func (h quieter) Handle(ctx context.Context, r slog.Record) error {
	r.Level = quieterLevel(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h quieter) WithAttrs(a []slog.Attr) slog.Handler { return quieter{h.Handler.WithAttrs(a)} }

func (h quieter) WithGroup(name string) slog.Handler { return quieter{h.Handler.WithGroup(name)} }

func quieterLevel(l slog.Level) slog.Level {
	if l == slog.LevelInfo {
		return slog.LevelDebug
	}
	return l
}

// props are those of every actor of the runtime.
func (rt *Runtime) props(producer actor.Producer) *actor.Props {
	mailboxes := rt.world.Mailbox()
	if mailboxes == nil {
		mailboxes = func() actor.Mailbox { return newMailbox(rt.log) }
	}
	return actor.PropsFromProducer(producer, actor.WithMailbox(mailboxes))
}

// world is what the actors need beside the driver: goroutines and a clock.
// Tests that explore interleavings have one of their own.
type world interface {
	// Go runs fn, which may block, elsewhere.
	Go(fn func())
	// AfterFunc runs fn elsewhere after d, unless the returned function is
	// called first.
	AfterFunc(d time.Duration, fn func()) (stop func())
	Now() time.Time
	// Mailbox makes the mailboxes of actors; nil for those of mailbox.go.
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
