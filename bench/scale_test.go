package bench

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// BenchmarkExit is the whole life of an exec that is over at once (register,
// start, exit, wait, delete), while others live. It should not depend on how
// many they are.
func BenchmarkExit(b *testing.B) {
	for _, live := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			rt := newRuntime(b)
			populate(b, rt, live)
			b.ReportAllocs()
			for b.Loop() {
				p := add(b, rt, "one", "true")
				start(b, rt, p)
				_, err := actors.Ask(b.Context(), rt, messages.Wait{Process: p})
				check(b, err)
				_, err = actors.Ask(b.Context(), rt, messages.Delete{Process: p})
				check(b, err)
			}
		})
	}
}

// BenchmarkMemory reports the heap that one exec keeps while it is registered,
// and while it runs.
func BenchmarkMemory(b *testing.B) {
	const n = 10000
	for _, name := range []string{"registered", "running"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				rt := newRuntime(b)
				before := heap()
				for i := range n {
					p := add(b, rt, "exec-"+strconv.Itoa(i), "sleep")
					if name == "running" {
						start(b, rt, p)
					}
				}
				b.ReportMetric(float64(heap()-before)/n, "heap-B/exec")
				check(b, rt.Shutdown(context.Background()))
			}
		})
	}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkNew starts and ends an empty runtime.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		rt, err := actors.New(actors.Options{Driver: &nullDriver{}})
		check(b, err)
		check(b, rt.Shutdown(context.Background()))
	}
}

// BenchmarkIdleRSS reports the resident memory of a program (bench/idle) that
// holds an empty runtime and does nothing.
func BenchmarkIdleRSS(b *testing.B) {
	program := filepath.Join(b.TempDir(), "idle")
	if out, err := exec.Command("go", "build", "-o", program, "./idle").CombinedOutput(); err != nil {
		b.Fatalf("go build ./idle: %v\n%s", err, out)
	}
	for b.Loop() {
		out, err := exec.Command(program).Output()
		check(b, err)
		kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
		check(b, err)
		b.ReportMetric(float64(kib)/1024, "RSS-MiB")
	}
}
