package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/troupe-run/troupe/bench/load"
)

// resultsFile has everything that was measured, from which RESULTS.md is made.
const resultsFile = "peers.json"

// results of a whole run.
type results struct {
	Options  options       `json:"options"`
	Started  time.Time     `json:"started"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Machine  []load.Fact   `json:"machine"`
	Versions []load.Fact   `json:"versions"`
	Shims    []*figures    `json:"shims"`
}

// figures of one shim, of all rounds.
type figures struct {
	Shim shim `json:"shim"`
	// Containers are the latencies of container create, start and delete, one at
	// a time.
	Containers map[string]*load.Histogram `json:"containers"`
	// Kills are the latencies of kills of live execs, one at a time.
	Kills map[string]*load.Histogram `json:"kills"`
	// Levels by how many were at once: one for each round.
	Levels map[int][]level `json:"levels"`
	// Idle is one container that has nothing to do, for each level of a round.
	Idle []map[load.Role]load.Usage `json:"idle"`
	// Pods are the shims of a pod of podContainers.
	Pods []load.Usage `json:"pods"`
	// Rest is one container after its rest, and Live what execs keep in it.
	Rest []rest `json:"rest"`
	Live []live `json:"live"`
	// Violations of the order of events by rule, and errors by operation and
	// kind.
	Violations map[string]uint64 `json:"violations"`
	Errors     map[string]uint64 `json:"errors"`
	Events     uint64            `json:"events"`
	// Examples are the first of both.
	Examples []string `json:"examples"`
}

// level is one measurement of throughput.
type level struct {
	// Rate is completed execs for each second.
	Rate      float64 `json:"rate"`
	Completed uint64  `json:"completed"`
	Failed    uint64  `json:"failed"`
	// CPU is the processor time of one exec, in seconds, of all processes but
	// the load generator.
	CPU       float64                    `json:"cpu_s"`
	Latencies map[string]*load.Histogram `json:"latencies"`
	// Threads of the shims while it lasted, at most.
	Threads int `json:"threads"`
}

func p50(r *load.Report, op string) time.Duration {
	l, _ := r.Latency(op)
	return l.P50
}

func (f *figures) addContainers(r *load.Report) { mergeAll(&f.Containers, containerOps, r) }

func (f *figures) addKills(r *load.Report) { mergeAll(&f.Kills, killOps, r) }

func mergeAll(into *map[string]*load.Histogram, ops []string, r *load.Report) {
	if *into == nil {
		*into = map[string]*load.Histogram{}
	}
	for _, op := range ops {
		merge(*into, op, r)
	}
}

func merge(into map[string]*load.Histogram, op string, r *load.Report) {
	if l, ok := r.Latency(op); ok {
		if into[op] == nil {
			into[op] = &load.Histogram{}
		}
		into[op].Merge(&l.Histogram)
	}
}

func (f *figures) addLevel(n int, r *load.Report) {
	l := level{Rate: r.Rate(), Completed: r.Counts.Completed, Failed: r.Counts.Failed, Latencies: map[string]*load.Histogram{}}
	if l.Completed > 0 {
		l.CPU = r.CPU / float64(l.Completed)
	}
	for _, op := range execOps {
		merge(l.Latencies, op, r)
	}
	for _, s := range r.Samples {
		l.Threads = max(l.Threads, s.ByRole[load.RoleRuntime].Threads)
	}
	f.Levels[n] = append(f.Levels[n], l)
	f.Idle = append(f.Idle, r.Idle.ByRole)
}

// addTrouble keeps what went wrong.
func (f *figures) addTrouble(r *load.Report) {
	f.Events += r.Events
	add := func(into *map[string]uint64, key string, n uint64) {
		if *into == nil {
			*into = map[string]uint64{}
		}
		(*into)[key] += n
	}
	for rule, n := range r.Violations.ByRule {
		add(&f.Violations, rule, n)
	}
	for _, e := range r.Errors {
		if f.Errors[e.Op+": "+e.Kind] == 0 {
			f.example(e.Example)
		}
		add(&f.Errors, e.Op+": "+e.Kind, e.Count)
	}
	for _, l := range r.Leaks {
		add(&f.Violations, load.RuleNothingIsLeft, 1)
		f.example(l.String())
	}
	for _, text := range r.Violations.Texts {
		f.example(text)
	}
}

// example keeps the first few.
func (f *figures) example(text string) {
	if len(f.Examples) < 8 {
		f.Examples = append(f.Examples, text)
	}
}

var (
	containerOps = []string{load.OpContainerCreate, load.OpContainerStart, load.OpContainerDelete}
	execOps      = []string{load.OpAdd, load.OpStart, load.OpStartToExit, load.OpDelete, load.OpWhole}
	killOps      = []string{load.OpKill, load.OpKillToExit}
)

// exec merges the latencies of a level over all rounds.
func (f *figures) exec(n int, op string) *load.Histogram {
	h := &load.Histogram{}
	for _, l := range f.Levels[n] {
		if l.Latencies[op] != nil {
			h.Merge(l.Latencies[op])
		}
	}
	return h
}

// overRounds is the median of a figure of a level, with the least and the most.
func (f *figures) overRounds(n int, of func(level) float64) (median, least, most float64) {
	var all []float64
	for _, l := range f.Levels[n] {
		all = append(all, of(l))
	}
	return spread(all)
}

func spread(all []float64) (median, least, most float64) {
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[0], all[len(all)-1]
}

// idle is the median of a figure of a container that has nothing to do.
func (f *figures) idle(role load.Role, of func(load.Usage) float64) float64 {
	var all []float64
	for _, byRole := range f.Idle {
		all = append(all, of(byRole[role]))
	}
	median, _, _ := spread(all)
	return median
}

// rested is the median of a figure of the shim after its rest, zero if it had
// none.
func (f *figures) rested(of func(load.Usage) float64) float64 {
	var all []float64
	for _, r := range f.Rest {
		all = append(all, of(r.Shim))
	}
	median, _, _ := spread(all)
	return median
}

// shim is the one of a name; nil if it was not measured.
func (r *results) shim(name string) *figures {
	for _, f := range r.Shims {
		if f.Shim.Name == name {
			return f
		}
	}
	return nil
}

func (r *results) save(dir string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, resultsFile), append(data, '\n'), 0o644)
}

func readResults(dir string) (*results, error) {
	data, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if err != nil {
		return nil, fmt.Errorf("%w; measure first", err)
	}
	var r results
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", resultsFile, err)
	}
	return &r, nil
}
