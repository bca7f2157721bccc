package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Every script gives, on real runsc, what stands in it.
func TestScripts(t *testing.T) {
	needSandbox(t)
	files, err := filepath.Glob("testdata/*.play")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range append(files, "demo.play") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			r := troupe(t, "play", "--check", file)
			if r.code != exitOK || r.errOut != "" {
				t.Errorf("exits %d\n%s%s", r.code, r.out, r.errOut)
			}
		})
	}
}

const small = `# a remark
create demo
sleep 1000
----
%s
start demo
----
`

func writeScript(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "small.play")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Played, checked and rewritten; what is left over is told on stderr and gone.
func TestPlay(t *testing.T) {
	needSandbox(t)
	played := "# a remark\ncreate demo\nsleep 1000\n----\ncreated demo\n\nstart demo\n----\nstarted demo\n"
	file := writeScript(t, strings.ReplaceAll(small, "%s", "something else\n"))
	left := file + " left over, killed and deleted: demo (running)\n"

	if r := troupe(t, "play", file); r.code != exitOK || r.out != played || r.errOut != left {
		t.Errorf("play exits %d and prints\n%s\n%s", r.code, r.out, r.errOut)
	}
	r := troupe(t, "play", "--check", file)
	if r.code != exitFailure || !strings.Contains(r.out, "\n-something else\n+created demo\n") || r.errOut != left {
		t.Errorf("play --check exits %d and prints\n%s\n%s", r.code, r.out, r.errOut)
	}
	if r := troupe(t, "play", "--rewrite", file); r.code != exitOK || r.out != "" {
		t.Errorf("play --rewrite exits %d and prints %q", r.code, r.out)
	}
	if text, _ := os.ReadFile(file); string(text) != played {
		t.Errorf("rewritten:\n%s", text)
	}
	if r := troupe(t, "play", "--check", file); r.code != exitOK || r.out != "" {
		t.Errorf("play --check exits %d and prints\n%s", r.code, r.out)
	}
}

// A reader that goes away, or a signal, ends the script and leaves no sandbox.
func TestPlayInterrupted(t *testing.T) {
	needSandbox(t)
	endless := writeScript(t, "create demo\nsleep 1000\n----\n\nstart demo\n----\n\n"+
		strings.Repeat("state demo\n----\n\nsleep 1ms\n----\n\n", 20000))
	for name, interrupt := range map[string]func(*exec.Cmd, io.Closer){
		"broken pipe": func(_ *exec.Cmd, out io.Closer) { _ = out.Close() },
		"SIGTERM":     func(cmd *exec.Cmd, _ io.Closer) { _ = cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(t, "play", endless)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var errOut bytes.Buffer
			cmd.Stderr = &errOut
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			for line := ""; line != "demo running\n"; {
				if line, err = lines.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			interrupt(cmd, out)
			go func() { _, _ = io.Copy(io.Discard, lines) }()
			if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailure {
				t.Errorf("%v, want exit status %d", cmd.ProcessState, exitFailure)
			}
			for _, want := range []string{"interrupted after", "killed and deleted: demo (running)"} {
				if !strings.Contains(errOut.String(), want) {
					t.Errorf("stderr has no %q: %s", want, errOut.String())
				}
			}
			nothingLeft(t, cmd.Process.Pid)
		})
	}
}

// A mistake in the last file is found before the first is played.
func TestPlayReadsAllFirst(t *testing.T) {
	good, bad := writeScript(t, "sleep 1ms\n----\n"), writeScript(t, "sleep\n----\n")
	r := troupe(t, "play", good, bad)
	if r.code != exitUsage || r.out != "" || !strings.Contains(r.errOut, bad+":1: expected sleep DURATION") {
		t.Errorf("exits %d and prints %q, %q", r.code, r.out, r.errOut)
	}
	r = troupe(t, "play", filepath.Join(t.TempDir(), "absent"))
	if r.code != exitFailure || !strings.Contains(r.errOut, "no such file") {
		t.Errorf("for an absent file exits %d and says %q", r.code, r.errOut)
	}
}
