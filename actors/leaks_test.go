package actors_test

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// settle waits, for a bounded time, until there are no more goroutines than
// there were, and returns how many there are.
func settle(want int) (now int) {
	for range 500 {
		if now = runtime.NumGoroutine(); now <= want {
			return now
		}
		time.Sleep(10 * time.Millisecond)
	}
	return now
}

// realBed is a bed in real time, for what a bubble would hide: the bubble's own
// goroutines are not those of a program.
func realBed(t *testing.T, o actors.Options) *bed {
	t.Helper()
	o.Driver = fake.New()
	b := newBed(t, o)
	t.Cleanup(func() { _ = b.rt.Shutdown(context.Background()) })
	return b
}

// containerd#11160, containerd#11885: goroutines and descriptors that each exec
// left behind. The memory is that of the runtime's own maps and lists.
func TestAThousandExecsLeaveNothing(t *testing.T) {
	b := realBed(t, actors.Options{})
	b.sub.Close() // nobody keeps the events
	cycle := func(n int) {
		for range n {
			b.execs("exit 3", "c/e")
			if got := ask(b, waitOf("c/e")).Exit.Status; got != 3 {
				t.Fatalf("status %d, want 3", got)
			}
			ask(b, deleteOf("c/e"))
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapObjects
	}
	b.runs("c")
	cycle(100)
	goroutines, objects := runtime.NumGoroutine(), heap()
	cycle(1000)
	if now := settle(goroutines); now > goroutines {
		t.Errorf("%d goroutines after 1,000 execs, %d before", now, goroutines)
	}
	// The fake driver keeps a line for each call: three an exec, and the list.
	if now := heap(); now > objects+4000 {
		t.Errorf("%d objects on the heap after 1,000 execs, %d before", now, objects)
	}
	if n := len(b.driver.Held()); n != 1 {
		t.Errorf("the driver holds %v, want the container only", b.driver.Held())
	}
}

// containerd#6860, containerd#11708, containerd#11871, gvisor#13509,
// gvisor#14427: a create that failed left a shim.
func TestContainersThatFailLeaveNothing(t *testing.T) {
	b := realBed(t, actors.Options{})
	goroutines := runtime.NumGoroutine()
	for range 100 {
		b.driver.Before(on("create", "", fail(messages.Internal)))
		refused(b, createOf("c"), messages.Internal)
		b.driver.Before(on("start", "", fail(messages.Internal)))
		ask(b, createOf("c"))
		refused(b, startOf("c"), messages.Internal)
		ask(b, waitOf("c"))
		ask(b, deleteOf("c"))
		b.driver.Before(nil)
		b.runs("c")
		ask(b, execOf("c/e", "no-such-command"))
		refused(b, startOf("c/e"), messages.NotFound)
		ask(b, killOf("c", syscall.SIGKILL))
		ask(b, waitOf("c"))
		ask(b, deleteOf("c"))
	}
	if now := settle(goroutines); now > goroutines {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	if held := b.driver.Held(); len(held) > 0 {
		t.Errorf("the driver holds %v", held)
	}
	checkOrders(t, b.told(), false)
}

func TestARuntimeThatHasEndedLeavesNothing(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	for range 20 {
		b := newBed(t, actors.Options{Driver: fake.New()})
		b.runs("c")
		b.execs("sleep inf", "c/e")
		if err := b.rt.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if now := settle(goroutines); now > goroutines {
		t.Errorf("%d goroutines after 20 runtimes, %d before", now, goroutines)
	}
}
