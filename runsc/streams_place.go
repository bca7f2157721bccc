package runsc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/troupe-run/troupe/messages"
)

// placeKind is what a stream of messages.Stdio comes from or goes to.
type placeKind int

const (
	placeNull placeKind = iota
	placeMemory
	// placePath is a FIFO or a file that exists.
	placePath
	// placeFile is a file that may be created.
	placeFile
	placeLogger
	// placeHanded is one that the process has itself.
	placeHanded
)

// place is one stream of messages.Stdio, read and not yet opened.
type place struct {
	// stream is "stdin", "stdout" or "stderr".
	stream string
	kind   placeKind
	path   string
	// url is that of a logging program.
	url    *url.URL
	reader io.Reader
	writer io.Writer
}

// isCopied tells whether bytes go through this program.
func (p place) isCopied() bool { return p.kind != placeNull && p.kind != placeHanded }

// places reads the names of s: stdin, stdout and stderr.
func (st *streams) places(s messages.Stdio) (places [3]place, err error) {
	for i, name := range []string{s.Stdin, s.Stdout, s.Stderr} {
		p := place{stream: [3]string{"stdin", "stdout", "stderr"}[i]}
		switch {
		case i == 0 && s.Pipes.Stdin != nil:
			p.kind, p.reader = placeMemory, s.Pipes.Stdin
		case i == 1 && s.Pipes.Stdout != nil:
			p.kind, p.writer = placeMemory, s.Pipes.Stdout
		case i == 2 && s.Pipes.Stderr != nil:
			p.kind, p.writer = placeMemory, s.Pipes.Stderr
		default:
			if err := p.parse(name); err != nil {
				return places, st.openFailed(p.stream, name, err)
			}
		}
		places[i] = p
	}
	out, errs := places[1], places[2]
	if (out.kind == placeLogger || errs.kind == placeLogger) && out.kind != placeNull && errs.kind != placeNull && !out.same(errs) {
		return places, st.openFailed("stderr", s.Stderr,
			invalidName("stdout and stderr must name the same logging program", "give both the same binary:// name"))
	}
	return places, nil
}

func (p *place) parse(name string) error {
	if name == "" {
		return nil
	}
	if !strings.Contains(name, "://") {
		p.kind, p.path = placePath, filepath.Clean(name)
		return nil
	}
	u, err := url.Parse(name)
	if err != nil {
		return invalidName(err.Error(), "use a path, file:///PATH or binary:///PATH")
	}
	switch u.Scheme {
	case "file":
		p.kind = placeFile
	case "binary", "binary-v2":
		if p.stream == "stdin" {
			return invalidName("a logging program can not be read from", "use a FIFO or a file for stdin")
		}
		p.kind, p.url = placeLogger, u
	default:
		return invalidName(fmt.Sprintf("there is no scheme %q", u.Scheme), "use a path, file:///PATH or binary:///PATH")
	}
	// file://a/b has the host a and the path /b: a mistake for file:///a/b
	// that would go unnoticed.
	if u.Host != "" || !filepath.IsAbs(u.Path) {
		return invalidName("its path is not absolute", fmt.Sprintf("write %s:///PATH, with three slashes", u.Scheme))
	}
	p.path = filepath.Clean(u.Path)
	return nil
}

// same tells whether what is written to p and to q ends up in one place, so
// that one pipe serves both and their order is kept.
func (p place) same(q place) bool {
	switch {
	case p.kind == placeNull || q.kind == placeNull:
		return false
	case p.kind == placeMemory && q.kind == placeMemory:
		// A Writer of a type that can not be compared would panic.
		t := reflect.TypeOf(p.writer)
		return t == reflect.TypeOf(q.writer) && t.Comparable() && reflect.ValueOf(p.writer).Comparable() &&
			reflect.ValueOf(q.writer).Comparable() && p.writer == q.writer
	case p.kind == placeLogger || q.kind == placeLogger:
		// One program, but it is told the two apart.
		return p.kind == q.kind && p.url.String() == q.url.String()
	}
	return p.kind != placeMemory && q.kind != placeMemory && p.path == q.path
}

// placeError is why a stream can not be opened, where that is not an errno.
type placeError struct {
	kind      error
	why, hint string
}

func (e *placeError) Error() string { return e.why }

func invalidName(why, hint string) error {
	return &placeError{kind: messages.InvalidArgument, why: why, hint: hint}
}

// openFailed is the error of a stream that could not be opened.
func (st *streams) openFailed(stream, name string, err error) *messages.Error {
	// The name is told once: here, and not by os too.
	var path *fs.PathError
	if errors.As(err, &path) {
		err = fmt.Errorf("%s: %w", path.Op, path.Err)
	}
	return &messages.Error{
		Kind:    kindOfOpen(err),
		Op:      fmt.Sprintf("open the %s of", stream),
		Process: st.process,
		Err:     fmt.Errorf("%q: %w", name, err),
		Hint:    hintOfOpen(err),
	}
}

func kindOfOpen(err error) error {
	var place *placeError
	switch {
	case errors.As(err, &place):
		return place.kind
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EINVAL):
		return messages.InvalidArgument
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return messages.NotFound
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS), errors.Is(err, unix.ETXTBSY):
		return messages.FailedPrecondition
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.ENOMEM):
		return messages.ResourceExhausted
	}
	return messages.KindOf(err)
}

func hintOfOpen(err error) string {
	var place *placeError
	switch {
	case errors.As(err, &place):
		return place.hint
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return "make the FIFO first (mkfifo), or use file:///PATH for a file that is created"
	case errors.Is(err, unix.EISDIR):
		return "name a FIFO or a file"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		return "check the owner and the mode of it and of its folder"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit of open files (ulimit -n)"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "free some space on that file system"
	case errors.Is(err, unix.ENXIO):
		return "name a FIFO or a file; a socket can not be opened"
	}
	return ""
}
