// Package daemon runs a containerd of its own, for measurements and tests: in
// namespaces that end with the program, so that a run that fails or is killed
// leaves no daemon, shim, sandbox, mount or network behind.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stage tells which of three processes this one is.
const (
	stage     = "TROUPE_NAMESPACES_STAGE"
	stageInit = "init"
	stageMain = "main"
)

// Namespaces are a mount, pid, network and IPC namespace for this program, in
// which it sees no process but its own. They need root.
type Namespaces struct {
	// Tmpfs are folders that are empty there, as /run is.
	Tmpfs []string
}

// Entered tells whether this process is in namespaces of its own already.
func Entered() bool { return os.Getenv(stage) != "" }

// Run runs main in new namespaces and returns the exit code of the whole. The
// program is started anew twice: as pid 1 of the namespaces, which reaps
// orphans, and as the one that runs main.
func (n Namespaces) Run(main func() int) int {
	switch os.Getenv(stage) {
	case "":
		return n.Again(os.Stdout, os.Args[1:]...)
	case stageInit:
		if err := n.furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "furnish the namespaces:", err)
			return 1
		}
		return again(stageMain, os.Stdout, os.Args[1:], &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, reapUntil)
	}
	return main()
}

// Again starts this program in new namespaces, where it has to call Run, and
// returns its exit code.
func (n Namespaces) Again(stdout io.Writer, args ...string) int {
	// Pdeathsig is of the thread that starts a process (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return again(stageInit, stdout, args, &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}, waitFor)
}

// again starts this program as the next stage and passes signals on to it.
func again(next string, stdout io.Writer, args []string, attr *syscall.SysProcAttr, wait func(*exec.Cmd) int) int {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), stage+"="+next)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, os.Stderr
	cmd.SysProcAttr = attr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start in namespaces of our own (that needs root):", err)
		return 1
	}
	go func() {
		for s := range signals {
			// Ctrl-C at a terminal reaches every stage by itself.
			if s != syscall.SIGINT {
				_ = cmd.Process.Signal(s)
			}
		}
	}()
	return wait(cmd)
}

func waitFor(cmd *exec.Cmd) int {
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode()
	}
	if err != nil {
		return 1
	}
	return 0
}

// reapUntil waits for every child, as an init does, until cmd is gone.
func reapUntil(cmd *exec.Cmd) int {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 1
		case pid != cmd.Process.Pid:
			continue
		case status.Signaled():
			return 128 + int(status.Signal())
		}
		return status.ExitStatus()
	}
}

// furnish makes the mounts and the network of the namespaces.
func (n Namespaces) furnish() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, target := range append([]string{"/run"}, n.Tmpfs...) {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", target, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	return loopbackUp()
}

// loopbackUp is "ip link set lo up", on machines without ip, too.
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
