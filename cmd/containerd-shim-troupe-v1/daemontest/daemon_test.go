package daemontest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	benchdaemon "github.com/troupe-run/troupe/bench/daemon"
)

const (
	runtimeName = "io.containerd.troupe.v1"
	namespace   = "troupe-test"

	busyboxImage = "troupe.test/busybox:1"
	pauseImage   = "troupe.test/pause:1"

	// patience is how long anything may take that has no reason to take long.
	patience = time.Minute
)

// flavour is one version of containerd.
type flavour struct {
	name   string // of the subtest
	folder string // of its programs, in bin/
	config *template.Template
}

// flavours are the daemons that every test runs under.
var flavours = []flavour{
	{"containerd-2", "containerd-2", template.Must(template.New("").Parse(config2))},
	{"containerd-1.7", "containerd-1.7", template.Must(template.New("").Parse(config1))},
}

const config2 = `version = 4
root = "{{.Dir}}/root"
state = "{{.Dir}}/state"
[plugins.'io.containerd.server.v1.grpc']
address = "{{.Address}}"
[plugins.'io.containerd.server.v1.ttrpc']
address = "{{.TTRPC}}"
[plugins.'io.containerd.shim.v1.manager']
socket_dir = "{{.Dir}}/s"
[plugins.'io.containerd.internal.v1.opt']
path = "{{.Dir}}/opt"
[plugins.'io.containerd.nri.v1.nri']
disable = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "` + pauseImage + `"
[plugins.'io.containerd.cri.v1.runtime']
disable_apparmor = true
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{{.Dir}}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "troupe"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.troupe]
runtime_type = "` + runtimeName + `"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.troupe.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "{{.Dir}}/runsc.toml"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.rival]
runtime_type = "io.containerd.runsc.v1"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.rival.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "{{.Dir}}/runsc.toml"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.sandboxed]
runtime_type = "` + runtimeName + `"
sandboxer = "shim"
disable_pause_image_pull = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.sandboxed.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "{{.Dir}}/runsc.toml"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.streaming]
runtime_type = "` + runtimeName + `"
sandboxer = "shim"
io_type = "streaming"
disable_pause_image_pull = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.streaming.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "{{.Dir}}/runsc.toml"
`

const config1 = `version = 2
root = "{{.Dir}}/root"
state = "{{.Dir}}/state"
[grpc]
address = "{{.Address}}"
[ttrpc]
address = "{{.TTRPC}}"
[plugins."io.containerd.internal.v1.opt"]
path = "{{.Dir}}/opt"
[plugins."io.containerd.nri.v1.nri"]
disable = true
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + pauseImage + `"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{{.Dir}}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "troupe"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.troupe]
runtime_type = "` + runtimeName + `"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.troupe.options]
TypeUrl = "io.containerd.runsc.v1.options"
ConfigPath = "{{.Dir}}/runsc.toml"
`

// runscConfig is the shim's configuration in the tests: a platform that works
// in any machine.
const runscConfig = `log_level = "debug"
binary_name = "{{.Runsc}}"
root = "{{.Dir}}/runsc"
[runsc_config]
platform = "systrap"
network = "{{.Network}}"
`

// cniConfig gives each pod an address on a bridge of the test's network
// namespace; a pod without one is not ready.
const cniConfig = `{"cniVersion":"0.4.0","name":"troupe","plugins":[{"type":"bridge","bridge":"troupe0","isGateway":true,
"ipam":{"type":"host-local","dataDir":"/var/lib/cni/networks","ranges":[[{"subnet":"10.77.0.0/16"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}`

// daemon is one running containerd with folders of its own.
type daemon struct {
	flavour
	Dir, Address, TTRPC, Runsc, Network string

	bin string // the project's bin/
	// weak: without CAP_SYS_RESOURCE, as root may be.
	weak bool
	cmd  *exec.Cmd
	log  *os.File
}

// eachDaemon runs test under every containerd.
func eachDaemon(t *testing.T, test func(t *testing.T, d *daemon)) {
	for _, f := range flavours {
		t.Run(f.name, func(t *testing.T) { test(t, startDaemon(t, f)) })
	}
}

// startDaemon starts a containerd with the images imported. When the test is
// over it must have left nothing: see checkClean.
func startDaemon(t testing.TB, f flavour) *daemon {
	t.Helper()
	bin, err := filepath.Abs("../../../bin")
	must(t, err)
	runsc := os.Getenv("TROUPE_RUNSC")
	if runsc == "" {
		runsc = filepath.Join(bin, "runsc")
	}
	for _, program := range []string{runsc, filepath.Join(bin, "containerd-shim-troupe-v1"), filepath.Join(bin, f.folder, "containerd")} {
		if _, err := os.Stat(program); err != nil {
			t.Fatalf("%v: run \"make containerd shim\" first", err)
		}
	}
	// Short: sockets' paths are below it.
	dir, err := os.MkdirTemp("/tmp", "td")
	must(t, err)
	d := &daemon{
		flavour: f, Dir: dir, Address: filepath.Join(dir, "c.sock"), TTRPC: filepath.Join(dir, "c.sock.ttrpc"), Runsc: runsc, Network: "sandbox", bin: bin,
	}
	t.Cleanup(func() {
		d.stop(t)
		// runsc makes one for each root folder, for all of its sandboxes, and
		// keeps it (gVisor: runsc/specutils/namespace.go).
		for _, path := range d.nullNetworks() {
			must(t, unix.Unmount(path, 0))
			must(t, os.Remove(path))
		}
		d.checkClean(t)
		d.removeCgroups(t)
		if t.Failed() {
			d.printLog(t)
		}
		must(t, os.RemoveAll(dir))
	})
	d.configure(t)
	d.writeTemplate(t, "runsc.toml", template.Must(template.New("").Parse(runscConfig)))
	must(t, os.MkdirAll(filepath.Join(dir, "cni"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "cni", "10-bridge.conflist"), []byte(cniConfig), 0o644))
	d.log, err = os.Create(filepath.Join(dir, "containerd.log"))
	must(t, err)
	d.start(t)

	image := filepath.Join(dir, "image.tar")
	must(t, benchdaemon.WriteImages(image, map[string][]string{busyboxImage: {"/bin/sh"}, pauseImage: {"/bin/sleep", "2147483647"}}))
	for _, ns := range []string{namespace, "k8s.io"} {
		d.ctr(t, "--namespace", ns, "images", "import", image)
	}
	return d
}

// configure writes the daemon's configuration.
func (d *daemon) configure(t testing.TB) { d.writeTemplate(t, "config.toml", d.config) }

func (d *daemon) writeTemplate(t testing.TB, name string, tmpl *template.Template) {
	t.Helper()
	var b bytes.Buffer
	must(t, tmpl.Execute(&b, d))
	must(t, os.WriteFile(filepath.Join(d.Dir, name), b.Bytes(), 0o644))
}

// start starts containerd and waits until it serves.
func (d *daemon) start(t testing.TB) {
	t.Helper()
	d.cmd = exec.Command(filepath.Join(d.bin, d.folder, "containerd"), "--config", filepath.Join(d.Dir, "config.toml"), "--log-level", "debug")
	d.cmd.Env = os.Environ()
	if d.weak {
		d.cmd = exec.Command("/proc/self/exe", d.cmd.Args...)
		d.cmd.Env = append(os.Environ(), weakVar+"=1")
	}
	d.cmd.Env = append(d.cmd.Env, "PATH="+strings.Join([]string{d.bin, filepath.Join(d.bin, d.folder), filepath.Join(d.bin, "rivals"), os.Getenv("PATH")}, ":"))
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// A process group of its own, as systemd would give it.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	must(t, d.cmd.Start())
	eventually(t, "containerd serves", func() error {
		c, err := client.New(d.Address, client.WithTimeout(time.Second))
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = c.Version(ctx)
		return err
	})
}

// stop ends containerd and leaves its containers alone.
func (d *daemon) stop(t testing.TB) {
	if d.cmd == nil {
		return
	}
	d.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(patience, func() {
		t.Error("containerd did not end")
		d.cmd.Process.Kill()
	})
	d.cmd.Wait()
	timer.Stop()
	d.cmd = nil
}

func (d *daemon) printLog(t testing.TB) {
	data, err := os.ReadFile(d.log.Name())
	if err != nil {
		t.Log(err)
		return
	}
	const most = 40_000
	if len(data) > most {
		data = data[len(data)-most:]
	}
	t.Logf("containerd's log, its end:\n%s", data)
}

// client is a client of the daemon and a context of the tests' namespace.
func (d *daemon) client(t testing.TB) (context.Context, *client.Client) {
	t.Helper()
	c, err := client.New(d.Address, client.WithTimeout(patience))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(context.Background(), namespace), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx, c
}

func (d *daemon) ctrCommand(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(d.bin, d.folder, "ctr"), append([]string{"--address", d.Address, "--namespace", namespace}, args...)...)
}

// ctr runs containerd's command line and gives what it prints.
func (d *daemon) ctr(t testing.TB, args ...string) string {
	t.Helper()
	return succeed(t, d.ctrCommand(args...))
}

// succeed runs a command and gives its stdout.
func succeed(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, &stderr)
	}
	return string(out)
}

// checkClean fails for whatever the test left: processes, mounts, sockets,
// folders, cgroups.
func (d *daemon) checkClean(t testing.TB) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = d.leftovers(t); len(left) == 0 {
			return
		}
	}
	// No Fatal: the log is still to be printed.
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}

func (d *daemon) nullNetworks() []string {
	found, _ := filepath.Glob(d.Dir + "/runsc/*/null-netns")
	return found
}

// cgroups are the folders of cgroups below the test's own, deepest first.
func (d *daemon) cgroups() (all []string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		roots, _ := filepath.Glob(pattern + filepath.Base(d.Dir))
		for _, root := range roots {
			filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
				if err == nil && e.IsDir() {
					all = append(all, path)
				}
				return nil
			})
		}
	}
	slices.Reverse(all)
	return all
}

// removeCgroups removes what stands for kubelet's part: the pods' cgroups.
func (d *daemon) removeCgroups(t testing.TB) {
	for _, path := range d.cgroups() {
		if err := os.Remove(path); err != nil {
			t.Errorf("remove the pods' cgroups: %v", err)
		}
	}
}

func (d *daemon) leftovers(t testing.TB) (left []string) {
	for _, path := range d.cgroups() {
		// Two levels are the test's: its own and the pod's.
		if _, below, _ := strings.Cut(path, filepath.Base(d.Dir)+"/"); strings.Contains(below, "/") {
			left = append(left, "cgroup "+path)
		}
	}
	for _, p := range processes(t) {
		if strings.Contains(p.command, "shim-troupe") || strings.Contains(p.command, "runsc") || strings.Contains(p.command, d.Dir) {
			left = append(left, fmt.Sprintf("process %d: %s", p.pid, p.command))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, d.Dir) {
			left = append(left, "mount "+line)
		}
	}
	for _, pattern := range []string{d.Dir + "/s/*", "/run/containerd/s/*", d.Dir + "/runsc/*/*", "/run/containerd/troupe/*", "/run/troupe/*"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		left = append(left, found...)
	}
	return left
}

type processInfo struct {
	pid     int
	command string
}

// processes are all of the pid namespace, this one and its parent apart.
func processes(t testing.TB) (all []processInfo) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range found {
		var pid int
		fmt.Sscanf(path, "/proc/%d/", &pid)
		if pid == 1 || pid == os.Getpid() {
			continue
		}
		if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
			all = append(all, processInfo{pid, strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ")})
		}
	}
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually repeats check until it succeeds.
func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
