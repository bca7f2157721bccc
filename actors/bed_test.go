package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// bed is a runtime on a fake driver, and every event that it has told.
type bed struct {
	*testing.T
	driver *fake.Driver
	rt     *actors.Runtime
	sub    *actors.Subscription
	events []messages.Event
	// lost: actors were, so that some deletions are not told.
	lost bool
}

// run runs a test on a runtime in a bubble of fake time. Afterwards it ends the
// runtime and checks what must hold after any test: Shutdown succeeds, the
// driver holds nothing, the events are in order, and (the bubble sees to it) no
// goroutine is left.
func run(t *testing.T, o actors.Options, test func(*bed), without ...without) {
	t.Helper()
	runOn(t, func() actors.Driver { return fake.New() }, o, test, without...)
}

// without leaves out something that run does.
type without int

// withoutEnd leaves out the end, in a test that has ended the runtime itself.
const withoutEnd without = iota

// runOn is run with a driver of the test's own, made inside the bubble.
func runOn(t *testing.T, driver func() actors.Driver, o actors.Options, test func(*bed), without ...without) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Driver = driver()
		b := newBed(t, o)
		t.Cleanup(func() {
			_ = b.rt.Shutdown(b.soon(time.Minute))
			// The library counts dead letters for a second in a goroutine.
			time.Sleep(2 * time.Second)
		})
		test(b)
		if !slices.Contains(without, withoutEnd) {
			b.end()
		}
	})
}

func newBed(t *testing.T, o actors.Options) *bed {
	t.Helper()
	b := &bed{T: t, driver: driverOf(o.Driver)}
	rt, err := actors.New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.rt = rt
	b.sub = rt.Subscribe(1 << 20)
	return b
}

// wrapped is a driver that a test has put another one around.
type wrapped interface{ inner() *fake.Driver }

func driverOf(d actors.Driver) *fake.Driver {
	if w, ok := d.(wrapped); ok {
		return w.inner()
	}
	return d.(*fake.Driver)
}

// end deletes everything and checks that nothing is left.
func (b *bed) end() {
	b.Helper()
	b.driver.Before(nil)
	b.driver.After(nil)
	if _, err := actors.Ask(b.soon(time.Hour), b.rt, messages.Shutdown{Now: true}); err != nil {
		b.Errorf("Shutdown: %v", err)
	}
	time.Sleep(time.Minute) // for what is discarded in the background
	if held := b.driver.Held(); len(held) > 0 {
		b.Errorf("the driver still holds %v", held)
	}
	if err := b.rt.Shutdown(b.soon(time.Hour)); err != nil {
		b.Errorf("Shutdown: %v", err)
	}
	for e := range b.sub.Events() {
		b.events = append(b.events, e)
	}
	checkOrders(b.T, b.events, b.lost)
}

// told takes the events that have been published up to now.
func (b *bed) told() []messages.Event {
	b.Helper()
	if err := b.sub.Sync(b.soon(time.Minute)); err != nil {
		b.Fatal(err)
	}
	for {
		select {
		case e := <-b.sub.Events():
			b.events = append(b.events, e)
		default:
			return b.events
		}
	}
}

// exits are the exits of a process that have been told, in their order.
func (b *bed) exits(p messages.Process) (exits []messages.Exit) {
	b.Helper()
	for _, e := range b.told() {
		if x, ok := e.(messages.ProcessExited); ok && x.Process == p {
			exits = append(exits, x.Exit)
		}
	}
	return exits
}

// soon is a context that ends with the test, or after d.
func (b *bed) soon(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	b.Cleanup(cancel)
	return ctx
}

// try asks with an hour to answer.
func try[R messages.Reply](b *bed, cmd messages.Command[R]) (R, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	return actors.Ask(ctx, b.rt, cmd)
}

// ask asks for what has to succeed.
func ask[R messages.Reply](b *bed, cmd messages.Command[R]) R {
	b.Helper()
	r, err := try(b, cmd)
	if err != nil {
		b.Fatalf("%s %s: %v", cmd.Verb(), cmd.Target(), err)
	}
	return r
}

// refused asks for what has to fail with a kind, in an error that names the
// process.
func refused[R messages.Reply](b *bed, cmd messages.Command[R], kind error) error {
	b.Helper()
	_, err := try(b, cmd)
	checkKind(b.T, cmd, err, kind)
	return err
}

func checkKind(t *testing.T, cmd messages.AnyCommand, err, kind error) {
	t.Helper()
	var typed *messages.Error
	switch {
	case err == nil:
		t.Fatalf("%s %s succeeded, want %v", cmd.Verb(), cmd.Target(), kind)
	case !errors.As(err, &typed):
		t.Fatalf("%s %s: %T is not a *messages.Error: %v", cmd.Verb(), cmd.Target(), err, err)
	case messages.KindOf(err) != kind:
		t.Fatalf("%s %s: %v (%v), want %v", cmd.Verb(), cmd.Target(), err, messages.KindOf(err), kind)
	case !strings.Contains(err.Error(), cmd.Target().String()):
		t.Fatalf("%s %s: %v does not name the process", cmd.Verb(), cmd.Target(), err)
	}
}

// later asks in another goroutine.
func later[R messages.Reply](b *bed, cmd messages.Command[R]) <-chan outcome[R] {
	c := make(chan outcome[R], 1)
	go func() {
		r, err := try(b, cmd)
		c <- outcome[R]{r, err}
	}()
	return c
}

type outcome[R any] struct {
	reply R
	err   error
}

// pending tells whether a command that was asked later is not answered, once
// everything else has come to rest.
func pending[R any](c <-chan outcome[R]) bool {
	synctest.Wait()
	return len(c) == 0
}

// process reads "container" or "container/exec".
func process(name string) messages.Process {
	p, err := messages.ParseProcess(name)
	if err != nil {
		panic(err)
	}
	return p
}

// noBundle is a bundle that does not exist: the fake driver makes an init of it
// that sleeps.
const noBundle = "/nonexistent/bundle"

func createOf(name string) messages.Create {
	return messages.Create{Container: messages.ContainerID(name), Bundle: noBundle}
}

// execOf is an exec of a command in the words of the fake driver's shell.
func execOf(name, command string) messages.Exec {
	e := messages.Exec{Process: process(name)}
	e.Spec.Args = []string{"sh", "-c", command}
	e.Spec.Cwd = "/"
	return e
}

func startOf(name string) messages.Start   { return messages.Start{Process: process(name)} }
func waitOf(name string) messages.Wait     { return messages.Wait{Process: process(name)} }
func stateOf(name string) messages.State   { return messages.State{Process: process(name)} }
func deleteOf(name string) messages.Delete { return messages.Delete{Process: process(name)} }

func killOf(name string, s syscall.Signal) messages.Kill {
	return messages.Kill{Process: process(name), Signal: s}
}

// runs creates and starts containers whose inits sleep.
func (b *bed) runs(names ...string) {
	b.Helper()
	for _, name := range names {
		ask(b, createOf(name))
		ask(b, startOf(name))
	}
}

// execs registers and starts execs of a command.
func (b *bed) execs(command string, names ...string) {
	b.Helper()
	for _, name := range names {
		ask(b, execOf(name, command))
		ask(b, startOf(name))
	}
}

// status checks what State tells.
func (b *bed) status(name string, want messages.Status) {
	b.Helper()
	if got := ask(b, stateOf(name)).Status; got != want {
		b.Fatalf("%s is %s, want %s", name, got, want)
	}
}

// incarnation finds the one that the driver holds of a process.
func (b *bed) incarnation(name string) messages.Incarnation {
	b.Helper()
	for _, i := range b.driver.Held() {
		if i.Process == process(name) {
			return i
		}
	}
	b.Fatalf("the driver holds nothing of %s", name)
	return messages.Incarnation{}
}

// live tells whether a process lives on the driver's host.
func (b *bed) live(name string) bool {
	for _, i := range b.driver.Live() {
		if i.Process == process(name) {
			return true
		}
	}
	return false
}

// calls counts the calls of the driver that begin with prefix: "kill demo".
func (b *bed) calls(prefix string) (n int) {
	for _, c := range b.driver.Calls() {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// bundle writes one whose init is a command in the words of the fake driver.
func bundle(t *testing.T, command string) string {
	t.Helper()
	dir := t.TempDir()
	b, err := json.Marshal(specs.Spec{Process: &specs.Process{Args: []string{"sh", "-c", command}, Cwd: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// on is a hook for the calls of one name, and where process is not empty, for
// one process.
func on(call, process string, do func(context.Context, messages.Incarnation) error) fake.Hook {
	return func(ctx context.Context, c string, p messages.Incarnation) error {
		if c == call && (process == "" || p.Process.String() == process) {
			return do(ctx, p)
		}
		return nil
	}
}

// hang is a call that hangs until its deadline, as one of runsc does that is
// killed then.
func hang(ctx context.Context, p messages.Incarnation) error {
	<-ctx.Done()
	return &messages.Error{Kind: messages.KindOf(ctx.Err()), Op: "call runsc for", Process: p.Process, Err: ctx.Err()}
}

// gate holds calls, whatever their deadline, until it is opened.
type gate chan struct{}

// gate makes one that the end of the test opens too.
func (b *bed) gate() gate {
	g := make(gate)
	b.Cleanup(g.open)
	return g
}

func (g gate) pass(context.Context, messages.Incarnation) error {
	<-g
	return nil
}

func (g gate) open() {
	select {
	case <-g:
	default:
		close(g)
	}
}

// fail is a call that fails.
func fail(kind error) func(context.Context, messages.Incarnation) error {
	return func(_ context.Context, p messages.Incarnation) error {
		return &messages.Error{Kind: kind, Op: "call runsc for", Process: p.Process, Err: messages.Text("as the test wants it")}
	}
}

// elapsed checks how long fn took in fake time.
func elapsed(t *testing.T, want time.Duration, fn func()) {
	t.Helper()
	began := time.Now()
	fn()
	if took := time.Since(began); took != want {
		t.Errorf("it took %v, want %v", took, want)
	}
}
