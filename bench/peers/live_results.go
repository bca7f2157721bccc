package main

import (
	"slices"

	"github.com/troupe-run/troupe/bench/load"
)

// rest is a shim whose one container has nothing to do.
type rest struct {
	Shim       load.Usage `json:"shim"`
	Goroutines int        `json:"goroutines"`
	// Missing says why the goroutines could not be counted; else it is empty.
	Missing string `json:"missing,omitempty"`
}

// live is what so many live execs keep.
type live struct {
	Execs int `json:"execs"`
	// Missing says why it could not be measured; else it is empty.
	Missing string `json:"missing,omitempty"`
	// All and Outside are what each exec keeps: everywhere, and outside of the
	// sandbox, which is the shim with its stubs.
	All     share `json:"all"`
	Outside share `json:"outside"`
	// Shim is the whole shim, without its stubs, with all of these execs.
	Shim load.Usage `json:"shim"`
}

// share of one exec.
type share struct {
	// RSS and PSS are in bytes.
	RSS       float64 `json:"rss"`
	PSS       float64 `json:"pss"`
	Processes float64 `json:"processes"`
	Threads   float64 `json:"threads"`
}

// addLive adds what n execs keep, or that it is not known because of err.
func (b *bench) addLive(n int, before, after load.State, err error) {
	if err != nil {
		b.Live = append(b.Live, live{Execs: n, Missing: err.Error()})
		b.say("%d live execs are not measured: %v", n, err)
		return
	}
	l := newLive(n, before, after)
	b.Live = append(b.Live, l)
	b.say("%d live execs: %s of memory (PSS) each, %s of it in the shim and stubs", n, bytes(l.All.PSS), bytes(l.Outside.PSS))
}

func newLive(n int, before, after load.State) live {
	each := func(roles ...load.Role) share {
		a, b := total(before, roles), total(after, roles)
		of := func(before, after int64) float64 { return float64(after-before) / float64(n) }
		return share{
			RSS: of(a.RSS, b.RSS), PSS: of(a.PSS, b.PSS),
			Processes: of(int64(a.Processes), int64(b.Processes)), Threads: of(int64(a.Threads), int64(b.Threads)),
		}
	}
	return live{
		Execs: n, All: each(load.Roles...), Outside: each(load.RoleRuntime, load.RoleStub),
		Shim: after.ByRole[load.RoleRuntime],
	}
}

func total(s load.State, roles []load.Role) (u load.Usage) {
	for _, role := range roles {
		r := s.ByRole[role]
		u.RSS, u.PSS = u.RSS+r.RSS, u.PSS+r.PSS
		u.Processes, u.Threads = u.Processes+r.Processes, u.Threads+r.Threads
	}
	return u
}

// live is the median of a figure over the rounds in which so many execs were
// measured; false if there is none.
func (f *figures) live(n int, of func(live) float64) (float64, bool) {
	var all []float64
	for _, l := range f.Live {
		if l.Execs == n && l.Missing == "" {
			all = append(all, of(l))
		}
	}
	median, _, _ := spread(all)
	return median, len(all) > 0
}

// missing is why so many live execs were not measured; empty if they were, or
// if nobody tried.
func (f *figures) missing(n int) string {
	if _, ok := f.live(n, func(live) float64 { return 0 }); ok {
		return ""
	}
	i := slices.IndexFunc(f.Live, func(l live) bool { return l.Execs == n })
	if i < 0 {
		return ""
	}
	return f.Live[i].Missing
}

func outsidePSS(l live) float64 { return l.Outside.PSS }
func shimRSS(l live) float64    { return float64(l.Shim.RSS) }
