package runsc_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// oldRunsc finds Debian's runsc of 2022, which has another control socket, or
// skips.
func oldRunsc(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		runsc.Missing(t, "not root: runsc needs it")
	}
	path := os.Getenv("TROUPE_OLD_RUNSC")
	if path == "" {
		path = "/usr/bin/runsc"
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil || !strings.Contains(string(out), "2022") {
		runsc.Missing(t, "no runsc of 2022 found at %s: install Debian's package runsc, or set TROUPE_OLD_RUNSC", path)
	}
	return path
}

// A runsc whose sandboxes can not be understood over their sockets is driven by
// the command line, which is found out by itself.
func TestARunscOf2022(t *testing.T) {
	path := oldRunsc(t)
	s, log := logged(t, func(o *runsc.Options) { o.Path, o.Platform = path, "ptrace" })
	init := s.run("c", "sleep", "1000")
	var out buffer
	l := s.launch(init, "e", "sh", "-c", "cat; exit 3")
	l.Stdio.Pipes = messages.Pipes{Stdin: strings.NewReader("some text"), Stdout: &out}
	s.exec(l)
	s.wantExit(l.Process, 3)
	s.mustDelete(l.Process)
	if out.String() != "some text" {
		t.Errorf("it wrote %q", out.String())
	}
	s.wantWay(init, "cli:")
	t.Log(s.Way(init))
	if n := strings.Count(log.String(), "by the command line from now on"); n != 1 {
		t.Errorf("told %d times: %s", n, log)
	}
	if u, err := s.Stats(s.context(), init); err != nil || u.Memory.Current == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	l = s.launch(init, "e", "sleep", "1000")
	s.exec(l)
	if err := s.Kill(s.context(), l.Process, unix.SIGTERM, false); err != nil {
		t.Error(err)
	}
	s.wantExit(l.Process, 143)
	wantKind(t, s.Kill(s.context(), l.Process, unix.SIGTERM, false), messages.NotFound)
	_, err := s.Exec(s.context(), s.launch(init, "none", "no-such-command"))
	wantKind(t, err, messages.NotFound, "no-such-command")
	if err := s.Kill(s.context(), init, unix.SIGKILL, false); err != nil {
		t.Error(err)
	}
	s.wantExit(init, 137)
	s.mustDelete(init)
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}

	// With the socket demanded, that is an error which says why.
	s, _ = logged(t, func(o *runsc.Options) { o.Path, o.Platform, o.ExecDriver = path, "ptrace", runsc.ExecControl })
	init = s.run("c", "sleep", "1000")
	_, err = s.Exec(s.context(), s.launch(init, "e", "true"))
	t.Log(err)
	wantKind(t, err, messages.Unavailable, "c/e", "2024")
}
