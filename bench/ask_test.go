package bench

import (
	"context"
	"sync"
	"testing"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/messages"
)

// BenchmarkState asks for the status of a running exec: through the runtime (by
// way of directory, sandbox, container and exec), from a struct behind a mutex,
// and from a goroutine behind a channel.
func BenchmarkState(b *testing.B) {
	b.Run("troupe", func(b *testing.B) {
		rt := newRuntime(b)
		p := add(b, rt, "one", "sleep")
		start(b, rt, p)
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			s, err := actors.Ask(ctx, rt, messages.State{Process: p})
			if err != nil || s.Status != messages.StatusRunning {
				b.Fatalf("State gave %v, %v", s.Status, err)
			}
		}
	})
	b.Run("mutex", func(b *testing.B) {
		p := &mutexProcess{state: messages.ProcessState{Status: messages.StatusRunning}}
		b.ReportAllocs()
		for b.Loop() {
			if s := p.State(); s.Status != messages.StatusRunning {
				b.Fatal(s.Status)
			}
		}
	})
	b.Run("channel", func(b *testing.B) {
		requests := make(chan chan messages.ProcessState)
		go func() {
			state := messages.ProcessState{Status: messages.StatusRunning}
			for r := range requests {
				r <- state
			}
		}()
		defer close(requests)
		b.ReportAllocs()
		for b.Loop() {
			r := make(chan messages.ProcessState, 1)
			requests <- r
			if s := <-r; s.Status != messages.StatusRunning {
				b.Fatal(s.Status)
			}
		}
	})
}

// mutexProcess is how today's shims keep a process.
type mutexProcess struct {
	mu    sync.Mutex
	state messages.ProcessState
}

func (p *mutexProcess) State() messages.ProcessState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}
