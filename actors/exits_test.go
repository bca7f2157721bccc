package actors_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// containerd#10589: the exit of an init was dropped while starts of execs were
// pending, and the container was running for ever.
func TestEveryStartedProcessHasOneExitInAnExecStorm(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		// Starts take from 0 to 199 ms, so the init's exit comes amid them.
		b.driver.After(on("exec", "", func(_ context.Context, p messages.Incarnation) error {
			time.Sleep(time.Duration(p.Number%200) * time.Millisecond)
			return nil
		}))
		const n = 200
		starts := make([]<-chan outcome[messages.Started], n)
		waits := make([]<-chan outcome[messages.Exited], n)
		for i := range n {
			name := fmt.Sprintf("c/%d", i)
			ask(b, execOf(name, []string{"true", "exit 3", "sleep 0.05", "sleep inf"}[i%4]))
			waits[i] = later(b, waitOf(name))
			starts[i] = later(b, startOf(name))
		}
		time.Sleep(100 * time.Millisecond)
		b.driver.Exit(process("c"), 0)
		elapsed(t, 0, func() { ask(b, waitOf("c")) })

		started := 0
		for i := range n {
			s, w := <-starts[i], <-waits[i]
			exits := b.exits(process(fmt.Sprintf("c/%d", i)))
			if (s.err == nil) != (w.err == nil) || (s.err == nil) != (len(exits) == 1) {
				t.Errorf("exec %d: start %v, wait %v, %d exits", i, s.err, w.err, len(exits))
			}
			if s.err == nil {
				started++
			} else {
				checkKind(t, startOf(fmt.Sprintf("c/%d", i)), s.err, messages.FailedPrecondition)
			}
		}
		if started == 0 || started == n {
			t.Errorf("%d of %d were started; the init's exit did not come amid them", started, n)
		}
	})
}

// containerd#9719, containerd#9828, containerd#9999: the exits of execs were
// published after that of their init, and lost. The driver reports the init's
// first here, as a kernel may.
func TestTheInitsExitIsTheLastOfItsContainer(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("c/%02d", i))
		}
		b.execs("sleep inf", names...)
		b.driver.Exit(process("c"), 9)
		if got := ask(b, waitOf("c")).Exit.Status; got != 9 {
			t.Errorf("the init's status is %d, want 9", got)
		}
		var exited []string
		for _, e := range b.told() {
			if x, ok := e.(messages.ProcessExited); ok {
				exited = append(exited, x.Process.String())
			}
		}
		if len(exited) != 21 || exited[20] != "c" {
			t.Errorf("the exits are %v, want those of 20 execs and then the init's", exited)
		}
	})
}

// containerd#9719: the same where the host does not tell the exits of the execs
// at all. They are killed, and told as unknown after the drain time-out.
func TestAnExecWhoseExitIsNeverSeenDelaysTheInitsExitForABoundedTime(t *testing.T) {
	run(t, actors.Options{Timeouts: actors.Timeouts{Drain: 10 * time.Second}}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		b.driver.Before(on("kill", "c/e", hang))
		b.driver.Report(messages.ExitNotice{Process: b.incarnation("c"), Exit: messages.Exit{Status: 4, At: time.Now()}})
		elapsed(t, 10*time.Second, func() {
			if got := ask(b, waitOf("c")).Exit.Status; got != 4 {
				t.Errorf("the init's status is %d, want 4", got)
			}
		})
		exits := b.exits(process("c/e"))
		if len(exits) != 1 || exits[0].Status != messages.ExitUnknown || exits[0].Reason == "" {
			t.Errorf("the exec's exits are %+v, want one that is unknown, with a reason", exits)
		}
	})
}

// containerd#882: the exit of a process that is gone at once was told before its
// start, or not at all. gVisor's shim can publish TaskExit of an exec before
// TaskExecStarted.
func TestAnExitThatComesBeforeStartReturnsIsToldAfterTheStart(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.driver.After(on("exec", "", func(_ context.Context, p messages.Incarnation) error {
			b.driver.Exit(p.Process, 7)
			synctest.Wait() // the reaper has it before the pid is known
			return nil
		}))
		for i := range 20 {
			name := fmt.Sprintf("c/%d", i)
			ask(b, execOf(name, "sleep inf"))
			if pids := ask(b, startOf(name)).PIDs; pids.Guest == 0 {
				t.Errorf("%s: start tells no pid", name)
			}
			if got := ask(b, waitOf(name)).Exit.Status; got != 7 {
				t.Errorf("%s: status %d, want 7", name, got)
			}
		}
	})
}

// gVisor's shim waits for an init only after its start, and tells 128 for one
// that is gone by then. Here every init ends while start has not returned.
func TestAnInitThatIsGoneAtOnceKeepsItsStatus(t *testing.T) {
	inits := map[string]int{bundle(t, "true"): 0, bundle(t, "false"): 1, bundle(t, "exit 7"): 7}
	run(t, actors.Options{}, func(b *bed) {
		b.driver.After(on("start", "", func(context.Context, messages.Incarnation) error {
			synctest.Wait()
			return nil
		}))
		for range 50 {
			for dir, want := range inits {
				ask(b, messages.Create{Container: "c", Bundle: dir})
				ask(b, startOf("c"))
				if got := ask(b, waitOf("c")).Exit.Status; got != want {
					t.Fatalf("wait tells %d, want %d", got, want)
				}
				if got := ask(b, deleteOf("c")).Exit; got == nil || got.Status != want {
					t.Fatalf("delete tells %+v, want %d", got, want)
				}
			}
		}
	})
}

// A sandbox that dies while its creation is being answered is not lost.
func TestAnInitThatIsGoneBeforeCreateReturnsIsTold(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.driver.After(on("create", "", func(context.Context, messages.Incarnation) error {
			b.driver.KillSentry("c")
			synctest.Wait()
			return nil
		}))
		ask(b, createOf("c"))
		if got := ask(b, waitOf("c")).Exit.Status; got != messages.ExitKilled {
			t.Errorf("status %d, want %d", got, messages.ExitKilled)
		}
		refused(b, startOf("c"), messages.FailedPrecondition)
		refused(b, execOf("c/e", "true"), messages.FailedPrecondition)
	})
}

// containerd#8557, containerd#8617: one lock around start, the cure of exits
// that came too early, made 30 execs take 19 s.
func TestStartsOfExecsAreNotSerialised(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.driver.Before(on("exec", "", func(context.Context, messages.Incarnation) error {
			time.Sleep(time.Second)
			return nil
		}))
		const n = 30
		elapsed(t, time.Second, func() {
			var starts []<-chan outcome[messages.Started]
			for i := range n {
				name := fmt.Sprintf("c/%d", i)
				ask(b, execOf(name, "true"))
				starts = append(starts, later(b, startOf(name)))
			}
			for _, s := range starts {
				if r := <-s; r.err != nil {
					t.Error(r.err)
				}
			}
		})
	})
}

// containerd#10634: an exec whose start raced the exit of the init was started
// in a container that was gone. What the driver has started by then is killed.
func TestAnExecThatIsBeingStartedWhenTheInitExitsIsGivenUp(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		g := b.gate()
		b.driver.After(on("exec", "c/early", g.pass))
		ask(b, execOf("c/early", "sleep inf"))
		ask(b, execOf("c/late", "sleep inf"))
		start := later(b, startOf("c/early"))
		wait := later(b, waitOf("c/early"))
		if !pending(start) || !b.live("c/early") {
			t.Fatal("the driver has not started the exec")
		}
		// The host does not take the exec along with the init here.
		b.driver.Report(messages.ExitNotice{Process: b.incarnation("c"), Exit: messages.Exit{At: time.Now()}})
		elapsed(t, 0, func() { ask(b, waitOf("c")) })
		r := <-start
		checkKind(t, startOf("c/early"), r.err, messages.FailedPrecondition)
		w := <-wait
		checkKind(t, waitOf("c/early"), w.err, messages.FailedPrecondition)
		refused(b, startOf("c/late"), messages.FailedPrecondition)
		refused(b, execOf("c/new", "true"), messages.FailedPrecondition)

		g.open()
		synctest.Wait()
		if b.live("c/early") {
			t.Error("a stray process is left of the exec")
		}
		if exits := b.exits(process("c/early")); len(exits) > 0 {
			t.Errorf("an exec that was never told to be started has the exits %+v", exits)
		}
	})
}

// containerd#12678: of several exits behind one SIGCHLD some were missed.
func TestABurstOfExitsIsToldWhole(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c", "d")
		const n = 500
		var procs []messages.Incarnation
		for i := range n {
			b.execs("sleep inf", fmt.Sprintf("c/%d", i))
			procs = append(procs, b.incarnation(fmt.Sprintf("c/%d", i)))
		}
		for i, p := range procs {
			b.driver.Report(messages.ExitNotice{Process: p, Exit: messages.Exit{Status: i % 200, At: time.Now()}})
		}
		for i := range n {
			name := fmt.Sprintf("c/%d", i)
			if got := ask(b, waitOf(name)).Exit.Status; got != i%200 {
				t.Errorf("%s: status %d, want %d", name, got, i%200)
			}
		}
	})
}

// containerd#13049: an exit was credited to a later process with the same pid.
// Here the late exit even names the same container and exec.
func TestAnExitIsNeverCreditedToALaterProcess(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		earlier := b.incarnation("c/e")
		b.driver.Exit(process("c/e"), 1)
		ask(b, waitOf("c/e"))
		ask(b, deleteOf("c/e"))

		b.execs("sleep inf", "c/e")
		b.driver.Report(messages.ExitNotice{Process: earlier, Exit: messages.Exit{Status: 99, At: time.Now()}})
		synctest.Wait()
		b.status("c/e", messages.StatusRunning)
		b.driver.Exit(process("c/e"), 2)
		if got := ask(b, waitOf("c/e")).Exit.Status; got != 2 {
			t.Errorf("status %d, want 2", got)
		}
	})
}

// containerd#6429, containerd#6402: a process had two exits, the second with
// another status.
func TestTheFirstExitOfAProcessIsTheOnlyOne(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		for _, name := range []string{"c/e", "c"} {
			p := b.incarnation(name)
			b.driver.Exit(p.Process, 5)
			b.driver.Report(messages.ExitNotice{Process: p, Exit: messages.Exit{Status: 6, At: time.Now()}})
			ask(b, waitOf(name))
			if exits := b.exits(p.Process); len(exits) != 1 || exits[0].Status != 5 {
				t.Errorf("%s: the exits are %+v, want one with status 5", name, exits)
			}
			if got := ask(b, deleteOf(name)).Exit; got == nil || got.Status != 5 {
				t.Errorf("%s: delete tells %+v, want status 5", name, got)
			}
		}
	})
}

// containerd#4769: a create that failed published an exit.
func TestAFailedCreateTellsNothingAndLeavesNothing(t *testing.T) {
	missing := bundle(t, "no-such-command")
	run(t, actors.Options{}, func(b *bed) {
		refused(b, messages.Create{Container: "c", Bundle: missing}, messages.InvalidArgument)
		b.driver.Before(on("create", "", fail(messages.Internal)))
		refused(b, createOf("c"), messages.Internal)
		b.driver.Before(nil)
		if events := b.told(); len(events) > 0 {
			t.Errorf("the events are %v, want none", events)
		}
		refused(b, stateOf("c"), messages.NotFound)
		if info := ask(b, messages.Info{}); len(info.Sandboxes) > 0 {
			t.Errorf("the runtime holds %v", info.Sandboxes)
		}
		b.runs("c") // the id is free
	})
}

// gVisor's shim matched exits by exec id alone, across the containers of a pod.
func TestEqualExecIDsInTwoContainersOfAPodAreKeptApart(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		ask(b, messages.Create{Container: "root", Sandbox: "pod", Bundle: noBundle})
		ask(b, startOf("root"))
		for _, c := range []string{"a", "b"} {
			ask(b, messages.Create{Container: messages.ContainerID(c), Sandbox: "pod", Bundle: noBundle})
			ask(b, startOf(c))
			b.execs("sleep inf", c+"/same")
		}
		b.driver.Exit(process("b/same"), 3)
		if got := ask(b, waitOf("b/same")).Exit.Status; got != 3 {
			t.Errorf("b/same: status %d, want 3", got)
		}
		b.status("a/same", messages.StatusRunning)
		b.driver.Exit(process("a/same"), 4)
		if got := ask(b, waitOf("a/same")).Exit.Status; got != 4 {
			t.Errorf("a/same: status %d, want 4", got)
		}
	})
}

// A sandbox ends with its root container, and with it every container of it.
func TestTheEndOfASandboxIsToldForEveryContainerOfIt(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		for _, c := range []string{"root", "a", "b"} {
			ask(b, messages.Create{Container: messages.ContainerID(c), Sandbox: "pod", Bundle: noBundle})
			ask(b, startOf(c))
			b.execs("sleep inf", c+"/e")
		}
		b.runs("other")
		b.driver.KillSentry("root")
		for _, c := range []string{"root", "a", "b", "root/e", "a/e", "b/e"} {
			if got := ask(b, waitOf(c)).Exit; got.Status != messages.ExitKilled || got.Reason == "" {
				t.Errorf("%s: %+v, want status %d with a reason", c, got, messages.ExitKilled)
			}
		}
		b.status("other", messages.StatusRunning)
		refused(b, messages.Create{Container: "new", Sandbox: "pod", Bundle: noBundle}, messages.FailedPrecondition)
		refused(b, stateOf("new"), messages.NotFound)
	})
}

// gvisor#12838, gvisor#9723, containerd#8893: out of memory was told after the
// exit that it explains, or with an empty id.
func TestOutOfMemoryIsToldBeforeItsExit(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		b.driver.OOM("c")
		ask(b, waitOf("c"))
		events := b.told()
		oom := slices.IndexFunc(events, func(e messages.Event) bool { return e == messages.ContainerOOM{Container: "c"} })
		exit := slices.IndexFunc(events, func(e messages.Event) bool {
			x, ok := e.(messages.ProcessExited)
			return ok && x.Process == process("c")
		})
		if oom < 0 || exit < oom {
			t.Errorf("out of memory is event %d and the exit %d", oom, exit)
		}
	})
}

// In shims where every exec subscribes to every exit, N execs cost N*N
// deliveries. Here the steps that one exit takes are counted.
func TestTheCostOfAnExitDoesNotGrowWithTheNumberOfExecs(t *testing.T) {
	var steps atomic.Int64
	o := actors.Options{}.WithFault(func(string, lifecycle.Input) { steps.Add(1) })
	run(t, o, func(b *bed) {
		b.runs("c")
		perExit := func(live int) int64 {
			for i := range live {
				b.execs("sleep inf", fmt.Sprintf("c/%d-%d", live, i))
			}
			b.execs("sleep inf", "c/one")
			synctest.Wait()
			before := steps.Load()
			b.driver.Exit(process("c/one"), 0)
			synctest.Wait()
			cost := steps.Load() - before
			ask(b, deleteOf("c/one"))
			return cost
		}
		if few, many := perExit(2), perExit(1000); few != many || few == 0 {
			t.Errorf("an exit takes %d steps among 2 execs and %d among 1002", few, many)
		}
	})
}

// A signal that was delivered is not an exit: the status stays what it is until
// the process is gone. gVisor's shim told the exit of a killed stub as that of
// the guest.
func TestASignalIsNotAnExit(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		b.driver.Before(on("kill", "", func(context.Context, messages.Incarnation) error { return nil }))
		ask(b, killOf("c/e", syscall.SIGURG))
		synctest.Wait()
		b.status("c/e", messages.StatusRunning)
		if exits := b.exits(process("c/e")); len(exits) > 0 {
			t.Errorf("the exits are %+v, want none", exits)
		}
	})
}
