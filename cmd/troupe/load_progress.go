package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/troupe-run/troupe/bench/load"
)

const (
	// A person sees a bar that moves; a log gets a line now and then.
	barInterval  = 250 * time.Millisecond
	lineInterval = 5 * time.Second
	barWidth     = 24
)

// progress shows how far a load is.
type progress struct {
	to       io.Writer
	interval time.Duration
	// terminal is where the bar is drawn; nil for lines.
	terminal *os.File
}

func newProgress(to io.Writer) *progress {
	p := &progress{to: to, interval: lineInterval}
	if f, ok := to.(*os.File); ok && isTerminal(f) && os.Getenv("TERM") != "dumb" {
		p.terminal, p.interval = f, barInterval
	}
	return p
}

func (p *progress) show(s load.Progress) {
	text := fmt.Sprintf("%s  %d execs  %.0f/s", s.Elapsed.Round(time.Second), s.Completed, s.Rate)
	if s.P50 > 0 {
		text += fmt.Sprintf("  p50 %s  p99 %s", load.Duration(s.P50), load.Duration(s.P99))
	}
	if s.Errors > 0 {
		text += fmt.Sprintf("  %d errors", s.Errors)
	}
	if s.Violations > 0 {
		text += fmt.Sprintf("  %d VIOLATIONS", s.Violations)
	}
	if p.terminal == nil {
		fmt.Fprintf(p.to, "%3.0f%%  %s\n", s.Share*100, text)
		return
	}
	full := int(s.Share * barWidth)
	line := fmt.Sprintf("%s%s %3.0f%%  %s", strings.Repeat("█", full), strings.Repeat("░", barWidth-full), s.Share*100, text)
	// A line that wraps could not be drawn over.
	if width, _, err := term.GetSize(int(p.terminal.Fd())); err == nil && width > 1 {
		if runes := []rune(line); len(runes) >= width {
			line = string(runes[:width-1])
		}
	}
	fmt.Fprintf(p.to, "\r\x1b[K%s", line)
}

// end leaves the cursor on a line of its own.
func (p *progress) end() {
	if p.terminal != nil {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
