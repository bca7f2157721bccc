package load

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Role says what a process is for.
type Role string

const (
	// RoleRuntime is the program that holds the runtime: this one, or a shim.
	RoleRuntime Role = "runtime"
	// RoleSentry is gVisor's kernel.
	RoleSentry Role = "sentry"
	// RoleGofer is gVisor's file server.
	RoleGofer Role = "gofer"
	// RoleStub is a process of the runtime (runsc exec, runsc wait, runc) that
	// lives as long as the one that it stands for.
	RoleStub Role = "stub"
	// RoleGuest is everything below: the processes of a container, or those in
	// which the sentry runs the code of its guests (systrap).
	RoleGuest Role = "guest"
)

// Roles in the order of a report.
var Roles = []Role{RoleRuntime, RoleSentry, RoleGofer, RoleStub, RoleGuest}

// Usage is what processes of one role use together.
type Usage struct {
	Processes int `json:"processes"`
	// RSS and PSS are in bytes. PSS shares what several processes map; it is
	// zero where the kernel does not tell it (/proc/PID/smaps_rollup).
	RSS     int64 `json:"rss"`
	PSS     int64 `json:"pss"`
	Threads int   `json:"threads"`
	FDs     int   `json:"fds"`
	// CPU is in seconds, of the processes that live.
	CPU float64 `json:"cpu_s"`
}

func (u *Usage) add(o Usage) {
	u.Processes += o.Processes
	u.RSS += o.RSS
	u.PSS += o.PSS
	u.Threads += o.Threads
	u.FDs += o.FDs
	u.CPU += o.CPU
}

// process is one line of /proc.
type process struct {
	pid, parent int
	zombie      bool
	// ticks of user and system time, of a hundredth of a second each: USER_HZ
	// is 100 on every architecture that gVisor runs on.
	ticks int64
	// deadTicks are those of children that were waited for.
	deadTicks int64
	threads   int
}

const userHZ = 100

// processTable reads every process of /proc. One that goes meanwhile is left
// out.
func processTable() map[int]process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	table := make(map[int]process, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		if p, ok := parseStat(pid, string(data)); ok {
			table[pid] = p
		}
	}
	return table
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). The name may have spaces
// and brackets: what follows it is behind the last bracket.
func parseStat(pid int, text string) (process, bool) {
	_, rest, ok := cutLast(text, ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 18 {
		return process{}, false
	}
	parent, _ := strconv.Atoi(f[1])
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	deadUser, _ := strconv.ParseInt(f[13], 10, 64)
	deadSystem, _ := strconv.ParseInt(f[14], 10, 64)
	threads, _ := strconv.Atoi(f[17])
	return process{
		pid: pid, parent: parent, zombie: f[0] == "Z", threads: threads,
		ticks: user + system, deadTicks: deadUser + deadSystem,
	}, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// tree measures the processes at and below the roots, by role, and counts
// zombies.
func tree(roots []int) (byRole map[Role]Usage, zombies int) {
	table := processTable()
	children := make(map[int][]int, len(table))
	for pid, p := range table {
		children[p.parent] = append(children[p.parent], pid)
	}
	byRole = map[Role]Usage{}
	var visit func(pid int, above Role)
	visit = func(pid int, above Role) {
		p, ok := table[pid]
		if !ok {
			return
		}
		if p.zombie {
			zombies++
			return
		}
		role := RoleRuntime
		if above != "" {
			role = roleOf(pid, above)
		}
		u := byRole[role]
		u.add(measure(p))
		byRole[role] = u
		for _, child := range children[pid] {
			visit(child, role)
		}
	}
	for _, root := range roots {
		visit(root, "")
	}
	return byRole, zombies
}

// roleOf tells the role of a process below one of the role above.
func roleOf(pid int, above Role) Role {
	if above == RoleSentry || above == RoleGuest {
		return RoleGuest
	}
	command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return RoleGuest
	}
	first, _, _ := bytes.Cut(command, []byte{0})
	switch name := filepath.Base(string(first)); {
	case name == "runsc-sandbox":
		return RoleSentry
	case name == "runsc-gofer":
		return RoleGofer
	case name == "runsc", name == "runc", strings.HasPrefix(name, "runsc-"):
		return RoleStub
	case name == "exe":
		// A program that has started itself anew through /proc/self/exe.
		return above
	}
	return RoleGuest
}

func measure(p process) Usage {
	dir := "/proc/" + strconv.Itoa(p.pid)
	u := Usage{Processes: 1, Threads: p.threads, CPU: float64(p.ticks) / userHZ}
	if rollup, err := os.ReadFile(dir + "/smaps_rollup"); err == nil {
		u.RSS, u.PSS = kib(rollup, "Rss:"), kib(rollup, "Pss:")
	} else if status, err := os.ReadFile(dir + "/status"); err == nil {
		u.RSS = kib(status, "VmRSS:")
	}
	u.FDs = countFDs(dir + "/fd")
	return u
}

// countFDs counts the descriptors in a /proc/PID/fd. Its size is their number
// since Linux 6.2 (proc_pid_fd(5)); to read them all takes minutes where the
// sentry has two thousand guests, each of which has a copy of thousands.
func countFDs(dir string) int {
	if info, err := os.Stat(dir); err == nil && info.Size() > 0 {
		return int(info.Size())
	}
	fds, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	return len(fds)
}

// kib reads "NAME:   123 kB" as bytes.
func kib(text []byte, name string) int64 {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(value)), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// countMounts are the mounts below some folders, in this process's namespace;
// all of them where there are no folders. Others on the machine mount, too.
func countMounts(folders []string) int {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		// The mount point is the fifth (proc_pid_mountinfo(5)).
		f := strings.Fields(line)
		if len(folders) == 0 || len(f) > 4 && slices.ContainsFunc(folders, func(folder string) bool {
			return strings.HasPrefix(f[4], folder+"/")
		}) {
			n++
		}
	}
	return n
}

// countFiles are the files, sockets and folders below some folders.
func countFiles(folders []string) int {
	n := 0
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
			if err == nil && path != folder {
				n++
			}
			return nil // what goes meanwhile is not counted
		})
	}
	return n
}

// processorTime is that of the target's processes so far, in seconds, with that
// of the dead, which their parents have (proc_pid_stat(5), cutime).
//
// Where the target is this program, those are itself and all below it. Else
// they are every process but this one that it sees, because a daemon's share
// belongs to an exec too: in a pid namespace of its own that is exact, without
// one everything that is busy meanwhile is in it.
func processorTime(roots []int) float64 {
	table := processTable()
	self := os.Getpid()
	var ticks int64
	if !slices.Contains(roots, self) {
		for pid, p := range table {
			if pid != self {
				ticks += p.ticks + p.deadTicks
			}
		}
		return float64(ticks) / userHZ
	}
	for pid, p := range table {
		for above := pid; above > 0; above = table[above].parent {
			if above == self {
				ticks += p.ticks + p.deadTicks
				break
			}
		}
	}
	return float64(ticks) / userHZ
}
