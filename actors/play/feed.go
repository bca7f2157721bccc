package play

import (
	"context"
	"io"
)

// feed is the stdin of a process: a queue without end, so that a write is done
// at once also before the process reads. The queue belongs to one goroutine.
type feed struct {
	writes chan string
	reads  chan reading
	empty  chan chan<- struct{}
	end    chan struct{}
	done   chan struct{}
}

// reading is a Read that waits for data.
type reading struct {
	size int
	data chan<- string
}

func newFeed() *feed {
	f := &feed{
		writes: make(chan string),
		reads:  make(chan reading),
		empty:  make(chan chan<- struct{}),
		end:    make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	go f.keep()
	return f
}

func (f *feed) keep() {
	var queue string
	var ended bool
	var waiting []chan<- struct{}
	for {
		reads := f.reads
		if queue == "" && !ended {
			reads = nil // a Read waits until there is something
		}
		select {
		case text := <-f.writes:
			queue += text
		case r := <-reads:
			n := min(r.size, len(queue))
			r.data <- queue[:n]
			queue = queue[n:]
		case w := <-f.empty:
			waiting = append(waiting, w)
		case <-f.end:
			ended = true
		case <-f.done:
			return
		}
		if queue == "" {
			for _, w := range waiting {
				close(w)
			}
			waiting = nil
		}
	}
}

// Read is that of the driver. It gives io.EOF when the queue is empty and
// closed, or the script has ended.
func (f *feed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	data := make(chan string, 1)
	select {
	case f.reads <- reading{len(p), data}:
		if n := copy(p, <-data); n > 0 {
			return n, nil
		}
	case <-f.done:
	}
	return 0, io.EOF
}

// write appends to the queue.
func (f *feed) write(text string) {
	select {
	case f.writes <- text:
	case <-f.done:
	}
}

// drained waits until all that was written has been read. What the driver has
// read it delivers, also after CloseIO; what it has not is lost then.
func (f *feed) drained(ctx context.Context) {
	w := make(chan struct{})
	select {
	case f.empty <- w:
	case <-f.done:
		return
	}
	select {
	case <-w:
	case <-f.done:
	case <-ctx.Done():
	}
}

// closeWrite lets reads end behind what is in the queue.
func (f *feed) closeWrite() {
	select {
	case f.end <- struct{}{}:
	default: // it is on its way already
	}
}

// close ends the keeping; it is called once.
func (f *feed) close() { close(f.done) }
