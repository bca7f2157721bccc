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

// cgroupFolders are the folders of a cgroup in every hierarchy, whether it is
// there or not.
func cgroupFolders(path string) ([]string, error) {
	if unifiedCgroups() {
		return []string{filepath.Join(cgroupRoot, path)}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, e := range entries {
		// cpu,cpuacct and the like have symbolic links for each controller.
		if e.IsDir() {
			folders = append(folders, filepath.Join(cgroupRoot, e.Name(), path))
		}
	}
	return folders, nil
}

// removeCgroups removes a cgroup without processes from every hierarchy. One of
// systemd's form (slice:prefix:name) is systemd's to remove.
func removeCgroups(path string) error {
	if !filepath.IsAbs(path) || path == "/" {
		return nil
	}
	folders, err := cgroupFolders(path)
	for _, folder := range folders {
		if e := unix.Rmdir(folder); e != nil && !errors.Is(e, unix.ENOENT) {
			err = errors.Join(err, &os.PathError{Op: "rmdir", Path: folder, Err: e})
		}
	}
	return err
}

// joinCgroup puts this process, and what it starts later, into an existing
// cgroup: on v1 in every hierarchy that has it.
func joinCgroup(path string) error {
	folders, err := cgroupFolders(path)
	if err != nil {
		return err
	}
	joined := false
	for _, folder := range folders {
		err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
		switch {
		case err == nil:
			joined = true
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	if !joined {
		return fmt.Errorf("there is no cgroup %s below %s", path, cgroupRoot)
	}
	return nil
}
