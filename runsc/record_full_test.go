package runsc_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// An exec that can not be written down does not stay: no successor could find it.
func TestExecThatCanNotBeWrittenDown(t *testing.T) { eachWay(t, testExecThatCanNotBeWrittenDown) }

func testExecThatCanNotBeWrittenDown(t *testing.T, s *stage) {
	if err := os.MkdirAll(s.options.StateDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", s.options.StateDir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(s.options.StateDir, unix.MNT_DETACH) }()
	init := s.run("c", "sleep", "1000")
	s.exec(s.launch(init, "before", "sleep", "1000"))
	full := filepath.Join(s.options.StateDir, "full")
	if err := os.WriteFile(full, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	files := s.files()
	guests, err := s.Client().Ps(s.context(), "c")
	if err != nil || len(guests) != 2 {
		t.Fatal(guests, err)
	}
	l := s.launch(init, "e", "sleep", "1000")
	_, err = s.Exec(s.context(), l)
	wantKind(t, err, messages.ResourceExhausted, "c/e", s.options.StateDir)
	if now, err := s.Client().Ps(s.context(), "c"); err != nil || !slices.Equal(now, guests) {
		t.Errorf("the processes are %v, %v, and were %v", now, err, guests)
	}
	if now := s.files(); !slices.Equal(now, files) {
		t.Errorf("the files are %q, and were %q", now, files)
	}
	if n := s.notices.count(l.Process); n != 0 {
		t.Errorf("%d exits were told of what failed", n)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	again := s.launch(init, "e", "sh", "-c", "exit 4")
	s.exec(again)
	s.wantExit(again.Process, 4)
	s.mustDelete(again.Process)
	s.mustDelete(init)
}

// A container whose program was killed while it made it is taken back, since
// nobody was told of it.
func TestAdoptHalfMadeContainer(t *testing.T) {
	s := newStage(t)
	s.startFirst(plan{Creates: []messages.Create{s.mounted("half", "sleep", "1000")}}).kill()
	paths, _ := filepath.Glob(filepath.Join(s.options.StateDir, "*", "container.json"))
	if len(paths) != 1 {
		t.Fatal(paths)
	}
	b, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[0], bytes.Replace(b, []byte(`"created":true`), []byte(`"created":false`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := runsc.New(s.options)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if all, err := d.Survivors(s.context()); err != nil || len(all) > 0 {
		t.Errorf("found %v, %v", all, err)
	}
	s.wantNothing()
}
