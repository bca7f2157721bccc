package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Image is there and unpacked: busybox.
	Image = "troupe.test/busybox:1"
	// Namespace that it is in.
	Namespace = "troupe-bench"

	startTimeout = 30 * time.Second
	stopTimeout  = 20 * time.Second
)

// config of containerd 2.4. Shims are found on the PATH.
var config = template.Must(template.New("").Parse(`version = 4
root = "{{.Dir}}/root"
state = "{{.Dir}}/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.podsandbox.controller.v1.podsandbox"]
[plugins.'io.containerd.server.v1.grpc']
address = "{{.Address}}"
[plugins.'io.containerd.server.v1.ttrpc']
address = "{{.Address}}.ttrpc"
[plugins.'io.containerd.shim.v1.manager']
socket_dir = "{{.Dir}}/s"
[plugins.'io.containerd.internal.v1.opt']
path = "{{.Dir}}/opt"
[plugins.'io.containerd.nri.v1.nri']
disable = true
`))

// runscConfig is the same for every shim that drives gVisor.
var runscConfig = template.Must(template.New("").Parse(`binary_name = "{{.Runsc}}"
root = "{{.Dir}}/runsc"
[runsc_config]
platform = "systrap"
network = "none"
`))

// Daemon is a containerd that runs.
type Daemon struct {
	// Address is its socket.
	Address string
	// RunscConfig is the configuration file for shims that drive gVisor.
	RunscConfig string
	// Dir holds all of its files.
	Dir string
	// Runsc is the program that gVisor's shims are told to use.
	Runsc string

	path []string
	cmd  *exec.Cmd
	log  *os.File
}

// Start starts containerd, which must be in one of the folders of path, as must
// ctr and the shims, and imports the image. It is called in [Namespaces].
func Start(ctx context.Context, path []string, runsc string) (*Daemon, error) {
	// Short: the paths of sockets are below it.
	dir, err := os.MkdirTemp("/tmp", "tb")
	if err != nil {
		return nil, err
	}
	d := &Daemon{
		Dir: dir, Address: filepath.Join(dir, "c.sock"), RunscConfig: filepath.Join(dir, "runsc.toml"),
		Runsc: runsc, path: path,
	}
	if err := d.start(ctx); err != nil {
		log, _ := os.ReadFile(d.logPath())
		return nil, errors.Join(fmt.Errorf("start containerd: %w\n%s", err, tail(log)), d.Stop())
	}
	return d, nil
}

func (d *Daemon) logPath() string { return filepath.Join(d.Dir, "containerd.log") }

func (d *Daemon) start(ctx context.Context) error {
	for name, t := range map[string]*template.Template{"config.toml": config, "runsc.toml": runscConfig} {
		var b bytes.Buffer
		if err := t.Execute(&b, d); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d.Dir, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	image := filepath.Join(d.Dir, "image.tar")
	if err := WriteImages(image, map[string][]string{Image: {"/bin/sh"}}); err != nil {
		return fmt.Errorf("write an image: %w", err)
	}
	program, err := d.find("containerd")
	if err != nil {
		return err
	}
	if d.log, err = os.Create(d.logPath()); err != nil {
		return err
	}
	cmd := exec.Command(program, "--config", filepath.Join(d.Dir, "config.toml"), "--log-level", "warn")
	cmd.Env = append(os.Environ(), "PATH="+strings.Join(append(d.path, os.Getenv("PATH")), ":"))
	cmd.Stdout, cmd.Stderr = d.log, d.log
	// A process group of its own, as systemd gives it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd = cmd
	return d.untilServing(ctx, image)
}

// untilServing imports the image, as often as it takes until containerd serves.
func (d *Daemon) untilServing(ctx context.Context, image string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := d.Ctr(ctx, "version")
		if err == nil {
			_, err = d.Ctr(ctx, "images", "import", image)
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// find looks for a program in the folders of path.
func (d *Daemon) find(name string) (string, error) {
	for _, dir := range d.path {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s in %s; \"make containerd\" builds it", name, strings.Join(d.path, ", "))
}

// Ctr runs containerd's command line and gives what it prints.
func (d *Daemon) Ctr(ctx context.Context, args ...string) (string, error) {
	program, err := d.find("ctr")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--address", d.Address, "--namespace", Namespace}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, tail(out))
	}
	return string(out), nil
}

// KillOthers kills every process of the namespaces but containerd, this program
// and pid 1. It does nothing outside of [Namespaces].
func (d *Daemon) KillOthers() {
	if os.Getenv(stage) != stageMain || d.cmd == nil {
		return
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != 1 && pid != os.Getpid() && pid != d.cmd.Process.Pid {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// Stop ends containerd and removes everything of it. Containers that live are
// ended with the namespaces.
func (d *Daemon) Stop() error {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(stopTimeout, func() { _ = d.cmd.Process.Kill() })
		_ = d.cmd.Wait()
		timer.Stop()
	}
	if d.log != nil {
		_ = d.log.Close()
	}
	// runsc keeps one in each root folder (runsc/specutils/namespace.go).
	kept, _ := filepath.Glob(d.Dir + "/runsc/*/null-netns")
	for _, path := range kept {
		for unix.Unmount(path, unix.MNT_DETACH) == nil {
		}
	}
	removeCgroups()
	return os.RemoveAll(d.Dir)
}

// removeCgroups removes the parents of the containers' cgroups, which belong to
// nobody: /NAMESPACE in the one hierarchy, or in each. One that is in use
// stays.
func removeCgroups() {
	for _, pattern := range []string{"/sys/fs/cgroup/" + Namespace, "/sys/fs/cgroup/*/" + Namespace} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			_ = unix.Rmdir(path)
		}
	}
}

// tail is the end of a log.
func tail(log []byte) string {
	const most = 4000
	if len(log) > most {
		log = log[len(log)-most:]
	}
	return strings.TrimSpace(string(log))
}
