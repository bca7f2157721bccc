package daemontest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestRestart stops containerd while a container and an exec run, lets the exec
// end meanwhile, and starts it again.
func TestRestart(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		_, task, _ := sleeper(t, ctx, c, "stays")
		ended := newFIFOContainer(t, ctx, c, "ends", "/bin/sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 9")
		p, err := task.Exec(ctx, "stays-too", &specs.Process{Args: []string{"/bin/sleep", "100000"}, Cwd: "/"}, cio.NullIO)
		must(t, err)
		must(t, p.Start(ctx))
		// It ends by itself while containerd is away.
		_, err = ended.Exec(ctx, "end", &specs.Process{Args: []string{"/bin/sh", "-c", "(sleep 2; touch /tmp/end) &"}, Cwd: "/", Env: []string{"PATH=/bin"}}, cio.NullIO)
		must(t, err)
		end, err := ended.LoadProcess(ctx, "end", nil)
		must(t, err)
		must(t, end.Start(ctx))

		d.stop(t)
		time.Sleep(4 * time.Second) // the time that containerd is away
		d.start(t)

		// The first client's connection is of the containerd that is gone.
		ctx, c = d.client(t)
		container, err := c.LoadContainer(ctx, "stays")
		must(t, err)
		again, err := container.Task(ctx, nil)
		must(t, err)
		if s, err := again.Status(ctx); err != nil || s.Status != client.Running {
			t.Errorf("status %v, error %v", s.Status, err)
		}
		if code, out := execute(t, ctx, again, "new", "/bin/echo", "still here"); code != 0 || out.out.String() != "still here\n" {
			t.Errorf("an exec after the restart: code %d, %q", code, out.out.String())
		}
		old, err := again.LoadProcess(ctx, "stays-too", nil)
		must(t, err)
		exits, err := old.Wait(ctx)
		must(t, err)
		must(t, old.Kill(ctx, syscall.SIGTERM))
		if code := exit(t, ctx, old, exits); code != 143 {
			t.Errorf("the exec from before exited with %d", code)
		}
		container, err = c.LoadContainer(ctx, "ends")
		must(t, err)
		gone, err := container.Task(ctx, nil)
		must(t, err)
		exits, err = gone.Wait(ctx)
		must(t, err)
		if code := exit(t, ctx, gone, exits); code != 9 {
			t.Errorf("what ended meanwhile exited with %d", code)
		}
	})
}

func newFIFOContainer(t *testing.T, ctx context.Context, c *client.Client, id string, args ...string) client.Task {
	t.Helper()
	container := newContainer(t, ctx, c, id, withArgs(args...))
	task := newTask(t, ctx, container, cio.NullIO)
	must(t, task.Start(ctx))
	return task
}

// TestShimKilled kills the shim: containerd runs "delete", and the sandbox that
// nobody owns any more must go.
func TestShimKilled(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		t.Run("running", func(t *testing.T) {
			seen := record(t, ctx, c)
			_, task, _ := sleeper(t, ctx, c, "orphaned")
			killShim(t, "orphaned")
			seen.expect(t, "orphaned", []string{"create orphaned", "start orphaned", "exit orphaned/orphaned 137", "delete orphaned 137"})
			forgotten(t, ctx, c, task.ID())
		})
		t.Run("stopped", func(t *testing.T) {
			// It has ended, with a status that only the shim has seen.
			seen := record(t, ctx, c)
			container := newContainer(t, ctx, c, "seven", withArgs("/bin/sh", "-c", "exit 7"))
			task := newTask(t, ctx, container, cio.NullIO)
			exits, err := task.Wait(ctx)
			must(t, err)
			must(t, task.Start(ctx))
			<-exits
			killShim(t, "seven")
			// The second exit and the delete are containerd's own, of what
			// "delete" told it; a repeated line counts once.
			seen.expect(t, "seven", []string{"create seven", "start seven", "exit seven/seven 7", "delete seven 7"})
			forgotten(t, ctx, c, "seven")
		})
	})
}

// forgotten waits until containerd has no such task. Its status is NotFound
// sooner, as soon as its shim is gone.
func forgotten(t *testing.T, ctx context.Context, c *client.Client, id string) {
	t.Helper()
	eventually(t, "the task is forgotten", func() error {
		list, err := c.TaskService().List(ctx, &tasks.ListTasksRequest{})
		must(t, err)
		for _, task := range list.Tasks {
			if task.ID == id {
				return fmt.Errorf("it is %s", task.Status)
			}
		}
		return nil
	})
}

// killShim kills the shim of a container with SIGKILL.
func killShim(t *testing.T, id string) {
	t.Helper()
	for _, p := range processes(t) {
		if strings.Contains(p.command, "shim-troupe") && strings.Contains(p.command, "-id "+id+" ") {
			must(t, syscall.Kill(p.pid, syscall.SIGKILL))
			return
		}
	}
	t.Fatalf("there is no shim of %s", id)
}

// TestPodShimKilled is the same with a pod: one shim, several containers.
func TestPodShimKilled(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		p := runPod(t, d, "troupe", "doomed", nil, "/"+filepath.Base(d.Dir)+"/poddoomed")
		one := p.start(t, "one", nil, "/bin/sleep", "100000")
		killShim(t, p.id)
		// CRI waits by a call to the shim, which failed, and tells the unknown
		// status (internal/cri/server/events.go).
		d.exited(t, one, status{ExitCode: 255, Reason: "Error"})
	})
}
