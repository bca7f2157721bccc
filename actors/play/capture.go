package play

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// captureLimit is how much of one stream is kept, in bytes. A script is
	// read by people; more is counted and not kept.
	captureLimit = 1 << 20
	// quiet is how long the stream of a process that has exited must bring
	// nothing to count as ended. What the process wrote is in its pipe when its
	// exit is told, so this is the time that the scheduler may take to run the
	// one who copies. The end itself is told by Delete alone: a writer of
	// [messages.Pipes] is not closed.
	quiet = 100 * time.Millisecond
	// endTimeout bounds the wait for the end of the stream of a process that
	// has exited: another process may hold it open for ever.
	endTimeout = 2 * time.Second
	// poll is how often a stream is looked at meanwhile.
	poll = 2 * time.Millisecond
)

var errClosed = errors.New("the script has ended")

// capture is what a process writes to one stream. Its buffer belongs to one
// goroutine, to which writers and readers send.
type capture struct {
	writes chan []byte
	looks  chan chan<- captured
	done   chan struct{}
}

// captured is the state of a stream at one time.
type captured struct {
	data []byte
	// total counts all bytes, also those that were not kept.
	total int
}

func newCapture() *capture {
	c := &capture{
		writes: make(chan []byte),
		looks:  make(chan chan<- captured),
		done:   make(chan struct{}),
	}
	go c.keep()
	return c
}

func (c *capture) keep() {
	var now captured
	for {
		select {
		case p := <-c.writes:
			now.total += len(p)
			now.data = append(now.data, p[:min(len(p), captureLimit-len(now.data))]...)
		case answer := <-c.looks:
			answer <- now
		case <-c.done:
			return
		}
	}
}

// Write keeps p.
func (c *capture) Write(p []byte) (int, error) {
	// The writer may use its buffer again as soon as Write returns.
	own := append([]byte(nil), p...)
	select {
	case c.writes <- own:
		return len(p), nil
	case <-c.done:
		return 0, errClosed
	}
}

func (c *capture) look() captured {
	answer := make(chan captured, 1)
	select {
	case c.looks <- answer:
		return <-answer
	case <-c.done:
		return captured{}
	}
}

// settle waits until the stream of a process that has exited brings nothing
// more, and returns all of it.
func (c *capture) settle(ctx context.Context) captured {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	last, since := c.look(), time.Now()
	for time.Since(since) < quiet {
		select {
		case <-ctx.Done():
			return last
		case <-time.After(poll):
		}
		now := c.look()
		if now.total != last.total {
			since = time.Now()
		}
		last = now
	}
	return last
}

// close ends the keeping; it is called once.
func (c *capture) close() { close(c.done) }

// text is what was written, as a script can hold it: lines end in a newline (a
// terminal sends \r\n), and what can not be printed is escaped as in Go.
func (c captured) text() string {
	var b strings.Builder
	for data := strings.ReplaceAll(string(c.data), "\r\n", "\n"); data != ""; {
		r, size := utf8.DecodeRuneInString(data)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, data[0])
		case r == '\n' || r == '\t' || (r >= ' ' && r != 0x7f):
			b.WriteString(data[:size])
		default:
			fmt.Fprintf(&b, `\x%02x`, r)
		}
		data = data[size:]
	}
	if more := c.total - len(c.data); more > 0 {
		fmt.Fprintf(&b, "\n(%d more bytes)", more)
	}
	return b.String()
}
