package play

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What was written to a feed is read in order, before it is asked for or after,
// and then its end.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		defer f.close()
		f.write("one ")
		read := make(chan string)
		go func() {
			all, err := io.ReadAll(f)
			if err != nil {
				t.Error(err)
			}
			read <- string(all)
		}()
		f.write("two ")
		f.drained(t.Context())
		synctest.Wait()
		f.write("three")
		f.closeWrite()
		f.closeWrite()
		if got := <-read; got != "one two three" {
			t.Errorf("read %q", got)
		}
	})
}

// drained waits until the queue is empty, or its context ends.
func TestFeedDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.write("text")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		f.drained(ctx)
		if waited := time.Since(begin); waited != time.Minute {
			t.Errorf("with nobody reading, drained waited %s", waited)
		}
		time.AfterFunc(time.Second, func() { _, _ = f.Read(make([]byte, 2)) })
		time.AfterFunc(2*time.Second, func() { _, _ = f.Read(make([]byte, 2)) })
		begin = time.Now()
		f.drained(t.Context())
		if waited := time.Since(begin); waited != 2*time.Second {
			t.Errorf("with the last read after 2 s, drained waited %s", waited)
		}
		f.close()
		if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after close, Read gives %d, %v", n, err)
		}
		f.write("more") // and does not block
		f.drained(t.Context())
	})
}

// settle waits for what comes late, and not for ever.
func TestCaptureSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCapture()
		go func() {
			for _, part := range []string{"a", "b", "c"} {
				time.Sleep(quiet / 2)
				_, _ = io.WriteString(c, part)
			}
		}()
		if got := c.settle(t.Context()); string(got.data) != "abc" {
			t.Errorf("settled at %q", got.data)
		}
		begin := time.Now()
		stop := make(chan struct{})
		go func() { // another process writes for ever
			for {
				select {
				case <-time.After(quiet / 2):
					_, _ = io.WriteString(c, "x")
				case <-stop:
					return
				}
			}
		}()
		c.settle(t.Context())
		if waited := time.Since(begin); waited != endTimeout {
			t.Errorf("a stream without end was waited for %s, want %s", waited, endTimeout)
		}
		close(stop)
		synctest.Wait()
		c.close()
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("a write after close is no error")
		}
	})
}

// A stream is kept up to its limit, and the rest is counted.
func TestCaptureLimit(t *testing.T) {
	c := newCapture()
	defer c.close()
	part := strings.Repeat("x", captureLimit-1)
	for _, p := range []string{part, "yz", "more"} {
		if n, err := io.WriteString(c, p); n != len(p) || err != nil {
			t.Fatalf("Write gives %d, %v", n, err)
		}
	}
	if text := c.look().text(); !strings.HasSuffix(text, "xy\n(5 more bytes)") {
		t.Errorf("ends in %q", text[len(text)-20:])
	}
}

func TestCapturedText(t *testing.T) {
	for data, want := range map[string]string{
		"a\r\nb\r\n":         "a\nb\n",
		"\x1b[1mbold\x1b[0m": `\x1b[1mbold\x1b[0m`,
		"tab\tü\xff\r":       "tab\tü" + `\xff\x0d`,
	} {
		if got := (captured{data: []byte(data), total: len(data)}).text(); got != want {
			t.Errorf("%q is printed as %q, want %q", data, got, want)
		}
	}
}
