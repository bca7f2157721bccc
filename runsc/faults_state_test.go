package runsc_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// tinyState puts the state folder on a small file system of its own, which is
// there until all else of the test is checked and gone.
func tinyState(t *testing.T) func(*runsc.Options) {
	return func(o *runsc.Options) {
		dir, err := os.MkdirTemp("", "tiny")
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=128"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir)); err != nil {
				t.Error(err)
			}
		})
		o.StateDir = dir
	}
}

// fill takes all blocks and inodes, also those that become free, and gives how to
// let go of them.
func (c *company) fill() (free func()) {
	c.t.Helper()
	dir := filepath.Join(c.options.StateDir, "ballast")
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	big, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		c.t.Fatal(err)
	}
	files := 0
	take := func() {
		if _, err := io.Copy(big, zeros{}); !errors.Is(err, unix.ENOSPC) {
			c.t.Errorf("the disk is not full: %v", err)
		}
		for err := error(nil); err == nil; files++ {
			err = os.Symlink("x", filepath.Join(dir, strconv.Itoa(files)))
		}
	}
	take()
	enough, taken := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(taken)
		for {
			select {
			case <-time.After(time.Millisecond):
				take()
			case <-enough:
				return
			}
		}
	}()
	return func() {
		close(enough)
		<-taken
		big.Close()
		if err := os.RemoveAll(dir); err != nil {
			c.t.Fatal(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A disk that fills up in the middle of the work, and one that becomes
// read-only: an exec that needs room there is refused, with an error of the right
// kind that names it, and so is a new container; what runs goes on to its own
// exit, which is told; and when there is room again all is well.
func TestStateFolderFailsUnderLoad(t *testing.T) {
	for name, test := range map[string]struct {
		kind error
		hit  func(c *company) (mend func())
	}{
		"full": {messages.ResourceExhausted, (*company).fill},
		"read-only": {messages.FailedPrecondition, func(c *company) func() {
			c.remount(unix.MS_RDONLY)
			return func() { c.remount(0) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			eachWayOfActors(t, actors.Timeouts{}, func(t *testing.T, c *company) {
				c.sleeper("c")
				_, long := c.begin(execIn("c", "long"), messages.Stdio{}, "sh", "-c", "sleep 1; exit 3")
				work := c.load("c")
				work.await(4)

				mend := test.hit(c)
				work.awaitRefused(8)
				_, err := try(c, bounded, messages.Create{Container: "new", Bundle: c.bundle(nil, "true")})
				wantKind(t, err, test.kind, " new")
				if e := long(); e.Status != loadStatus {
					t.Errorf("what ran before exited with %+v", e)
				}
				answered(c, messages.Delete{Process: execIn("c", "long")})

				mend()
				work.await(8)
				work.end()
				work.wantRefusals(test.kind)
				if _, cut, _ := work.counts(); cut > 0 {
					t.Errorf("%d execs did not end by themselves", cut)
				}
				c.sleeper("new")
			}, tinyState)
		})
	}
}

func (c *company) remount(flags uintptr) {
	c.t.Helper()
	c.until(func() bool {
		err := unix.Mount("", c.options.StateDir, "", unix.MS_REMOUNT|flags, "")
		// Busy while something is open for writing (mount(2)).
		if err != nil && !errors.Is(err, unix.EBUSY) {
			c.t.Fatal(err)
		}
		return err == nil
	})
}
