package daemontest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/services/tasks/v1"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// awayVar is how long containerd is away in TestRestart, in Go's form of a
// duration ("20s"); not set, it is awayLong, which is longer than the minute that
// is promised.
const (
	awayVar  = "TROUPE_CONTAINERD_AWAY"
	awayLong = 65 * time.Second
)

// TestRestart stops containerd while containers and execs run, lets some of them
// end meanwhile, one each second, and starts it again: what ran runs on and has
// lost no output, and every exit arrives once, in order (the shim's queue outlives
// containerd's absence).
func TestRestart(t *testing.T) {
	away := awayLong
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

// counting writes numbered lines until /tmp/stop is there.
var counting = []string{"/bin/sh", "-c", "i=0; until [ -e /tmp/stop ]; do i=$((i+1)); echo line $i; sleep 0.1; done; echo last $i"}

// unbroken fails for a log of counting that lacks a line or has one twice.
func unbroken(t *testing.T, what, log string, atLeast int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	n := len(lines) - 1
	for i, line := range lines[:n] {
		if line != fmt.Sprintf("line %d", i+1) {
			t.Errorf("%s: %q is line %d", what, line, i+1)
			return
		}
	}
	if lines[n] != fmt.Sprintf("last %d", n) || n < atLeast {
		t.Errorf("%s: %q is after %d lines, of which at least %d are wanted", what, lines[n], n, atLeast)
	}
}

func testRestart(t *testing.T, d *daemon, away time.Duration) {
	ctx, c := d.client(t)
	// Without a configuration of its own runsc's folder is one for both daemons.
	id := "stays-" + d.name
	_, task, _ := sleeper(t, ctx, c, id)
	ended := startedTask(t, ctx, c, "ends-"+d.name, "/bin/sh", "-c", fmt.Sprintf("sleep %f; exit 9", away.Seconds()/2))
	begin := func(exec string, io cio.Creator, args ...string) client.Process {
		p, err := task.Exec(ctx, exec, &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}, io)
		must(t, err)
		must(t, p.Start(ctx))
		return p
	}
	begin("stays-too", cio.NullIO, "/bin/sleep", "100000")
	// Read by a client all the time, written to a file, and read by containerd,
	// which leaves the pipe without a reader.
	var read output
	begin("read", read.creator(), counting...)
	file := filepath.Join(d.Dir, "counts.log")
	begin("filed", cio.LogFile(file), counting...)
	counts := runPod(t, d, "troupe", "away-"+d.name, nil, "/"+filepath.Base(d.Dir)+"/podaway")
	logged := counts.start(t, "counts", nil, counting...)

	var want []string
	for i := 1; i < int(away.Seconds())-1; i++ {
		exec := fmt.Sprintf("second%d", i)
		begin(exec, cio.NullIO, "/bin/sh", "-c", fmt.Sprintf("sleep %d.5; exit %d", i, i))
		want = append(want, fmt.Sprintf("exit %s/%s %d", id, exec, i))
	}
	shim, err := dial(d.socketOf(t, id))
	must(t, err)
	defer shim.Close()

	d.stop(t)
	gone := time.Now()
	// A wait of somebody else than containerd is answered while it is away.
	exited, err := shim.Wait(ctx, &taskapi.WaitRequest{ID: id, ExecID: "second10"})
	must(t, err)
	if exited.ExitStatus != 10 {
		t.Errorf("second10 exited with %d", exited.ExitStatus)
	}
	time.Sleep(time.Until(gone.Add(away))) // the time that containerd is away
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
	// The new exec's exit comes after all that happened before: what is told
	// twice, or too late, is between.
	news := []string{"exec-added " + id + "/new", "exec-started " + id + "/new", "exit " + id + "/new 0"}
	told := seen.until(t, id, news[len(news)-1])
	before := max(0, len(told)-len(news))
	if !slices.Equal(told[before:], news) {
		t.Errorf("the last events are %q, want %q", told[before:], news)
	}
	// The first may have ended before containerd went away.
	if early := len(want) - before; early < 0 || early > len(want)/2 {
		t.Errorf("%d exits were told, of which %d are wanted", before, len(want))
	}
	ends := map[string]time.Time{}
	for i, event := range want {
		p, err := again.LoadProcess(ctx, fmt.Sprintf("second%d", i+1), nil)
		must(t, err)
		s, err := p.Status(ctx)
		must(t, err)
		ends[event] = s.ExitTime
		if s.ExitTime.After(gone) && !slices.Contains(told, event) {
			t.Errorf("%q was not told", event)
		}
	}
	var latest time.Time
	for i, event := range told[:before] {
		at, known := ends[event]
		if !known || slices.Contains(told[:i], event) {
			t.Errorf("%q was told too", event)
		}
		// On a machine that stalls, ends that were to be a second apart are seen at
		// once; then either may be told first.
		if at.Before(latest.Add(-time.Second)) {
			t.Errorf("%q of %v was told after an exit of %v", event, at, latest)
		}
		if at.After(latest) {
			latest = at
		}
	}

	lines := int(away.Seconds()) * 2
	execute(t, ctx, again, "stop", "/bin/touch", "/tmp/stop")
	d.cri(t, "exec", "--sync", logged, "/bin/touch", "/tmp/stop")
	for _, exec := range []string{"read", "filed"} {
		if code := loadedExit(t, ctx, again, exec, 0); code != 0 {
			t.Errorf("%s exited with %d", exec, code)
		}
	}
	data, err := os.ReadFile(file)
	must(t, err)
	unbroken(t, "a file", string(data), lines)
	eventually(t, "the client has read it all", func() error {
		if !strings.Contains(read.out.String(), "last") {
			return errors.New("it has not")
		}
		return nil
	})
	unbroken(t, "a client", read.out.String(), lines)
	d.exited(t, logged, status{Reason: "Completed"})
	data, err = os.ReadFile(filepath.Join(counts.logs, "counts.log"))
	must(t, err)
	// A line of CRI's log has the time, the stream and a tag before the text.
	unbroken(t, "containerd", regexp.MustCompile(`(?m)^\S+ stdout F `).ReplaceAllString(string(data), ""), lines)

	if code := loadedExit(t, ctx, again, "stays-too", syscall.SIGTERM); code != 143 {
		t.Errorf("the exec from before exited with %d", code)
	}
	container, err = c.LoadContainer(ctx, ended.ID())
	must(t, err)
	lost, err := container.Task(ctx, nil)
	must(t, err)
	exits, err := lost.Wait(ctx)
	must(t, err)
	if code := exit(t, ctx, lost, exits); code != 9 {
		t.Errorf("what ended meanwhile exited with %d", code)
	}
	if told := seen.until(t, ended.ID(), "delete "+ended.ID()+" 9"); !slices.Equal(told, []string{"exit " + ended.ID() + "/" + ended.ID() + " 9", "delete " + ended.ID() + " 9"}) {
		t.Errorf("events of what ended meanwhile: %q", told)
	}
}

// loadedExit gives the status of an exec that another client began, after a
// signal to it if there is one.
func loadedExit(t *testing.T, ctx context.Context, of client.Task, exec string, signal syscall.Signal) uint32 {
	t.Helper()
	p, err := of.LoadProcess(ctx, exec, nil)
	must(t, err)
	exits, err := p.Wait(ctx)
	must(t, err)
	if signal != 0 {
		must(t, p.Kill(ctx, signal))
	}
	return exit(t, ctx, p, exits)
}

// startedTask is a container that runs, until its end or that of the test.
func startedTask(t *testing.T, ctx context.Context, c *client.Client, id string, args ...string) client.Task {
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
