package daemontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const (
	costRounds = 2
	costExecs  = 100
	// settle is longer than any of the shims takes to give memory back while it
	// is idle (containerd's own do so every 30 s).
	settle = 35 * time.Second
)

// BenchmarkShim reports what a shim costs, beside its rivals under the same
// daemon in one run, in turns, since machines drift. It asserts nothing.
//
//	go test -run '^$' -bench Shim -benchtime 1x
func BenchmarkShim(b *testing.B) {
	d := startDaemon(b, flavours[0])
	_, c := d.client(b)
	// Not that of a test: most of what this takes is waiting for idle shims.
	ctx := namespaces.WithNamespace(b.Context(), namespace)
	shims := []struct{ runtime, path string }{
		{runtimeName, filepath.Join(d.bin, "containerd-shim-troupe-v1")},
		{"io.containerd.runc.v2", filepath.Join(d.bin, d.folder, "containerd-shim-runc-v2")},
		{"io.containerd.runsc.v1", filepath.Join(d.bin, "rivals", "containerd-shim-runsc-v1")},
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "shim\tbinary MB\tfirst answer ms\tidle RSS MB\tPSS MB\tthreads\tcreate+start ms\texec p50 ms\tRSS MB after execs\t")
	for round := range costRounds {
		for _, shim := range shims {
			info, err := os.Stat(shim.path)
			if err != nil {
				b.Logf("%s is left out: %v", shim.runtime, err)
				continue
			}
			name := filepath.Base(shim.path)
			first, err := firstAnswer(ctx, d, shim.path)
			if err != nil {
				b.Logf("%s: its first answer is not known: %v", shim.runtime, err)
			}
			row, err := cost(ctx, c, shim.runtime, name, fmt.Sprintf("%s-%d", strings.TrimPrefix(name, "containerd-shim-"), round))
			if err != nil {
				b.Logf("%s is left out: %v", shim.runtime, err)
				continue
			}
			fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%s\t\n", name, float64(info.Size())/1e6, float64(first.Microseconds())/1000, row)
		}
	}
	w.Flush()
	b.Logf("\n%s", &table)
}

// cost runs one container and looks at its shim.
func cost(ctx context.Context, c *client.Client, runtime, binary, id string) (row string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	image, err := c.GetImage(ctx, busyboxImage)
	if err != nil {
		return "", err
	}
	container, err := c.NewContainer(ctx, id, client.WithNewSnapshot(id, image), client.WithRuntime(runtime, nil),
		client.WithNewSpec(oci.WithImageConfig(image), oci.WithHostNamespace(specs.NetworkNamespace), withArgs("/bin/sleep", "100000"),
			// Without it gVisor's own shim gives the container no IO and may hang.
			oci.WithAnnotations(map[string]string{"io.kubernetes.cri.container-type": "sandbox"})))
	if err != nil {
		return "", err
	}
	defer container.Delete(context.WithoutCancel(ctx), client.WithSnapshotCleanup)
	begun := time.Now()
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		return "", err
	}
	defer task.Delete(context.WithoutCancel(ctx), client.WithProcessKill)
	if err := task.Start(ctx); err != nil {
		return "", err
	}
	started := time.Since(begun)
	time.Sleep(settle)
	idle, err := shimMemory(binary)
	if err != nil {
		return "", err
	}
	var took []time.Duration
	for i := range costExecs {
		begun := time.Now()
		if err := oneExec(ctx, task, fmt.Sprint("e", i)); err != nil {
			return "", err
		}
		took = append(took, time.Since(begun))
	}
	time.Sleep(settle)
	after, err := shimMemory(binary)
	if err != nil {
		return "", err
	}
	slices.Sort(took)
	return fmt.Sprintf("%.1f\t%.1f\t%d\t%d\t%.1f\t%.1f", idle.rss, idle.pss, idle.threads,
		started.Milliseconds(), float64(took[len(took)/2].Microseconds())/1000, after.rss), nil
}

func oneExec(ctx context.Context, task client.Task, id string) error {
	p, err := task.Exec(ctx, id, &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}, cio.NullIO)
	if err != nil {
		return err
	}
	exits, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	<-exits
	_, err = p.Delete(ctx)
	return err
}

// footprint is a process's memory in megabytes (proc(5)).
type footprint struct {
	rss, pss float64
	threads  int
}

func shimMemory(binary string) (footprint, error) {
	found, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return footprint{}, err
	}
	for _, link := range found {
		if target, err := os.Readlink(link); err != nil || filepath.Base(target) != binary {
			continue
		}
		var f footprint
		dir := filepath.Dir(link)
		for _, name := range []string{"smaps_rollup", "status"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return footprint{}, err
			}
			for _, line := range strings.Split(string(data), "\n") {
				var kb float64
				switch key, value, _ := strings.Cut(line, ":"); key {
				case "Rss":
					fmt.Sscan(value, &kb)
					f.rss = kb / 1024
				case "Pss":
					fmt.Sscan(value, &kb)
					f.pss = kb / 1024
				case "Threads":
					fmt.Sscan(value, &f.threads)
				}
			}
		}
		return f, nil
	}
	return footprint{}, errors.New("there is no process of " + binary)
}
