package runsc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"unicode"

	"github.com/troupe-run/troupe/messages"
)

// What can go wrong with a call of a sandbox's control server, beside a refusal
// and the end of its context. They are found with errors.Is.
const (
	// errNotConnected: the server could not be reached, or the request did not
	// get there whole. Nothing was done.
	errNotConnected = messages.Text("the sandbox's control socket can not be reached")

	// ErrReplyLost: the connection ended after the request had been sent and
	// before it was answered. Whether it was done is not known, so that a
	// request that starts something must not be repeated.
	ErrReplyLost = messages.Text("the sandbox ended the connection before it answered")

	// errBadReply: what came is not an answer of the protocol (not JSON, too
	// long, with files, of another shape). Whether the request was done is not
	// known, and the sandbox is not to be spoken to any more: it is of another
	// version, or it is compromised.
	errBadReply = messages.Text("the sandbox's answer is not of its control protocol")

	// errClientClosed: the client was closed on this side.
	errClientClosed = messages.Text("the connection to the sandbox is closed")
)

// A refusal is a definite answer of the control server: it did not do it.
type refusal struct {
	method string
	text   string
}

func (r *refusal) Error() string { return r.text }

// unknownMethod is the whole text of urpc's answer to a method that it does not
// have (gVisor, pkg/urpc/urpc.go, ErrUnknownMethod).
const unknownMethod = "unknown method"

// kind maps the text of a refusal. The texts are those of runsc/boot/loader.go,
// pkg/sentry/control/proc.go and pkg/sentry/fsimpl/user/path.go. They quote
// what the caller named (a command, a variable), so that only their beginnings
// and ends are compared.
func (r *refusal) kind() error {
	t := r.text
	switch {
	case t == unknownMethod, strings.HasPrefix(t, "json: "):
		// The server has other methods or other arguments: another version.
		return messages.Unimplemented
	case endsWith(t, "cannot allocate memory", "too many open files", "resource temporarily unavailable", "no space left on device"):
		return messages.ResourceExhausted
	}
	if strings.HasPrefix(t, "container ") || strings.Contains(t, ": container ") && r.method != methodExec {
		if endsWith(t, "not found") {
			return messages.NotFound
		}
		if endsWith(t, "not started", "has stopped", "is deleted") {
			return messages.FailedPrecondition
		}
	}
	if r.method == methodExec && r.isAboutCommand() {
		switch {
		case endsWith(t, "no such file or directory", "not a directory"):
			return messages.NotFound
		case endsWith(t, "permission denied", "exec format error"):
			return messages.FailedPrecondition
		}
		return messages.InvalidArgument
	}
	switch {
	case strings.Contains(t, "of a different container"), strings.Contains(t, "to a different container"),
		strings.Contains(t, "no such process group"):
		return messages.NotFound
	case endsWith(t, "no TTY attached"):
		return messages.FailedPrecondition
	case endsWith(t, "must be positive", "when signaling all processes", "when signaling a process group", "invalid argument"):
		return messages.InvalidArgument
	}
	// runsc prints the same causes, with its own words before them.
	_, kind := kindOf(t)
	return kind
}

// isAboutCommand tells whether a refused exec is one that can not run as it is:
// its command, its working directory or its environment.
func (r *refusal) isAboutCommand() bool {
	for _, start := range []string{
		"error finding executable ", "failed to load ", "failed to find initial working directory ",
		"working directory ", "resolving env: ", "no filename or command provided",
		// PATH look-up gives the bare error for a command that is there and can
		// not be opened.
		"permission denied",
	} {
		if strings.HasPrefix(r.text, start) {
			return true
		}
	}
	return false
}

func endsWith(s string, ends ...string) bool {
	for _, e := range ends {
		if strings.HasSuffix(s, e) {
			return true
		}
	}
	return false
}

// hint says what the reader of a refusal can do.
func (r *refusal) hint() string {
	switch {
	case r.kind() == messages.Unimplemented:
		return "this runsc is of another version; use its command line"
	case r.method == methodExec && r.isAboutCommand():
		return "check the command, PATH and cwd as they are inside the container"
	}
	return ""
}

// maxRefusalText bounds what is quoted of a sandbox's own words.
const maxRefusalText = 1024

// printable makes a text that comes from a sandbox fit for a log: a compromised
// one must not write control characters to a terminal or lines to a log.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
	if len(s) > maxRefusalText {
		s = strings.ToValidUTF8(s[:maxRefusalText], "") + "..."
	}
	return s
}

// happenedUnknown tells that it is not known whether a failed call was done.
func happenedUnknown(err error) bool {
	return errors.Is(err, ErrReplyLost) || errors.Is(err, errBadReply)
}

// controlError dresses what a call came to in the words and kind of the protocol.
func controlError(op string, p messages.Process, err error) error {
	e := &messages.Error{Kind: messages.Internal, Op: op, Process: p, Err: err}
	var r *refusal
	switch {
	case errors.As(err, &r):
		e.Kind, e.Hint = r.kind(), r.hint()
	case errors.Is(err, context.Canceled), errors.Is(err, errClientClosed):
		e.Kind = messages.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind = messages.DeadlineExceeded
		e.Hint = "the sandbox does not answer: it is paused, overloaded or hung"
	case errors.Is(err, errNotConnected) && errors.Is(err, syscall.EMFILE), errors.Is(err, errNotConnected) && errors.Is(err, syscall.ENFILE):
		// That is no fault of the sandbox's.
		e.Hint, e.Kind = kindOfHost(err)
	case errors.Is(err, errNotConnected):
		e.Kind = messages.Unavailable
		e.Hint = "check that the sandbox lives, or use the command line"
	case errors.Is(err, ErrReplyLost):
		e.Kind = messages.Unavailable
		e.Hint = "look at the container's processes before this is tried again"
	case errors.Is(err, errBadReply):
		e.Hint = "use the command line for this sandbox"
	}
	return e
}

// badReply is an errBadReply with what is wrong.
func badReply(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBadReply, printable(fmt.Sprintf(format, args...)))
}
