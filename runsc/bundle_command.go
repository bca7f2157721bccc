package runsc

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// harmless are places where a mount hides no program that a bundle would name.
var harmless = []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/etc", "/var/run", "/var/tmp", "/var/log", "/var/lib"}

// checkCommand reports a command that is certainly not in the root file system.
// runsc says so at start only, when the container has been told to exist. Where a
// mount or a root file system of another kind could bring the command, nothing is
// said here.
func (b *bundle) checkCommand(p messages.Process) error {
	if !b.rootIsAll() {
		return nil
	}
	command := b.spec.Process.Args[0]
	places := b.candidates(command)
	if len(places) == 0 {
		return nil
	}
	for _, place := range places {
		if !b.isAbsent(place) {
			return nil
		}
	}
	return &messages.Error{Kind: messages.NotFound, Op: "create", Process: p,
		Err:  messages.Text(fmt.Sprintf("the command %q is not in the root file system %s", command, b.root)),
		Hint: "check process.args and the PATH of process.env in the bundle's config.json"}
}

func (b *bundle) rootIsAll() bool {
	for name := range b.spec.Annotations {
		// gVisor can take its root from an image (runsc/boot/mount_hints.go).
		if strings.HasPrefix(name, "dev.gvisor.spec.rootfs") || strings.HasPrefix(name, "dev.gvisor.tar.rootfs") {
			return false
		}
	}
	for _, m := range b.spec.Mounts {
		if !isHarmless(filepath.Clean(m.Destination)) {
			return false
		}
	}
	return true
}

func isHarmless(destination string) bool {
	for _, h := range harmless {
		if destination == h || strings.HasPrefix(destination, h+"/") {
			return true
		}
	}
	return false
}

// candidates are the paths where the command may be: one if it has a slash, else
// one for each folder of PATH, and none if that is not known.
func (b *bundle) candidates(command string) []string {
	if strings.Contains(command, "/") {
		if !filepath.IsAbs(command) {
			command = filepath.Join(b.spec.Process.Cwd, command)
		}
		return []string{command}
	}
	for _, e := range b.spec.Process.Env {
		path, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		var found []string
		for dir := range strings.SplitSeq(path, ":") {
			found = append(found, filepath.Join("/", dir, command))
		}
		return found
	}
	return nil
}

// isAbsent is true only if the kernel says so. Links are followed inside the root
// file system, as they are in the container.
func (b *bundle) isAbsent(path string) bool {
	if isHarmless(path) {
		// The place is harmless for other commands, not for one that lies there.
		return false
	}
	root, err := unix.Open(b.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err == nil {
		_ = unix.Close(fd)
		return false
	}
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}
