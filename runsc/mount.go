package runsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// mountFlags are the options of mount(8) that are no data of a file system.
var mountFlags = map[string]struct {
	clear bool
	flag  uintptr
}{
	"async": {true, unix.MS_SYNCHRONOUS}, "sync": {false, unix.MS_SYNCHRONOUS},
	"atime": {true, unix.MS_NOATIME}, "noatime": {false, unix.MS_NOATIME},
	"bind": {false, unix.MS_BIND}, "rbind": {false, unix.MS_BIND | unix.MS_REC},
	"dev": {true, unix.MS_NODEV}, "nodev": {false, unix.MS_NODEV},
	"diratime": {true, unix.MS_NODIRATIME}, "nodiratime": {false, unix.MS_NODIRATIME},
	"dirsync": {false, unix.MS_DIRSYNC},
	"exec":    {true, unix.MS_NOEXEC}, "noexec": {false, unix.MS_NOEXEC},
	"mand": {false, unix.MS_MANDLOCK}, "nomand": {true, unix.MS_MANDLOCK},
	"private": {false, unix.MS_PRIVATE}, "rprivate": {false, unix.MS_PRIVATE | unix.MS_REC},
	"shared": {false, unix.MS_SHARED}, "rshared": {false, unix.MS_SHARED | unix.MS_REC},
	"slave": {false, unix.MS_SLAVE}, "rslave": {false, unix.MS_SLAVE | unix.MS_REC},
	"unbindable": {false, unix.MS_UNBINDABLE}, "runbindable": {false, unix.MS_UNBINDABLE | unix.MS_REC},
	"relatime": {false, unix.MS_RELATIME}, "norelatime": {true, unix.MS_RELATIME},
	"strictatime": {false, unix.MS_STRICTATIME}, "nostrictatime": {true, unix.MS_STRICTATIME},
	"ro": {false, unix.MS_RDONLY}, "rw": {true, unix.MS_RDONLY},
	"suid": {true, unix.MS_NOSUID}, "nosuid": {false, unix.MS_NOSUID},
	"remount": {false, unix.MS_REMOUNT},
}

const propagationFlags = unix.MS_PRIVATE | unix.MS_SHARED | unix.MS_SLAVE | unix.MS_UNBINDABLE

// mountOptions splits options into flags, propagation flags (a call of their own,
// mount(2)) and data for the file system.
func mountOptions(options []string) (flags, propagation uintptr, data string, err error) {
	var rest []string
	for _, o := range options {
		f, known := mountFlags[o]
		switch {
		case o == "" || o == "defaults" || o == "loud":
		case strings.HasPrefix(o, "loop"):
			return 0, 0, "", fmt.Errorf("the option %q needs a loop device, which is not set up here", o)
		case !known:
			rest = append(rest, o)
		case f.clear:
			flags &^= f.flag
		case f.flag&propagationFlags != 0:
			propagation |= f.flag
		default:
			flags |= f.flag
		}
	}
	data = strings.Join(rest, ",")
	// mount(2) copies one page of data and cuts the rest off in silence.
	if len(data) >= os.Getpagesize() {
		return 0, 0, "", fmt.Errorf("options of %d bytes do not fit in the kernel's page of %d; use fewer or shorter layers", len(data), os.Getpagesize())
	}
	return flags, propagation, data, nil
}

// rootfs is a root file system that was mounted here.
type rootfs struct {
	// targets are the mounts, in the order in which they were made.
	targets []string
	// made is the mount point, if it was made here.
	made string
}

// mountRootfs mounts all of mounts at root, or none.
func mountRootfs(p messages.Process, root string, mounts []messages.Mount) (_ *rootfs, err error) {
	r := &rootfs{}
	if len(mounts) == 0 {
		return r, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.unmount(context.Background()))
		}
	}()
	if err := os.Mkdir(root, 0o711); err == nil {
		r.made = root
	} else if !errors.Is(err, os.ErrExist) {
		return r, mountError(p, "make the mount point of", err, "")
	}
	for _, m := range mounts {
		target, err := mountTarget(root, m.Target)
		if err != nil {
			return r, mountError(p, "mount the root file system of", err, "a target is a path below the root file system")
		}
		if err := mountOne(m, target, func() { r.targets = append(r.targets, target) }); err != nil {
			return r, mountError(p, fmt.Sprintf("mount %s %q at %s for", m.Type, m.Source, target), err, "check the type, source and options of the mount")
		}
	}
	return r, nil
}

// mountTarget resolves a target inside root: a link in an image must not lead
// the mount out of it.
func mountTarget(root, target string) (string, error) {
	if target == "" || target == "/" {
		return root, nil
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(fd)
	at, err := unix.Openat2(fd, strings.TrimPrefix(target, "/"), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return "", &os.PathError{Op: "open", Path: filepath.Join(root, target), Err: err}
	}
	defer unix.Close(at)
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at))
}

func mountOne(m messages.Mount, target string, mounted func()) error {
	flags, propagation, data, err := mountOptions(m.Options)
	if err != nil {
		return err
	}
	if m.Type == "bind" {
		flags |= unix.MS_BIND
	}
	if err := unix.Mount(m.Source, target, m.Type, flags, data); err != nil {
		return err
	}
	mounted()
	// A bind mount takes its other flags by a remount only (mount(2)).
	if rest := flags &^ (unix.MS_BIND | unix.MS_REC); flags&unix.MS_BIND != 0 && rest != 0 && flags&unix.MS_REMOUNT == 0 {
		if err := unix.Mount("", target, "", flags&^unix.MS_REC|unix.MS_REMOUNT, data); err != nil {
			return err
		}
	}
	if propagation != 0 {
		return unix.Mount("", target, "", propagation, "")
	}
	return nil
}

// unmount takes back what was mounted, the last first, and can be called again.
// What is busy is tried for a while, and then detached: it goes when its last
// user does.
func (r *rootfs) unmount(ctx context.Context) error {
	for _, target := range slices.Backward(slices.Clone(r.targets)) {
		if err := unmountOne(ctx, target); err != nil {
			return fmt.Errorf("unmount %s: %w", target, err)
		}
		r.targets = r.targets[:len(r.targets)-1]
	}
	if r.made != "" {
		if err := os.Remove(r.made); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		r.made = ""
	}
	return nil
}

func unmountOne(ctx context.Context, target string) error {
	const tries, pause = 20, 10 * time.Millisecond
	for range tries {
		err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil, errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return err
		}
		if !pauseFor(ctx, pause) {
			break
		}
	}
	return unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
}

// pauseFor sleeps, and is false if ctx ended first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func mountError(p messages.Process, op string, err error, hint string) error {
	e := &messages.Error{Kind: messages.Internal, Op: op, Process: p, Err: err, Hint: hint}
	switch {
	case errors.Is(err, unix.ENOENT):
		e.Kind = messages.NotFound
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENOTBLK), errors.Is(err, unix.ELOOP):
		e.Kind = messages.InvalidArgument
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Kind, e.Hint = messages.FailedPrecondition, "mounting needs root with CAP_SYS_ADMIN"
	case errors.Is(err, unix.ENOSPC):
		e.Kind = messages.ResourceExhausted
	}
	return e
}
