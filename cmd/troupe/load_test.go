package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/troupe-run/troupe/bench/load"
)

func TestLoadUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"now"}, `"now" is not a flag`},
		{[]string{"--mix", "shell"}, `"shell" is none of the commands`},
		{[]string{"--kill", "110%"}, "use a share such as 10% or 0.1"},
		{[]string{"--kill", "60%", "--cancel", "0.5"}, "Killed and Cancelled are together more than 1"},
		{[]string{"--output-size", "much"}, "use a number of bytes"},
		{[]string{"--at-once", "-1"}, "AtOnce is -1"},
		{[]string{"--network", "all"}, `--network "all"`},
		{[]string{"--containerd", "/run/c.sock"}, "--containerd needs an --image"},
		{[]string{"--image", "x"}, "--image and --runtime-config are for --containerd"},
		{[]string{"--containerd", "/run/c.sock", "--image", "x", "--rootfs", "/"}, "--rootfs is not for --containerd"},
	} {
		r := troupe(t, append([]string{"load"}, c.args...)...)
		if r.code != exitUsage || !strings.Contains(r.errOut, c.want) {
			t.Errorf("troupe load %q exits %d and says\n%s\nwant %q", c.args, r.code, r.errOut, c.want)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--html", "/absent/report.html"}, "make the file for the report"},
		{[]string{"--containerd", "/absent/c.sock", "--image", "x"}, "connect to containerd at /absent/c.sock"},
	} {
		r := troupe(t, append([]string{"load"}, c.args...)...)
		if r.code != exitFailure || !strings.Contains(r.errOut, c.want) {
			t.Errorf("troupe load %q exits %d and says\n%s\nwant %q", c.args, r.code, r.errOut, c.want)
		}
	}
}

func TestLoadFlags(t *testing.T) {
	for text, want := range map[string]size{"1": 1, "64K": 64 << 10, "2MiB": 2 << 20, "1g": 1 << 30, "12b": 12} {
		var s size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "K", "1T", "99999999G"} {
		var s size
		if s.Set(text) == nil {
			t.Errorf("%q is %d", text, s)
		}
	}
	for text, want := range map[string]share{"10%": 0.1, "0.25": 0.25, "0": 0, "100%": 1} {
		var s share
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q is %v, %v", text, s, err)
		}
	}
}

// Every kind of exec on real sandboxes: none is lost or out of order, its
// output is whole, and nothing is left.
func TestLoad(t *testing.T) {
	needSandbox(t)
	dir := t.TempDir()
	page, data := filepath.Join(dir, "report.html"), filepath.Join(dir, "report.json")
	cmd := command(t, "load", "--count", "150", "--at-once", "8", "--containers", "2",
		"--mix", "true=2,sleep=1,output=2", "--output-size", "300K", "--lifetime", "20ms",
		"--kill", "15%", "--cancel", "10%", "--terminal", "20%", "--html", page, "--json", data)
	r := finish(t, cmd)
	if r.code != exitOK || !strings.Contains(r.out, "no violation") || !strings.Contains(r.out, "errors: none") {
		t.Fatalf("exits %d with\n%s%s", r.code, r.out, r.errOut)
	}
	nothingLeft(t, cmd.Process.Pid)
	file, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	report, err := load.ReadJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	c := report.Counts
	if c.Completed+c.Cancelled != 150 || c.Killed == 0 || c.Cancelled == 0 || c.Terminal == 0 || c.Bytes == 0 {
		t.Errorf("counts %+v", c)
	}
	if report.Idle.ByRole[load.RoleSentry].RSS == 0 || report.Idle.ByRole[load.RoleSentry].Processes != 1 {
		t.Errorf("the idle sandbox uses %+v", report.Idle)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "</html>") {
		t.Errorf("the page has %d bytes, %v", len(text), err)
	}
}

// Ctrl-C ends the load early; everything is cleared away, the report printed.
func TestLoadInterrupted(t *testing.T) {
	needSandbox(t)
	cmd := command(t, "load", "--duration", "50s", "--mix", "sleep", "--lifetime", "1h", "--at-once", "4")
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first line comes when the load is under way.
	if _, err := progress.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(out.String(), "(interrupted)") || !strings.Contains(out.String(), "4 cut short") {
		t.Errorf("exits %d with\n%s", code, out.String())
	}
	nothingLeft(t, cmd.Process.Pid)
}
