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

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hangs is how long a call to a shim that is known to hang may take before it is
// said to. The other has the patience of every test.
const hangs = 3 * time.Second

// side is one of two shims that are compared.
type side struct {
	*daemon
	c       *client.Client
	runtime string
	program string
	handler string // of CRI
	prefix  string // of ids
}

// differences are the rows of the README's table of what differs from gVisor's
// shim: what is seen of it, and of this one.
var differences = []struct {
	row          string
	see          func(t *testing.T, ctx context.Context, s side) string
	theirs, ours string
}{
	{"shims of a pod", seePodShims, "3", "1"},
	{"`ctr run` without CRI annotations", seePlain, "hangs", "hello"},
	{"status of an init that is gone at once", seeShort, "lost", "told"},
	{"a command that does not exist", seeMissing, "start: unknown", "create: not found"},
	{"delete after a start that failed", seeFailed, "hangs", "done"},
	{"kill of a task that is created and not started", seeCreated, "hangs", "137"},
	{"kill of a task that is gone", seeSecondKill, "no error", "not found"},
	{"metrics of a task that is gone", seeStats, "none", "its CPU time"},
	{"Checkpoint", seeCheckpoint, "not implemented", "done"},
	{"create from a checkpoint", seeRestore, "begins anew", "goes on"},
	{"TaskCreate and TaskDelete", seeEvents, "start, exit", "create, start, exit, delete"},
	{"the sandbox service", seeSandboxService, "not implemented", "implemented"},
	{"options of containerd's runc type", seeRuncOptions, "refused", "taken"},
	{"containerd away", seeAway, "gone", "alive"},
	{"a shim that was killed", seeKilled, "137", "7"},
}

// TestRival runs gVisor's own shim and this one through the same steps and holds
// what the README says of their differences.
func TestRival(t *testing.T) {
	d := startDaemon(t, flavours[0])
	// What hangs is not deleted.
	t.Cleanup(func() { d.sweep(t) })
	for _, difference := range differences {
		t.Run(difference.row, func(t *testing.T) {
			for _, s := range []side{
				{runtime: "io.containerd.runsc.v1", program: "containerd-shim-runsc-v1", handler: "rival", prefix: "theirs"},
				{runtime: runtimeName, program: "containerd-shim-troupe-v1", handler: "troupe", prefix: "ours"},
			} {
				ctx, c := d.client(t)
				s.daemon, s.c = d, c
				want := difference.theirs
				if s.runtime == runtimeName {
					want = difference.ours
				}
				begun := time.Now()
				if got := difference.see(t, ctx, s); got != want {
					t.Errorf("%s: %q, wanted %q", s.program, got, want)
				}
				t.Logf("%s: %q in %v", s.program, want, time.Since(begun).Round(time.Millisecond))
			}
		})
	}
}

// sweep ends what is left of the daemon's containers, for a shim that does not.
func (d *daemon) sweep(t *testing.T) {
	eventually(t, "everything is gone", func() error {
		left := 0
		for _, p := range processes(t) {
			if p.pid != d.cmd.Process.Pid && (strings.Contains(p.command, d.Dir) || strings.Contains(p.command, "runsc")) {
				syscall.Kill(p.pid, syscall.SIGKILL)
				left++
			}
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		must(t, err)
		for line := range strings.Lines(string(mounts)) {
			// Not the null-netns, which is startDaemon's.
			if path := strings.Fields(line)[4]; strings.HasPrefix(path, d.Dir+"/state") {
				unix.Unmount(path, unix.MNT_DETACH)
				left++
			}
		}
		if left > 0 {
			return fmt.Errorf("%d are left", left)
		}
		return nil
	})
	for _, pattern := range []string{"/run/containerd/s/*", d.Dir + "/s/*", d.Dir + "/runsc/*/*.lock", d.Dir + "/runsc/*/*.state", d.Dir + "/runsc/*/*.sock", "/run/containerd/troupe/*"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		for _, path := range found {
			must(t, os.RemoveAll(path))
		}
	}
}

// asCRI is without which gVisor's shim gives a container no IO.
var asCRI = oci.WithAnnotations(map[string]string{"io.kubernetes.cri.container-type": "sandbox"})

func (s side) container(t *testing.T, ctx context.Context, id string, opts ...oci.SpecOpts) client.Container {
	return s.containerWith(t, ctx, id, &runtimeoptions.Options{TypeUrl: "io.containerd.runsc.v1.options", ConfigPath: filepath.Join(s.Dir, "runsc.toml")}, opts...)
}

func (s side) containerWith(t *testing.T, ctx context.Context, id string, options any, opts ...oci.SpecOpts) client.Container {
	t.Helper()
	id = s.prefix + "-" + id
	image, err := s.c.GetImage(ctx, busyboxImage)
	must(t, err)
	container, err := s.c.NewContainer(ctx, id, client.WithNewSnapshot(id, image), client.WithRuntime(s.runtime, options),
		client.WithNewSpec(append([]oci.SpecOpts{oci.WithImageConfig(image), oci.WithHostNamespace(specs.NetworkNamespace)}, opts...)...))
	must(t, err)
	return container
}

// task is one that is started, with the channel of its exit.
func (s side) task(t *testing.T, ctx context.Context, id string, args ...string) (client.Task, <-chan client.ExitStatus) {
	t.Helper()
	task, err := s.container(t, ctx, id, asCRI, withArgs(args...)).NewTask(ctx, cio.NullIO)
	must(t, err)
	exits, err := task.Wait(ctx)
	must(t, err)
	must(t, task.Start(ctx))
	return task, exits
}

// bounded gives what f gives, or that it hangs.
func (s side) bounded(ctx context.Context, f func(ctx context.Context) (string, error)) string {
	limit := patience
	if s.runtime != runtimeName {
		limit = hangs
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begun := time.Now()
	seen, err := f(ctx)
	switch {
	// The daemon's clock can be the first to end a call.
	case err != nil && time.Since(begun) > limit-limit/10:
		return "hangs"
	case err != nil:
		return err.Error()
	}
	return seen
}

func seePodShims(t *testing.T, _ context.Context, s side) string {
	p := runPod(t, s.daemon, s.handler, s.prefix+"-pod", nil, "/"+filepath.Base(s.Dir)+"/pod"+s.prefix)
	for _, name := range []string{"one", "two"} {
		p.start(t, s.prefix+"-"+name, nil, "/bin/sleep", "100000")
	}
	shims := 0
	for _, process := range processes(t) {
		// Not "start" and "delete", which are passing.
		if strings.Contains(process.command, "/"+s.program+" ") && strings.HasSuffix(process.command, "-debug") {
			shims++
		}
	}
	return fmt.Sprint(shims)
}

func seePlain(t *testing.T, ctx context.Context, s side) string {
	container := s.container(t, ctx, "plain", withArgs("/bin/echo", "hello"))
	var out output
	return s.bounded(ctx, func(ctx context.Context) (string, error) {
		task, err := container.NewTask(ctx, out.creator())
		if err != nil {
			return "", err
		}
		exits, err := task.Wait(ctx)
		must(t, err)
		must(t, task.Start(ctx))
		<-exits
		_, err = task.Delete(ctx)
		return strings.TrimSpace(out.out.String()), err
	})
}

func seeShort(t *testing.T, ctx context.Context, s side) string {
	// gVisor's shim waits for an init after its start only: what it sees is a
	// matter of luck.
	for i := range 20 {
		task, exits := s.task(t, ctx, fmt.Sprint("short", i), "/bin/false")
		status := <-exits
		_, err := task.Delete(ctx)
		must(t, err)
		if status.ExitCode() != 1 {
			return "lost"
		}
	}
	return "told"
}

func seeMissing(t *testing.T, ctx context.Context, s side) string {
	container := s.container(t, ctx, "missing", asCRI, withArgs("/no/such/program"))
	verb := "create"
	task, err := container.NewTask(ctx, cio.NullIO)
	if err == nil {
		verb = "start"
		err = task.Start(ctx)
	}
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("%s: %v", s.program, err)
	}
	kind := "unknown"
	if errdefs.IsNotFound(err) {
		kind = "not found"
	}
	return verb + ": " + kind
}

func seeFailed(t *testing.T, ctx context.Context, s side) string {
	// It is there, and can not be executed: nobody looks at that before start.
	task, err := s.container(t, ctx, "failed", asCRI, withArgs("/etc/passwd")).NewTask(ctx, cio.NullIO)
	must(t, err)
	if err := task.Start(ctx); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("%s: %v", s.program, err)
	}
	return s.bounded(ctx, func(ctx context.Context) (string, error) {
		_, err := task.Delete(ctx, client.WithProcessKill)
		return "done", err
	})
}

func seeCreated(t *testing.T, ctx context.Context, s side) string {
	task, err := s.container(t, ctx, "created", asCRI, withArgs("/bin/sleep", "100000")).NewTask(ctx, cio.NullIO)
	must(t, err)
	exits, err := task.Wait(ctx)
	must(t, err)
	return s.bounded(ctx, func(ctx context.Context) (string, error) {
		if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
			return "", err
		}
		select {
		case status := <-exits:
			return fmt.Sprint(status.ExitCode()), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
}

func (s side) killed(t *testing.T, ctx context.Context, id string) client.Task {
	t.Helper()
	task, exits := s.task(t, ctx, id, "/bin/sleep", "100000")
	_, err := task.Metrics(ctx)
	must(t, err)
	must(t, task.Kill(ctx, syscall.SIGKILL))
	<-exits
	return task
}

func seeSecondKill(t *testing.T, ctx context.Context, s side) string {
	err := s.killed(t, ctx, "second").Kill(ctx, syscall.SIGKILL)
	switch {
	case err == nil:
		return "no error"
	case errdefs.IsNotFound(err):
		return "not found"
	}
	return err.Error()
}

func seeStats(t *testing.T, ctx context.Context, s side) string {
	m, err := s.killed(t, ctx, "stats").Metrics(ctx)
	if err != nil {
		if strings.Contains(err.Error(), "no metrics") {
			return "none"
		}
		return err.Error()
	}
	if cpu, memory, pids := usage(t, m); cpu == 0 || memory != 0 || pids != 0 {
		return fmt.Sprint(m)
	}
	return "its CPU time"
}

func seeCheckpoint(t *testing.T, ctx context.Context, s side) string {
	task, _ := s.task(t, ctx, "saved", "/bin/sleep", "100000")
	_, err := task.Checkpoint(ctx)
	switch {
	case errdefs.IsNotImplemented(err):
		return "not implemented"
	case err != nil:
		return err.Error()
	}
	return "done"
}

// seeRestore has both begin from an image that this shim has made.
func seeRestore(t *testing.T, ctx context.Context, s side) string {
	maker := s
	maker.runtime, maker.prefix = runtimeName, s.prefix+"-made"
	script := "if [ -e /tmp/once ]; then echo on; else touch /tmp/once; fi; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
	var before, after output
	container := maker.container(t, ctx, "image", asCRI, withArgs("/bin/sh", "-c", script))
	task, err := container.NewTask(ctx, before.creator())
	must(t, err)
	must(t, task.Start(ctx))
	eventually(t, "it counts", func() error { return atLeast(&before, 5) })
	image, err := task.Checkpoint(ctx, thenExit)
	must(t, err)

	restored, err := s.container(t, ctx, "restored", asCRI, withArgs("/bin/sh", "-c", script)).NewTask(ctx, after.creator(), client.WithTaskCheckpoint(image))
	must(t, err)
	must(t, restored.Start(ctx))
	eventually(t, "it counts", func() error { return atLeast(&after, 2) })
	if first, _, _ := strings.Cut(after.out.String(), "\n"); first == "1" {
		return "begins anew"
	}
	return "goes on"
}

func seeEvents(t *testing.T, ctx context.Context, s side) string {
	seen := record(t, ctx, s.c)
	for _, id := range []string{"events", "later"} {
		task, exits := s.task(t, ctx, id, "/bin/sleep", "0.2")
		<-exits
		_, err := task.Delete(ctx)
		must(t, err)
	}
	// What is told of the first is told before the second's exit.
	later := s.prefix + "-later"
	seen.until(t, later, fmt.Sprintf("exit %s/%s", later, later))
	var topics []string
	for _, line := range seen.past {
		if topic, who, _ := strings.Cut(line, " "); strings.Contains(who, s.prefix+"-events") {
			topics = append(topics, topic)
		}
	}
	return strings.Join(slices.Compact(topics), ", ")
}

func seeSandboxService(t *testing.T, ctx context.Context, s side) string {
	s.task(t, ctx, "service", "/bin/sleep", "100000")
	shim, err := dial(s.socketOf(t, s.prefix+"-service"))
	must(t, err)
	defer shim.Close()
	_, err = sandboxapi.NewTTRPCSandboxClient(shim.Client).Platform(ctx, &sandboxapi.PlatformRequest{SandboxID: s.prefix + "-service"})
	if err = errgrpc.ToNative(err); errdefs.IsNotImplemented(err) || errdefs.IsUnknown(err) {
		return "not implemented"
	}
	if err != nil {
		return err.Error()
	}
	return "implemented"
}

func seeRuncOptions(t *testing.T, ctx context.Context, s side) string {
	// runsc by its path, the one thing that both need.
	options := &runcoptions.Options{BinaryName: s.Runsc, Root: filepath.Join(s.Dir, "runsc")}
	if _, err := s.containerWith(t, ctx, "runc", options, asCRI, withArgs("/bin/sleep", "100000")).NewTask(ctx, cio.NullIO); err != nil {
		t.Log(err)
		return "refused"
	}
	return "taken"
}

func seeAway(t *testing.T, ctx context.Context, s side) string {
	id := s.prefix + "-away"
	task, _ := s.task(t, ctx, "away", "/bin/sleep", "100000")
	p, err := task.Exec(ctx, "ends", &specs.Process{Args: []string{"/bin/sleep", "2"}, Cwd: "/"}, cio.NullIO)
	must(t, err)
	must(t, p.Start(ctx))
	shim := s.pidOf(t, id)
	s.stop(t)
	defer s.start(t)
	// gVisor's shim tries for five seconds to tell the exit, which is in two.
	for deadline := time.Now().Add(12 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if errors.Is(syscall.Kill(shim, 0), syscall.ESRCH) {
			return "gone"
		}
	}
	return "alive"
}

// pidOf is the pid of the shim of a container.
func (s side) pidOf(t *testing.T, id string) int {
	t.Helper()
	for _, p := range processes(t) {
		if strings.Contains(p.command, s.program) && regexp.MustCompile(`-id `+id+`( |$)`).MatchString(p.command) {
			return p.pid
		}
	}
	t.Fatalf("there is no shim of %s", id)
	return 0
}

func seeKilled(t *testing.T, ctx context.Context, s side) string {
	seen := record(t, ctx, s.c)
	id := s.prefix + "-killed"
	_, exits := s.task(t, ctx, "killed", "/bin/sh", "-c", "sleep 0.2; exit 7")
	<-exits
	must(t, syscall.Kill(s.pidOf(t, id), syscall.SIGKILL))
	for deadline := time.After(patience); ; {
		select {
		case line := <-seen.lines:
			if status, ok := strings.CutPrefix(line, "delete "+id+" "); ok {
				return status
			}
		case <-deadline:
			return "not deleted"
		}
	}
}
