package runsc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// wantNothingLeft checks for what a failed call could have left.
func (s *stage) wantNothingLeft() {
	s.t.Helper()
	if left := s.processes(); len(left) > 0 {
		s.t.Errorf("processes are left: %q", left)
	}
	if left := s.files(); len(left) > 0 {
		s.t.Errorf("files are left: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], s.dir+"/") && f[4] != s.options.StateDir && filepath.Base(f[4]) != "null-netns" {
			s.t.Errorf("a mount is left: %s", f[4])
		}
	}
	for _, x := range s.notices.all {
		s.t.Errorf("told %+v", x)
	}
}

func TestCreateRefusesABadBundle(t *testing.T) {
	s := newStage(t)
	bad := func(change func(*specs.Spec)) string { return s.bundle(change, "true") }
	write := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		bundle string
		kind   error
		words  []string
	}{
		"absent":           {"/nowhere/at/all", messages.NotFound, []string{"/nowhere/at/all"}},
		"a file":           {file, messages.InvalidArgument, []string{"no folder"}},
		"no config.json":   {t.TempDir(), messages.NotFound, []string{"config.json"}},
		"malformed":        {write("{"), messages.InvalidArgument, []string{"config.json"}},
		"no process":       {bad(func(p *specs.Spec) { p.Process = nil }), messages.InvalidArgument, []string{"no process"}},
		"no args":          {bad(func(p *specs.Spec) { p.Process.Args = nil }), messages.InvalidArgument, []string{"process.args"}},
		"a relative cwd":   {bad(func(p *specs.Spec) { p.Process.Cwd = "x" }), messages.InvalidArgument, []string{"process.cwd"}},
		"no root":          {bad(func(p *specs.Spec) { p.Root = nil }), messages.InvalidArgument, []string{"root.path"}},
		"root is absent":   {bad(func(p *specs.Spec) { p.Root.Path = "/nowhere" }), messages.NotFound, []string{"/nowhere"}},
		"root is a file":   {bad(func(p *specs.Spec) { p.Root.Path = file }), messages.InvalidArgument, []string{"no folder"}},
		"no such command":  {bad(func(p *specs.Spec) { p.Process.Args[0] = "nosuch" }), messages.NotFound, []string{"nosuch", "PATH"}},
		"no such path":     {bad(func(p *specs.Spec) { p.Process.Args[0] = "/bin/nosuch" }), messages.NotFound, []string{"/bin/nosuch"}},
		"another terminal": {bad(func(p *specs.Spec) { p.Process.Terminal = true }), messages.InvalidArgument, []string{"terminal"}},
		"of another's pod": {bad(func(p *specs.Spec) { p.Annotations = member("other") }), messages.InvalidArgument, []string{"other"}},
	} {
		_, err := s.Create(s.context(), s.incarnation(messages.Init("c")), messages.Create{Container: "c", Bundle: test.bundle})
		if err == nil {
			t.Errorf("%s: created", name)
			continue
		}
		t.Log(err)
		wantKind(t, err, test.kind, append(test.words, " c")...)
	}
	s.wantNothingLeft()
}

// A command that only a mount could bring is not judged at create; then start
// says so, and the sandbox does not stay.
func TestStartOfACommandThatIsNotThere(t *testing.T) { eachWay(t, testStartOfACommandThatIsNotThere) }

func testStartOfACommandThatIsNotThere(t *testing.T, s *stage) {
	bundle := s.bundle(func(p *specs.Spec) {
		p.Mounts = append(p.Mounts, specs.Mount{Destination: "/opt", Type: "bind", Source: t.TempDir(), Options: []string{"bind", "ro"}})
	}, "nosuch")
	init := s.create("c", messages.Create{Bundle: bundle})
	err := s.Start(s.context(), init)
	t.Log(err)
	wantKind(t, err, messages.NotFound, "start c", "nosuch")
	if e := s.exit(init); e.Reason == "" {
		t.Errorf("the exit %+v has no reason", e)
	}
	wantKind(t, s.Start(s.context(), init), messages.FailedPrecondition)
	s.mustDelete(init)
	s.notices.all = nil
	s.wantNothingLeft()
}

func TestExecOfACommandThatIsNotThere(t *testing.T) { eachWay(t, testExecOfACommandThatIsNotThere) }

func testExecOfACommandThatIsNotThere(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	before := len(s.files())
	l := s.launch(init, "e", "nosuch")
	_, err := s.Exec(s.context(), l)
	t.Log(err)
	wantKind(t, err, messages.NotFound, "c/e", "nosuch")
	if n := s.notices.count(l.Process); n != 0 {
		t.Errorf("%d exits of an exec that failed", n)
	}
	if after := len(s.files()); after != before {
		t.Errorf("files are left: %q", s.files())
	}
	s.mustDelete(l.Process)
	ok := s.launch(init, "e", "true")
	s.exec(ok)
	s.wantExit(ok.Process, 0)
}

// fakeRunsc writes a program that runs body for one command and is runsc for all
// others.
func fakeRunsc(t *testing.T, command, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runsc")
	script := fmt.Sprintf("#!/bin/bash\nfor a in \"$@\"; do case \"$a\" in\n%s) %s ;;\n-*) ;;\n*) break ;;\nesac; done\nexec %s \"$@\"\n", command, body, runscPath(t))
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWithoutARunscThatWorks(t *testing.T) {
	runscPath(t)
	folder := t.TempDir()
	text := filepath.Join(folder, "text")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(folder, "locked")
	if err := os.WriteFile(locked, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	liar := filepath.Join(folder, "liar")
	if err := os.WriteFile(liar, []byte("#!/bin/sh\necho something else\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nowhere/runsc", "no-such-runsc", text, locked, liar} {
		s := newStage(t, func(o *runsc.Options) { o.Path = path })
		_, err := s.Info(s.context())
		t.Log(err)
		wantKind(t, err, messages.Unavailable, filepath.Base(path))
		if path == liar {
			continue
		}
		_, err = s.Create(s.context(), s.incarnation(messages.Init("c")), messages.Create{Container: "c", Bundle: s.bundle(nil, "true")})
		wantKind(t, err, messages.Unavailable, filepath.Base(path), "create c")
		s.wantNothingLeft()
	}
}

// A runtime that hangs is killed with all that it began (containerd#11871,
// gvisor#14427).
func TestCreateThatHangsLeavesNothing(t *testing.T) {
	for name, body := range map[string]string{
		"before anything": `exec sleep 1000`,
		// The sandbox is there, and runsc is killed before it has told of it.
		"with a sandbox": `"` + runscPath(t) + `" "$@"; sleep 1000`,
		"a crash":        `kill -SEGV $$`,
	} {
		t.Run(name, func(t *testing.T) {
			path := fakeRunsc(t, "create", body)
			s := newStage(t, func(o *runsc.Options) { o.Path = path })
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			begin := time.Now()
			_, err := s.Create(ctx, s.incarnation(messages.Init("c")), messages.Create{Container: "c", Bundle: s.bundle(nil, "true")})
			t.Log(err)
			if name == "a crash" {
				wantKind(t, err, messages.Internal, "signal 11")
			} else {
				wantKind(t, err, messages.DeadlineExceeded, "create c")
			}
			if d := time.Since(begin); d > 8*time.Second {
				t.Errorf("it took %v", d)
			}
			s.wantNothingLeft()
		})
	}
}

// What a runsc that loses its sandbox says is told as that the container is dead,
// also where it is gone before that is seen of the sandbox.
func TestExecThatLosesItsSandbox(t *testing.T) {
	for _, cause := range []string{"EOF", "connection reset by peer", "write: broken pipe"} {
		t.Run(cause, func(t *testing.T) {
			killed := filepath.Join(t.TempDir(), "killed")
			path := fakeRunsc(t, "exec", fmt.Sprintf(`kill -KILL $(cat %s) && echo '{"level":"error","msg":"executing processes: urpc method \"X\" failed: %s"}' >"${2#--log=}"; exit 128`, killed, cause))
			s := newStage(t, byCLI, func(o *runsc.Options) { o.Path = path })
			letGo := s.HoldCodes()
			defer letGo()
			init := s.run("c", "sleep", "1000")
			if err := os.WriteFile(killed, []byte(strconv.Itoa(s.sentry("c"))), 0o600); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				_, err := s.Exec(s.context(), s.launch(init, "e", "true"))
				failed <- err
			}()
			s.until(func() bool { return len(s.processes()) == 0 })
			letGo()
			wantKind(t, <-failed, messages.FailedPrecondition, "c/e", "its container is dead", cause)
			if e := s.exit(init); e.Status != messages.ExitKilled {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestStateFolderThatCanNotBeWritten(t *testing.T) {
	s := newStage(t)
	if err := os.MkdirAll(s.options.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options string
		flags   uintptr
		kind    error
	}{
		"read-only": {"", unix.MS_RDONLY, messages.FailedPrecondition},
		// Room for the folder itself and nothing in it.
		"no inodes": {"nr_inodes=1", 0, messages.ResourceExhausted},
		// Room for a folder and not for what is in a pid file.
		"no blocks": {"size=4k", 0, messages.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			if err := unix.Mount("tmpfs", s.options.StateDir, "tmpfs", test.flags, test.options); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Unmount(s.options.StateDir, unix.MNT_DETACH) }()
			full := filepath.Join(s.options.StateDir, "full")
			if name == "no blocks" {
				if err := os.WriteFile(full, make([]byte, 4096), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.Create(s.context(), s.incarnation(messages.Init("c")), messages.Create{Container: "c", Bundle: s.bundle(nil, "true")})
			t.Log(err)
			wantKind(t, err, test.kind, " c")
			_ = os.Remove(full)
			s.wantNothingLeft()
		})
	}
}

func TestOptionsNameEveryBadField(t *testing.T) {
	_, err := runsc.New(runsc.Options{Root: "root", StateDir: strings.Repeat("/x", 50), LogFormat: "xml", Network: "mesh", CallTimeout: -1, UID: -1,
		Config: map[string]string{"root": "/x", "--overlay2": "none", "": "x"}})
	wantKind(t, err, messages.InvalidArgument, "Root", "StateDir", "LogFormat", "Network", "CallTimeout", "UID", `"root"`, `"--overlay2"`, `""`)
}
