package runsc_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// fifos makes the FIFOs of one process and opens our ends of them.
func (s *stage) fifos(name string) (messages.Stdio, *os.File, *bufio.Reader) {
	s.t.Helper()
	io := messages.Stdio{Stdin: filepath.Join(s.dir, name+"-in"), Stdout: filepath.Join(s.dir, name+"-out")}
	var ends [2]*os.File
	for i, path := range []string{io.Stdin, io.Stdout} {
		err := unix.Mkfifo(path, 0o600)
		if err == nil {
			// For both ways: opening does not wait for the process's end.
			ends[i], err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { ends[i].Close() })
	}
	return io, ends[0], bufio.NewReader(ends[1])
}

func (s *stage) say(in *os.File, out *bufio.Reader, line string) {
	s.t.Helper()
	if _, err := in.WriteString(line); err != nil {
		s.t.Fatal(err)
	}
	s.wantLine(out, line)
}

func (s *stage) wantLine(out *bufio.Reader, line string) {
	s.t.Helper()
	got := make(chan string, 1)
	go func() {
		text, _ := out.ReadString('\n')
		got <- text
	}()
	select {
	case text := <-got:
		if text != line {
			s.t.Fatalf("it said %q, want %q", text, line)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatalf("it did not say %q", line)
	}
}

// FIFOs that the process has itself go on: what is written while nobody is there
// arrives, a writer that goes away after the adoption does not end its stdin, and
// CloseIO does.
func TestAdoptFIFOs(t *testing.T) {
	s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	io, in, out := s.fifos("cat")
	closedIO, closedIn, closedOut := s.fifos("closed")
	a := s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs: []plannedExec{
			{Process: execOf("demo", "cat"), Args: []string{"cat"}, Stdio: io},
			{Process: execOf("demo", "closed"), Args: []string{"cat"}, Stdio: closedIO, Closed: true},
		},
	})
	s.say(in, out, "one\n")
	s.say(closedIn, closedOut, "one\n")
	a.kill()
	s.say(in, out, "two\n")

	b := s.startSecond()
	b.adopt("demo", "demo/cat", "demo/closed")
	// Its last writer goes, and CloseIO was called before the killing.
	if err := closedIn.Close(); err != nil {
		t.Fatal(err)
	}
	b.wantExit(execOf("demo", "closed"), 0)

	// A writer goes, and another comes. In between the pipe is ours alone.
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	in, err := os.OpenFile(io.Stdin, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	s.say(in, out, "three\n")
	ask2(b, messages.CloseIO{Process: execOf("demo", "cat")})
	if _, err := in.WriteString("four\n"); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	s.wantLine(out, "four\n")
	b.wantExit(execOf("demo", "cat"), 0)
	b.end()
	s.wantNothing()
}

// What a process sees whose terminal or pipe ended with the program: the end of
// its input, and an error when it writes.
func TestAdoptDeadStreams(t *testing.T) { eachWay(t, testAdoptDeadStreams) }

func testAdoptDeadStreams(t *testing.T, s *stage) {
	script := func(name string) []string {
		// It goes on without its streams, and tells what became of them.
		return []string{"sh", "-c", strings.ReplaceAll(`trap '' HUP PIPE; echo y >/tmp/NAME-ready; while read x; do :; done; echo end >/tmp/NAME-in
			if echo x 2>/dev/null; then r=ok; else r=failed; fi; echo $r >/tmp/NAME-out; sleep 1000`, "NAME", name)}
	}
	a := s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs: []plannedExec{
			{Process: execOf("demo", "tty"), Args: script("tty"), Stdio: messages.Stdio{Terminal: true, Stdout: "file://" + s.dir + "/tty"}},
		},
	})
	s.awaitFile("demo", "/tmp/tty-ready")
	a.kill()
	b := s.startSecond()
	b.adopt("demo", "demo/tty")
	ask2(b, messages.Resize{Process: execOf("demo", "tty"), Size: messages.WindowSize{Cols: 99, Rows: 9}})
	s.awaitFile("demo", "/tmp/tty-out")
	out := filepath.Join(s.dir, "seen")
	see := messages.Exec{Process: execOf("demo", "see"), Stdio: messages.Stdio{Stdout: "file://" + out}}
	see.Spec.Args, see.Spec.Env, see.Spec.Cwd = []string{"sh", "-c", "cat /tmp/tty-in /tmp/tty-out"}, []string{"PATH=/bin"}, "/"
	ask2(b, see)
	ask2(b, messages.Start{Process: see.Process})
	b.wantExit(see.Process, 0)
	ask2(b, messages.Delete{Process: see.Process})
	if text, err := os.ReadFile(out); err != nil || string(text) != "end\nfailed\n" {
		t.Errorf("it saw %q, %v", text, err)
	}
	ask2(b, messages.Kill{Process: execOf("demo", "tty"), Signal: unix.SIGKILL})
	b.wantExit(execOf("demo", "tty"), messages.ExitKilled)
	b.end()
	s.wantNothing()
}
