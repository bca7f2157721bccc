package lifecycle

import (
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// play says what a walk is made of.
type play struct {
	containers []messages.ContainerID
	execs      []messages.ExecID
	sandboxes  []messages.SandboxID
	// faults of the driver, panics of actors, and actors that are lost.
	faults, panics, losses bool
	// changing: more of what changes a container than of anything else.
	changing bool
}

// tight limits are reached in a short walk.
var tight = Limits{Waiters: 3, Postponed: 2, Calls: 4, Execs: 3, Containers: 2}

// tree is a walk over all machines: pods, faults of the driver, panics.
var tree = play{
	containers: []messages.ContainerID{"a", "b", "c"}, execs: []messages.ExecID{"x", "y"},
	sandboxes: []messages.SandboxID{"s", "", "t"}, faults: true, panics: true,
}

// losses is one in which actors panic twice as well.
var losses = play{
	containers: tree.containers, execs: tree.execs, sandboxes: tree.sandboxes, faults: true, panics: true, losses: true,
}

// changes is a walk over one container that is paused, saved and deleted a lot.
var changes = play{
	containers: oneContainer.containers, execs: oneContainer.execs, sandboxes: oneContainer.sandboxes,
	faults: true, panics: true, losses: true, changing: true,
}

// oneContainer is a walk over a container and its execs.
var oneContainer = play{
	containers: []messages.ContainerID{"c"}, execs: []messages.ExecID{"x", "y", "z"}, sandboxes: []messages.SandboxID{""},
	faults: true,
}

// plays are the walks that are taken, by name.
var plays = map[string]play{"container": oneContainer, "changes": changes, "tree": tree, "losses": losses}

// command makes one that the dice choose.
func (w *world) command(p play) messages.AnyCommand {
	d := w.dice
	c := pickOne(d, p.containers)
	process := messages.Init(c)
	if d.one(2) || d.one(3) {
		process.Exec = pickOne(d, p.execs)
	}
	if p.changing && d.one(2) {
		switch d.roll(8) {
		case 0, 1:
			return messages.Start{Process: messages.Process{Container: c, Exec: pickOne(d, p.execs)}}
		case 2:
			return messages.Pause{Container: c}
		case 3:
			return messages.Resume{Container: c}
		case 4:
			return messages.Checkpoint{Container: c, ImagePath: "/i", LeaveRunning: true}
		case 5:
			return messages.Delete{Process: messages.Process{Container: c, Exec: pickOne(d, p.execs)}}
		case 6:
			return messages.Delete{Process: messages.Init(c)}
		case 7:
			return messages.Shutdown{Now: d.one(4)}
		}
	}
	stdio := messages.Stdio{Terminal: d.one(2)}
	switch d.roll(24) {
	case 0, 1, 2:
		return messages.Create{Container: c, Sandbox: pickOne(d, p.sandboxes), Bundle: "/b", Stdio: stdio}
	case 3, 4, 5, 6:
		process.Exec = pickOne(d, p.execs)
		return messages.Exec{Process: process, Spec: messages.ExecSpec{Process: specs.Process{Args: []string{"true"}}}, Stdio: stdio}
	case 7, 8, 9, 10:
		return messages.Start{Process: process}
	case 11:
		signal := pickOne(d, []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM})
		return messages.Kill{Process: process, Signal: signal, All: process.IsInit() && d.one(2)}
	case 12:
		return messages.Resize{Process: process, Size: messages.WindowSize{Cols: 80, Rows: 24}}
	case 13:
		return messages.CloseIO{Process: process}
	case 14:
		return messages.Pause{Container: c}
	case 15:
		return messages.Resume{Container: c}
	case 16:
		return messages.Update{Container: c, Resources: &messages.Resources{}}
	case 17:
		return messages.Checkpoint{Container: c, ImagePath: "/i", LeaveRunning: true}
	case 18:
		return messages.State{Process: process}
	case 19:
		return messages.Wait{Process: process}
	case 20, 21:
		return messages.Delete{Process: process}
	case 22:
		return pickOne(d, []messages.AnyCommand{messages.Pids{Container: c}, messages.Connect{Container: c}, messages.Stats{Container: c}})
	}
	if d.one(8) {
		return messages.Shutdown{Now: d.one(2)}
	}
	return messages.Info{}
}

// The fuzzers make the same worlds from bytes, one for each choice.

func FuzzContainer(f *testing.F) { fuzz(f, oneContainer) }
func FuzzChanges(f *testing.F)   { fuzz(f, changes) }
func FuzzTree(f *testing.F)      { fuzz(f, tree) }
func FuzzLosses(f *testing.F)    { fuzz(f, losses) }

func fuzz(f *testing.F, p play) {
	for seed := range uint64(4) {
		d, bytes := seeded(seed), make([]byte, 2000)
		for i := range bytes {
			bytes[i] = byte(d.roll(256))
		}
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) { walk(t, &dice{bytes: bytes}, p, 1000) })
}
