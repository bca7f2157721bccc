package play

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// eventTimeout bounds the wait for an event that a reply has told of. The
// runtime publishes an event before it replies, so it is a matter of
// microseconds; one that is still missing then is missing.
const eventTimeout = 5 * time.Second

// mark names an event without what differs from run to run.
type mark struct {
	topic   string
	process messages.Process
}

func (m mark) String() string { return m.topic + " " + m.process.String() }

// watch collects the events of a runtime while a script runs. The list of them
// belongs to one goroutine; what is expected belongs to the script's.
type watch struct {
	takes chan taking
	done  chan struct{}
	// expected counts the events that replies have told of.
	expected map[mark]int
}

// taking asks for the events since the last one, once the missing ones have
// arrived.
type taking struct {
	expected map[mark]int
	events   chan<- []messages.Event
}

func newWatch(events <-chan messages.Event) *watch {
	w := &watch{takes: make(chan taking), done: make(chan struct{}), expected: map[mark]int{}}
	go w.keep(events)
	return w
}

func (w *watch) keep(events <-chan messages.Event) {
	var collected []messages.Event
	seen := map[mark]int{}
	var waiting *taking
	for {
		select {
		case e, open := <-events:
			if !open {
				events = nil
				break
			}
			collected = append(collected, e)
			seen[markOf(e)]++
		case t := <-w.takes:
			waiting = &t
		case <-w.done:
			return
		}
		if waiting != nil && (events == nil || complete(seen, waiting.expected)) {
			waiting.events <- collected
			collected, waiting = nil, nil
		}
	}
}

func complete(seen, expected map[mark]int) bool {
	for m, n := range expected {
		if seen[m] < n {
			return false
		}
	}
	return true
}

// expect notes that an event was told of. It is called by the script's
// goroutine.
func (w *watch) expect(m mark) { w.expected[m]++ }

// take returns the events since the last take. Where one that was told of does
// not arrive, it is an error that names it.
func (w *watch) take(ctx context.Context) ([]messages.Event, error) {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	// A copy: this goroutine changes its own while the other reads.
	expected := make(map[mark]int, len(w.expected))
	for m, n := range w.expected {
		expected[m] = n
	}
	events := make(chan []messages.Event, 1)
	w.takes <- taking{expected, events}
	select {
	case list := <-events:
		return list, nil
	case <-ctx.Done():
	}
	// Nothing is expected this time: it answers with what there is.
	w.takes <- taking{nil, events}
	list := <-events
	return list, &messages.Error{
		Kind: messages.DeadlineExceeded,
		Op:   "collect events",
		Err:  fmt.Errorf("an event that a reply told of was not published in %s", eventTimeout),
	}
}

// close ends the collecting; it is called once.
func (w *watch) close() { close(w.done) }

// markOf is the mark of an event.
func markOf(e messages.Event) mark {
	topic := ""
	switch e.(type) {
	case messages.ContainerCreated:
		topic = "TaskCreate"
	case messages.ContainerStarted:
		topic = "TaskStart"
	case messages.ExecAdded:
		topic = "TaskExecAdded"
	case messages.ExecStarted:
		topic = "TaskExecStarted"
	case messages.ProcessExited:
		topic = "TaskExit"
	case messages.ContainerOOM:
		topic = "TaskOOM"
	case messages.ContainerPaused:
		topic = "TaskPaused"
	case messages.ContainerResumed:
		topic = "TaskResumed"
	case messages.ContainerCheckpointed:
		topic = "TaskCheckpointed"
	case messages.ProcessDeleted:
		topic = "TaskDelete"
	}
	return mark{topic, e.Subject()}
}

// render prints events, one a line.
func render(events []messages.Event) string {
	var b strings.Builder
	for _, e := range events {
		switch e := e.(type) {
		case messages.ProcessExited:
			fmt.Fprintf(&b, "%s status=%d\n", markOf(e), e.Exit.Status)
		case messages.EventsDropped:
			fmt.Fprintf(&b, "(%d events dropped)\n", e.Count)
		default:
			fmt.Fprintf(&b, "%s\n", markOf(e))
		}
	}
	return b.String()
}
