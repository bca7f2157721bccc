package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The doctor really runs a sandbox, and every finding is one line.
func TestDoctor(t *testing.T) {
	needSandbox(t)
	r := finish(t, command(t, "doctor"))
	if r.code != exitOK || r.errOut != "" {
		t.Errorf("exits %d and says %s", r.code, r.errOut)
	}
	line := regexp.MustCompile(`^(ok  |warn)  \S+ +\S`)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	for _, l := range lines {
		if !line.MatchString(l) {
			t.Errorf("a line of another form: %q", l)
		}
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "platform systrap ran a command in ") {
		t.Errorf("the last line tells of no sandbox: %q", last)
	}
}

// A runsc that does not work fails the doctor, with what to do.
func TestDoctorWithBrokenRunsc(t *testing.T) {
	needSandbox(t)
	path := t.TempDir() + "/runsc"
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho broken >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := finish(t, command(t, "doctor", "--runsc", path))
	if r.code != exitFailure || strings.Count(r.out, "FAIL  ") != 2 || !strings.Contains(r.out, "exit status 3; build one with") {
		t.Errorf("exits %d and says\n%s", r.code, r.out)
	}
}
