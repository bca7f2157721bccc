package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Wrong usage exits 2 and says what is wrong and where help is.
func TestUsageErrors(t *testing.T) {
	script := filepath.Join(t.TempDir(), "bad.play")
	if err := os.WriteFile(script, []byte("# one\n\nlaunch demo\n----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"dance"}, `unknown command "dance"`},
		{[]string{"--nope"}, "unknown flag: --nope"},
		{[]string{"run"}, "which command?"},
		{[]string{"run", "--network", "all", "true"}, `--network "all" is none of none, host, sandbox`},
		{[]string{"run", "--user", "root", "true"}, `--user "root" is not UID or UID:GID, in numbers`},
		{[]string{"run", "--cwd", "here", "true"}, `--cwd "here" is not an absolute path`},
		{[]string{"run", "--memory", "-1", "true"}, "--memory -1 is negative"},
		{[]string{"run", "--bundle", "/b", "true"}, "--bundle and a command"},
		{[]string{"run", "--bundle", "/b", "--user", "1"}, "--bundle and --user do not go together"},
		{[]string{"run", "--log-level", "loud", "true"}, "use debug, info, warn, error or off"},
		{[]string{"play"}, "which script?"},
		{[]string{"play", "--check", "--rewrite", "x"}, "--check and --rewrite do not go together"},
		{[]string{"play", script}, script + ":3: expected a directive"},
		{[]string{"doctor", "now"}, `unknown command "now"`},
	} {
		r := troupe(t, c.args...)
		if r.code != exitUsage || !strings.HasPrefix(r.errOut, "troupe: ") || !strings.Contains(r.errOut, c.want) {
			t.Errorf("troupe %q exits %d and says\n%s\nwant %d and %q", c.args, r.code, r.errOut, exitUsage, c.want)
		}
		if r.out != "" {
			t.Errorf("troupe %q prints %q", c.args, r.out)
		}
	}
}

// Every command has an example and a help text that exits 0.
func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		r := troupe(t, append(path, "--help")...)
		if r.code != exitOK || !strings.Contains(r.out, "Examples:") || !strings.Contains(r.out, "Usage:") {
			t.Errorf("troupe %q --help exits %d and has no usage or no example:\n%s%s", path, r.code, r.out, r.errOut)
		}
		for _, sub := range cmd.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(newRoot(), nil)
}

func TestCompletion(t *testing.T) {
	if r := troupe(t, "completion", "bash"); r.code != exitOK || !strings.Contains(r.out, "complete ") {
		t.Errorf("exits %d with %d bytes, %s", r.code, len(r.out), r.errOut)
	}
}

// A runsc that is named and is not there is told by who named it.
func TestNamedRunscIsAbsent(t *testing.T) {
	t.Setenv(runscEnv, "/absent/runsc")
	r := troupe(t, "doctor")
	if r.code != exitFailure || !strings.Contains(r.out, "FAIL  runsc      not found; $"+runscEnv+` names "/absent/runsc"`) {
		t.Errorf("doctor exits %d and says\n%s", r.code, r.out)
	}
	if r := troupe(t, "version"); r.code != exitOK || !strings.Contains(r.out, "runsc  none found") {
		t.Errorf("version exits %d and says\n%s", r.code, r.out)
	}
	if os.Geteuid() != 0 {
		return
	}
	r = troupe(t, "run", "--runsc", "/absent/other", "--", "true")
	if r.code != exitNotRun || !strings.Contains(r.errOut, `--runsc names "/absent/other"`) {
		t.Errorf("run exits %d and says\n%s", r.code, r.errOut)
	}
}
