package bench

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkLiveExecs is the memory of the host, outside of the sandbox, that an
// exec takes for as long as it lives, and what this program is in all. By the
// command line each has a process of its own: of 2,000, 3 MB each are shared with
// nobody, and making them takes minutes.
func BenchmarkLiveExecs(b *testing.B) {
	for _, live := range []int{50, 500, 2000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			w := newExecWays(b)
			for b.Loop() {
				before := resident(b, os.Getpid())
				for i := range live {
					p := w.register(b, fmt.Sprint("live-", i), "sleep", "inf")
					start(b, w.rt, p)
				}
				all := resident(b, os.Getpid())
				b.ReportMetric(float64(all.own-before.own)/float64(live)/1024, "control-KB/exec")
				b.ReportMetric(float64(all.all)/(1<<20), "control-program-MB")
				b.ReportMetric(float64(threads(b)), "control-program-threads")
				for i := range live {
					p := w.named(fmt.Sprint("live-", i))
					w.kill(b, p)
					w.finish(b, p)
				}
				pids, guests := make([]int, live), make([]int, live)
				for i := range live {
					pids[i], guests[i] = w.cliStart(b, "sleep", "inf")
				}
				var stubs memory
				for _, pid := range pids {
					m := resident(b, pid)
					stubs.all, stubs.own = stubs.all+m.all, stubs.own+m.own
				}
				for _, guest := range guests {
					w.bare.kill(b, guest)
				}
				b.ReportMetric(float64(stubs.all)/float64(live)/1024, "cli-KB/exec")
				b.ReportMetric(float64(stubs.own)/float64(live)/1024, "cli-own-KB/exec")
			}
		})
	}
}

// memory is a process's, in bytes: all of it that is resident, and what it
// shares with nobody but by forking.
type memory struct{ all, own int64 }

// resident reads proc_pid_status(5), after what is free was given back.
func resident(b *testing.B, pid int) (m memory) {
	b.Helper()
	if pid == os.Getpid() {
		debug.FreeOSMemory()
		time.Sleep(10 * time.Millisecond) // for the scavenger's last pages
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(b, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			m.all = kib << 10
		case "RssAnon:":
			m.own = kib << 10
		}
	}
	return m
}

func threads(b *testing.B) int {
	b.Helper()
	e, err := os.ReadDir("/proc/self/task")
	check(b, err)
	return len(e)
}
