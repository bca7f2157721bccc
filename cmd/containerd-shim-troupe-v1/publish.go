package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// maxQueued bounds the events that wait for containerd. While it is away
	// nobody gives new orders, so what comes is at most the exits of the
	// processes that live; a pod with this many is not known.
	maxQueued = 16384
	// forwardTimeout bounds one attempt: containerd's own publisher has 5 s.
	forwardTimeout = 5 * time.Second
	// An attempt that failed is repeated after firstRetry, then after twice the
	// time, up to lastRetry: soon enough after containerd's return, and no load
	// while it is away.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// sink takes one event to the daemon. An error that is permanent (the daemon
// refuses this event for what it is) is wrapped in errRefused.
type sink interface {
	forward(ctx context.Context, e *types.Envelope) error
	close()
}

var errRefused = errors.New("the daemon refuses the event")

// publisher forwards events in the order in which they were put, one at a
// time, and keeps trying the first until it is through: a retry never lets a
// later event pass.
type publisher struct {
	namespace string
	to        sink
	log       *slog.Logger

	mu      sync.Mutex
	queue   []*types.Envelope
	dropped uint64
	closing bool
	wake    chan struct{} // capacity 1
	done    chan struct{} // closed when run has returned
	ctx     context.Context
	cancel  context.CancelFunc
}

func newPublisher(namespace string, to sink, log *slog.Logger) *publisher {
	p := &publisher{
		namespace: namespace,
		to:        to,
		log:       log,
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()
	return p
}

// put queues an event; it never waits. With a full queue the event is dropped,
// which is logged: the oldest are kept, since a reader that misses the later
// ones can ask for the state, and the order of what it has is a story that
// begins at the beginning.
func (p *publisher) put(topic string, message proto.Message) {
	event, err := asAny(message)
	if err != nil {
		p.log.Error("an event can not be encoded", "topic", topic, "error", err)
		return
	}
	e := &types.Envelope{
		Timestamp: timestamppb.Now(),
		Namespace: p.namespace,
		Topic:     topic,
		Event:     event,
	}
	p.mu.Lock()
	full := len(p.queue) >= maxQueued
	if full {
		p.dropped++
	} else {
		p.queue = append(p.queue, e)
	}
	dropped := p.dropped
	p.mu.Unlock()
	if full {
		p.log.Error("an event is lost: containerd takes none and the queue is full", "topic", topic, "queued", maxQueued, "lost", dropped)
		return
	}
	p.signal()
}

func (p *publisher) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// close waits until everything is forwarded, or ctx ends; then what is left is
// dropped and logged.
func (p *publisher) close(ctx context.Context) {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.signal()
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	p.cancel()
	<-p.done
	p.to.close()
	p.mu.Lock()
	n := len(p.queue)
	p.mu.Unlock()
	if n > 0 {
		p.log.Error("events are lost: containerd did not take them before the shim's end", "lost", n)
	}
}

// first is the oldest event that waits, or nil and whether there may be more.
func (p *publisher) first() (e *types.Envelope, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 {
		return p.queue[0], true
	}
	return nil, !p.closing
}

func (p *publisher) pop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue[0] = nil
	p.queue = p.queue[1:]
	if len(p.queue) == 0 {
		p.queue = nil // the backing array of a long absence
	}
}

func (p *publisher) run() {
	defer close(p.done)
	retry := firstRetry
	for {
		e, more := p.first()
		if !more {
			return
		}
		if e == nil {
			select {
			case <-p.wake:
			case <-p.ctx.Done():
				return
			}
			continue
		}
		err := p.forward(e)
		switch {
		case err == nil:
			retry = firstRetry
			p.pop()
			continue
		case errors.Is(err, errRefused):
			p.log.Error("an event is lost", "topic", e.Topic, "error", err)
			p.pop()
			continue
		}
		p.log.Debug("containerd does not take events; trying again", "topic", e.Topic, "in", retry, "error", err)
		select {
		case <-time.After(retry):
		case <-p.ctx.Done():
			return
		}
		retry = min(2*retry, lastRetry)
	}
}

func (p *publisher) forward(e *types.Envelope) error {
	ctx, cancel := context.WithTimeout(p.ctx, forwardTimeout)
	defer cancel()
	return p.to.forward(ctx, e)
}

// newSink chooses the way to the daemon: its ttrpc socket, else the program
// that publishes, else none (CRI-O asks for no events).
func newSink(ttrpcAddress, address, program string) sink {
	switch {
	case ttrpcAddress != "":
		return &ttrpcSink{path: pathOfAddress(ttrpcAddress)}
	case program != "":
		return programSink{program: program, address: address}
	}
	return noSink{}
}

// ttrpcSink is containerd's events service. It is used by one goroutine.
type ttrpcSink struct {
	path   string
	client *ttrpc.Client
}

func (s *ttrpcSink) forward(ctx context.Context, e *types.Envelope) error {
	if s.client == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.path)
		if err != nil {
			return fmt.Errorf("reach containerd: %w", err)
		}
		s.client = ttrpc.NewClient(conn)
	}
	_, err := eventsapi.NewTTRPCEventsClient(s.client).Forward(ctx, &eventsapi.ForwardRequest{Envelope: e})
	if err == nil {
		return nil
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition:
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	// The connection is of a containerd that is gone or stuck; the next attempt
	// makes a new one.
	s.close()
	return fmt.Errorf("forward to containerd: %w", err)
}

func (s *ttrpcSink) close() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

// programSink is "containerd publish", which reads the event from stdin.
type programSink struct{ program, address string }

func (s programSink) forward(ctx context.Context, e *types.Envelope) error {
	data, err := proto.Marshal(e.Event)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	cmd := exec.CommandContext(ctx, s.program, "--address", s.address, "publish", "--topic", e.Topic, "--namespace", e.Namespace)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s publish: %w: %s", s.program, err, bytes.TrimSpace(out))
	}
	return nil
}

func (programSink) close() {}

type noSink struct{}

func (noSink) forward(context.Context, *types.Envelope) error { return nil }
func (noSink) close()                                         {}
