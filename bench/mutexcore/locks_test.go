package mutexcore_test

import (
	"context"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/bench/mutexcore"
	"github.com/troupe-run/troupe/messages"
)

// The baseline holds a process's lock over calls to the driver, as the shims
// that it stands for (containerd#2438, gvisor#14405): State of that process
// waits for them, and that of another does not. A baseline that did not would
// not be one.
func TestStateWaitsForTheCallsOfItsOwnProcessOnly(t *testing.T) {
	ctx := context.Background()
	driver := fake.New()
	c := mutexcore.New(driver)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	defer func() { must(c.Shutdown(ctx)) }()
	_, err := c.Create(ctx, messages.Create{Container: "c", Bundle: "/none"})
	must(err)
	_, err = c.Start(ctx, messages.Start{Process: messages.Init("c")})
	must(err)
	one, other := messages.Process{Container: "c", Exec: "one"}, messages.Process{Container: "c", Exec: "other"}
	for _, p := range []messages.Process{one, other} {
		x := messages.Exec{Process: p}
		x.Spec.Args, x.Spec.Cwd = []string{"sleep", "inf"}, "/"
		_, err = c.Exec(ctx, x)
		must(err)
		_, err = c.Start(ctx, messages.Start{Process: p})
		must(err)
	}

	hangs, release := make(chan struct{}), make(chan struct{})
	driver.Before(func(_ context.Context, call string, p messages.Incarnation) error {
		if call == "kill" && p.Process == one {
			close(hangs)
			<-release
		}
		return nil
	})
	killed, answered := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := c.Kill(ctx, messages.Kill{Process: one, Signal: syscall.SIGURG})
		killed <- err
	}()
	<-hangs
	go func() {
		_, err := c.State(ctx, messages.State{Process: one})
		answered <- err
	}()
	for !waitsForALock("(*execProcess).state") && len(answered) == 0 {
		runtime.Gosched()
	}
	if len(answered) > 0 {
		t.Error("State was answered while a call of the same process hung")
	}
	for _, p := range []messages.Process{other, messages.Init("c")} {
		s, err := c.State(ctx, messages.State{Process: p})
		if err != nil || s.Status != messages.StatusRunning {
			t.Errorf("%s is %q, %v", p, s.Status, err)
		}
	}
	close(release)
	must(<-answered)
	must(<-killed)
	driver.Before(nil)
}

// waitsForALock tells whether a goroutine waits for a mutex in a function.
func waitsForALock(function string) bool {
	b := make([]byte, 1<<20)
	for _, g := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
		header, _, _ := strings.Cut(g, "\n")
		if strings.Contains(header, "[sync.Mutex.Lock") && strings.Contains(g, function) {
			return true
		}
	}
	return false
}
