package load

import (
	"os"
	"runtime"
	"slices"
	"time"
)

// Sample is what was seen at one moment, and since the sample before it.
type Sample struct {
	// At is the time since the load began.
	At time.Duration `json:"at_ns"`
	// Completed and Failed execs, and their rate, since the sample before.
	Completed uint64  `json:"completed"`
	Failed    uint64  `json:"failed"`
	Rate      float64 `json:"rate"`
	// P50 and P99 of start-to-exit since the sample before.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`

	State
}

// State is what the target's processes and folders hold at one moment.
type State struct {
	ByRole map[Role]Usage `json:"by_role"`
	// Goroutines of the runtime; zero where it is not this program.
	Goroutines int `json:"goroutines"`
	Zombies    int `json:"zombies"`
	Files      int `json:"files"`
	Mounts     int `json:"mounts"`
}

// Progress is told to whom waits.
type Progress struct {
	Elapsed time.Duration
	// Share of the load that is done, from 0 to 1.
	Share float64
	Counts
	// Rate is of the time since the last progress, P50 and P99 of start-to-exit
	// of the last sample.
	Rate       float64
	P50, P99   time.Duration
	Violations uint64
	Errors     uint64
}

// endPatience is how long what is ending may take to be gone.
const endPatience = 5 * time.Second

// sampler takes samples while the load lasts.
type sampler struct {
	run       *run
	begun     time.Time
	beforeCPU float64
	// told is the last progress.
	told Progress
	stop chan struct{}
	done chan struct{}
}

func newSampler(r *run) *sampler {
	return &sampler{run: r, stop: make(chan struct{}), done: make(chan struct{})}
}

// Look looks at what a target holds now.
func Look(t Target) State {
	roots := t.Roots()
	byRole, zombies := tree(roots)
	st := State{ByRole: byRole, Zombies: zombies, Files: countFiles(t.Folders()), Mounts: countMounts(t.Folders())}
	if slices.Contains(roots, os.Getpid()) {
		st.Goroutines = runtime.NumGoroutine()
	}
	return st
}

// baseline is the state before there are sandboxes.
func (s *sampler) baseline() { s.run.report.Baseline = Look(s.run.target) }

// idle is the state with sandboxes and without execs.
func (s *sampler) idle() { s.run.report.Idle = s.settledState() }

// settledState is that after what is on its way out is gone.
func (s *sampler) settledState() State {
	runtime.GC()
	st := Look(s.run.target)
	for range 20 {
		time.Sleep(25 * time.Millisecond)
		next := Look(s.run.target)
		if next.Goroutines == st.Goroutines && next.Zombies == st.Zombies && next.ByRole[RoleRuntime].FDs == st.ByRole[RoleRuntime].FDs {
			return next
		}
		st = next
	}
	return st
}

// begin starts to sample.
func (s *sampler) begin() {
	s.begun = time.Now()
	s.run.report.Started = s.begun
	s.beforeCPU = processorTime(s.run.target.Roots())
	go s.sample()
}

func (s *sampler) sample() {
	defer close(s.done)
	o := &s.run.options
	samples, tellings := time.NewTicker(o.Interval), time.NewTicker(o.ProgressInterval)
	defer samples.Stop()
	defer tellings.Stop()
	for {
		select {
		case <-samples.C:
			s.take()
		case <-tellings.C:
			s.tell()
		case <-s.stop:
			// A sample of a short time would be noise.
			if n := len(s.run.report.Samples); n == 0 || time.Since(s.begun)-s.run.report.Samples[n-1].At > o.Interval/2 {
				s.take()
			}
			s.tell()
			return
		}
	}
}

// take takes one sample.
func (s *sampler) take() {
	completed, failed, latency := s.run.recorder.interval()
	sample := Sample{
		At: time.Since(s.begun), Completed: completed, Failed: failed,
		P50: latency.Quantile(0.5), P99: latency.Quantile(0.99),
		State: Look(s.run.target),
	}
	var before time.Duration
	if n := len(s.run.report.Samples); n > 0 {
		before = s.run.report.Samples[n-1].At
	}
	sample.Rate = rate(completed, sample.At-before)
	s.run.report.Samples = append(s.run.report.Samples, sample)
}

// rate is per second.
func rate(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// tell tells how far the load is.
func (s *sampler) tell() {
	o := &s.run.options
	if o.Progress == nil {
		return
	}
	p := Progress{
		Elapsed: time.Since(s.begun), Counts: s.run.recorder.now(),
		Violations: s.run.checker.Violations().Count, Errors: s.run.recorder.errorTotal(),
	}
	p.Rate = rate(p.Completed-s.told.Completed, p.Elapsed-s.told.Elapsed)
	if n := len(s.run.report.Samples); n > 0 {
		p.P50, p.P99 = s.run.report.Samples[n-1].P50, s.run.report.Samples[n-1].P99
	}
	if o.Duration > 0 {
		p.Share = p.Elapsed.Seconds() / o.Duration.Seconds()
	}
	if o.Count > 0 {
		p.Share = max(p.Share, float64(p.Completed+p.Failed+p.Cancelled)/float64(o.Count))
	}
	p.Share = min(p.Share, 1)
	s.told = p
	o.Progress(p)
}

// end stops sampling and takes the figures of the whole.
func (s *sampler) end() {
	elapsed := time.Since(s.begun)
	cpu := processorTime(s.run.target.Roots()) - s.beforeCPU
	close(s.stop)
	<-s.done
	s.run.report.Elapsed = elapsed
	s.run.report.CPU = cpu
	s.run.report.After = s.settledState()
}

// last is the state when everything is cleared away. A shim ends a moment after
// its last container.
func (s *sampler) last() {
	deadline := time.Now().Add(endPatience)
	for {
		s.run.report.End = s.settledState()
		if len(leftovers(s.run.report)) == 0 || time.Now().After(deadline) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
