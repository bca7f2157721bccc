package main

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-run/troupe/messages"
)

// codeOf is the code by which a kind of error crosses ttrpc; containerd turns
// it back into its own kind (errdefs/pkg/errgrpc).
var codeOf = map[error]codes.Code{
	messages.NotFound:           codes.NotFound,
	messages.AlreadyExists:      codes.AlreadyExists,
	messages.FailedPrecondition: codes.FailedPrecondition,
	messages.InvalidArgument:    codes.InvalidArgument,
	messages.DeadlineExceeded:   codes.DeadlineExceeded,
	messages.Canceled:           codes.Canceled,
	messages.Unavailable:        codes.Unavailable,
	messages.ResourceExhausted:  codes.ResourceExhausted,
	messages.Unimplemented:      codes.Unimplemented,
	messages.Aborted:            codes.Aborted,
	messages.Internal:           codes.Internal,
}

// wireError gives an error its code. Without one every error is Unknown at the
// other end (gvisor#7504).
func wireError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf[messages.KindOf(err)], err.Error())
}
