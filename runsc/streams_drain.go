package runsc

import (
	"context"
	"time"
)

// drainWindows bounds a drain, in drain timeouts: a reader may be slow for that
// long, if it goes on reading.
const drainWindows = 10

// Drain waits, when the process is gone, until what it wrote is delivered.
//
// At best that is the end of each stream. A grandchild that keeps a pipe open
// (sh -c 'sleep 1000 &') delays that end for as long as it likes
// (containerd#3286), so Drain also ends when nothing has moved for a drain
// timeout, or when a timeout has passed and all that was in the pipe at first is
// delivered, whatever is written after. What the process itself wrote is in the
// pipe when it is gone, so none of it is cut off (containerd#12364), unless its
// reader takes nothing for a whole timeout. Drain never takes longer than ten
// timeouts, nor longer than ctx.
func (st *streams) Drain(ctx context.Context) {
	if st.tty != nil {
		// The end of a pty is not told by the epoller (console.EpollConsole
		// takes EIO to be temporary); this lets the copy end when it is empty.
		st.tty.hangUp()
	}
	rest := st.unfinished()
	timer := time.NewTicker(st.options.DrainTimeout)
	defer timer.Stop()
	for windows := 0; len(rest) > 0; {
		select {
		case <-rest[0].o.done:
			rest = rest[1:]
		case <-ctx.Done():
			return
		case <-timer.C:
			windows++
			if windows >= drainWindows || !anyMoving(rest) {
				return
			}
		}
	}
	// Those wait for a reader that is not there.
	for _, h := range st.handed {
		select {
		case <-h.done:
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		}
	}
	if st.logger == nil {
		return
	}
	// It has seen the end of its streams and finishes its log.
	select {
	case <-st.logger.gone():
	case <-ctx.Done():
	case <-timer.C:
	}
}

// unfinished are the outputs that are being copied.
func (st *streams) unfinished() []awaited {
	st.mu.Lock()
	defer st.mu.Unlock()
	var rest []awaited
	for _, o := range st.outs {
		if o.done != nil {
			rest = append(rest, o.await())
		}
	}
	return rest
}

// awaited is an output that is not at its end.
type awaited struct {
	o *output
	// all is how much will have been given when the process's own is.
	all int64
	// last is how much had been given when it was last looked at.
	last int64
}

// await notes how much the process has left. What is unread is looked at first:
// the count of what is taken can then only be too high, and the idle timeout is
// there for that.
func (o *output) await() awaited {
	var unread int64
	if f, ok := o.from.(fileIntake); ok {
		unread = f.unread()
	}
	return awaited{o: o, all: unread + o.taken.Load(), last: o.given.Load()}
}

// anyMoving tells whether an output is worth another wait: one that has moved
// and has more of the process's own to deliver.
func anyMoving(rest []awaited) bool {
	moving := false
	for i := range rest {
		a := &rest[i]
		given := a.o.given.Load()
		if given > a.last && given < a.all {
			moving = true
		}
		a.last = given
	}
	return moving
}
