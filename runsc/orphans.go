package runsc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// guard watches a process that was not started here: a sandbox's sentry or a
// gofer. runsc started it, and its parent is now the init of this pid namespace
// or, with [Options.Subreaper], this process.
type guard struct {
	pidfd *pidfd
	// gone is closed when the process is dead; end is set before.
	gone chan struct{}
	end  exitCode
}

// lateReap bounds how long the code of a process that is gone is asked for. It
// is there at once, but for a parent that is between two looks at it.
const lateReap = 2 * time.Second

// watch takes over p, whose code is read by codes once it is dead. A process that
// is our child is reaped, and no other: it is held by its pidfd, so what the
// embedder started is never touched.
func watch(p *pidfd, codes func(*pidfd) exitCode) *guard {
	g := &guard{pidfd: p, gone: make(chan struct{})}
	go func() {
		switch err := p.wait(); {
		case errors.Is(err, os.ErrClosed):
			// Nobody watches any more, and nothing is known to have ended.
			return
		case err != nil:
			g.end = exitCode{unknown: err}
		default:
			g.end = codes(p)
		}
		defer close(g.gone)
		// A zombie that is ours stays until somebody asks; ECHILD is not ours.
		_ = p.control(func(fd int) error { return unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil) })
	}()
	return g
}

// codeOfGone asks until the code is known: between death and reaping, an exit is
// seen by poll(2) a moment before its code can be read.
func codeOfGone(p *pidfd) exitCode {
	for deadline := time.Now().Add(lateReap); ; time.Sleep(time.Millisecond) {
		if end, known := p.exitCode(); known {
			return end
		}
		if time.Now().After(deadline) || (p.isReaped() && !pidfdInfoKnown()) {
			return exitCode{unknown: fmt.Errorf("process %d was reaped by its parent, and this kernel does not keep exit codes (PIDFD_GET_INFO came with Linux 6.15)", p.pid)}
		}
	}
}

// pidfdInfoKnown tells whether this kernel has PIDFD_GET_INFO with exit codes.
// It is asked for the kernel's release, since a process that lives has none.
func pidfdInfoKnown() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return false
	}
	return major > 6 || (major == 6 && minor >= 15)
}

// ownOrphans makes this process the parent of orphans among its descendants
// (PR_SET_CHILD_SUBREAPER(2const)).
func ownOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// stateFile is what is read of runsc's state of a container
// (runsc/container/container.go).
type stateFile struct {
	GoferPID int `json:"goferPid"`
	Sandbox  struct {
		PID int `json:"pid"`
		UID int `json:"uid"`
		GID int `json:"gid"`
	} `json:"sandbox"`
}

func readState(root, sandbox, container string) (stateFile, error) {
	var s stateFile
	b, err := os.ReadFile(filepath.Join(root, container+"_sandbox:"+sandbox+".state"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// claim opens a process that runsc told the pid of. With a subreaper it is our
// child and a zombie at worst, so the number is its own; without, a process that
// is not runsc's is a later one with the same number.
func claim(pid int, argv0 string) (*pidfd, error) {
	p, err := openPidfd(pid)
	if err != nil {
		return nil, err
	}
	if s, err := readStat(pid); err == nil && s.ppid == os.Getpid() {
		return p, nil
	}
	if name := firstArg(pid); name != argv0 && !p.isGone() {
		p.close()
		return nil, fmt.Errorf("process %d is %q and not %s, which is gone", pid, name, argv0)
	}
	return p, nil
}

// What runsc calls its own processes (runsc/sandbox/sandbox.go,
// runsc/container/container.go).
const (
	sentryName = "runsc-sandbox"
	goferName  = "runsc-gofer"
)

// tokenName is the environment variable that marks the processes of one call of
// `runsc create`. Gofers inherit it, sentries do not.
const tokenName = "TROUPE_CALL"

// killLeftovers kills what a `runsc create` left behind that was cut short: one
// that ends by itself takes back what it began, but knows nothing of what it
// began before it was killed. A sentry is known by its arguments, a gofer by the
// token. `runsc delete` finds neither, nor their files, without a state file.
func killLeftovers(root, id, token string) {
	for range 10 {
		if !killMatching(func(pid int) bool { return isLeftover(pid, root, id, token) }) {
			break
		}
	}
	name := filepath.Join(root, id+"_sandbox:"+id)
	if _, err := os.Stat(name + ".state"); err == nil {
		return
	}
	_ = os.Remove(name + ".lock")
	_ = os.Remove(filepath.Join(root, "runsc-"+id+".sock"))
}

func isLeftover(pid int, root, id, token string) bool {
	switch args := argsOf(pid); {
	case len(args) == 0:
		return false
	case args[0] == sentryName:
		return slices.Contains(args, "boot") && slices.Contains(args, "--root="+root) && args[len(args)-1] == id
	default:
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		return err == nil && slices.ContainsFunc(bytes.Split(env, []byte{0}), func(e []byte) bool { return string(e) == tokenName+"="+token })
	}
}

// killMatching kills the processes that match, and tells whether there were any.
// A match is asked for again once the process is held, so that its number can not
// have changed hands.
func killMatching(match func(pid int) bool) bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	found := false
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !match(pid) {
			continue
		}
		p, err := openPidfd(pid)
		if err != nil {
			continue
		}
		if !p.isGone() && match(pid) && p.signal(unix.SIGKILL) == nil {
			found = true
			<-watch(p, codeOfGone).gone
		}
		p.close()
	}
	return found
}

func argsOf(pid int) []string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || len(b) == 0 {
		return nil
	}
	var args []string
	for a := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{0}), []byte{0}) {
		args = append(args, string(a))
	}
	return args
}

func firstArg(pid int) string {
	if args := argsOf(pid); len(args) > 0 {
		return args[0]
	}
	return ""
}
