package runsc_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// theatre is a runtime of actors on a stage.
type theatre struct {
	*stage
	rt     *actors.Runtime
	events *actors.Subscription
}

func newTheatre(t *testing.T, timeouts actors.Timeouts) *theatre {
	t.Helper()
	s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	rt, err := actors.New(actors.Options{Driver: s.Driver, Timeouts: timeouts})
	if err != nil {
		t.Fatal(err)
	}
	p := &theatre{s, rt, rt.Subscribe(1 << 16)}
	t.Cleanup(func() {
		if err := rt.Shutdown(s.context()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ask asks, and wants an answer.
func ask[R messages.Reply](p *theatre, c messages.Command[R]) R {
	p.t.Helper()
	r, err := actors.Ask(p.context(), p.rt, c)
	if err != nil {
		p.t.Fatalf("%s: %v", c.Verb(), err)
	}
	return r
}

// run creates and starts a container that sleeps.
func (p *theatre) run(id messages.ContainerID) {
	p.t.Helper()
	ask(p, messages.Create{Container: id, Bundle: p.bundle(nil, "sleep", "1000")})
	ask(p, messages.Start{Process: messages.Init(id)})
}

// add registers an exec.
func (p *theatre) add(container messages.ContainerID, exec string, args ...string) messages.Process {
	p.t.Helper()
	x := messages.Process{Container: container, Exec: messages.ExecID(exec)}
	ask(p, messages.Exec{Process: x, Spec: messages.ExecSpec{Process: specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/"}}})
	return x
}

// next gives the next event.
func (p *theatre) next() messages.Event {
	p.t.Helper()
	select {
	case e := <-p.events.Events():
		return e
	case <-time.After(30 * time.Second):
		p.t.Fatal("no event came")
		return nil
	}
}

// More execs at once than the sandbox's socket has places for connections: each
// runs, tells its own status, and its events are in order.
func TestExecsAtOnce(t *testing.T) {
	const n = 200
	p := newTheatre(t, actors.Timeouts{})
	p.run("c")
	var all sync.WaitGroup
	for i := range n {
		x := p.add("c", fmt.Sprint("e", i), "sh", "-c", fmt.Sprintf("exit %d", i))
		all.Go(func() {
			if _, err := actors.Ask(p.context(), p.rt, messages.Start{Process: x}); err != nil {
				t.Error(err)
				return
			}
			e, err := actors.Ask(p.context(), p.rt, messages.Wait{Process: x})
			if err != nil || e.Exit.Status != i || e.Exit.Reason != "" {
				t.Errorf("%s exited with %+v, %v", x, e.Exit, err)
			}
			if _, err := actors.Ask(p.context(), p.rt, messages.Delete{Process: x}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if c := ask(p, messages.Connect{Container: "c"}); c.Exec != runsc.ExecControl {
		t.Errorf("Connect tells of %q", c.Exec)
	}
	seen := map[messages.Process]int{}
	for ends := 0; ends < n; {
		e := p.next()
		step := 0
		switch e.(type) {
		case messages.ExecAdded:
			step = 1
		case messages.ExecStarted:
			step = 2
		case messages.ProcessExited:
			step = 3
		case messages.ProcessDeleted:
			step = 4
			ends++
		default:
			continue
		}
		if seen[e.Subject()] != step-1 {
			t.Fatalf("%T of %s came after step %d", e, e.Subject(), seen[e.Subject()])
		}
		seen[e.Subject()] = step
	}
}

// A sandbox that hangs: State and Wait are answered all the same, and a kill of
// its init becomes one of the sandbox (gvisor#14405, gvisor#14548).
func TestASandboxThatHangsIsKilled(t *testing.T) {
	p := newTheatre(t, actors.Timeouts{Kill: time.Second, Exec: time.Second})
	p.run("c")
	p.run("other")
	x := p.add("c", "live", "sleep", "1000")
	ask(p, messages.Start{Process: x})
	hung := p.add("c", "hung", "sleep", "1000")
	hang(t, p.sentry("c"))
	started := make(chan error, 1)
	go func() {
		_, err := actors.Ask(p.context(), p.rt, messages.Start{Process: hung})
		started <- err
	}()
	begin := time.Now()
	if s := ask(p, messages.State{Process: x}); s.Status != messages.StatusRunning {
		t.Errorf("the state is %v", s.Status)
	}
	short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := actors.Ask(short, p.rt, messages.Wait{Process: x})
	wantKind(t, err, messages.DeadlineExceeded)
	healthy := p.add("other", "e", "true")
	ask(p, messages.Start{Process: healthy})
	ask(p, messages.Wait{Process: healthy})
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
	err = <-started
	wantKind(t, err, messages.DeadlineExceeded, "c/hung")
	begin = time.Now()
	ask(p, messages.Kill{Process: messages.Init("c"), Signal: unix.SIGKILL})
	for _, q := range []messages.Process{x, messages.Init("c")} {
		if e := ask(p, messages.Wait{Process: q}); e.Exit.Status != messages.ExitKilled || e.Exit.Reason == "" {
			t.Errorf("%s: %+v", q, e.Exit)
		}
		ask(p, messages.Delete{Process: q})
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

// A sandbox that is killed from outside: the execs' exits come first, init's
// last, all with the reason.
func TestASandboxThatIsKilled(t *testing.T) {
	const n = 50
	p := newTheatre(t, actors.Timeouts{})
	p.run("c")
	for i := range n {
		ask(p, messages.Start{Process: p.add("c", fmt.Sprint("e", i), "sleep", "1000")})
	}
	begin := time.Now()
	if err := unix.Kill(p.sentry("c"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for exits := 0; exits <= n; {
		e, ok := p.next().(messages.ProcessExited)
		if !ok {
			continue
		}
		if e.Exit.Status != messages.ExitKilled || e.Exit.Reason == "" || e.Process.IsInit() != (exits == n) {
			t.Errorf("exit %d is %+v", exits, e)
		}
		exits++
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	ask(p, messages.Delete{Process: messages.Init("c")})
}
