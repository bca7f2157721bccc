package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// forwarded are the signals that the command gets in our place. SIGWINCH
// becomes a resize. SIGPIPE is caught, not forwarded: a write to a closed pipe
// would end us and leave the sandbox; output sees the error and raises it.
var forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGCONT,
	syscall.SIGWINCH,
}

// patience is how many SIGINT and SIGTERM a command may live through.
const patience = 3

// signals are those that we get while a command runs.
type signals struct {
	caught chan os.Signal
	raised chan syscall.Signal
	pipe   chan os.Signal
	// created is closed when there is a command to forward to.
	created chan struct{}
	// next is where signals go from then on.
	next chan syscall.Signal
	done chan struct{}
}

// watchSignals catches signals from now on. Until there is a command, one that
// would end this program calls cancel.
func watchSignals(cancel func()) *signals {
	s := &signals{
		caught:  make(chan os.Signal, 32),
		raised:  make(chan syscall.Signal, 1),
		pipe:    make(chan os.Signal, 1),
		created: make(chan struct{}),
		next:    make(chan syscall.Signal, 32),
		done:    make(chan struct{}),
	}
	signal.Notify(s.caught, forwarded...)
	signal.Notify(s.pipe, syscall.SIGPIPE)
	go s.sort(cancel)
	return s
}

// sort hands each signal to whom it is for.
func (s *signals) sort(cancel func()) {
	for {
		var got syscall.Signal
		select {
		case caught := <-s.caught:
			number, ok := caught.(syscall.Signal)
			if !ok {
				continue
			}
			got = number
		case got = <-s.raised:
		case <-s.done:
			return
		}
		select {
		case <-s.created:
			select {
			case s.next <- got:
			default: // so many at once are as good as some
			}
		default:
			switch got {
			case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
				cancel()
			}
		}
	}
}

// raise is as if we had got a signal. It never blocks.
func (s *signals) raise(number syscall.Signal) {
	select {
	case s.raised <- number:
	default: // it is on its way already
	}
}

// forward sends signals to the command from now on, until stop.
func (s *signals) forward(ctx context.Context, rt *session, log *slog.Logger, to messages.Process, tty *attached) {
	close(s.created)
	go func() {
		ends := 0
		for {
			var number syscall.Signal
			select {
			case number = <-s.next:
			case <-s.done:
				return
			}
			if number == syscall.SIGWINCH {
				if tty.terminal {
					s.tell(log, "resize", ask(ctx, rt, messages.Resize{Process: to, Size: tty.size()}))
				}
				continue
			}
			kill := messages.Kill{Process: to, Signal: number}
			if number == syscall.SIGINT || number == syscall.SIGTERM {
				if ends++; ends >= patience {
					kill.Signal, kill.All = syscall.SIGKILL, true
				}
			}
			s.tell(log, "signal "+number.String(), ask(ctx, rt, kill))
		}
	}()
}

// ask sends a command whose reply says nothing more than that it was done.
func ask[R messages.Reply](ctx context.Context, rt *session, cmd messages.Command[R]) error {
	_, err := actors.Ask(ctx, rt.Runtime, cmd)
	return err
}

// tell logs what came of a signal. That the command is gone is no error.
func (s *signals) tell(log *slog.Logger, what string, err error) {
	if err != nil && !errors.Is(err, messages.NotFound) {
		log.Warn("could not pass on the "+what, "err", err)
	}
}

// stop ends the catching; it is called once.
func (s *signals) stop() {
	signal.Stop(s.caught)
	signal.Stop(s.pipe)
	close(s.done)
}
