package load

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/troupe-run/troupe/messages"
)

// keptViolations are told in full; the rest is only counted.
const keptViolations = 50

// Checker finds events that are out of order, missing, doubled, or not what the
// commands were answered. It is told of events by Saw, in the order in which
// the target tells them, and of what a client learned by Settled.
type Checker struct {
	mu         sync.Mutex
	execs      map[messages.Process]*execLog
	containers map[messages.ContainerID]*containerLog
	violations Violations
	events     uint64
	execsSeen  uint64
}

// Violations are what did not hold.
type Violations struct {
	Count uint64 `json:"count"`
	// ByRule counts them by the rule that they break.
	ByRule map[string]uint64 `json:"by_rule,omitempty"`
	// Texts are the first of them.
	Texts []string `json:"texts,omitempty"`
}

// The rules, as named in [Violations].
const (
	RuleAddedFirst    = "an exec's first event is that it was added"
	RuleStartBefore   = "an exec's start is told before its exit"
	RuleOneStart      = "an exec starts once"
	RuleOneExit       = "a process exits once"
	RuleHasExit       = "every started process has an exit"
	RuleNoExit        = "a process that never started has no exit"
	RuleStatus        = "the status is what the command gives"
	RuleSameExit      = "wait and event tell the same exit"
	RuleInitLast      = "init's exit is its container's last event but delete"
	RuleContainer     = "a container is created, started, exits, is deleted"
	RuleOutput        = "the output is whole"
	RuleEventsArrive  = "no event is lost"
	RuleDeleteAtEnd   = "a process is deleted after its exit"
	RuleNothingIsLeft = "nothing is left at the end"
)

type execLog struct {
	added, started, exited, deleted bool
	status                          int
	// settled: the client is done with it. It may be so before the events are
	// seen, which come on another way.
	settled bool
	outcome Outcome
}

// containerLog counts the four steps.
type containerLog struct{ step int }

// Outcome is what a client learned of an exec before it let go of it.
type Outcome struct {
	// Exited: wait was answered by an exit, with Status.
	Exited bool
	Status int
	// NeverStarted: it was deleted without having been started. With neither,
	// the client does not know.
	NeverStarted bool
}

// NewChecker has seen nothing yet.
func NewChecker() *Checker {
	return &Checker{execs: map[messages.Process]*execLog{}, containers: map[messages.ContainerID]*containerLog{}}
}

// Violate counts a violation that was found elsewhere.
func (c *Checker) Violate(rule, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violate(rule, format, args...)
}

func (c *Checker) violate(rule, format string, args ...any) {
	v := &c.violations
	v.Count++
	if v.ByRule == nil {
		v.ByRule = map[string]uint64{}
	}
	v.ByRule[rule]++
	if len(v.Texts) < keptViolations {
		v.Texts = append(v.Texts, fmt.Sprintf(format, args...))
	}
}

// Saw takes the next event.
func (c *Checker) Saw(e messages.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events++
	if dropped, ok := e.(messages.EventsDropped); ok {
		c.violate(RuleEventsArrive, "%d events were lost on the way", dropped.Count)
		return
	}
	if p := e.Subject(); p.IsInit() {
		c.sawInit(p.Container, e)
	} else {
		c.sawExec(p, e)
	}
}

func (c *Checker) sawInit(id messages.ContainerID, e messages.Event) {
	var step int
	switch e.(type) {
	case messages.ContainerCreated:
		step = 1
	case messages.ContainerStarted:
		step = 2
	case messages.ProcessExited:
		step = 3
	case messages.ProcessDeleted:
		step = 4
	default:
		return
	}
	l := c.container(id)
	switch {
	case step == 3 && l.step >= 3:
		c.violate(RuleOneExit, "%s: init exits a second time", id)
	case step != l.step+1:
		// A created container may be killed and deleted without a start.
		if l.step == 1 && step == 3 {
			break
		}
		c.violate(RuleContainer, "%s: %s comes after %d of the container's four steps", id, eventName(e), l.step)
	}
	l.step = max(l.step, step)
}

func (c *Checker) container(id messages.ContainerID) *containerLog {
	l := c.containers[id]
	if l == nil {
		l = &containerLog{}
		c.containers[id] = l
	}
	return l
}

func (c *Checker) sawExec(p messages.Process, e messages.Event) {
	if _, deleted := e.(messages.ProcessDeleted); !deleted && c.container(p.Container).step >= 3 {
		c.violate(RuleInitLast, "%s: %s after init's exit", p, eventName(e))
	}
	l := c.execs[p]
	if l == nil {
		if _, added := e.(messages.ExecAdded); !added {
			c.sawUnknown(p, e)
			return
		}
		l = c.exec(p)
	}
	switch e := e.(type) {
	case messages.ExecAdded:
		switch {
		case l.added:
			c.violate(RuleAddedFirst, "%s: added a second time", p)
		case l.started || l.exited:
			c.violate(RuleAddedFirst, "%s: added after its start or exit", p)
		}
		l.added = true
	case messages.ExecStarted:
		switch {
		case l.started:
			c.violate(RuleOneStart, "%s: started a second time", p)
		case l.exited:
			c.violate(RuleStartBefore, "%s: its start is told after its exit", p)
		}
		l.started = true
	case messages.ProcessExited:
		if l.exited {
			c.violate(RuleOneExit, "%s: exits a second time, with status %d after %d", p, e.Exit.Status, l.status)
			break
		}
		l.exited, l.status = true, e.Exit.Status
	case messages.ProcessDeleted:
		if l.started && !l.exited {
			c.violate(RuleDeleteAtEnd, "%s: deleted before its exit is told", p)
		}
		l.deleted = true
	}
	c.finish(p, l)
}

// sawUnknown is about an exec that was never added, or is done with.
func (c *Checker) sawUnknown(p messages.Process, e messages.Event) {
	switch e.(type) {
	case messages.ProcessExited:
		c.violate(RuleOneExit, "%s: an exit of a process that was never added, or had its exit", p)
	case messages.ExecStarted:
		c.violate(RuleAddedFirst, "%s: a start of a process that was never added, or had its exit", p)
	}
}

// Settled tells what a client learned of an exec, when it is done with it.
func (c *Checker) Settled(p messages.Process, o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.execs[p]
	if l == nil {
		l = c.exec(p)
	}
	l.settled, l.outcome = true, o
	c.finish(p, l)
}

func (c *Checker) exec(p messages.Process) *execLog {
	l := &execLog{}
	c.execs[p] = l
	c.execsSeen++
	return l
}

// finish forgets an exec of which all is known.
func (c *Checker) finish(p messages.Process, l *execLog) {
	if !l.settled || !l.added {
		return
	}
	switch {
	case l.outcome.NeverStarted:
		if l.exited {
			c.violate(RuleNoExit, "%s: an exit with status %d, and it was deleted without having been started", p, l.status)
		}
	case l.outcome.Exited:
		if !l.started || !l.exited {
			return // on its way
		}
		if l.status != l.outcome.Status {
			c.violate(RuleSameExit, "%s: wait told status %d, the event %d", p, l.outcome.Status, l.status)
		}
	default:
		if !l.deleted && !(l.started && l.exited) {
			return // it may have been started or not
		}
	}
	delete(c.execs, p)
}

// Pending is how many execs and containers wait for events that must still
// come.
func (c *Checker) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, l := range c.execs {
		// Of one that nobody knows more about, nothing need come.
		if !l.added || l.outcome.Exited || l.started != l.exited {
			n++
		}
	}
	for _, l := range c.containers {
		if l.step == 1 || l.step == 2 {
			n++
		}
	}
	return n
}

// Counts are how many events and execs were seen.
func (c *Checker) Counts() (events, execs uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events, c.execsSeen
}

// Violations are what was found so far.
func (c *Checker) Violations() Violations {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.violations
	v.Texts = slices.Clone(v.Texts)
	byRule := make(map[string]uint64, len(v.ByRule))
	for rule, n := range v.ByRule {
		byRule[rule] = n
	}
	v.ByRule = byRule
	return v
}

// End is called when no event can come any more: what is still missing is a
// violation.
func (c *Checker) End() Violations {
	c.mu.Lock()
	for p, l := range c.execs {
		switch {
		case !l.added:
			c.violate(RuleAddedFirst, "%s: that it was added was never told", p)
		case l.outcome.Exited && !l.exited:
			c.violate(RuleHasExit, "%s: wait told its exit, no event ever did", p)
		case l.outcome.Exited && !l.started:
			c.violate(RuleStartBefore, "%s: its start was never told", p)
		case l.started && !l.exited:
			c.violate(RuleHasExit, "%s: started, and its exit was never told", p)
		}
	}
	for id, l := range c.containers {
		if l.step == 1 || l.step == 2 {
			c.violate(RuleHasExit, "%s: init's exit was never told", id)
		}
	}
	clear(c.execs)
	c.mu.Unlock()
	return c.Violations()
}

func eventName(e messages.Event) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", e), "messages.")
}
