package runsc

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// oomCounter counts what the kernel killed in a sandbox's cgroup for want of
// memory. Its folder lives until the container is deleted.
type oomCounter struct {
	file  string
	start uint64
}

// newOOMCounter finds the counter of the cgroup that a process is in, nil if
// there is none: without cgroups nothing tells of OOM. A sandbox of a pod is in
// the pod's cgroup and not in that of its spec (dev.gvisor.spec.cgroup-parent).
func newOOMCounter(root string, pid int) *oomCounter {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		// hierarchy:controllers:path (cgroups(7)); version 2 is "0::path".
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		var files []string
		switch {
		case f[0] == "0":
			files = []string{filepath.Join(root, f[2], "memory.events"), filepath.Join(root, "unified", f[2], "memory.events")}
		case slices.Contains(strings.Split(f[1], ","), "memory"):
			files = []string{filepath.Join(root, "memory", f[2], "memory.oom_control")}
		}
		for _, file := range files {
			o := &oomCounter{file: file}
			if n, ok := o.read(); ok {
				o.start = n
				return o
			}
		}
	}
	return nil
}

// grew tells whether the kernel has killed since the counter was made.
func (o *oomCounter) grew() bool {
	if o == nil {
		return false
	}
	n, ok := o.read()
	return ok && n > o.start
}

// read reads oom_kill of memory.events (cgroup v2) or of memory.oom_control (v1,
// Linux 4.13).
func (o *oomCounter) read() (uint64, bool) {
	b, err := os.ReadFile(o.file)
	if err != nil {
		return 0, false
	}
	return parseOOMKill(string(b))
}

func parseOOMKill(text string) (uint64, bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "oom_kill" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
