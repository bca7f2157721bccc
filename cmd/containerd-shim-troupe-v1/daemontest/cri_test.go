package daemontest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// crictl runs the command line of CRI.
func (d *daemon) crictl(args ...string) *exec.Cmd {
	return exec.Command(filepath.Join(d.bin, "crictl"), append([]string{
		"--runtime-endpoint", "unix://" + d.Address, "--image-endpoint", "unix://" + d.Address, "--timeout", "60s",
	}, args...)...)
}

func (d *daemon) cri(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(succeed(t, d.crictl(args...)))
}

// pod is a pod under test.
type pod struct {
	d      *daemon
	id     string
	config string
	logs   string
	shared string // a folder of the host
}

// runPod runs a pod and removes it after the test.
func runPod(t *testing.T, d *daemon, handler, name string, annotations map[string]string, cgroupParent string) *pod {
	t.Helper()
	p := &pod{d: d, config: filepath.Join(d.Dir, name+".json"), logs: filepath.Join("/var/log/pods", "default_"+name+"_uid-"+name), shared: filepath.Join(d.Dir, name+"-shared")}
	must(t, os.MkdirAll(p.logs, 0o755))
	must(t, os.MkdirAll(p.shared, 0o755))
	must(t, os.WriteFile(p.config, asJSON(t, map[string]any{
		"metadata":      map[string]any{"name": name, "namespace": "default", "uid": "uid-" + name, "attempt": 1},
		"hostname":      name,
		"log_directory": p.logs,
		"annotations":   annotations,
		"linux":         map[string]any{"cgroup_parent": cgroupParent},
	}), 0o644))
	p.id = d.cri(t, "runp", "--runtime", handler, p.config)
	t.Cleanup(func() {
		succeed(t, d.crictl("stopp", p.id))
		succeed(t, d.crictl("rmp", p.id))
	})
	return p
}

// start starts a container of the pod.
func (p *pod) start(t *testing.T, name string, extra map[string]any, command ...string) string {
	t.Helper()
	id := p.create(t, name, extra, command...)
	p.d.cri(t, "start", id)
	return id
}

func (p *pod) create(t *testing.T, name string, extra map[string]any, command ...string) string {
	t.Helper()
	config := map[string]any{
		"metadata": map[string]any{"name": name, "attempt": 1},
		"image":    map[string]any{"image": busyboxImage},
		"command":  command,
		"log_path": name + ".log",
		"mounts":   []any{map[string]any{"container_path": "/shared", "host_path": p.shared}},
		"linux":    map[string]any{},
	}
	for key, value := range extra {
		config[key] = value
	}
	path := filepath.Join(p.d.Dir, name+".container.json")
	must(t, os.WriteFile(path, asJSON(t, config), 0o644))
	return p.d.cri(t, "create", "--no-pull", p.id, path, p.config)
}

// status is what CRI tells of a container.
type status struct {
	State    string `json:"state"`
	ExitCode int    `json:"exitCode"`
	Reason   string `json:"reason"`
}

func (d *daemon) status(t *testing.T, id string) status {
	t.Helper()
	var s struct{ Status status }
	must(t, json.Unmarshal([]byte(d.cri(t, "inspect", id)), &s))
	return s.Status
}

func (d *daemon) exited(t *testing.T, id string, want status) {
	t.Helper()
	want.State = "CONTAINER_EXITED"
	var got status
	eventually(t, "the container exits", func() error {
		if got = d.status(t, id); got.State != want.State {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	if got != want {
		t.Errorf("status %+v, wanted %+v", got, want)
	}
}

func TestPod(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		p := runPod(t, d, "troupe", "three", nil, "/"+filepath.Base(d.Dir)+"/podthree")
		testPod(t, p)
	})
}

// TestSandboxAPI makes the same pod through containerd's sandbox API, without a
// pause image. containerd 1.7 has no such sandboxer.
func TestSandboxAPI(t *testing.T) {
	d := startDaemon(t, flavours[0])
	p := runPod(t, d, "sandboxed", "api", nil, "/"+filepath.Base(d.Dir)+"/podapi")
	testPod(t, p)
}

func testPod(t *testing.T, p *pod) {
	d := p.d
	one := p.start(t, "one", nil, "/bin/sh", "-c", "echo one speaks; sleep 100000")
	two := p.start(t, "two", nil, "/bin/sleep", "100000")
	three := p.start(t, "three", nil, "/bin/sh", "-c", "echo three is done")

	// One shim and one sandbox for all. More than that is passing: a fork that
	// has not yet become runsc, "start" and "delete" for each container.
	eventually(t, "one shim and one sandbox serve the pod", func() error {
		shims, sandboxes := 0, 0
		for _, process := range processes(t) {
			if strings.Contains(process.command, "shim-troupe") {
				shims++
			}
			if strings.HasPrefix(process.command, "runsc-sandbox") {
				sandboxes++
			}
		}
		if shims != 1 || sandboxes != 1 {
			return fmt.Errorf("%d shims and %d sandboxes", shims, sandboxes)
		}
		return nil
	})
	d.exited(t, three, status{Reason: "Completed"})
	fails := p.start(t, "fails", nil, "/bin/sh", "-c", "exit 42")
	d.exited(t, fails, status{ExitCode: 42, Reason: "Error"})

	log, err := os.ReadFile(filepath.Join(p.logs, "one.log"))
	must(t, err)
	if !strings.Contains(string(log), "stdout F one speaks") {
		t.Errorf("log %q", log)
	}
	// Probes of kubelet are execs, and often at once.
	for i := range 3 {
		for _, id := range []string{one, two} {
			if out := d.cri(t, "exec", "--sync", id, "/bin/echo", "probe"); out != "probe" {
				t.Errorf("probe %d printed %q", i, out)
			}
		}
	}
	if out, err := d.crictl("exec", "--sync", one, "/bin/sh", "-c", "exit 3").CombinedOutput(); err == nil || !strings.Contains(string(out), "3") {
		t.Errorf("a probe that fails: %v, %s", err, out)
	}
	// The containers share the pod's /dev/shm and the host's folder.
	d.cri(t, "exec", "--sync", one, "/bin/sh", "-c", "echo shm > /dev/shm/x; echo host > /shared/x")
	if out := d.cri(t, "exec", "--sync", two, "/bin/cat", "/dev/shm/x", "/shared/x"); out != "shm\nhost" {
		t.Errorf("the other container reads %q", out)
	}
	var stats struct{ Stats []map[string]any }
	must(t, json.Unmarshal([]byte(d.cri(t, "stats", "--output", "json", "--id", one)), &stats))
	if len(stats.Stats) != 1 {
		t.Errorf("stats %v", stats)
	}
	d.cri(t, "stop", "--timeout", "1", two)
	// gVisor's pid 1 dies of a SIGTERM that it does not handle; Linux's does not.
	// On a busy machine stop returns when the container is gone and before its
	// status is set.
	d.exited(t, two, status{ExitCode: 143, Reason: "Error"})
	if s := d.status(t, one); s.State != "CONTAINER_RUNNING" {
		t.Errorf("the neighbour has status %+v", s)
	}
}

// TestOOMKilled is the reason that Kubernetes shows for a container of a pod
// that grew too large: containerd sets it if TaskOOM comes before the exit. In
// gVisor the whole pod is one process of the host in the pod's cgroup, whose
// limit kubelet sets; the kernel kills it, and with it the pod.
func TestOOMKilled(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		parent := "/" + filepath.Base(d.Dir) + "/podgreedy"
		limitMemory(t, parent, 200<<20)
		p := runPod(t, d, "troupe", "greedy", nil, parent)
		id := p.start(t, "greedy", nil, "/bin/sh", "-c", "head -c 400m /dev/zero > /dev/shm/x; echo survived; sleep 1000")
		d.exited(t, id, status{ExitCode: 137, Reason: "OOMKilled"})
	})
}

// limitMemory makes a cgroup with a limit, as kubelet does for a pod.
func limitMemory(t *testing.T, path string, bytes int) {
	t.Helper()
	dir, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(dir); err != nil {
		dir, file = "/sys/fs/cgroup", "memory.max"
	}
	group := filepath.Join(dir, path)
	must(t, os.MkdirAll(group, 0o755))
	must(t, os.WriteFile(filepath.Join(group, file), []byte(strconv.Itoa(bytes)), 0))
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}
