package daemontest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stage says which of three processes this one is.
const stage = "TROUPE_DAEMONTEST_STAGE"

// stageWeak is a process that runs another program without CAP_SYS_RESOURCE.
const stageWeak = "weak"

// weaken becomes the program in args. What is not in the bounding set not even
// root gets by execve(2) (capabilities(7)).
func weaken(args []string) error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// TestMain runs the tests in namespaces: the first process starts the second
// in new ones; the second, pid 1 there, starts the third, which tests, and
// reaps the orphans, of which a daemon makes many. When the first is gone the
// kernel ends everything in the namespaces.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("SKIP: the tests with containerd need root")
		os.Exit(0)
	}
	switch os.Getenv(stage) {
	case "":
		os.Exit(rerun("init", &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC,
			Pdeathsig:  syscall.SIGKILL,
		}, nil))
	case "init":
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "make the namespaces:", err)
			os.Exit(1)
		}
		os.Exit(rerun("test", &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, reapUntil))
	case stageWeak:
		fmt.Fprintln(os.Stderr, "run a program without CAP_SYS_RESOURCE:", weaken(os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func rerun(next string, attr *syscall.SysProcAttr, wait func(pid int) int) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), stage+"="+next)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start the tests in namespaces:", err)
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() { cmd.Process.Signal(<-stop) }()
	if wait != nil {
		return wait(cmd.Process.Pid)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// reapUntil waits for every child, as an init does, until pid is gone.
func reapUntil(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 1
		}
		if got == pid {
			if status.Signaled() {
				return 128 + int(status.Signal())
			}
			return status.ExitStatus()
		}
	}
}

// furnish makes the mounts and the network of the namespaces.
func furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, m := range []struct{ source, target, kind, data string }{
		{"proc", "/proc", "proc", ""},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
		// CNI's and kubelet's.
		{"tmpfs", "/var/lib/cni", "tmpfs", ""},
		{"tmpfs", "/var/log/pods", "tmpfs", ""},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return loopbackUp()
}

// loopbackUp is "ip link set lo up", which a small machine may not have.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(request))); errno != 0 {
		return fmt.Errorf("bring lo up: %w", errno)
	}
	return nil
}
