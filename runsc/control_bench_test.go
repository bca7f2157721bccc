package runsc

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// The benchmarks run both ways in the same sandbox, so that one run compares
// them: go test -run '^$' -bench Control ./runsc.

// BenchmarkControlExec is an exec of true from the request to its exit status.
// start is the part until its pid is known.
func BenchmarkControlExec(b *testing.B) {
	s := startControlSandbox(b, nil)
	c := s.client(b)
	for _, parallel := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprintf("control/parallel=%d", parallel), func(b *testing.B) {
			null := devNull(b)
			spec, ctx := s.execSpec("/bin/true"), b.Context()
			inParallel(b, parallel, func() error {
				pid, err := c.Exec(ctx, s.process("bench"), spec, null)
				if err != nil {
					return err
				}
				_, err = c.WaitPID(ctx, s.process("bench"), pid)
				return err
			})
		})
		b.Run(fmt.Sprintf("commandline/parallel=%d", parallel), func(b *testing.B) {
			inParallel(b, parallel, func() error { return s.command("exec", s.id, "/bin/true").Run() })
		})
	}
}

// BenchmarkControlStart is an exec until its pid is known; by the command line,
// until `runsc exec --detach` has returned.
func BenchmarkControlStart(b *testing.B) {
	s := startControlSandbox(b, nil)
	c := s.client(b)
	b.Run("control", func(b *testing.B) {
		null, spec, ctx := devNull(b), s.execSpec("/bin/true"), b.Context()
		for b.Loop() {
			pid, err := c.Exec(ctx, s.process("bench"), spec, null)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if _, err := c.WaitPID(ctx, s.process("bench"), pid); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("commandline", func(b *testing.B) {
		for b.Loop() {
			if err := s.command("exec", "--detach", s.id, "/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkControlCalls are the short calls.
func BenchmarkControlCalls(b *testing.B) {
	s := startControlSandbox(b, nil)
	c := s.client(b)
	id, ctx := messages.ContainerID(s.id), b.Context()
	for name, call := range map[string]func() error{
		"state":     func() error { _, err := c.State(ctx, id); return err },
		"processes": func() error { _, err := c.Processes(ctx, id); return err },
		"usage":     func() error { _, err := c.Usage(ctx, id); return err },
		"signal":    func() error { return c.Signal(ctx, messages.Init(id), 0, syscall.SIGCONT, signalProcess) },
		"verify":    func() error { return c.verify(ctx, id) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// inParallel runs work b.N times, n at once, and reports how many a second.
func inParallel(b *testing.B, n int, work func() error) {
	b.Helper()
	before := cpuTime(b)
	turns := make(chan struct{})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for range turns {
				if err := work(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ResetTimer()
	for range b.N {
		turns <- struct{}{}
	}
	close(turns)
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "execs/s")
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// cpuTime is that of this process and of the children that it waited for: what
// an exec costs outside the sandbox.
func cpuTime(b *testing.B) (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(os.NewSyscallError("getrusage", err))
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
