package runsc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// heir is a container that a driver of a dead program has left. Its folder is
// locked by this driver from Survivors on.
type heir struct {
	memo containerMemo
	dir  string
	lock *os.File
	// sentry is the sandbox's process, nil if that is gone.
	sentry *pidfd
	// state is runsc's own record, nil if it has none any more.
	state *containerRecord
	execs []*execHeir
}

// execHeir is an exec of a heir.
type execHeir struct {
	memo execMemo
	path string
	// stub is its `runsc exec`, also one that is gone and not reaped; nil if there
	// is none.
	stub *pidfd
	// gone: it is not in the sandbox any more, and what its status was can not be
	// known.
	gone bool
}

// adoption is what a container has that was adopted.
type adoption struct {
	// started is that of the survivor, and told that its Start has come; this one
	// is guarded by the driver's lock.
	started, told bool
	// gone: its sandbox was gone when it was found.
	gone bool
	// paused: runsc has it as paused.
	paused bool
	// execs are guarded by the driver's lock.
	execs map[messages.ExecID]*execHeir
}

// unseen is why a status is not known.
const unseen = messages.Text("it ended while no runtime was there")

// Survivors implements actors.Rememberer for what lies in [Options.StateDir] and
// is of [Options.Root].
//
// What it returns is this driver's to take charge of, until Close: no other
// driver gets it. What a driver that lives has, in this program or another, is
// none of it. A container that was still being made when its program was killed
// is taken back, since nobody was told of it.
//
// A file that can not be read does not keep the others from being listed: the
// error names it, and what could be read is returned beside it.
func (d *Driver) Survivors(ctx context.Context) ([]messages.Survivor, error) {
	var failed []error
	fail := func(op string, p messages.Process, err error, hint string) {
		failed = append(failed, &messages.Error{Kind: messages.Internal, Op: op, Process: p, Err: err, Hint: hint})
	}
	paths, err := memos(d.options.StateDir)
	if err != nil {
		return nil, stateError("look for what was left in", messages.Process{}, d.options.StateDir, err)
	}
	for _, path := range paths {
		h, err := d.claim(path)
		switch {
		case err != nil:
			fail("read what is left of a container", messages.Process{}, err, "delete it with runsc delete --force, and then the folder "+filepath.Dir(path))
			continue
		case h == nil:
			continue
		case !h.memo.Created:
			if err := d.takeBackHeir(ctx, h); err != nil {
				fail("take back the half-made container", messages.Init(h.memo.Container), err, "delete it with runsc delete --force, and then the folder "+h.dir)
			}
			continue
		}
		if err := d.readExecs(ctx, h); err != nil {
			fail("read what is left of an exec in", messages.Init(h.memo.Container), err, "its process ends with the container")
		}
		if err := d.inherit(ctx, h); err != nil {
			fail("take back an older container of the name", messages.Init(h.memo.Container), err, "unmount what is in its folder, and remove that: "+h.dir)
		}
	}
	return d.survivors(), errors.Join(failed...)
}

// memos are the files of the containers in a state folder.
func memos(stateDir string) ([]string, error) {
	entries, err := os.ReadDir(stateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(stateDir, e.Name(), containerMemoName)
		if _, err := os.Lstat(path); e.IsDir() && err == nil {
			paths = append(paths, path)
		}
	}
	return paths, err
}

// LeftRoots are the root folders of runsc whose containers a program that is dead
// has left in a state folder, each once: what a driver of that folder and root
// would find by Survivors. A file that can not be read is an error beside the
// others.
func LeftRoots(stateDir string) ([]string, error) {
	paths, err := memos(stateDir)
	if err != nil {
		return nil, err
	}
	var roots []string
	var failed []error
	for _, path := range paths {
		m, lock, err := claimMemo(path)
		if err != nil {
			failed = append(failed, err)
		}
		if lock == nil {
			continue
		}
		_ = lock.Close()
		if err == nil && !slices.Contains(roots, m.Root) {
			roots = append(roots, m.Root)
		}
	}
	return roots, errors.Join(failed...)
}

// claimMemo locks a container's folder and reads its memo. Without a lock and
// an error it is somebody else's, or gone.
func claimMemo(path string) (m containerMemo, lock *os.File, err error) {
	lock, err = lockDir(filepath.Dir(path))
	if errors.Is(err, errLocked) || errors.Is(err, fs.ErrNotExist) {
		return m, nil, nil
	}
	if err != nil {
		return m, nil, err
	}
	// Its owner may have deleted it just before the lock.
	if m, err = readMemo[containerMemo](path); err != nil {
		_ = lock.Close()
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return m, nil, err
	}
	return m, lock, nil
}

// claim makes a heir of a container that nobody owns; nil if it is not for this
// driver.
func (d *Driver) claim(path string) (*heir, error) {
	m, lock, err := claimMemo(path)
	if err != nil || lock == nil {
		return nil, err
	}
	if err := m.validate(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if filepath.Clean(m.Root) != filepath.Clean(d.options.Root) {
		_ = lock.Close()
		return nil, nil
	}
	h := &heir{memo: m, dir: filepath.Dir(path), lock: lock}
	if found, err := findRecord(m.Root, string(m.Container)); err == nil {
		h.state, _, _ = readRecord(found)
	}
	if m.Boot == bootID() && h.isKnown() {
		// Whatever the error is, the process is not there.
		h.sentry, _ = m.Sentry.hold()
	}
	return h, nil
}

// validate reports a memo that is JSON and yet none of ours.
func (m containerMemo) validate() error {
	if err := m.Container.Validate(); err != nil {
		return err
	}
	return m.Sandbox.Validate()
}

// isKnown tells whether runsc's own record is of this very container. Without
// one, it was deleted by somebody, or its sandbox is about to be.
func (h *heir) isKnown() bool {
	return h.state != nil && h.state.Sandbox != nil && (h.state.Sandbox.PID == h.memo.Sentry.PID || h.state.Sandbox.PID == 0)
}

// isStarted goes by runsc's own record. What has none was started, as far as
// anybody can still care.
func (h *heir) isStarted() bool {
	return h.state == nil || h.state.Status != "created" && h.state.Status != "creating"
}

func (h *heir) isRoot() bool { return string(h.memo.Sandbox) == string(h.memo.Container) }

// readExecs reads the memos of a container's execs and looks for their processes.
func (d *Driver) readExecs(ctx context.Context, h *heir) error {
	paths, err := filepath.Glob(filepath.Join(h.dir, execMemoPrefix+"*"+memoSuffix))
	failed := []error{err}
	for _, path := range paths {
		m, err := readMemo[execMemo](path)
		if err == nil {
			err = m.Exec.Validate()
		}
		if err != nil || m.Container != h.memo.Container {
			failed = append(failed, fmt.Errorf("%s: %w", path, cmp.Or(err, error(messages.Text("it is of another container")))))
			continue
		}
		x := &execHeir{memo: m, path: path}
		if m.Way == ExecCLI && h.memo.Boot == bootID() {
			x.stub, _ = m.Host.hold()
		}
		h.execs = append(h.execs, x)
	}
	slices.SortFunc(h.execs, func(a, b *execHeir) int { return a.memo.At.Compare(b.memo.At) })
	if err := d.findExecs(ctx, h); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// findExecs finds out which execs are still in the sandbox. An error says why it
// could not be asked: then each is held to be there, and the wait for it will
// tell.
func (d *Driver) findExecs(ctx context.Context, h *heir) error {
	var present func(guest int) bool
	var failed error
	switch {
	case len(h.execs) == 0:
		return nil
	case h.sentry == nil || h.sentry.isGone():
		present = func(int) bool { return false }
	default:
		if present, failed = d.guests(ctx, h.memo.Container); failed != nil {
			present = func(int) bool { return true }
		}
	}
	latest := map[int]*execHeir{}
	for _, x := range h.execs {
		// A number that was used again is the last one's.
		if before := latest[x.memo.Guest]; before != nil {
			before.gone = true
		}
		latest[x.memo.Guest] = x
		x.gone = !present(x.memo.Guest)
	}
	for _, x := range h.execs {
		// A zombie, or what was reaped after it was opened here, tells its status.
		if x.gone && x.stub != nil {
			_, known := x.stub.exitCode()
			x.gone = !known
		}
	}
	return failed
}

// guests tells which processes in the sandbox have come from outside, as execs
// do: a number that was used again by one of a container's own children does not
// count. By the command line, parents are not told.
func (d *Driver) guests(ctx context.Context, id messages.ContainerID) (func(guest int) bool, error) {
	if d.options.ExecDriver != ExecCLI {
		if client, err := d.dial(ctx, d.options.Root, string(id), d.options.controlOptions()); err == nil {
			defer client.Close()
			if client.verify(ctx, id) == nil {
				list, err := client.Processes(ctx, id)
				return func(guest int) bool {
					return slices.ContainsFunc(list, func(g guestProcess) bool { return int(g.PID) == guest && g.PPID == 0 })
				}, err
			}
		}
	}
	pids, err := d.client.Ps(ctx, string(id))
	return func(guest int) bool { return slices.Contains(pids, guest) }, err
}

// inherit keeps a heir until it is taken charge of. Of two of one name, the older
// one was deleted but for its folder when its program was killed.
func (d *Driver) inherit(ctx context.Context, h *heir) error {
	d.mu.Lock()
	other := d.heirs[h.memo.Container]
	if other != nil && other.memo.At.After(h.memo.At) {
		h, other = other, h
	}
	d.heirs[h.memo.Container] = h
	d.mu.Unlock()
	if other == nil {
		return nil
	}
	return other.clear(ctx)
}

// survivors lists the heirs: a sandbox's root container first, a container before
// its execs, and else in the order in which they began.
func (d *Driver) survivors() (all []messages.Survivor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var heirs []*heir
	for _, h := range d.heirs {
		heirs = append(heirs, h)
	}
	slices.SortFunc(heirs, func(a, b *heir) int {
		if a.isRoot() != b.isRoot() {
			if a.isRoot() {
				return -1
			}
			return 1
		}
		return cmp.Or(a.memo.At.Compare(b.memo.At), strings.Compare(string(a.memo.Container), string(b.memo.Container)))
	})
	for _, h := range heirs {
		all = append(all, h.survivor())
	}
	for _, h := range heirs {
		for _, x := range h.execs {
			all = append(all, x.survivor())
		}
	}
	return all
}

func (h *heir) survivor() messages.Survivor {
	m := h.memo
	return messages.Survivor{
		Process: messages.Init(m.Container), Sandbox: m.Sandbox, Bundle: m.Bundle, RestoreFrom: m.RestoreFrom,
		Stdio: m.Stdio.stdio(), PIDs: messages.PIDs{Host: m.Sentry.PID, Guest: m.Guest},
		Started: h.isStarted(), Ended: h.sentry == nil,
	}
}

func (x *execHeir) survivor() messages.Survivor {
	m := x.memo
	return messages.Survivor{
		Process: messages.Process{Container: m.Container, Exec: m.Exec},
		Spec:    messages.ExecSpec{Process: specs.Process{Args: m.Args, Cwd: m.Cwd, User: m.User, Terminal: m.Stdio.Terminal}},
		Stdio:   m.Stdio.stdio(), PIDs: messages.PIDs{Host: m.Host.PID, Guest: m.Guest},
		Started: true, Ended: x.gone,
	}
}

// takeBackHeir takes back a container that was being made.
func (d *Driver) takeBackHeir(ctx context.Context, h *heir) error {
	defer h.release()
	id := string(h.memo.Container)
	d.log.Info("take back a container whose program was killed while it made it", "container", id, "folder", h.dir)
	if h.isRoot() {
		killLeftovers(d.options.Root, id, h.memo.Token)
	}
	if err := d.client.Delete(ctx, id, &DeleteOpts{Force: true}); err != nil && !errors.Is(err, messages.NotFound) {
		return err
	}
	if h.memo.Cgroup != "" {
		if err := (&cgroup{root: cgroupRoot, path: h.memo.Cgroup}).remove(ctx); err != nil {
			return err
		}
	}
	return h.clear(ctx)
}

// clear unmounts and removes what lies on the host, and lets go.
func (h *heir) clear(ctx context.Context) error {
	defer h.release()
	if err := h.rootfs().unmount(ctx); err != nil {
		return err
	}
	return os.RemoveAll(h.dir)
}

func (h *heir) rootfs() *rootfs { return &rootfs{targets: h.memo.Mounts, made: h.memo.MadeRoot} }

// release lets go of a heir, for another driver.
func (h *heir) release() {
	if h.sentry != nil {
		h.sentry.close()
	}
	for _, x := range h.execs {
		x.release()
	}
	_ = h.lock.Close()
}

func (x *execHeir) release() {
	if x.stub != nil {
		x.stub.close()
	}
}

// leave lets go of everything that is written down, for another driver. The
// driver's lock is held.
func (d *Driver) leave() {
	for _, h := range d.heirs {
		h.release()
	}
	for _, c := range d.containers {
		c.unlockDir()
	}
}
