package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// process is one exec.
type process struct {
	self    messages.Incarnation
	init    *container
	streams *streams
	stub    *running
	// guest is its pid in the sandbox, 0 until it is told; guarded by the
	// driver's lock.
	guest int
	// over is closed when its exit is known, before it is told.
	over     chan struct{}
	deleting chan struct{}
}

// abandonTimeout is how long an exec that its caller gave up may hang in the
// sandbox before its stub is killed.
const abandonTimeout = 10 * time.Second

// Exec starts a process in a container. The runsc that stands for it is a child
// of ours and exits with its status.
//
// When ctx ends first the call ends with it. The sandbox may start the process
// all the same, since a request can not be taken back; then it is killed as soon
// as its pid is told.
func (d *Driver) Exec(ctx context.Context, l messages.Launch) (_ messages.PIDs, err error) {
	c, err := d.container("exec in", l.Init)
	if err != nil {
		return messages.PIDs{}, about("start", l.Process.Process, "", err)
	}
	p := &process{self: l.Process, init: c, over: make(chan struct{}), deleting: make(chan struct{}, 1)}
	if err := d.reserveExec(p); err != nil {
		return messages.PIDs{}, err
	}
	defer func() {
		if err != nil {
			d.forgetExec(p)
		}
	}()
	if p.streams, err = openStreams(ctx, "exec "+l.Process.Process.String(), l.Stdio, d.streamOptions(string(l.Process.Exec))); err != nil {
		return messages.PIDs{}, about("open the streams of", l.Process.Process, "", err)
	}
	pids, err := p.launch(ctx, l)
	if err != nil {
		_ = p.streams.Close()
		return messages.PIDs{}, about("start", l.Process.Process, "", err)
	}
	if l.StdinClosed {
		if err := p.streams.CloseIO(); err != nil {
			d.log.Warn("close stdin", "process", p.self.String(), "error", err)
		}
	}
	go p.watch()
	return pids, nil
}

func (d *Driver) reserveExec(p *process) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fail := func(kind error, why string) error {
		return &messages.Error{Kind: kind, Op: "start", Process: p.self.Process, Err: messages.Text(why)}
	}
	switch {
	case d.closed:
		return fail(messages.Unavailable, "the driver is closed")
	case d.execs[p.self] != nil:
		return fail(messages.AlreadyExists, "it exists")
	case p.init.isOver():
		return fail(messages.FailedPrecondition, "its container is dead")
	}
	d.execs[p.self] = p
	return nil
}

func (d *Driver) forgetExec(p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.execs, p.self)
}

// launch starts the stub and waits until the process has started: the stub then
// tells its pid in the sandbox (`--internal-pid-file`).
func (p *process) launch(ctx context.Context, l messages.Launch) (messages.PIDs, error) {
	pidFile, err := newPIDPipe(filepath.Join(p.init.dir, "x"+strconv.FormatUint(p.self.Number, 10)))
	if err != nil {
		return messages.PIDs{}, err
	}
	stub, err := p.startStub(l, pidFile.path)
	if err != nil {
		pidFile.close()
		return messages.PIDs{}, err
	}
	p.stub = stub
	select {
	case guest := <-pidFile.told:
		pidFile.close()
		return p.begun(guest), nil
	case <-stub.child.gone:
		guest := pidFile.last()
		pidFile.close()
		if guest == 0 {
			defer stub.log.Close()
			return messages.PIDs{}, p.notBegun()
		}
		return p.begun(guest), nil
	case <-ctx.Done():
		go p.abandon(pidFile)
		return messages.PIDs{}, endError("start", p.self.Process, context.Cause(ctx))
	}
}

func (p *process) startStub(l messages.Launch, pidFile string) (*running, error) {
	opts := &ExecOpts{IO: p.streams, InternalPidFile: pidFile}
	call, spool, err := p.init.driver.client.execCall(p.init.id(), l.Spec.Process, opts)
	if err != nil {
		return nil, err
	}
	var prepare []func(*exec.Cmd)
	if p.streams.terminal() {
		if _, err := p.streams.openPty(); err != nil {
			_ = spool.Close()
			return nil, err
		}
		prepare = append(prepare, withTerminal)
	}
	stub, err := call.start(prepare...)
	if err != nil {
		_ = spool.Close()
		return nil, err
	}
	// The stub reads the spec a while after its start.
	go func() {
		<-stub.child.gone
		_ = spool.Close()
	}()
	return stub, nil
}

// withTerminal makes the child the leader of the terminal that is its stdin, as
// `runsc exec --console-socket` does for its own child (runsc/cmd/exec.go). It
// gets the terminal's signals and passes them on to the guest.
func withTerminal(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
}

func (p *process) begun(guest int) messages.PIDs {
	d := p.init.driver
	d.mu.Lock()
	p.guest = guest
	d.mu.Unlock()
	return messages.PIDs{Host: p.stub.child.pid(), Guest: guest}
}

// notBegun is the error of a stub that ended before there was a process.
func (p *process) notBegun() error {
	out := p.stub.outcome()
	err := p.stub.call.failure(out)
	if err == nil || p.stub.call.isGuestStatus(out) && out.end.code != 128 {
		err = &messages.Error{Kind: messages.Internal, Op: "start", Process: p.self.Process,
			Err: messages.Text(fmt.Sprintf("runsc ended with status %d and told no pid", out.end.status()))}
	}
	if p.init.isOver() || !isEnd(err) && p.init.sandbox.isGone() {
		return &messages.Error{Kind: messages.FailedPrecondition, Op: "start", Process: p.self.Process, Err: errors.Join(messages.Text("its container is dead"), err)}
	}
	return err
}

// abandon sees to the end of an exec that its caller gave up.
func (p *process) abandon(pidFile *pidPipe) {
	defer p.stub.log.Close()
	defer pidFile.close()
	t := time.NewTimer(abandonTimeout)
	defer t.Stop()
	guest := 0
	select {
	case guest = <-pidFile.told:
	case <-p.stub.child.gone:
		return
	case <-p.init.sandbox.sentry.gone:
	case <-t.C:
	}
	if guest != 0 {
		p.begun(guest)
		p.killGuest()
	}
	p.stub.child.kill()
	<-p.stub.child.gone
}

// watch tells the exit of the process.
func (p *process) watch() {
	select {
	case <-p.stub.child.gone:
	case <-p.init.driver.stop:
		return
	case <-p.init.sandbox.sentry.gone:
		select {
		case <-p.stub.child.gone:
		case <-time.After(lastWords):
			p.stub.child.kill()
			<-p.stub.child.gone
		}
	}
	e, told := p.exit(p.stub.outcome())
	_ = p.stub.log.Close()
	if !told {
		return
	}
	// Who is told may delete at once.
	close(p.over)
	p.init.driver.notify(messages.ExitNotice{Process: p.self, Exit: e})
}

// exit reads how the stub ended. It exits with the status of the process. One
// that was killed, or that lost the sandbox, says nothing of the process: that
// one is killed then, and its exit is told when it is gone. The second result is
// false if the driver was closed before that.
func (p *process) exit(out outcome) (messages.Exit, bool) {
	if p.stub.call.isGuestStatus(out) {
		return messages.Exit{Status: out.end.status(), At: time.Now()}, true
	}
	why := "runsc failed: " + errorText(out.log, nil)
	if out.end.signal != 0 {
		why = fmt.Sprintf("the runsc that stood for it died by signal %d", int(out.end.signal))
	}
	if !p.killGuest() {
		return messages.Exit{}, false
	}
	if p.init.sandbox.isGone() {
		return killed(sandboxGone), true
	}
	return killed(why + ", so it was killed"), true
}

// killGuest kills the process in the sandbox and comes back when it is gone, or
// the sandbox is. It is false if the driver was closed.
func (p *process) killGuest() bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := p.init.driver.client.Kill(ctx, p.init.id(), int(syscall.SIGKILL), &KillOpts{PID: p.guest})
		if errors.Is(err, messages.NotFound) {
			return true
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-p.init.sandbox.sentry.gone:
			return true
		case <-p.init.driver.stop:
			return false
		}
	}
}

// pidPipe is a pid file that is a FIFO. runsc writes into what is no regular file
// in place (runsc/cmd/pidfile.go), so the pid is known the moment it is written,
// whole, without looking for it, and needs no room on the disk.
type pidPipe struct {
	path string
	file *os.File
	// told gets the pid once.
	told chan int
}

func newPIDPipe(path string) (*pidPipe, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// With a writer of our own a read waits for the first one and never ends.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	p := &pidPipe{path: path, file: f, told: make(chan int, 1)}
	go func() {
		b := make([]byte, 32)
		n, _ := f.Read(b)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
		p.told <- pid
	}()
	return p, nil
}

// last is the pid that was told by a writer that is gone, or 0.
func (p *pidPipe) last() int {
	// What the reader has not read yet comes before this.
	_, _ = p.file.WriteString("\n")
	return <-p.told
}

func (p *pidPipe) close() {
	_ = p.file.Close()
	_ = os.Remove(p.path)
}
