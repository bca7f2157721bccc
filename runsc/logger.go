package runsc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

const (
	// loggerReady is how long a logging program may take to be ready.
	loggerReady = 10 * time.Second
	// loggerGrace is how long it may take to end when its streams are closed,
	// and again when it is told to by SIGTERM. containerd's shim gives 12 s.
	loggerGrace = 10 * time.Second
)

// logger is a logging program of containerd's contract (core/runtime/v2/logging
// and cmd/containerd-shim-runc-v2/process/io_util.go in containerd): stdout on
// descriptor 3, stderr on 4, and 5 to be closed when it is ready.
//
// It is fed through our own copies and not handed the process's pipes: if it
// dies, the process would be killed by SIGPIPE.
type logger struct {
	child *child
	// inputs are its stdout and stderr, to write to; nil for one that it is not
	// asked to log.
	inputs [2]*os.File
	// grace is how long stop waits before each harder step.
	grace time.Duration
}

// startLogger starts the program that out or errs names, and waits until it is
// ready.
func startLogger(ctx context.Context, out, errs place, o streamOptions) (_ *logger, err error) {
	program := out.url
	if program == nil {
		program = errs.url
	}
	l := &logger{grace: loggerGrace}
	// theirs are the descriptors from 3 on, in order.
	var theirs []*os.File
	defer func() {
		closeAll(theirs...)
		if err != nil {
			closeAll(l.inputs[:]...)
		}
	}()
	for i, p := range []place{out, errs} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, r)
		if p.kind == placeLogger {
			l.inputs[i] = w
		} else {
			w.Close()
		}
	}
	ready, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	theirs = append(theirs, w)

	cmd := exec.Command(program.Path, loggerArgs(program)...)
	cmd.Env = []string{"CONTAINER_ID=" + o.ID, "CONTAINER_NAMESPACE=" + o.Namespace}
	cmd.ExtraFiles = theirs
	if l.child, err = startChild(cmd); err != nil {
		return nil, fmt.Errorf("start the logging program: %w", err)
	}
	// Ours of the write end, or the program's death would not end the wait.
	closeAll(theirs...)
	if err := awaitReady(ctx, ready, program.Scheme == "binary-v2"); err != nil {
		l.child.kill()
		return nil, err
	}
	go l.watch(o)
	return l, nil
}

// loggerArgs are the query's keys and values, in the order in which they were
// written. containerd's own order is that of a Go map.
func loggerArgs(program *url.URL) []string {
	var args []string
	for pair := range strings.SplitSeq(program.RawQuery, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		for _, s := range []string{key, value} {
			// What is not escaped properly is passed on as it is written.
			if u, err := url.QueryUnescape(s); err == nil {
				s = u
			}
			args = append(args, s)
		}
	}
	return args
}

// awaitReady waits until the program has closed its end. A program of
// "binary-v2" must have written a byte to it, so that one that died is told from
// one that is ready.
func awaitReady(ctx context.Context, ready *os.File, strict bool) error {
	if err := ready.SetReadDeadline(time.Now().Add(loggerReady)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := ready.Read(make([]byte, 1))
	switch {
	case err == nil, errors.Is(err, io.EOF) && !strict:
		return nil
	case n == 0 && errors.Is(err, io.EOF):
		return &placeError{kind: messages.FailedPrecondition, why: "the logging program ended, or closed descriptor 5, without writing a byte to it to say that it is ready"}
	case ctx.Err() != nil:
		return fmt.Errorf("wait for the logging program to be ready: %w", context.Cause(ctx))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the logging program did not close descriptor 5 within %s to say that it is ready: %w", loggerReady, context.DeadlineExceeded)
	}
	return fmt.Errorf("wait for the logging program to be ready: %w", err)
}

// gone is closed when the program has ended.
func (l *logger) gone() <-chan struct{} { return l.child.gone }

func (l *logger) watch(o streamOptions) {
	<-l.gone()
	if status := l.child.end.status(); status != 0 {
		o.Logger.Warn("the logging program failed", "id", o.ID, "status", status)
	}
}

// stop lets the program end: by the end of its streams, else by SIGTERM, else by
// SIGKILL. It does not wait.
func (l *logger) stop() {
	closeAll(l.inputs[:]...)
	go func() {
		select {
		case <-l.gone():
			return
		case <-time.After(l.grace):
		}
		_ = l.child.pidfd.signal(unix.SIGTERM)
		select {
		case <-l.gone():
		case <-time.After(l.grace):
			l.child.kill()
		}
	}()
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
