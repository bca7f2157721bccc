package daemontest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// newContainer makes a container of busybox; it is deleted after the test.
func newContainer(t *testing.T, ctx context.Context, c *client.Client, id string, opts ...oci.SpecOpts) client.Container {
	t.Helper()
	image, err := c.GetImage(ctx, busyboxImage)
	must(t, err)
	spec := append([]oci.SpecOpts{oci.WithImageConfig(image), oci.WithHostNamespace(specs.NetworkNamespace)}, opts...)
	container, err := c.NewContainer(ctx, id,
		client.WithNewSnapshot(id, image),
		client.WithRuntime(runtimeName, nil),
		client.WithNewSpec(spec...))
	must(t, err)
	t.Cleanup(func() {
		if err := container.Delete(context.WithoutCancel(ctx), client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("delete container %s: %v", id, err)
		}
	})
	return container
}

func withArgs(args ...string) oci.SpecOpts { return oci.WithProcessArgs(args...) }

// output is a process's stdout and stderr.
type output struct{ out, err stream }

// stream is written while it is read.
type stream struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (o *output) creator() cio.Creator {
	return cio.NewCreator(cio.WithStreams(nil, &o.out, &o.err))
}

func newTask(t *testing.T, ctx context.Context, c client.Container, io cio.Creator, opts ...client.NewTaskOpts) client.Task {
	t.Helper()
	task, err := c.NewTask(ctx, io, opts...)
	must(t, err)
	t.Cleanup(func() {
		if _, err := task.Delete(context.WithoutCancel(ctx), client.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("delete task %s: %v", c.ID(), err)
		}
	})
	return task
}

// exit waits for a process and deletes it.
func exit(t *testing.T, ctx context.Context, p client.Process, exits <-chan client.ExitStatus) uint32 {
	t.Helper()
	select {
	case status := <-exits:
		must(t, status.Error())
	case <-time.After(patience):
		t.Fatalf("%s did not exit", p.ID())
	}
	deleted, err := p.Delete(ctx)
	must(t, err)
	return deleted.ExitCode()
}

// run runs a container to its end.
func run(t *testing.T, ctx context.Context, c *client.Client, id string, args ...string) (uint32, *output) {
	t.Helper()
	container := newContainer(t, ctx, c, id, withArgs(args...))
	var out output
	task := newTask(t, ctx, container, out.creator())
	exits, err := task.Wait(ctx)
	must(t, err)
	must(t, task.Start(ctx))
	code := exit(t, ctx, task, exits)
	return code, &out
}

// execute runs an exec to its end.
func execute(t *testing.T, ctx context.Context, task client.Task, id string, args ...string) (uint32, *output) {
	t.Helper()
	var out output
	p, err := task.Exec(ctx, id, &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}, out.creator())
	must(t, err)
	exits, err := p.Wait(ctx)
	must(t, err)
	must(t, p.Start(ctx))
	return exit(t, ctx, p, exits), &out
}

// sleeper is a container that runs until it is killed.
func sleeper(t *testing.T, ctx context.Context, c *client.Client, id string, opts ...oci.SpecOpts) (client.Container, client.Task, <-chan client.ExitStatus) {
	t.Helper()
	container := newContainer(t, ctx, c, id, append([]oci.SpecOpts{withArgs("/bin/sleep", "100000")}, opts...)...)
	task := newTask(t, ctx, container, cio.NullIO)
	exits, err := task.Wait(ctx)
	must(t, err)
	must(t, task.Start(ctx))
	return container, task, exits
}

func TestRun(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		code, out := run(t, ctx, c, "hello", "/bin/sh", "-c", "echo to stdout; echo to stderr >&2; exit 7")
		if code != 7 || out.out.String() != "to stdout\n" || out.err.String() != "to stderr\n" {
			t.Errorf("code %d, stdout %q, stderr %q", code, out.out.String(), out.err.String())
		}
		if _, out := run(t, ctx, c, "kernel", "/bin/dmesg"); !strings.Contains(out.out.String(), "Starting gVisor") {
			t.Errorf("this is not gVisor's kernel: %q", out.out.String())
		}
		// An init that is gone at once: its status was lost with gVisor's shim,
		// which waits after the start only.
		for i := range 5 {
			if code, _ := run(t, ctx, c, fmt.Sprintf("false%d", i), "/bin/false"); code != 1 {
				t.Errorf("false exited with %d", code)
			}
		}
	})
}

// TestEventOrder holds the orders that containerd's clients rely on
// (containerd#9719: an exec's exit after its init's).
func TestEventOrder(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		seen := record(t, ctx, c)
		_, task, exits := sleeper(t, ctx, c, "order")
		execute(t, ctx, task, "short", "/bin/true")
		long, err := task.Exec(ctx, "long", &specs.Process{Args: []string{"/bin/sleep", "1000"}, Cwd: "/"}, cio.NullIO)
		must(t, err)
		longExits, err := long.Wait(ctx)
		must(t, err)
		must(t, long.Start(ctx))
		must(t, task.Kill(ctx, syscall.SIGKILL))
		if status := <-longExits; status.ExitCode() != 137 {
			t.Errorf("the exec of a killed init exited with %d", status.ExitCode())
		}
		if code := exit(t, ctx, task, exits); code != 137 {
			t.Errorf("the killed init exited with %d", code)
		}
		want := []string{
			"create order", "start order",
			"exec-added order/short", "exec-started order/short", "exit order/short 0",
			"exec-added order/long", "exec-started order/long", "exit order/long 137",
			"exit order/order 137", "delete order 137",
		}
		seen.expect(t, "order", want)
	})
}

// recorder collects the events of tasks.
type recorder struct {
	lines chan string
	past  []string // what until has taken
}

func record(t *testing.T, ctx context.Context, c *client.Client) *recorder {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	r := &recorder{lines: make(chan string, 100_000)}
	envelopes, errs := c.Subscribe(ctx, `topic~="^/tasks/"`)
	go func() {
		for {
			select {
			case e := <-envelopes:
				r.lines <- describe(e)
			case <-errs:
				return
			}
		}
	}()
	return r
}

func describe(e *events.Envelope) string {
	topic := strings.TrimPrefix(e.Topic, "/tasks/")
	v, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return topic + " " + err.Error()
	}
	switch e := v.(type) {
	case *eventsapi.TaskExecAdded:
		return fmt.Sprintf("%s %s/%s", topic, e.ContainerID, e.ExecID)
	case *eventsapi.TaskExecStarted:
		return fmt.Sprintf("%s %s/%s", topic, e.ContainerID, e.ExecID)
	case *eventsapi.TaskExit:
		return fmt.Sprintf("%s %s/%s %d", topic, e.ContainerID, e.ID, e.ExitStatus)
	case *eventsapi.TaskDelete:
		return fmt.Sprintf("%s %s %d", topic, e.ContainerID, e.ExitStatus)
	case interface{ GetContainerID() string }:
		return topic + " " + e.GetContainerID()
	}
	return topic
}

// expect waits for exactly these events of a container, in this order, up to
// its deletion. containerd 1.x tells the delete of execs and tasks itself as
// well; a repeated line counts once.
func (r *recorder) expect(t *testing.T, id string, want []string) {
	t.Helper()
	var got []string
	deadline := time.After(patience)
	for !slices.Equal(got, want) {
		select {
		case line := <-r.lines:
			if !strings.Contains(line, " "+id) || slices.Contains(got, line) {
				continue
			}
			got = append(got, line)
			if len(got) > len(want) || got[len(got)-1] != want[len(got)-1] {
				t.Fatalf("events:\n%s\nwanted:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		case <-deadline:
			t.Fatalf("events:\n%s\nwanted:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// until gives every event of a container up to the last, which may have a status
// that last does not name, repeated ones too.
func (r *recorder) until(t *testing.T, id, last string) (told []string) {
	t.Helper()
	deadline := time.After(patience)
	for next := 0; ; next++ {
		if next == len(r.past) {
			select {
			case line := <-r.lines:
				r.past = append(r.past, line)
			case <-deadline:
				t.Fatalf("%q is not told; told is:\n%s", last, strings.Join(told, "\n"))
			}
		}
		line := r.past[next]
		_, who, _ := strings.Cut(line, " ")
		if who != id && !strings.HasPrefix(who, id+"/") && !strings.HasPrefix(who, id+" ") {
			continue
		}
		if told = append(told, line); line == last || strings.HasPrefix(line, last+" ") {
			return told
		}
	}
}

func TestExec(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		_, task, exits := sleeper(t, ctx, c, "execs")
		code, out := execute(t, ctx, task, "one", "/bin/sh", "-c", "echo hello; echo oops >&2; exit 3")
		if code != 3 || out.out.String() != "hello\n" || out.err.String() != "oops\n" {
			t.Errorf("code %d, stdout %q, stderr %q", code, out.out.String(), out.err.String())
		}
		// An id is free after Delete (containerd#2820 for one that is not).
		if code, _ := execute(t, ctx, task, "one", "/bin/true"); code != 0 {
			t.Errorf("code %d", code)
		}
		t.Run("duplicate id", func(t *testing.T) {
			spec := &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}
			p, err := task.Exec(ctx, "twice", spec, cio.NullIO)
			must(t, err)
			if _, err := task.Exec(ctx, "twice", spec, cio.NullIO); !errdefs.IsAlreadyExists(err) {
				t.Errorf("a second exec of the same id: %v", err)
			}
			_, err = p.Delete(ctx)
			must(t, err)
		})
		t.Run("stdin", func(t *testing.T) {
			in, inWriter := io.Pipe()
			var o output
			p, err := task.Exec(ctx, "cat", &specs.Process{Args: []string{"/bin/cat"}, Cwd: "/"}, cio.NewCreator(cio.WithStreams(in, &o.out, &o.err)))
			must(t, err)
			exits, err := p.Wait(ctx)
			must(t, err)
			must(t, p.Start(ctx))
			_, err = inWriter.Write([]byte("through the sandbox\n"))
			must(t, err)
			eventually(t, "cat answers", func() error {
				if o.out.String() != "through the sandbox\n" {
					return fmt.Errorf("%q", o.out.String())
				}
				return nil
			})
			must(t, p.CloseIO(ctx, client.WithStdinCloser))
			inWriter.Close()
			if code := exit(t, ctx, p, exits); code != 0 {
				t.Errorf("cat exited with %d", code)
			}
		})
		t.Run("terminal", func(t *testing.T) { testTerminal(t, ctx, task) })
		t.Run("kill", func(t *testing.T) {
			p, err := task.Exec(ctx, "victim", &specs.Process{Args: []string{"/bin/sleep", "1000"}, Cwd: "/"}, cio.NullIO)
			must(t, err)
			exits, err := p.Wait(ctx)
			must(t, err)
			if err := p.Kill(ctx, syscall.SIGKILL); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("kill of an exec that is not started: %v", err)
			}
			must(t, p.Start(ctx))
			must(t, p.Kill(ctx, syscall.SIGTERM))
			if code := exit(t, ctx, p, exits); code != 143 {
				t.Errorf("exited with %d", code)
			}
			if err := p.Kill(ctx, syscall.SIGKILL); !errdefs.IsNotFound(err) {
				t.Errorf("kill of an exec that is gone: %v", err)
			}
		})
		t.Run("no such command", func(t *testing.T) {
			p, err := task.Exec(ctx, "nothing", &specs.Process{Args: []string{"/no/such/program"}, Cwd: "/"}, cio.NullIO)
			must(t, err)
			if err := p.Start(ctx); err == nil {
				t.Error("an exec of nothing started")
			}
			if _, err := p.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		})
		must(t, task.Kill(ctx, syscall.SIGKILL))
		exit(t, ctx, task, exits)
	})
}

func testTerminal(t *testing.T, ctx context.Context, task client.Task) {
	in, inWriter := io.Pipe()
	var o output
	p, err := task.Exec(ctx, "tty", &specs.Process{Args: []string{"/bin/sh"}, Cwd: "/", Terminal: true, Env: []string{"PATH=/bin", "PS1="}},
		cio.NewCreator(cio.WithStreams(in, &o.out, nil), cio.WithTerminal))
	must(t, err)
	exits, err := p.Wait(ctx)
	must(t, err)
	must(t, p.Start(ctx))
	must(t, p.Resize(ctx, 123, 45))
	for _, line := range []string{"test -t 0 && echo is-a-tt''y\n", "stty size\n"} {
		_, err = inWriter.Write([]byte(line))
		must(t, err)
	}
	eventually(t, "the terminal has its size", func() error {
		if s := o.out.String(); !strings.Contains(s, "is-a-tty") || !strings.Contains(s, "45 123") {
			return fmt.Errorf("%q", s)
		}
		return nil
	})
	_, err = inWriter.Write([]byte("exit 5\n"))
	must(t, err)
	if code := exit(t, ctx, p, exits); code != 5 {
		t.Errorf("the shell exited with %d", code)
	}
	inWriter.Close()
}
