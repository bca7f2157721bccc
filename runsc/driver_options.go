package runsc

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// Options are those of a [Client] and of a [Driver]. The zero value is useful:
// the runsc of the PATH with its own defaults.
type Options struct {
	// Path of runsc. Empty: "runsc", looked for in PATH.
	Path string
	// Root is the folder of runsc's own state, absolute. Empty: as runsc's,
	// /var/run/runsc.
	Root string
	// Platform of the sandboxes: "systrap", "kvm", "ptrace". Empty: runsc's
	// default.
	Platform string
	// Network of the sandboxes: "sandbox", "host" or "none". Empty: runsc's
	// default.
	Network string
	// Config holds further flags of runsc by name, without dashes, as a shim's
	// runsc_config does. They come last, so they win.
	Config map[string]string

	// Log is a file that runsc's error records are appended to, each a line of
	// JSON. Empty: they are only in the errors.
	Log string
	// LogFormat is runsc's: "text", "json" or "json-k8s". Empty: its default.
	LogFormat string
	// Debug turns on runsc's debug log.
	Debug bool
	// DebugLog and PanicLog are files, or folders if they end in a slash, that
	// runsc writes to, with its patterns such as %ID% and %COMMAND%.
	DebugLog, PanicLog string

	// ExecDriver says how a running container is spoken to: ExecAuto, ExecControl
	// or ExecCLI. Empty: ExecAuto.
	ExecDriver string

	// CallTimeout bounds a call whose context has no deadline. Zero: a minute.
	// [Client.Wait], and [Client.Exec] and [Client.Restore] without Detach, last
	// as long as their process.
	CallTimeout time.Duration

	// StateDir is where the driver keeps its records, pid files and sockets,
	// absolute and at most 64 bytes long (a socket's path has 108, unix(7)). It is
	// made if need be and may be shared by several drivers. A folder in memory
	// (tmpfs) makes an exec cheaper, and one that does not outlive the machine's
	// boot is enough. Empty: /run/troupe if /run is
	// there, else "troupe" in the folder for temporary files.
	StateDir string
	// Subreaper makes this process the parent of its orphans
	// (PR_SET_CHILD_SUBREAPER), so that sandboxes and gofers are its children
	// and are waited for. It is for programs that are nothing but a shim: it
	// holds for the whole process and is never taken back.
	Subreaper bool
	// Namespace is told to logging programs as CONTAINER_NAMESPACE, for programs
	// that have such. Empty: none.
	Namespace string
	// UID and GID own the pipes of processes' streams. Zero: root.
	UID, GID int
	// DrainTimeout bounds how long output is read after its process is gone,
	// while something else keeps the pipe open. Zero: 500 milliseconds.
	DrainTimeout time.Duration
	// DeleteTimeout is how long `runsc delete` may take before its sandbox is
	// killed, which ends it. Zero: 10 seconds.
	DeleteTimeout time.Duration
	// Logger gets what nobody waits for. Nil: nothing is logged.
	Logger *slog.Logger
}

// The values of [Options.ExecDriver].
const (
	// ExecAuto is the sandbox's control socket where it answers as it should, and
	// else the command line. That is found out for each sandbox.
	ExecAuto = "auto"
	// ExecControl is the control socket for every exec: one in a sandbox that is
	// not understood fails with Unavailable.
	ExecControl = "control"
	// ExecCLI is the command line: each exec is a `runsc exec` on the host for as
	// long as it lives.
	ExecCLI = "cli"
)

// ownFlags are given by fields of Options or by the calls.
var ownFlags = []string{"root", "log", "log-format", "platform", "network", "debug", "debug-log", "panic-log", "help", "version"}

const maxStateDir = 64

// complete fills in the defaults. Its error names every field that is bad.
func (o Options) complete() (Options, error) {
	var bad []string
	fail := func(format string, a ...any) { bad = append(bad, fmt.Sprintf(format, a...)) }
	for _, f := range []struct{ name, path string }{{"Root", o.Root}, {"StateDir", o.StateDir}, {"Log", o.Log}} {
		if f.path != "" && !filepath.IsAbs(f.path) {
			fail("%s %q is not an absolute path", f.name, f.path)
		}
	}
	if len(o.StateDir) > maxStateDir {
		fail("StateDir has %d characters, at most %d leave room for a socket's name", len(o.StateDir), maxStateDir)
	}
	if o.LogFormat != "" && !slices.Contains([]string{"text", "json", "json-k8s"}, o.LogFormat) {
		fail("LogFormat %q is none of text, json, json-k8s", o.LogFormat)
	}
	if o.Network != "" && !slices.Contains([]string{"sandbox", "host", "none"}, o.Network) {
		fail("Network %q is none of sandbox, host, none", o.Network)
	}
	if o.ExecDriver == "" {
		o.ExecDriver = ExecAuto
	}
	if !slices.Contains([]string{ExecAuto, ExecControl, ExecCLI}, o.ExecDriver) {
		fail("ExecDriver %q is none of auto, control, cli", o.ExecDriver)
	}
	for _, name := range sortedKeys(o.Config) {
		switch {
		case name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "= \t\n"):
			fail("Config has %q, which is no name of a flag", name)
		case slices.Contains(ownFlags, name):
			fail("Config has %q, which has a field of its own", name)
		}
	}
	for _, f := range []struct {
		name string
		d    *time.Duration
		zero time.Duration
	}{
		{"CallTimeout", &o.CallTimeout, time.Minute},
		{"DrainTimeout", &o.DrainTimeout, 500 * time.Millisecond},
		{"DeleteTimeout", &o.DeleteTimeout, 10 * time.Second},
	} {
		if *f.d < 0 {
			fail("%s is negative", f.name)
		}
		if *f.d == 0 {
			*f.d = f.zero
		}
	}
	if o.UID < 0 || o.GID < 0 {
		fail("UID or GID is negative")
	}
	if o.Path == "" {
		o.Path = "runsc"
	}
	if o.Root == "" {
		o.Root = "/var/run/runsc"
	}
	if o.StateDir == "" {
		o.StateDir = "/run/troupe"
		if _, err := os.Stat("/run"); err != nil {
			o.StateDir = filepath.Join(os.TempDir(), "troupe")
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(bad) > 0 {
		return o, &messages.Error{Kind: messages.InvalidArgument, Op: "read the options for runsc", Err: messages.Text(strings.Join(bad, "; "))}
	}
	return o, nil
}
