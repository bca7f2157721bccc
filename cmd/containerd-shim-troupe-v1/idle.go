package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// idleAfter is how long no call must have come before memory is given back.
// Probes of Kubernetes come every ten seconds, and between them a shim should
// be small.
const idleAfter = 3 * time.Second

// gcPercent keeps the heap of a shim near what lives in it; containerd's own
// shims have the same (pkg/shim, setRuntime).
const gcPercent = 40

// idleWatch returns memory to the host when calls have ceased. A node has a
// shim for each pod: what each holds on to is held a hundred times.
type idleWatch struct{ timer *time.Timer }

func newIdleWatch() *idleWatch {
	debug.SetGCPercent(gcPercent)
	return &idleWatch{timer: time.AfterFunc(idleAfter, shrink)}
}

// busy puts the moment off.
func (w *idleWatch) busy() { w.timer.Reset(idleAfter) }

func (w *idleWatch) stop() { w.timer.Stop() }

// shrink gives back what the program does not need while it waits: free memory,
// and most of itself.
func shrink() {
	debug.FreeOSMemory()
	// Without it the shim is larger and nothing else.
	_ = unmapProgram()
}

// unmapProgram lets go of the pages of the program's own code and constants. The
// most are those of its start, which it never comes to again, and they are two
// thirds of an idle shim. What is needed again is mapped again from the page cache,
// sixteen pages at a time (madvise(2), MADV_DONTNEED: for a private mapping of a
// file that was not written to, nothing is lost).
func unmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// 00400000-00800000 r-xp 00000000 08:01 42    /usr/bin/program (proc(5))
		var from, to uintptr
		var access string
		line := lines.Text()
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil {
			return fmt.Errorf("read %q of /proc/self/maps: %w", line, err)
		}
		if !strings.HasSuffix(line, " "+program) || access[0] != 'r' || access[1] != '-' {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return lines.Err()
}
