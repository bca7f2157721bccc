package runsc

import (
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

func TestTerminalSize(t *testing.T) {
	stdin, toStdin := io.Pipe()
	defer toStdin.Close()
	var out lockedBuffer
	st := openIO(t, messages.Stdio{Terminal: true, Size: messages.WindowSize{Cols: 80, Rows: 24}, Pipes: messages.Pipes{Stdin: stdin, Stdout: &out}}, nil)
	// Before there is a console it is remembered.
	if err := st.Resize(messages.WindowSize{Cols: 101, Rows: 31}); err != nil {
		t.Fatal(err)
	}
	r := runScript(t, st, `trap 'stty size; exit 0' WINCH; stty size; echo ready; while :; do read line; done`)
	untilTrue(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
	equal(t, "the first size", out.String(), "31 101\r\nready\r\n")
	if err := r.Resize(messages.WindowSize{Cols: 120, Rows: 40}); err != nil {
		t.Fatal(err)
	}
	// A shell runs its trap between commands; read is one.
	if _, err := io.WriteString(toStdin, "\n"); err != nil {
		t.Fatal(err)
	}
	r.wait()
	r.end()
	if !strings.Contains(out.String(), "40 120\r\n") {
		t.Fatalf("the output is %q", out.String())
	}
	if err := r.Resize(messages.WindowSize{Cols: 1, Rows: 1}); err != nil {
		t.Fatalf("after the end: %v", err)
	}
	if err := openIO(t, messages.Stdio{}, nil).Resize(messages.WindowSize{Cols: 1, Rows: 1}); err != nil {
		t.Fatalf("without a terminal: %v", err)
	}
}

// TestTerminalEcho: the line discipline is the kernel's default.
func TestTerminalEcho(t *testing.T) {
	fifo := mkfifo(t, "in")
	var out lockedBuffer
	r := runScript(t, openIO(t, messages.Stdio{Terminal: true, Stdin: fifo, Pipes: messages.Pipes{Stdout: &out}}, nil), "tty -s && read line; echo got $line")
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("hello\n")
	r.wait()
	r.end()
	equal(t, "the output", out.String(), "hello\r\ngot hello\r\n")
}

// TestCloseIOOfATerminal ends the input and nothing else.
func TestCloseIOOfATerminal(t *testing.T) {
	fifo, goOn := mkfifo(t, "in"), mkfifo(t, "go")
	var out lockedBuffer
	r := runScript(t, openIO(t, messages.Stdio{Terminal: true, Stdin: fifo, Pipes: messages.Pipes{Stdout: &out}}, nil), "trap 'echo hung up' HUP; read line <"+goOn+"; echo still here; stty size")
	if err := r.CloseIO(); err != nil {
		t.Fatal(err)
	}
	// With its last writer gone, the copy of stdin is over.
	untilTrue(t, "the FIFO is closed", func() bool {
		f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			f.Close()
		}
		return err != nil
	})
	readyToRead(goOn)
	r.wait()
	r.end()
	equal(t, "the output", out.String(), "still here\r\n0 0\r\n")
}

// TestTerminalGrandchild: the drain ends and the tail is there, although a
// grandchild keeps the terminal.
func TestTerminalGrandchild(t *testing.T) {
	var out lockedBuffer
	r := runScript(t, openIO(t, messages.Stdio{Terminal: true, Pipes: messages.Pipes{Stdout: &out}}, nil), "trap '' HUP; head -c 3000 /dev/zero; echo tail; sleep 1000 &")
	r.wait()
	if took := r.end(); took > 5*drainTimeout {
		t.Errorf("draining took %s", took)
	}
	if !strings.HasSuffix(out.String(), "tail\r\n") {
		t.Errorf("the tail is lost; %d bytes arrived", len(out.String()))
	}
}

// TestAttachedConsole: as runsc does it, the pty is made elsewhere and its
// master is sent.
func TestAttachedConsole(t *testing.T) {
	master, name, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	defer master.Close()
	var out lockedBuffer
	st := openIO(t, messages.Stdio{Terminal: true, Size: messages.WindowSize{Cols: 80, Rows: 24}, Pipes: messages.Pipes{Stdout: &out}}, nil)
	if err := st.attachConsole(os.NewFile(uintptr(dup(t, int(master.Fd()))), "master")); err != nil {
		t.Fatal(err)
	}
	ws, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
	if err != nil || ws.Col != 80 || ws.Row != 24 {
		t.Fatalf("the size is %+v, %v", ws, err)
	}
	slave.WriteString("hello\n")
	slave.Close()
	st.Drain(t.Context())
	equal(t, "the output", out.String(), "hello\r\n")
	st.Close()

	if err := openIO(t, messages.Stdio{}, nil).attachConsole(os.NewFile(uintptr(dup(t, 0)), "stdin")); messages.KindOf(err) == nil {
		t.Error("a console was attached to a process without a terminal")
	}
}

// TestConsoleAfterClose: a console that comes too late is closed.
func TestConsoleAfterClose(t *testing.T) {
	st := openIO(t, messages.Stdio{Terminal: true}, nil)
	st.Close()
	before := countFDs(t)
	if _, err := st.openPty(); err == nil {
		t.Error("a pty was opened")
	}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.attachConsole(os.NewFile(uintptr(fd), "ptmx")); err == nil {
		t.Error("a console was attached")
	}
	if n := countFDs(t); n != before {
		t.Errorf("there are %d descriptors more", n-before)
	}
}

// TestFullTerminal: input that the process does not read does not keep Close
// from ending its copy.
func TestFullTerminal(t *testing.T) {
	stdin, toStdin := io.Pipe()
	r := runScript(t, openIO(t, messages.Stdio{Terminal: true, Pipes: messages.Pipes{Stdin: stdin}}, nil), "stty raw -echo; sleep 1000")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := toStdin.Write([]byte(strings.Repeat("x", 1000))); err != nil {
				return
			}
		}
	}()
	waits := func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*EpollConsole).Write")
	}
	untilTrue(t, "the terminal is full", waits)
	r.cmd.Process.Kill()
	r.cmd.Wait()
	r.end()
	untilTrue(t, "the copy is over", func() bool { return !waits() })
	stdin.Close()
	<-ended
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
