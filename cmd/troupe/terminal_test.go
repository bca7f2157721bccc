package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// screen is what a terminal has shown.
type screen struct {
	t    *testing.T
	read chan []byte
	text bytes.Buffer
}

// waitFor waits until the terminal has shown text, and drops what was before it.
func (s *screen) waitFor(text string) {
	s.t.Helper()
	limit := time.After(30 * time.Second)
	for !strings.Contains(s.text.String(), text) {
		select {
		case b, open := <-s.read:
			if !open {
				s.t.Fatalf("the terminal ended before %q; it had %q", text, s.text.String())
			}
			s.text.Write(b)
		case <-limit:
			s.t.Fatalf("no %q in 30 s, but %q", text, s.text.String())
		}
	}
	s.text.Next(strings.Index(s.text.String(), text) + len(text))
}

// A terminal of ours becomes one of the command: its size, a change of it, its
// keys, and it is given back as it was.
func TestRunTerminal(t *testing.T) {
	needSandbox(t)
	pty, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	if err := pty.Resize(console.WinSize{Width: 90, Height: 20}); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := attributes(t, tty)
	cmd := command(t, "run", "--", "sh", "-c",
		`stty size; trap 'echo size $(stty size)' WINCH; trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, read: make(chan []byte)}
	go func() {
		defer close(s.read)
		for {
			buf := make([]byte, 4096)
			n, err := pty.Read(buf)
			if n > 0 {
				s.read <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	s.waitFor("20 90\r\n")
	s.waitFor("ready\r\n")
	if err := pty.Resize(console.WinSize{Width: 120, Height: 40}); err != nil {
		t.Fatal(err)
	}
	s.waitFor("size 40 120\r\n")
	if _, err := io.WriteString(pty, "\x03"); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	s.waitFor("interrupted\r\n")
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("%v, want exit status 9", cmd.ProcessState)
	}
	if after := attributes(t, tty); after != before {
		t.Errorf("the terminal was %+v and is %+v", before, after)
	}
	_ = tty.Close()
}

// attributes are what stty would tell of a terminal.
func attributes(t *testing.T, tty *os.File) unix.Termios {
	t.Helper()
	a, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *a
}
