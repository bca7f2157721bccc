package lifecycle

import (
	"syscall"

	"github.com/troupe-run/troupe/messages"
)

// Effect is something to do, in the order of the list that Step returned.
// A notice of input.go is an effect too: it goes to the parent.
type Effect interface{ effect() }

type (
	// Reply answers an asker, with a reply or an error.
	Reply struct {
		To    Asker
		Reply messages.Reply
		Err   error
	}

	// Publish hands an event to the publisher.
	Publish struct{ Event messages.Event }

	// Call calls the driver. Its [Answer] has the same Op.
	Call struct {
		Op     Op
		Target messages.Incarnation
		Do     Do
	}

	// Discard kills and deletes an incarnation that came too late to be told
	// to anybody. There is no answer.
	Discard struct{ Target messages.Incarnation }

	// KillChild kills a child whose actor panicked. There is no answer: its
	// exit is told by the driver.
	KillChild struct{ Target messages.Incarnation }

	// SpawnExec makes the actor of an exec.
	SpawnExec struct{ Exec Process }

	// SpawnContainer makes the actor of a container, and hands it the Create.
	SpawnContainer struct {
		Container Container
		Create    Command
	}

	// SpawnSandbox makes the actor of a sandbox.
	SpawnSandbox struct{ Sandbox Sandbox }

	// Forward hands a command or another input to the child of that id.
	Forward struct {
		To string
		In Input
	}

	// Pass hands the command of this very step to the child that the command
	// targets. It is Forward for the path that most commands take, and needs no
	// memory of its own.
	Pass struct{}

	// Retire lets the actor of a child end: the child has told that it is
	// Deleted, or it is lost, and nothing more is forwarded to it.
	Retire struct{ Child string }

	// SetDrainTimer asks for a [DrainExpired] after the drain time-out.
	SetDrainTimer struct{}
)

func (Reply) effect()          {}
func (Publish) effect()        {}
func (Call) effect()           {}
func (Discard) effect()        {}
func (KillChild) effect()      {}
func (SpawnExec) effect()      {}
func (SpawnContainer) effect() {}
func (SpawnSandbox) effect()   {}
func (Forward) effect()        {}
func (Pass) effect()           {}
func (Retire) effect()         {}
func (SetDrainTimer) effect()  {}

// Do says which call to the driver is meant. The set is closed.
type Do interface {
	do()
	// Verb is the call's name in errors: "start".
	Verb() string
}

type (
	DoCreate struct{ Create messages.Create }
	DoStart  struct{}
	DoExec   struct{ Launch messages.Launch }
	DoKill   struct {
		Signal syscall.Signal
		All    bool
	}
	DoKillSandbox struct{}
	DoResize      struct{ Size messages.WindowSize }
	DoCloseIO     struct{}
	DoDelete      struct{}
	DoPause       struct{}
	DoResume      struct{}
	DoUpdate      struct{ Resources *messages.Resources }
	DoCheckpoint  struct{ Checkpoint messages.Checkpoint }
	DoStats       struct{}
)

func (DoCreate) do()      {}
func (DoStart) do()       {}
func (DoExec) do()        {}
func (DoKill) do()        {}
func (DoKillSandbox) do() {}
func (DoResize) do()      {}
func (DoCloseIO) do()     {}
func (DoDelete) do()      {}
func (DoPause) do()       {}
func (DoResume) do()      {}
func (DoUpdate) do()      {}
func (DoCheckpoint) do()  {}
func (DoStats) do()       {}

func (DoCreate) Verb() string      { return "create" }
func (DoStart) Verb() string       { return "start" }
func (DoExec) Verb() string        { return "start exec" }
func (DoKill) Verb() string        { return "kill" }
func (DoKillSandbox) Verb() string { return "kill the sandbox of" }
func (DoResize) Verb() string      { return "resize" }
func (DoCloseIO) Verb() string     { return "close stdin of" }
func (DoDelete) Verb() string      { return "delete" }
func (DoPause) Verb() string       { return "pause" }
func (DoResume) Verb() string      { return "resume" }
func (DoUpdate) Verb() string      { return "update" }
func (DoCheckpoint) Verb() string  { return "checkpoint" }
func (DoStats) Verb() string       { return "read stats of" }
