package runsc

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/troupe-run/troupe/messages"
)

// What runsc printed and logged, as it did.
var said = []struct {
	text string
	kind error
}{
	{"FetchSpec failed: loading container: file does not exist", messages.NotFound},
	{`loading container "c": file does not exist`, messages.NotFound},
	{"creating container: cannot lock container metadata file: container already exists", messages.AlreadyExists},
	{`starting container: cannot start container "c1" in state running`, messages.FailedPrecondition},
	{`resume failed: cannot resume container "c1" in state running`, messages.FailedPrecondition},
	{`failed to signal pid 1: cannot signal a process inside container "c1" in state paused`, messages.FailedPrecondition},
	{`signaling container "c1": connecting to control server at PID 20615: connection refused`, messages.FailedPrecondition},
	{"sandbox is not running", messages.FailedPrecondition},
	{"cannot delete container that is not stopped without --force flag", messages.FailedPrecondition},
	{`unknown signal "77"`, messages.InvalidArgument},
	{`failed to signal pid 999: signaling container "c1" PID 999: signaling process in container "c1" PID 999: no such process with PID 999`, messages.NotFound},
	{`starting container: starting root container: starting sandbox: error finding executable "nosuch" in PATH [/bin]: no such file or directory`, messages.NotFound},
	{`executing processes for container: executing command "nosuch" in sandbox: error finding executable "nosuch" in PATH []: no such file or directory`, messages.NotFound},
	{"creating container: cannot load sandbox: file does not exist", messages.FailedPrecondition},
	{"creating container: error writing PID file: write /x/pid: no space left on device", messages.ResourceExhausted},
	{"flag provided but not defined: -nonsense", messages.InvalidArgument},
	{"something that nobody has seen before", messages.Internal},
}

func TestKindsOfWhatRunscSays(t *testing.T) {
	for _, s := range said {
		if _, kind := kindOf(s.text); kind != s.kind {
			t.Errorf("%q is %v, want %v", s.text, kind, s.kind)
		}
	}
}

func TestErrorText(t *testing.T) {
	for name, test := range map[string]struct{ log, stderr, want string }{
		"a record":             {`{"msg":"one","level":"error","time":"2026-11-24T02:53:48.3Z"}`, "other", "one"},
		"two without anything": {`{"msg":"one","level":"error"}{"msg":"two","level":"error"}`, "", "one; two"},
		"told twice":           {`{"msg":"one","level":"error"}{"msg":"one","level":"error"}`, "", "one"},
		"cut off":              {`{"msg":"one","level":"error"}{"msg":"tw`, "", "one"},
		"dirt between":         {`x{"msg":"one"}` + "\n}{" + `{"msg":"two"}`, "", "one; two"},
		"no error":             {`{"msg":"hi","level":"info"}`, "last", "last"},
		"no log":               {"", "first\nlast\n", "last"},
		"a crash":              {"", "panic: nil map\n\ngoroutine 1 [running]:\nmain.main()\n", "runsc crashed: panic: nil map"},
		"several lines":        {`{"msg":"one:\n  two"}`, "", "one: two"},
		"nothing":              {"", "", ""},
	} {
		if got := errorText([]byte(test.log), []byte(test.stderr)); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestEndError(t *testing.T) {
	p := messages.Init("c")
	if k := messages.KindOf(endError("runsc kill", p, context.DeadlineExceeded)); k != messages.DeadlineExceeded {
		t.Error(k)
	}
	if k := messages.KindOf(endError("runsc kill", p, context.Canceled)); k != messages.Canceled {
		t.Error(k)
	}
}

func FuzzErrorText(f *testing.F) {
	for _, s := range said {
		f.Add([]byte(`{"msg":"`+s.text+`","level":"error"}`), []byte(s.text))
	}
	f.Add([]byte(`{"msg":"a"}{"msg":"b`), []byte("panic: x\ny"))
	f.Add([]byte("{{{{"), []byte{0xff, '\n'})
	f.Fuzz(func(t *testing.T, log, stderr []byte) {
		text := errorText(log, stderr)
		if len(text) > maxErrorText+len("...") || !utf8.ValidString(text) || strings.ContainsAny(text, "\n\r") {
			t.Errorf("%q", text)
		}
		if _, kind := kindOf(text); kind == nil {
			t.Errorf("%q has no kind", text)
		}
	})
}
