package play

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// step is a directive that was understood. send hands its command over and
// returns without waiting for the answer; asked waits for it and gives the
// output.
type step interface {
	send(ctx context.Context, s *stage) asked
}

type (
	create struct{ spec CreateSpec }
	exec   struct {
		process messages.Process
		program Program
	}
	start struct{ process messages.Process }
	wait  struct {
		process messages.Process
		timeout time.Duration
	}
	kill struct {
		process messages.Process
		signal  syscall.Signal
		all     bool
	}
	resize struct {
		process messages.Process
		size    messages.WindowSize
	}
	write struct {
		process messages.Process
		text    string
	}
	closeIO struct{ process messages.Process }
	state   struct{ process messages.Process }
	pids    struct{ container messages.ContainerID }
	stats   struct{ container messages.ContainerID }
	pause   struct{ container messages.ContainerID }
	resume  struct{ container messages.ContainerID }
	update  struct {
		container messages.ContainerID
		memory    int64
	}
	release struct{ process messages.Process }
	output  struct {
		process messages.Process
		stderr  bool
	}
	events   struct{}
	parallel []step
	sleep    struct{ time.Duration }
)

func (c create) send(ctx context.Context, s *stage) asked {
	bundle, cleanup, err := s.options.Bundler.Bundle(c.spec)
	if err != nil {
		return told(errorText(err))
	}
	p := messages.Init(c.spec.Container)
	r := newRecord(c.spec.Program.Terminal)
	r.cleanup = cleanup
	made := false
	reply := ask(ctx, s, messages.Create{
		Container: c.spec.Container,
		Sandbox:   c.spec.Sandbox,
		Bundle:    bundle,
		Stdio:     r.stdio(c.spec.Program.Terminal),
	}, func(messages.Created) string {
		made = true
		s.add(p, r)
		return fmt.Sprintf("created %s", p)
	})
	return func() string {
		text := reply()
		if !made {
			r.close()
		}
		return text
	}
}

func (e exec) send(ctx context.Context, s *stage) asked {
	r := newRecord(e.program.Terminal)
	cmd := messages.Exec{
		Process: e.process,
		Spec:    messages.ExecSpec{Process: e.program.Process()},
		Stdio:   r.stdio(e.program.Terminal),
	}
	made := false
	reply := ask(ctx, s, cmd, func(messages.Added) string {
		made = true
		s.add(e.process, r)
		return fmt.Sprintf("added %s", e.process)
	})
	return func() string {
		text := reply()
		if !made {
			r.close()
		}
		return text
	}
}

func (x start) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.Start{Process: x.process}, func(messages.Started) string {
		if r := s.records[x.process]; r != nil {
			r.started = true
		}
		return fmt.Sprintf("started %s", x.process)
	})
}

func (w wait) send(ctx context.Context, s *stage) asked {
	cancel := func() {}
	if w.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
	}
	reply := ask(ctx, s, messages.Wait{Process: w.process}, func(r messages.Exited) string {
		s.exited(w.process)
		return fmt.Sprintf("exited %s status=%d", w.process, r.Exit.Status)
	})
	return func() string {
		defer cancel()
		return reply()
	}
}

func (k kill) send(ctx context.Context, s *stage) asked {
	cmd := messages.Kill{Process: k.process, Signal: k.signal, All: k.all}
	return ask(ctx, s, cmd, func(messages.Killed) string { return fmt.Sprintf("killed %s", k.process) })
}

func (r resize) send(ctx context.Context, s *stage) asked {
	cmd := messages.Resize{Process: r.process, Size: r.size}
	return ask(ctx, s, cmd, func(messages.Resized) string { return fmt.Sprintf("resized %s", r.process) })
}

func (w write) send(_ context.Context, s *stage) asked {
	r := s.records[w.process]
	if r == nil {
		return told(errorText(unknown("write", w.process)))
	}
	r.stdin.write(w.text)
	return told(fmt.Sprintf("wrote %s", w.process))
}

func unknown(op string, p messages.Process) error {
	return &messages.Error{
		Kind: messages.NotFound, Op: op, Process: p,
		Err:  messages.Text("the script made no such process"),
		Hint: "create or exec it first",
	}
}

func (c closeIO) send(ctx context.Context, s *stage) asked {
	r := s.records[c.process]
	if r != nil && r.started && !r.exited {
		drain, cancel := context.WithTimeout(ctx, endTimeout)
		r.stdin.drained(drain)
		cancel()
	}
	return ask(ctx, s, messages.CloseIO{Process: c.process}, func(messages.IOClosed) string {
		if r != nil {
			r.stdin.closeWrite()
		}
		return fmt.Sprintf("closed %s", c.process)
	})
}

func (x state) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.State{Process: x.process}, func(r messages.ProcessState) string {
		if r.Exit == nil {
			return fmt.Sprintf("%s %s", x.process, r.Status)
		}
		s.exited(x.process)
		return fmt.Sprintf("%s %s status=%d", x.process, r.Status, r.Exit.Status)
	})
}

func (x pids) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.Pids{Container: x.container}, func(r messages.PidList) string {
		var b strings.Builder
		for _, p := range r.Processes {
			if p.Process.IsInit() {
				fmt.Fprintln(&b, "init")
			} else {
				fmt.Fprintln(&b, p.Process.Exec)
			}
		}
		return b.String()
	})
}

func (x stats) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.Stats{Container: x.container}, func(r messages.Measured) string {
		var names []string
		if r.Usage.Memory.Current > 0 {
			names = append(names, "memory")
		}
		if r.Usage.PIDs.Current > 0 {
			names = append(names, "pids")
		}
		return strings.Join(names, " ")
	})
}

func (x pause) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.Pause{Container: x.container}, func(messages.Paused) string {
		return fmt.Sprintf("paused %s", x.container)
	})
}

func (x resume) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.Resume{Container: x.container}, func(messages.Resumed) string {
		return fmt.Sprintf("resumed %s", x.container)
	})
}

func (u update) send(ctx context.Context, s *stage) asked {
	cmd := messages.Update{Container: u.container, Resources: memoryLimit(u.memory)}
	return ask(ctx, s, cmd, func(messages.Updated) string { return fmt.Sprintf("updated %s", u.container) })
}

func (x release) send(ctx context.Context, s *stage) asked {
	return ask(ctx, s, messages.Delete{Process: x.process}, func(r messages.Deleted) string {
		text := fmt.Sprintf("deleted %s", x.process)
		if r.Exit != nil {
			s.exited(x.process)
			text += fmt.Sprintf(" status=%d", r.Exit.Status)
		}
		s.forget(x.process)
		return text
	})
}

func (o output) send(ctx context.Context, s *stage) asked {
	r := s.records[o.process]
	if r == nil {
		r = s.deleted[o.process]
	}
	if r == nil {
		return told(errorText(unknown("output", o.process)))
	}
	stream := r.stdout
	if o.stderr {
		stream = r.stderr
	}
	switch {
	case stream == nil:
		return told("") // a terminal has no stderr of its own
	case r.deleted:
		// Deleted says that the stream was drained.
		return told(stream.look().text())
	case r.exited:
		return told(stream.settle(ctx).text())
	default:
		return told(stream.look().text())
	}
}

func (events) send(ctx context.Context, s *stage) asked {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	list, err := take(ctx, s.events)
	if err != nil {
		return told(errorText(err))
	}
	return told(render(list))
}

func (p parallel) send(ctx context.Context, s *stage) asked {
	answers := make([]asked, len(p))
	for i, x := range p {
		answers[i] = x.send(ctx, s)
	}
	return func() string {
		var b strings.Builder
		for _, a := range answers {
			if text := a(); text != "" {
				fmt.Fprintln(&b, strings.TrimSuffix(text, "\n"))
			}
		}
		return b.String()
	}
}

func (d sleep) send(ctx context.Context, _ *stage) asked {
	select {
	case <-time.After(d.Duration):
	case <-ctx.Done():
	}
	return told("")
}
