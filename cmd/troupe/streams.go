package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/term"

	"github.com/troupe-run/troupe/messages"
)

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// attached is this program's side of the command's streams.
type attached struct {
	// terminal: the command has one of its own.
	terminal bool
	// before is our terminal's state, nil where we have none.
	before *term.State
}

// attachStreams makes our terminal transparent for that of the command, which
// echoes, edits lines and turns keys into signals by itself.
func attachStreams(terminal bool) (*attached, error) {
	c := &attached{terminal: terminal}
	if !terminal || !isTerminal(os.Stdin) {
		return c, nil
	}
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return nil, fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	c.before = before
	return c, nil
}

// restore gives the terminal back as it was.
func (c *attached) restore() {
	if c.before != nil {
		_ = term.Restore(int(os.Stdin.Fd()), c.before)
	}
}

// size is that of our terminal; the zero value if there is none.
func (c *attached) size() messages.WindowSize {
	for _, f := range []*os.File{os.Stdin, os.Stdout} {
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil {
			return messages.WindowSize{Cols: uint16(cols), Rows: uint16(rows)}
		}
	}
	return messages.WindowSize{}
}

// stdio are our streams as those of the command.
func (c *attached) stdio(s *signals) messages.Stdio {
	out := messages.Stdio{
		Terminal: c.terminal,
		Pipes:    messages.Pipes{Stdin: os.Stdin, Stdout: output{os.Stdout, s}},
	}
	if c.terminal {
		out.Size = c.size()
	} else {
		out.Pipes.Stderr = output{os.Stderr, s}
	}
	return out
}

// output passes on what the command writes. Where nobody reads it any more, the
// command gets SIGPIPE, as in a pipeline: `troupe run yes | head -1` ends.
type output struct {
	to      io.Writer
	signals *signals
}

func (o output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		o.signals.raise(syscall.SIGPIPE)
	}
	return n, err
}
