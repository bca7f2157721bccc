package runsc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

const (
	// bounded is how long any answer may take, whatever happens meanwhile.
	bounded = 20 * time.Second
	// patience is how long a load is given for its execs, on a slow machine too.
	patience = 2 * time.Minute
	// atOnce is how long an answer may take that nothing has to be asked for.
	atOnce = 2 * time.Second
	// loadStatus is what the processes of a load exit with by themselves.
	loadStatus = 3
)

// company is a runtime of actors on real runsc. Every event that it tells is
// checked, and at its end nothing of it may be left.
type company struct {
	*stage
	rt      *actors.Runtime
	checker *load.Checker
}

func newCompany(t testing.TB, timeouts actors.Timeouts, change ...func(*runsc.Options)) *company {
	t.Helper()
	c := &company{stage: newStage(t, change...), checker: load.NewChecker()}
	fds, routines := openFiles(), runtime.NumGoroutine()
	rt, err := actors.New(actors.Options{Driver: c.Driver, Timeouts: timeouts})
	if err != nil {
		t.Fatal(err)
	}
	c.rt = rt
	events, told := rt.Subscribe(0), make(chan struct{})
	go func() {
		defer close(told)
		for e := range events.Events() {
			c.checker.Saw(e)
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bounded)
		defer cancel()
		if err := rt.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		<-told
		for _, text := range c.checker.End().Texts {
			t.Error(text)
		}
		c.wantAsBefore(fds, routines)
	})
	return c
}

// eachWayOfActors runs a test over the control socket and by the command line.
func eachWayOfActors(t *testing.T, timeouts actors.Timeouts, test func(*testing.T, *company), change ...func(*testing.T) func(*runsc.Options)) {
	for _, way := range []string{runsc.ExecControl, runsc.ExecCLI} {
		t.Run(way, func(t *testing.T) {
			options := []func(*runsc.Options){func(o *runsc.Options) { o.ExecDriver = way }}
			for _, c := range change {
				options = append(options, c(t))
			}
			test(t, newCompany(t, timeouts, options...))
		})
	}
}

// wantAsBefore checks that nothing is left: no process, file or mount, and no
// descriptor and goroutine of this program.
func (c *company) wantAsBefore(fds, routines int) {
	var left []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		left = append(c.processes(), c.files()...)
		if n := openFiles(); n > fds {
			left = append(left, fmt.Sprintf("%d open files, before %d", n, fds))
		}
		if n := runtime.NumGoroutine(); n > routines {
			left = append(left, fmt.Sprintf("%d goroutines, before %d", n, routines))
		}
		if len(left) == 0 {
			return
		}
	}
	c.t.Errorf("this is left: %q", left)
}

// answered sends a command that has to succeed in bounded time.
func answered[R messages.Reply](c *company, cmd messages.Command[R]) R {
	c.t.Helper()
	reply, err := try(c, bounded, cmd)
	if err != nil {
		c.t.Fatalf("%s %s: %v", cmd.Verb(), cmd.Target(), err)
	}
	return reply
}

// try sends a command that has to be answered in time, by whatever.
func try[R messages.Reply](c *company, within time.Duration, cmd messages.Command[R]) (R, error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	reply, err := actors.Ask(ctx, c.rt, cmd)
	if err != nil && ctx.Err() != nil {
		c.t.Errorf("%s %s: no answer within %v", cmd.Verb(), cmd.Target(), within)
	}
	return reply, err
}

// sleeper creates and starts a container of its own sandbox.
func (c *company) sleeper(id messages.ContainerID) messages.Created {
	c.t.Helper()
	created := answered(c, messages.Create{Container: id, Bundle: c.bundle(nil, "sleep", "1000")})
	answered(c, messages.Start{Process: messages.Init(id)})
	return created
}

// begin registers and starts an exec, and gives how to wait for its exit, which
// must come in bounded time from then.
func (c *company) begin(p messages.Process, stdio messages.Stdio, args ...string) (messages.Started, func() messages.Exit) {
	c.t.Helper()
	answered(c, messages.Exec{Process: p, Spec: execSpec(args...), Stdio: stdio})
	ctx, cancel := context.WithTimeout(context.Background(), 3*bounded)
	wait := actors.Begin(ctx, c.rt, messages.Wait{Process: p})
	started, err := try(c, bounded, messages.Start{Process: p})
	if err != nil {
		cancel()
		_, _ = wait()
		c.t.Fatalf("start %s: %v", p, err)
	}
	return started, func() messages.Exit {
		c.t.Helper()
		defer cancel()
		time.AfterFunc(bounded, cancel)
		exited, err := wait()
		if err != nil {
			c.t.Fatalf("wait for %s: %v", p, err)
		}
		c.checker.Settled(p, load.Outcome{Exited: true, Status: exited.Exit.Status})
		return exited.Exit
	}
}

func execSpec(args ...string) messages.ExecSpec {
	return messages.ExecSpec{Process: specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/"}}
}

func execIn(id messages.ContainerID, exec string) messages.Process {
	return messages.Process{Container: id, Exec: messages.ExecID(exec)}
}

// strike sends a signal to a process of this stage on the host.
func (c *company) strike(pid int, signal syscall.Signal) {
	c.t.Helper()
	if err := unix.Kill(pid, signal); err != nil {
		c.t.Fatalf("send %v to %d: %v", signal, pid, err)
	}
}

// gofer is the host's pid of a container's gofer.
func (c *company) gofer(id messages.ContainerID) int {
	c.t.Helper()
	bundle := answered(c, messages.State{Process: messages.Init(id)}).Bundle
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		b, _ := os.ReadFile(p)
		if args := strings.Split(string(b), "\x00"); strings.HasSuffix(args[0], "gofer") && strings.Contains(string(b), bundle) {
			var pid int
			_, _ = fmt.Sscanf(p, "/proc/%d/", &pid)
			return pid
		}
	}
	c.t.Fatalf("no gofer of %s was found", id)
	return 0
}

// works is a load on one container: four short execs at once, one after the
// other, until it is ended. Whatever happens meanwhile, of each exec that was
// started the exit is told once and in bounded time, the status is its own
// unless the exit says why not, and it can be deleted.
type works struct {
	*company
	container messages.ContainerID
	quit      chan struct{}
	workers   sync.WaitGroup

	mu sync.Mutex
	// whole counts the execs that ended by themselves, and cut those that did
	// not.
	whole, cut int
	// refused are the errors of those that were not started.
	refused []error
}

// load begins one; it is ended with the test if not before.
func (c *company) load(id messages.ContainerID) *works {
	w := &works{company: c, container: id, quit: make(chan struct{})}
	for i := range 4 {
		w.workers.Go(func() {
			for n := 0; !w.isOver(); n++ {
				w.one(execIn(id, fmt.Sprintf("load%d-%d", i, n)), n%2 == 0)
			}
		})
	}
	c.t.Cleanup(w.end)
	return w
}

func (w *works) isOver() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

// end ends the load when what is under way is over.
func (w *works) end() {
	if !w.isOver() {
		close(w.quit)
	}
	w.workers.Wait()
}

// one is the life of one exec.
func (w *works) one(p messages.Process, talks bool) {
	var out buffer
	cmd := messages.Exec{Process: p, Spec: execSpec("sh", "-c", "echo x; exit 3")}
	if talks {
		cmd.Stdio.Pipes.Stdout = &out
	}
	if _, err := try(w.company, bounded, cmd); err != nil {
		w.refuse(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*bounded)
	defer cancel()
	wait := actors.Begin(ctx, w.rt, messages.Wait{Process: p})
	_, failed := try(w.company, bounded, messages.Start{Process: p})
	exited, err := wait()
	if ctx.Err() != nil || failed == nil && err != nil {
		w.t.Errorf("%s was started (error: %v), and wait told no exit: %v", p, failed, err)
	}
	deleted, err2 := try(w.company, bounded, messages.Delete{Process: p})
	if err2 != nil {
		w.t.Errorf("delete %s: %v", p, err2)
	}
	w.checker.Settled(p, load.Outcome{Exited: err == nil, Status: exited.Exit.Status, NeverStarted: err != nil && err2 == nil && deleted.Exit == nil})
	if failed != nil {
		if err == nil {
			w.t.Errorf("%s was not started (%v), and has the exit %+v", p, failed, exited.Exit)
		}
		if !strings.Contains(failed.Error(), p.String()) {
			w.t.Errorf("the error does not name %s: %v", p, failed)
		}
		w.refuse(failed)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	// One that is killed with its container tells the same status as a sandbox
	// that is gone, and needs no reason.
	if e := exited.Exit; e.Reason != "" || e.Status == messages.ExitKilled {
		w.cut++
		return
	}
	w.whole++
	if exited.Exit.Status != loadStatus {
		w.t.Errorf("%s exited with %d, want %d", p, exited.Exit.Status, loadStatus)
	}
	if s := out.String(); talks && s != "x\n" {
		w.t.Errorf("%s wrote %q", p, s)
	}
}

func (w *works) refuse(err error) {
	w.mu.Lock()
	w.refused = append(w.refused, err)
	w.mu.Unlock()
	// What fails at once would fill the processor.
	select {
	case <-time.After(20 * time.Millisecond):
	case <-w.quit:
	}
}

func (w *works) counts() (whole, cut, refused int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.whole, w.cut, len(w.refused)
}

// await waits until n more execs have ended by themselves. So it is known that
// the load goes on, or has begun.
func (w *works) await(n int) {
	w.t.Helper()
	before, _, _ := w.counts()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		now, _, _ := w.counts()
		if now >= before+n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d of %d execs in %s ended within %v; refused: %v", now-before, n, w.container, patience, w.errors())
		}
	}
}

// awaitRefused waits until n more execs were refused, and gives the errors.
func (w *works) awaitRefused(n int) []error {
	w.t.Helper()
	_, _, before := w.counts()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if all := w.errors(); len(all) >= before+n {
			return all[before:]
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not %d execs in %s were refused within %v", n, w.container, patience)
		}
	}
}

func (w *works) errors() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.refused...)
}

// wantUntouched checks, when the load has ended, that it has met no fault.
func (w *works) wantUntouched() {
	w.t.Helper()
	w.end()
	if _, cut, _ := w.counts(); cut > 0 {
		w.t.Errorf("%d execs in %s did not end by themselves", cut, w.container)
	}
	for _, err := range w.errors() {
		w.t.Errorf("in %s: %v", w.container, err)
	}
}

// wantRefusals checks the kinds of the errors that the load has met.
func (w *works) wantRefusals(kinds ...error) {
	w.t.Helper()
	wantKinds(w.t, w.errors(), kinds...)
}

func wantKinds(t testing.TB, errs []error, kinds ...error) {
	t.Helper()
	told := map[error]bool{}
	for _, err := range errs {
		k := messages.KindOf(err)
		switch {
		case told[k]:
			continue // of thousands one is enough
		case slices.Contains(kinds, k):
			t.Log(err)
		default:
			t.Errorf("the error is %v, want one of %v: %v", k, kinds, err)
		}
		told[k] = true
	}
}
