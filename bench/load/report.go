package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Report is what a load gave. It is JSON as it is, and has a text and an HTML
// form.
type Report struct {
	About   Description `json:"about"`
	Machine []Fact      `json:"machine"`
	Options Options     `json:"options"`

	Started time.Time     `json:"started"`
	Elapsed time.Duration `json:"elapsed_ns"`
	// Interrupted: it was ended before its time.
	Interrupted bool `json:"interrupted"`

	Counts    Counts    `json:"counts"`
	Latencies []Latency `json:"latencies"`
	// CPU is the processor time during the load, in seconds: of this program and
	// its children where it is the target, else of every other process that it
	// sees, a daemon's too.
	CPU float64 `json:"cpu_s"`

	Errors     []ErrorCount `json:"errors"`
	Events     uint64       `json:"events"`
	Violations Violations   `json:"violations"`
	Leaks      []Leak       `json:"leaks"`

	Samples []Sample `json:"samples"`
	// Baseline is before there were sandboxes, Idle with them and before the
	// load, After after the load, End when all is deleted.
	Baseline State `json:"baseline"`
	Idle     State `json:"idle"`
	After    State `json:"after"`
	End      State `json:"end"`
}

// Latency is how long one operation took.
type Latency struct {
	Op   string        `json:"op"`
	Mean time.Duration `json:"mean_ns"`
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P95  time.Duration `json:"p95_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p999_ns"`
	// Histogram has the count, the minimum and the maximum.
	Histogram Histogram `json:"histogram"`
}

func newLatency(op string, h *Histogram) Latency {
	return Latency{
		Op: op, Mean: h.Mean(), P50: h.Quantile(0.5), P90: h.Quantile(0.9), P95: h.Quantile(0.95),
		P99: h.Quantile(0.99), P999: h.Quantile(0.999), Histogram: *h,
	}
}

func newReport(o Options, about Description) *Report {
	return &Report{About: about, Machine: Machine(), Options: o, Started: time.Now()}
}

// Failed tells whether something did not hold that must: an event out of order,
// or a leak.
func (r *Report) Failed() bool { return r.Violations.Count > 0 || len(r.Leaks) > 0 }

// Rate is how many execs were completed for each second.
func (r *Report) Rate() float64 { return rate(r.Counts.Completed, r.Elapsed) }

// Latency is that of one operation; false if there was none.
func (r *Report) Latency(op string) (Latency, bool) {
	for _, l := range r.Latencies {
		if l.Op == op {
			return l, true
		}
	}
	return Latency{}, false
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// ReadJSON reads what WriteJSON writes.
func ReadJSON(from io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return nil, fmt.Errorf("read the report of a load: %w", err)
	}
	return &r, nil
}

// Machine describes the one that we are on.
func Machine() []Fact {
	facts := []Fact{{"processors", strconv.Itoa(runtime.NumCPU())}}
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, Fact{name, value})
		}
	}
	add("processor", procField("/proc/cpuinfo", "model name"))
	if total := procField("/proc/meminfo", "MemTotal"); total != "" {
		kib, _ := strconv.ParseInt(strings.TrimSuffix(total, " kB"), 10, 64)
		add("memory", Bytes(kib<<10))
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		add("kernel", "Linux "+string(bytes.TrimSpace(release)))
	}
	cgroups := "version 1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		cgroups = "version 2"
	}
	add("cgroups", cgroups)
	add("go", strings.TrimPrefix(runtime.Version(), "go")+" "+runtime.GOARCH)
	return facts
}

// procField is the value of the first "name : value" of a file.
func procField(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
