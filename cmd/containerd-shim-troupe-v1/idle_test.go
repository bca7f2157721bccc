package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestUnmapProgram: what is not needed of the program is let go of, and it goes on.
func TestUnmapProgram(t *testing.T) {
	before := residentFiles(t)
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	after := residentFiles(t)
	if after >= before {
		t.Errorf("%d kB of files are mapped, and %d kB were before", after, before)
	}
}

// residentFiles is how much of files this process has mapped, in kB
// (proc_pid_status(5), RssFile).
func residentFiles(t *testing.T) (kb int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(status), "RssFile:")
	if !ok {
		t.Fatal("/proc/self/status has no RssFile")
	}
	if _, err := fmt.Sscan(line, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}
