package actors_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// containerd#2820, containerd#3365: of two execs with one id, both were added.
func TestOfExecsWithOneIDAtOnceOneIsAdded(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c", "d")
		const n = 50
		var adds []<-chan outcome[messages.Added]
		for range n {
			adds = append(adds, later(b, execOf("c/e", "true")))
		}
		added := 0
		for _, a := range adds {
			if r := <-a; r.err == nil {
				added++
			} else {
				checkKind(t, execOf("c/e", "true"), r.err, messages.AlreadyExists)
			}
		}
		if added != 1 {
			t.Errorf("%d of %d were added, want 1", added, n)
		}
		ask(b, execOf("d/e", "true")) // the key is container and exec
	})
}

// The same of containers.
func TestOfContainersWithOneIDAtOnceOneIsCreated(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		var creates []<-chan outcome[messages.Created]
		for range 50 {
			creates = append(creates, later(b, createOf("c")))
		}
		created := 0
		for _, c := range creates {
			if r := <-c; r.err == nil {
				created++
			} else {
				checkKind(t, createOf("c"), r.err, messages.AlreadyExists)
			}
		}
		if n := b.calls("create "); created != 1 || n != 1 {
			t.Errorf("%d were created by %d calls, want 1 by 1", created, n)
		}
	})
}

// containerd#2744, containerd#3244, containerd#4214: a second kill of a process
// that was gone was no error, or one of no kind.
func TestKillOfAProcessThatIsGoneIsNotFound(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("true", "c/e")
		ask(b, execOf("c/added", "true"))
		ask(b, waitOf("c/e"))
		refused(b, killOf("c/e", syscall.SIGTERM), messages.NotFound)
		refused(b, killOf("c/added", syscall.SIGTERM), messages.FailedPrecondition)
		ask(b, killOf("c", syscall.SIGTERM))
		ask(b, waitOf("c"))
		refused(b, killOf("c", syscall.SIGKILL), messages.NotFound)
	})
}

func TestDeleteOfAProcessThatLivesIsRefused(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		b.execs("sleep inf", "c/e")
		refused(b, deleteOf("c"), messages.FailedPrecondition)
		refused(b, deleteOf("c/e"), messages.FailedPrecondition)
		ask(b, execOf("c/starting", "true"))
		g := b.gate()
		b.driver.Before(on("exec", "", g.pass))
		start := later(b, startOf("c/starting"))
		synctest.Wait()
		refused(b, deleteOf("c/starting"), messages.FailedPrecondition)
		g.open()
		if r := <-start; r.err != nil {
			t.Error(r.err)
		}
		b.status("c", messages.StatusRunning)
		b.status("c/e", messages.StatusRunning)
	})
}

// Two shims panicked at the second start after one that had failed: a double
// close.
func TestASecondStartIsRefused(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		refused(b, startOf("c"), messages.FailedPrecondition)
		b.execs("sleep inf", "c/runs")
		refused(b, startOf("c/runs"), messages.FailedPrecondition)
		ask(b, execOf("c/fails", "no-such-command"))
		refused(b, startOf("c/fails"), messages.NotFound)
		err := refused(b, startOf("c/fails"), messages.FailedPrecondition)
		if !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%v does not say why the first start failed", err)
		}
		ask(b, deleteOf("c/fails"))

		ask(b, createOf("d"))
		b.driver.Before(on("start", "d", fail(messages.Internal)))
		refused(b, startOf("d"), messages.Internal)
		refused(b, startOf("d"), messages.FailedPrecondition)
		ask(b, waitOf("d"))
		ask(b, deleteOf("d"))
	})
}

// launches is a driver that keeps what it was asked to launch.
type launches struct {
	*fake.Driver
	seen chan messages.Launch
}

func (l launches) inner() *fake.Driver { return l.Driver }

func (l launches) Exec(ctx context.Context, launch messages.Launch) (messages.PIDs, error) {
	l.seen <- launch
	return l.Driver.Exec(ctx, launch)
}

func TestResizeIsRememberedAndWithoutATerminalNothing(t *testing.T) {
	seen := make(chan messages.Launch, 10)
	synctestDriver := func() actors.Driver { return launches{Driver: fake.New(), seen: seen} }
	runOn(t, synctestDriver, actors.Options{}, func(b *bed) {
		b.runs("c")
		size := messages.WindowSize{Cols: 132, Rows: 43}
		ask(b, messages.Resize{Process: process("c"), Size: size})
		b.execs("sleep inf", "c/plain")
		ask(b, messages.Resize{Process: process("c/plain"), Size: size})
		if n := b.calls("resize"); n != 0 {
			t.Errorf("the driver was asked to resize what has no terminal")
		}
		<-seen

		tty := execOf("c/tty", "sleep inf")
		tty.Spec.Terminal, tty.Stdio.Terminal = true, true
		ask(b, tty)
		ask(b, messages.Resize{Process: tty.Process, Size: messages.WindowSize{Cols: 1, Rows: 1}})
		ask(b, messages.Resize{Process: tty.Process, Size: size})
		ask(b, messages.Start{Process: tty.Process})
		if got := (<-seen).Stdio.Size; got != size {
			t.Errorf("it was started with %+v, want the last size %+v", got, size)
		}
		ask(b, messages.Resize{Process: tty.Process, Size: size})
		if n := b.calls("resize c/tty#"); n != 1 {
			t.Errorf("the driver was asked %d times to resize, want once", n)
		}
		ask(b, killOf("c/tty", syscall.SIGKILL))
		ask(b, waitOf("c/tty"))
		ask(b, messages.Resize{Process: tty.Process, Size: size})
	})
}

// A kill of a task that was created and never started hung in gVisor's shim.
func TestAContainerThatWasNeverStartedCanBeKilledAndDeleted(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		ask(b, createOf("killed"))
		elapsed(t, 0, func() {
			ask(b, killOf("killed", syscall.SIGKILL))
			ask(b, waitOf("killed"))
			refused(b, startOf("killed"), messages.FailedPrecondition)
			ask(b, deleteOf("killed"))
		})
		ask(b, createOf("deleted"))
		elapsed(t, 0, func() { ask(b, deleteOf("deleted")) })
		if n := len(b.exits(process("deleted"))); n != 1 {
			t.Errorf("%d exits of a container that was deleted before its start, want 1", n)
		}
	})
}

// A command that is not in the root file system is an error of Create or Start,
// and leaves nothing.
func TestACommandThatDoesNotExistIsAnError(t *testing.T) {
	missing := bundle(t, "no-such-command")
	run(t, actors.Options{}, func(b *bed) {
		refused(b, messages.Create{Container: "n", Bundle: missing}, messages.InvalidArgument)
		b.runs("c")
		ask(b, execOf("c/e", "no-such-command"))
		err := refused(b, startOf("c/e"), messages.NotFound)
		if !strings.Contains(err.Error(), "no-such-command") {
			t.Errorf("%v does not name the command", err)
		}
		if n := len(b.driver.Held()); n != 1 {
			t.Errorf("the driver holds %v, want the container only", b.driver.Held())
		}
		if got := ask(b, deleteOf("c/e")).Exit; got != nil {
			t.Errorf("an exec that never ran has the exit %+v", got)
		}
	})
}

// gVisor's shim lists pids of inside the sandbox that no answer ever named.
func TestPidsAreThoseThatCreateAndStartTold(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		created := ask(b, createOf("c"))
		want := []messages.ProcessPIDs{{Process: process("c"), PIDs: created.PIDs}}
		pids := func() []messages.ProcessPIDs { return ask(b, messages.Pids{Container: "c"}).Processes }
		if got := pids(); !slices.Equal(got, want) {
			t.Errorf("created: %v, want %v", got, want)
		}
		if got := ask(b, startOf("c")).PIDs; got != created.PIDs {
			t.Errorf("create told %v, and start %v", created.PIDs, got)
		}
		for _, name := range []string{"c/a", "c/b", "c/z"} {
			ask(b, execOf(name, "sleep inf"))
			if got := pids(); !slices.Equal(got, want) {
				t.Errorf("%s is added: %v, want %v", name, got, want)
			}
			want = append(want, messages.ProcessPIDs{Process: process(name), PIDs: ask(b, startOf(name)).PIDs})
		}
		if got := pids(); !slices.Equal(got, want) {
			t.Errorf("three run: %v, want %v", got, want)
		}
		ask(b, killOf("c/b", syscall.SIGKILL))
		ask(b, waitOf("c/b"))
		want = slices.Delete(want, 2, 3)
		if got := pids(); !slices.Equal(got, want) {
			t.Errorf("one is gone: %v, want %v", got, want)
		}
		if got := ask(b, stateOf("c/a")).PIDs; got != want[1].PIDs {
			t.Errorf("state tells %v, and pids %v", got, want[1].PIDs)
		}
		ask(b, killOf("c", syscall.SIGKILL))
		ask(b, waitOf("c"))
		if got := pids(); len(got) != 0 {
			t.Errorf("all are gone: %v", got)
		}
	})
}

func TestUnknownContainersAndExecsAreNotFound(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		for _, name := range []string{"nobody", "nobody/e", "c/nobody"} {
			p := process(name)
			refused(b, messages.Start{Process: p}, messages.NotFound)
			refused(b, messages.Kill{Process: p, Signal: syscall.SIGTERM}, messages.NotFound)
			refused(b, messages.Resize{Process: p}, messages.NotFound)
			refused(b, messages.CloseIO{Process: p}, messages.NotFound)
			refused(b, messages.State{Process: p}, messages.NotFound)
			refused(b, messages.Wait{Process: p}, messages.NotFound)
			refused(b, messages.Delete{Process: p}, messages.NotFound)
		}
		refused(b, execOf("nobody/e", "true"), messages.NotFound)
		refused(b, messages.Pause{Container: "nobody"}, messages.NotFound)
		refused(b, messages.Resume{Container: "nobody"}, messages.NotFound)
		refused(b, messages.Update{Container: "nobody", Resources: &messages.Resources{}}, messages.NotFound)
		refused(b, messages.Checkpoint{Container: "nobody", ImagePath: "/image"}, messages.NotFound)
		refused(b, messages.Pids{Container: "nobody"}, messages.NotFound)
		refused(b, messages.Stats{Container: "nobody"}, messages.NotFound)
		refused(b, messages.Connect{Container: "nobody"}, messages.NotFound)
	})
}

// gvisor#7504: kinds of errors were lost on the way. What a driver says arrives
// as it was said, and an error without a kind gets one.
func TestTheKindOfADriversErrorArrives(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		stats := messages.Stats{Container: "c"}
		for _, kind := range messages.Kinds() {
			b.driver.Before(on("stats", "", fail(kind)))
			err := refused(b, stats, kind)
			if !strings.Contains(err.Error(), "as the test wants it") {
				t.Errorf("%v does not say what the driver said", err)
			}
		}
		plain := errors.New("an error of no kind")
		for kind, cause := range map[error]error{
			messages.Internal:         plain,
			messages.DeadlineExceeded: context.DeadlineExceeded,
			messages.Canceled:         context.Canceled,
		} {
			b.driver.Before(on("stats", "", func(context.Context, messages.Incarnation) error { return cause }))
			if err := refused(b, stats, kind); !errors.Is(err, cause) {
				t.Errorf("%v is not %v", err, cause)
			}
		}
		b.driver.Before(on("pause", "", fail(messages.Unimplemented)))
		refused(b, messages.Pause{Container: "c"}, messages.Unimplemented)
		b.status("c", messages.StatusRunning)
	})
}

// A command that no state could accept is refused without any state.
func TestInvalidCommandsAreInvalidArguments(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		bad := []func() error{
			func() error { _, err := try(b, messages.Create{Container: "c"}); return err },
			func() error { _, err := try(b, messages.Create{Container: "a/b", Bundle: noBundle}); return err },
			func() error { _, err := try(b, messages.Exec{Process: process("c")}); return err },
			func() error { _, err := try(b, killOf("c", 65)); return err },
			func() error {
				_, err := try(b, messages.Kill{Process: process("c/e"), Signal: 9, All: true})
				return err
			},
			func() error { _, err := try(b, messages.Update{Container: "c"}); return err },
			func() error { _, err := try(b, messages.Checkpoint{Container: "c", ImagePath: "image"}); return err },
		}
		for i, ask := range bad {
			if err := ask(); messages.KindOf(err) != messages.InvalidArgument {
				t.Errorf("command %d: %v", i, err)
			}
		}
	})
}

// A paused container starts no exec: in gVisor the call would hang until resume.
func TestPauseAndResume(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		ask(b, createOf("c"))
		pause, resume := messages.Pause{Container: "c"}, messages.Resume{Container: "c"}
		refused(b, pause, messages.FailedPrecondition)
		ask(b, startOf("c"))
		refused(b, resume, messages.FailedPrecondition)
		b.execs("sleep inf", "c/e")
		ask(b, execOf("c/added", "true"))

		// A pause waits for the start that is under way.
		g := b.gate()
		ask(b, execOf("c/starting", "sleep inf"))
		b.driver.Before(on("exec", "c/starting", g.pass))
		start := later(b, startOf("c/starting"))
		synctest.Wait()
		paused := later(b, pause)
		if !pending(paused) || b.calls("pause") > 0 {
			t.Error("pause did not wait for the start of an exec")
		}
		g.open()
		if r := <-start; r.err != nil {
			t.Error(r.err)
		}
		if r := <-paused; r.err != nil {
			t.Error(r.err)
		}
		b.status("c", messages.StatusPaused)
		b.status("c/e", messages.StatusPaused)
		b.status("c/added", messages.StatusCreated)
		refused(b, pause, messages.FailedPrecondition)
		refused(b, startOf("c/added"), messages.FailedPrecondition)

		// A start waits for the resume that is under way.
		h := b.gate()
		b.driver.Before(on("resume", "", h.pass))
		resumed := later(b, resume)
		synctest.Wait()
		start = later(b, startOf("c/added"))
		if !pending(start) {
			t.Error("a start did not wait for resume")
		}
		h.open()
		if r := <-resumed; r.err != nil {
			t.Error(r.err)
		}
		if r := <-start; r.err != nil {
			t.Error(r.err)
		}
		b.status("c", messages.StatusRunning)

		// A paused container can be killed and deleted.
		ask(b, pause)
		ask(b, killOf("c", syscall.SIGKILL))
		ask(b, waitOf("c"))
		ask(b, deleteOf("c"))
	})
}

// A checkpoint that does not leave the container running ends it.
func TestACheckpointIsToldAndEndsTheContainer(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		ask(b, messages.Checkpoint{Container: "c", ImagePath: "/image", LeaveRunning: true})
		b.status("c", messages.StatusRunning)
		ask(b, messages.Checkpoint{Container: "c", ImagePath: "/image"})
		ask(b, waitOf("c"))
		n := 0
		for _, e := range b.told() {
			if e == (messages.ContainerCheckpointed{Container: "c", ImagePath: "/image"}) {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d checkpoints were told, want 2", n)
		}
	})
}

// Signals that are sent while a start is under way arrive after it.
func TestAKillDuringStartIsSentAfterIt(t *testing.T) {
	run(t, actors.Options{}, func(b *bed) {
		b.runs("c")
		ask(b, execOf("c/e", "sleep inf"))
		b.driver.Before(on("exec", "", func(context.Context, messages.Incarnation) error {
			time.Sleep(time.Second)
			return nil
		}))
		start := later(b, startOf("c/e"))
		synctest.Wait()
		elapsed(t, time.Second, func() { ask(b, killOf("c/e", syscall.SIGTERM)) })
		if r := <-start; r.err != nil {
			t.Error(r.err)
		}
		if got := ask(b, waitOf("c/e")).Exit.Status; got != 128+int(syscall.SIGTERM) {
			t.Errorf("status %d", got)
		}
	})
}
