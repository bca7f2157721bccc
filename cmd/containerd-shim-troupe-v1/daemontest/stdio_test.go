package daemontest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// speaks writes to both of its streams.
var speaks = []string{"/bin/sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"}

// TestStdioFile has stdout and stderr in a file, of an init and of an exec.
func TestStdioFile(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		path := filepath.Join(d.Dir, "logs", "init.log") // the folder is made
		task := newTask(t, ctx, newContainer(t, ctx, c, "tofile", withArgs(speaks...)), cio.LogFile(path))
		runToEnd(t, ctx, task, 3)
		sameLines(t, path, "to stdout", "to stderr")

		_, task, exits := sleeper(t, ctx, c, "execs")
		path = filepath.Join(d.Dir, "exec.log")
		p, err := task.Exec(ctx, "e", &specs.Process{Args: speaks, Cwd: "/"}, cio.LogFile(path))
		must(t, err)
		runToEnd(t, ctx, p, 3)
		sameLines(t, path, "to stdout", "to stderr")
		must(t, task.Kill(ctx, syscall.SIGKILL))
		exit(t, ctx, task, exits)
	})
}

// TestStdioBinary has them go to a logging program.
func TestStdioBinary(t *testing.T) {
	logger := filepath.Join(t.TempDir(), "logger")
	succeed(t, exec.Command("go", "build", "-o", logger, "./logger"))
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		path := filepath.Join(d.Dir, "binary.log")
		to := map[string]string{"to": path}

		task := newTask(t, ctx, newContainer(t, ctx, c, "logged", withArgs(speaks...)), cio.BinaryIO(logger, to))
		runToEnd(t, ctx, task, 3)
		// The program is told the namespace and the process's id, and the two streams apart.
		sameLines(t, path, namespace+"/logged stdout: to stdout", namespace+"/logged stderr: to stderr")

		must(t, os.Remove(path))
		_, task, exits := sleeper(t, ctx, c, "execs")
		p, err := task.Exec(ctx, "inner", &specs.Process{Args: speaks, Cwd: "/"}, cio.BinaryIO(logger, to))
		must(t, err)
		runToEnd(t, ctx, p, 3)
		sameLines(t, path, namespace+"/inner stdout: to stdout", namespace+"/inner stderr: to stderr")

		// A terminal has one stream.
		must(t, os.Remove(path))
		p, err = task.Exec(ctx, "tty", &specs.Process{Args: speaks, Cwd: "/", Terminal: true}, cio.TerminalBinaryIO(logger, to))
		must(t, err)
		runToEnd(t, ctx, p, 3)
		sameLines(t, path, namespace+"/tty stdout: to stdout", namespace+"/tty stdout: to stderr")
		must(t, task.Kill(ctx, syscall.SIGKILL))
		exit(t, ctx, task, exits)

		container := newContainer(t, ctx, c, "no-logger", withArgs(speaks...))
		if _, err := container.NewTask(ctx, cio.BinaryIO("/no/such/logger", nil)); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "/no/such/logger") {
			t.Errorf("a logging program that does not exist: %v", err)
		}
	})
}

// TestStdioUnknown: a name of no kind that there is, and a stream that is not of
// the shim's own socket, are refused by name.
func TestStdioUnknown(t *testing.T) {
	eachDaemon(t, func(t *testing.T, d *daemon) {
		ctx, c := d.client(t)
		container := newContainer(t, ctx, c, "misnamed", withArgs(speaks...))
		for _, name := range []string{"http://localhost/x", "ttrpc+unix:///run/other.sock?streaming_id=x", "grpc+vsock://2:1?streaming_id=x"} {
			_, err := container.NewTask(ctx, func(string) (cio.IO, error) { return namedIO{stdout: name}, nil })
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), name) {
				t.Errorf("stdout %q: %v", name, err)
			}
		}
	})
}

// namedIO names a stdout and does nothing for it.
type namedIO struct {
	cio.IO
	stdout string
}

func (n namedIO) Config() cio.Config { return cio.Config{Stdout: n.stdout} }
func (namedIO) Cancel()              {}
func (namedIO) Wait()                {}
func (namedIO) Close() error         { return nil }

func runToEnd(t *testing.T, ctx context.Context, p client.Process, want uint32) {
	t.Helper()
	exits, err := p.Wait(ctx)
	must(t, err)
	must(t, p.Start(ctx))
	if code := exit(t, ctx, p, exits); code != want {
		t.Errorf("%s exited with %d", p.ID(), code)
	}
}

// sameLines waits until a file has these lines, in any order: of two streams
// the order is not known.
func sameLines(t *testing.T, path string, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, "the log has it", func() error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(data), "\r", "")), "\n")
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("lines %q, wanted %q", got, want)
		}
		return nil
	})
}
