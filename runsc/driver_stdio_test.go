package runsc_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

func TestStreamsOfInitAndExec(t *testing.T) { eachWay(t, testStreamsOfInitAndExec) }

func testStreamsOfInitAndExec(t *testing.T, s *stage) {
	var out, errs buffer
	in, feed := io.Pipe()
	init := s.create("c", messages.Create{Stdio: messages.Stdio{Pipes: messages.Pipes{Stdin: in, Stdout: &out, Stderr: &errs}}},
		"sh", "-c", "echo oops >&2; cat; echo bye")
	if err := s.Start(s.context(), init); err != nil {
		t.Fatal(err)
	}
	l := s.launch(init, "e", "cat")
	var more buffer
	l.Stdio.Pipes = messages.Pipes{Stdin: strings.NewReader("to an exec\n"), Stdout: &more}
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.mustDelete(l.Process)
	if more.String() != "to an exec\n" {
		t.Errorf("the exec wrote %q", more.String())
	}
	// stdin was closed before the start: it ends with what is in it.
	l = s.launch(init, "closed", "cat")
	l.StdinClosed = true
	s.exec(l)
	s.wantExit(l.Process, 0)
	if _, err := io.WriteString(feed, "hello\n"); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return strings.Contains(out.String(), "hello") })
	if err := s.CloseIO(s.context(), init); err != nil {
		t.Fatal(err)
	}
	s.wantExit(init, 0)
	s.mustDelete(init)
	_ = feed.Close()
	if out.String() != "hello\nbye\n" || errs.String() != "oops\n" {
		t.Errorf("it wrote %q and %q", out.String(), errs.String())
	}
}

func TestTerminalOfInitAndExec(t *testing.T) { eachWay(t, testTerminalOfInitAndExec) }

func testTerminalOfInitAndExec(t *testing.T, s *stage) {
	stdio := func(out io.Writer, in io.Reader) messages.Stdio {
		return messages.Stdio{Terminal: true, Size: messages.WindowSize{Cols: 91, Rows: 33}, Pipes: messages.Pipes{Stdin: in, Stdout: out}}
	}
	var out buffer
	in, feed := io.Pipe()
	defer feed.Close()
	init := s.create("c", messages.Create{Stdio: stdio(&out, in)}, "sh", "-c", "stty size; read x; echo got $x; stty size; exit 4")
	if err := s.Start(s.context(), init); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return strings.Contains(out.String(), "33 91") })

	var more buffer
	l := s.launch(init, "e", "sh", "-c", "trap 'echo interrupted; exit 9' INT; tty; stty size; while :; do sleep 0.05; done")
	l.Spec.Terminal = true
	type2, feed2 := io.Pipe()
	defer feed2.Close()
	l.Stdio = stdio(&more, type2)
	s.exec(l)
	s.until(func() bool { return strings.Contains(more.String(), "33 91") })
	if err := s.Resize(s.context(), l.Process, messages.WindowSize{Cols: 20, Rows: 10}); err != nil {
		t.Error(err)
	}
	// Ctrl-C: the stub leads the terminal's session and passes the signal on.
	if _, err := io.WriteString(feed2, "\x03"); err != nil {
		t.Fatal(err)
	}
	s.wantExit(l.Process, 9)
	s.mustDelete(l.Process)
	if !strings.Contains(more.String(), "interrupted") {
		t.Errorf("the exec wrote %q", more.String())
	}

	if err := s.Resize(s.context(), init, messages.WindowSize{Cols: 44, Rows: 22}); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(feed, "word\n"); err != nil {
		t.Fatal(err)
	}
	s.wantExit(init, 4)
	s.mustDelete(init)
	if text := out.String(); !strings.Contains(text, "got word") || !strings.Contains(text, "22 44") {
		t.Errorf("it wrote %q", text)
	}
	if left := s.files(); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

func TestTerminalOfAPodsMember(t *testing.T) { eachWay(t, testTerminalOfAPodsMember) }

func testTerminalOfAPodsMember(t *testing.T, s *stage) {
	s.pod("pod")
	var out buffer
	bundle := s.bundle(func(p *specs.Spec) { p.Annotations = member("pod"); p.Process.Terminal = true }, "sh", "-c", "stty size; exit 6")
	c := s.create("c", messages.Create{Sandbox: "pod", Bundle: bundle,
		Stdio: messages.Stdio{Terminal: true, Size: messages.WindowSize{Cols: 91, Rows: 33}, Pipes: messages.Pipes{Stdout: &out}}})
	if err := s.Start(s.context(), c); err != nil {
		t.Fatal(err)
	}
	s.wantExit(c, 6)
	s.mustDelete(c)
	if !strings.Contains(out.String(), "33 91") {
		t.Errorf("it wrote %q", out.String())
	}
}

// A grandchild that keeps the pipe delays neither the exit nor, for long, the
// delete, and nothing written before is lost (containerd#3286, containerd#12364).
func TestAGrandchildThatHoldsThePipe(t *testing.T) { eachWay(t, testAGrandchildThatHoldsThePipe) }

func testAGrandchildThatHoldsThePipe(t *testing.T, s *stage) {
	init := s.run("c", "sleep", "1000")
	var out buffer
	l := s.launch(init, "e", "sh", "-c", "sleep 1000 & echo tail")
	l.Stdio.Pipes.Stdout = &out
	begin := time.Now()
	s.exec(l)
	s.wantExit(l.Process, 0)
	s.mustDelete(l.Process)
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("exit and delete took %v", d)
	}
	if out.String() != "tail\n" {
		t.Errorf("it wrote %q", out.String())
	}
}

func TestRootFileSystemIsMountedAndUnmounted(t *testing.T) {
	s := newStage(t)
	upper, work := filepath.Join(s.dir, "upper"), filepath.Join(s.dir, "work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bundle := s.bundle(func(p *specs.Spec) { p.Root = &specs.Root{Path: "rootfs"} }, "sh", "-c", "echo text > /file")
	readonly := s.bundle(func(p *specs.Spec) { p.Root = &specs.Root{Path: "rootfs", Readonly: true} }, "true")
	bind := messages.Mount{Type: "bind", Source: s.rootfs(), Options: []string{"rbind", "ro"}}
	init := s.create("bind", messages.Create{Bundle: readonly, Rootfs: []messages.Mount{bind}})
	var flags unix.Statfs_t
	if err := unix.Statfs(filepath.Join(readonly, "rootfs"), &flags); err != nil || flags.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("the bind mount is not read-only: %+v %v", flags, err)
	}
	s.mustDelete(init)

	// Without gVisor's own overlay, so that the write reaches the host's.
	o := newStage(t, func(o *runsc.Options) { o.Config = map[string]string{"overlay2": "none"} })
	overlay := messages.Mount{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + s.rootfs(), "upperdir=" + upper, "workdir=" + work}}
	init = o.create("overlay", messages.Create{Bundle: bundle, Rootfs: []messages.Mount{overlay}})
	if err := o.Start(o.context(), init); err != nil {
		t.Fatal(err)
	}
	o.wantExit(init, 0)
	o.mustDelete(init)
	if b, err := os.ReadFile(filepath.Join(upper, "file")); string(b) != "text\n" {
		t.Errorf("the upper layer has %q %v", b, err)
	}

	// The second mount fails: the first is taken back.
	_, err := s.Create(s.context(), s.incarnation(messages.Init("c")), messages.Create{Container: "c", Bundle: bundle,
		Rootfs: []messages.Mount{bind, {Type: "nosuchfs", Source: "x"}}})
	t.Log(err)
	wantKind(t, err, messages.InvalidArgument, "nosuchfs", " c")
	if _, err := os.Stat(filepath.Join(bundle, "rootfs")); !os.IsNotExist(err) {
		t.Errorf("the mount point is left: %v", err)
	}
	s.notices.all = nil
	s.wantNothingLeft()
	o.notices.all = nil
	o.wantNothingLeft()
}
