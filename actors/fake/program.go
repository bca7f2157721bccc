package fake

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/troupe-run/troupe/messages"
)

// program is what a process does: its commands, one after the other.
type program struct {
	commands [][]string
	env      map[string]string
}

var known = map[string]bool{"true": true, "false": true, "exit": true, "echo": true, "sleep": true, "cat": true}

// parse reads the words of a command; an error for one that is not known.
func parse(p *specs.Process) (program, error) {
	prog := program{env: make(map[string]string)}
	for _, kv := range p.Env {
		k, v, _ := strings.Cut(kv, "=")
		prog.env[k] = v
	}
	if len(p.Args) == 3 && strings.TrimPrefix(p.Args[0], "/bin/") == "sh" && p.Args[1] == "-c" {
		for _, c := range strings.Split(p.Args[2], ";") {
			if words := strings.Fields(c); len(words) > 0 {
				prog.commands = append(prog.commands, words)
			}
		}
	} else {
		prog.commands = [][]string{p.Args}
	}
	for _, c := range prog.commands {
		if len(c) == 0 || !known[strings.TrimPrefix(c[0], "/bin/")] {
			return program{}, fmt.Errorf("%q: no such file or directory", c)
		}
	}
	return prog, nil
}

// run is a program that runs.
type run struct {
	program program
	stdio   messages.Stdio
	eof     chan struct{} // stdin was closed
	killed  chan struct{}
}

func newRun(p *process) *run {
	r := &run{program: p.program, stdio: p.stdio, eof: make(chan struct{}), killed: make(chan struct{})}
	if p.closed || p.stdio.Pipes.Stdin == nil {
		close(r.eof)
	}
	return r
}

func (r *run) kill() {
	select {
	case <-r.killed:
	default:
		close(r.killed)
	}
}

func (r *run) closeIn() {
	select {
	case <-r.eof:
	default:
		close(r.eof)
	}
}

// resize is seen by a program that has a terminal as a line of output, so that
// a test can tell.
func (r *run) resize(size messages.WindowSize) {
	if r.stdio.Terminal {
		r.print(fmt.Sprintf("[resized to %dx%d]\n", size.Cols, size.Rows))
	}
}

// execute runs the commands and returns the status of the last.
func (r *run) execute() (status int) {
	for _, c := range r.program.commands {
		switch strings.TrimPrefix(c[0], "/bin/") {
		case "true":
			status = 0
		case "false":
			status = 1
		case "exit":
			if len(c) > 1 {
				status, _ = strconv.Atoi(r.expand(c[1]))
			}
			return status
		case "echo":
			words := make([]string, len(c)-1)
			for i, w := range c[1:] {
				words[i] = r.expand(w)
			}
			r.print(strings.Join(words, " ") + "\n")
			status = 0
		case "sleep":
			r.sleep(c[1:])
			status = 0
		case "cat":
			r.cat()
			status = 0
		}
		select {
		case <-r.killed:
			return status
		default:
		}
	}
	return status
}

func (r *run) expand(word string) string {
	return os.Expand(strings.Trim(word, `'"`), func(k string) string { return r.program.env[k] })
}

func (r *run) print(s string) {
	if w := r.stdio.Pipes.Stdout; w != nil {
		_, _ = io.WriteString(w, s)
	}
}

func (r *run) sleep(args []string) {
	d := time.Duration(math.MaxInt64)
	if len(args) == 1 {
		if seconds, err := strconv.ParseFloat(args[0], 64); err == nil && !math.IsInf(seconds, 0) {
			d = time.Duration(seconds * float64(time.Second))
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.killed:
	}
}

// cat copies stdin to stdout until it ends or is closed; what has been read
// before it is closed is written.
func (r *run) cat() {
	if r.stdio.Pipes.Stdin == nil {
		return
	}
	read := make(chan []byte)
	written := make(chan struct{})
	go r.read(read, written)
	for {
		select {
		case b, ok := <-read:
			if !ok {
				return
			}
			r.print(string(b))
			select {
			case written <- struct{}{}:
			case <-r.killed:
				return
			}
			continue
		case <-r.killed:
			return
		case <-r.eof:
		}
		// A Read that has returned is on its way here, if only for a moment: its
		// writer may know that it was taken before the line above does.
		select {
		case b, ok := <-read:
			if ok {
				r.print(string(b))
			}
		case <-r.killed:
		case <-time.After(eofPatience):
		}
		return
	}
}

// eofPatience is how long a read that has returned may take to be seen.
const eofPatience = 50 * time.Millisecond

// read hands over what stdin gives, one Read at a time.
func (r *run) read(to chan<- []byte, written <-chan struct{}) {
	defer close(to)
	buf := make([]byte, 4096)
	for {
		n, err := r.stdio.Pipes.Stdin.Read(buf)
		if n > 0 {
			select {
			case to <- buf[:n]:
			case <-r.killed:
				return
			}
			select {
			case <-written:
			case <-r.killed:
				return
			}
		}
		if err != nil {
			return
		}
	}
}
