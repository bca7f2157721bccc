package containerd

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-run/troupe/messages"
)

var kinds = map[codes.Code]error{
	codes.NotFound:           messages.NotFound,
	codes.AlreadyExists:      messages.AlreadyExists,
	codes.FailedPrecondition: messages.FailedPrecondition,
	codes.InvalidArgument:    messages.InvalidArgument,
	codes.DeadlineExceeded:   messages.DeadlineExceeded,
	codes.Canceled:           messages.Canceled,
	codes.Unavailable:        messages.Unavailable,
	codes.ResourceExhausted:  messages.ResourceExhausted,
	codes.Unimplemented:      messages.Unimplemented,
	codes.Aborted:            messages.Aborted,
}

// about is an error of containerd with its kind, and what it is about. It is
// nil for nil.
func about(op string, p messages.Process, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return &messages.Error{Kind: messages.KindOf(err), Op: op, Process: p, Err: err}
	}
	kind, ok := kinds[s.Code()]
	if !ok {
		kind = messages.Internal
	}
	return &messages.Error{Kind: kind, Op: op, Process: p, Err: messages.Text(s.Message())}
}

// kindOf is err with its kind.
func kindOf(err error) error { return about("ask containerd", messages.Process{}, err) }
