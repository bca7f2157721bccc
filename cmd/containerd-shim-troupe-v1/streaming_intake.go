package main

import (
	"context"
	"errors"
	"sync"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// streamIntake receives what containerd sends on a stream, at once: ttrpc gives
// up a stream whose reader is a second late. What it holds is bounded by the
// window that was granted.
type streamIntake struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	data   []byte
	window int
	ended  bool
	// onEnd is called when nothing will follow.
	onEnd func()
}

func newStreamIntake() *streamIntake {
	return &streamIntake{wake: make(chan struct{}, 1), onEnd: func() {}}
}

// receive runs until the stream ends, the connection breaks, or its peer sends
// more than it may.
func (in *streamIntake) receive(ss ttrpc.StreamServer) {
	for {
		var a anypb.Any
		if receiveMessage(ss, &a) != nil || !in.put(&a) {
			break
		}
	}
	in.mu.Lock()
	in.ended = true
	f := in.onEnd
	in.mu.Unlock()
	in.signal()
	f()
}

// receiveMessage is RecvMsg that prefers what has arrived to the end of the
// connection: containerd closes that right after its last byte, and of the two
// ttrpc takes either by chance (services.go, streamHandler.RecvMsg). Asked this
// often it does not miss.
func receiveMessage(ss ttrpc.StreamServer, a *anypb.Any) (err error) {
	for range 64 {
		if err = ss.RecvMsg(a); !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return err
}

// put takes one message; false if it is more than was granted.
func (in *streamIntake) put(a *anypb.Any) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch typeName(a.TypeUrl) {
	case streamData:
		eachField(a.Value, func(number int, value []byte) {
			if number == 1 {
				in.data = append(in.data, value...)
			}
		})
	case streamWindow:
		if _, kind, tag := protowire.ConsumeTag(a.Value); tag > 0 && kind == protowire.VarintType {
			if n, size := protowire.ConsumeVarint(a.Value[tag:]); size > 0 {
				in.window += int(int32(n))
			}
		}
	}
	in.signal()
	return len(in.data) <= streamWindowSize
}

// endsWith calls f at the end of the stream, at once if that has come.
func (in *streamIntake) endsWith(f func()) {
	in.mu.Lock()
	in.onEnd = f
	ended := in.ended
	in.mu.Unlock()
	if ended {
		f()
	}
}

// next is what has come of an input; false at its end.
func (in *streamIntake) next(ctx context.Context) (chunk []byte, ok bool) {
	for {
		in.mu.Lock()
		chunk, in.data = in.data, nil
		ended := in.ended
		in.mu.Unlock()
		if len(chunk) > 0 {
			return chunk, true
		}
		if ended || !in.wait(ctx) {
			return nil, false
		}
	}
}

// room is how much of an output containerd takes now; it waits until that is
// something. False when the stream is over.
func (in *streamIntake) room(ctx context.Context) (n int, ok bool) {
	for {
		in.mu.Lock()
		n := in.window
		in.mu.Unlock()
		if n > 0 {
			return n, true
		}
		if !in.wait(ctx) {
			return 0, false
		}
	}
}

// used takes n bytes from the room.
func (in *streamIntake) used(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.window -= n
}

func (in *streamIntake) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *streamIntake) wait(ctx context.Context) bool {
	select {
	case <-in.wake:
		return true
	case <-ctx.Done():
		return false
	}
}
