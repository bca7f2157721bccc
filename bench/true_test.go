package bench

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/cmd/troupe/bundle"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// BenchmarkTrue runs /bin/true in one real sandbox from start to exit, by turns
// with the command line alone (`runsc exec`, attached) and through the runtime,
// and reports the medians of both and what Troupe costs beside the other: with a
// runsc for each exec, as the other has, and over the control socket.
func BenchmarkTrue(b *testing.B) {
	for _, way := range []string{runsc.ExecCLI, runsc.ExecControl} {
		b.Run(way, func(b *testing.B) {
			rt, options := newSandbox(b, way)
			var alone, troupe []time.Duration
			for b.Loop() {
				alone = append(alone, timed(func() { runAlone(b, options) }))
				troupe = append(troupe, timed(func() { runTroupe(b, rt) }))
			}
			a, t := median(alone), median(troupe)
			b.ReportMetric(float64(a)/1e6, "runsc-ms")
			b.ReportMetric(float64(t)/1e6, "troupe-ms")
			b.ReportMetric(100*(float64(t)/float64(a)-1), "overhead-%")
		})
	}
}

// newSandbox is a runtime on real runsc, with a container that runs.
func newSandbox(b *testing.B, way string) (*actors.Runtime, runsc.Options) {
	b.Helper()
	path := os.Getenv("TROUPE_RUNSC")
	if path == "" || os.Geteuid() != 0 {
		b.Skip("needs root, and TROUPE_RUNSC to name a runsc: make bench")
	}
	root := b.TempDir()
	// runsc leaves a mount in its root for the next sandbox without a network.
	b.Cleanup(func() { _ = unix.Unmount(filepath.Join(root, "null-netns"), unix.MNT_DETACH) })
	options := runsc.Options{Path: path, Root: root, StateDir: stateDir(b), Platform: "systrap", Network: "none", ExecDriver: way}
	driver, err := runsc.New(options)
	check(b, err)
	rt, err := actors.New(actors.Options{Driver: driver})
	check(b, err)
	b.Cleanup(func() { _ = rt.Shutdown(context.Background()) })
	dir, err := bundle.Write(b.TempDir(), bundle.Config{Container: "demo", Process: specs.Process{Args: []string{"sleep", "inf"}, Cwd: "/", Env: []string{"PATH=/usr/bin:/bin"}}, Network: bundle.None})
	check(b, err)
	_, err = actors.Ask(b.Context(), rt, messages.Create{Container: "demo", Bundle: dir})
	check(b, err)
	start(b, rt, messages.Init("demo"))
	return rt, options
}

// stateDir is on the file system of the driver's own default, which is memory.
func stateDir(b *testing.B) string {
	b.Helper()
	dir := "/run"
	if _, err := os.Stat(dir); err != nil {
		dir = os.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "bench")
	check(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func runAlone(b *testing.B, o runsc.Options) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), o.Path, "--root", o.Root, "--platform", o.Platform, "--network", o.Network, "exec", "demo", "/bin/true")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &out
	if err := cmd.Run(); err != nil {
		b.Fatalf("runsc exec: %v\n%s", err, out.String())
	}
}

func runTroupe(b *testing.B, rt *actors.Runtime) {
	b.Helper()
	p := messages.Process{Container: "demo", Exec: "one"}
	x := messages.Exec{Process: p, Spec: messages.ExecSpec{Process: specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}}}
	_, err := actors.Ask(b.Context(), rt, x)
	check(b, err)
	start(b, rt, p)
	e, err := actors.Ask(b.Context(), rt, messages.Wait{Process: p})
	check(b, err)
	if e.Exit.Status != 0 {
		b.Fatalf("true exited with %+v", e.Exit)
	}
	_, err = actors.Ask(b.Context(), rt, messages.Delete{Process: p})
	check(b, err)
}

func timed(fn func()) time.Duration {
	from := time.Now()
	fn()
	return time.Since(from)
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
