package runsc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// pidfd holds one process, whoever its parent is (pidfd_open(2)).
type pidfd struct {
	file *os.File
	pid  int
	// born is the process's start time in clock ticks since boot. With the pid
	// it names one process in /proc, where only numbers are asked.
	born uint64
	// reaped: it was known to be gone before it could be held, and file is nil.
	reaped bool
}

// newPidfd takes over fd. It is made nonblocking, so that the runtime's poller
// waits for it and not a thread.
func newPidfd(fd, pid int) *pidfd {
	_ = unix.SetNonblock(fd, true)
	p := &pidfd{file: os.NewFile(uintptr(fd), "pidfd of "+strconv.Itoa(pid)), pid: pid}
	if s, err := readStat(pid); err == nil {
		p.born = s.born
	}
	return p
}

// openPidfd opens the process that has this number now. A zombie has one too.
func openPidfd(pid int) (*pidfd, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.EINVAL) {
		// The flag came with Linux 5.10.
		fd, err = unix.PidfdOpen(pid, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open a pidfd of process %d: %w", pid, err)
	}
	return newPidfd(fd, pid), nil
}

// wait waits until the process is gone: dead, if not reaped yet. It ends with an
// error when the pidfd is closed.
func (p *pidfd) wait() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool { return readable(int(fd)) })
}

// isGone tells whether the process is dead. A zombie is.
func (p *pidfd) isGone() bool {
	gone := true // a closed pidfd is that of a process that was waited for
	p.control(func(fd int) error { gone = readable(fd); return nil })
	return gone
}

// readable tells of a pidfd whether its process is dead (pidfd_open(2)).
func readable(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

func (p *pidfd) control(f func(fd int) error) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func (p *pidfd) signal(sig syscall.Signal) error {
	return p.control(func(fd int) error { return unix.PidfdSendSignal(fd, sig, nil, 0) })
}

// signalGroup signals the process group that the process leads. Before Linux
// 6.9 that is done by number, which is safe while the leader is not reaped.
func (p *pidfd) signalGroup(sig syscall.Signal) error {
	return p.control(func(fd int) error {
		err := unix.PidfdSendSignal(fd, sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		if errors.Is(err, unix.EINVAL) {
			return unix.Kill(-p.pid, sig)
		}
		return err
	})
}

func (p *pidfd) close() { _ = p.file.Close() }

// closedPidfd is that of a process which is gone and was reaped long ago.
func closedPidfd(pid int) *pidfd {
	// Without a file every call fails, as with one that is closed.
	return &pidfd{pid: pid, reaped: true}
}

// exitCode is the code of a process that is gone, also if it is no child of
// ours. It is not known while the process lives, and before Linux 6.15 not
// after it was reaped.
func (p *pidfd) exitCode() (exitCode, bool) {
	// While it is a zombie, /proc has it: a parent that reaps late (the init of
	// a container, say) does not make us wait.
	if s, err := readStat(p.pid); err == nil && s.born == p.born && p.born != 0 && s.zombie && s.codeSeen {
		return codeOf(s.code), true
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	err := p.control(func(fd int) error { return unix.IoctlPidfdInfo(fd, &info) })
	if err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return exitCode{}, false
	}
	return codeOf(syscall.WaitStatus(info.Exit_code)), true
}

// isReaped tells whether even the zombie is gone.
func (p *pidfd) isReaped() bool {
	return p.reaped || errors.Is(p.signal(0), unix.ESRCH)
}

// stat is what is needed of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	zombie  bool
	ppid    int
	session int
	born    uint64
	code    syscall.WaitStatus
	// codeSeen: the kernel shows the code only to those who may trace the
	// process, and 0 to others; it can be told apart by nothing but privilege.
	codeSeen bool
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(b))
}

func parseStat(line string) (stat, error) {
	// The command's name is in parentheses and may hold any character.
	end := strings.LastIndexByte(line, ')')
	f := strings.Fields(line[end+1:])
	// Fields are numbered from 1 in the manual; the third (state) is f[0].
	const state, ppid, session, starttime, code = 0, 1, 3, 19, 49
	if end < 0 || len(f) <= code {
		return stat{}, fmt.Errorf("read /proc/PID/stat: %d fields", len(f))
	}
	var s stat
	var errs [4]error
	var ws int
	s.zombie = f[state] == "Z"
	s.ppid, errs[0] = strconv.Atoi(f[ppid])
	s.session, errs[1] = strconv.Atoi(f[session])
	s.born, errs[2] = strconv.ParseUint(f[starttime], 10, 64)
	ws, errs[3] = strconv.Atoi(f[code])
	s.code, s.codeSeen = syscall.WaitStatus(ws), os.Geteuid() == 0
	return s, errors.Join(errs[:]...)
}
