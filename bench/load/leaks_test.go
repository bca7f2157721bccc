package load_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/troupe-run/troupe/bench/load"
)

const mib = 1 << 20

// history makes samples of two minutes; at is called with the share of the time
// that is over.
func history(at func(share float64, noise float64) load.State) []load.Sample {
	r := rand.New(rand.NewPCG(1, 1))
	var samples []load.Sample
	for i := range 120 {
		samples = append(samples, load.Sample{At: time.Duration(i) * time.Second, State: at(float64(i)/120, r.NormFloat64())})
	}
	return samples
}

func TestFindLeaks(t *testing.T) {
	runtime := func(rss, fds float64) load.State {
		return load.State{ByRole: map[load.Role]load.Usage{load.RoleRuntime: {RSS: int64(rss), FDs: int(fds)}}}
	}
	for _, test := range []struct {
		name string
		at   func(share, noise float64) load.State
		want string // the one leak
	}{
		{"flat", func(_, n float64) load.State { return runtime(20*mib+n*mib, 30+2*n) }, ""},
		{"warms up", func(s, n float64) load.State { return runtime(20*mib+min(s/0.15, 1)*30*mib+n*mib, 30) }, ""},
		{"one step", func(s, n float64) load.State {
			if s > 0.8 {
				return runtime(40*mib+n*mib, 30)
			}
			return runtime(20*mib+n*mib, 30)
		}, ""},
		{"memory grows", func(s, n float64) load.State { return runtime(20*mib+s*20*mib+n*mib, 30) }, "runtime RSS"},
		{"fds grow", func(s, n float64) load.State { return runtime(20*mib, 30+40*s+n) }, "runtime fds"},
		{"a mount for each minute", func(s, _ float64) load.State { return load.State{Mounts: 20 + int(s*3)} }, "mounts"},
		{"zombies", func(s, _ float64) load.State { return load.State{Zombies: int(s * 30)} }, "zombies"},
		{"goroutines", func(s, n float64) load.State { return load.State{Goroutines: 60 + int(100*s+n)} }, "goroutines"},
		{"files", func(s, n float64) load.State { return load.State{Files: 10 + int(60*s)} }, "files"},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaks := load.FindLeaks(history(test.at))
			got := ""
			for _, l := range leaks {
				got += l.What
				if l.String() == "" || l.To <= l.From {
					t.Errorf("leak %v says nothing", l)
				}
			}
			if got != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

// Without enough samples there is no verdict, and no panic.
func TestFindLeaksInFew(t *testing.T) {
	all := history(func(s, _ float64) load.State { return load.State{Goroutines: int(1000 * s)} })
	for n := range 10 {
		if leaks := load.FindLeaks(all[:n]); len(leaks) != 0 {
			t.Errorf("%d samples: found %v", n, leaks)
		}
	}
}
