package runsc

import (
	"context"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// cycles are one process each, with one kind of streams, from open to close.
var cycles = map[string]func(t *testing.T){
	"pipes": func(t *testing.T) {
		stdin, toStdin := io.Pipe()
		toStdin.Close()
		spend(t, messages.Stdio{Pipes: messages.Pipes{Stdin: stdin, Stdout: io.Discard, Stderr: &lockedBuffer{}}})
	},
	"terminal": func(t *testing.T) { spend(t, messages.Stdio{Terminal: true}) },
	"null":     func(t *testing.T) { spend(t, messages.Stdio{}) },
	"fifos": func(t *testing.T) {
		out := mkfifo(t, "out")
		got := readAll(t, out)
		spend(t, messages.Stdio{Stdin: mkfifo(t, "in"), Stdout: out, Stderr: out})
		equal(t, "what arrived", got(), "hello\n")
	},
	"never started": func(t *testing.T) {
		s := messages.Stdio{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Pipes: messages.Pipes{Stderr: io.Discard}}
		openIO(t, s, nil).Close()
	},
	"terminal without a console": func(t *testing.T) {
		openIO(t, messages.Stdio{Terminal: true, Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}, nil).Close()
	},
}

func spend(t *testing.T, s messages.Stdio) {
	r := runScript(t, openIO(t, s, nil), "echo hello")
	r.wait()
	r.end()
}

// TestNothingIsLeft after 500 processes: descriptors and goroutines
// (containerd#11160, containerd#11885, containerd#3956, containerd#8856).
func TestNothingIsLeft(t *testing.T) {
	const each = 84
	for name, cycle := range cycles {
		t.Run(name, func(t *testing.T) {
			cycle(t) // the epoller, once for all
			var fds, goroutines int
			untilTrue(t, "it is quiet", func() bool {
				quiet := fds == countFDs(t) && goroutines == runtime.NumGoroutine()
				fds, goroutines = countFDs(t), runtime.NumGoroutine()
				return quiet
			})
			for range each {
				cycle(t)
			}
			untilTrue(t, "descriptors and goroutines are as before", func() bool {
				return countFDs(t) <= fds && runtime.NumGoroutine() <= goroutines
			})
		})
	}
}

// TestIdleStreamsHoldNoThread, and two goroutines each.
func TestIdleStreamsHoldNoThread(t *testing.T) {
	const n = 200
	threads := func() int {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(tasks)
	}
	runScript(t, openIO(t, messages.Stdio{Terminal: true}, nil), "true").wait()
	before, goroutines := threads(), runtime.NumGoroutine()
	for i := range n {
		s := messages.Stdio{Stdin: mkfifo(t, "in"), Pipes: messages.Pipes{Stdout: io.Discard, Stderr: io.Discard}}
		if i%2 == 0 {
			s.Terminal, s.Pipes.Stderr = true, nil
		}
		st := openIO(t, s, nil)
		if s.Terminal {
			if _, err := st.openPty(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The goroutines have reached their waits when none is runnable; a moment
	// with the processor yielded is enough for a thread to have been made.
	time.Sleep(100 * time.Millisecond)
	if more := threads() - before; more > 10 {
		t.Errorf("%d idle processes hold %d threads", n, more)
	}
	if more := runtime.NumGoroutine() - goroutines; more > 2*n {
		t.Errorf("%d idle processes hold %d goroutines", n, more)
	}
}

// TestCloseAtAnyTime, from several goroutines beside all else that may come.
func TestCloseAtAnyTime(t *testing.T) {
	before := countFDs(t)
	for i := range 50 {
		st := openIO(t, messages.Stdio{Terminal: i%2 == 0, Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}, nil)
		calls := []func(){
			func() { st.Close() },
			func() { st.Close() },
			func() { st.CloseIO() },
			func() { st.Resize(messages.WindowSize{Cols: 80, Rows: 24}) },
			func() { st.CloseAfterStart() },
			func() {
				if st.terminal() {
					st.openPty()
				}
			},
			func() { st.Drain(context.Background()) },
		}
		done := make(chan struct{})
		for _, call := range calls {
			go func() { call(); done <- struct{}{} }()
		}
		for range calls {
			<-done
		}
		st.Close()
	}
	untilTrue(t, "all is closed", func() bool { return countFDs(t) <= before })
}
