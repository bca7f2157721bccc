package daemontest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	v2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/types"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestMethods(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		container, task, exits := sleeper(t, ctx, c, "methods", oci.WithMemoryLimit(256<<20))
		t.Run("pids", func(t *testing.T) { testPids(t, ctx, task) })
		t.Run("pause", func(t *testing.T) { testPause(t, ctx, task) })
		t.Run("metrics", func(t *testing.T) { testMetrics(t, ctx, task) })
		t.Run("update", func(t *testing.T) {
			limit := int64(128 << 20)
			must(t, task.Update(ctx, client.WithResources(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}})))
			if err := task.Update(ctx, client.WithResources(&specs.WindowsResources{})); !errdefs.IsInvalidArgument(err) {
				t.Errorf("an update with resources of Windows: %v", err)
			}
		})
		t.Run("attach", func(t *testing.T) {
			// A second client finds the task with its pid.
			again, err := container.Task(ctx, nil)
			must(t, err)
			if again.Pid() != task.Pid() {
				t.Errorf("pid %d, was %d", again.Pid(), task.Pid())
			}
		})
		must(t, task.Kill(ctx, syscall.SIGKILL, client.WithKillAll))
		<-exits
		eventually(t, "a task that is gone can not be killed", func() error {
			if err := task.Kill(ctx, syscall.SIGKILL); !errdefs.IsNotFound(err) {
				return fmt.Errorf("kill of a task that is gone: %w", err)
			}
			return nil
		})
		_, err := task.Delete(ctx)
		must(t, err)
		if _, err := task.Status(ctx); !errdefs.IsNotFound(err) {
			t.Errorf("status of a task that is deleted: %v", err)
		}
	})
}

func testPids(t *testing.T, ctx context.Context, task client.Task) {
	p, err := task.Exec(ctx, "listed", &specs.Process{Args: []string{"/bin/sleep", "1000"}, Cwd: "/"}, cio.NullIO)
	must(t, err)
	exits, err := p.Wait(ctx)
	must(t, err)
	must(t, p.Start(ctx))
	pids, err := task.Pids(ctx)
	must(t, err)
	if len(pids) != 2 || pids[0].Pid != task.Pid() || pids[1].Pid != p.Pid() || p.Pid() == 0 {
		t.Errorf("pids %v; the task's is %d, the exec's %d", pids, task.Pid(), p.Pid())
	}
	if len(pids) == 2 {
		v, err := typeurl.UnmarshalAny(pids[1].Info)
		must(t, err)
		if details := v.(*runcoptions.ProcessDetails); details.ExecID != "listed" {
			t.Errorf("exec id %q", details.ExecID)
		}
	}
	for _, pid := range pids {
		if err := syscall.Kill(int(pid.Pid), 0); err != nil {
			t.Errorf("pid %d is not of the host: %v", pid.Pid, err)
		}
	}
	must(t, p.Kill(ctx, syscall.SIGKILL))
	exit(t, ctx, p, exits)
}

func testPause(t *testing.T, ctx context.Context, task client.Task) {
	status := func(want client.ProcessStatus) {
		t.Helper()
		s, err := task.Status(ctx)
		must(t, err)
		if s.Status != want {
			t.Errorf("status %s, wanted %s", s.Status, want)
		}
	}
	status(client.Running)
	must(t, task.Pause(ctx))
	status(client.Paused)
	must(t, task.Resume(ctx))
	status(client.Running)
	if code, _ := execute(t, ctx, task, "after-pause", "/bin/true"); code != 0 {
		t.Errorf("an exec after a pause exited with %d", code)
	}
}

func testMetrics(t *testing.T, ctx context.Context, task client.Task) {
	m, err := task.Metrics(ctx)
	must(t, err)
	if cpu, memory, pids := usage(t, m); cpu == 0 || memory == 0 || pids == 0 {
		t.Errorf("metrics: %d of CPU, %d bytes, %d pids", cpu, memory, pids)
	}
}

// usage is what metrics of either version of cgroups tell: CPU time in the unit
// of the version, memory in bytes, and the number of processes.
func usage(t *testing.T, m *types.Metric) (cpu, memory, pids uint64) {
	t.Helper()
	v, err := typeurl.UnmarshalAny(m.Data)
	must(t, err)
	switch v := v.(type) {
	case *v1.Metrics:
		return v.CPU.Usage.Total, v.Memory.Usage.Usage, v.Pids.Current
	case *v2.Metrics:
		return v.CPU.UsageUsec, v.Memory.Usage, v.Pids.Current
	}
	t.Fatalf("metrics of type %T", v)
	return 0, 0, 0
}

// TestAnswers holds the kinds of errors that containerd's clients look at.
func TestAnswers(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		t.Run("a command that does not exist", func(t *testing.T) {
			container := newContainer(t, ctx, c, "nothing", withArgs("/no/such/program"))
			task, err := container.NewTask(ctx, cio.NullIO)
			if err == nil {
				err = task.Start(ctx)
				task.Delete(ctx, client.WithProcessKill)
			}
			if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
				t.Errorf("error %v", err)
			}
		})
		t.Run("created and never started", func(t *testing.T) {
			container := newContainer(t, ctx, c, "created", withArgs("/bin/sleep", "1000"))
			task := newTask(t, ctx, container, cio.NullIO)
			if _, err := task.Exec(ctx, "x", &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}, cio.NullIO); err != nil && !errdefs.IsFailedPrecondition(err) {
				t.Errorf("exec: %v", err)
			}
			exits, err := task.Wait(ctx)
			must(t, err)
			must(t, task.Kill(ctx, syscall.SIGKILL))
			if code := exit(t, ctx, task, exits); code != 137 {
				t.Errorf("exited with %d", code)
			}
		})
		t.Run("delete while running", func(t *testing.T) {
			_, task, exits := sleeper(t, ctx, c, "running")
			if _, err := task.Delete(ctx); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("delete of a running task: %v", err)
			}
			if err := task.Start(ctx); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("a second start: %v", err)
			}
			must(t, task.Resize(ctx, 80, 24)) // no terminal: nothing to do
			must(t, task.Kill(ctx, syscall.SIGKILL))
			exit(t, ctx, task, exits)
		})
		t.Run("a grandchild holds the pipe", func(t *testing.T) {
			// containerd#3286: the exit was told when the grandchild ended.
			begun := time.Now()
			code, out := run(t, ctx, c, "orphan", "/bin/sh", "-c", "echo all of it; sleep 1000 & exit 4")
			if code != 4 || out.out.String() != "all of it\n" || time.Since(begun) > 20*time.Second {
				t.Errorf("code %d, output %q, after %v", code, out.out.String(), time.Since(begun))
			}
		})
	})
}

func TestCheckpoint(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		// A counter in memory: after the restore it goes on where it was.
		script := "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
		container := newContainer(t, ctx, c, "saved", withArgs("/bin/sh", "-c", script))
		var before output
		task := newTask(t, ctx, container, before.creator())
		exits, err := task.Wait(ctx)
		must(t, err)
		must(t, task.Start(ctx))
		eventually(t, "it counts", func() error { return atLeast(&before, 5) })

		// containerd pauses the task, asks the shim for a checkpoint, keeps it as
		// an image, and resumes.
		image, err := task.Checkpoint(ctx, thenExit)
		must(t, err)
		<-exits
		_, err = task.Delete(ctx)
		must(t, err)
		last := lastNumber(&before)

		var after output
		restored := newTask(t, ctx, container, after.creator(), client.WithTaskCheckpoint(image))
		exits, err = restored.Wait(ctx)
		must(t, err)
		must(t, restored.Start(ctx))
		eventually(t, "it goes on", func() error { return atLeast(&after, last+3) })
		if first, _, _ := strings.Cut(after.out.String(), "\n"); first == "1" {
			t.Error("it began anew")
		}
		must(t, restored.Kill(ctx, syscall.SIGKILL))
		exit(t, ctx, restored, exits)
	})
}

// thenExit ends the task with its checkpoint.
func thenExit(i *client.CheckpointTaskInfo) error {
	i.Options = &runcoptions.CheckpointOptions{Exit: true}
	return nil
}

func lastNumber(o *output) (n int) {
	lines := strings.Split(strings.TrimSpace(o.out.String()), "\n")
	fmt.Sscan(lines[len(lines)-1], &n)
	return n
}

func atLeast(o *output, n int) error {
	if got := lastNumber(o); got < n {
		return fmt.Errorf("at %d of %d", got, n)
	}
	return nil
}

// TestCtr is a user's first try.
func TestCtr(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		if out := d.ctr(t, "run", "--rm", "--runtime", runtimeName, busyboxImage, "first", "/bin/echo", "from ctr"); out != "from ctr\n" {
			t.Errorf("ctr run printed %q", out)
		}
		d.ctr(t, "run", "--detach", "--runtime", runtimeName, busyboxImage, "second", "/bin/sleep", "1000")
		if out := d.ctr(t, "task", "exec", "--exec-id", "e", "second", "/bin/echo", "from exec"); out != "from exec\n" {
			t.Errorf("ctr task exec printed %q", out)
		}
		if out := d.ctr(t, "task", "ls"); !strings.Contains(out, "RUNNING") {
			t.Errorf("ctr task ls printed %q", out)
		}
		d.ctr(t, "task", "pause", "second")
		d.ctr(t, "task", "resume", "second")
		d.ctr(t, "task", "metrics", "second")
		d.ctr(t, "task", "kill", "--signal", "SIGKILL", "second")
		eventually(t, "it stops", func() error {
			if out := d.ctr(t, "task", "ls"); !strings.Contains(out, "STOPPED") {
				return errors.New(out)
			}
			return nil
		})
		// ctr exits with the status of the task that it deletes.
		d.ctrCommand("task", "delete", "second").Run()
		d.ctr(t, "container", "delete", "second")
	})
}
