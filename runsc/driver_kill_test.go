package runsc_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

func TestKillOfACreatedContainer(t *testing.T) { eachWay(t, testKillOfACreatedContainer) }

func testKillOfACreatedContainer(t *testing.T, s *stage) {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		init := s.create("c", messages.Create{}, "sleep", "1000")
		// runsc drops what can not end what has not begun.
		if err := s.Kill(s.context(), init, unix.SIGHUP, false); err != nil {
			t.Fatal(err)
		}
		if err := s.Kill(s.context(), init, sig, false); err != nil {
			t.Fatal(err)
		}
		if e := s.exit(init); e.Status != 137 {
			t.Errorf("%+v", e)
		}
		wantKind(t, s.Start(s.context(), init), messages.FailedPrecondition, "c")
		s.mustDelete(init)
	}
}

// A second kill of what is gone is NotFound (containerd#2744, containerd#3244,
// containerd#4214).
func TestKillOfWhatIsGone(t *testing.T) { eachWay(t, testKillOfWhatIsGone) }

func testKillOfWhatIsGone(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sleep", "1000")
	wantKind(t, s.Kill(s.context(), l.Process, 9, false), messages.NotFound, "c/e")
	s.exec(l)
	if err := s.Kill(s.context(), l.Process, unix.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	s.wantExit(l.Process, 143)
	wantKind(t, s.Kill(s.context(), l.Process, unix.SIGTERM, false), messages.NotFound, "c/e")
	// All of the container's processes, an exec among them.
	m := s.launch(init, "m", "sleep", "1000")
	s.exec(m)
	if err := s.Kill(s.context(), init, unix.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	if e := s.exit(m.Process); e.Status != 137 {
		t.Errorf("the exec exited with %+v", e)
	}
	s.wantExit(init, 137)
	wantKind(t, s.Kill(s.context(), init, unix.SIGKILL, false), messages.NotFound, "kill c")
	wantKind(t, s.Kill(s.context(), init, unix.SIGKILL, true), messages.NotFound, "kill c")
	unknown := s.incarnation(messages.Init("unknown"))
	wantKind(t, s.Kill(s.context(), unknown, 9, false), messages.NotFound, "unknown")
	if err := s.Delete(s.context(), unknown); err != nil {
		t.Errorf("delete of an unknown container: %v", err)
	}
}

// runsc knows the signals 1 to 31, and the sandbox all of them.
func TestRealTimeSignals(t *testing.T) { eachWay(t, testRealTimeSignals) }

func testRealTimeSignals(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sleep", "1000")
	s.exec(l)
	err := s.Kill(s.context(), l.Process, 40, false)
	if s.options.ExecDriver == runsc.ExecCLI {
		wantKind(t, err, messages.Unimplemented, "kill c/e", "40", "31")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.wantExit(l.Process, 128+40)
	wantKind(t, s.Kill(s.context(), init, 65, false), messages.InvalidArgument, "65")
}

// An exec's runsc that is killed is not the end of its process (gVisor's own shim
// takes it for that).
func TestAKilledStubIsNotTheGuestsExit(t *testing.T) {
	s := newStage(t, byCLI)
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sleep", "1000")
	pids := s.exec(l)
	if err := unix.Kill(pids.Host, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := s.exit(l.Process); e.Status != 137 || !strings.Contains(e.Reason, "signal 9") {
		t.Errorf("%+v", e)
	}
	guests, err := s.Client().Ps(s.context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guests {
		if g == pids.Guest {
			t.Errorf("the process %d lives on when its exit was told", g)
		}
	}
	if n := s.notices.count(init); n != 0 {
		t.Error("the container is gone")
	}
	s.mustDelete(l.Process)
}

// Whatever hangs, delete does not (containerd#7496).
func TestDeleteOfASandboxThatHangs(t *testing.T) {
	eachWay(t, testDeleteOfASandboxThatHangs, func(o *runsc.Options) { o.DeleteTimeout = time.Second })
}

func testDeleteOfASandboxThatHangs(t *testing.T, s *stage) {
	root := s.pod("pod")
	c := s.join("pod", "c", "sleep", "1000")
	if err := s.Start(s.context(), c); err != nil {
		t.Fatal(err)
	}
	state, err := s.Client().State(s.context(), "pod")
	if err != nil {
		t.Fatal(err)
	}
	hang(t, state.Pid)
	// A call ends with its context and kills nothing that it need not.
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	wantKind(t, s.Delete(short, c), messages.DeadlineExceeded, "delete c")
	wantKind(t, s.Kill(short, c, 9, false), messages.DeadlineExceeded, "kill c")
	if n := s.notices.count(root); n != 0 {
		t.Error("the sandbox was killed by a delete that was cancelled")
	}
	s.mustDelete(c)
	s.mustDelete(root)
	if d := time.Since(begin); d > 15*time.Second {
		t.Errorf("it took %v", d)
	}
	for _, p := range []messages.Incarnation{c, root} {
		if e := s.exit(p); e.Status != 137 || s.notices.count(p) != 1 {
			t.Errorf("%s: %+v, told %d times", p, e, s.notices.count(p))
		}
	}
	if left := append(s.files(), s.processes()...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// What hangs in the sandbox ends with its caller, and what comes of it later is
// killed.
func TestExecThatHangs(t *testing.T) { eachWay(t, testExecThatHangs) }

func testExecThatHangs(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	first := s.launch(init, "first", "true")
	s.exec(first)
	s.wantExit(first.Process, 0)
	state, err := s.Client().State(s.context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	hang(t, state.Pid)
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	l := s.launch(init, "e", "sleep", "1000")
	_, err = s.Exec(short, l)
	wantKind(t, err, messages.DeadlineExceeded, "c/e")
	if err := unix.Kill(state.Pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		guests, err := s.Client().Ps(s.context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		stubs := 0
		for _, p := range s.processes() {
			if strings.Contains(p, " exec ") {
				stubs++
			}
		}
		if len(guests) == 1 && stubs == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("guests %v and %d stubs are left", guests, stubs)
		}
	}
	if n := s.notices.count(l.Process); n != 0 {
		t.Error("an exit of an exec that failed was told")
	}
}

func TestPauseStatsUpdate(t *testing.T) { eachWay(t, testPauseStatsUpdate) }

func testPauseStatsUpdate(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	if err := s.Pause(s.context(), init); err != nil {
		t.Fatal(err)
	}
	wantKind(t, s.Pause(s.context(), init), messages.FailedPrecondition, "pause c")
	_, err := s.Exec(s.context(), s.launch(init, "e", "true"))
	wantKind(t, err, messages.FailedPrecondition, "c/e", "paused")
	if err := s.Resume(s.context(), init); err != nil {
		t.Fatal(err)
	}
	u, err := s.Stats(s.context(), init)
	if err != nil || u.Memory.Current == 0 || u.PIDs.Current != 1 || u.CPU.Total == 0 {
		t.Errorf("%+v %v", u, err)
	}
	limit := int64(1 << 30)
	if err := s.Update(s.context(), init, &messages.Resources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		files, _ := filepath.Glob("/sys/fs/cgroup/memory/" + filepath.Base(s.dir) + "*/memory.limit_in_bytes")
		if len(files) != 1 {
			t.Fatalf("no cgroup of the container: %q", files)
		}
		if b, _ := os.ReadFile(files[0]); strings.TrimSpace(string(b)) != strconv.FormatInt(limit, 10) {
			t.Errorf("the limit is %s", b)
		}
	}
	none := s.create("none", messages.Create{Bundle: s.bundle(func(p *specs.Spec) { p.Linux.Resources = nil }, "true")})
	wantKind(t, s.Update(s.context(), none, &messages.Resources{}), messages.FailedPrecondition, "linux.resources")
}

// buffer is a Writer to look at while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestCheckpointAndRestore(t *testing.T) { eachWay(t, testCheckpointAndRestore) }

func testCheckpointAndRestore(t *testing.T, s *stage) {
	image := filepath.Join(s.dir, "image")
	args := []string{"sh", "-c", "echo one; while ! [ -e /tmp/go ]; do sleep 0.05; done; echo two; exit 5"}
	bundle := s.bundle(nil, args...)
	var out buffer
	first := s.create("c", messages.Create{Bundle: bundle, Stdio: messages.Stdio{Pipes: messages.Pipes{Stdout: &out}}})
	if err := s.Start(s.context(), first); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return strings.Contains(out.String(), "one") })
	if err := s.Checkpoint(s.context(), first, messages.Checkpoint{Container: "c", ImagePath: image}); err != nil {
		t.Fatal(err)
	}
	s.exit(first)
	s.mustDelete(first)

	var again buffer
	second := s.create("c", messages.Create{Bundle: bundle, RestoreFrom: image, Stdio: messages.Stdio{Pipes: messages.Pipes{Stdout: &again}}})
	if err := s.Start(s.context(), second); err != nil {
		t.Fatal(err)
	}
	l := s.launch(second, "e", "sh", "-c", "echo > /tmp/go")
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.wantExit(second, 5)
	s.mustDelete(second)
	if again.String() != "two\n" {
		t.Errorf("after the restore it wrote %q", again.String())
	}
	_, err := s.Create(s.context(), s.incarnation(messages.Init("c")), messages.Create{Container: "c", Bundle: bundle, RestoreFrom: "/nowhere"})
	wantKind(t, err, messages.NotFound, "checkpoint of c", "/nowhere")
	// An image that is none.
	third := s.create("c", messages.Create{Bundle: bundle, RestoreFrom: s.rootfs()})
	err = s.Start(s.context(), third)
	t.Log(err)
	wantKind(t, err, messages.NotFound, "start c")
	s.exit(third)
	s.mustDelete(third)
}

// until waits for something that can only be looked at.
func (s *stage) until(ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("it did not happen")
		}
	}
}
