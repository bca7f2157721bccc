package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/troupe-run/troupe/messages"
)

const (
	// lastWords is how long execs that live when the load ends may go on before
	// they are killed.
	lastWords = 2 * time.Second
	// eventPatience is how long events may come after the last answer.
	eventPatience = 10 * time.Second
	// makersAtOnce is how many sandboxes are made at the same time: to make one
	// is mostly work of the processor.
	makersAtOnce = 2
)

// run is one load.
type run struct {
	options  Options
	target   Target
	recorder *recorder
	checker  *Checker
	report   *Report
	// taken are the execs of Options.Count that are under way or done.
	taken atomic.Int64
	// over is closed when what still lives is to be killed.
	over chan struct{}
}

// Run puts a target under load and reports. When ctx ends, the load ends early,
// and the report says so; everything is cleared away in either case, and the
// target can be used again.
//
// The error is for what kept the load from being made at all: wrong options
// (InvalidArgument), a target that does not answer, a container that can not be
// made. Then there is a report too, if the load had begun.
func Run(ctx context.Context, target Target, o Options) (*Report, error) {
	if err := o.complete(); err != nil {
		return nil, &messages.Error{Kind: messages.InvalidArgument, Op: "read the options of a load", Err: err}
	}
	about, err := target.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the target what it is: %w", err)
	}
	r := &run{
		options: o, target: target, recorder: newRecorder(), checker: NewChecker(),
		report: newReport(o, about), over: make(chan struct{}),
	}
	eventsCtx, stopEvents := context.WithCancel(context.Background())
	defer stopEvents()
	events, err := target.Events(eventsCtx)
	if err != nil {
		return nil, fmt.Errorf("observe the target's events: %w", err)
	}
	go func() {
		for e := range events {
			r.checker.Saw(e)
		}
	}()
	sampler := newSampler(r)
	sampler.baseline()

	containers, err := r.furnish(ctx)
	if err == nil {
		err = r.load(ctx, containers, sampler)
	}
	r.clear(containers)
	r.awaitEvents()
	r.finish(ctx, sampler)
	return r.report, err
}

// furnish makes the sandboxes and their containers.
func (r *run) furnish(ctx context.Context) ([]messages.ContainerID, error) {
	var (
		mu    sync.Mutex
		made  []messages.ContainerID
		errs  []error
		slots = make(chan struct{}, makersAtOnce)
		all   sync.WaitGroup
	)
	for s := range r.options.Sandboxes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			first := r.containerID(s, 0)
			for c := range r.options.Containers {
				id := r.containerID(s, c)
				mu.Lock()
				failed := len(errs) > 0
				mu.Unlock()
				if failed || ctx.Err() != nil {
					return
				}
				created, err := r.container(Container{ID: id, Sandbox: messages.SandboxID(first)})
				mu.Lock()
				if created {
					made = append(made, id)
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return made, errors.Join(errs...)
}

func (r *run) containerID(sandbox, container int) messages.ContainerID {
	return messages.ContainerID(fmt.Sprintf("%s-%d-%d", r.options.Prefix, sandbox, container))
}

func (r *run) container(c Container) (created bool, err error) {
	ctx, cancel := r.call()
	defer cancel()
	if err := r.recorder.timed(OpContainerCreate, func() error { return r.target.Create(ctx, c) }); err != nil {
		return false, err
	}
	return true, r.recorder.timed(OpContainerStart, func() error {
		return r.target.Start(ctx, messages.Init(c.ID))
	})
}

// load runs the workers until the time or the count is over.
func (r *run) load(ctx context.Context, containers []messages.ContainerID, s *sampler) error {
	if len(containers) == 0 {
		return nil // interrupted
	}
	s.idle()
	loadCtx, stop := context.WithCancel(ctx)
	defer stop()
	if d := r.options.Duration; d > 0 {
		var cancel context.CancelFunc
		loadCtx, cancel = context.WithTimeout(loadCtx, d)
		defer cancel()
	}
	context.AfterFunc(loadCtx, func() {
		time.AfterFunc(lastWords, func() { close(r.over) })
	})

	s.begin()
	errs := make([]error, r.options.AtOnce)
	var workers sync.WaitGroup
	for i := range r.options.AtOnce {
		w := &worker{
			run: r, number: i, container: containers[i%len(containers)], ctx: loadCtx,
			rand: rand.New(rand.NewPCG(r.options.Seed, uint64(i))),
		}
		workers.Go(func() { errs[i] = w.work() })
	}
	workers.Wait()
	s.end()
	return errors.Join(errs...)
}

// take claims one exec of Options.Count.
func (r *run) take() bool {
	return r.options.Count == 0 || r.taken.Add(1) <= int64(r.options.Count)
}

// clear kills and deletes the containers, the first of each sandbox last.
func (r *run) clear(containers []messages.ContainerID) {
	firsts := map[messages.ContainerID]bool{}
	for s := range r.options.Sandboxes {
		firsts[r.containerID(s, 0)] = true
	}
	for _, first := range []bool{false, true} {
		var all sync.WaitGroup
		slots := make(chan struct{}, makersAtOnce)
		for _, id := range containers {
			if firsts[id] != first {
				continue
			}
			all.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				// Its error is in the report.
				_ = r.recorder.timed(OpContainerDelete, func() error { return r.end(messages.Init(id)) })
			})
		}
		all.Wait()
	}
}

// end kills a container, waits for its exit and deletes it.
func (r *run) end(init messages.Process) error {
	ctx, cancel := r.call()
	defer cancel()
	killErr := r.target.Kill(ctx, init, syscall.SIGKILL)
	if _, err := r.target.Wait(ctx, init); err != nil {
		return errors.Join(err, killErr)
	}
	return r.target.Delete(ctx, init)
}

// awaitEvents waits for what the checker still expects.
func (r *run) awaitEvents() {
	deadline := time.Now().Add(eventPatience)
	for r.checker.Pending() > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
}

// finish completes the report.
func (r *run) finish(ctx context.Context, s *sampler) {
	s.last()
	rep := r.report
	rep.Interrupted = ctx.Err() != nil
	rep.Latencies = r.recorder.latencies()
	rep.Errors = r.recorder.errorCounts()
	rep.Counts = r.recorder.now()
	rep.Violations = r.checker.End()
	rep.Events, _ = r.checker.Counts()
	rep.Leaks = leftovers(rep)
	if r.options.Leaks {
		rep.Leaks = append(append(rep.Leaks, FindLeaks(rep.Samples)...), notReturned(rep)...)
	}
}
