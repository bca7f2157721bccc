package runsc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// fifo makes one in the stage's folder.
func (s *stage) fifo(name string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// open opens a file that is closed after the test.
func (s *stage) open(path string, flags int) *os.File {
	s.t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

// reader is the end of a FIFO that a client has.
func (s *stage) reader(path string) *os.File { return s.open(path, os.O_RDONLY|unix.O_NONBLOCK) }

// expect reads what is in f until it has text.
func (s *stage) expect(f *os.File, text string) {
	s.t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(f, got); err != nil || string(got) != text {
		s.t.Fatalf("read %q, %v; want %q", got[:n], err, text)
	}
}

// rest reads f to its end.
func (s *stage) rest(f *os.File) string {
	s.t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		s.t.Fatalf("after %q: %v", b, err)
	}
	return string(b)
}

// A client of stdin may go and another come; CloseIO ends it, after what was
// written, when the last one is gone (containerd#4489, moby#38001).
func TestStdinOfAFIFO(t *testing.T) { eachWay(t, testStdinOfAFIFO) }

func testStdinOfAFIFO(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sh", "-c", "cat; echo end; exit 5")
	l.Stdio.Stdin, l.Stdio.Stdout = s.fifo("in"), s.fifo("out")
	out := s.reader(l.Stdio.Stdout)
	s.exec(l)
	for _, text := range []string{"first\n", "second\n"} {
		in := s.open(l.Stdio.Stdin, os.O_WRONLY)
		if _, err := io.WriteString(in, text); err != nil {
			t.Fatal(err)
		}
		in.Close()
		s.expect(out, text)
	}
	in := s.open(l.Stdio.Stdin, os.O_WRONLY)
	for range 2 {
		if err := s.CloseIO(s.context(), l.Process); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(in, "third\n"); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if got := s.rest(out); got != "third\nend\n" {
		t.Errorf("it wrote %q", got)
	}
	s.wantExit(l.Process, 5)
	// Nobody has the FIFO any more.
	s.until(func() bool { return s.isUnread(l.Stdio.Stdin) })
	s.mustDelete(l.Process)

	// Closed before the start.
	l = s.launch(init, "closed", "cat")
	l.Stdio.Stdin, l.StdinClosed = filepath.Join(s.dir, "in"), true
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.mustDelete(l.Process)
}

// A reader that goes away and comes back, as containerd does when it is
// restarted, finds all, and nobody is killed.
func TestAReaderThatComesBack(t *testing.T) { eachWay(t, testAReaderThatComesBack) }

func testAReaderThatComesBack(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sh", "-c", "while read x; do echo got $x; done; exit 6")
	l.Stdio.Stdin, l.Stdio.Stdout = s.fifo("in"), s.fifo("out")
	out := s.reader(l.Stdio.Stdout)
	s.exec(l)
	in := s.open(l.Stdio.Stdin, os.O_WRONLY)
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(in, text+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	say("one")
	s.expect(out, "got one\n")
	out.Close()
	for i := range 100 {
		say(fmt.Sprintf("%d away", i))
	}
	// It has answered all of it when it reads no more.
	s.until(func() bool { return unread(t, in) == 0 })
	if n := s.notices.count(l.Process); n != 0 {
		t.Fatal("it is dead")
	}
	out = s.reader(l.Stdio.Stdout)
	for i := range 100 {
		s.expect(out, fmt.Sprintf("got %d away\n", i))
	}
	// Away while it ends.
	say("last")
	s.until(func() bool { return unread(t, out) == len("got last\n") })
	out.Close()
	in.Close()
	if err := s.CloseIO(s.context(), l.Process); err != nil {
		t.Fatal(err)
	}
	s.wantExit(l.Process, 6)
	if got := s.rest(s.reader(l.Stdio.Stdout)); got != "got last\n" {
		t.Errorf("after its end there is %q", got)
	}
	s.mustDelete(l.Process)
}

func unread(t *testing.T, f *os.File) int {
	t.Helper()
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := conn.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Nobody reads: only the process itself waits (containerd#2551, containerd#2877),
// and who comes later gets every byte.
func TestAFIFOWithoutAReader(t *testing.T) { eachWay(t, testAFIFOWithoutAReader) }

func testAFIFOWithoutAReader(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sh", "-c", "head -c 1000000 /dev/zero; exit 3")
	l.Stdio.Stdout = s.fifo("out")
	s.exec(l)
	other := s.launch(init, "other", "true")
	s.exec(other)
	s.wantExit(other.Process, 0)
	if n := s.notices.count(l.Process); n != 0 {
		t.Fatal("it did not wait")
	}
	out := s.reader(l.Stdio.Stdout)
	if err := out.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, out)
	if n != 1000000 || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	out.Close()
	s.wantExit(l.Process, 3)
	s.mustDelete(l.Process)

	// A short one is gone before its reader comes.
	short := s.launch(init, "short", "echo", "text")
	short.Stdio.Stdout = l.Stdio.Stdout
	s.exec(short)
	s.wantExit(short.Process, 0)
	out = s.reader(l.Stdio.Stdout)
	if got := s.rest(out); got != "text\n" {
		t.Errorf("there is %q", got)
	}
	out.Close()
	s.mustDelete(short.Process)

	// No reader ever: it dies, and delete is bounded.
	for _, args := range [][]string{{"head", "-c", "1000000", "/dev/zero"}, {"echo", "text"}, {"true"}} {
		never := s.launch(init, "never", args...)
		never.Stdio.Stdout = l.Stdio.Stdout
		s.exec(never)
		if args[0] == "head" {
			if err := s.Kill(s.context(), never.Process, unix.SIGKILL, false); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		s.exit(never.Process)
		s.mustDelete(never.Process)
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("%q: exit and delete took %v", args, d)
		}
		// What nobody has read is gone with the last who has it open, which can be
		// a moment later.
		s.until(func() bool {
			if !s.isUnread(l.Stdio.Stdout) {
				return false
			}
			f := s.reader(l.Stdio.Stdout)
			defer f.Close()
			return unread(t, f) == 0
		})
	}
}

// isUnread tells whether nobody has a FIFO open for reading (fifo(7), ENXIO).
func (s *stage) isUnread(path string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		f.Close()
	}
	return err != nil
}

// containerd#3286, containerd#12364: a grandchild holds the FIFO.
func TestAGrandchildThatHoldsTheFIFO(t *testing.T) { eachWay(t, testAGrandchildThatHoldsTheFIFO) }

func testAGrandchildThatHoldsTheFIFO(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "sh", "-c", "sleep 1000 & echo tail")
	l.Stdio.Stdout = s.fifo("out")
	out := s.reader(l.Stdio.Stdout)
	begin := time.Now()
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.mustDelete(l.Process)
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("exit and delete took %v", d)
	}
	s.expect(out, "tail\n")
}

// Files are appended to, by all who have them.
func TestStreamsOfFiles(t *testing.T) { eachWay(t, testStreamsOfFiles) }

func testStreamsOfFiles(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	in, log := filepath.Join(s.dir, "in"), filepath.Join(s.dir, "new", "log")
	if err := os.WriteFile(in, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		l := s.launch(init, "e", "sh", "-c", fmt.Sprintf("cat; echo out %d; echo err %d >&2", i, i))
		l.Stdio.Stdin, l.Stdio.Stdout, l.Stdio.Stderr = in, "file://"+log, "file://"+log
		s.exec(l)
		s.wantExit(l.Process, 0)
		s.mustDelete(l.Process)
	}
	want := "from a file\nout 0\nerr 0\nfrom a file\nout 1\nerr 1\n"
	if got, err := os.ReadFile(log); string(got) != want {
		t.Errorf("the log has %q, %v", got, err)
	}
	l := s.launch(init, "e", "sh", "-c", "echo more")
	l.Stdio.Stdout = log
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.mustDelete(l.Process)
	if got, err := os.ReadFile(log); string(got) != want+"more\n" {
		t.Errorf("the log has %q, %v", got, err)
	}
	for name, kind := range map[string]error{filepath.Join(s.dir, "absent"): messages.NotFound, s.dir: messages.InvalidArgument} {
		for _, stdio := range []messages.Stdio{{Stdin: name}, {Stdout: name}, {Stderr: name}} {
			l := s.launch(init, "e", "true")
			l.Stdio = stdio
			_, err := s.Exec(s.context(), l)
			wantKind(t, err, kind, "c/e", name)
		}
	}
}

// 100 MB through one FIFO, and stdin and stdout at once.
func TestALotThroughFIFOs(t *testing.T) { eachWay(t, testALotThroughFIFOs) }

func testALotThroughFIFOs(t *testing.T, s *stage) {
	const size = 100 << 20
	init := s.run("c", "sleep", "1000")
	l := s.launch(init, "e", "cat")
	l.Stdio.Stdin, l.Stdio.Stdout = s.fifo("in"), s.fifo("out")
	out := s.reader(l.Stdio.Stdout)
	s.exec(l)
	in := s.open(l.Stdio.Stdin, os.O_WRONLY)
	sent := sha256.New()
	go func() {
		chunk := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
		for i := 0; i < size; i += len(chunk) {
			chunk[i>>16%len(chunk)]++
			sent.Write(chunk)
			if _, err := in.Write(chunk); err != nil {
				t.Error(err)
				break
			}
		}
		in.Close()
		if err := s.CloseIO(context.Background(), l.Process); err != nil {
			t.Error(err)
		}
	}()
	if err := out.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	n, err := io.Copy(got, out)
	if n != size || err != nil || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%d bytes of %d came, %v", n, size, err)
	}
	s.wantExit(l.Process, 0)
	s.mustDelete(l.Process)
}

// Over the control socket what has a name costs no goroutine, and the sandbox has
// the FIFOs themselves.
func TestNothingIsCopied(t *testing.T) {
	s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	init := s.run("c", "sleep", "1000")
	s.exec(s.launch(init, "first", "sleep", "1000"))
	before := runtime.NumGoroutine()
	l := s.launch(init, "null", "sleep", "1000")
	s.exec(l)
	s.until(func() bool { return runtime.NumGoroutine() <= before+2 })
	null := runtime.NumGoroutine() - before
	l = s.launch(init, "e", "sleep", "1000")
	l.Stdio = messages.Stdio{Stdin: s.fifo("in"), Stdout: s.fifo("out"), Stderr: s.fifo("err")}
	pids := s.exec(l)
	s.until(func() bool { return runtime.NumGoroutine() <= before+2*null })
	var has []string
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pids.Host))
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, s.dir) {
			has = append(has, filepath.Base(to))
		}
	}
	for _, name := range []string{"in", "out", "err"} {
		if !strings.Contains(strings.Join(has, " "), name) {
			t.Errorf("the sandbox has %q, not %s", has, name)
		}
	}
}
