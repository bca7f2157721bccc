package lifecycle

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"

	"github.com/troupe-run/troupe/messages"
)

// play runs a directive of a story about the whole tree: all mail is read at
// once and in order, and what the world outside sees of it is written down.
// Calls to the driver have one numbering, and are not answered before the story
// says so.
func (s *script) play(td *datadriven.TestData) string {
	w := s.tree
	w.story = new([]string)
	switch td.Cmd {
	case "ok", "fail", "late":
		n := atoi(td, td.CmdArgs[0].Key)
		if n < 1 || n > len(w.called) {
			td.Fatalf(s.t, "there is no call %d", n)
		}
		f := w.called[n-1]
		a := Answer{PIDs: pidsOf(td)}
		if td.Cmd != "ok" {
			a = s.failure(td)
		}
		a.Op = f.call.Op
		if a.Overdue {
			w.send(f.from, a)
		} else {
			w.send(f.from, toReturned{a})
		}
	case "exit":
		w.send(w.reaper, messages.ExitNotice{Process: s.latest(td), Exit: exitOf(td)})
	case "oom":
		w.send(w.reaper, messages.OOMNotice{Process: s.latest(td)})
	case "crash":
		// The actor panics over what it reads next.
		for _, n := range w.nodes {
			if n.self == s.latest(td) {
				n.panics = 1
			}
		}
	case "drain-timeout":
		w.expire()
	case "gives-up":
		w.send(w.dir, Abandon{Asker: td.CmdArgs[0].Key, Process: s.process(td, 1)})
	default:
		w.send(w.dir, s.command(td))
	}
	for busy := w.busy(); len(busy) > 0; busy = w.busy() {
		w.deliver(busy[0])
	}
	if len(*w.story) == 0 {
		return "nothing"
	}
	return strings.Join(*w.story, "\n")
}

// latest is the incarnation that a process has now.
func (s *script) latest(td *datadriven.TestData) messages.Incarnation {
	p := s.process(td, 0)
	l, ok := s.tree.orders.lives[p]
	if !ok {
		td.Fatalf(s.t, "there is no %s", p)
	}
	return l.id
}

// tell adds to the story of a script what the world outside the machines sees.
func (w *world) tell(e Effect) {
	switch e := e.(type) {
	case Reply, Publish, Discard, KillChild, SetDrainTimer:
		*w.story = append(*w.story, effectText(e))
	case Call:
		*w.story = append(*w.story, fmt.Sprintf("call %d: %s", len(w.called), doText(e.Target, e.Do)))
	}
}
