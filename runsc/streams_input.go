package runsc

import (
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// readPatience is how long a Read of an in-memory stdin may take after CloseIO
// until it is held to have nothing more. A Read that gives what was written
// before CloseIO returns at once, and this much is left for the scheduler.
const readPatience = 100 * time.Millisecond

// input copies to a process's stdin.
type input struct {
	// file is what is read from, or nil if memory is.
	file *os.File
	from fileIntake
	// hold is our own write end of the FIFO that is read from: while it is
	// open, a client may close its end and another may come, and the process
	// sees no EOF.
	hold *os.File
	// device is neither a FIFO nor a file: it has no end of its own.
	device bool
	memory io.Reader

	// to is the process's stdin, and end closes it. Both are set by start.
	to  io.Writer
	end func()

	mu sync.Mutex
	// closing is set by closeIO.
	closing bool
	// reading counts the Reads of memory; it is odd while one is going on.
	reading uint64
	// over: stdin is closed, what memory still gives is dropped.
	over bool
}

// isHanded tells whether the process has its stdin itself; then there is only
// the hold.
func (in *input) isHanded() bool { return in.file == nil && in.memory == nil }

// openInput opens what a process's stdin comes from. It never blocks.
func (st *streams) openInput(p place) (*input, error) {
	if p.kind == placeMemory {
		return &input{memory: p.reader}, nil
	}
	// O_NONBLOCK: a FIFO is opened whether or not it has a writer (fifo(7)).
	f, err := os.OpenFile(p.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, st.openFailed(p.stream, p.path, err)
	}
	in := &input{file: f}
	if err := in.inspect(); err != nil {
		in.stop()
		return nil, st.openFailed(p.stream, p.path, err)
	}
	return in, nil
}

func (in *input) inspect() error {
	info, err := in.file.Stat()
	if err != nil {
		return err
	}
	if in.from, err = newFileIntake(in.file); err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return unix.EISDIR
	case mode.Type() == fs.ModeNamedPipe:
		in.hold, err = reopen(in.file, os.O_WRONLY)
		return err
	default:
		in.device = !mode.IsRegular()
		return nil
	}
}

// start begins to copy to the process. end is called once, when stdin is over.
func (in *input) start(to io.Writer, end func()) {
	in.to, in.end = to, sync.OnceFunc(end)
	if in.memory != nil {
		go in.copyMemory()
		return
	}
	go in.copyFile()
}

func (in *input) copyFile() {
	// When the process has closed its stdin, so do we: the writers of the FIFO
	// get EPIPE, as in a pipeline of a shell, and do not hang.
	defer in.stop()
	defer in.end()
	for {
		var writeErr error
		readErr := in.from.take(func(p []byte) { _, writeErr = in.to.Write(p) })
		if readErr != nil || writeErr != nil {
			return
		}
	}
}

func (in *input) copyMemory() {
	defer in.end()
	buf := make([]byte, 16<<10)
	for {
		in.beforeRead()
		n, readErr := in.memory.Read(buf)
		if !in.afterRead() {
			return
		}
		if n > 0 {
			if _, err := in.to.Write(buf[:n]); err != nil {
				return
			}
		}
		if readErr != nil {
			return
		}
	}
}

func (in *input) beforeRead() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.reading++
	if in.closing {
		in.giveUpLater()
	}
}

// afterRead is false if stdin was closed meanwhile.
func (in *input) afterRead() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.reading++
	return !in.over
}

// giveUpLater ends stdin if the Read that is going on takes too long. A Read
// can not be interrupted, and whether it has got hold of bytes can only be told
// by its return.
func (in *input) giveUpLater() {
	this := in.reading
	time.AfterFunc(readPatience, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.reading == this && !in.over {
			in.over = true
			in.end()
		}
	})
}

func (in *input) closeIO() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closing {
		return
	}
	in.closing = true
	switch {
	case in.memory != nil:
		if in.reading%2 == 1 {
			in.giveUpLater()
		}
	case in.hold != nil:
		// EOF comes when the other writers have closed it too, after the data:
		// it is the kernel's (fifo(7)).
		in.hold.Close()
	case in.device:
		// A device that can not be polled has no deadline: it is always ready,
		// and its copy ends with the process.
		_ = in.file.SetReadDeadline(time.Unix(1, 0))
	}
	// A file has an end of its own, which is already on its way.
}

// stop frees what is read from, and so ends copyFile.
func (in *input) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.over = true
	if in.hold != nil {
		in.hold.Close()
	}
	if in.file != nil {
		in.file.Close()
	}
}
