package play_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/actors/play"
	"github.com/troupe-run/troupe/messages"
)

var rewrite = flag.Bool("rewrite-play", false, "write what the scripts of testdata give into them")

// bundler writes bundles that hold nothing but the process, and counts those
// that are not cleaned up.
type bundler struct {
	t    *testing.T
	live map[string]bool
}

func (b *bundler) Bundle(s play.CreateSpec) (string, func(), error) {
	if s.Rootfs == "/absent" {
		return "", nil, &messages.Error{Kind: messages.NotFound, Op: "find the rootfs of", Process: messages.Init(s.Container)}
	}
	dir := b.t.TempDir()
	process := s.Program.Process()
	text, err := json.Marshal(specs.Spec{Process: &process})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
	}
	b.live[dir] = true
	return dir, func() { delete(b.live, dir) }, err
}

// playFake plays a script on the fake driver.
func playFake(t *testing.T, ctx context.Context, script *play.Script, o play.Options) (play.Result, *fake.Driver, error) {
	t.Helper()
	driver := fake.New()
	rt, err := actors.New(actors.Options{Driver: driver})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b := &bundler{t, map[string]bool{}}
	o.Runtime, o.Bundler = rt, b
	result, err := play.Run(ctx, script, o)
	if held := driver.Held(); len(held) > 0 {
		t.Errorf("after the script the driver still holds %v", held)
	}
	if len(b.live) > 0 {
		t.Errorf("%d bundles were not cleaned up", len(b.live))
	}
	return result, driver, err
}

func parse(t *testing.T, name, text string) *play.Script {
	t.Helper()
	s, err := play.Parse(name, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The scripts that are played against runsc give the same on the fake driver,
// as far as it knows their commands.
func TestScriptsOnFake(t *testing.T) {
	own, err := filepath.Glob("testdata/*.play")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"created", "parallel", "measure"} {
		own = append(own, "../../cmd/troupe/testdata/"+name+".play")
	}
	for _, file := range own {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := parse(t, file, string(text))
			result, _, err := playFake(t, t.Context(), s, play.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite && strings.HasPrefix(file, "testdata/") {
				if err := os.WriteFile(file, []byte(play.Rewrite(s, result.Outputs)), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := play.Check(s, result.Outputs); diff != "" {
				t.Error(diff)
			}
			if len(result.Leftovers) > 0 {
				t.Errorf("left over: %v", result.Leftovers)
			}
		})
	}
}

const untidy = `create one
sleep 1000
----

start one
----

exec one/runs
sleep 1000
----

start one/runs
----

exec one/waits
true
----

create two
sleep 1000
----

start two
----

pause two
----
`

// Whatever a script leaves is killed, deleted and told: execs before their init,
// paused ones too.
func TestLeftovers(t *testing.T) {
	result, _, err := playFake(t, t.Context(), parse(t, "untidy", untidy), play.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range result.Leftovers {
		got = append(got, l.String())
	}
	want := "two (paused), one/waits (created), one/runs (running), one (running)"
	if strings.Join(got, ", ") != want {
		t.Errorf("left over: %q, want %q", got, want)
	}
}

// A script whose context ends stops there, and still leaves nothing.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	played := 0
	script := parse(t, "x", strings.Replace(untidy, "create two", "wait one/runs\n----\n\ncreate two", 1))
	result, _, err := playFake(t, ctx, script, play.Options{Played: func(d play.Directive, _ string) {
		if played++; d.Name == "exec" && played > 4 {
			time.AfterFunc(10*time.Millisecond, cancel) // while wait waits
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	if len(result.Outputs) != 6 || !strings.HasPrefix(result.Outputs[5], "error Canceled: wait one/runs") {
		t.Errorf("outputs %q, want six and the last a canceled wait", result.Outputs)
	}
	if len(result.Leftovers) != 3 {
		t.Errorf("left over: %v, want one/waits, one/runs and one", result.Leftovers)
	}
}

// A command that gets no answer ends with its time, and the script goes on.
func TestCommandTimeout(t *testing.T) {
	driver := fake.New()
	rt, err := actors.New(actors.Options{Driver: driver, Timeouts: actors.Timeouts{Call: 300 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	driver.Before(func(ctx context.Context, call string, _ messages.Incarnation) error {
		if call == "stats" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	b := &bundler{t, map[string]bool{}}
	script := parse(t, "x", "create one\nsleep 9\n----\n\nstart one\n----\n\nstats one\n----\n\nstate one\n----\n")
	result, err := play.Run(t.Context(), script, play.Options{Runtime: rt, Bundler: b, Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(result.Outputs[2], "error DeadlineExceeded: stats one: ") || result.Outputs[3] != "one running\n" {
		t.Errorf("outputs %q, want a stats that ran out of time and a state that did not", result.Outputs)
	}
}

func TestOptionsAreRequired(t *testing.T) {
	_, err := play.Run(t.Context(), parse(t, "x", ""), play.Options{})
	if !errors.Is(err, messages.InvalidArgument) {
		t.Errorf("error %v, want %v", err, messages.InvalidArgument)
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{"TERM": 15, "SIGTERM": 15, "term": 15, "15": 15, "WINCH": 28, "99": 99} {
		if got, err := play.ParseSignal(text); err != nil || got != want {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	if _, err := play.ParseSignal("NOPE"); err == nil {
		t.Error("NOPE is a signal")
	}
}
