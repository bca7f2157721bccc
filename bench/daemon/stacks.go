package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stacksTimeout bounds the wait for a shim's stacks.
	stacksTimeout = 10 * time.Second
	// stacksQuiet is how long nothing more must come until they are taken for
	// whole: they come through a FIFO, in pieces.
	stacksQuiet = 250 * time.Millisecond
)

// goroutine begins the stack of each (runtime.Stack), also where a log has it
// all on one line.
var goroutine = regexp.MustCompile(`goroutine \d+ \[`)

// Goroutines has a shim log its stacks, and counts them: shims log on SIGUSR1
// (containerd, pkg/shim, dumpStacks), and containerd copies their logs into its
// own. It is for one shim at a time. The error says that none came in time.
func (d *Daemon) Goroutines(ctx context.Context, pid int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, stacksTimeout)
	defer cancel()
	before, err := os.Stat(d.logPath())
	if err != nil {
		return 0, err
	}
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		return 0, fmt.Errorf("send SIGUSR1 to process %d: %w", pid, err)
	}
	seen := 0
	for {
		select {
		case <-time.After(stacksQuiet):
		case <-ctx.Done():
			return 0, errors.New("no stacks were logged on SIGUSR1")
		}
		text, err := readFrom(d.logPath(), before.Size())
		if err != nil {
			return 0, err
		}
		if n := len(goroutine.FindAll(text, -1)); n > 0 && len(text) == seen {
			return n, nil
		}
		seen = len(text)
	}
}

// readFrom reads what a file has from an offset on.
func readFrom(path string, offset int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}
