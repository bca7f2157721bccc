package messages

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The kinds of errors. Each is an error to compare with errors.Is, and each has
// the marker method by which github.com/containerd/errdefs knows its own kinds
// (errdefs.IsNotFound and so on hold for them), so that a kind survives the way
// to a containerd client without this package importing anything.
var (
	NotFound           error = notFound{"NotFound"}
	AlreadyExists      error = alreadyExists{"AlreadyExists"}
	FailedPrecondition error = failedPrecondition{"FailedPrecondition"}
	InvalidArgument    error = invalidArgument{"InvalidArgument"}
	DeadlineExceeded   error = deadlineExceeded{"DeadlineExceeded"}
	Canceled           error = canceled{"Canceled"}
	Unavailable        error = unavailable{"Unavailable"}
	ResourceExhausted  error = resourceExhausted{"ResourceExhausted"}
	Unimplemented      error = unimplemented{"Unimplemented"}
	Aborted            error = aborted{"Aborted"}
	Internal           error = internal{"Internal"}
)

// Kinds lists every kind, in the order of the documentation.
func Kinds() []error {
	return []error{
		NotFound, AlreadyExists, FailedPrecondition, InvalidArgument,
		DeadlineExceeded, Canceled, Unavailable, ResourceExhausted,
		Unimplemented, Aborted, Internal,
	}
}

type kind string

func (k kind) Error() string { return string(k) }

type (
	notFound           struct{ kind }
	alreadyExists      struct{ kind }
	failedPrecondition struct{ kind }
	invalidArgument    struct{ kind }
	deadlineExceeded   struct{ kind }
	canceled           struct{ kind }
	unavailable        struct{ kind }
	resourceExhausted  struct{ kind }
	unimplemented      struct{ kind }
	aborted            struct{ kind }
	internal           struct{ kind }
)

func (notFound) NotFound()                     {}
func (alreadyExists) AlreadyExists()           {}
func (failedPrecondition) FailedPrecondition() {}
func (invalidArgument) InvalidParameter()      {}
func (deadlineExceeded) DeadlineExceeded()     {}
func (canceled) Cancelled()                    {}
func (unavailable) Unavailable()               {}
func (resourceExhausted) ResourceExhausted()   {}
func (unimplemented) NotImplemented()          {}
func (aborted) Aborted()                       {}
func (internal) System()                       {}

// Is makes the two kinds that the standard library has too equal to them.
func (deadlineExceeded) Is(target error) bool { return target == context.DeadlineExceeded }

// Is makes the two kinds that the standard library has too equal to them.
func (canceled) Is(target error) bool { return target == context.Canceled }

// Text is an error that is its text. It is a comparable constant where
// errors.New is not.
type Text string

func (t Text) Error() string { return string(t) }

// Error is the error of a command. Its text says what was tried, on which
// process or sandbox, why it failed and what to do about it.
type Error struct {
	// Kind is one of [Kinds].
	Kind error
	// Op says what was tried, as a verb and its object: "start exec".
	Op string
	// Process is the process that it was tried on; its zero value where there
	// is none.
	Process Process
	// Sandbox is set where the sandbox and not one process is concerned.
	Sandbox SandboxID
	// Err is the cause, or nil.
	Err error
	// Hint says what the reader can do, or is empty.
	Hint string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Process.Container != "" {
		fmt.Fprintf(&b, " %s", e.Process)
	}
	if e.Sandbox != "" {
		fmt.Fprintf(&b, " (sandbox %s)", e.Sandbox)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	} else if e.Kind != nil {
		fmt.Fprintf(&b, ": %v", e.Kind)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "; %s", e.Hint)
	}
	return b.String()
}

// Unwrap gives the kind first, so that it wins over a kind of the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// KindOf is the kind of err: that of the outermost [Error] in its chain, else
// the first kind that err is, else Internal. It is nil for nil.
func KindOf(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e.Kind != nil {
		return e.Kind
	}
	for _, k := range Kinds() {
		if errors.Is(err, k) {
			return k
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Internal
}
