package actors

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// The simulation runs the real actors, not a model of them, under a scheduler
// of its own: it decides which mailbox hands over its next message, which call
// to the driver takes effect and returns, when the clock moves and when
// something fails. One seed decides all of it, so that a seed is a whole run.
//
//	go test ./actors -run Simulate -seeds 200000
//	go test ./actors -run Simulate -seed 4711 -v
var (
	simSeeds    = flag.Int("seeds", 2000, "how many seeds the simulation runs")
	simFirst    = flag.Uint64("first", 1, "the first seed of the simulation")
	simSeed     = flag.Uint64("seed", 0, "the one seed that the simulation runs, with its trace; 0 runs many")
	simProgress = flag.Bool("progress", false, "show the progress of the simulation on standard error")
	simKeep     = flag.Int("failures", 1, "how many broken rules the simulation shows before it ends, with one seed each")
)

func TestSimulate(t *testing.T) {
	w := new(simWorkshop)
	defer w.close()
	if *simSeed != 0 {
		replaySeed(t, w, *simSeed)
		return
	}
	began := time.Now()
	failed := make(map[string]int)
	fails := 0
	for i := range *simSeeds {
		seed := *simFirst + uint64(i)
		if v := w.run(newSimPlan(seed), nil); v != nil {
			fails++
			failed[v.rule]++
			if failed[v.rule] == 1 {
				t.Errorf("%s", w.explain(seed))
			}
			if len(failed) == *simKeep {
				break
			}
		}
		if *simProgress && (i+1)%max(1000, *simSeeds/20) == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d seeds, %.0f per second, %d failed\n", i+1, *simSeeds,
				float64(i+1)/time.Since(began).Seconds(), fails)
		}
	}
	if fails > 1 {
		t.Errorf("failed by rule: %v", failed)
	}
	t.Logf("%d seeds, %d steps, %.0f seeds per second", w.runs, w.steps, float64(w.runs)/time.Since(began).Seconds())
}

// replaySeed shows one seed: as a minimised script if it fails, whole if not.
func replaySeed(t *testing.T, w *simWorkshop, seed uint64) {
	trace := new(simTrace)
	if v := w.run(newSimPlan(seed), trace); v != nil {
		t.Fatalf("%s", w.explain(seed))
	}
	t.Logf("seed %d holds every order:\n%s", seed, trace)
}

// TestSimulateIsDeterministic runs seeds twice, in workshops of their own and
// after different other seeds, and wants the same traces to the byte.
func TestSimulateIsDeterministic(t *testing.T) {
	one, other := new(simWorkshop), new(simWorkshop)
	defer one.close()
	defer other.close()
	for seed := uint64(1); seed <= 200; seed++ {
		var a, b simTrace
		va := one.run(newSimPlan(seed), &a)
		other.run(newSimPlan(seed*7), nil)
		vb := other.run(newSimPlan(seed), &b)
		if a.String() != b.String() {
			t.Fatalf("seed %d ran in two ways:\n--- once\n%s\n--- then\n%s", seed, &a, &b)
		}
		if (va == nil) != (vb == nil) {
			t.Fatalf("seed %d failed once: %v, %v", seed, va, vb)
		}
	}
}
