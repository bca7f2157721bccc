package runsc

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/containerd/go-runc"

	"github.com/troupe-run/troupe/messages"
)

// defaultDrainTimeout is how long a drain waits for the next byte. It is
// shorter than the 10 seconds of containerd's runc shim, whose own callers time
// out first (containerd#7496).
const defaultDrainTimeout = 2 * time.Second

// streamOptions say how a process's streams are opened. The zero value is
// usable.
type streamOptions struct {
	// UID and GID own the child's ends of the pipes and of a pty that is made
	// here, so that a process of theirs may open them anew by way of
	// /dev/stdout.
	UID, GID int
	// DrainTimeout is how long Drain waits while nothing moves.
	// Zero: defaultDrainTimeout.
	DrainTimeout time.Duration
	// Logger is told of output that could not be delivered. Nil: nobody.
	Logger *slog.Logger
	// Direct hands FIFOs and files to the process itself instead of copying.
	// Then the child's ends may only be given to a sandbox, or to a runsc.
	Direct bool
	// Guest is asked, where it is not nil, for what stands between the input and
	// a terminal that is made here, whose master is the file.
	Guest func(master *os.File, keys io.Writer) (*guestTerminal, error)
	// ID and Namespace are told to a logging program: the container's id for an
	// init and the exec's for an exec, and containerd's namespace.
	ID, Namespace string
}

func (o streamOptions) withDefaults() streamOptions {
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = defaultDrainTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// streams are the host's side of a process's standard streams: the child's
// ends, and the goroutines that move bytes between ours and what
// messages.Stdio names.
//
// One goroutine serves each stream that is copied; one serves stdout and stderr
// together where they go to the same place. What is handed to the process
// itself has none. None holds a thread or a
// buffer while its stream is idle, but for an in-memory Reader or Writer, which
// may hold what it likes, and for the first reader of an output FIFO, for which
// open(2) waits in a thread.
//
// The order of calls is openStreams; Set or openPty or attachConsole; the
// start; CloseAfterStart; once the process is gone processGone, Drain and Close. Resize,
// CloseIO and Close may come at any time and from any goroutine. Close alone is
// enough where the start failed.
//
// streams is a runc.IO and a runc.StartCloser.
type streams struct {
	process messages.Process
	options streamOptions
	// tty is nil without a terminal.
	tty *terminal
	// in is nil if no stdin was asked for.
	in *input
	// outs are one output for each destination; a terminal has exactly one.
	outs []*output
	// handed are the output FIFOs that the process has itself.
	handed []*handedFIFO
	logger *logger

	mu sync.Mutex
	// child are the child's stdin, stdout and stderr, until CloseAfterStart.
	child [3]*os.File
	// owned are closed by Close, whatever became of them before.
	owned  []io.Closer
	closed bool
}

var (
	_ runc.IO          = (*streams)(nil)
	_ runc.StartCloser = (*streams)(nil)
)

// openStreams opens what s names and begins to copy; with a terminal, copying
// begins when there is a console. Errors and logs name p, whose streams they are.
//
// ctx bounds the wait for a logging program to be ready and nothing else: an
// output FIFO that nobody reads yet is waited for in the background, until
// Close. On an error nothing stays open.
func openStreams(ctx context.Context, p messages.Process, s messages.Stdio, o streamOptions) (_ *streams, err error) {
	st := &streams{process: p, options: o.withDefaults()}
	defer func() {
		if err != nil {
			_ = st.Close()
		}
	}()
	if s.Terminal {
		st.tty = &terminal{size: s.Size}
		s.Stderr, s.Pipes.Stderr = "", nil
	}
	places, err := st.places(s)
	if err != nil {
		return nil, err
	}
	if st.options.Direct && !s.Terminal {
		if err := st.handOver(&places); err != nil {
			return nil, err
		}
	}
	if places[0].isCopied() {
		if st.in, err = st.openInput(places[0]); err != nil {
			return nil, err
		}
	}
	if err := st.openOutputs(ctx, places[1], places[2]); err != nil {
		return nil, err
	}
	if s.Terminal {
		return st, nil
	}
	if err := st.openPipes(places); err != nil {
		return nil, st.failed("open the pipes of", err)
	}
	return st, nil
}

// openPipes makes the pipes to the child and begins to copy. A stream that was
// not asked for gets /dev/null and no pipe, and no goroutine.
//
// Without Direct, pipes also stand where the other side is a FIFO or a file and
// could have been handed to the process itself: the reader of a FIFO that waits
// for EOF then does not depend on a grandchild (containerd#3286).
func (st *streams) openPipes(places [3]place) error {
	// runc.NewNullIO is not used: its /dev/null is open for reading only, so
	// that a process's writes fail with EBADF instead of being discarded.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	st.owned = append(st.owned, null)
	for i, f := range st.child {
		if f == nil {
			st.child[i] = null
		}
	}

	shared := places[1].kind != placeLogger && places[1].same(places[2])
	asked := func(o *runc.IOOption) {
		o.OpenStdin = places[0].isCopied()
		o.OpenStdout = places[1].isCopied()
		o.OpenStderr = places[2].isCopied() && !shared
	}
	if !places[0].isCopied() && len(st.outs) == 0 {
		return nil
	}
	pipes, err := runc.NewPipeIO(st.options.UID, st.options.GID, asked)
	if err != nil {
		return err
	}
	st.owned = append(st.owned, pipes)
	var theirs exec.Cmd
	pipes.Set(&theirs)
	for i, end := range []any{theirs.Stdin, theirs.Stdout, theirs.Stderr} {
		if f, ok := end.(*os.File); ok {
			st.child[i] = f
		}
	}
	if shared {
		st.child[2] = st.child[1]
	}

	outs := st.outs
	for _, end := range []io.ReadCloser{pipes.Stdout(), pipes.Stderr()} {
		if end == nil {
			continue
		}
		from, err := newFileIntake(end)
		if err != nil {
			return err
		}
		outs[0].start(from, end)
		outs = outs[1:]
	}
	if places[0].isCopied() {
		st.in.start(pipes.Stdin(), func() { pipes.Stdin().Close() })
	}
	return nil
}

// Set gives the child its ends. With a terminal these are the pty's if openPty
// made one; where runsc makes it, on a console socket, runsc's own streams are
// left to the caller.
func (st *streams) Set(cmd *exec.Cmd) {
	child := st.childEnds()
	// A nil *os.File in an interface is not nil, and os/exec would use it.
	if child[0] != nil {
		cmd.Stdin = child[0]
	}
	if child[1] != nil {
		cmd.Stdout = child[1]
	}
	if child[2] != nil {
		cmd.Stderr = child[2]
	}
}

// childEnds are the child's stdin, stdout and stderr, until CloseAfterStart.
func (st *streams) childEnds() [3]*os.File {
	if st.tty != nil {
		slave := st.tty.childEnd()
		return [3]*os.File{slave, slave, slave}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.child
}

// Stdin, Stdout and Stderr are nil: streams moves the bytes itself and has no
// end to give away.
func (st *streams) Stdin() io.WriteCloser { return nil }

// Stdout is nil; see Stdin.
func (st *streams) Stdout() io.ReadCloser { return nil }

// Stderr is nil; see Stdin.
func (st *streams) Stderr() io.ReadCloser { return nil }

// CloseAfterStart closes our copies of the child's ends, without which no
// stream would ever end. Stdin's too, so that what is written to a process that
// is gone fails instead of filling a pipe that nobody reads.
func (st *streams) CloseAfterStart() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.tty != nil {
		st.tty.closeChildEnd()
	}
	for i, f := range st.child {
		if f != nil && !st.isHeld(f) {
			// The same file may stand here twice; it is closed once, the
			// second close is refused by os.File itself.
			f.Close()
		}
		st.child[i] = nil
	}
	return nil
}

// CloseIO ends stdin after all that has been written to it: by FIFO, when every
// other writer has closed it too; from memory, when the Reader has nothing more
// to give at once. It never blocks, can be repeated, and before the start it is
// remembered. A terminal stays as it is, as in containerd's shims: no EOF
// character is sent and the line is not hung up.
func (st *streams) CloseIO() error {
	if st.in != nil {
		st.in.closeIO()
	}
	return nil
}

// Close frees every file descriptor and ends the copying, also that which waits
// for a FIFO's reader. What Drain has not delivered is lost. A goroutine that is
// in a Read or Write of an in-memory stream can not be interrupted; it holds
// nothing and ends when that call returns.
func (st *streams) Close() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return nil
	}
	st.closed = true
	if st.in != nil {
		st.in.stop()
	}
	for _, out := range st.outs {
		out.stop()
	}
	for _, h := range st.handed {
		h.stop()
	}
	for _, f := range st.child {
		if f != nil {
			f.Close()
		}
	}
	st.child = [3]*os.File{}
	// Most of these are closed already, by the goroutine that came to their
	// end; there is nothing to learn from the second close.
	for _, c := range st.owned {
		c.Close()
	}
	if st.tty != nil {
		st.tty.close()
	}
	if st.logger != nil {
		st.logger.stop()
	}
	return nil
}

// failed is an error of these streams that is not about a name in
// messages.Stdio.
func (st *streams) failed(op string, err error) error {
	return &messages.Error{Kind: kindOfOpen(err), Op: op, Process: st.process, Err: err, Hint: hintOfOpen(err)}
}
