package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// The benchmarks of this file do the same in one sandbox by turns, as often:
//
//   - control: through the runtime's actors, over the sandbox's control socket;
//   - cli: by the runsc command line alone, a stub for each exec as in gVisor's
//     own shim, and nothing around it;
//   - bare: by the control protocol alone.
type execWays struct {
	rt     *actors.Runtime
	client *runsc.Client
	bare   *bare
	dir    string
	n      int
}

func newExecWays(b *testing.B) *execWays {
	b.Helper()
	rt, options := newSandbox(b, runsc.ExecControl)
	client, err := runsc.NewClient(options)
	check(b, err)
	w := &execWays{rt: rt, client: client, bare: newBare(b, options.Root), dir: b.TempDir()}
	// The sandbox is looked at by the first exec, and warm after the second.
	for range 2 {
		runTroupe(b, rt)
		w.cliTrue(b)
		w.bareTrue(b)
	}
	return w
}

// id is a new one.
func (w *execWays) id() string {
	w.n++
	return "x" + strconv.Itoa(w.n)
}

func processSpec(args ...string) specs.Process {
	return specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/usr/bin:/bin"}}
}

func (w *execWays) named(id string) messages.Process {
	return messages.Process{Container: "demo", Exec: messages.ExecID(id)}
}

// register makes an exec that is not started.
func (w *execWays) register(b *testing.B, id string, args ...string) messages.Process {
	b.Helper()
	p := w.named(id)
	_, err := actors.Ask(b.Context(), w.rt, messages.Exec{Process: p, Spec: messages.ExecSpec{Process: processSpec(args...)}})
	check(b, err)
	return p
}

// finish waits for an exec and deletes it.
func (w *execWays) finish(b *testing.B, p messages.Process) {
	b.Helper()
	_, err := actors.Ask(b.Context(), w.rt, messages.Wait{Process: p})
	check(b, err)
	_, err = actors.Ask(b.Context(), w.rt, messages.Delete{Process: p})
	check(b, err)
}

func (w *execWays) kill(b *testing.B, p messages.Process) {
	b.Helper()
	_, err := actors.Ask(b.Context(), w.rt, messages.Kill{Process: p, Signal: syscall.SIGKILL})
	check(b, err)
}

func (w *execWays) cliTrue(b *testing.B) {
	b.Helper()
	status, err := w.client.Exec(b.Context(), "demo", processSpec("/bin/true"), nil)
	check(b, err)
	if status != 0 {
		b.Fatalf("true exited with %d", status)
	}
}

// cliStart starts a stub, and gives its pid on the host and the process's in the
// sandbox.
func (w *execWays) cliStart(b *testing.B, args ...string) (stub, guest int) {
	b.Helper()
	name := filepath.Join(w.dir, w.id())
	_, err := w.client.Exec(b.Context(), "demo", processSpec(args...), &runsc.ExecOpts{Detach: true, PidFile: name, InternalPidFile: name + "i"})
	check(b, err)
	return readPID(b, name), readPID(b, name+"i")
}

func readPID(b *testing.B, name string) int {
	b.Helper()
	text, err := os.ReadFile(name)
	check(b, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	check(b, err)
	return pid
}

func (w *execWays) cliKill(b *testing.B, guest int) {
	b.Helper()
	check(b, w.client.Kill(b.Context(), "demo", int(syscall.SIGKILL), &runsc.KillOpts{PID: guest}))
}

func (w *execWays) bareTrue(b *testing.B) {
	b.Helper()
	if status := w.bare.wait(b, w.bare.start(b, "/bin/true")); status != 0 {
		b.Fatalf("true exited with %#x", status)
	}
}

// A turn does something once, and tells how long the part took that counts.
type turn func() time.Duration

// byTurns measures each way as often, the first of a round being another each
// time: what one leaves to be cleaned up burdens the next.
func byTurns(b *testing.B, control, cli, bare turn) {
	b.Helper()
	ways := []turn{control, cli, bare}
	spent := make([][]time.Duration, len(ways))
	for round := 0; b.Loop(); round++ {
		for i := range ways {
			way := (i + round) % len(ways)
			spent[way] = append(spent[way], ways[way]())
		}
	}
	x, y, z := median(spent[0]), median(spent[1]), median(spent[2])
	b.ReportMetric(float64(x)/1e6, "control-ms")
	b.ReportMetric(float64(y)/1e6, "cli-ms")
	b.ReportMetric(float64(z)/1e6, "bare-ms")
	b.ReportMetric(float64(y)/float64(x), "times-faster")
	b.ReportMetric(100*(float64(x)/float64(z)-1), "above-bare-%")
}

// BenchmarkExecStart is the time until a process is known to have started.
func BenchmarkExecStart(b *testing.B) {
	w := newExecWays(b)
	byTurns(b, func() time.Duration {
		p := w.register(b, w.id(), "sleep", "inf")
		spent := timed(func() { start(b, w.rt, p) })
		w.kill(b, p)
		w.finish(b, p)
		return spent
	}, func() time.Duration {
		var guest int
		spent := timed(func() { _, guest = w.cliStart(b, "sleep", "inf") })
		w.cliKill(b, guest)
		return spent
	}, func() time.Duration {
		var pid int
		spent := timed(func() { pid = w.bare.start(b, "sleep", "inf") })
		w.bare.kill(b, pid)
		w.bare.wait(b, pid)
		return spent
	})
}

// BenchmarkExecTrue is the whole of /bin/true: register, start, exit, delete.
func BenchmarkExecTrue(b *testing.B) {
	w := newExecWays(b)
	byTurns(b,
		func() time.Duration { return timed(func() { runTroupe(b, w.rt) }) },
		func() time.Duration { return timed(func() { w.cliTrue(b) }) },
		func() time.Duration { return timed(func() { w.bareTrue(b) }) })
}

// settle is how long a process has run when it is killed. A sandbox that still
// starts it, and takes up the wait for it, would be in the figures.
const settle = 10 * time.Millisecond

// BenchmarkExecKill is the time that a SIGKILL takes to be delivered to a process
// whose exit somebody waits for.
func BenchmarkExecKill(b *testing.B) {
	w := newExecWays(b)
	byTurns(b, func() time.Duration {
		p := w.register(b, w.id(), "sleep", "inf")
		start(b, w.rt, p)
		time.Sleep(settle)
		spent := timed(func() { w.kill(b, p) })
		w.finish(b, p)
		return spent
	}, func() time.Duration {
		_, guest := w.cliStart(b, "sleep", "inf") // its stub waits
		time.Sleep(settle)
		return timed(func() { w.cliKill(b, guest) })
	}, func() time.Duration {
		pid := w.bare.start(b, "sleep", "inf")
		wait := w.bare.beginWait(b, pid)
		time.Sleep(settle)
		spent := timed(func() { w.bare.kill(b, pid) })
		wait()
		return spent
	})
}

// BenchmarkExecThroughput is how many /bin/true are done in a second, with so
// many at once.
func BenchmarkExecThroughput(b *testing.B) {
	for _, atOnce := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("at-once=%d", atOnce), func(b *testing.B) {
			w := newExecWays(b)
			rounds := max(1, 64/atOnce)
			var control, cli []time.Duration
			for b.Loop() {
				control = append(control, timed(func() {
					sideBySide(atOnce, rounds, func(worker, _ int) {
						p := w.register(b, fmt.Sprint("w", worker), "/bin/true")
						start(b, w.rt, p)
						w.finish(b, p)
					})
				}))
				cli = append(cli, timed(func() {
					sideBySide(atOnce, rounds, func(int, int) { w.cliTrue(b) })
				}))
			}
			done := float64(atOnce * rounds)
			b.ReportMetric(done/median(control).Seconds(), "control/s")
			b.ReportMetric(done/median(cli).Seconds(), "cli/s")
		})
	}
}

// sideBySide calls do so many times in each of so many goroutines.
func sideBySide(workers, rounds int, do func(worker, round int)) {
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for round := range rounds {
				do(worker, round)
			}
		})
	}
	all.Wait()
}

// BenchmarkExecCPU is the processor time, user and system, that one /bin/true
// takes of the host outside of the sandbox: of this program and of the runsc
// processes that it starts.
func BenchmarkExecCPU(b *testing.B) {
	w := newExecWays(b)
	const batch = 20
	var control, cli, alone time.Duration
	n := 0
	for b.Loop() {
		for _, way := range []struct {
			spent *time.Duration
			run   func()
		}{
			{&control, func() { runTroupe(b, w.rt) }},
			{&cli, func() { w.cliTrue(b) }},
			{&alone, func() { w.bareTrue(b) }},
		} {
			before := cpu(b)
			for range batch {
				way.run()
			}
			*way.spent += cpu(b) - before
		}
		n += batch
	}
	for name, spent := range map[string]time.Duration{"control": control, "cli": cli, "bare": alone} {
		b.ReportMetric(float64(spent)/1e6/float64(n), name+"-cpu-ms/exec")
	}
}

// cpu is what this program and its children that have ended have used.
func cpu(b *testing.B) (spent time.Duration) {
	b.Helper()
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		check(b, syscall.Getrusage(who, &u))
		spent += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return spent
}
