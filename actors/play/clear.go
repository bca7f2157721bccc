package play

import (
	"context"
	"errors"
	"syscall"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// clear kills and deletes what the script left, the newest first, so that an
// exec goes before its init and a pod's first container, which the others live
// in, last.
func (s *stage) clear(ctx context.Context) []Leftover {
	var left []Leftover
	for len(s.order) > 0 {
		p := s.order[len(s.order)-1]
		if p.IsInit() {
			// An init takes its execs along: they are told of first.
			if e, ok := s.execOf(p.Container); ok {
				p = e
			}
		}
		left = append(left, s.clearOne(ctx, p))
		s.forget(p)
	}
	return left
}

func (s *stage) execOf(c messages.ContainerID) (messages.Process, bool) {
	for i := len(s.order) - 1; i >= 0; i-- {
		if p := s.order[i]; p.Container == c && !p.IsInit() {
			return p, true
		}
	}
	return messages.Process{}, false
}

func (s *stage) clearOne(ctx context.Context, p messages.Process) Leftover {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	rt := s.options.Runtime
	now, err := actors.Ask(ctx, rt, messages.State{Process: p})
	if err != nil {
		return Leftover{Process: p, Err: err}
	}
	l := Leftover{Process: p, Status: now.Status}
	if now.Status == messages.StatusPaused {
		// A paused sandbox delivers no signal.
		if _, err := actors.Ask(ctx, rt, messages.Resume{Container: p.Container}); err != nil {
			l.Err = err
			return l
		}
	}
	if now.Status != messages.StatusStopped && (now.Status != messages.StatusCreated || p.IsInit()) {
		_, err := actors.Ask(ctx, rt, messages.Kill{Process: p, Signal: syscall.SIGKILL, All: p.IsInit()})
		if err != nil && !errors.Is(err, messages.NotFound) {
			l.Err = err
			return l
		}
		if _, err := actors.Ask(ctx, rt, messages.Wait{Process: p}); err != nil {
			l.Err = err
			return l
		}
	}
	_, l.Err = actors.Ask(ctx, rt, messages.Delete{Process: p})
	return l
}
