package actors_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// containerd#2438, containerd#10092, containerd#13483, rust-extensions#340,
// rust-extensions#425: a lock was held across calls to the runtime, and while
// one hung nothing could be asked. gVisor's shim holds one across all of
// `runsc create`. Here every call for one container hangs, one after the other.
func TestAHungRuntimeDelaysNoQuestion(t *testing.T) {
	terminal := execOf("c/tty", "sleep inf")
	terminal.Spec.Terminal, terminal.Stdio.Terminal = true, true
	calls := []struct {
		call string
		ask  func(*bed)
	}{
		{"create", func(b *bed) { later(b, createOf("new")) }},
		{"start", func(b *bed) { ask(b, createOf("new")); later(b, startOf("new")) }},
		{"exec", func(b *bed) { ask(b, execOf("c/new", "true")); later(b, startOf("c/new")) }},
		{"kill", func(b *bed) { later(b, killOf("c", syscall.SIGTERM)); later(b, killOf("c/e", syscall.SIGTERM)) }},
		{"kill", func(b *bed) { later(b, killOf("c", syscall.SIGKILL)) }},
		{"resize", func(b *bed) { later(b, messages.Resize{Process: terminal.Process}) }},
		{"closeio", func(b *bed) { later(b, messages.CloseIO{Process: process("c/e")}) }},
		{"pause", func(b *bed) { later(b, messages.Pause{Container: "c"}) }},
		{"resume", func(b *bed) {
			ask(b, messages.Pause{Container: "c"})
			later(b, messages.Resume{Container: "c"})
		}},
		{"update", func(b *bed) { later(b, messages.Update{Container: "c", Resources: &messages.Resources{}}) }},
		{"checkpoint", func(b *bed) { later(b, messages.Checkpoint{Container: "c", ImagePath: "/image", LeaveRunning: true}) }},
		{"stats", func(b *bed) { later(b, messages.Stats{Container: "c"}) }},
		{"delete", func(b *bed) { later(b, deleteOf("c/done")) }},
	}
	for _, c := range calls {
		t.Run(c.call, func(t *testing.T) {
			run(t, actors.Options{}, func(b *bed) {
				b.runs("c", "other")
				b.execs("sleep inf", "c/e")
				b.execs("exit 5", "c/done")
				ask(b, waitOf("c/done"))
				ask(b, terminal)
				ask(b, messages.Start{Process: terminal.Process})
				b.driver.Before(func(ctx context.Context, call string, p messages.Incarnation) error {
					if call == c.call && p.Container != "other" {
						return hang(ctx, p)
					}
					return nil
				})
				c.ask(b)
				synctest.Wait()
				elapsed(t, 0, func() {
					ask(b, stateOf("c"))
					ask(b, stateOf("c/e"))
					ask(b, waitOf("c/done"))
					if c := ask(b, messages.Connect{Container: "c"}); c.Exec != "fake" {
						t.Errorf("Connect tells that execs are started by %q, want what the driver says", c.Exec)
					}
					ask(b, messages.Info{})
					if n := len(ask(b, messages.Pids{Container: "c"}).Processes); n != 3 {
						t.Errorf("%d pids, want 3", n)
					}
					ask(b, execOf("c/added", "true"))
					b.execs("exit 6", "other/e")
					if got := ask(b, waitOf("other/e")).Exit.Status; got != 6 {
						t.Errorf("status %d, want 6", got)
					}
					ask(b, messages.Stats{Container: "other"})
					ask(b, killOf("other", syscall.SIGKILL))
					ask(b, waitOf("other"))
					ask(b, deleteOf("other"))
				})
			})
		})
	}
}

// gvisor#14405, gvisor#14548: a hung `runsc kill` was waited for for ever.
func TestAHungKillOfAnInitBecomesAKillOfItsSandbox(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		b.driver.Before(on("kill", "c", hang))
		elapsed(t, 10*time.Second, func() {
			ask(b, killOf("c", syscall.SIGKILL))
			ask(b, waitOf("c"))
		})
		if n := b.calls("kill sandbox c#"); n != 1 {
			t.Errorf("the sandbox was killed %d times, want once", n)
		}
		ask(b, deleteOf("c"))
	})
}

// The same with a driver that does not even come back at its deadline.
func TestAKillThatNeverReturnsBecomesAKillOfItsSandbox(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		g := b.gate()
		b.driver.Before(on("kill", "c", g.pass))
		elapsed(t, 11*time.Second, func() {
			ask(b, killOf("c", syscall.SIGKILL))
			ask(b, waitOf("c"))
			ask(b, deleteOf("c"))
		})
		g.open() // and what it says at last is for nobody
	})
}

// Another signal does not kill the sandbox: the asker is told.
func TestAHungSignalIsADeadlineExceeded(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.driver.Before(on("kill", "c", hang))
		elapsed(t, 10*time.Second, func() { refused(b, killOf("c", syscall.SIGTERM), messages.DeadlineExceeded) })
		b.status("c", messages.StatusRunning)
	})
}

// gvisor#14405: 45,646 goroutines after five days of kills of a hung sandbox,
// each asked with a deadline of its own.
func TestGoroutinesStayBoundedWhileKillsHang(t *testing.T) {
	const calls = 8
	for name, hook := range map[string]func(*bed) fake.Hook{
		"until their deadline": func(*bed) fake.Hook { return on("kill", "c", hang) },
		"for ever":             func(b *bed) fake.Hook { return on("kill", "c", b.gate().pass) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, actors.Options{Limits: actors.Limits{Calls: calls}}, func(b *bed) {
				b.runs("c")
				synctest.Wait()
				before := runtime.NumGoroutine()
				b.driver.Before(hook(b))
				exhausted := 0
				for range 1000 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					_, err := actors.Ask(ctx, b.rt, killOf("c", syscall.SIGTERM))
					cancel()
					if messages.KindOf(err) == messages.ResourceExhausted {
						exhausted++
						time.Sleep(time.Second)
					}
				}
				synctest.Wait()
				if more := runtime.NumGoroutine() - before; more > 2*calls {
					t.Errorf("%d goroutines more than before, want at most one for each of %d calls", more, calls)
				}
				if exhausted == 0 {
					t.Error("no kill was refused as ResourceExhausted")
				}
			})
		})
	}
}

// containerd#11483, kata-containers#2087: a Wait whose asker had gone was kept.
func TestAWaitThatIsGivenUpFreesWhatItHeld(t *testing.T) {
	const waiters = 4
	run(t, actors.Options{Limits: actors.Limits{Waiters: waiters}}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		ask(b, execOf("c/added", "true"))
		synctest.Wait()
		before := runtime.NumGoroutine()
		for _, name := range []string{"c", "c/e", "c/added"} {
			for range 50 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				_, err := actors.Ask(ctx, b.rt, waitOf(name))
				cancel()
				checkKind(t, waitOf(name), err, messages.DeadlineExceeded)
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := actors.Ask(ctx, b.rt, waitOf(name))
			checkKind(t, waitOf(name), err, messages.Canceled)
		}
		synctest.Wait()
		// One or two of the library's timers may be on their way out.
		if now := runtime.NumGoroutine(); now > before+10 {
			t.Errorf("%d goroutines after 150 waits, %d before", now, before)
		}
		var all []<-chan outcome[messages.Exited]
		for range waiters {
			all = append(all, later(b, waitOf("c/e")))
		}
		synctest.Wait()
		b.driver.Exit(process("c/e"), 1)
		for _, w := range all {
			if r := <-w; r.err != nil || r.reply.Exit.Status != 1 {
				t.Errorf("%+v", r)
			}
		}
	})
}

// containerd#11483: a Wait before a Start that fails was never answered.
func TestAWaitBeforeAStartThatFailsIsAnswered(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		ask(b, execOf("c/e", "no-such-command"))
		w := later(b, waitOf("c/e"))
		if !pending(w) {
			t.Fatal("wait was answered before the start")
		}
		refused(b, startOf("c/e"), messages.NotFound)
		checkKind(t, waitOf("c/e"), (<-w).err, messages.FailedPrecondition)
		refused(b, waitOf("c/e"), messages.FailedPrecondition)

		// An init that could not be started has an exit: its sandbox was there.
		ask(b, createOf("d"))
		b.driver.Before(on("start", "d", fail(messages.Internal)))
		wd := later(b, waitOf("d"))
		synctest.Wait()
		refused(b, startOf("d"), messages.Internal)
		if r := <-wd; r.err != nil || r.reply.Exit.Status != messages.ExitKilled {
			t.Errorf("wait of an init that could not be started: %+v", r)
		}
		ask(b, deleteOf("d"))

		// And one of a container that could not be created.
		g := b.gate()
		b.driver.Before(on("create", "n", func(ctx context.Context, p messages.Incarnation) error {
			<-g
			return fail(messages.Internal)(ctx, p)
		}))
		create := later(b, createOf("n"))
		synctest.Wait()
		wn := later(b, waitOf("n"))
		synctest.Wait()
		g.open()
		checkKind(t, createOf("n"), (<-create).err, messages.Internal)
		checkKind(t, waitOf("n"), (<-wn).err, messages.FailedPrecondition)
	})
}

// containerd#7496, containerd#8981, containerd#11392: a Delete that timed out
// left what it had begun.
func TestADeleteThatIsGivenUpCanBeAskedAgain(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("true", "c/e")
		ask(b, waitOf("c/e"))
		ask(b, killOf("c", syscall.SIGKILL))
		ask(b, waitOf("c"))
		for _, name := range []string{"c/e", "c"} {
			g := b.gate()
			b.driver.Before(on("delete", name, g.pass))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := actors.Ask(ctx, b.rt, deleteOf(name))
			cancel()
			checkKind(t, deleteOf(name), err, messages.DeadlineExceeded)
			again := later(b, deleteOf(name))
			synctest.Wait()
			g.open()
			if r := <-again; r.err != nil {
				t.Errorf("delete %s again: %v", name, r.err)
			}
			if n := b.calls("delete " + b.pattern(name)); n != 1 {
				t.Errorf("the driver was asked %d times to delete %s, want once", n, name)
			}
			refused(b, deleteOf(name), messages.NotFound)
		}
	})
}

// pattern is how Calls begins to name any incarnation of a process.
func (b *bed) pattern(name string) string { return name + "#" }

// containerd#3286, containerd#7832, kata-containers#3913: a grandchild held the
// pipe, and the exit of its parent was not told, nor could it be deleted. The
// exit does not wait for the output here; Delete does, for a bounded time.
func TestOutputThatDoesNotEndDelaysDeleteAloneAndForABoundedTime(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("true", "c/e")
		b.driver.Before(on("delete", "c/e", hang))
		elapsed(t, 0, func() { ask(b, waitOf("c/e")) })
		elapsed(t, 30*time.Second, func() { refused(b, deleteOf("c/e"), messages.DeadlineExceeded) })
		b.driver.Before(nil)
		ask(b, deleteOf("c/e"))
	})
}

// containerd#2551, containerd#2877: opening a FIFO without a peer blocked the
// shim. Here it blocks its own process only, which can be given up.
func TestAnExecWhoseStreamsDoNotOpenBlocksOnlyItself(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.driver.Before(on("exec", "c/stuck", hang))
		ask(b, execOf("c/stuck", "true"))
		stuck := later(b, startOf("c/stuck"))
		synctest.Wait()
		elapsed(t, 0, func() {
			b.execs("true", "c/e")
			ask(b, waitOf("c/e"))
		})
		elapsed(t, 30*time.Second, func() { checkKind(t, startOf("c/stuck"), (<-stuck).err, messages.DeadlineExceeded) })
		ask(b, deleteOf("c/stuck"))

		// The end of the container does not wait for it.
		b.driver.Before(on("exec", "c/again", hang))
		ask(b, execOf("c/again", "true"))
		again := later(b, startOf("c/again"))
		synctest.Wait()
		elapsed(t, 0, func() {
			ask(b, killOf("c", syscall.SIGKILL))
			ask(b, waitOf("c"))
			checkKind(t, startOf("c/again"), (<-again).err, messages.FailedPrecondition)
			ask(b, deleteOf("c"))
		})
	})
}

// containerd#4489, moby#38001, kata-containers#439, kata-containers#10825:
// CloseIO was lost before Start, and hung.
func TestCloseIOBeforeAndDuringStartIsRemembered(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		for _, during := range []bool{false, true} {
			in, out := io.Pipe() // never closed: only CloseIO ends it
			b.Cleanup(func() { _ = out.Close() })
			cat := execOf("c/cat", "cat")
			cat.Stdio.Pipes.Stdin = in
			ask(b, cat)
			g := b.gate()
			b.driver.After(on("exec", "c/cat", g.pass))
			closeIO := messages.CloseIO{Process: cat.Process}
			if !during {
				ask(b, closeIO)
			}
			start := later(b, startOf("c/cat"))
			synctest.Wait()
			if during {
				closed := later(b, closeIO)
				if !pending(closed) {
					t.Fatal("CloseIO was answered before the process was there")
				}
			}
			g.open()
			if r := <-start; r.err != nil {
				t.Fatal(r.err)
			}
			ask(b, waitOf("c/cat"))
			ask(b, closeIO) // of a process that is gone there is nothing to do
			ask(b, deleteOf("c/cat"))
		}
	})
}

// containerd#4489: data that was written before CloseIO arrives before the end.
func TestCloseIOComesAfterTheData(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		in, out := io.Pipe()
		b.Cleanup(func() { _ = out.Close() })
		var written strings.Builder
		cat := execOf("c/cat", "cat")
		cat.Stdio.Pipes = messages.Pipes{Stdin: in, Stdout: &written}
		ask(b, cat)
		ask(b, startOf("c/cat"))
		for i := range 10 {
			if _, err := fmt.Fprintf(out, "%d,", i); err != nil {
				t.Fatal(err)
			}
		}
		ask(b, messages.CloseIO{Process: cat.Process})
		ask(b, waitOf("c/cat"))
		if got := written.String(); got != "0,1,2,3,4,5,6,7,8,9," {
			t.Errorf("cat wrote %q", got)
		}
	})
}

// A create that hangs is answered for, and what it makes too late is killed:
// containerd#11708, gvisor#14427.
func TestAContainerThatIsCreatedTooLateIsDiscarded(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		g := b.gate()
		b.driver.After(on("create", "", g.pass))
		elapsed(t, 61*time.Second, func() { refused(b, createOf("c"), messages.DeadlineExceeded) })
		refused(b, stateOf("c"), messages.NotFound)
		if len(b.driver.Held()) != 1 {
			t.Fatal("the driver made nothing: the test is void")
		}
		// The id is free here, and the host says what it thinks of that.
		refused(b, createOf("c"), messages.AlreadyExists)
		g.open()
		synctest.Wait()
		if held := b.driver.Held(); len(held) > 0 {
			t.Errorf("the driver holds %v", held)
		}
		b.runs("c")
	})
}

// The same with an exec: a live process is never lost because its answer was.
func TestAnExecThatIsStartedTooLateIsKilled(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		g := b.gate()
		b.driver.After(on("exec", "c/e", g.pass))
		ask(b, execOf("c/e", "sleep inf"))
		elapsed(t, 31*time.Second, func() { refused(b, startOf("c/e"), messages.DeadlineExceeded) })
		refused(b, startOf("c/e"), messages.FailedPrecondition)
		if !b.live("c/e") {
			t.Fatal("the driver started nothing: the test is void")
		}
		ask(b, deleteOf("c/e"))
		b.execs("sleep inf", "c/other")
		g.open()
		synctest.Wait()
		if b.live("c/e") {
			t.Error("a stray process is left")
		}
		if len(b.exits(process("c/e"))) > 0 {
			t.Error("an exit was told of an exec that was not told to be started")
		}
		b.status("c/other", messages.StatusRunning)
	})
}

// An init whose start is not answered is killed, and its end told.
func TestAnInitWhoseStartIsNotAnsweredIsKilled(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		ask(b, createOf("c"))
		g := b.gate()
		b.driver.After(on("start", "c", g.pass))
		elapsed(t, 61*time.Second, func() {
			refused(b, startOf("c"), messages.DeadlineExceeded)
			if got := ask(b, waitOf("c")).Exit.Status; got != messages.ExitKilled {
				t.Errorf("status %d, want %d", got, messages.ExitKilled)
			}
		})
		ask(b, deleteOf("c"))
		g.open()
	})
}

// A command whose asker has gone before it is taken up is not carried out.
func TestACommandWhoseAskerHasGoneIsNotCarriedOut(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := actors.Ask(ctx, b.rt, killOf("c", syscall.SIGKILL))
		checkKind(t, killOf("c", syscall.SIGKILL), err, messages.Canceled)
		synctest.Wait()
		b.status("c", messages.StatusRunning)
		if n := b.calls("kill"); n > 0 {
			t.Errorf("the driver was asked to kill")
		}
	})
}
