package load

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// gauge is one thing that must not grow for ever.
type gauge struct {
	name   string
	bytes  bool
	of     func(State) float64
	only   func(State) bool // whether it is known at all; nil: it is
	growth tolerance        // while the load lasts
	// remains is what there may be more of after the load than before it; nil:
	// not compared, because memory that was used is not given back at once.
	remains *float64
	// keeps is what may be left for good once there was a sandbox: runsc keeps
	// its folder, and in it an empty network namespace that is mounted
	// (runsc/specutils/namespace.go, NullNetNS), twice if two sandboxes that are
	// made at the same time find none.
	keeps float64
}

// tolerance is what a value may grow by: a share of it, and this much more.
type tolerance struct{ share, more float64 }

func allow(n float64) *float64 { return &n }

const mib = 1 << 20

// gauges are everything that is watched. The tolerances are for noise of a kind
// that is known: the garbage collector's pace, threads that Go's runtime keeps,
// execs that are more or fewer at the moment of a sample.
var gauges = []gauge{
	{name: "runtime RSS", bytes: true, of: role(RoleRuntime, rss), growth: tolerance{0.15, 6 * mib}},
	{name: "runtime PSS", bytes: true, of: role(RoleRuntime, pss), growth: tolerance{0.15, 6 * mib}},
	{name: "runtime fds", of: role(RoleRuntime, fds), growth: tolerance{0.10, 6}, remains: allow(4)},
	{name: "runtime threads", of: role(RoleRuntime, threads), growth: tolerance{0.25, 6}},
	{name: "goroutines", of: func(s State) float64 { return float64(s.Goroutines) },
		only: func(s State) bool { return s.Goroutines > 0 }, growth: tolerance{0.10, 12}, remains: allow(8)},
	{name: "sentry RSS", bytes: true, of: role(RoleSentry, rss), growth: tolerance{0.25, 24 * mib}},
	// The sentry keeps its pool of guests (systrap), and a few of each.
	{name: "sentry fds", of: role(RoleSentry, fds), growth: tolerance{0.15, 12}},
	{name: "sentry threads", of: role(RoleSentry, threads), growth: tolerance{0.25, 12}},
	{name: "gofer RSS", bytes: true, of: role(RoleGofer, rss), growth: tolerance{0.25, 12 * mib}},
	{name: "gofer fds", of: role(RoleGofer, fds), growth: tolerance{0.15, 12}, remains: allow(16)},
	{name: "sentries", of: role(RoleSentry, processes), growth: tolerance{0, 0.5}, remains: allow(0)},
	{name: "gofers", of: role(RoleGofer, processes), growth: tolerance{0, 0.5}, remains: allow(0)},
	{name: "stubs", of: role(RoleStub, processes), growth: tolerance{0.15, 6}, remains: allow(0)},
	{name: "guests", of: role(RoleGuest, processes), growth: tolerance{0.25, 16}},
	{name: "zombies", of: func(s State) float64 { return float64(s.Zombies) }, growth: tolerance{0, 3}, remains: allow(0)},
	{name: "files", of: func(s State) float64 { return float64(s.Files) }, growth: tolerance{0.10, 6}, remains: allow(0), keeps: 4},
	{name: "mounts", of: func(s State) float64 { return float64(s.Mounts) }, growth: tolerance{0, 0.5}, remains: allow(0), keeps: makersAtOnce},
}

func role(r Role, of func(Usage) float64) func(State) float64 {
	return func(s State) float64 { return of(s.ByRole[r]) }
}

func rss(u Usage) float64       { return float64(u.RSS) }
func pss(u Usage) float64       { return float64(u.PSS) }
func fds(u Usage) float64       { return float64(u.FDs) }
func threads(u Usage) float64   { return float64(u.Threads) }
func processes(u Usage) float64 { return float64(u.Processes) }

func (g gauge) format(v float64) string {
	if g.bytes {
		return Bytes(int64(v))
	}
	return fmt.Sprintf("%.0f", v)
}

// Leak is something that grew and should not have.
type Leak struct {
	What string `json:"what"`
	// From and To are medians of the first and last third, or the values before
	// and after.
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Bytes bool    `json:"bytes"`
	Why   string  `json:"why"`
}

func (l Leak) String() string {
	g := gauge{bytes: l.Bytes}
	return fmt.Sprintf("%s: from %s to %s, %s", l.What, g.format(l.From), g.format(l.To), l.Why)
}

const (
	// warmUp is the share of the samples, and of time at least, that is not
	// looked at: pools fill, heaps find their size.
	warmUp     = 0.2
	warmUpTime = 10 * time.Second
	// leakSamples are needed after the warm-up for a verdict.
	leakSamples = 9
)

// FindLeaks tells what grows steadily in the samples of a load. After the
// warm-up, the medians of the first, second and last third are compared: a leak
// rises from third to third, and in all by more than is tolerated. A step that
// stays (a pool that was filled once more) rises only once, and is none, unless
// it falls into the middle of the second third. With fewer than nine samples
// after the warm-up nothing is found.
func FindLeaks(samples []Sample) []Leak {
	leaks := []Leak{}
	if len(samples) == 0 {
		return leaks
	}
	after := min(max(time.Duration(float64(samples[len(samples)-1].At)*warmUp), warmUpTime), samples[len(samples)-1].At/2)
	for len(samples) > 0 && samples[0].At < after {
		samples = samples[1:]
	}
	if len(samples) < leakSamples {
		return leaks
	}
	third := len(samples) / 3
	for _, g := range gauges {
		if g.only != nil && !g.only(samples[0].State) {
			continue
		}
		a := g.median(samples[:third])
		b := g.median(samples[third : len(samples)-third])
		c := g.median(samples[len(samples)-third:])
		allowed := a*g.growth.share + g.growth.more
		// A fifth of the growth at least in each half tells a slope from a step.
		rises := b-a > (c-a)*0.2 && c-b > (c-a)*0.2
		// What is counted exactly has no noise, and no steps that are innocent.
		rises = rises || g.growth.more < 1
		if c-a > allowed && rises {
			leaks = append(leaks, Leak{What: g.name, From: a, To: c, Bytes: g.bytes,
				Why: fmt.Sprintf("rising all the time; %s more would be tolerated", g.format(allowed))})
		}
	}
	return leaks
}

func (g gauge) median(samples []Sample) float64 {
	values := make([]float64, 0, len(samples))
	for _, s := range samples {
		values = append(values, g.of(s.State))
	}
	slices.Sort(values)
	if len(values) == 0 {
		return math.NaN()
	}
	return values[len(values)/2]
}

// notReturned tells what is not back after the load where it was before it.
func notReturned(r *Report) []Leak {
	if len(r.Idle.ByRole) == 0 || len(r.After.ByRole) == 0 {
		return nil
	}
	return compare(r.Idle, r.After, "not back after the load where it was before it", func(g gauge) float64 { return *g.remains })
}

// leftovers tells what is still there when everything is deleted.
func leftovers(r *Report) []Leak {
	return compare(r.Baseline, r.End, "left at the end, when everything is deleted", func(g gauge) float64 { return *g.remains + g.keeps })
}

func compare(before, after State, why string, allowed func(gauge) float64) []Leak {
	var leaks []Leak
	for _, g := range gauges {
		if g.remains == nil || g.only != nil && !g.only(before) {
			continue
		}
		if a, b := g.of(before), g.of(after); b > a+allowed(g) {
			leaks = append(leaks, Leak{What: g.name, From: a, To: b, Bytes: g.bytes, Why: why})
		}
	}
	return leaks
}
