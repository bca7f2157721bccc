package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// What follows is measured for the actors and for the baseline of locks (package
// mutexcore) in one run, on a driver that does nothing, with one subscriber that
// reads every event, as a shim's publisher does.

// eachCore runs a benchmark on both, with a container that runs.
func eachCore(b *testing.B, driver func() actors.Driver, run func(b *testing.B, c core)) {
	b.Helper()
	for _, kind := range cores {
		b.Run("core="+kind.name, func(b *testing.B) {
			c := kind.make(b, driver())
			events := c.observe(0)
			read := make(chan struct{})
			go func() {
				defer close(read)
				for range events { // only its being read matters
				}
			}()
			b.Cleanup(func() {
				check(b, c.Shutdown(context.Background()))
				<-read
			})
			_, err := c.Create(b.Context(), messages.Create{Container: "demo", Bundle: "/none"})
			check(b, err)
			_, err = c.Start(b.Context(), messages.Start{Process: messages.Init("demo")})
			check(b, err)
			run(b, c)
		})
	}
}

func null() actors.Driver { return &nullDriver{} }

func execNamed(id string) messages.Process {
	return messages.Process{Container: "demo", Exec: messages.ExecID(id)}
}

func register(c core, p messages.Process, command string) error {
	x := messages.Exec{Process: p}
	x.Spec.Args, x.Spec.Cwd = []string{command}, "/"
	_, err := c.Exec(context.Background(), x)
	return err
}

// launch registers and starts an exec.
func launch(c core, p messages.Process, command string) error {
	if err := register(c, p, command); err != nil {
		return err
	}
	_, err := c.Start(context.Background(), messages.Start{Process: p})
	return err
}

// finish waits for the exit of an exec and deletes it.
func finish(c core, p messages.Process) error {
	if _, err := c.Wait(context.Background(), messages.Wait{Process: p}); err != nil {
		return err
	}
	_, err := c.Delete(context.Background(), messages.Delete{Process: p})
	return err
}

// live is the whole life of an exec that is over at once.
func live(c core, p messages.Process) error {
	if err := launch(c, p, "true"); err != nil {
		return err
	}
	return finish(c, p)
}

// share splits b.N operations among goroutines, and returns when all are done.
// Nothing that op gets is shared but the core.
func share(b *testing.B, goroutines int, op func(goroutine int) error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := op(g); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkCoreLife is the whole life of an exec that is over at once (register,
// start, exit, wait, delete), in one container, by several askers.
func BenchmarkCoreLife(b *testing.B) {
	for _, goroutines := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			eachCore(b, null, func(b *testing.B, c core) {
				var execs []messages.Process
				for g := range goroutines {
					execs = append(execs, execNamed(fmt.Sprintf("exec-%d", g)))
				}
				b.ReportAllocs()
				b.ResetTimer()
				share(b, goroutines, func(g int) error { return live(c, execs[g]) })
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lives/s")
			})
		})
	}
}

// BenchmarkCoreState is the latency of State of one exec that 64 askers ask for
// without a pause.
func BenchmarkCoreState(b *testing.B) {
	const goroutines = 64
	eachCore(b, null, func(b *testing.B, c core) {
		p := execNamed("one")
		check(b, launch(c, p, "sleep"))
		took := make([][]time.Duration, goroutines)
		b.ReportAllocs()
		b.ResetTimer()
		share(b, goroutines, func(g int) error {
			from := time.Now()
			_, err := c.State(context.Background(), messages.State{Process: p})
			took[g] = append(took[g], time.Since(from))
			return err
		})
		b.StopTimer()
		all := slices.Concat(took...)
		slices.Sort(all)
		b.ReportMetric(micros(all[len(all)/2]), "p50-µs")
		b.ReportMetric(micros(all[len(all)*99/100]), "p99-µs")
	})
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// hangTime is how long a call of slowDriver hangs.
const hangTime = 100 * time.Millisecond

// slowDriver has its effect and then does not return for a while, in a Kill and
// in an Exec of the process that is named slow, as a runtime does whose sandbox
// is busy (gvisor#14405).
type slowDriver struct {
	nullDriver
	// hangs takes a token when a call has begun to hang.
	hangs chan struct{}
}

const slow messages.ExecID = "slow"

func (d *slowDriver) hang(p messages.Incarnation) {
	if p.Exec == slow {
		d.hangs <- struct{}{}
		time.Sleep(hangTime)
	}
}

func (d *slowDriver) Exec(ctx context.Context, l messages.Launch) (messages.PIDs, error) {
	pids, err := d.nullDriver.Exec(ctx, l)
	d.hang(l.Process)
	return pids, err
}

func (d *slowDriver) Kill(ctx context.Context, p messages.Incarnation, signal syscall.Signal, all bool) error {
	err := d.nullDriver.Kill(ctx, p, signal, all)
	d.hang(p)
	return err
}

// BenchmarkCoreHang is what the others feel while a call to the runtime hangs
// for 100 ms: State of the process that it is for, State of another one, and the
// whole life of another one, from register to delete. The medians are reported.
//
// call=exec hangs in the start of an exec that has not exited; call=kill in a
// kill after the process has died of it.
func BenchmarkCoreHang(b *testing.B) {
	for _, call := range []string{"exec", "kill"} {
		b.Run("call="+call, func(b *testing.B) {
			// The driver of the core that is measured: eachCore makes one at a time.
			var d *slowDriver
			driver := func() actors.Driver {
				d = &slowDriver{hangs: make(chan struct{}, 1)}
				return d
			}
			eachCore(b, driver, func(b *testing.B, c core) {
				p, other := execNamed(string(slow)), execNamed("other")
				check(b, launch(c, other, "sleep"))
				var felt feelings
				// during makes a call that hangs, and asks meanwhile if it is
				// the one that is measured.
				during := func(name string, run func() error) {
					done := make(chan error, 1)
					go func() { done <- run() }()
					<-d.hangs
					if name == call {
						felt.feel(b, c, p, other)
					}
					check(b, <-done)
				}
				for b.Loop() {
					during("exec", func() error { return launch(c, p, "sleep") })
					during("kill", func() error {
						_, err := c.Kill(context.Background(), messages.Kill{Process: p, Signal: syscall.SIGKILL})
						return err
					})
					check(b, finish(c, p))
				}
				b.ReportMetric(felt.median(func(f feeling) time.Duration { return f.same }), "same-State-ms")
				b.ReportMetric(felt.median(func(f feeling) time.Duration { return f.other }), "other-State-ms")
				b.ReportMetric(felt.median(func(f feeling) time.Duration { return f.life }), "other-life-ms")
			})
		})
	}
}

// feeling is how long three askers waited during one hang.
type feeling struct{ same, other, life time.Duration }

type feelings []feeling

// feel asks three things at once.
func (all *feelings) feel(b *testing.B, c core, same, other messages.Process) {
	b.Helper()
	var f feeling
	var errs [3]error
	var wg sync.WaitGroup
	state := func(p messages.Process) (err error) {
		_, err = c.State(context.Background(), messages.State{Process: p})
		return err
	}
	wg.Go(func() { f.same = timed(func() { errs[0] = state(same) }) })
	wg.Go(func() { f.other = timed(func() { errs[1] = state(other) }) })
	wg.Go(func() {
		f.life = timed(func() { errs[2] = live(c, execNamed("brief")) })
	})
	wg.Wait()
	for _, err := range errs {
		check(b, err)
	}
	*all = append(*all, f)
}

func (all feelings) median(of func(feeling) time.Duration) float64 {
	var times []time.Duration
	for _, f := range all {
		times = append(times, of(f))
	}
	return millis(median(times))
}

// BenchmarkCoreMemory is the heap and the stacks that one exec keeps while it is
// registered, and while it runs. What an earlier core has left may be freed
// while this one is filled, which makes the figure too small: the largest counts.
func BenchmarkCoreMemory(b *testing.B) {
	const n = 10000
	for _, name := range []string{"registered", "running"} {
		b.Run(name, func(b *testing.B) {
			for _, kind := range cores {
				b.Run("core="+kind.name, func(b *testing.B) {
					most := 0.0
					for b.Loop() {
						c := kind.make(b, null())
						_, err := c.Create(b.Context(), messages.Create{Container: "demo", Bundle: "/none"})
						check(b, err)
						_, err = c.Start(b.Context(), messages.Start{Process: messages.Init("demo")})
						check(b, err)
						before := heap()
						for i := range n {
							p := execNamed(fmt.Sprintf("exec-%d", i))
							if name == "running" {
								check(b, launch(c, p, "sleep"))
							} else {
								check(b, register(c, p, "sleep"))
							}
						}
						most = max(most, (float64(heap())-float64(before))/n)
						check(b, c.Shutdown(context.Background()))
					}
					b.ReportMetric(most, "heap-B/exec")
				})
			}
		})
	}
}
