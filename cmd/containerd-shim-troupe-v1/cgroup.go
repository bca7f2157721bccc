package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// unifiedCgroups tells whether the host has cgroup v2 only. A hybrid host, with
// v2 below /sys/fs/cgroup/unified, counts as v1: its controllers are there.
var unifiedCgroups = sync.OnceValue(func() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
})

// joinCgroup puts this process, and what it starts later, into an existing
// cgroup: on v1 in every hierarchy that has it.
func joinCgroup(path string) error {
	pid := []byte(strconv.Itoa(os.Getpid()))
	if unifiedCgroups() {
		return os.WriteFile(filepath.Join(cgroupRoot, path, "cgroup.procs"), pid, 0)
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return err
	}
	joined := 0
	for _, e := range entries {
		// cpu,cpuacct and the like have symbolic links for each controller.
		if !e.IsDir() {
			continue
		}
		err := os.WriteFile(filepath.Join(cgroupRoot, e.Name(), path, "cgroup.procs"), pid, 0)
		switch {
		case err == nil:
			joined++
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	if joined == 0 {
		return fmt.Errorf("there is no cgroup %s in any hierarchy below %s", path, cgroupRoot)
	}
	return nil
}
