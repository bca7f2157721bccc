package daemontest

import (
	"context"
	"fmt"
	"os"
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

// awayVar is how long containerd is away in TestRestart, in Go's form of a
// duration ("65s"); not set, it is awayShort.
const (
	awayVar   = "TROUPE_CONTAINERD_AWAY"
	awayShort = 20 * time.Second
)

// TestRestart stops containerd while containers and execs run, lets some of them
// end meanwhile, one each second, and starts it again: what ran runs on, and
// every exit arrives, in order (the shim's queue outlives containerd's absence).
//
//	TROUPE_CONTAINERD_AWAY=65s go test -run TestRestart .
func TestRestart(t *testing.T) {
	away := awayShort
	if v := os.Getenv(awayVar); v != "" {
		var err error
		away, err = time.ParseDuration(v)
		must(t, err)
	}
	for _, f := range flavours {
		// Both at once: it is a test that waits.
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			testRestart(t, startDaemon(t, f), away)
		})
	}
}

func testRestart(t *testing.T, d *daemon, away time.Duration) {
	ctx, c := d.client(t)
	// Without a configuration of its own runsc's folder is one for both daemons.
	id := "stays-" + d.name
	_, task, _ := sleeper(t, ctx, c, id)
	ended := newFIFOContainer(t, ctx, c, "ends-"+d.name, "/bin/sh", "-c", fmt.Sprintf("sleep %f; exit 9", away.Seconds()/2))
	p, err := task.Exec(ctx, "stays-too", &specs.Process{Args: []string{"/bin/sleep", "100000"}, Cwd: "/"}, cio.NullIO)
	must(t, err)
	must(t, p.Start(ctx))
	var want []string
	for i := 1; i < int(away.Seconds())-1; i++ {
		exec := fmt.Sprintf("second%d", i)
		p, err := task.Exec(ctx, exec, &specs.Process{Args: []string{"/bin/sh", "-c", fmt.Sprintf("sleep %d.5; exit %d", i, i)}, Cwd: "/", Env: []string{"PATH=/bin"}}, cio.NullIO)
		must(t, err)
		must(t, p.Start(ctx))
		want = append(want, fmt.Sprintf("exit %s/%s %d", id, exec, i))
	}

	d.stop(t)
	time.Sleep(away) // the time that containerd is away
	// The shims know the socket for events by its path. The new daemon has
	// another, until somebody listens to its events.
	old := d.TTRPC
	d.TTRPC += "2"
	d.configure(t)
	d.start(t)

	// The first client's connection is of the containerd that is gone.
	ctx, c = d.client(t)
	seen := record(t, ctx, c)
	must(t, os.RemoveAll(old))
	must(t, os.Symlink(d.TTRPC, old))
	seen.expect(t, id+"/second", want)

	container, err := c.LoadContainer(ctx, id)
	must(t, err)
	again, err := container.Task(ctx, nil)
	must(t, err)
	if s, err := again.Status(ctx); err != nil || s.Status != client.Running {
		t.Errorf("status %v, error %v", s.Status, err)
	}
	if code, out := execute(t, ctx, again, "new", "/bin/echo", "still here"); code != 0 || out.out.String() != "still here\n" {
		t.Errorf("an exec after the restart: code %d, %q", code, out.out.String())
	}
	stays, err := again.LoadProcess(ctx, "stays-too", nil)
	must(t, err)
	exits, err := stays.Wait(ctx)
	must(t, err)
	must(t, stays.Kill(ctx, syscall.SIGTERM))
	if code := exit(t, ctx, stays, exits); code != 143 {
		t.Errorf("the exec from before exited with %d", code)
	}
	container, err = c.LoadContainer(ctx, ended.ID())
	must(t, err)
	gone, err := container.Task(ctx, nil)
	must(t, err)
	exits, err = gone.Wait(ctx)
	must(t, err)
	if code := exit(t, ctx, gone, exits); code != 9 {
		t.Errorf("what ended meanwhile exited with %d", code)
	}
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
