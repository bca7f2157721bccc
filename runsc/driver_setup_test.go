package runsc_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// The actors take a Driver as it is.
var _ actors.Driver = (*runsc.Driver)(nil)

// runscPath finds the runsc to test with, or skips.
func runscPath(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		runsc.Missing(t, "not root: runsc needs it")
	}
	if path := os.Getenv("TROUPE_RUNSC"); path != "" {
		return path
	}
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", "bin", "runsc")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	path, err := exec.LookPath("runsc")
	if err != nil {
		runsc.Missing(t, "no runsc found: set TROUPE_RUNSC, run make, or put one into PATH")
	}
	return path
}

// stage is a driver on real runsc, with a place of its own on the disk.
type stage struct {
	t testing.TB
	*runsc.Driver
	options runsc.Options
	dir     string
	notices *notices
	number  atomic.Uint64
}

// byCLI makes the driver one that uses the command line only.
func byCLI(o *runsc.Options) { o.ExecDriver = runsc.ExecCLI }

// eachWay runs a test over the control socket and by the command line.
func eachWay(t *testing.T, test func(*testing.T, *stage), change ...func(*runsc.Options)) {
	for _, way := range []string{runsc.ExecControl, runsc.ExecCLI} {
		t.Run(way, func(t *testing.T) {
			test(t, newStage(t, append(change, func(o *runsc.Options) { o.ExecDriver = way })...))
		})
	}
}

func newStage(t testing.TB, change ...func(*runsc.Options)) *stage {
	t.Helper()
	path := runscPath(t)
	// Not t.TempDir: its path is too long for a socket's.
	dir, err := os.MkdirTemp("", "drv")
	if err != nil {
		t.Fatal(err)
	}
	o := runsc.Options{Path: path, Root: filepath.Join(dir, "root"), StateDir: filepath.Join(dir, "state"), Platform: "systrap", Network: "none"}
	for _, c := range change {
		c(&o)
	}
	d, err := runsc.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, Driver: d, options: o, dir: dir, notices: newNotices()}
	d.Notify(s.notices.tell)
	t.Cleanup(func() {
		s.sweep()
		_ = d.Close()
		// runsc keeps a network namespace mounted for all sandboxes of a root, and
		// several of it if the first ones are created at once.
		for unix.Unmount(filepath.Join(o.Root, "null-netns"), unix.MNT_DETACH) == nil {
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir) + "*"); len(left) > 0 {
			t.Errorf("cgroups are left: %q", left)
		}
	})
	return s
}

// sweep deletes what a test left, and complains of processes that are left then.
func (s *stage) sweep() {
	entries, _ := os.ReadDir(s.options.Root)
	for _, e := range entries {
		if id, _, ok := strings.Cut(e.Name(), "_sandbox:"); ok && strings.HasSuffix(e.Name(), ".state") {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			_ = s.Client().Delete(ctx, id, &runsc.DeleteOpts{Force: true})
			cancel()
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := s.processes()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("processes are left: %q", left)
			return
		}
	}
}

// processes are the command lines of all living processes of this stage.
func (s *stage) processes() (found []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		b, _ := os.ReadFile(p)
		if line := strings.ReplaceAll(string(b), "\x00", " "); strings.Contains(line, s.options.Root) {
			found = append(found, line)
		}
	}
	return found
}

// files are what lies in the state folders, runsc's own permanent file aside.
func (s *stage) files() (found []string) {
	for _, dir := range []string{s.options.Root, s.options.StateDir} {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && path != dir && e.Name() != "null-netns" {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// context is one for a test's calls.
func (s *stage) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

// incarnation makes a new one of p.
func (s *stage) incarnation(p messages.Process) messages.Incarnation {
	return messages.Incarnation{Process: p, Number: s.number.Add(1)}
}

// bundle writes a bundle with a busybox as its root.
func (s *stage) bundle(change func(*specs.Spec), args ...string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "bundle")
	if err != nil {
		s.t.Fatal(err)
	}
	spec := &specs.Spec{
		Version: "1.1.0",
		Process: &specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", Capabilities: &specs.LinuxCapabilities{}},
		Root:    &specs.Root{Path: s.rootfs(), Readonly: true},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}},
		Linux:   &specs.Linux{Resources: &specs.LinuxResources{}, CgroupsPath: "/" + filepath.Base(s.dir) + filepath.Base(dir)},
	}
	if change != nil {
		change(spec)
	}
	b, err := json.Marshal(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// rootfs is a root file system with a busybox.
func (s *stage) rootfs() string {
	s.t.Helper()
	root := filepath.Join(s.dir, "rootfs")
	if _, err := os.Stat(root); err == nil {
		return root
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		runsc.Missing(s.t, "no busybox found: install busybox-static")
	}
	b, err := os.ReadFile(busybox)
	if err == nil {
		err = os.MkdirAll(filepath.Join(root, "bin"), 0o755)
	}
	for _, name := range []string{"proc", "tmp", "sys", "dev"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	err = errors.Join(err, os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755))
	for _, name := range []string{"sh", "true", "false", "sleep", "cat", "echo", "kill", "stty", "tty", "ps", "head", "dd"} {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(root, "bin", name)))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return root
}

// create makes a container that runs args.
func (s *stage) create(id string, m messages.Create, args ...string) messages.Incarnation {
	s.t.Helper()
	m.Container = messages.ContainerID(id)
	if m.Bundle == "" {
		m.Bundle = s.bundle(func(p *specs.Spec) { p.Process.Terminal = m.Stdio.Terminal }, args...)
	}
	init := s.incarnation(messages.Init(m.Container))
	if _, err := s.Create(s.context(), init, m); err != nil {
		s.t.Fatalf("create %s: %v", id, err)
	}
	return init
}

// run creates and starts a container.
func (s *stage) run(id string, args ...string) messages.Incarnation {
	s.t.Helper()
	init := s.create(id, messages.Create{}, args...)
	if err := s.Start(s.context(), init); err != nil {
		s.t.Fatalf("start %s: %v", id, err)
	}
	return init
}

// launch is an exec of args.
func (s *stage) launch(init messages.Incarnation, exec string, args ...string) messages.Launch {
	p := messages.Process{Container: init.Container, Exec: messages.ExecID(exec)}
	return messages.Launch{Init: init, Process: s.incarnation(p), Spec: messages.ExecSpec{Process: specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/"}}}
}

// exec starts one.
func (s *stage) exec(l messages.Launch) messages.PIDs {
	s.t.Helper()
	pids, err := s.Exec(s.context(), l)
	if err != nil {
		s.t.Fatalf("exec %s: %v", l.Process, err)
	}
	return pids
}

// exit waits for the exit of a process.
func (s *stage) exit(p messages.Incarnation) messages.Exit {
	s.t.Helper()
	e, ok := s.notices.wait(p, 30*time.Second)
	if !ok {
		s.t.Fatalf("no exit of %s was told", p)
	}
	return e
}

func (s *stage) mustDelete(p messages.Incarnation) {
	s.t.Helper()
	if err := s.Delete(s.context(), p); err != nil {
		s.t.Fatalf("delete %s: %v", p, err)
	}
}

// wantExit checks the status that was told, and that it was the process's own.
func (s *stage) wantExit(p messages.Incarnation, status int) {
	s.t.Helper()
	if e := s.exit(p); e.Status != status || e.Reason != "" {
		s.t.Errorf("%s exited with %d (%q), want %d", p, e.Status, e.Reason, status)
	}
}

// wantKind checks the kind of an error and that its text has all of words.
func wantKind(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if messages.KindOf(err) != kind {
		t.Errorf("the error is %v: %v, want %v", messages.KindOf(err), err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error says %q, want %q in it", err, w)
		}
	}
}

// notices keeps what a driver tells.
type notices struct {
	mu    sync.Mutex
	all   []messages.Notice
	exits map[messages.Incarnation]messages.Exit
	more  chan struct{}
}

func newNotices() *notices {
	return &notices{exits: map[messages.Incarnation]messages.Exit{}, more: make(chan struct{})}
}

func (n *notices) tell(x messages.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, x)
	if e, ok := x.(messages.ExitNotice); ok {
		n.exits[e.Process] = e.Exit
	}
	close(n.more)
	n.more = make(chan struct{})
}

func (n *notices) wait(p messages.Incarnation, d time.Duration) (messages.Exit, bool) {
	late := time.After(d)
	for {
		n.mu.Lock()
		e, ok := n.exits[p]
		more := n.more
		n.mu.Unlock()
		if ok {
			return e, true
		}
		select {
		case <-more:
		case <-late:
			return messages.Exit{}, false
		}
	}
}

// count is how often an exit of p was told.
func (n *notices) count(p messages.Incarnation) (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range n.all {
		if e, ok := x.(messages.ExitNotice); ok && e.Process == p {
			count++
		}
	}
	return count
}
