package runsc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// A memo is what a successor must know of a container or an exec when this
// program is killed. It is a small file in the container's folder, from before
// the process is told of until its Delete.
//
// It has no environment, which may hold secrets, and only root can read it.

// memoVersion is that of the files. A driver leaves those of another alone.
const memoVersion = 1

const (
	containerMemoName = "container.json"
	execMemoPrefix    = "exec-"
	memoSuffix        = ".json"
	// maxMemo bounds what is read of one, in bytes: a command line has at most
	// 2 MiB (execve(2)), and JSON makes up to six bytes of one.
	maxMemo = 16 << 20
)

// hostProcess names one process of the host: its pid, and its start time in
// clock ticks since boot (proc_pid_stat(5)), so that a later process with the
// same number is not taken for it.
type hostProcess struct {
	PID  int    `json:"pid"`
	Born uint64 `json:"born"`
}

// containerMemo is that of a container.
type containerMemo struct {
	Version int `json:"version"`
	// Boot is the boot that start times are counted from.
	Boot        string               `json:"boot"`
	Container   messages.ContainerID `json:"container"`
	Sandbox     messages.SandboxID   `json:"sandbox"`
	Bundle      string               `json:"bundle"`
	RestoreFrom string               `json:"restoreFrom,omitempty"`
	// Root is runsc's, whose own state of the container tells whether it was
	// started.
	Root  string    `json:"root"`
	Stdio stdioMemo `json:"stdio"`
	// Created is false as long as `runsc create` may not be over, and Token marks
	// what that has started.
	Created bool   `json:"created"`
	Token   string `json:"token,omitempty"`
	// Sentry is the sandbox's process, and Guest the init's pid in it.
	Sentry hostProcess `json:"sentry"`
	Guest  int         `json:"guestPID,omitempty"`
	// Mounts are to be unmounted by Delete, the last first, and MadeRoot is to be
	// removed then.
	Mounts   []string `json:"mounts,omitempty"`
	MadeRoot string   `json:"madeRoot,omitempty"`
	// Cgroup is empty if it is not ours to remove.
	Cgroup string `json:"cgroup,omitempty"`
	// OOM is the kernel's count of kills when the container was made.
	OOM uint64    `json:"oom,omitempty"`
	At  time.Time `json:"at"`
}

// execMemo is that of an exec that was started. One that was only registered is
// known to nobody but its actor.
type execMemo struct {
	Version   int                  `json:"version"`
	Container messages.ContainerID `json:"container"`
	Exec      messages.ExecID      `json:"exec"`
	// Way is ExecControl or ExecCLI.
	Way string `json:"way"`
	// Host is the stub, or the sandbox where there is none.
	Host  hostProcess `json:"host"`
	Guest int         `json:"guestPID"`
	Args  []string    `json:"args"`
	Cwd   string      `json:"cwd"`
	User  specs.User  `json:"user"`
	Stdio stdioMemo   `json:"stdio"`
	At    time.Time   `json:"at"`
}

// stdioMemo is where a process's streams came from and went to.
type stdioMemo struct {
	Stdin    string `json:"stdin,omitempty"`
	Stdout   string `json:"stdout,omitempty"`
	Stderr   string `json:"stderr,omitempty"`
	Terminal bool   `json:"terminal,omitempty"`
	// Direct: what is a FIFO or a file, the process has itself.
	Direct bool `json:"direct,omitempty"`
	// StdinClosed: CloseIO was called.
	StdinClosed bool `json:"stdinClosed,omitempty"`
	// HungUp: the process was told that its terminal is gone.
	HungUp bool `json:"hungUp,omitempty"`
}

func newStdioMemo(s messages.Stdio, st *streams) stdioMemo {
	return stdioMemo{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, Terminal: s.Terminal, Direct: st.options.Direct && !s.Terminal}
}

func (m stdioMemo) stdio() messages.Stdio {
	return messages.Stdio{Stdin: m.Stdin, Stdout: m.Stdout, Stderr: m.Stderr, Terminal: m.Terminal}
}

// bootID tells this boot from others: start times begin anew with each.
var bootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})

// rememberCreating writes down that a container is about to be made, so that
// what a killed `create` leaves can be taken back, its mounts included. From here
// on the container's folder is locked by this program.
func (c *container) rememberCreating() error {
	if err := c.lockDir(); err != nil {
		return c.memoError(err)
	}
	c.token = rand.Text()
	return c.writeMemo(containerMemo{Token: c.token})
}

// rememberCreated writes down that the container is there. Whether it was
// started is what runsc writes down itself (its state file), so that nothing has
// to be written at its start.
func (c *container) rememberCreated() error {
	m := containerMemo{Created: true, Guest: c.pids().Guest, Sentry: hostProcess{c.sandbox.sentry.pidfd.pid, c.sandbox.sentry.pidfd.born}}
	if o := c.sandbox.oom; o != nil {
		m.OOM = o.start
	}
	return c.writeMemo(m)
}

// writeMemo fills in what is known of any container.
func (c *container) writeMemo(m containerMemo) error {
	m.Version, m.Boot = memoVersion, bootID()
	m.Container, m.Sandbox = c.init.Container, sandboxOf(c.create)
	m.Bundle, m.RestoreFrom, m.Root = c.create.Bundle, c.create.RestoreFrom, c.driver.options.Root
	m.Stdio = newStdioMemo(c.create.Stdio, c.streams)
	m.Mounts, m.MadeRoot = c.rootfs.targets, c.rootfs.made
	if !c.cgroup.foreign {
		m.Cgroup = c.cgroup.path
	}
	m.At = time.Now()
	if err := writeMemo(filepath.Join(c.dir, containerMemoName), m); err != nil {
		return c.memoError(err)
	}
	return nil
}

// remember writes down a process that was started just now. Where that fails
// nobody could take charge of it later, so it is killed, and gone when remember
// returns.
func (p *process) remember(l messages.Launch, pids messages.PIDs) error {
	m := execMemo{
		Version: memoVersion, Container: p.self.Container, Exec: p.self.Exec, Way: ExecControl,
		Host: hostProcess{PID: pids.Host, Born: p.init.sandbox.sentry.pidfd.born}, Guest: pids.Guest,
		Args: l.Spec.Args, Cwd: l.Spec.Cwd, User: l.Spec.User,
		Stdio: newStdioMemo(l.Stdio, p.streams), At: time.Now(),
	}
	if p.stub != nil {
		m.Way, m.Host.Born = ExecCLI, p.stub.child.pidfd.born
	}
	m.Stdio.StdinClosed = l.StdinClosed
	path := filepath.Join(p.init.dir, execMemoPrefix+string(p.self.Exec)+memoSuffix)
	err := writeMemo(path, m)
	if err == nil {
		p.memo = path
		return nil
	}
	p.takeBack()
	return p.init.memoErrorOf(p.self.Process, err)
}

// takeBack kills a process that was started and can not be kept, and takes its
// record from the sandbox.
func (p *process) takeBack() {
	if !p.killGuest() {
		return
	}
	if p.stub == nil {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		// What it gives is of no interest; without it the record stays.
		_, _ = p.client.WaitPID(ctx, p.self.Process, p.guest)
		return
	}
	p.stub.child.kill()
	<-p.stub.child.gone
	_ = p.stub.log.Close()
}

// forgetMemo is for a process that is deleted.
func (p *process) forgetMemo() {
	if p.memo == "" {
		return
	}
	if err := os.Remove(p.memo); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.init.driver.log.Warn("remove the record of a process", "process", p.self.String(), "error", err)
	}
}

// rememberClosed writes down that a process's stdin was closed, where a successor
// would otherwise hold it open.
func (d *Driver) rememberClosed(i messages.Incarnation) {
	d.mu.Lock()
	p := d.execs[i]
	d.mu.Unlock()
	if p == nil || p.memo == "" || p.streams.in == nil || !p.streams.in.isHanded() {
		return
	}
	if err := p.amendMemo(func(m *execMemo) { m.Stdio.StdinClosed = true }); err != nil {
		d.log.Warn("write down that a stdin was closed", "process", i.String(), "error", err)
	}
}

// amendMemo changes the record of a process that is not deleted.
func (p *process) amendMemo(change func(*execMemo)) error {
	m, err := readMemo[execMemo](p.memo)
	if err != nil {
		return err
	}
	change(&m)
	return writeMemo(p.memo, m)
}

// writeMemo writes a file whole or not at all, also if this program is killed at
// any point of it. It is not on the disk then, but a machine that goes down takes
// the processes with it.
func writeMemo(path string, memo any) error {
	b, err := json.Marshal(memo)
	if err != nil {
		return err
	}
	temporary := path + ".new"
	err = os.WriteFile(temporary, b, 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
	}
	return err
}

// readMemo reads a file. Its error names it.
func readMemo[M containerMemo | execMemo](path string) (memo M, err error) {
	f, err := os.Open(path)
	if err != nil {
		return memo, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMemo+1))
	if err != nil {
		return memo, err
	}
	if len(b) > maxMemo {
		return memo, fmt.Errorf("read %s: it has more than %d bytes", path, maxMemo)
	}
	var head struct{ Version int }
	if err := json.Unmarshal(b, &head); err != nil {
		return memo, fmt.Errorf("read %s: %w", path, err)
	}
	if head.Version != memoVersion {
		return memo, fmt.Errorf("read %s: it has version %d, and this program knows %d", path, head.Version, memoVersion)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&memo); err != nil {
		return memo, fmt.Errorf("read %s: %w", path, err)
	}
	return memo, nil
}

// lockDir locks the container's folder for as long as this program lives, or
// until it is unlocked: the kernel drops a lock with its last open file
// (flock(2)). Nobody else then takes charge of what is in it.
func (c *container) lockDir() (err error) {
	c.lock, err = lockDir(c.dir)
	return err
}

// errLocked: another driver owns it.
const errLocked = messages.Text("a driver that lives owns it")

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errLocked
	}
	return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
}

// unlockDir lets another driver take charge.
func (c *container) unlockDir() {
	if c.lock != nil {
		_ = c.lock.Close()
	}
}

func (c *container) memoError(err error) error { return c.memoErrorOf(c.init.Process, err) }

func (c *container) memoErrorOf(p messages.Process, err error) error {
	return stateError("write the record of", p, c.driver.options.StateDir, err)
}

// hold opens the process, if it is there and is the one that was meant. A zombie
// is.
func (h hostProcess) hold() (*pidfd, error) {
	if h.PID <= 0 || h.Born == 0 {
		return nil, errors.New("no process was written down")
	}
	p, err := openPidfd(h.PID)
	if err != nil {
		return nil, err
	}
	// The start time was read after the process was opened.
	if p.born != h.Born {
		p.close()
		return nil, errors.New("process " + strconv.Itoa(h.PID) + " is a later one")
	}
	return p, nil
}
