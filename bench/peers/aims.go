package main

import (
	"fmt"
	"strings"

	"github.com/troupe-run/troupe/bench/load"
)

// aim is a ratio that Troupe wants to reach.
type aim struct {
	what string
	// better is how many times better it is than the other, zero if one of both
	// was not measured; least, how many times it should be.
	better, least float64
}

func (a aim) met() bool { return a.better >= a.least }

// aims compare what was measured in this run.
func (r *results) aims() []aim {
	ours := r.shim(troupe)
	var all []aim
	compare := func(what, other string, least float64, better func(other *figures) float64) {
		if f := r.shim(other); ours != nil && f != nil {
			all = append(all, aim{what + " than " + f.Shim.Program, better(f), least})
		}
	}
	faster := func(n int, op string) func(*figures) float64 {
		return func(f *figures) float64 {
			return ratio(float64(f.exec(n, op).Quantile(0.5)), float64(ours.exec(n, op).Quantile(0.5)))
		}
	}
	more := func(n int) func(*figures) float64 {
		return func(f *figures) float64 {
			a, _, _ := ours.overRounds(n, func(l level) float64 { return l.Rate })
			b, _, _ := f.overRounds(n, func(l level) float64 { return l.Rate })
			return ratio(a, b)
		}
	}
	compare("exec start, p50, one at a time, faster", runsc, 5, faster(1, load.OpStart))
	compare("exec start, p50, one at a time, faster", runc, 1, faster(1, load.OpStart))
	killed := func(op string) func(*figures) float64 {
		return func(f *figures) float64 {
			return ratio(p50Of(f.Kills[op]), p50Of(ours.Kills[op]))
		}
	}
	compare("exec kill, p50, one at a time, faster", runsc, 1, killed(load.OpKill))
	compare("exec kill-to-exit, p50, one at a time, faster", runsc, 1, killed(load.OpKillToExit))
	compare("throughput at 8 at once higher", runsc, 5, more(8))
	compare("throughput at 8 at once higher", wide, 5, more(8))
	compare("throughput at 16 at once higher", runc, 3, more(16))
	compare("throughput at 16 at once higher", runsc, 1, more(16))
	compare("throughput at 16 at once higher", wide, 1, more(16))
	compare("throughput at 64 at once higher", runc, 1, more(64))
	compare("shim after its rest, RSS, smaller", runc, 1, func(f *figures) float64 {
		return ratio(f.rested(rss), ours.rested(rss))
	})
	compare("shim right after a container's start, RSS, smaller", runc, 1, func(f *figures) float64 {
		return ratio(f.idle(load.RoleRuntime, rss), ours.idle(load.RoleRuntime, rss))
	})
	compare("shim right after a container's start with its stubs, PSS, smaller", runsc, 1, func(f *figures) float64 {
		return ratio(f.idle(load.RoleRuntime, pss)+f.idle(load.RoleStub, pss), ours.idle(load.RoleRuntime, pss)+ours.idle(load.RoleStub, pss))
	})
	for _, n := range r.Options.Live {
		compare(fmt.Sprintf("memory outside of the sandbox, PSS, for each of %d live execs, smaller", n), runsc, 100, lessOutside(ours, n))
	}
	if most := len(r.Options.Live); most > 0 && ours != nil {
		n := r.Options.Live[most-1]
		all = append(all, aim{fmt.Sprintf("shim with %d live execs, RSS, smaller than %s", n, load.Bytes(largestShim)), largeShim(ours, n), 1})
	}
	return all
}

// largestShim is what a shim with the most live execs may take.
const largestShim = 100 << 20

func largeShim(f *figures, n int) float64 {
	size, _ := f.live(n, shimRSS)
	return ratio(largestShim, size)
}

// page is what an exec is taken to keep at least: less than that is the noise
// of a heap, which may be smaller with the execs than without.
const page = 4 << 10

// lessOutside compares what each of n live execs keeps outside of the sandbox.
func lessOutside(ours *figures, n int) func(*figures) float64 {
	return func(f *figures) float64 {
		theirs, measured := f.live(n, outsidePSS)
		size, oursMeasured := ours.live(n, outsidePSS)
		if !measured || !oursMeasured {
			return 0
		}
		return ratio(theirs, max(size, page))
	}
}

// p50Of is zero if nothing was measured.
func p50Of(h *load.Histogram) float64 {
	if h == nil {
		return 0
	}
	return float64(h.Quantile(0.5))
}

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

func (r *results) writeAims(b *strings.Builder) {
	b.WriteString("## In short\n\n")
	rows := [][]string{}
	for _, a := range r.aims() {
		is, met := number(a.better)+" times", "yes"
		switch {
		case a.better == 0:
			is, met = "not measured", ""
		case !a.met():
			met = "**no**"
		}
		rows = append(rows, []string{a.what, is, number(a.least) + " times", met})
	}
	table(b, []string{"Troupe's shim", "is", "should be", "met"}, rows)
}
