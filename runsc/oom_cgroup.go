package runsc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where cgroups are mounted by every known system (cgroups(7)).
const cgroupRoot = "/sys/fs/cgroup"

// cgroup is the place of a container in every hierarchy. runsc makes it and takes
// it away, but not after a create that was killed, nor for a member of a pod that
// was killed before its start: then it is taken away here.
type cgroup struct {
	root, path string
	// foreign: it was there before the container, so it is not ours to remove.
	foreign bool
}

// newCgroup is asked before the container is made. path is that of the spec.
func newCgroup(root, path string) *cgroup {
	// systemd's form is slice:prefix:name, and the slice is a tree of folders
	// (runsc/cgroup/systemd.go).
	if parts := strings.Split(path, ":"); len(parts) == 3 {
		path = filepath.Join(slicePath(parts[0]), parts[1]+"-"+parts[2]+".scope")
	}
	c := &cgroup{root: root, path: filepath.Join("/", path)}
	c.foreign = c.path == "/" || len(c.folders()) > 0
	return c
}

// folders are the cgroup's in each hierarchy where it is.
func (c *cgroup) folders() []string {
	var found []string
	// In version 2 the root itself is the hierarchy.
	if _, err := os.Stat(filepath.Join(c.root, "cgroup.controllers")); err == nil && isFolder(filepath.Join(c.root, c.path)) {
		found = append(found, filepath.Join(c.root, c.path))
	}
	// Names of hierarchies that are links (cpu to cpu,cpuacct) stand for the same
	// folder, which then is removed once and missed once.
	hierarchies, _ := filepath.Glob(filepath.Join(c.root, "*", "cgroup.procs"))
	for _, h := range hierarchies {
		if f := filepath.Join(filepath.Dir(h), c.path); isFolder(f) {
			found = append(found, f)
		}
	}
	return found
}

// remove takes away what is empty, for as long as ctx lets it. A process that was
// killed just now leaves its cgroup a moment later.
func (c *cgroup) remove(ctx context.Context) error {
	if c == nil || c.foreign {
		return nil
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		var failed error
		for _, f := range c.folders() {
			if err := unix.Rmdir(f); err != nil && !errors.Is(err, unix.ENOENT) {
				failed = &os.PathError{Op: "rmdir", Path: f, Err: err}
			}
		}
		if failed == nil || !errors.Is(failed, unix.EBUSY) || !pauseFor(ctx, pause) {
			return failed
		}
	}
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
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
