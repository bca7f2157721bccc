package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// deleteTimeout bounds "delete": containerd kills it after 5 s
// (core/runtime/v2, cleanupTimeout), and something must be left for the mounts.
const deleteTimeout = 4 * time.Second

// cleanUp is "delete": containerd's call when a shim is gone. It ends what the
// shim left and tells how the container ended: as the shim recorded it, else
// as killed, which it then is.
//
// What can not be cleaned up is a warning on stderr, which containerd logs, and
// no failure: with an error containerd would keep the bundle and forget the
// status.
func cleanUp(inv invocation, stdout io.Writer) error {
	bundle, err := inv.bundlePath()
	if err != nil {
		return err
	}
	warn := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s: delete %s: %v\n", runtimeName, inv.id, fmt.Errorf(format, args...))
	}
	response := &taskapi.DeleteResponse{ExitStatus: messages.ExitKilled, ExitedAt: timestamp(time.Now())}

	var saved savedState
	switch err := readJSON(bundle, stateFile, &saved); {
	case err == nil:
		if err := deleteContainer(inv, bundle, saved); err != nil {
			warn("release the container: %w", err)
		}
		if removeDeadSocket(saved.Socket) && saved.StateDir != "" {
			os.RemoveAll(saved.StateDir)
		}
	case !errors.Is(err, os.ErrNotExist):
		warn("read the shim's state: %w", err)
	}
	if address, err := os.ReadFile(filepath.Join(bundle, "address")); err == nil {
		removeDeadSocket(pathOfAddress(string(address)))
	}
	if err := unmountAll(filepath.Join(bundle, "rootfs")); err != nil {
		warn("unmount the root file system: %w", err)
	}

	var exit savedExit
	switch err := readJSON(bundle, exitFile, &exit); {
	case err == nil:
		response.Pid, response.ExitStatus, response.ExitedAt = exit.PID, uint32(exit.Status), timestamp(exit.At)
	case !errors.Is(err, os.ErrNotExist):
		warn("read the exit: %w", err)
	}
	data, err := proto.Marshal(response)
	if err != nil {
		return fmt.Errorf("encode the exit of %s: %w", inv.id, err)
	}
	_, err = stdout.Write(data)
	return err
}

// deleteContainer kills and releases the container with runsc alone: its actors
// are gone with the shim.
func deleteContainer(inv invocation, bundle string, saved savedState) error {
	client, err := runsc.NewClient(runsc.Options{Path: saved.Path, Root: saved.Root, Config: saved.Config})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deleteTimeout)
	defer cancel()
	if saved.Grouped {
		killSandbox(ctx, client, inv.id, saved.Root)
	}
	err = client.Delete(ctx, inv.id, &runsc.DeleteOpts{Force: true})
	if errors.Is(err, messages.NotFound) {
		err = nil
	}
	return errors.Join(err, removeCgroup(ctx, bundle))
}

// killSandbox kills the sandbox of a container before anything is released.
// containerd runs "delete" for all containers of the dead shim at once, and a
// runsc that releases a member and one that ends its sandbox wait for each
// other, for longer than containerd waits for them.
func killSandbox(ctx context.Context, client *runsc.Client, id, root string) {
	state, err := client.State(ctx, id)
	if err != nil || state.Pid <= 0 {
		return // there is none, or none that runsc knows
	}
	fd, err := unix.PidfdOpen(state.Pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// The pid is from a file: what has it now must be a sandbox of this root.
	// The pidfd is open, so it can not change after this look.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", state.Pid))
	if err != nil || !isSandbox(args, root) {
		return
	}
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		// Its end is not waited for by a timer: a pidfd is readable then.
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Second.Milliseconds()))
	}
}

// isSandbox tells whether a command line is that of a sandbox (gVisor:
// runsc/sandbox/sandbox.go, createSandboxProcess).
func isSandbox(cmdline []byte, root string) bool {
	args := strings.Split(string(cmdline), "\x00")
	return args[0] == "runsc-sandbox" && slices.Contains(args, "--root="+root)
}

// removeCgroup removes the container's cgroup, which runsc leaves where a
// process that was just killed is still in it.
func removeCgroup(ctx context.Context, bundle string) error {
	spec, err := readSpec(bundle)
	if err != nil {
		return nil // without a spec nothing was made
	}
	for {
		err := removeCgroups(spec.cgroupsPath)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// removeDeadSocket removes a shim's socket unless a shim answers there: another
// container of the group may have begun a new one.
func removeDeadSocket(path string) (dead bool) {
	if path == "" {
		return false
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return false
	}
	os.Remove(path)
	return true
}

// unmountAll unmounts everything that is mounted at path, the last first. The
// files may still be open in a sandbox that is just dying, hence MNT_DETACH.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			// Not a mount point (any more), or never made.
			return nil
		default:
			return err
		}
	}
}
