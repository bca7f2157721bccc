package load

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// A name may have brackets and spaces (proc_pid_stat(5)).
func TestParseStat(t *testing.T) {
	const text = "42 (a) (b c) S 7 42 42 0 -1 4194560 900 0 0 0 11 22 33 44 20 0 9 0 123456 1000 200 18446744073709551615"
	p, ok := parseStat(42, text)
	want := process{pid: 42, parent: 7, ticks: 33, deadTicks: 77, threads: 9}
	if !ok || p != want {
		t.Errorf("read %+v, want %+v", p, want)
	}
	if p, ok = parseStat(42, "42 (x) Z 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0"); !ok || !p.zombie {
		t.Errorf("a zombie is read as %+v", p)
	}
	for _, bad := range []string{"", "42 (x", "42 (x) S 1"} {
		if _, ok := parseStat(42, bad); ok {
			t.Errorf("%q is read", bad)
		}
	}
}

// A child is found below this program, and its time after it is gone.
func TestTree(t *testing.T) {
	before := processorTime([]int{os.Getpid()})
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	byRole, _ := tree([]int{os.Getpid()})
	if byRole[RoleGuest].Processes != 1 || byRole[RoleRuntime].Processes != 1 || byRole[RoleGuest].RSS == 0 || byRole[RoleRuntime].FDs == 0 {
		t.Errorf("with a child: %+v", byRole)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Until it is waited for it is a zombie.
	var state process
	for !state.zombie {
		state = processTable()[cmd.Process.Pid]
	}
	if byRole, zombies := tree([]int{os.Getpid()}); zombies != 1 || byRole[RoleGuest].Processes != 0 {
		t.Errorf("with a zombie: %d zombies, %+v", zombies, byRole)
	}
	_ = cmd.Wait()
	burn := exec.Command("sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	if err := burn.Run(); err != nil {
		t.Fatal(err)
	}
	if used := processorTime([]int{os.Getpid()}) - before; used < burn.ProcessState.UserTime().Seconds()-0.02 || used > 60 {
		t.Errorf("processor time of a child that is gone: %v s, and it used %v", used, burn.ProcessState.UserTime())
	}
}

// However the kernel tells it, the count is that of the folder.
func TestCountFDs(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	for range 5 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.Stderr)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	dir := fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := countFDs(dir); got != len(fds) || got < 8 {
		t.Errorf("%d descriptors, %d are listed", got, len(fds))
	}
	if got := countFDs("/proc/0/fd"); got != 0 {
		t.Errorf("%d descriptors of no process", got)
	}
}

func TestKiB(t *testing.T) {
	if got := kib([]byte("Rss:             100 kB\nPss:              12 kB\n"), "Pss:"); got != 12<<10 {
		t.Errorf("read %d", got)
	}
	if got := kib([]byte("nothing"), "Pss:"); got != 0 {
		t.Errorf("read %d of nothing", got)
	}
}

// Only what is mounted below the folders is counted.
func TestCountMounts(t *testing.T) {
	if all, none := countMounts(nil), countMounts([]string{t.TempDir()}); all == 0 || none != 0 {
		t.Errorf("%d mounts, %d in an empty folder", all, none)
	}
	if got := countMounts([]string{""}); got == 0 {
		t.Error("nothing is mounted below /")
	}
}
