package fake_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/messages"
)

// stage is a driver, and what it has told.
type stage struct {
	*testing.T
	*fake.Driver
	told chan messages.Notice
}

// play runs a test in a bubble of fake time, and closes the driver afterwards.
func play(t *testing.T, test func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t, fake.New(), make(chan messages.Notice, 1000)}
		s.Notify(func(n messages.Notice) { s.told <- n })
		t.Cleanup(func() { _ = s.Close() })
		test(s)
	})
}

func name(p string, number uint64) messages.Incarnation {
	id, err := messages.ParseProcess(p)
	if err != nil {
		panic(err)
	}
	return messages.Incarnation{Process: id, Number: number}
}

// container creates and starts one whose init sleeps.
func (s *stage) container(i messages.Incarnation, sandbox messages.SandboxID) {
	s.Helper()
	if _, err := s.Driver.Create(s.Context(), i, messages.Create{Container: i.Container, Sandbox: sandbox, Bundle: "/nonexistent"}); err != nil {
		s.Fatal(err)
	}
	if err := s.Driver.Start(s.Context(), i); err != nil {
		s.Fatal(err)
	}
}

func launch(init, p messages.Incarnation, command string) messages.Launch {
	l := messages.Launch{Init: init, Process: p}
	l.Spec.Args = []string{"sh", "-c", command}
	return l
}

// exits takes the exits that were told, as "name status", sorted after the first.
func (s *stage) exits() (all []string) {
	synctest.Wait()
	for len(s.told) > 0 {
		if e, ok := (<-s.told).(messages.ExitNotice); ok {
			all = append(all, fmt.Sprintf("%s %d", e.Process, e.Exit.Status))
		}
	}
	if len(all) > 1 {
		slices.Sort(all[1:])
	}
	return all
}

func (s *stage) want(want ...string) {
	s.Helper()
	if got := s.exits(); !slices.Equal(got, want) {
		s.Errorf("the exits are %v, want %v", got, want)
	}
}

func TestProgramsEndWithTheirStatus(t *testing.T) {
	for command, want := range map[string]int{
		"true": 0, "false": 1, "exit 7": 7, "echo x; exit $N": 5, "/bin/true": 0, "exit": 0, "false; true": 0,
	} {
		t.Run(command, func(t *testing.T) {
			play(t, func(s *stage) {
				c := name("c", 1)
				s.container(c, "")
				l := launch(c, name("c/e", 2), command)
				l.Spec.Env = []string{"N=5"}
				if _, err := s.Driver.Exec(t.Context(), l); err != nil {
					t.Fatal(err)
				}
				s.want(fmt.Sprintf("c/e#2 %d", want))
			})
		})
	}
}

func TestSleepTakesItsTimeOrUntilASignal(t *testing.T) {
	play(t, func(s *stage) {
		c := name("c", 1)
		s.container(c, "")
		for i, command := range []string{"sleep 2", "sleep inf"} {
			if _, err := s.Driver.Exec(t.Context(), launch(c, name(fmt.Sprintf("c/%d", i), uint64(i+2)), command)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1999 * time.Millisecond)
		s.want()
		time.Sleep(time.Millisecond)
		s.want("c/0#2 0")
		if err := s.Driver.Kill(t.Context(), name("c/1", 3), syscall.SIGWINCH, false); err != nil {
			t.Fatal(err)
		}
		s.want() // it is ignored where it is not handled
		if err := s.Driver.Kill(t.Context(), name("c/1", 3), syscall.SIGTERM, false); err != nil {
			t.Fatal(err)
		}
		s.want("c/1#3 143")
		if err := s.Driver.Kill(t.Context(), name("c/1", 3), syscall.SIGTERM, false); messages.KindOf(err) != messages.NotFound {
			t.Errorf("kill of what is gone: %v", err)
		}
	})
}

func TestCatCopiesUntilItsInputEndsOrIsClosed(t *testing.T) {
	for _, closed := range []bool{false, true} {
		play(t, func(s *stage) {
			c, e := name("c", 1), name("c/e", 2)
			s.container(c, "")
			in, out := io.Pipe()
			defer out.Close()
			var written strings.Builder
			l := launch(c, e, "cat")
			l.Stdio.Pipes = messages.Pipes{Stdin: in, Stdout: &written}
			if _, err := s.Driver.Exec(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, err := io.WriteString(out, "abc"); err != nil {
					t.Fatal(err)
				}
			}
			if closed {
				if err := s.Driver.CloseIO(t.Context(), e); err != nil {
					t.Fatal(err)
				}
			} else {
				_ = out.Close()
			}
			time.Sleep(time.Second)
			s.want("c/e#2 0")
			if got := written.String(); got != "abcabcabc" {
				t.Errorf("cat wrote %q", got)
			}
		})
	}
}

func TestTheCommandOfABundleIsItsInits(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	play(t, func(s *stage) {
		create := messages.Create{Container: "c", Bundle: dir}
		for _, bad := range []string{"{", "{}", `{"process":{"args":["no-such-command"]}}`} {
			write(bad)
			if _, err := s.Driver.Create(t.Context(), name("c", 1), create); messages.KindOf(err) != messages.InvalidArgument {
				t.Errorf("a bundle of %s: %v", bad, err)
			}
		}
		if held := s.Held(); len(held) > 0 {
			t.Errorf("creates that failed have left %v", held)
		}
		write(`{"process":{"args":["sh","-c","exit 9"]}}`)
		if _, err := s.Driver.Create(t.Context(), name("c", 1), create); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Driver.Create(t.Context(), name("c", 2), create); messages.KindOf(err) != messages.AlreadyExists {
			t.Errorf("a second container of one id: %v", err)
		}
		if err := s.Driver.Start(t.Context(), name("c", 1)); err != nil {
			t.Fatal(err)
		}
		s.want("c#1 9")
	})
}

// An init takes its container along, and a root container its sandbox; each is
// told once, the first to go first.
func TestWhatEndsTogetherIsToldTogether(t *testing.T) {
	play(t, func(s *stage) {
		root, a := name("root", 1), name("a", 2)
		s.container(root, "pod")
		s.container(a, "pod")
		for i, p := range []string{"root/e", "a/e", "a/f"} {
			init := a
			if p == "root/e" {
				init = root
			}
			if _, err := s.Driver.Exec(t.Context(), launch(init, name(p, uint64(i+3)), "sleep inf")); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.Live()); n != 5 {
			t.Errorf("%d live, want 5", n)
		}
		s.Driver.Exit(a.Process, 4)
		s.want("a#2 4", "a/e#4 137", "a/f#5 137")
		s.OOM("root")
		s.want("root#1 137", "root/e#3 137")
		if _, err := s.Driver.Exec(t.Context(), launch(root, name("root/late", 9), "true")); messages.KindOf(err) != messages.FailedPrecondition {
			t.Errorf("an exec in a container that is gone: %v", err)
		}
		for _, i := range []messages.Incarnation{a, root} {
			if err := s.Driver.Delete(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		if held := s.Held(); len(held) > 0 {
			t.Errorf("held: %v", held)
		}
	})
}

// Before keeps a call from having an effect, After does not.
func TestFaultsComeBeforeAndAfterTheEffect(t *testing.T) {
	play(t, func(s *stage) {
		c := name("c", 1)
		s.container(c, "")
		fault := errors.New("a fault")
		hook := func(_ context.Context, call string, p messages.Incarnation) error {
			if call == "exec" && p.Exec == "e" {
				return fault
			}
			return nil
		}
		s.Before(hook)
		if _, err := s.Driver.Exec(t.Context(), launch(c, name("c/e", 2), "sleep inf")); !errors.Is(err, fault) || len(s.Live()) != 1 {
			t.Errorf("before: %v, %v live", err, s.Live())
		}
		s.Before(nil)
		s.After(hook)
		if _, err := s.Driver.Exec(t.Context(), launch(c, name("c/e", 3), "sleep inf")); !errors.Is(err, fault) || len(s.Live()) != 2 {
			t.Errorf("after: %v, %v live", err, s.Live())
		}
		want := []string{"create c#1", "start c#1", "exec c/e#2", "exec c/e#3"}
		if got := s.Calls(); !slices.Equal(got, want) {
			t.Errorf("the calls are %v, want %v", got, want)
		}
		s.Report(messages.ExitNotice{Process: name("c/other", 7), Exit: messages.Exit{Status: 1}})
		s.want("c/other#7 1")
	})
}

// After Close every call fails, what was held can be read, and nothing runs.
func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	d := fake.New()
	c := name("c", 1)
	ctx := t.Context()
	if _, err := d.Create(ctx, c, messages.Create{Container: "c", Bundle: "/nonexistent"}); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(ctx, c); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Exec(ctx, launch(c, name("c/e", 2), "true")); messages.KindOf(err) != messages.Unavailable {
		t.Errorf("exec after Close: %v", err)
	}
	if held := d.Held(); !slices.Equal(held, []messages.Incarnation{c}) {
		t.Errorf("held: %v", held)
	}
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
