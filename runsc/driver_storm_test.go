package runsc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// gauge is what a storm of execs must leave as it was.
type gauge struct {
	// Of this program.
	rss, fds, goroutines, threads, files int
	// Of the sandbox: its process on the host, and the processes in it.
	sandboxRSS, sandboxFDs, guests int
}

// gauge measures when nothing is under way.
func (s *stage) gauge(sentry int) gauge {
	debug.FreeOSMemory()
	return gauge{
		rss: rss(s.t, os.Getpid()), fds: openFiles(), goroutines: runtime.NumGoroutine(), threads: entries("/proc/self/task"), files: len(s.files()),
		sandboxRSS: rss(s.t, sentry), sandboxFDs: entries(fmt.Sprintf("/proc/%d/fd", sentry)), guests: s.guests("c"),
	}
}

func entries(dir string) int {
	e, _ := os.ReadDir(dir)
	return len(e)
}

// rss is the resident memory of a process that is its own, in KiB.
func rss(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "RssAnon:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// A storm of execs leaves everything where it was after the first thousand:
// 5,000 of them, or TROUPE_STORM=100000.
func TestAStormOfExecs(t *testing.T) {
	total := 5000
	if v := os.Getenv("TROUPE_STORM"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n <= 1000 {
			t.Fatalf("TROUPE_STORM is %q, and is to be a number above 1000", v)
		}
		total = n
	}
	s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	exits := &exitTable{waiting: map[messages.Incarnation]chan messages.Exit{}}
	s.Notify(exits.tell)
	init := s.run("c", "sleep", "100000")
	sentry := s.sentry("c")
	s.storm(init, exits, 1000)
	s.until(func() bool { return s.guests("c") == 1 })
	before := s.gauge(sentry)
	begin := time.Now()
	s.storm(init, exits, total-1000)
	took := time.Since(begin)
	s.until(func() bool {
		return s.guests("c") == 1 && openFiles() <= before.fds && runtime.NumGoroutine() <= before.goroutines
	})
	after := s.gauge(sentry)
	t.Logf("%d execs in %v, %.0f per second\nbefore %+v\nafter  %+v", total-1000, took, float64(total-1000)/took.Seconds(), before, after)
	for _, g := range []struct {
		what          string
		before, after int
		room          int
	}{
		{"KiB of this program", before.rss, after.rss, 4 << 10},
		{"open files of this program", before.fds, after.fds, 0},
		{"goroutines", before.goroutines, after.goroutines, 0},
		// Go keeps threads, and makes one more when all are in a system call: with
		// so many workers there are up to two for each.
		{"threads", before.threads, after.threads, 2 * stormWorkers},
		{"files in the state folders", before.files, after.files, 0},
		{"KiB of the sandbox", before.sandboxRSS, after.sandboxRSS, 16 << 10},
		{"open files of the sandbox", before.sandboxFDs, after.sandboxFDs, 4},
		{"processes in the sandbox", before.guests, after.guests, 0},
	} {
		if g.after > g.before+g.room {
			t.Errorf("%s: %d became %d", g.what, g.before, g.after)
		}
	}
}

// stormWorkers is how many execs a storm has at once.
const stormWorkers = 16

// storm runs n short execs with streams of several kinds.
func (s *stage) storm(init messages.Incarnation, exits *exitTable, n int) {
	s.t.Helper()
	var all sync.WaitGroup
	for w := range stormWorkers {
		all.Go(func() {
			for i := range n / stormWorkers {
				l := s.launch(init, fmt.Sprintf("e%d-%d", w, i), "true")
				var out buffer
				switch i % 8 {
				case 1:
					l.Spec.Args = []string{"echo", "text"}
					l.Stdio.Pipes.Stdout = &out
				case 2:
					l.Stdio.Stdout = "file://" + filepath.Join(s.dir, "log")
				case 3:
					l.Spec.Terminal, l.Stdio.Terminal = true, true
				}
				exit := exits.expect(l.Process)
				if _, err := s.Exec(s.t.Context(), l); err != nil {
					s.t.Errorf("exec %s: %v", l.Process, err)
					return
				}
				if e := <-exit; e.Status != 0 || e.Reason != "" {
					s.t.Errorf("%s exited with %+v", l.Process, e)
				}
				if err := s.Delete(s.t.Context(), l.Process); err != nil {
					s.t.Error(err)
				}
				if i%8 == 1 && out.String() != "text\n" {
					s.t.Errorf("%s wrote %q", l.Process, out.String())
				}
			}
		})
	}
	all.Wait()
}

// exitTable passes exits on, and keeps nothing.
type exitTable struct {
	mu      sync.Mutex
	waiting map[messages.Incarnation]chan messages.Exit
}

func (x *exitTable) expect(p messages.Incarnation) chan messages.Exit {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := make(chan messages.Exit, 1)
	x.waiting[p] = c
	return c
}

func (x *exitTable) tell(n messages.Notice) {
	e, ok := n.(messages.ExitNotice)
	if !ok {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.waiting[e.Process]; c != nil {
		delete(x.waiting, e.Process)
		c <- e.Exit
	}
}
