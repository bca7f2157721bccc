package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/fifo"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/troupe-run/troupe/messages"
)

// streamingService is the name of containerd's streaming service
// (api/services/streaming/v1), which a daemon of 2.x with "io_type =
// 'streaming'" calls in a shim in place of opening FIFOs.
//
// Its messages are encoded by hand, as CRI's: each is one field.
const streamingService = "containerd.services.streaming.v1.Streaming"

// Messages that travel on a stream, each in an Any of the bare name
// (api/types/transfer/streaming.proto).
const (
	streamData   = "containerd.types.transfer.Data"
	streamWindow = "containerd.types.transfer.WindowUpdate"
	streamAck    = "google.protobuf.Empty"
)

const (
	// streamWindowSize is how many bytes of stdin may be on their way to the
	// process: what containerd grants for output (core/transfer/streaming).
	streamWindowSize = 64 << 10
	// maxStreamRead is the most that one message carries, again containerd's.
	maxStreamRead = 32 << 10
)

func registerStreaming(server *ttrpc.Server, set *streamSet) {
	server.RegisterService(streamingService, &ttrpc.ServiceDesc{Streams: map[string]ttrpc.Stream{
		"Stream": {
			Handler: func(ctx context.Context, ss ttrpc.StreamServer) (any, error) {
				if err := set.serve(ctx, ss); err != nil {
					return nil, wireError(err)
				}
				return nil, nil
			},
			StreamingClient: true,
			StreamingServer: true,
		},
	}})
}

// serve is one stream, for as long as containerd is connected. containerd opens
// it before it names it in Create or Exec, and again, by the same name, after a
// restart; what the process writes in between waits in the FIFO.
func (set *streamSet) serve(ctx context.Context, ss ttrpc.StreamServer) error {
	var first anypb.Any
	if err := ss.RecvMsg(&first); err != nil {
		return err
	}
	var id string
	eachField(first.Value, func(number int, value []byte) {
		if number == 1 {
			id = string(value)
		}
	})
	if id == "" {
		return &messages.Error{Kind: messages.InvalidArgument, Op: "open a stream", Err: errors.New("its first message names no stream")}
	}
	st, leave := set.join(id)
	defer leave()
	// From now on the stream is known: containerd may name it.
	if err := ss.SendMsg(&anypb.Any{TypeUrl: streamAck}); err != nil {
		return err
	}
	in := newStreamIntake()
	go in.receive(ss)
	select {
	case <-st.placed:
	case <-st.gone:
		return nil
	case <-ctx.Done():
		return nil
	}
	if st.input {
		return st.feed(ss, in)
	}
	return st.drain(ctx, ss, in)
}

// open opens our end of the FIFO, as soon as the driver opens the other, and
// closes it when the stream's user is gone. It is nil if the process was deleted
// before: nobody needs it any more.
func (st *stream) open(ctx context.Context, flag int) (io.ReadWriteCloser, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-st.gone:
			cancel()
		case <-waiting.Done():
		}
	}()
	f, err := fifo.OpenFifo(waiting, st.path, flag, 0)
	if err != nil {
		if waiting.Err() != nil {
			return nil, nil
		}
		return nil, fmt.Errorf("open the FIFO of a stream: %w", err)
	}
	context.AfterFunc(ctx, func() { f.Close() })
	return f, nil
}

// feed takes containerd's bytes to the process's stdin. The end of the stream
// closes our end of the FIFO; the process sees it after CloseIO, as with a FIFO
// of containerd's.
//
// It outlives the connection: what has arrived is the process's.
func (st *stream) feed(ss ttrpc.StreamServer, in *streamIntake) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-st.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	f, err := st.open(ctx, unix.O_WRONLY)
	if f == nil {
		return err
	}
	defer f.Close()
	for granted := streamWindowSize; ; {
		// Without a connection there is nobody to grant it to.
		_ = ss.SendMsg(windowUpdate(granted))
		chunk, ok := in.next(ctx)
		if !ok {
			return nil
		}
		if _, err := f.Write(chunk); err != nil {
			return nil // the process has closed its stdin, or is gone
		}
		granted = len(chunk)
	}
}

// drain takes the process's output to containerd, as much as containerd has
// room for: what is read from the FIFO would be lost with the connection.
func (st *stream) drain(ctx context.Context, ss ttrpc.StreamServer, in *streamIntake) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.endsWith(cancel) // an output that containerd closes is not wanted any more
	f, err := st.open(ctx, unix.O_RDONLY)
	if f == nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, maxStreamRead)
	for {
		room, ok := in.room(ctx)
		if !ok {
			return nil
		}
		n, readErr := f.Read(buf[:min(room, len(buf))])
		if n > 0 {
			if err := ss.SendMsg(dataMessage(buf[:n])); err != nil {
				return err
			}
			in.used(n)
		}
		if readErr != nil {
			return nil // the end, or containerd's
		}
	}
}

func dataMessage(p []byte) *anypb.Any {
	value := protowire.AppendTag(make([]byte, 0, len(p)+8), 1, protowire.BytesType)
	return &anypb.Any{TypeUrl: streamData, Value: protowire.AppendBytes(value, p)}
}

func windowUpdate(n int) *anypb.Any {
	value := protowire.AppendTag(nil, 1, protowire.VarintType)
	return &anypb.Any{TypeUrl: streamWindow, Value: protowire.AppendVarint(value, uint64(n))}
}
