package runsc

import (
	"bufio"
	"io"
	"os"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// TestFIFOWithoutReader: the process runs, and its streams can be closed
// (containerd#2551, containerd#2877).
func TestFIFOWithoutReader(t *testing.T) {
	before := countFDs(t)
	path := mkfifo(t, "out")
	var st *streams
	within(t, time.Second, "opening", func() { st = openIO(t, messages.Stdio{Stdout: path, Stderr: mkfifo(t, "err")}, nil) })
	r := runScript(t, st, "echo nobody listens")
	r.wait()
	within(t, 10*drainTimeout, "draining", func() { r.end() })
	untilTrue(t, "all is closed", func() bool { return countFDs(t) == before })
}

// TestCloseOfAFIFOWithoutReader is at once, before and after the start, also
// when its name is gone.
func TestCloseOfAFIFOWithoutReader(t *testing.T) {
	before := countFDs(t)
	for range 50 {
		path := mkfifo(t, "out")
		st := openIO(t, messages.Stdio{Stdout: path}, nil)
		os.Remove(path)
		within(t, time.Second, "closing", func() { st.Close() })
	}
	untilTrue(t, "all is closed", func() bool { return countFDs(t) == before })
}

// TestFIFOReaderThatComesLate gets what a process wrote that is gone already.
func TestFIFOReaderThatComesLate(t *testing.T) {
	path := mkfifo(t, "out")
	r := runScript(t, openIO(t, messages.Stdio{Stdout: path}, nil), "echo early")
	r.wait()
	got := readAll(t, path)
	r.end()
	equal(t, "what arrived", got(), "early\n")
}

// TestFIFOReaderThatLeavesAndReturns: the process is not stopped meanwhile, and
// nothing is lost.
func TestFIFOReaderThatLeavesAndReturns(t *testing.T) {
	path := mkfifo(t, "out")
	stdin, toStdin := io.Pipe()
	defer toStdin.Close()
	r := runScript(t, openIO(t, messages.Stdio{Stdout: path, Pipes: messages.Pipes{Stdin: stdin}}, nil), "while read line; do echo $line; done; echo end")
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(toStdin, line); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := bufio.NewReader(f).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "what arrived", got, line)
		f.Close()
	}
	// Written while nobody reads:
	io.WriteString(toStdin, "three\n")
	toStdin.Close()
	r.wait()
	got := readAll(t, path)
	r.end()
	// Without a reader the FIFO keeps it only while we hold it: the reader above
	// may have come before or after the end, and sees it whole in both.
	equal(t, "what arrived", got(), "three\nend\n")
}

// TestStdinFIFO: EOF comes after CloseIO, when every writer is gone, and after
// the data; a client may leave and another come.
func TestStdinFIFO(t *testing.T) {
	path := mkfifo(t, "in")
	var out lockedBuffer
	r := runScript(t, openIO(t, messages.Stdio{Stdin: path, Pipes: messages.Pipes{Stdout: &out}}, nil), "cat; echo EOF")
	want := ""
	for _, line := range []string{"one\n", "two\n"} {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		f.Close()
		want += line
		untilTrue(t, "the line arrived", func() bool { return out.String() == want })
	}
	last, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CloseIO(); err != nil {
		t.Fatal(err)
	}
	if err := r.CloseIO(); err != nil {
		t.Fatal(err)
	}
	if _, err := last.WriteString("three\n"); err != nil {
		t.Fatal(err)
	}
	last.Close()
	r.wait()
	r.end()
	equal(t, "what arrived", out.String(), want+"three\nEOF\n")
}

// TestCloseIOBeforeStartOfAFIFO is remembered, and what was written before it is
// delivered (containerd#4489).
func TestCloseIOBeforeStartOfAFIFO(t *testing.T) {
	path := mkfifo(t, "in")
	var out lockedBuffer
	st := openIO(t, messages.Stdio{Stdin: path, Pipes: messages.Pipes{Stdout: &out}}, nil)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("data\n")
	f.Close()
	st.CloseIO()
	r := runScript(t, st, "cat; echo EOF")
	r.wait()
	r.end()
	equal(t, "what arrived", out.String(), "data\nEOF\n")
}

// TestStdinThatTheProcessClosed: the writer gets EPIPE, as in a pipeline of a
// shell, and does not hang.
func TestStdinThatTheProcessClosed(t *testing.T) {
	path := mkfifo(t, "in")
	r := runScript(t, openIO(t, messages.Stdio{Stdin: path}, nil), "exec <&-; sleep 1000")
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	within(t, 5*time.Second, "a write to a closed stdin", func() {
		for err == nil {
			_, err = f.Write(make([]byte, 1<<16))
		}
	})
	r.cmd.Process.Kill()
	r.cmd.Wait()
	r.end()
}
