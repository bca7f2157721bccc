package daemontest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// configured makes a container whose shim reads extra beside the tests' own
// configuration.
func configured(t *testing.T, ctx context.Context, d *daemon, c *client.Client, id, extra string) client.Container {
	t.Helper()
	base, err := os.ReadFile(filepath.Join(d.Dir, "runsc.toml"))
	must(t, err)
	return configuredBy(t, ctx, d, c, id, extra+"\n"+string(base))
}

func configuredBy(t *testing.T, ctx context.Context, d *daemon, c *client.Client, id, text string) client.Container {
	t.Helper()
	path := filepath.Join(d.Dir, id+".toml")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	image, err := c.GetImage(ctx, busyboxImage)
	must(t, err)
	container, err := c.NewContainer(ctx, id,
		client.WithNewSnapshot(id, image),
		client.WithRuntime(runtimeName, &runtimeoptions.Options{TypeUrl: "io.containerd.runsc.v1.options", ConfigPath: path}),
		client.WithNewSpec(oci.WithImageConfig(image), oci.WithHostNamespace(specs.NetworkNamespace), withArgs("/bin/sleep", "100000")))
	must(t, err)
	t.Cleanup(func() { must(t, container.Delete(context.WithoutCancel(ctx), client.WithSnapshotCleanup)) })
	return container
}

// started runs a container until the end of the test and gives its shim's pid.
func started(t *testing.T, ctx context.Context, d *daemon, container client.Container) (shim int) {
	t.Helper()
	task := newTask(t, ctx, container, cio.NullIO)
	must(t, task.Start(ctx))
	t.Cleanup(func() {
		exits, err := task.Wait(ctx)
		must(t, err)
		must(t, task.Kill(ctx, syscall.SIGKILL))
		exit(t, ctx, task, exits)
	})
	return d.shimPID(t, container.ID())
}

func (d *daemon) shimPID(t *testing.T, id string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(d.Dir, "state/io.containerd.runtime.v2.task", namespace, id, "shim.pid"))
	must(t, err)
	pid, err := strconv.Atoi(string(data))
	must(t, err)
	return pid
}

// TestConfiguration is the shim's own TOML, as the daemon hands it over.
func TestConfiguration(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		t.Run("unknown key", func(t *testing.T) {
			started(t, ctx, d, configured(t, ctx, d, c, "unknown-key", `binary_nam = "x"`))
			d.logs(t, `unknown key \"binary_nam\" is ignored`, "unknown-key")
		})
		t.Run("wrong value", func(t *testing.T) {
			for id, extra := range map[string]string{"wrong-type": `grouping = "perhaps"`, "wrong-value": `log_level = "loud"`} {
				container := configured(t, ctx, d, c, id, extra)
				_, err := container.NewTask(ctx, cio.NullIO)
				key, _, _ := strings.Cut(extra, " ")
				if err == nil || !strings.Contains(err.Error(), id+".toml") || !strings.Contains(err.Error(), key) {
					t.Errorf("%s: %v", extra, err)
				}
			}
		})
		t.Run("no runsc", func(t *testing.T) {
			container := configuredBy(t, ctx, d, c, "no-runsc", `binary_name = "/no/such/runsc"`)
			if _, err := container.NewTask(ctx, cio.NullIO); err == nil || !strings.Contains(err.Error(), "/no/such/runsc") {
				t.Errorf("error %v", err)
			}
		})
		t.Run("log_path", func(t *testing.T) {
			started(t, ctx, d, configured(t, ctx, d, c, "logs", fmt.Sprintf("log_path = %q", filepath.Join(d.Dir, "shims/%ID%/shim.log"))))
			data, err := os.ReadFile(filepath.Join(d.Dir, "shims/logs/shim.log"))
			must(t, err)
			if !strings.Contains(string(data), "Task/Start") {
				t.Errorf("log %q", data)
			}
		})
		t.Run("shim_cgroup", func(t *testing.T) {
			group := "/" + filepath.Base(d.Dir) + "/shims"
			limitMemory(t, group, 1<<30)
			pid := started(t, ctx, d, configured(t, ctx, d, c, "grouped", fmt.Sprintf("shim_cgroup = %q", group)))
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			must(t, err)
			if !strings.Contains(string(data), group+"\n") {
				t.Errorf("the shim's cgroups are %q", data)
			}
			container := configured(t, ctx, d, c, "elsewhere", `shim_cgroup = "/no/such/group"`)
			if _, err := container.NewTask(ctx, cio.NullIO); err == nil || !strings.Contains(err.Error(), "/no/such/group (shim_cgroup)") {
				t.Errorf("a cgroup that does not exist: %v", err)
			}
		})
	})
}

// TestWithoutSysResource: root may lack the capability, in a container for
// instance. gVisor's shim then does not start. Ours is a likelier victim of the
// OOM killer than the daemon, for which no capability is needed.
func TestWithoutSysResource(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		d.stop(t)
		d.weak = true
		d.start(t)
		ctx, c := d.client(t)
		pid := started(t, ctx, d, newContainer(t, ctx, c, "weak", withArgs("/bin/sleep", "100000")))
		score := func(pid int) (score int) {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
			must(t, err)
			fmt.Sscan(string(data), &score)
			return score
		}
		if got, want := score(pid), min(score(d.cmd.Process.Pid)+1, 1000); got != want {
			t.Errorf("the shim's OOM score is %d, wanted %d", got, want)
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		must(t, err)
		var capabilities uint64
		_, after, _ := strings.Cut(string(data), "CapEff:")
		fmt.Sscanf(after, "%x", &capabilities)
		if capabilities == 0 || capabilities&(1<<unix.CAP_SYS_RESOURCE) != 0 {
			t.Errorf("the shim has the capabilities %x", capabilities)
		}
	})
}

// logs waits until the daemon's log has a line with all of these.
func (d *daemon) logs(t *testing.T, parts ...string) {
	t.Helper()
	eventually(t, "the daemon logs it", func() error {
		data, err := os.ReadFile(d.log.Name())
		if err != nil {
			return err
		}
	lines:
		for line := range strings.Lines(string(data)) {
			for _, part := range parts {
				if !strings.Contains(line, part) {
					continue lines
				}
			}
			return nil
		}
		return fmt.Errorf("no line with %q", parts)
	})
}
