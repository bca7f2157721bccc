package inprocess_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/actors"
	"github.com/troupe-run/troupe/actors/fake"
	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/inprocess"
	"github.com/troupe-run/troupe/messages"
)

func newTarget(t *testing.T) *inprocess.Target {
	t.Helper()
	rt, err := actors.New(actors.Options{Driver: fake.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return inprocess.New(inprocess.Options{
		Runtime: rt,
		Bundle:  func(load.Container) (string, func(), error) { return "/none", func() {}, nil },
	})
}

// everything is a load with every kind of exec that the fake driver knows.
var everything = load.Options{
	Sandboxes: 2, Containers: 2, AtOnce: 16, Count: 600,
	Mix:    load.Mix{load.True: 3, load.Sleep: 1},
	Killed: 0.2, Cancelled: 0.1, Terminal: 0.2, Lifetime: 2 * time.Millisecond, Patience: time.Millisecond,
	Interval: 20 * time.Millisecond,
}

func TestLoad(t *testing.T) {
	target := newTarget(t)
	o := everything
	told := 0
	o.Progress = func(p load.Progress) {
		told++
		if p.Share < 0 || p.Share > 1 || p.Violations > 0 {
			t.Errorf("progress %+v", p)
		}
	}
	r, err := load.Run(t.Context(), target, o)
	if err != nil {
		t.Fatal(err)
	}
	c := r.Counts
	if c.Started != 600 || c.Completed+c.Cancelled != 600 || c.Failed != 0 || c.Killed == 0 || c.Cancelled == 0 || c.Terminal == 0 {
		t.Errorf("counts %+v", c)
	}
	if r.Failed() || r.Interrupted || len(r.Errors) > 0 {
		t.Errorf("violations %+v, leaks %v, errors %+v", r.Violations, r.Leaks, r.Errors)
	}
	for _, op := range []string{load.OpAdd, load.OpStart, load.OpStartToExit, load.OpKill, load.OpKillToExit, load.OpDelete, load.OpWhole, load.OpContainerCreate, load.OpContainerStart, load.OpContainerDelete} {
		if l, ok := r.Latency(op); !ok || l.P50 <= 0 || l.P99 < l.P50 {
			t.Errorf("latency of %s: %+v", op, l)
		}
	}
	if l, _ := r.Latency(load.OpContainerCreate); l.Histogram.Count() != 4 {
		t.Errorf("%d containers were made, want 4", l.Histogram.Count())
	}
	// Created, started, exit and delete of 4 containers; added, exit, start and
	// delete of each exec that ran.
	if least := uint64(16 + 4*c.Completed); r.Events < least {
		t.Errorf("%d events were seen, want %d at least", r.Events, least)
	}
	if len(r.Samples) == 0 || told == 0 || r.Samples[0].ByRole[load.RoleRuntime].RSS == 0 || r.Samples[0].Goroutines == 0 {
		t.Errorf("%d samples, the first %+v; told %d times", len(r.Samples), r.Samples, told)
	}
}

// A load that is interrupted is cleared away and reported.
func TestLoadInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := everything
	o.Count, o.Duration = 0, time.Hour
	o.Mix, o.Lifetime, o.Killed, o.Cancelled = load.Mix{load.Sleep: 1}, time.Hour, 0, 0
	o.Interval = 10 * time.Millisecond
	o.Progress = func(load.Progress) { cancel() }
	r, err := load.Run(ctx, newTarget(t), o)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Interrupted || r.Failed() || r.Counts.Cut != 16 || r.Counts.Completed != 0 {
		t.Errorf("interrupted %v, counts %+v, violations %+v, leaks %v", r.Interrupted, r.Counts, r.Violations, r.Leaks)
	}
}

// tamperer passes events on with one of an exec's changed.
type tamperer struct {
	load.Target
	tamper func(e messages.Event, pass func(messages.Event))
}

func (t tamperer) Events(ctx context.Context) (<-chan messages.Event, error) {
	in, err := t.Target.Events(ctx)
	out := make(chan messages.Event)
	go func() {
		defer close(out)
		for e := range in {
			t.tamper(e, func(e messages.Event) { out <- e })
		}
	}()
	return out, err
}

// What a faulty runtime would do with its events is found by a load.
func TestLoadFindsFaults(t *testing.T) {
	victim := messages.Process{Container: "load-0-0", Exec: "w0-3"}
	for rule, tamper := range map[string]func() func(messages.Event, func(messages.Event)){
		load.RuleHasExit: func() func(messages.Event, func(messages.Event)) {
			return func(e messages.Event, pass func(messages.Event)) {
				if _, exit := e.(messages.ProcessExited); !exit || e.Subject() != victim {
					pass(e)
				}
			}
		},
		load.RuleOneExit: func() func(messages.Event, func(messages.Event)) {
			return func(e messages.Event, pass func(messages.Event)) {
				pass(e)
				if _, exit := e.(messages.ProcessExited); exit && e.Subject() == victim {
					pass(e)
				}
			}
		},
		load.RuleStartBefore: func() func(messages.Event, func(messages.Event)) {
			var held messages.Event
			return func(e messages.Event, pass func(messages.Event)) {
				if _, start := e.(messages.ExecStarted); start && e.Subject() == victim {
					held = e
					return
				}
				pass(e)
				if _, exit := e.(messages.ProcessExited); exit && e.Subject() == victim {
					pass(held)
				}
			}
		},
		load.RuleSameExit: func() func(messages.Event, func(messages.Event)) {
			return func(e messages.Event, pass func(messages.Event)) {
				if exit, ok := e.(messages.ProcessExited); ok && e.Subject() == victim {
					exit.Exit.Status = 99
					e = exit
				}
				pass(e)
			}
		},
		load.RuleInitLast: func() func(messages.Event, func(messages.Event)) {
			var held messages.Event
			return func(e messages.Event, pass func(messages.Event)) {
				if _, exit := e.(messages.ProcessExited); exit && e.Subject() == victim {
					held = e
					return
				}
				pass(e)
				if _, exit := e.(messages.ProcessExited); exit && e.Subject() == messages.Init(victim.Container) {
					pass(held)
				}
			}
		},
	} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel() // a missing event is waited for
			// Of two workers one can do all of the work; the victim is the first's.
			r, err := load.Run(t.Context(), tamperer{newTarget(t), tamper()}, load.Options{AtOnce: 1, Count: 20})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Failed() || r.Violations.ByRule[rule] != 1 || !strings.Contains(strings.Join(r.Violations.Texts, "\n"), victim.String()) {
				t.Errorf("found %+v, want one of %s", r.Violations, victim)
			}
		})
	}
}

// broken fails every start.
type broken struct{ load.Target }

func (b broken) Start(ctx context.Context, p messages.Process) error {
	if p.IsInit() {
		return b.Target.Start(ctx, p)
	}
	return &messages.Error{Kind: messages.Unavailable, Op: "start", Process: p, Err: messages.Text("the sandbox is gone")}
}

// A target that can not start anything ends the load, with the errors counted.
func TestLoadGivesUp(t *testing.T) {
	r, err := load.Run(t.Context(), broken{newTarget(t)}, load.Options{AtOnce: 2, Duration: time.Hour})
	if err == nil || !strings.Contains(err.Error(), "gave up") || !strings.Contains(err.Error(), "the sandbox is gone") {
		t.Errorf("error %v", err)
	}
	if r == nil || r.Counts.Failed != 40 || len(r.Errors) != 1 || r.Errors[0].Count != 40 || r.Errors[0].Kind != "Unavailable" {
		t.Fatalf("report %+v", r)
	}
	if r.Failed() {
		t.Errorf("violations %+v, leaks %v", r.Violations, r.Leaks)
	}
}

func TestLoadRefusesOptions(t *testing.T) {
	_, err := load.Run(t.Context(), newTarget(t), load.Options{AtOnce: -1})
	if messages.KindOf(err) != messages.InvalidArgument {
		t.Errorf("error %v", err)
	}
}
