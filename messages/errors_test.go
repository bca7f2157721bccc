package messages

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// gVisor's shim lost the kinds of errors on the wire (gvisor#7504): containerd
// must know each of ours for its own.
func TestKindsAreContainerds(t *testing.T) {
	known := map[error]func(error) bool{
		NotFound:           errdefs.IsNotFound,
		AlreadyExists:      errdefs.IsAlreadyExists,
		FailedPrecondition: errdefs.IsFailedPrecondition,
		InvalidArgument:    errdefs.IsInvalidArgument,
		DeadlineExceeded:   errdefs.IsDeadlineExceeded,
		Canceled:           errdefs.IsCanceled,
		Unavailable:        errdefs.IsUnavailable,
		ResourceExhausted:  errdefs.IsResourceExhausted,
		Unimplemented:      errdefs.IsNotImplemented,
		Aborted:            errdefs.IsAborted,
		Internal:           errdefs.IsInternal,
	}
	for _, kind := range Kinds() {
		err := fmt.Errorf("asked: %w", &Error{Kind: kind, Op: "start", Process: Init("c"), Err: Text("why")})
		for other, is := range known {
			if got := is(err); got != (other == kind) {
				t.Errorf("an error of kind %v is taken for %v: %v", kind, other, got)
			}
		}
		if KindOf(err) != kind || !errors.Is(err, kind) || !errors.Is(err, Text("why")) {
			t.Errorf("%v: kind %v", err, KindOf(err))
		}
	}
}

func TestKindOf(t *testing.T) {
	inner := &Error{Kind: NotFound, Op: "load"}
	for _, c := range []struct {
		err  error
		want error
	}{
		{nil, nil},
		{errors.New("plain"), Internal},
		{context.DeadlineExceeded, DeadlineExceeded},
		{fmt.Errorf("call: %w", context.Canceled), Canceled},
		{Unavailable, Unavailable},
		{fmt.Errorf("call: %w", inner), NotFound},
		// The outer kind is what the outer error says it is.
		{&Error{Kind: FailedPrecondition, Op: "start", Err: inner}, FailedPrecondition},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]error{
		"start c/e: it was never made; make it first": &Error{
			Kind: NotFound, Op: "start", Process: Process{"c", "e"}, Err: Text("it was never made"), Hint: "make it first",
		},
		"create c (sandbox s): NotFound": &Error{Kind: NotFound, Op: "create", Process: Init("c"), Sandbox: "s"},
		"shut down: why":                 &Error{Kind: Internal, Op: "shut down", Err: Text("why")},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
