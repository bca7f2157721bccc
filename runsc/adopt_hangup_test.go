package runsc_test

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// onTerminal is an exec on a terminal that runs a script of a shell and then waits.
func (s *stage) onTerminal(exec, script string) plannedExec {
	return plannedExec{
		Process: execOf("demo", exec),
		Args:    []string{"sh", "-c", script + "; echo y >/tmp/" + exec + "-ready; while :; do sleep 0.05; done"},
		Stdio:   messages.Stdio{Terminal: true, Stdout: "file://" + filepath.Join(s.dir, exec)},
	}
}

// onHangUp is what a shell does on SIGHUP: it exits with a status, once it is let.
func onHangUp(status string) string {
	return "trap 'while [ ! -e /tmp/" + status + " ]; do sleep 0.05; done; exit " + status + "' HUP"
}

// The terminal of a process is hung up when the program is killed that had its
// master: by the stub that leads its session, and where there is none by the
// adoption, which sees what comes of it.
func TestAdoptHangsUp(t *testing.T) { eachWay(t, testAdoptHangsUp) }

func testAdoptHangsUp(t *testing.T, s *stage) {
	stops := s.onTerminal("stops", onHangUp("8"))
	stops.Args[2] = strings.Replace(stops.Args[2], "while :;", "kill -STOP $$; while :;", 1)
	a := s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs: []plannedExec{
			s.onTerminal("traps", onHangUp("7")),
			stops,
			s.onTerminal("dies", ":"),
			{Process: execOf("demo", "piped"), Args: waiting(3)},
		},
	})
	for _, exec := range []string{"traps", "stops", "dies"} {
		s.awaitFile("demo", "/tmp/"+exec+"-ready")
	}
	a.kill()
	b := s.startSecond()
	b.adopt("demo", "demo/traps", "demo/stops", "demo/dies", "demo/piped")
	if s.stands() {
		// Its stub was told before there was an adoption.
		b.wantUnseen(execOf("demo", "dies"), 129, true)
	} else {
		b.wantExit(execOf("demo", "dies"), 129)
	}
	s.let("demo", 7)
	b.wantExit(execOf("demo", "traps"), 7)
	s.let("demo", 8)
	b.wantExit(execOf("demo", "stops"), 8)
	s.let("demo", 3)
	b.wantExit(execOf("demo", "piped"), 3)
	b.end()
	s.wantNothing()
}

// verifies is how many signals that are for nobody an adoption sends, to find out
// whether a sandbox understands them: as it looks for execs, and as it takes them.
const verifies = 2

// A terminal is hung up once, however often its process is adopted.
func TestAdoptHangsUpOnce(t *testing.T) {
	s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs:   []plannedExec{s.onTerminal("tty", onHangUp("7"))},
	}).kill()
	d, proxy := s.successor()
	rt, err := actors.New(actors.Options{Driver: d})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := rt.Adopt(s.context()); err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	s.until(func() bool {
		paths, _ := filepath.Glob(filepath.Join(s.options.StateDir, "*", "exec-tty.json"))
		if len(paths) != 1 {
			t.Fatalf("the records are %q", paths)
		}
		b, err := os.ReadFile(paths[0])
		return err == nil && strings.Contains(string(b), `"hungUp":true`)
	})
	// As if its program were killed.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := proxy.Calls("Signal") - verifies; n != 2 {
		t.Errorf("the first adoption has sent %d signals, want SIGHUP and SIGCONT", n)
	}
	d, proxy = s.successor()
	b := s.startSecondWith(d)
	b.adopt("demo", "demo/tty")
	s.let("demo", 7)
	b.wantExit(execOf("demo", "tty"), 7)
	if n := proxy.Calls("Signal") - verifies; n != 0 {
		t.Errorf("the second adoption has sent %d signals", n)
	}
	b.end()
	s.wantNothing()
}

// A hang-up that is not answered keeps nobody: neither the adoption, nor the exit of
// another process, nor that of its own.
func TestAdoptHangUpHangs(t *testing.T) {
	s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
	tty := s.onTerminal("tty", "")
	tty.Args = waiting(7)
	s.startFirst(plan{
		Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
		Execs:   []plannedExec{tty, {Process: execOf("demo", "other"), Args: waiting(8)}},
	}).kill()
	d, proxy := s.successor()
	released := make(chan struct{})
	defer close(released)
	proxy.Fail("Signal", runsc.ControlFault{Then: func(io.Writer) { <-released }, Spare: verifies})
	b := s.startSecondWith(d)
	b.adopt("demo", "demo/tty", "demo/other")
	s.until(func() bool { return proxy.Calls("Signal") == verifies+1 })
	s.let("demo", 8)
	b.wantExit(execOf("demo", "other"), 8)
	s.let("demo", 7)
	b.wantExit(execOf("demo", "tty"), 7)
	if n := proxy.Calls("Signal") - verifies; n != 1 {
		t.Errorf("%d signals were sent, want the one that is not answered", n)
	}
	b.end()
	s.wantNothing()
}

// A hang-up that fails is logged, and its process goes on.
func TestAdoptHangUpFails(t *testing.T) {
	for name, test := range map[string]struct{ way, why string }{
		"refused":     {runsc.ExecControl, "no TTY attached"},
		"another way": {runsc.ExecCLI, "not spoken to over the control socket"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, func(o *runsc.Options) { o.ExecDriver = runsc.ExecControl })
			tty := s.onTerminal("tty", "")
			tty.Args = waiting(7)
			s.startFirst(plan{
				Creates: []messages.Create{s.mounted("demo", "sleep", "1000")},
				Execs:   []plannedExec{tty},
			}).kill()
			log := &buffer{}
			s.options.Logger, s.options.ExecDriver = slog.New(slog.NewTextHandler(log, nil)), test.way
			d, proxy := s.successor()
			proxy.Fail("Signal", runsc.ControlFault{Spare: verifies, Then: func(w io.Writer) {
				_, _ = io.WriteString(w, `{"success":false,"err":"no TTY attached","result":null}`)
			}})
			b := s.startSecondWith(d)
			b.adopt("demo", "demo/tty")
			s.until(func() bool {
				text := log.String()
				return strings.Contains(text, "hang up") && strings.Contains(text, "container=demo exec=tty") && strings.Contains(text, test.why)
			})
			s.let("demo", 7)
			if test.way == runsc.ExecCLI {
				// A `runsc wait` may not have begun yet.
				b.wantUnseen(execOf("demo", "tty"), 7, true)
			} else {
				b.wantExit(execOf("demo", "tty"), 7)
			}
			b.end()
			s.wantNothing()
		})
	}
}

// successor is a driver after the first program's, with a proxy before its sandboxes.
func (s *stage) successor() (*runsc.Driver, *runsc.ControlProxy) {
	s.t.Helper()
	d, err := runsc.New(s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	dir, err := os.MkdirTemp(s.dir, "proxy")
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := runsc.NewControlProxy(s.t, dir)
	d.ProxyControl(proxy)
	return d, proxy
}
