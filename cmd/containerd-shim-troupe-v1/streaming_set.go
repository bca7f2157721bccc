package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// streamSet are the streams by which containerd reaches the stdio of processes.
//
// Each is led to a FIFO of the shim's, which the driver is given: what holds for
// containerd's FIFOs, when a reader goes away and comes back, when a process
// outlives its parent, when stdin is closed, so holds for streams.
type streamSet struct {
	socket string

	mu      sync.Mutex
	closed  bool
	streams map[string]*stream
	// names are those by which containerd knows the FIFOs.
	names map[string]string
	last  int
}

// stream is known from when containerd opens it or names it, whichever is
// first, until it is neither open nor named.
type stream struct {
	// users are connections of containerd's: one, and in passing two.
	users int
	// placed is closed when input and path are set, gone when the process is
	// deleted.
	placed, gone chan struct{}
	input        bool
	path         string
}

func newStreamSet(socket string) *streamSet {
	return &streamSet{socket: socket, streams: map[string]*stream{}, names: map[string]string{}}
}

func (set *streamSet) get(id string) *stream {
	st := set.streams[id]
	if st == nil {
		st = &stream{placed: make(chan struct{}), gone: make(chan struct{})}
		set.streams[id] = st
		if set.closed {
			close(st.gone)
		}
	}
	return st
}

// join is a connection's claim to a stream.
func (set *streamSet) join(id string) (st *stream, leave func()) {
	set.mu.Lock()
	defer set.mu.Unlock()
	st = set.get(id)
	st.users++
	return st, func() {
		set.mu.Lock()
		defer set.mu.Unlock()
		st.users--
		if st.users == 0 && st.path == "" && set.streams[id] == st {
			delete(set.streams, id)
		}
	}
}

// place puts FIFOs in dir in the place of the streams that stdio names. Other
// names stay.
func (set *streamSet) place(dir string, stdio messages.Stdio) (messages.Stdio, error) {
	placed := stdio
	for i, name := range []*string{&placed.Stdin, &placed.Stdout, &placed.Stderr} {
		id, err := set.idOf(*name)
		if err == nil && id != "" {
			*name, err = set.placeOne(filepath.Join(dir, "streams"), id, *name, i == 0)
		}
		if err != nil {
			set.remove(placed)
			return stdio, err
		}
	}
	return placed, nil
}

// idOf is the stream's id in a name such as
// "ttrpc+unix:///run/s/socket?streaming_id=ID" (containerd, internal/cri/io,
// openStream), or empty for one that names no stream.
func (set *streamSet) idOf(name string) (string, error) {
	scheme, _, ok := strings.Cut(name, "://")
	if !ok || !strings.Contains(scheme, "+") {
		return "", nil
	}
	u, err := url.Parse(name)
	if err != nil {
		return "", invalidStream(name, "%w", err)
	}
	id := u.Query().Get("streaming_id")
	switch {
	case u.Scheme != "ttrpc+unix":
		return "", invalidStream(name, "the shim serves streams by ttrpc+unix and not by %s", u.Scheme)
	case id == "":
		return "", invalidStream(name, "it has no streaming_id")
	case filepath.Clean(u.Path) != set.socket:
		return "", invalidStream(name, "it is of another socket than the shim's, %s", set.socket)
	}
	return id, nil
}

func invalidStream(name, format string, args ...any) error {
	return &messages.Error{
		Kind: messages.InvalidArgument,
		Op:   fmt.Sprintf("find stream %q", name),
		Err:  fmt.Errorf(format, args...),
		Hint: "containerd names the shim's own where the runtime has io_type = 'streaming' and sandboxer = 'shim'; use FIFOs elsewhere",
	}
}

func (set *streamSet) placeOne(dir, id, name string, input bool) (string, error) {
	set.mu.Lock()
	defer set.mu.Unlock()
	st := set.get(id)
	if st.path != "" {
		return name, &messages.Error{Kind: messages.AlreadyExists, Op: fmt.Sprintf("use stream %q", name), Err: errors.New("it is another process's")}
	}
	set.last++
	path := filepath.Join(dir, strconv.Itoa(set.last))
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = unix.Mkfifo(path, 0o600)
	}
	if err != nil {
		return name, &messages.Error{Kind: messages.Internal, Op: fmt.Sprintf("make the FIFO %s of stream %q", path, name), Err: err}
	}
	st.path, st.input = path, input
	set.names[path] = name
	close(st.placed)
	return path, nil
}

// named has the names back that containerd gave.
func (set *streamSet) named(stdio messages.Stdio) messages.Stdio {
	set.mu.Lock()
	defer set.mu.Unlock()
	for _, name := range []*string{&stdio.Stdin, &stdio.Stdout, &stdio.Stderr} {
		if old, ok := set.names[*name]; ok {
			*name = old
		}
	}
	return stdio
}

// remove forgets the streams of a process, which stdio names by their FIFOs.
// Output that is still in a FIFO reaches a containerd that reads it.
func (set *streamSet) remove(stdio messages.Stdio) {
	set.mu.Lock()
	defer set.mu.Unlock()
	for _, path := range []string{stdio.Stdin, stdio.Stdout, stdio.Stderr} {
		name, ok := set.names[path]
		if !ok {
			continue
		}
		delete(set.names, path)
		os.Remove(path)
		if u, err := url.Parse(name); err == nil {
			id := u.Query().Get("streaming_id")
			close(set.streams[id].gone)
			delete(set.streams, id)
		}
	}
}

// close ends what waits for a process.
func (set *streamSet) close() {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.closed = true
	for id, st := range set.streams {
		close(st.gone)
		delete(set.streams, id)
	}
	clear(set.names)
}
