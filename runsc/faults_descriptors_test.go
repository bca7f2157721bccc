package runsc_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// ownProgram names the way that the test of descriptors has a program of its
// own for, and says that this is it.
const ownProgram = "TROUPE_TEST_DESCRIPTORS"

// A program that has no descriptor left under load: an exec that needs one is
// refused as ResourceExhausted, with its name, and nothing of it stays; those
// that run go on, and their exits and their output are told whole; and when there
// are descriptors again all is well.
//
// The limit is that of a program of the test's own, since Go's test runner needs
// descriptors too.
func TestDescriptorsRunOutUnderLoad(t *testing.T) {
	if way := os.Getenv(ownProgram); way != "" {
		testDescriptorsRunOut(t, newCompany(t, actors.Timeouts{}, func(o *runsc.Options) { o.ExecDriver = way }))
		return
	}
	path := runscPath(t)
	for _, way := range []string{runsc.ExecControl, runsc.ExecCLI} {
		t.Run(way, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestDescriptorsRunOutUnderLoad$", "-test.timeout=5m", "-test.v")
			cmd.Env = append(os.Environ(), ownProgram+"="+way, "TROUPE_RUNSC="+path)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func testDescriptorsRunOut(t *testing.T, c *company) {
	c.sleeper("c")
	c.sleeper("unused")
	const longs = 6
	var outs [longs]buffer
	var exits [longs]func() messages.Exit
	hold, release := io.Pipe()
	for i := range exits {
		// More than a pipe holds, and none of it before the descriptors are gone and
		// what needs some has been refused: the end of one of these sets some free.
		_, exits[i] = c.begin(execIn("c", fmt.Sprintf("long%d", i)), messages.Stdio{Pipes: messages.Pipes{Stdin: hold, Stdout: &outs[i]}},
			"sh", "-c", "read end; head -c 200000 /dev/zero; exit 3")
	}
	free := fillGaps(t)
	work := c.load("c")
	work.await(4)
	bundle := c.bundle(nil, "true")

	mend := limitDescriptors(t, free+1)
	errs := work.awaitRefused(20)
	_, err := try(c, bounded, messages.Create{Container: "new", Bundle: bundle})
	// The first exec of a sandbox finds out how it is spoken to.
	first := execIn("unused", "first")
	answered(c, messages.Exec{Process: first, Spec: execSpec("true")})
	_, errFirst := try(c, bounded, messages.Start{Process: first})
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	for i, exit := range exits {
		if e := exit(); e.Status != loadStatus || e.Reason != "" {
			t.Errorf("what ran before exited with %+v", e)
		}
		answered(c, messages.Delete{Process: execIn("c", fmt.Sprintf("long%d", i))})
		if n := len(outs[i].String()); n != 200000 {
			t.Errorf("what ran before wrote %d bytes, want 200000", n)
		}
	}

	mend()
	wantKind(t, err, messages.ResourceExhausted, " new")
	wantKind(t, errFirst, messages.ResourceExhausted, "unused/first")
	if answered(c, messages.Delete{Process: first}).Exit != nil {
		t.Error("what was not started has an exit")
	}
	unused := c.load("unused")
	unused.await(4)
	unused.wantUntouched()
	if way := answered(c, messages.Connect{Container: "unused"}).Exec; way != c.options.ExecDriver {
		t.Errorf("execs are started by %q from then on", way)
	}
	wantKinds(t, errs, messages.ResourceExhausted)
	work.await(8)
	work.end()
	work.wantRefusals(messages.ResourceExhausted)
	if _, cut, _ := work.counts(); cut > 0 {
		t.Errorf("%d execs did not end by themselves", cut)
	}
	c.sleeper("new")
}

// fillGaps opens descriptors, which stay open until the test ends, up to the
// first number above which none is open, and gives that number. What is opened
// from then on has higher ones.
func fillGaps(t *testing.T) (free int) {
	t.Helper()
	for {
		fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		// All below it are open; the folder that is read for the count is one more.
		if openFiles() <= fd+2 {
			_ = unix.Close(fd)
			return fd
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
}

// limitDescriptors lowers this program's limit: no descriptor from n on can be
// opened, those that are open stay. A program that it starts in Go raises its own
// limit again.
func limitDescriptors(t *testing.T, n int) (mend func()) {
	t.Helper()
	var before unix.Rlimit
	limit := func(to, from *unix.Rlimit) {
		// Not unix.Setrlimit, after which Go would give the limit to children.
		if _, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE,
			uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(from)), 0, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	limit(nil, &before)
	limit(&unix.Rlimit{Cur: uint64(n), Max: before.Max}, nil)
	return func() { limit(&before, nil) }
}
