package runsc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// output copies what a process writes to one destination. It goes on when that
// fails: a process is never stopped, nor killed by SIGPIPE, because nobody
// listens.
type output struct {
	log *slog.Logger
	to  io.WriteCloser

	from intake
	// end is closed when the copy is over; nil for a console, which its
	// terminal closes.
	end  io.Closer
	done chan struct{}

	// taken and given count bytes read and bytes dealt with: written or lost.
	taken, given atomic.Int64

	// lost counts the bytes that were not delivered, and broken is set when none
	// will be again. Both are the copying goroutine's alone.
	lost   int64
	broken bool
	warned bool
}

// awaitedSink is a destination that may have to be waited for, until it is
// closed: at first, and with the last bytes.
type awaitedSink interface {
	open() error
	finish()
}

// sink is a destination that is not to be closed.
type sink struct{ io.Writer }

func (sink) Close() error { return nil }

// openOutputs opens where stdout and stderr go to; once if it is one place. A
// terminal's output goes to stdout, and is read also if nobody wants it: the
// process would be stopped by a full pty.
func (st *streams) openOutputs(ctx context.Context, out, errs place) error {
	if out.kind == placeLogger || errs.kind == placeLogger {
		l, err := startLogger(ctx, out, errs, st.options)
		if err != nil {
			logged := out
			if out.kind == placeNull {
				logged = errs
			}
			failed := st.openFailed(logged.stream, logged.url.String(), err)
			failed.Hint = "name an executable that follows containerd's logging contract: streams on descriptors 3 and 4, 5 closed when it is ready"
			return failed
		}
		st.logger = l
		for i, p := range []place{out, errs} {
			if p.kind == placeLogger {
				st.addOutput(p.stream, l.inputs[i])
			}
		}
		return nil
	}
	if out.same(errs) {
		// openPipes sees that there is one output for two places.
		out.stream, errs.kind = "stdout and stderr", placeNull
	}
	for _, p := range []place{out, errs} {
		switch p.kind {
		case placeNull, placeHanded:
		case placeMemory:
			st.addOutput(p.stream, sink{p.writer})
		default:
			to, err := openDestination(p)
			if err != nil {
				return st.openFailed(p.stream, p.path, err)
			}
			st.addOutput(p.stream, to)
		}
	}
	if st.tty != nil && len(st.outs) == 0 {
		st.addOutput("stdout", sink{io.Discard})
	}
	return nil
}

// addOutput adds the destination of stream: "stdout", "stderr" or both.
func (st *streams) addOutput(stream string, to io.WriteCloser) {
	st.outs = append(st.outs, &output{
		log: st.options.Logger.With("process", st.process.String(), "stream", stream),
		to:  to,
	})
}

// start begins to copy from.
func (o *output) start(from intake, end io.Closer) {
	o.from, o.end, o.done = from, end, make(chan struct{})
	go o.copy()
}

func (o *output) copy() {
	defer close(o.done)
	defer o.stop()
	if to, ok := o.to.(awaitedSink); ok {
		if err := to.open(); err != nil {
			o.fail(err)
		}
		defer to.finish()
	}
	for {
		err := o.from.take(func(p []byte) {
			o.taken.Add(int64(len(p)))
			o.write(p)
			o.given.Add(int64(len(p)))
		})
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				o.log.Warn("reading the output of the process failed; what follows is lost", "error", err)
			}
			break
		}
	}
	if o.lost > 0 {
		o.log.Info("output of the process was lost", "bytes", o.lost)
	}
}

func (o *output) write(p []byte) {
	if o.broken {
		o.lost += int64(len(p))
		return
	}
	n, err := o.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		o.lost += int64(len(p) - min(max(n, 0), len(p)))
		o.fail(err)
	}
}

// fail takes note that the destination failed. A full disk may have room again
// later; nothing else comes back.
func (o *output) fail(err error) {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		o.broken = true
		o.to.Close()
	}
	// It is closed by Close only, which is nobody's failure.
	if o.warned || errors.Is(err, os.ErrClosed) {
		return
	}
	o.warned = true
	o.log.Warn("writing the output of the process failed; it goes on and what it writes is lost", "error", err)
}

// stop frees both ends, and so ends the copy.
func (o *output) stop() {
	o.to.Close()
	if o.end != nil {
		o.end.Close()
	}
}
