package load_test

import (
	"fmt"
	"testing"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/messages"
)

var (
	exec    = messages.Process{Container: "c", Exec: "e"}
	initial = messages.Init("c")
)

func added() messages.Event   { return messages.ExecAdded{Process: exec} }
func started() messages.Event { return messages.ExecStarted{Process: exec} }
func exited(status int) messages.Event {
	return messages.ProcessExited{Process: exec, Exit: messages.Exit{Status: status}}
}
func deleted() messages.Event    { return messages.ProcessDeleted{Process: exec} }
func created() messages.Event    { return messages.ContainerCreated{Container: "c"} }
func running() messages.Event    { return messages.ContainerStarted{Container: "c"} }
func initExited() messages.Event { return messages.ProcessExited{Process: initial} }
func initDeleted() messages.Event {
	return messages.ProcessDeleted{Process: initial}
}

// settled is what a client says in the middle of events.
type settled load.Outcome

func TestChecker(t *testing.T) {
	ok := settled{Exited: true, Status: 7}
	for _, test := range []struct {
		name  string
		steps []any
		// rules that are broken, each once.
		rules []string
	}{
		{"in order", []any{added(), started(), exited(7), ok, deleted()}, nil},
		{"events are behind the answers", []any{ok, added(), started(), exited(7), deleted()}, nil},
		{"never started", []any{added(), settled{NeverStarted: true}, deleted()}, nil},
		{"the client does not know, it ran", []any{added(), started(), settled{}, exited(137), deleted()}, nil},
		{"the client does not know, it did not run", []any{added(), settled{}, deleted()}, nil},
		{"the client does not know, nothing is told", []any{added(), settled{}}, nil},
		{"a container's life", []any{created(), running(), added(), started(), exited(7), ok, initExited(), initDeleted()}, nil},
		{"a container that never started", []any{created(), initExited(), initDeleted()}, nil},

		// containerd#882, gVisor's shim: an exit before the start that it ends.
		{"exit before start", []any{added(), exited(7), started(), ok}, []string{load.RuleStartBefore}},
		// containerd#10589: an exit that is dropped.
		{"no exit", []any{added(), started(), ok}, []string{load.RuleHasExit}},
		{"no exit, and the client does not know", []any{added(), started(), settled{}}, []string{load.RuleHasExit}},
		{"no start", []any{added(), exited(7), ok}, []string{load.RuleStartBefore}},
		{"no added", []any{started(), exited(7)}, []string{load.RuleAddedFirst, load.RuleOneExit}},
		{"never told that it was added", []any{ok}, []string{load.RuleAddedFirst}},
		{"added twice", []any{added(), added(), started(), exited(7), ok}, []string{load.RuleAddedFirst}},
		{"added late", []any{ok, started(), added(), exited(7)}, []string{load.RuleAddedFirst}},
		{"two starts", []any{added(), started(), started(), exited(7), ok}, []string{load.RuleOneStart}},
		// containerd#4769: a second exit.
		{"two exits", []any{added(), started(), exited(7), exited(137), ok}, []string{load.RuleOneExit}},
		{"an exit when all is done", []any{added(), started(), exited(7), ok, exited(7)}, []string{load.RuleOneExit}},
		{"an exit of what never started", []any{added(), exited(255), settled{NeverStarted: true}}, []string{load.RuleNoExit}},
		{"another status", []any{added(), started(), exited(8), ok}, []string{load.RuleSameExit}},
		{"deleted before the exit", []any{added(), started(), deleted(), exited(7), ok}, []string{load.RuleDeleteAtEnd}},
		// containerd#9719: an exec's exit after its init's.
		{"init is not the last", []any{created(), running(), added(), started(), initExited(), exited(7), ok, initDeleted()}, []string{load.RuleInitLast}},
		{"init exits twice", []any{created(), running(), initExited(), initExited(), initDeleted()}, []string{load.RuleOneExit}},
		{"init never exits", []any{created(), running()}, []string{load.RuleHasExit}},
		{"a container out of order", []any{running(), created(), initExited(), initDeleted()}, []string{load.RuleContainer, load.RuleContainer}},
		{"lost", []any{messages.EventsDropped{Count: 3}}, []string{load.RuleEventsArrive}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := load.NewChecker()
			for _, step := range test.steps {
				switch s := step.(type) {
				case messages.Event:
					c.Saw(s)
				case settled:
					c.Settled(exec, load.Outcome(s))
				}
			}
			v := c.End()
			want := map[string]uint64{}
			for _, rule := range test.rules {
				want[rule]++
			}
			if fmt.Sprint(v.ByRule) != fmt.Sprint(want) || int(v.Count) != len(test.rules) || len(v.Texts) != len(test.rules) {
				t.Errorf("violations %v %q, want %v", v.ByRule, v.Texts, want)
			}
			if again := c.Pending(); len(test.rules) == 0 && again != 0 {
				t.Errorf("%d are pending at the end", again)
			}
		})
	}
}

// What is done with is forgotten: a soak has millions of execs.
func TestCheckerForgets(t *testing.T) {
	c := load.NewChecker()
	for i := range 1000 {
		p := messages.Process{Container: "c", Exec: messages.ExecID(fmt.Sprint(i))}
		c.Saw(messages.ExecAdded{Process: p})
		if c.Pending() != 0 && i == 0 {
			t.Fatal("an exec of which nothing need come is pending")
		}
		c.Saw(messages.ExecStarted{Process: p})
		if c.Pending() != 1 {
			t.Fatalf("%d are pending, want the one that runs", c.Pending())
		}
		c.Saw(messages.ProcessExited{Process: p})
		c.Settled(p, load.Outcome{Exited: true})
	}
	if c.Pending() != 0 {
		t.Errorf("%d are pending", c.Pending())
	}
	if _, execs := c.Counts(); execs != 1000 {
		t.Errorf("%d execs were seen, want 1000", execs)
	}
}

// More than can be told are still counted.
func TestCheckerCounts(t *testing.T) {
	c := load.NewChecker()
	for range 500 {
		c.Violate(load.RuleStatus, "something")
	}
	if v := c.End(); v.Count != 500 || v.ByRule[load.RuleStatus] != 500 || len(v.Texts) != 50 {
		t.Errorf("counted %d and told %d", v.Count, len(v.Texts))
	}
}
