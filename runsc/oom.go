package runsc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oomCounter counts what the kernel killed in a sandbox's cgroup for want of
// memory. Its folder lives until the container is deleted.
type oomCounter struct {
	file  string
	start uint64
}

// newOOMCounter finds the counter of a cgroup, nil if there is none: without
// cgroups nothing tells of OOM.
func newOOMCounter(c *cgroup) *oomCounter {
	for _, file := range []string{
		// Version 2 alone, version 2 in the hybrid layout, and version 1.
		filepath.Join(c.root, c.path, "memory.events"),
		filepath.Join(c.root, "unified", c.path, "memory.events"),
		filepath.Join(c.root, "memory", c.path, "memory.oom_control"),
	} {
		o := &oomCounter{file: file}
		if n, ok := o.read(); ok {
			o.start = n
			return o
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
