package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// logsStacks plays a shim in this process: on SIGUSR1 it logs its stacks, on one
// line, in two pieces. It gives how many there were.
func logsStacks(t *testing.T, d *Daemon) <-chan int {
	signals, counts := make(chan os.Signal, 1), make(chan int, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	t.Cleanup(func() { signal.Stop(signals) })
	go func() {
		<-signals
		buf := make([]byte, 1<<20)
		text := string(buf[:runtime.Stack(buf, true)])
		line := fmt.Sprintf("level=info msg=%q\n", text)
		_, _ = d.log.WriteString(line[:len(line)/2])
		time.Sleep(stacksQuiet / 2)
		_, _ = d.log.WriteString(line[len(line)/2:])
		counts <- strings.Count(text, "\n\n") + 1
	}()
	return counts
}

func withLog(t *testing.T) *Daemon {
	d := &Daemon{Dir: t.TempDir()}
	var err error
	if d.log, err = os.Create(d.logPath()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.log.Close() })
	return d
}

// What is in the log already does not count, and all of what comes does.
func TestGoroutines(t *testing.T) {
	d := withLog(t)
	_, _ = d.log.WriteString("goroutine 7 [running]:\n")
	counts := logsStacks(t, d)
	n, err := d.Goroutines(t.Context(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if want := <-counts; n != want || n < 3 {
		t.Errorf("%d goroutines were counted, there were %d", n, want)
	}
}

// A shim that logs nothing is an error, and so is one that is gone.
func TestGoroutinesNone(t *testing.T) {
	d := withLog(t)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)
	ctx, cancel := context.WithTimeout(t.Context(), 2*stacksQuiet)
	defer cancel()
	if n, err := d.Goroutines(ctx, os.Getpid()); err == nil {
		t.Errorf("%d goroutines of a shim that logs none", n)
	}
	const nobody = 1 << 30 // above any pid (proc_sys_kernel(5), pid_max)
	if n, err := d.Goroutines(t.Context(), nobody); err == nil {
		t.Errorf("%d goroutines of no process", n)
	}
}
