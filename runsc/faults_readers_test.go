package runsc_test

import (
	"io"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

const tenMB = 10 << 20

// writesTenMB is a command that exits with 3 when all of it is written.
var writesTenMB = []string{"sh", "-c", "head -c 10485760 /dev/zero || exit 4; exit 3"}

// A logging program that dies in the middle of 10 MB costs what it has not
// written, and nothing else: the process is neither stopped nor killed, its exit
// is its own, Delete is bounded, and other processes go on.
func TestLoggingProgramDiesUnderLoad(t *testing.T) {
	eachWayOfActors(t, actors.Timeouts{}, func(t *testing.T, c *company) {
		c.sleeper("c")
		work := c.load("c")
		work.await(2)
		got := filepath.Join(c.dir, "log")
		script := `exec 5>&-; head -c 100000 <&3 >` + got + `; kill -9 $$`
		p := execIn("c", "logged")
		_, exit := c.begin(p, messages.Stdio{Stdout: "binary:///bin/sh?-c=" + url.QueryEscape(script)}, writesTenMB...)
		if e := exit(); e.Status != loadStatus || e.Reason != "" {
			t.Errorf("the exit is %+v", e)
		}
		answered(c, messages.Delete{Process: p})
		if info, err := os.Stat(got); err != nil || info.Size() != 100000 {
			t.Errorf("the program has not got its 100000 bytes: %v, %v", info, err)
		}
		work.await(4)
		work.wantUntouched()
	})
}

// fifo makes one for a stream.
func (c *company) fifo(name string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// read reads n bytes of a FIFO, and goes away.
func (c *company) read(path string, n int64) {
	c.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	// Else a FIFO that says nothing is waited for for ever.
	_ = f.SetReadDeadline(time.Now().Add(bounded))
	if got, err := io.CopyN(io.Discard, f, n); err != nil {
		c.t.Fatalf("%d of %d bytes were read: %v", got, n, err)
	}
}

// A FIFO's reader that vanishes in the middle of 10 MB leaves a process that
// waits for the next one, which finds all that is left (containerd#3286); where
// none comes, the process can be killed, its exit comes at once and Delete is
// bounded. Other processes go on.
func TestReaderVanishesUnderLoad(t *testing.T) {
	eachWayOfActors(t, actors.Timeouts{}, func(t *testing.T, c *company) {
		c.sleeper("c")
		work := c.load("c")
		back, never := execIn("c", "back"), execIn("c", "never")
		backFIFO, neverFIFO := c.fifo("back"), c.fifo("never")
		_, exitBack := c.begin(back, messages.Stdio{Stdout: backFIFO}, writesTenMB...)
		_, exitNever := c.begin(never, messages.Stdio{Stdout: neverFIFO}, writesTenMB...)
		c.read(backFIFO, 1<<20)
		c.read(neverFIFO, 1<<20)

		work.await(4)
		for _, p := range []messages.Process{back, never} {
			if s := answered(c, messages.State{Process: p}); s.Status != messages.StatusRunning {
				t.Errorf("%s is %s without a reader", p, s.Status)
			}
		}
		answered(c, messages.Kill{Process: never, Signal: unix.SIGKILL})
		if e := exitNever(); e.Status != messages.ExitKilled {
			t.Errorf("the exit of what was killed is %+v", e)
		}
		begun := time.Now()
		answered(c, messages.Delete{Process: never})
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("its deletion took %v", d)
		}

		c.read(backFIFO, tenMB-1<<20)
		if e := exitBack(); e.Status != loadStatus || e.Reason != "" {
			t.Errorf("the exit is %+v", e)
		}
		answered(c, messages.Delete{Process: back})
		work.await(2)
		work.wantUntouched()
	})
}

// A FIFO's reader that never comes delays nothing but its own stream: the start,
// the exit of a process that says little and Delete are bounded, one that says
// much can be killed, and other processes go on (containerd#2551,
// containerd#2877).
func TestReaderNeverComesUnderLoad(t *testing.T) {
	eachWayOfActors(t, actors.Timeouts{}, func(t *testing.T, c *company) {
		c.sleeper("c")
		work := c.load("c")
		little, much := execIn("c", "little"), execIn("c", "much")
		_, exitLittle := c.begin(little, messages.Stdio{Stdout: c.fifo("little")}, "sh", "-c", "echo x; exit 3")
		_, exitMuch := c.begin(much, messages.Stdio{Stdout: c.fifo("much")}, writesTenMB...)
		if e := exitLittle(); e.Status != loadStatus || e.Reason != "" {
			t.Errorf("the exit is %+v", e)
		}
		work.await(4)
		answered(c, messages.Kill{Process: much, Signal: unix.SIGKILL})
		if e := exitMuch(); e.Status != messages.ExitKilled {
			t.Errorf("the exit of what was killed is %+v", e)
		}
		begun := time.Now()
		answered(c, messages.Delete{Process: little})
		answered(c, messages.Delete{Process: much})
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("their deletion took %v", d)
		}
		work.wantUntouched()
	})
}
