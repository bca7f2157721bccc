package runsc_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

var _ actors.Rememberer = (*runsc.Driver)(nil)

func execOf(container, exec string) messages.Process {
	return messages.Process{Container: messages.ContainerID(container), Exec: messages.ExecID(exec)}
}

// mounted is a bundle whose root file system is mounted by Create.
func (s *stage) mounted(id string, args ...string) messages.Create {
	s.t.Helper()
	bundle := s.bundle(func(p *specs.Spec) { p.Root.Path = "rootfs" }, args...)
	return messages.Create{Container: messages.ContainerID(id), Bundle: bundle,
		Rootfs: []messages.Mount{{Type: "bind", Source: s.rootfs(), Options: []string{"rbind", "ro"}}}}
}

// stands tells whether each exec has a runsc of its own.
func (s *stage) stands() bool { return s.options.ExecDriver == runsc.ExecCLI }

// guest is the pid in the sandbox that was written down for an exec.
func (s *stage) guest(p messages.Process) int {
	s.t.Helper()
	d, err := runsc.New(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	defer d.Close()
	all, err := d.Survivors(s.context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range all {
		if x.Process == p {
			return x.PIDs.Guest
		}
	}
	s.t.Fatalf("no %s was left", p)
	return 0
}

// A runtime takes charge of what a program that was killed has left: what lives
// tells its true exit to the new one, what ended meanwhile is told as lost, each
// once and with the init last, and after that nothing is left.
func TestAdopt(t *testing.T) { eachWay(t, testAdopt) }

func testAdopt(t *testing.T, s *stage) {
	a := s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs: []plannedExec{
			{Process: execOf("demo", "lives"), Args: waiting(7), Env: []string{"PASSWORD=hunter2"}},
			{Process: execOf("demo", "ends"), Args: waiting(3)},
			{Process: execOf("demo", "idle"), Args: []string{"sleep", "1000"}},
		},
	})
	if text := s.memoText(); !strings.Contains(text, `"lives"`) || strings.Contains(text, "hunter2") {
		t.Errorf("what was written down is %s", text)
	}
	a.kill()
	s.letEnd("demo", s.guest(execOf("demo", "ends")), 3)

	b := s.startSecond()
	found := b.adopt("demo", "demo/lives", "demo/ends", "demo/idle")
	for name, ended := range map[string]bool{"demo": false, "demo/lives": false, "demo/ends": true, "demo/idle": false} {
		if f := found[name]; f.Ended != ended && !(ended && s.stands()) || !f.Started || f.PIDs.Guest == 0 || f.PIDs.Host == 0 {
			t.Errorf("%s was found as %+v", name, f)
		}
	}
	if f := found["demo/lives"]; len(f.Spec.Args) != 3 || f.Spec.Cwd != "/" || f.Spec.Env != nil {
		t.Errorf("what lives runs %+v", f.Spec)
	}
	b.wantUnseen(execOf("demo", "ends"), 3, s.stands())

	if pids := ask2(b, messages.Pids{Container: "demo"}).Processes; len(pids) != 3 {
		t.Errorf("the pids are %v", pids)
	}
	if u := ask2(b, messages.Stats{Container: "demo"}).Usage; u.Memory.Current == 0 {
		t.Errorf("the usage is %+v", u)
	}
	ask2(b, messages.Resize{Process: execOf("demo", "lives"), Size: messages.WindowSize{Cols: 80, Rows: 24}})
	ask2(b, messages.CloseIO{Process: execOf("demo", "lives")})
	s.let("demo", 7)
	b.wantExit(execOf("demo", "lives"), 7)
	ask2(b, messages.Kill{Process: execOf("demo", "idle"), Signal: syscall.SIGKILL})
	b.wantExit(execOf("demo", "idle"), messages.ExitKilled)

	// The container is one like any other.
	e := messages.Exec{Process: execOf("demo", "lives2"), Spec: messages.ExecSpec{Process: specs.Process{Args: []string{"sh", "-c", "exit 4"}, Env: []string{"PATH=/bin"}, Cwd: "/"}}}
	ask2(b, e)
	ask2(b, messages.Start{Process: e.Process})
	b.wantExit(e.Process, 4)

	ask2(b, messages.Kill{Process: messages.Init("demo"), Signal: syscall.SIGKILL})
	b.wantExit(messages.Init("demo"), messages.ExitKilled)
	for _, x := range []string{"lives", "ends", "idle", "lives2"} {
		ask2(b, messages.Delete{Process: execOf("demo", x)})
	}
	ask2(b, messages.Delete{Process: messages.Init("demo")})
	s.wantNothing()
	b.end()
	for p, n := range b.exits() {
		if n != 1 {
			t.Errorf("%d exits of %s were told", n, p)
		}
	}
}

// memoText is all that is written down.
func (s *stage) memoText() string {
	s.t.Helper()
	var all bytes.Buffer
	err := filepath.WalkDir(s.options.StateDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			s.t.Errorf("%s has mode %v", path, info.Mode())
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all.String()
}

// A second killing, and what was adopted is adopted again.
func TestAdoptAgain(t *testing.T) { eachWay(t, testAdoptAgain) }

func testAdoptAgain(t *testing.T, s *stage) {
	s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs:   []plannedExec{{Process: execOf("demo", "e"), Args: waiting(7)}},
	}).kill()
	d, err := runsc.New(s.options)
	if err != nil {
		t.Fatal(err)
	}
	rt, err := actors.New(actors.Options{Driver: d})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := rt.Adopt(s.context()); err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	// Closed in the middle of its work, as if its program were killed.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	b := s.startSecond()
	b.adopt("demo", "demo/e")
	s.let("demo", 7)
	b.wantExit(execOf("demo", "e"), 7)
	b.end()
	s.wantNothing()
}

// A container that joined a sandbox, one that was never started, and an exec of
// an equal id in each of two.
func TestAdoptPod(t *testing.T) { eachWay(t, testAdoptPod) }

func testAdoptPod(t *testing.T, s *stage) {
	joins := func(id string, args ...string) messages.Create {
		return messages.Create{Container: messages.ContainerID(id), Sandbox: "pod", Bundle: s.bundle(func(p *specs.Spec) { p.Annotations = member("pod") }, args...)}
	}
	a := s.startFirst(plan{
		Creates: []messages.Create{
			{Container: "pod", Sandbox: "pod", Bundle: s.bundle(func(p *specs.Spec) {
				p.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "pod"}
			}, "sleep", "1000")},
			joins("a", waiting(5)...), joins("b", waiting(6)...), joins("c", "sh", "-c", "exit 9"),
		},
		Unstarted: "c",
		Execs: []plannedExec{
			{Process: execOf("a", "e"), Args: waiting(7)},
			{Process: execOf("b", "e"), Args: waiting(8)},
		},
	})
	a.kill()
	// Of a container's init, the sandbox tells the status as often as it is asked.
	s.letEnd("a", s.guest(execOf("a", "e")), 7)
	s.let("a", 5)
	s.until(func() bool {
		state, err := s.Client().State(s.context(), "a")
		return err == nil && state.Status == "stopped"
	})
	b := s.startSecond()
	found := b.adopt("pod", "a", "b", "c", "a/e", "b/e")
	if found["c"].Started || !found["b"].Started {
		t.Errorf("they were found as %+v", found)
	}
	b.wantExit(messages.Init("a"), 5)
	b.wantUnseen(execOf("a", "e"), 7, s.stands())
	s.let("b", 8)
	b.wantExit(execOf("b", "e"), 8)
	s.let("b", 6)
	b.wantExit(messages.Init("b"), 6)
	ask2(b, messages.Start{Process: messages.Init("c")})
	b.wantExit(messages.Init("c"), 9)
	b.end()
	s.wantNothing()
}

// A sandbox that died while nobody was there, and one whose state runsc has
// deleted: each of their processes is told to have ended, and all is deleted.
func TestAdoptDeadSandbox(t *testing.T) { eachWay(t, testAdoptDeadSandbox) }

func testAdoptDeadSandbox(t *testing.T, s *stage) {
	s.startFirst(plan{
		Creates: []messages.Create{s.mounted("dead", "sleep", "1000"), s.mounted("deleted", "sleep", "1000")},
		Execs: []plannedExec{
			{Process: execOf("dead", "e"), Args: []string{"sleep", "1000"}},
			{Process: execOf("deleted", "e"), Args: []string{"sleep", "1000"}},
		},
	}).kill()
	if err := s.Client().Delete(s.context(), "deleted", &runsc.DeleteOpts{Force: true}); err != nil {
		t.Fatal(err)
	}
	state, err := s.Client().State(s.context(), "dead")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(state.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return len(s.processes()) == 0 })
	b := s.startSecond()
	found := b.adopt("dead", "deleted", "dead/e", "deleted/e")
	if !found["deleted"].Ended {
		t.Errorf("it was found as %+v", found["deleted"])
	}
	b.wantUnseen(execOf("dead", "e"), messages.ExitKilled, s.stands())
	b.wantUnseen(execOf("deleted", "e"), messages.ExitKilled, s.stands())
	b.wantExit(messages.Init("deleted"), messages.ExitUnknown)
	// Whoever has to reap it may not have done so, and then its end is known.
	e := ask2(b, messages.Wait{Process: messages.Init("dead")}).Exit
	if e.Reason == "" || e.Status != messages.ExitKilled && e.Status != messages.ExitUnknown {
		t.Errorf("the init of the dead sandbox exited with %+v", e)
	}
	b.end()
	s.wantNothing()
}

// What has another process's number by now is not taken for it, nor killed.
func TestAdoptRecycledPid(t *testing.T) { eachWay(t, testAdoptRecycledPid) }

func testAdoptRecycledPid(t *testing.T, s *stage) {
	s.startFirst(plan{Creates: []messages.Create{s.mounted("demo", "sleep", "1000")}}).kill()
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	state, err := s.Client().State(s.context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.FindProcess(state.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// The record and runsc's own are given the other's number, with the sentry's
	// start time.
	runsc.Renumber(t, s.options, "demo", state.Pid, other.Process.Pid)
	b := s.startSecond()
	if f := b.adopt("demo")["demo"]; !f.Ended {
		t.Errorf("it was found as %+v", f)
	}
	b.wantExit(messages.Init("demo"), messages.ExitUnknown)
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	runsc.Renumber(t, s.options, "demo", other.Process.Pid, state.Pid)
	b.end()
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other process was killed: %v", err)
	}
	s.wantNothing()
}

// A file that can not be read is named, and the others are adopted.
func TestAdoptCorruptRecord(t *testing.T) {
	s := newStage(t)
	s.startFirst(plan{
		Creates: []messages.Create{s.mounted("good", "sleep", "1000"), s.mounted("bad", "sleep", "1000")},
		Execs:   []plannedExec{{Process: execOf("good", "x"), Args: waiting(7)}, {Process: execOf("good", "y"), Args: waiting(8)}},
	}).kill()
	container, err := filepath.Glob(filepath.Join(s.options.StateDir, "*", "container.json"))
	if err != nil || len(container) != 2 {
		t.Fatal(container, err)
	}
	bad := container[0]
	if b, _ := os.ReadFile(bad); !bytes.Contains(b, []byte(`"bad"`)) {
		bad = container[1]
	}
	execs, _ := filepath.Glob(filepath.Join(s.options.StateDir, "*", "exec-y.json"))
	if len(execs) != 1 {
		t.Fatal(execs)
	}
	whole := map[string][]byte{}
	for path, text := range map[string]string{bad: `{"version":1,"container":`, execs[0]: `{"version":2}`} {
		whole[path], _ = os.ReadFile(path)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := runsc.New(s.options)
	if err != nil {
		t.Fatal(err)
	}
	all, err := d.Survivors(s.context())
	if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), execs[0]) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("the error is %v", err)
	}
	if len(all) != 2 || all[0].Process != messages.Init("good") || all[1].Process != execOf("good", "x") {
		t.Errorf("what was found is %+v", all)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for path, b := range whole {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := s.startSecond()
	b.adopt("good", "bad", "good/x", "good/y")
	b.end()
	s.wantNothing()
}

// Two drivers that live share a folder, and neither takes what is the other's.
func TestAdoptSharedStateDir(t *testing.T) {
	s := newStage(t)
	a := s.startFirst(plan{Creates: []messages.Create{s.mounted("theirs", "sleep", "1000")}})
	init := s.run("mine", "sleep", "1000")
	b := s.startSecond()
	b.adopt()
	// In the same program too.
	if all, err := s.Survivors(s.context()); err != nil || len(all) > 0 {
		t.Errorf("found %v, %v", all, err)
	}
	if roots, err := runsc.LeftRoots(s.options.StateDir); err != nil || len(roots) > 0 {
		t.Errorf("roots are %q, %v", roots, err)
	}
	a.kill()
	if roots, err := runsc.LeftRoots(s.options.StateDir); err != nil || len(roots) != 1 || roots[0] != s.options.Root {
		t.Errorf("roots are %q, %v", roots, err)
	}
	elsewhere := s.options
	elsewhere.Root += "2"
	d, err := runsc.New(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := d.Survivors(s.context()); err != nil || len(all) > 0 {
		t.Errorf("a driver of another root has found %v, %v", all, err)
	}
	_ = d.Close()
	b.adopt("theirs")
	// Once one has them, nobody else does.
	if all, err := s.Survivors(s.context()); err != nil || len(all) > 0 {
		t.Errorf("found %v, %v", all, err)
	}
	b.end()
	s.mustDelete(init)
	s.wantNothing()
}
