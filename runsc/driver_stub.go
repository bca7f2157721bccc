package runsc

import (
	"context"
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

// abandonTimeout is how long an exec that its caller gave up may hang in the
// sandbox before its stub is killed.
const abandonTimeout = 10 * time.Second

// launchStub starts the `runsc exec` that stands for the process and waits until
// the process has started: the stub then tells its pid in the sandbox
// (`--internal-pid-file`).
func (p *process) launchStub(ctx context.Context, l messages.Launch) (messages.PIDs, error) {
	pidFile, err := newPIDPipe(filepath.Join(p.init.dir, "x"+strconv.FormatUint(p.self.Number, 10)))
	if err != nil {
		return messages.PIDs{}, stateError("start", p.self.Process, p.init.driver.options.StateDir, err)
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
		return p.begun(p.stub.child.pid(), guest), nil
	case <-stub.child.gone:
		guest := pidFile.last()
		pidFile.close()
		if guest == 0 {
			defer stub.log.Close()
			return messages.PIDs{}, p.notBegun()
		}
		return p.begun(p.stub.child.pid(), guest), nil
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

// notBegun is the error of a stub that ended before there was a process.
func (p *process) notBegun() error {
	out := p.stub.outcome()
	err := p.stub.call.failure(out)
	if err == nil || p.stub.call.isGuestStatus(out) && out.end.code != 128 {
		err = &messages.Error{Kind: messages.Internal, Op: "start", Process: p.self.Process,
			Err: messages.Text(fmt.Sprintf("runsc ended with status %d and told no pid", out.end.status()))}
	}
	return p.notStarted(err)
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
		p.begun(p.stub.child.pid(), guest)
		p.killGuest()
	}
	p.stub.child.kill()
	<-p.stub.child.gone
}

// awaitStub waits for the end of the stub, and so of the process. The second
// result is false if the driver was closed before that.
func (p *process) awaitStub() (messages.Exit, bool) {
	select {
	case <-p.stub.child.gone:
	case <-p.init.driver.stop:
		return messages.Exit{}, false
	case <-p.init.sandbox.sentry.gone:
		select {
		case <-p.stub.child.gone:
		case <-time.After(lastWords):
			p.stub.child.kill()
			<-p.stub.child.gone
		}
	}
	defer p.stub.log.Close()
	return p.exit(p.stub.outcome())
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
