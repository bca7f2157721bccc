package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
		if err := deleteContainer(inv, saved); err != nil {
			warn("release the container: %w", err)
		}
		removeDeadSocket(saved.Socket)
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
func deleteContainer(inv invocation, saved savedState) error {
	client, err := runsc.NewClient(runsc.Options{Path: saved.Path, Root: saved.Root, Config: saved.Config})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deleteTimeout)
	defer cancel()
	err = client.Delete(ctx, inv.id, &runsc.DeleteOpts{Force: true})
	if errors.Is(err, messages.NotFound) {
		return nil
	}
	return err
}

// removeDeadSocket removes a shim's socket unless a shim answers there: that of
// another container of the group may have begun a new one.
func removeDeadSocket(path string) {
	if path == "" {
		return
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return
	}
	os.Remove(path)
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
