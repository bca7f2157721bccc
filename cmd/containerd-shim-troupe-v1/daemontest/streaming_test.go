package daemontest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStreaming runs a pod whose stdio containerd reaches by its streaming API
// on the shim's socket, in place of FIFOs. containerd 1.7 has no such thing;
// 2.x takes the address from the sandbox API, so that it needs sandboxer =
// "shim" (internal/cri/server/container_create.go, WithStreams).
func TestStreaming(t *testing.T) {
	d := startDaemon(t, flavours[0])
	p := runPod(t, d, "streaming", "streams", nil, "/"+filepath.Base(d.Dir)+"/podstreams")
	id := p.start(t, "talks", map[string]any{"stdin": true}, "/bin/sh", "-c", "echo hello; echo oops >&2; while read line; do echo got $line; done; echo end of input")
	p.logged(t, "talks", "stdout F hello", "stderr F oops")

	t.Run("exec", func(t *testing.T) {
		if out := d.cri(t, "exec", "--sync", id, "/bin/echo", "probe"); out != "probe" {
			t.Errorf("a probe printed %q", out)
		}
		// More than the window and than a FIFO has room for.
		if out := d.cri(t, "exec", "--sync", id, "/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\000' x"); out != strings.Repeat("x", 3_000_000) {
			t.Errorf("%d bytes of 3000000", len(out))
		}
	})
	t.Run("stdin", func(t *testing.T) {
		// sha256sum reads to the end: the end has to arrive, and after the data.
		data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
		cmd := d.crictl("exec", "-i", id, "/bin/sha256sum")
		cmd.Stdin = bytes.NewReader(data)
		if out := succeed(t, cmd); !strings.HasPrefix(out, fmt.Sprintf("%x ", sha256.Sum256(data))) {
			t.Errorf("the process read something else: %q", out)
		}
	})
	t.Run("attach", func(t *testing.T) {
		cmd := d.crictl("attach", "-i", id)
		var out stream
		cmd.Stdout = &out
		stdin, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		_, err = io.WriteString(stdin, "by attach\n")
		must(t, err)
		eventually(t, "it answers", func() error {
			if !strings.Contains(out.String(), "got by attach") {
				return fmt.Errorf("%q", out.String())
			}
			return nil
		})
	})
	t.Run("restart", func(t *testing.T) {
		counts := p.start(t, "counts", nil, "/bin/sh", "-c", "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; sleep 1000")
		p.logged(t, "counts", "stdout F line 3")
		d.stop(t)
		d.start(t)
		// containerd opens the same streams again. What it had received and not
		// written is gone with it; what comes later is not.
		p.logged(t, "counts", "stdout F line 40")
		if out := d.cri(t, "exec", "--sync", counts, "/bin/echo", "again"); out != "again" {
			t.Errorf("an exec after the restart printed %q", out)
		}
		d.cri(t, "stop", "--timeout", "0", counts)
	})
}

// logged waits until the log of a container has these lines.
func (p *pod) logged(t *testing.T, name string, lines ...string) {
	t.Helper()
	eventually(t, "the log has it", func() error {
		data, err := os.ReadFile(filepath.Join(p.logs, name+".log"))
		if err != nil {
			return err
		}
		for _, line := range lines {
			if !strings.Contains(string(data), line+"\n") {
				return fmt.Errorf("%q is not in %q", line, data)
			}
		}
		return nil
	})
}
