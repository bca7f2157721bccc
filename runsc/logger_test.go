package runsc

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// program names a shell script as a logging program.
func program(script string) string {
	return "binary:///bin/sh?-c=" + url.QueryEscape(script)
}

// readyToRead writes a line to a FIFO that somebody reads, or will.
func readyToRead(fifo string) {
	if f, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil {
		f.WriteString("go\n")
		f.Close()
	}
}

// TestLoggingProgram: it is told the ids and its arguments, has both streams
// apart, and ends with them; all of it is written when the drain is over.
func TestLoggingProgram(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		dir := t.TempDir()
		name := program(`cat <&3 >$0/out 5>&- & cat <&4 >$0/err 5>&- & echo $CONTAINER_NAMESPACE $CONTAINER_ID "$@" >$0/args; exec 5>&-; wait; echo end >>$0/args`) +
			"&" + url.QueryEscape(dir) + "=one&two=a+b"
		s := messages.Stdio{Stdout: name, Stderr: name, Terminal: terminal}
		want := map[string]string{"args": "tests greet one two a b\nend\n", "out": "out\n", "err": "err\n"}
		if terminal {
			s.Stderr = ""
			want["out"], want["err"] = "out\r\nerr\r\n", ""
		}
		r := runScript(t, openIO(t, s, nil), "echo out; echo err >&2")
		r.wait()
		r.end()
		for file, content := range want {
			equal(t, file, readAll(t, filepath.Join(dir, file))(), content)
		}
	}
}

func TestLoggingProgramArguments(t *testing.T) {
	u, err := url.Parse("binary:///x?b=1&a&b=2&c=%20&d=100%25")
	if err != nil {
		t.Fatal(err)
	}
	got := loggerArgs(u)
	want := []string{"b", "1", "a", "", "b", "2", "c", " ", "d", "100%"}
	if !slices.Equal(got, want) {
		t.Fatalf("the arguments are %q, not %q", got, want)
	}
}

// TestLoggingProgramThatDies takes neither the process nor its exit with it.
func TestLoggingProgramThatDies(t *testing.T) {
	var log lockedBuffer
	st := openIO(t, messages.Stdio{Stdout: program("exit 3")}, slog.New(slog.NewTextHandler(&log, nil)))
	r := runScript(t, st, "head -c 1000000 /dev/zero")
	r.wait()
	r.end()
	untilTrue(t, "its end is told", func() bool { return strings.Contains(log.String(), "status=3") })
}

// TestLoggingProgramThatIsNotReady: the wait is bounded, and it is not left
// behind.
func TestLoggingProgramThatIsNotReady(t *testing.T) {
	before := countFDs(t)
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := openStreams(ctx, greet, messages.Stdio{Stdout: program("echo $$ >" + pid + "; exec sleep 1000")}, streamOptions{})
	if messages.KindOf(err) != messages.DeadlineExceeded {
		t.Fatalf("the error is %v", err)
	}
	_, err = openStreams(t.Context(), greet, messages.Stdio{Stdout: strings.Replace(program("exit 0"), "binary", "binary-v2", 1)}, streamOptions{})
	if messages.KindOf(err) != messages.FailedPrecondition {
		t.Fatalf("the error is %v", err)
	}
	untilTrue(t, "all is closed", func() bool { return countFDs(t) == before })
	number, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	untilTrue(t, "it is gone", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(number)))
		return os.IsNotExist(err)
	})
}

// TestStrictLoggingProgram writes its byte.
func TestStrictLoggingProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	r := runScript(t, openIO(t, messages.Stdio{Stdout: strings.Replace(program("echo >&5; exec 5>&-; cat <&3 >"+path), "binary", "binary-v2", 1)}, nil), "echo hello")
	r.wait()
	r.end()
	equal(t, "the log", readAll(t, path)(), "hello\n")
}

// TestLoggingProgramThatDoesNotEnd by itself is told to by SIGTERM, and killed
// if it does not hear.
func TestLoggingProgramThatDoesNotEnd(t *testing.T) {
	for name, c := range map[string]struct {
		trap   string
		status int
	}{"hears SIGTERM": {"trap 'exit 9' TERM", 9}, "does not": {"trap '' TERM", messages.ExitKilled}} {
		t.Run(name, func(t *testing.T) {
			st := openIO(t, messages.Stdio{Stdout: program(c.trap + "; exec 5>&-; while :; do sleep 0.05; done")}, nil)
			st.logger.grace = 100 * time.Millisecond
			within(t, time.Second, "closing", func() { st.Close() })
			within(t, 10*time.Second, "the end of the logging program", func() { <-st.logger.gone() })
			if status := st.logger.child.end.status(); status != c.status {
				t.Errorf("its status is %d, not %d", status, c.status)
			}
		})
	}
}
