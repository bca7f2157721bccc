package actors_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/lifecycle"
	"github.com/troupe-run/troupe/messages"
)

// fuse makes an actor panic over the inputs that it is lit for.
type fuse struct {
	lit  atomic.Pointer[func(string, lifecycle.Input) bool]
	left atomic.Int64
}

// light makes the next times steps that match panic.
func (f *fuse) light(times int64, match func(name string, in lifecycle.Input) bool) {
	f.left.Store(times)
	f.lit.Store(&match)
}

func (f *fuse) burn(name string, in lifecycle.Input) {
	if m := f.lit.Load(); m != nil && (*m)(name, in) && f.left.Add(-1) >= 0 {
		panic("as the test wants it")
	}
}

// burnt tells that the fuse has gone off as often as it was lit for.
func (f *fuse) burnt() bool { return f.left.Load() <= 0 }

// input matches an input of one type to an actor whose name begins with name.
func input[I lifecycle.Input](name string) func(string, lifecycle.Input) bool {
	return func(n string, in lifecycle.Input) bool {
		_, ok := in.(I)
		return ok && strings.HasPrefix(n, name)
	}
}

// command matches a command to an actor whose name begins with name.
func command(verb, name string) func(string, lifecycle.Input) bool {
	return func(n string, in lifecycle.Input) bool {
		c, ok := in.(lifecycle.Command)
		return ok && c.Cmd.Verb() == verb && strings.HasPrefix(n, name)
	}
}

func runWithFuse(t *testing.T, test func(*bed, *fuse)) {
	t.Helper()
	f := &fuse{}
	run(t, actors.Options{}.WithFault(f.burn), func(b *bed) {
		test(b, f)
		if !f.burnt() {
			t.Error("nothing panicked: the test is void")
		}
	})
}

// bystanders makes processes that a panic elsewhere must not touch, and returns
// a check that it did not.
func (b *bed) bystanders() (untouched func()) {
	b.Helper()
	b.runs("other")
	b.execs("sleep inf", "other/e")
	return func() {
		b.Helper()
		b.status("other", messages.StatusRunning)
		b.status("other/e", messages.StatusRunning)
		if !b.live("other") || !b.live("other/e") {
			b.Error("a sibling was killed")
		}
	}
}

// Wherever the actor of an exec panics, the asker is answered at once, and the
// process behind it has one exit if it was told to be started.
func TestAPanicInAnExecsActorBecomesOneExit(t *testing.T) {
	panics := map[string]func(string, lifecycle.Input) bool{
		"state":  command("state", "c/e#"),
		"wait":   command("wait", "c/e#"),
		"kill":   command("kill", "c/e#"),
		"exit":   input[lifecycle.Exit]("c/e#"),
		"answer": input[lifecycle.Answer]("c/e#"),
	}
	for name, match := range panics {
		t.Run(name, func(t *testing.T) {
			runWithFuse(t, func(b *bed, f *fuse) {
				untouched := b.bystanders()
				b.runs("c")
				b.execs("sleep inf", "c/e", "c/sibling")
				waiting := later(b, waitOf("c/e"))
				synctest.Wait()
				f.light(1, match)
				elapsed(t, 0, func() {
					switch name {
					case "state":
						refused(b, stateOf("c/e"), messages.Internal)
					case "wait":
						refused(b, waitOf("c/e"), messages.Internal)
					case "kill":
						refused(b, killOf("c/e", syscall.SIGTERM), messages.Internal)
					case "exit":
						b.driver.Exit(process("c/e"), 3)
					case "answer":
						refused(b, killOf("c/e", syscall.SIGURG), messages.Internal)
					}
					checkKind(t, waitOf("c/e"), (<-waiting).err, messages.Internal)
					want := 128 + int(syscall.SIGKILL)
					if name == "exit" {
						want = 3 // it was seen, and is told as it was
					}
					if got := ask(b, waitOf("c/e")).Exit.Status; got != want {
						t.Errorf("status %d, want %d", got, want)
					}
				})
				if n := len(b.exits(process("c/e"))); n != 1 {
					t.Errorf("%d exits, want 1", n)
				}
				ask(b, deleteOf("c/e"))
				b.status("c", messages.StatusRunning)
				b.status("c/sibling", messages.StatusRunning)
				untouched()
			})
		})
	}
}

// The container counts on a Start that was passed on; if the exec's actor
// panics over it, the init's exit does not wait for it, nor does a pause.
func TestAPanicOverStartOfAnExecHoldsNothing(t *testing.T) {
	runWithFuse(t, func(b *bed, f *fuse) {
		b.runs("c")
		ask(b, execOf("c/e", "true"))
		f.light(1, command("start", "c/e#"))
		waiting := later(b, waitOf("c/e"))
		synctest.Wait()
		refused(b, startOf("c/e"), messages.Internal)
		if r := <-waiting; r.err == nil {
			t.Errorf("wait of an exec that will not run: %+v", r.reply)
		}
		refused(b, startOf("c/e"), messages.FailedPrecondition)
		elapsed(t, 0, func() {
			ask(b, messages.Pause{Container: "c"})
			ask(b, messages.Resume{Container: "c"})
			b.driver.Exit(process("c"), 1)
			ask(b, waitOf("c"))
		})
	})
}

// An answer that says that a process runs is not lost with the step over it:
// the process is killed. It was never told to be started, so it has no exit.
func TestAPanicOverTheAnswerOfStartLeavesNoProcess(t *testing.T) {
	runWithFuse(t, func(b *bed, f *fuse) {
		untouched := b.bystanders()
		b.runs("c")
		ask(b, execOf("c/e", "sleep inf"))
		f.light(1, input[lifecycle.Answer]("c/e#"))
		refused(b, startOf("c/e"), messages.Internal)
		synctest.Wait()
		if b.live("c/e") {
			t.Error("the process lives, and nobody knows of it")
		}
		if exits := b.exits(process("c/e")); len(exits) > 0 {
			t.Errorf("the exits are %+v, want none", exits)
		}
		ask(b, deleteOf("c/e"))
		b.execs("sleep inf", "c/e")
		untouched()
	})
}

// Wherever the actor of a container panics, its processes are killed and told,
// and it can be deleted.
func TestAPanicInAContainersActorEndsTheContainer(t *testing.T) {
	panics := map[string]func(string, lifecycle.Input) bool{
		"state":   command("state", "c#"),
		"exec":    command("exec", "c#"),
		"exit":    input[lifecycle.Exit]("c#"),
		"answer":  input[lifecycle.Answer]("c#"),
		"started": input[lifecycle.Started]("c#"),
		"exited":  input[lifecycle.Exited]("c#"),
		"deleted": input[lifecycle.Deleted]("c#"),
	}
	for name, match := range panics {
		t.Run(name, func(t *testing.T) {
			runWithFuse(t, func(b *bed, f *fuse) {
				untouched := b.bystanders()
				b.runs("c")
				b.execs("sleep inf", "c/e")
				waiting := later(b, waitOf("c"))
				synctest.Wait()
				f.light(1, match)
				elapsed(t, 0, func() {
					switch name {
					case "state":
						refused(b, stateOf("c"), messages.Internal)
					case "exec":
						refused(b, execOf("c/new", "true"), messages.Internal)
					case "exit":
						b.driver.Exit(process("c"), 3)
					case "answer":
						refused(b, killOf("c", syscall.SIGURG), messages.Internal)
					case "started":
						b.execs("sleep inf", "c/new")
					case "exited", "deleted":
						b.driver.Exit(process("c/e"), 1)
						ask(b, waitOf("c/e"))
						ask(b, deleteOf("c/e"))
					}
					checkKind(t, waitOf("c"), (<-waiting).err, messages.Internal)
					got := ask(b, waitOf("c")).Exit.Status
					if name == "exit" && got != 3 {
						t.Errorf("status %d, want 3", got)
					}
				})
				if n := len(b.exits(process("c"))); n != 1 {
					t.Errorf("%d exits, want 1", n)
				}
				ask(b, deleteOf("c"))
				b.runs("c")
				untouched()
			})
		})
	}
}

// A Create over which an actor panics leaves nothing: its id is free again.
func TestAPanicOverCreateLeavesNothing(t *testing.T) {
	for name, match := range map[string]func(string, lifecycle.Input) bool{
		"directory":     command("create", "directory"),
		"sandbox":       command("create", "sandbox "),
		"container":     command("create", "c#"),
		"answer":        input[lifecycle.Answer]("c#"),
		"made, sandbox": input[lifecycle.Made]("sandbox "),
	} {
		t.Run(name, func(t *testing.T) {
			runWithFuse(t, func(b *bed, f *fuse) {
				untouched := b.bystanders()
				f.light(1, match)
				if _, isMade := strings.CutPrefix(name, "made"); isMade {
					ask(b, createOf("c")) // nothing is wrong with the container
					ask(b, messages.Create{Container: "d", Sandbox: "c", Bundle: noBundle})
				} else {
					refused(b, createOf("c"), messages.Internal)
					synctest.Wait()
					if info := ask(b, messages.Info{}); len(info.Sandboxes) != 1 {
						t.Errorf("the runtime holds %v, want the bystander's only", info.Sandboxes)
					}
					if n := len(b.driver.Held()); n != 2 {
						t.Errorf("the driver holds %v, want the bystanders only", b.driver.Held())
					}
					b.runs("c")
				}
				untouched()
			})
		})
	}
}

// A panic in the actor of a sandbox or in the directory is answered, and every
// process lives on.
func TestAPanicInASupervisorTouchesNoProcess(t *testing.T) {
	for _, name := range []string{"sandbox c", "directory"} {
		t.Run(name, func(t *testing.T) {
			runWithFuse(t, func(b *bed, f *fuse) {
				untouched := b.bystanders()
				b.runs("c")
				b.execs("sleep inf", "c/e")
				for range 3 {
					f.light(1, command("state", name))
					refused(b, stateOf("c"), messages.Internal)
				}
				f.light(1, input[lifecycle.Deleted](name))
				ask(b, createOf("d"))
				ask(b, deleteOf("d"))
				b.execs("sleep inf", "c/new")
				b.status("c", messages.StatusRunning)
				b.status("c/e", messages.StatusRunning)
				b.driver.Exit(process("c"), 4)
				if got := ask(b, waitOf("c")).Exit.Status; got != 4 {
					t.Errorf("status %d, want 4", got)
				}
				f.light(1, input[lifecycle.Deleted](name))
				ask(b, deleteOf("c"))
				refused(b, stateOf("c"), messages.NotFound)
				untouched()
			})
		})
	}
}

// An exec's actor that panics over an exit twice is lost. Its container tells
// an exit that is unknown, and lets nothing live on.
func TestAnExecsActorThatPanicsTwiceHasAnUnknownExit(t *testing.T) {
	runWithFuse(t, func(b *bed, f *fuse) {
		untouched := b.bystanders()
		b.runs("c")
		b.execs("sleep inf", "c/e", "c/sibling")
		f.light(2, input[lifecycle.Exit]("c/e#"))
		waiting := later(b, waitOf("c/e"))
		synctest.Wait()
		b.driver.Exit(process("c/e"), 3)
		checkKind(t, waitOf("c/e"), (<-waiting).err, messages.Internal)
		synctest.Wait()
		exits := b.exits(process("c/e"))
		if len(exits) != 1 || exits[0].Status != messages.ExitUnknown || exits[0].Reason != lostReason {
			t.Errorf("the exits are %+v, want one that is unknown, with a reason", exits)
		}
		refused(b, stateOf("c/e"), messages.NotFound)
		b.status("c/sibling", messages.StatusRunning)
		untouched()
		b.driver.Exit(process("c"), 1)
		ask(b, waitOf("c"))
		ask(b, deleteOf("c"))
	})
}

// A container's actor that panics twice is lost. Its execs are told first, then
// its sandbox tells an unknown exit, and its id is free.
func TestAContainersActorThatPanicsTwiceHasAnUnknownExit(t *testing.T) {
	runWithFuse(t, func(b *bed, f *fuse) {
		untouched := b.bystanders()
		b.runs("c")
		b.execs("sleep inf", "c/1", "c/2", "c/3")
		ask(b, execOf("c/added", "true"))
		f.light(2, input[lifecycle.Exit]("c#"))
		var waits []<-chan outcome[messages.Exited]
		for _, name := range []string{"c", "c/1", "c/2", "c/3", "c/added"} {
			waits = append(waits, later(b, waitOf(name)))
		}
		synctest.Wait()
		b.driver.Exit(process("c"), 3)
		for _, w := range waits {
			<-w // each is answered, with an exit or with an error
		}
		synctest.Wait()
		exits := b.exits(process("c"))
		if len(exits) != 1 || exits[0].Status != messages.ExitUnknown || exits[0].Reason != lostReason {
			t.Errorf("the exits are %+v, want one that is unknown, with a reason", exits)
		}
		for i := 1; i <= 3; i++ {
			if n := len(b.exits(process(fmt.Sprintf("c/%d", i)))); n != 1 {
				t.Errorf("c/%d has %d exits, want 1", i, n)
			}
		}
		refused(b, stateOf("c"), messages.NotFound)
		if n := len(b.driver.Held()); n != 2 {
			t.Errorf("the driver holds %v, want the bystanders only", b.driver.Held())
		}
		b.runs("c")
		b.status("c", messages.StatusRunning)
		untouched()
	})
}

// A panic of the driver is an error of its call, for the asker alone.
func TestAPanicInTheDriverIsAnErrorOfItsCall(t *testing.T) {
	bang := func(context.Context, messages.Incarnation) error { panic("as the test wants it") }
	run(t, actors.Options{}, func(b *bed) {
		untouched := b.bystanders()
		b.driver.Before(on("create", "", bang))
		refused(b, createOf("c"), messages.Internal)
		b.driver.Before(nil)
		b.runs("c")
		ask(b, execOf("c/e", "sleep inf"))
		b.driver.Before(on("exec", "c/e", bang))
		refused(b, startOf("c/e"), messages.Internal)
		b.driver.Before(on("stats", "c", bang))
		refused(b, messages.Stats{Container: "c"}, messages.Internal)
		b.driver.Before(on("kill", "c", bang))
		refused(b, killOf("c", syscall.SIGTERM), messages.Internal)
		b.driver.Before(nil)
		ask(b, killOf("c", syscall.SIGTERM))
		ask(b, waitOf("c"))
		b.driver.Before(on("delete", "c", bang))
		refused(b, deleteOf("c"), messages.Internal)
		b.driver.Before(nil)
		ask(b, deleteOf("c"))
		untouched()
	})
}

// An asker that gives up is forgotten also where an actor on the way to the
// process panics over that, twice. What would keep it keeps it for as long as the
// process lives.
func TestAnAskerThatGivesUpIsForgottenDespitePanics(t *testing.T) {
	for _, name := range []string{"directory", "sandbox c", "c#"} {
		t.Run(name, func(t *testing.T) {
			runWithFuse(t, func(b *bed, f *fuse) {
				b.runs("c")
				b.execs("sleep inf", "c/e")
				panics, forgets := input[lifecycle.Abandon](name), input[lifecycle.Abandon]("c/e#")
				var forgotten atomic.Bool
				f.light(2, func(actor string, in lifecycle.Input) bool {
					if forgets(actor, in) {
						forgotten.Store(true)
					}
					return panics(actor, in)
				})
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				wait := actors.Begin(ctx, b.rt, waitOf("c/e"))
				synctest.Wait()
				cancel()
				_, err := wait()
				checkKind(t, waitOf("c/e"), err, messages.Canceled)
				synctest.Wait()
				if !forgotten.Load() {
					t.Error("the actor of the process was not told")
				}
			})
		})
	}
}
