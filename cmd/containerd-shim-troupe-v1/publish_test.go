package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	eventsservice "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// daemonSink is a containerd that can be away.
type daemonSink struct {
	mu    sync.Mutex
	away  bool
	hangs bool
	seen  []string
}

func (s *daemonSink) forward(ctx context.Context, e *types.Envelope) error {
	s.mu.Lock()
	away, hangs := s.away, s.hangs
	s.mu.Unlock()
	switch {
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	case away:
		return errors.New("connection refused")
	case e.Topic == "/bad":
		return fmt.Errorf("%w: no such topic", errRefused)
	}
	var start eventsapi.TaskStart
	if err := proto.Unmarshal(e.Event.Value, &start); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, start.ContainerID)
	return nil
}

func (s *daemonSink) close() {}

func (s *daemonSink) set(away, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.hangs = away, hangs
}

func numbered(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func (p *publisher) start(id string) { p.put("/tasks/start", &eventsapi.TaskStart{ContainerID: id}) }

// TestPublishAway keeps containerd away for longer than the five tries of
// containerd's own publisher, which then drops: every event arrives, in order.
func TestPublishAway(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs=%v", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := &daemonSink{}
				p := newPublisher("ns", sink, discard)
				p.start("0")
				synctest.Wait()
				sink.set(true, hangs)
				for i := range 99 {
					p.start(fmt.Sprint(i + 1))
					time.Sleep(time.Second)
				}
				sink.set(false, false)
				time.Sleep(lastRetry + forwardTimeout)
				synctest.Wait()
				p.close(t.Context())
				if want := numbered(100); !slices.Equal(sink.seen, want) {
					t.Errorf("arrived: %v", sink.seen)
				}
			})
		})
	}
}

// TestPublishFull: the queue has a limit, keeps what came first, and says what
// it lost.
func TestPublishFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		sink := &daemonSink{away: true}
		p := newPublisher("ns", sink, slog.New(slog.NewTextHandler(&log, nil)))
		for i := range maxQueued + 3 {
			p.start(fmt.Sprint(i))
		}
		if n := strings.Count(log.String(), "an event is lost"); n != 3 {
			t.Errorf("%d losses are logged, wanted 3", n)
		}
		sink.set(false, false)
		time.Sleep(2 * lastRetry)
		p.close(t.Context())
		if !slices.Equal(sink.seen, numbered(maxQueued)) {
			t.Errorf("%d arrived, wanted the first %d", len(sink.seen), maxQueued)
		}
	})
}

// TestPublishRefused: one event that the daemon refuses does not stop the rest.
func TestPublishRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := &daemonSink{}
		p := newPublisher("ns", sink, discard)
		p.start("0")
		p.put("/bad", &eventsapi.TaskStart{})
		p.start("1")
		p.close(t.Context())
		if !slices.Equal(sink.seen, numbered(2)) {
			t.Errorf("arrived: %v", sink.seen)
		}
	})
}

// TestPublishCloseIsBounded: a containerd that never comes back delays the end
// of a shim for a bounded time (containerd#13052 panicked there).
func TestPublishCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher("ns", &daemonSink{hangs: true}, discard)
		p.start("0")
		ctx, cancel := context.WithTimeout(t.Context(), flushTimeout)
		defer cancel()
		begun := time.Now()
		p.close(ctx)
		p.start("late") // must not panic
		if took := time.Since(begun); took > flushTimeout {
			t.Errorf("closing took %v", took)
		}
	})
}

// eventsServer is the events service of a containerd.
type eventsServer struct{ topics chan string }

func (s eventsServer) Forward(_ context.Context, r *eventsservice.ForwardRequest) (*emptypb.Empty, error) {
	s.topics <- r.Envelope.Namespace + r.Envelope.Topic + " " + r.Envelope.Event.TypeUrl
	return &emptypb.Empty{}, nil
}

// TestTTRPCSink forwards to a real server that goes away and comes back.
func TestTTRPCSink(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	topics := make(chan string, 10)
	serve := func() *ttrpc.Server {
		os.Remove(path)
		l, err := net.Listen("unix", path)
		must(t, err)
		server, err := ttrpc.NewServer()
		must(t, err)
		eventsservice.RegisterTTRPCEventsService(server, eventsServer{topics})
		go server.Serve(context.Background(), l)
		return server
	}
	first := serve()
	p := newPublisher("ns", newSink("unix://"+path, "", ""), discard)
	const want = "ns/tasks/start containerd.events.TaskStart"
	p.start("a")
	if got := <-topics; got != want {
		t.Errorf("forwarded %q", got)
	}
	first.Close()
	p.start("b")
	second := serve()
	defer second.Close()
	select {
	case got := <-topics:
		if got != want {
			t.Errorf("forwarded %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing arrives after the server's return")
	}
	p.close(t.Context())
}

// TestProgramSink publishes with a program where there is no socket.
func TestProgramSink(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	program := filepath.Join(dir, "publish")
	must(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" > "+out+"\ncat > "+out+".event\n"), 0o755))
	p := newPublisher("ns", newSink("", "/c.sock", program), discard)
	p.start("a")
	p.close(t.Context())
	args, err := os.ReadFile(out)
	must(t, err)
	if got := strings.TrimSpace(string(args)); got != "--address /c.sock publish --topic /tasks/start --namespace ns" {
		t.Errorf("arguments %q", got)
	}
	if event, err := os.ReadFile(out + ".event"); err != nil || !bytes.Contains(event, []byte("containerd.events.TaskStart")) {
		t.Errorf("event %q, %v", event, err)
	}
}
