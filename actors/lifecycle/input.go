package lifecycle

import (
	"log/slog"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// Asker is whoever waits for a reply. The machines keep it and hand it back;
// they never look into it. It must be comparable. Nil asks for no reply.
type Asker any

// Op numbers one call to the driver. It is unique in its machine, so that an
// answer that comes late or twice is known by its number.
type Op uint64

// Input is something that happens to a machine.
type Input interface{ input() }

type (
	// Command is a request of an asker.
	Command struct {
		Asker Asker
		Cmd   messages.AnyCommand
		// Number is the incarnation that Create and Exec make.
		Number uint64
		// Paused is set by a container that is paused, for its execs' State.
		Paused bool
	}

	// Abandon tells that the asker of a command for Process no longer waits.
	Abandon struct {
		Asker   Asker
		Process messages.Process
	}

	// Answer is the outcome of a [Call].
	Answer struct {
		Op    Op
		PIDs  messages.PIDs
		Usage messages.Usage
		Err   error
		// Overdue: the call has not returned by its deadline. Another Answer
		// comes when it does.
		Overdue bool
	}

	// Exit tells that the process is gone.
	Exit struct{ Exit messages.Exit }

	// OOM tells that the kernel killed for want of memory.
	OOM struct{}

	// Doom tells a process that it has to end, and why: what runs is killed,
	// what is starting is given up. A container is deleted afterwards too.
	Doom struct{ Reason string }

	// Expire tells a doomed process that its exit was not seen in time.
	Expire struct{ At time.Time }

	// Drop tells a process that is not running to release what it holds.
	Drop struct{}

	// Drained tells an init whose exit is known that its execs are gone.
	Drained struct{}

	// Crash tells a machine that its actor panicked, and over which input, if
	// it was its own.
	Crash struct {
		Reason string
		Input  Input
	}

	// DrainExpired tells a container that its execs took too long to end.
	DrainExpired struct{ At time.Time }
)

// LogValue names the command: what is in it may be secret.
func (c Command) LogValue() slog.Value {
	return slog.StringValue(c.Cmd.Verb() + " " + c.Cmd.Target().String())
}

func (Command) input()      {}
func (Abandon) input()      {}
func (Answer) input()       {}
func (Exit) input()         {}
func (OOM) input()          {}
func (Doom) input()         {}
func (Expire) input()       {}
func (Drop) input()         {}
func (Drained) input()      {}
func (Crash) input()        {}
func (DrainExpired) input() {}

// Notices from a child to its parent. They are effects of the child's machine
// and inputs of the parent's.
type (
	// Started tells that a process runs.
	Started struct {
		Process messages.Incarnation
		PIDs    messages.PIDs
	}
	// Failed tells that a process could not be started, and holds nothing.
	Failed struct{ Process messages.Incarnation }
	// Gone tells that an init's exit is known, and is told after Drained.
	Gone struct{ Process messages.Incarnation }
	// Exited tells that a process's exit has been published.
	Exited struct {
		Process messages.Incarnation
		Exit    *messages.Exit
	}
	// Deleted tells that a process is released. Its id becomes free with this
	// notice, so the replies that say so go out after it.
	Deleted struct {
		Process messages.Incarnation
		Replies []Reply
	}
	// Crashed tells that a child's actor panicked: the parent kills the
	// process that stands behind it.
	Crashed struct{ Process messages.Incarnation }
	// Lost tells that a child's actor is no more, and can not tell its exit.
	Lost struct {
		Process messages.Incarnation
		At      time.Time
	}
	// Made tells that a container has been created.
	Made struct{ Process messages.Incarnation }
	// Unresponsive tells that the sandbox did not answer in time.
	Unresponsive struct{ Process messages.Incarnation }
	// Changed tells the directory of a sandbox's health.
	Changed struct {
		Sandbox messages.SandboxID
		Health  messages.Health
	}
)

func (Started) input()      {}
func (Failed) input()       {}
func (Gone) input()         {}
func (Exited) input()       {}
func (Deleted) input()      {}
func (Crashed) input()      {}
func (Lost) input()         {}
func (Made) input()         {}
func (Unresponsive) input() {}
func (Changed) input()      {}

func (Started) effect()      {}
func (Failed) effect()       {}
func (Gone) effect()         {}
func (Exited) effect()       {}
func (Deleted) effect()      {}
func (Crashed) effect()      {}
func (Lost) effect()         {}
func (Made) effect()         {}
func (Unresponsive) effect() {}
func (Changed) effect()      {}
