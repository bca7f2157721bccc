package actors_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// containerd#2709, containerd#3529, moby#40145: a subscriber that did not read
// stalled the reaper, and with it every exit.
func TestAStalledSubscriberDelaysNobodyAndIsToldWhatItLost(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		stalled := b.rt.Subscribe(4)
		b.runs("c")
		elapsed(t, 0, func() {
			for range 100 {
				b.execs("true", "c/e")
				ask(b, waitOf("c/e"))
				ask(b, deleteOf("c/e"))
			}
		})
		all := b.told()

		var got []messages.Event
		for len(stalled.Events()) > 0 {
			got = append(got, <-stalled.Events())
		}
		ask(b, createOf("d")) // it reads again, and is told in the place of what is missing
		if err := stalled.Sync(b.soon(time.Second)); err != nil {
			t.Fatal(err)
		}
		for len(stalled.Events()) > 0 {
			got = append(got, <-stalled.Events())
		}
		missed := 0
		for _, e := range got {
			if d, ok := e.(messages.EventsDropped); ok {
				missed += int(d.Count)
			}
		}
		if want := len(all); missed == 0 || len(got)-2+missed != want {
			t.Errorf("%d events and %d missed, of %d", len(got)-2, missed, want)
		}
		if _, ok := got[len(got)-2].(messages.EventsDropped); !ok || got[len(got)-1].Subject() != process("d") {
			t.Errorf("the last two are %v, want EventsDropped and ContainerCreated", got[len(got)-2:])
		}
	})
}

// A loss at the end of the stream is told too.
func TestALossBeforeTheEndOfASubscriptionIsTold(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		sub := b.rt.Subscribe(1)
		b.runs("c") // two events
		sub.Close()
		var got []messages.Event
		for e := range sub.Events() {
			got = append(got, e)
		}
		if len(got) != 2 || got[1] != (messages.EventsDropped{Count: 1}) {
			t.Errorf("the events are %v, want ContainerCreated and EventsDropped of 1", got)
		}
	})
}

// With the library's event stream, two subscribers can see two orders.
func TestEverySubscriberSeesTheSameOrder(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		subs := []*actors.Subscription{b.rt.Subscribe(1 << 16), b.rt.Subscribe(1 << 16), b.rt.Subscribe(1 << 16)}
		b.runs("c", "d")
		var starts []<-chan outcome[messages.Started]
		for i := range 100 {
			name := fmt.Sprintf("%s/%d", []string{"c", "d"}[i%2], i)
			ask(b, execOf(name, "true"))
			starts = append(starts, later(b, startOf(name)))
		}
		for _, s := range starts {
			<-s
		}
		for _, name := range []string{"c", "d"} {
			ask(b, killOf(name, syscall.SIGKILL))
			ask(b, waitOf(name))
		}
		var want []string
		for _, e := range b.told() {
			want = append(want, describe(e))
		}
		for i, s := range subs {
			var got []string
			for len(s.Events()) > 0 {
				got = append(got, describe(<-s.Events()))
			}
			if !slices.Equal(got, want) {
				t.Errorf("subscriber %d sees another order", i)
			}
		}
	})
}

// An event is published before the command that caused it is answered.
func TestAnEventComesBeforeTheAnswer(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		count := func(want int, after string) {
			t.Helper()
			if got := len(b.told()); got != want {
				t.Errorf("%d events after %s, want %d", got, after, want)
			}
		}
		ask(b, createOf("c"))
		count(1, "create")
		ask(b, startOf("c"))
		count(2, "start")
		ask(b, execOf("c/e", "exit 1"))
		count(3, "exec")
		ask(b, startOf("c/e"))
		ask(b, waitOf("c/e"))
		count(5, "start and wait")
		ask(b, deleteOf("c/e"))
		count(6, "delete")
	})
}

// A subscription can be closed twice, and goes on to be readable.
func TestASubscriptionThatIsClosed(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		sub := b.rt.Subscribe(0)
		b.runs("c")
		sub.Close()
		sub.Close()
		n := 0
		for range sub.Events() {
			n++
		}
		if n != 2 {
			t.Errorf("%d events, want 2", n)
		}
	})
}
