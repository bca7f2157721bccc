package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/cmd/troupe/bundle"
	"github.com/troupe-run/troupe/messages"
)

// Limits below which a busy runtime runs into them: each process has a few
// descriptors (its streams and pidfds), and without the control socket a stub
// with a few threads.
const (
	wantFiles     = 4096
	wantProcesses = 4096
)

func lookRoot() finding {
	if uid := os.Geteuid(); uid != 0 {
		return finding{"root", fmt.Sprintf("this is uid %d", uid), "run it with sudo: runsc makes namespaces and mounts", true}
	}
	return good("root", "yes")
}

// lookKernel: the exit status of a process that is not our child is in the
// kernel's record from Linux 6.15 on (PIDFD_GET_INFO, PIDFD_INFO_EXIT).
func lookKernel() finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return finding{"kernel", err.Error(), "check that /proc is mounted", false}
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return finding{"kernel", fmt.Sprintf("release %q can not be read", release), "Linux 6.15 or later is best", false}
	}
	switch {
	case major < 5 || (major == 5 && minor < 4):
		return finding{"kernel", release, "use Linux 5.4 or later: it has pidfds that can be waited for", true}
	case major < 6 || (major == 6 && minor < 15):
		return finding{"kernel", release + ", without exit status in pidfds",
			"an embedding program has to own its orphans (a subreaper) to know every status; Linux 6.15 needs no such thing", false}
	}
	return good("kernel", "%s, pidfds tell exit statuses", release)
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroupsWritable tells whether a cgroup could be made, as in a container it
// often can not.
func cgroupsWritable() bool {
	for _, dir := range []string{cgroupRoot + "/memory", cgroupRoot} {
		switch err := unix.Access(dir, unix.W_OK); {
		case err == nil:
			return true
		case !errors.Is(err, unix.ENOENT):
			return false
		}
	}
	return false
}

// lookCgroup knows the version by the file system's type at the mount point, as
// cgroups(7) says.
func lookCgroup() finding {
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil || !cgroupsWritable() {
		return finding{"cgroup", "none that can be written at " + cgroupRoot,
			"sandboxes run without limits of memory and CPU, and without news of OOM; mount it read-write to have them", false}
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return good("cgroup", "version 2")
	}
	if err := unix.Statfs(cgroupRoot+"/unified", &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
		return good("cgroup", "version 1, and version 2 beside it (hybrid)")
	}
	return good("cgroup", "version 1")
}

// lookFIFO tries what stdio of containerd needs.
func lookFIFO() finding {
	dir, err := privateDir()
	if err == nil {
		defer os.RemoveAll(dir)
		err = unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)
	}
	if err != nil {
		return finding{"FIFOs", err.Error(), "use a file system at /run or TMPDIR that can be written and has FIFOs", true}
	}
	return good("FIFOs", "yes, in %s", filepath.Dir(dir))
}

func lookFiles() finding {
	return lookLimit("files", unix.RLIMIT_NOFILE, wantFiles, "open files (nofile)", "ulimit -n")
}

func lookProcesses() finding {
	return lookLimit("processes", unix.RLIMIT_NPROC, wantProcesses, "processes (nproc)", "ulimit -u")
}

func lookLimit(what string, resource int, want uint64, name, how string) finding {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return finding{what, err.Error(), "check the limit of " + name, false}
	}
	switch {
	case l.Cur == unix.RLIM_INFINITY:
		return good(what, "no limit of %s", name)
	case l.Cur < want:
		return finding{what, fmt.Sprintf("%d %s (hard limit %d)", l.Cur, name, l.Max),
			fmt.Sprintf("raise it with %s %d for many processes at once", how, want), false}
	}
	return good(what, "%d %s", l.Cur, name)
}

func (h *host) lookRunsc(ctx context.Context) finding {
	path, err := h.findRunsc()
	if err != nil {
		return finding{"runsc", "not found", err.Error(), true}
	}
	text, err := runscVersion(ctx, path)
	if err != nil {
		return finding{"runsc", err.Error(), "build one with \"make bin/runsc\" (CGO_ENABLED=0: it has to run in an empty root)", true}
	}
	return good("runsc", "%s, %s", path, text)
}

// lookSandbox runs this program's own version command in a sandbox: it needs
// nothing of the machine but what is to be tried.
func (h *host) lookSandbox(ctx context.Context) finding {
	what := "sandbox"
	begin := time.Now()
	said, err := h.tryRun(ctx)
	if err != nil {
		return finding{what, fmt.Sprintf("platform %s: %v", h.platform, err),
			"see the lines above; try --platform systrap, or --log-level debug for more", true}
	}
	return good(what, "platform %s ran a command in %d ms: %s", h.platform, time.Since(begin).Milliseconds(), said)
}

// tryRun returns the first line that the command printed.
func (h *host) tryRun(ctx context.Context) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	id := messages.ContainerID(fmt.Sprintf("doctor-%d", os.Getpid()))
	dir, err := bundle.Write("", bundle.Config{
		Container: id,
		Network:   bundle.None,
		Process:   specs.Process{Args: []string{self, "version"}, Cwd: "/"},
	})
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	s, err := h.open(bundle.None, h.logger(os.Stderr))
	if err != nil {
		return "", err
	}
	// The end of the runtime drains what the command wrote and stops the
	// writing, so that it can be read behind it.
	var out bytes.Buffer
	exit, err := s.runToEnd(ctx, messages.Create{Container: id, Bundle: dir, Stdio: messages.Stdio{Pipes: messages.Pipes{Stdout: &out}}})
	if err = errors.Join(err, s.close()); err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(out.Bytes(), []byte("\n"))
	if exit.Status != 0 {
		return "", fmt.Errorf("%s version in it gave exit status %d", self, exit.Status)
	}
	return string(line), nil
}

// runToEnd runs a container until it is deleted.
func (s *session) runToEnd(ctx context.Context, create messages.Create) (messages.Exit, error) {
	if _, err := actors.Ask(ctx, s.Runtime, create); err != nil {
		return messages.Exit{}, err
	}
	init := messages.Init(create.Container)
	if _, err := actors.Ask(ctx, s.Runtime, messages.Start{Process: init}); err != nil {
		return messages.Exit{}, err
	}
	exited, err := actors.Ask(ctx, s.Runtime, messages.Wait{Process: init})
	if err != nil {
		return messages.Exit{}, err
	}
	_, err = actors.Ask(ctx, s.Runtime, messages.Delete{Process: init})
	return exited.Exit, err
}
