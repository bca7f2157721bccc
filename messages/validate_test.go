package messages

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestValidate(t *testing.T) {
	p := Process{Container: "c", Exec: "e"}
	run := func(change func(*Exec)) Exec {
		x := Exec{Process: p, Spec: ExecSpec{specs.Process{Args: []string{"true"}, Cwd: "/"}}}
		change(&x)
		return x
	}
	create := func(change func(*Create)) Create {
		c := Create{Container: "c", Bundle: "/b"}
		change(&c)
		return c
	}
	for _, c := range []struct {
		cmd  AnyCommand
		want string // in the error; empty: it is valid
	}{
		{create(func(*Create) {}), ""},
		{create(func(c *Create) { c.Sandbox = "s"; c.RestoreFrom = "/image"; c.UserLog = "/log" }), ""},
		{create(func(c *Create) { c.Container = "a/b" }), "container id"},
		{create(func(c *Create) { c.Sandbox = ".." }), "sandbox id"},
		{create(func(c *Create) { c.Bundle = "b" }), "bundle"},
		{create(func(c *Create) { c.RestoreFrom = "image" }), "checkpoint"},
		{create(func(c *Create) { c.UserLog = "log" }), "user log"},
		{create(func(c *Create) { c.Stdio = Stdio{Terminal: true, Stderr: "/x"} }), "stderr"},
		{run(func(*Exec) {}), ""},
		{run(func(x *Exec) { x.Process.Exec = "" }), "exec id"},
		{run(func(x *Exec) { x.Spec.Args = nil }), "no command"},
		{run(func(x *Exec) { x.Spec.Args = []string{""} }), "no command"},
		{run(func(x *Exec) { x.Spec.Cwd = "" }), "cwd"},
		{run(func(x *Exec) { x.Spec.Cwd = "tmp" }), "cwd"},
		{run(func(x *Exec) { x.Spec.Terminal = true }), "disagree"},
		{run(func(x *Exec) {
			x.Spec.Terminal = true
			x.Stdio = Stdio{Terminal: true, Pipes: Pipes{Stderr: io.Discard}}
		}), "stderr"},
		{Kill{Process: p, Signal: syscall.SIGTERM}, ""},
		{Kill{Process: Init("c"), Signal: 64, All: true}, ""},
		{Kill{Process: p, Signal: 0}, "no signal 0"},
		{Kill{Process: p, Signal: 65}, "no signal 65"},
		{Kill{Process: p, Signal: 9, All: true}, "all be killed"},
		{Update{Container: "c", Resources: &Resources{}}, ""},
		{Update{Container: "c"}, "no resources"},
		{Checkpoint{Container: "c", ImagePath: "/image"}, ""},
		{Checkpoint{Container: "c", ImagePath: "image"}, "image path"},
		{Start{}, "container id"},
		{Pause{Container: "a b"}, "container id"},
		{Info{}, ""},
		{Shutdown{}, ""},
	} {
		err := c.cmd.Validate()
		if c.want == "" && err != nil {
			t.Errorf("%T %+v: %v", c.cmd, c.cmd, err)
		}
		if c.want != "" && (!errors.Is(err, InvalidArgument) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%T %+v: %v, want an InvalidArgument with %q", c.cmd, c.cmd, err, c.want)
		}
	}
}

// An environment may hold secrets, and so may arguments.
func TestLogValuesKeepSecrets(t *testing.T) {
	var b bytes.Buffer
	x := Exec{
		Process: Process{"c", "e"},
		Spec:    ExecSpec{specs.Process{Args: []string{"sh", "-c", "hunter2"}, Env: []string{"PASSWORD=hunter2"}}},
		Stdio:   Stdio{Pipes: Pipes{Stdin: strings.NewReader("hunter2")}},
	}
	log := slog.New(slog.NewTextHandler(&b, nil))
	log.Info("exec", "command", x, "spec", x.Spec, "stdio", x.Stdio)
	if strings.Contains(b.String(), "hunter2") || !strings.Contains(b.String(), "process=c/e") || !strings.Contains(b.String(), "sh") {
		t.Error(b.String())
	}
}
