package main_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
	"github.com/troupe-run/troupe/runsc"
)

// How a program embeds the runtime. The README shows it.
func embed(ctx context.Context, bundle string) error {
	driver, err := runsc.New(runsc.Options{Platform: "systrap", Network: "none"})
	if err != nil {
		return err
	}
	rt, err := actors.New(actors.Options{Driver: driver})
	if err != nil {
		return err
	}
	defer rt.Shutdown(context.Background()) // kills and deletes what still lives

	events := rt.Subscribe(0)
	defer events.Close()

	// A sandbox with one container: the bundle's config.json says what runs.
	box := messages.Init("box")
	if _, err := actors.Ask(ctx, rt, messages.Create{Container: "box", Bundle: bundle}); err != nil {
		return err
	}
	if _, err := actors.Ask(ctx, rt, messages.Start{Process: box}); err != nil {
		return err
	}

	// A second process in it. The command names its reply: exited is a
	// messages.Exited, without a cast.
	job := messages.Process{Container: "box", Exec: "job"}
	spec := messages.ExecSpec{Process: specs.Process{Args: []string{"echo", "hello"}, Cwd: "/", Env: []string{"PATH=/usr/bin:/bin"}}}
	stdio := messages.Stdio{Pipes: messages.Pipes{Stdout: os.Stdout}}
	if _, err := actors.Ask(ctx, rt, messages.Exec{Process: job, Spec: spec, Stdio: stdio}); err != nil {
		return err
	}
	if _, err := actors.Ask(ctx, rt, messages.Start{Process: job}); err != nil {
		return err
	}
	exited, err := actors.Ask(ctx, rt, messages.Wait{Process: job})
	if err != nil {
		return err
	}
	fmt.Println(job, "exited with status", exited.Exit.Status)
	return nil
}

var _ = embed

// The README shows the code that compiles here.
func TestReadmeShowsTheExample(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(source), "func embed(")
	code, _, _ = strings.Cut("func embed("+code, "\n}\n")
	if !strings.Contains(string(readme), "```go\n"+code+"\n}\n```") {
		t.Errorf("README.md does not show\n%s\n}", code)
	}
}
