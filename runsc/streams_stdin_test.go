package runsc

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// TestCloseIOOfMemory: what was written before it arrives, then EOF. A Write to
// an io.Pipe has returned as soon as the Read has the bytes, so CloseIO comes
// while they are on their way.
func TestCloseIOOfMemory(t *testing.T) {
	for range 20 {
		stdin, toStdin := io.Pipe()
		var out lockedBuffer
		r := runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdin: stdin, Stdout: &out}}, nil), "cat; echo EOF")
		if _, err := io.WriteString(toStdin, "data\n"); err != nil {
			t.Fatal(err)
		}
		within(t, time.Second, "CloseIO", func() { r.CloseIO() })
		r.CloseIO()
		r.wait()
		r.end()
		equal(t, "what arrived", out.String(), "data\nEOF\n")
		// The Read that is still waiting ends with what is written next, which
		// nobody gets.
		go toStdin.Close()
	}
}

// TestCloseIOBeforeStartOfMemory: all that the Reader has to give arrives first,
// and a Reader that has nothing does not keep EOF away.
func TestCloseIOBeforeStartOfMemory(t *testing.T) {
	waiting, toStdin := io.Pipe()
	defer toStdin.Close()
	for name, stdin := range map[string]struct {
		io.Reader
		want string
	}{
		"much":    {strings.NewReader(strings.Repeat("x", 1<<20)), "1048576\n"},
		"nothing": {waiting, "0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out lockedBuffer
			st := openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdin: stdin.Reader, Stdout: &out}}, nil)
			st.CloseIO()
			r := runScript(t, st, "wc -c")
			r.wait()
			r.end()
			equal(t, "what arrived", out.String(), stdin.want)
		})
	}
}

// TestCloseIODoesNotBlock: also when the process reads nothing and its stdin is
// full (moby#38001), and what was read before arrives all the same.
func TestCloseIODoesNotBlock(t *testing.T) {
	fifo := mkfifo(t, "go")
	var out lockedBuffer
	stdin := strings.NewReader(strings.Repeat("x", 1<<20))
	r := runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdin: stdin, Stdout: &out}}, nil), "read line < "+fifo+"; wc -c")
	within(t, time.Second, "CloseIO", func() { r.CloseIO() })
	go readyToRead(fifo)
	r.wait()
	r.end()
	equal(t, "what arrived", out.String(), "1048576\n")
}

// TestClosedWhileMemoryBlocks: a Read and a Write of the embedder's that do not
// return keep no descriptor and no other call.
func TestClosedWhileMemoryBlocks(t *testing.T) {
	before := countFDs(t)
	stdin, toStdin := io.Pipe()
	fromStdout, stdout := io.Pipe()
	r := runScript(t, openIO(t, messages.Stdio{Pipes: messages.Pipes{Stdin: stdin, Stdout: stdout}}, nil), "echo hello")
	r.wait()
	within(t, 10*drainTimeout, "the end", func() { r.end() })
	untilTrue(t, "all is closed", func() bool { return countFDs(t) == before })
	// They end when they are let go.
	done := r.outs[0].done
	toStdin.Close()
	fromStdout.Close()
	within(t, 5*time.Second, "the copy", func() { <-done })
}
