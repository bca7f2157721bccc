package runsc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupRoot is where cgroups are mounted by every known system (cgroups(7)).
const cgroupRoot = "/sys/fs/cgroup"

// oomCounter counts what the kernel killed in a sandbox's cgroup for want of
// memory. Its folder lives until the container is deleted.
type oomCounter struct {
	file  string
	start uint64
}

// newOOMCounter finds the counter of a cgroup, nil if there is none: without
// cgroups nothing tells of OOM.
func newOOMCounter(root, path string) *oomCounter {
	// systemd's form is slice:prefix:name, and the slice is a tree of folders
	// (runsc/cgroup/systemd.go).
	if parts := strings.Split(path, ":"); len(parts) == 3 {
		path = filepath.Join(slicePath(parts[0]), parts[1]+"-"+parts[2]+".scope")
	}
	for _, file := range []string{
		// The second version alone, in the hybrid layout, and the first version.
		filepath.Join(root, path, "memory.events"),
		filepath.Join(root, "unified", path, "memory.events"),
		filepath.Join(root, "memory", path, "memory.oom_control"),
	} {
		c := &oomCounter{file: file}
		if n, ok := c.read(); ok {
			c.start = n
			return c
		}
	}
	return nil
}

// slicePath is the folder of a slice: a-b.slice lies in a.slice
// (systemd.slice(5)).
func slicePath(slice string) string {
	name := strings.TrimSuffix(slice, ".slice")
	if name == "" || name == "-" {
		return ""
	}
	path, prefix := "", ""
	for part := range strings.SplitSeq(name, "-") {
		path = filepath.Join(path, prefix+part+".slice")
		prefix += part + "-"
	}
	return path
}

// grew tells whether the kernel has killed since the counter was made.
func (c *oomCounter) grew() bool {
	if c == nil {
		return false
	}
	n, ok := c.read()
	return ok && n > c.start
}

// read reads oom_kill of memory.events (cgroup v2) or of memory.oom_control (v1,
// Linux 4.13).
func (c *oomCounter) read() (uint64, bool) {
	b, err := os.ReadFile(c.file)
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
