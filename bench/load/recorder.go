package load

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/troupe-run/troupe/messages"
)

// The operations that are timed.
const (
	OpContainerCreate = "container create"
	OpContainerStart  = "container start"
	OpContainerDelete = "container kill and delete"
	OpAdd             = "exec create"
	OpStart           = "exec start"
	OpStartToExit     = "exec start-to-exit"
	OpKill            = "exec kill"
	OpKillToExit      = "exec kill-to-exit"
	OpDelete          = "exec delete"
	OpWhole           = "exec create-to-delete"
)

// operations in the order of a report.
var operations = []string{
	OpAdd, OpStart, OpStartToExit, OpKill, OpKillToExit, OpDelete, OpWhole,
	OpContainerCreate, OpContainerStart, OpContainerDelete,
}

// recorder collects what the workers measure.
type recorder struct {
	mu     sync.Mutex
	total  map[string]*Histogram
	errors map[errorKey]*ErrorCount
	counts Counts
	// recent are those of start-to-exit since the last sample, and before the
	// counts at that time.
	recent Histogram
	before Counts
}

type errorKey struct{ op, kind string }

// Counts are how many execs there were, by what became of them.
type Counts struct {
	Started   uint64 `json:"started"`
	Completed uint64 `json:"completed"`
	Failed    uint64 `json:"failed"`
	Killed    uint64 `json:"killed"`
	Cancelled uint64 `json:"cancelled"`
	// Cut short, because the load ended; they are not among the completed.
	Cut      uint64 `json:"cut"`
	Terminal uint64 `json:"terminal"`
	Bytes    uint64 `json:"bytes"`
}

// ErrorCount is how often an operation failed in one way.
type ErrorCount struct {
	Op    string `json:"op"`
	Kind  string `json:"kind"`
	Count uint64 `json:"count"`
	// Example is the text of the first.
	Example string `json:"example"`
}

func newRecorder() *recorder {
	return &recorder{total: map[string]*Histogram{}, errors: map[errorKey]*ErrorCount{}}
}

func (r *recorder) took(op string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.total[op]
	if h == nil {
		h = &Histogram{}
		r.total[op] = h
	}
	h.Add(d)
	if op == OpStartToExit {
		r.recent.Add(d)
	}
}

// timed does an operation and records how long it took, or its error.
func (r *recorder) timed(op string, do func() error) error {
	begun := time.Now()
	err := do()
	if err != nil {
		r.failed(op, err)
		return err
	}
	r.took(op, time.Since(begun))
	return nil
}

func (r *recorder) failed(op string, err error) {
	kind := fmt.Sprint(messages.KindOf(err))
	r.mu.Lock()
	defer r.mu.Unlock()
	key := errorKey{op, kind}
	if r.errors[key] == nil {
		r.errors[key] = &ErrorCount{Op: op, Kind: kind, Example: firstLine(err)}
	}
	r.errors[key].Count++
}

func firstLine(err error) string {
	const most = 500
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

func (r *recorder) count(add func(*Counts)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.counts)
}

// interval is what happened since the last call.
func (r *recorder) interval() (completed, failed uint64, latency Histogram) {
	r.mu.Lock()
	defer r.mu.Unlock()
	completed, failed, latency = r.counts.Completed-r.before.Completed, r.counts.Failed-r.before.Failed, r.recent
	r.before, r.recent = r.counts, Histogram{}
	return completed, failed, latency
}

// now are the counts so far.
func (r *recorder) now() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// errorTotal is how many operations failed.
func (r *recorder) errorTotal() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var n uint64
	for _, e := range r.errors {
		n += e.Count
	}
	return n
}

// latencies in the order of a report.
func (r *recorder) latencies() []Latency {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Latency
	for _, op := range operations {
		if h := r.total[op]; h != nil {
			out = append(out, newLatency(op, h))
		}
	}
	return out
}

// errorCounts has the most frequent first.
func (r *recorder) errorCounts() []ErrorCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []ErrorCount{}
	for _, e := range slices.Collect(maps.Values(r.errors)) {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// gone tells whether an error says that there is no such process any more.
func gone(err error) bool { return errors.Is(err, messages.NotFound) }
