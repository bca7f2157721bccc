package lifecycle

import (
	"fmt"

	"github.com/troupe-run/troupe/messages"
)

// Phase is where a machine stands in its life.
type Phase uint8

// Phases of a process.
const (
	// Creating: an init whose container is being created.
	Creating Phase = iota
	// Created: an exec that is registered, an init whose container exists.
	Created
	// Starting: the driver was asked to start it.
	Starting
	// Running: it was told to be started, and its exit is not known.
	Running
	// Draining: an init whose exit is known and not told yet, since execs live.
	Draining
	// Stopped: its exit has been told.
	Stopped
	// Broken: it could not be started and never will be.
	Broken
	// Deleting: the driver was asked to release it.
	Deleting
	// Released: it is no more.
	Released

	// Phases of a container beside its init's.

	// Open: execs can be added and started.
	Open
	// Pausing: the driver was asked to pause it.
	Pausing
	// Frozen: it is paused.
	Frozen
	// Resuming: the driver was asked to resume it.
	Resuming
	// Saving: the driver was asked to checkpoint it.
	Saving
	// Closing: its init is gone, and execs are being ended.
	Closing
	// Closed: its init's exit has been told.
	Closed
	// Clearing: it is being deleted, and its execs are being released.
	Clearing

	// Phases of a sandbox.

	// Empty: no container has been created.
	Empty
	// Making: its root container is being created.
	Making
	// Alive: its root container was created.
	Alive
	// Over: its root container's exit has been told.
	Over

	// Phases of the directory.

	// Serving: commands are taken.
	Serving
	// Leaving: Shutdown was asked for and containers are being ended.
	Leaving
	// Left: the runtime has ended.
	Left

	numPhases
)

var phaseNames = [numPhases]string{
	Creating: "Creating", Created: "Created", Starting: "Starting", Running: "Running",
	Draining: "Draining", Stopped: "Stopped", Broken: "Broken", Deleting: "Deleting",
	Released: "Released", Open: "Open", Pausing: "Pausing", Frozen: "Frozen",
	Resuming: "Resuming", Saving: "Saving", Closing: "Closing", Closed: "Closed",
	Clearing: "Clearing", Empty: "Empty", Making: "Making", Alive: "Alive", Over: "Over",
	Serving: "Serving", Leaving: "Leaving", Left: "Left",
}

func (p Phase) String() string { return phaseNames[p] }

// Kind is the kind of an input, as the tables name it.
type Kind uint8

const (
	cmdCreate Kind = iota
	cmdExec
	cmdStart
	cmdKill
	cmdResize
	cmdCloseIO
	cmdPause
	cmdResume
	cmdUpdate
	cmdCheckpoint
	cmdState
	cmdPids
	cmdStats
	cmdWait
	cmdDelete
	cmdConnect
	cmdInfo
	cmdShutdown
	toExecStart
	toExec
	toContainer

	onCreateOK
	onCreateFailed
	onStartOK
	onStartFailed
	onDeleteOK
	onDeleteFailed
	onCallOK
	onCallFailed
	onPauseOK
	onPauseFailed
	onResumeOK
	onResumeFailed
	onCheckpointOK
	onCheckpointFailed
	onLate

	onExit
	onOOM
	onAbandon
	onDoom
	onExpire
	onDrop
	onDrained
	onCrash
	onDrainExpired

	onStarted
	onFailed
	onExited
	onDeleted
	onCrashed
	onLost
	onMade
	onUnresponsive
	onChanged

	numKinds
)

var kindNames = [numKinds]string{
	cmdCreate: "Create", cmdExec: "Exec", cmdStart: "Start", cmdKill: "Kill", cmdResize: "Resize",
	cmdCloseIO: "CloseIO", cmdPause: "Pause", cmdResume: "Resume", cmdUpdate: "Update",
	cmdCheckpoint: "Checkpoint", cmdState: "State", cmdPids: "Pids", cmdStats: "Stats",
	cmdWait: "Wait", cmdDelete: "Delete", cmdConnect: "Connect", cmdInfo: "Info",
	cmdShutdown: "Shutdown", toExecStart: "Start of an exec", toExec: "other command for an exec",
	toContainer: "command for a container",

	onCreateOK: "create succeeded", onCreateFailed: "create failed",
	onStartOK: "start succeeded", onStartFailed: "start failed",
	onDeleteOK: "delete succeeded", onDeleteFailed: "delete failed",
	onCallOK: "other call succeeded", onCallFailed: "other call failed",
	onPauseOK: "pause succeeded", onPauseFailed: "pause failed",
	onResumeOK: "resume succeeded", onResumeFailed: "resume failed",
	onCheckpointOK: "checkpoint succeeded", onCheckpointFailed: "checkpoint failed",
	onLate: "late answer",

	onExit: "exit", onOOM: "out of memory", onAbandon: "asker gave up", onDoom: "doom",
	onExpire: "no exit in time", onDrop: "drop", onDrained: "execs are gone",
	onCrash: "own panic", onDrainExpired: "drain time-out",

	onStarted: "child started", onFailed: "child could not start", onExited: "child's exit told",
	onDeleted: "child released", onCrashed: "child panicked", onLost: "child lost",
	onMade: "container created", onUnresponsive: "sandbox does not answer", onChanged: "sandbox's health",
}

func (k Kind) String() string { return kindNames[k] }

// commandKind is the kind of a command.
func commandKind(c messages.AnyCommand) Kind {
	switch c.(type) {
	case messages.Create:
		return cmdCreate
	case messages.Exec:
		return cmdExec
	case messages.Start:
		return cmdStart
	case messages.Kill:
		return cmdKill
	case messages.Resize:
		return cmdResize
	case messages.CloseIO:
		return cmdCloseIO
	case messages.Pause:
		return cmdPause
	case messages.Resume:
		return cmdResume
	case messages.Update:
		return cmdUpdate
	case messages.Checkpoint:
		return cmdCheckpoint
	case messages.State:
		return cmdState
	case messages.Pids:
		return cmdPids
	case messages.Stats:
		return cmdStats
	case messages.Wait:
		return cmdWait
	case messages.Delete:
		return cmdDelete
	case messages.Connect:
		return cmdConnect
	case messages.Info:
		return cmdInfo
	case messages.Shutdown:
		return cmdShutdown
	}
	panic(fmt.Sprintf("lifecycle: no such command: %T", c))
}
