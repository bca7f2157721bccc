package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/troupe-run/troupe/bench/load"
)

// canned results: Troupe's shim is twice as fast as all others.
func canned() *results {
	r := &results{Options: options{Rounds: 2, Live: counts{10, 100}}, Started: time.Unix(0, 0).UTC(), Elapsed: time.Minute,
		Machine: []load.Fact{{Name: "processors", Value: "2"}}, Versions: []load.Fact{{Name: "runsc", Value: "v1"}}}
	for _, s := range allShims {
		factor := 2.0
		if s.Name == troupe {
			factor = 1
		}
		f := &figures{Shim: s, Levels: map[int][]level{}, Events: 100}
		histogram := func(d time.Duration) *load.Histogram {
			h := &load.Histogram{}
			for range 10 {
				h.Add(time.Duration(float64(d) * factor))
			}
			return h
		}
		for _, n := range s.Levels {
			for round := range 2 {
				f.Levels[n] = append(f.Levels[n], level{
					Rate: (100 + float64(round)) / factor, Completed: 500, CPU: 0.01 * factor, Threads: 9,
					Latencies: map[string]*load.Histogram{load.OpStart: histogram(time.Millisecond), load.OpStartToExit: histogram(3 * time.Millisecond)},
				})
			}
		}
		if !s.Variant {
			f.Containers = map[string]*load.Histogram{load.OpContainerCreate: histogram(50 * time.Millisecond)}
			f.Idle = []map[load.Role]load.Usage{{load.RoleRuntime: {Processes: 1, RSS: int64(10 * factor * (1 << 20)), PSS: 9 << 20, Threads: 8}}}
			f.Pods = []load.Usage{{Processes: 1, RSS: 12 << 20}}
			f.Kills = map[string]*load.Histogram{load.OpKill: histogram(2 * time.Millisecond), load.OpKillToExit: histogram(4 * time.Millisecond)}
			f.Rest = []rest{{Shim: load.Usage{Processes: 1, RSS: 8 << 20, PSS: 7 << 20, Threads: 6}, Goroutines: 21}}
			f.Live = cannedLive(s.Name == troupe)
			f.Violations = map[string]uint64{load.RuleOneExit: 2}
			f.Examples = []string{"an example"}
		}
		r.Shims = append(r.Shims, f)
	}
	return r
}

// cannedLive: what is ours keeps 1 KiB for each exec, all others 800, and they do
// not get to a hundred.
func cannedLive(ours bool) []live {
	small := live{
		Execs: 10, All: share{RSS: 1 << 20, PSS: 1 << 18}, Outside: share{RSS: 2 << 10, PSS: 1 << 10},
		Shim: load.Usage{Processes: 1, RSS: 20 << 20, PSS: 19 << 20},
	}
	large := small
	large.Execs = 100
	if !ours {
		small.Outside = share{RSS: 1 << 20, PSS: 800 << 10, Processes: 1, Threads: 4}
		large = live{Execs: 100, Missing: "60 execs live, the next does not:\ntoo slow | really"}
	}
	return []live{small, large}
}

// The tables and ratios are those of the figures, and every chart that is named
// is there.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	r := canned()
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| exec start, p50, one at a time, faster than containerd-shim-runsc-v1 | 2 times | 5 times | **no** |",
		"| shim after its rest, RSS, smaller than containerd-shim-runc-v2 | 1 times | 1 times | yes |",
		"| shim right after a container's start, RSS, smaller than containerd-shim-runc-v2 | 2 times | 1 times | yes |",
		"| exec kill, p50, one at a time, faster than containerd-shim-runsc-v1 | 2 times | 1 times | yes |",
		// Ours is less than a page, and counts as one.
		"| memory outside of the sandbox, PSS, for each of 10 live execs, smaller than containerd-shim-runsc-v1 | 200 times | 100 times | yes |",
		"| memory outside of the sandbox, PSS, for each of 100 live execs, smaller than containerd-shim-runsc-v1 | not measured | 100 times |  |",
		"| shim with 100 live execs, RSS, smaller than 100 MiB | 5 times | 1 times | yes |",
		"| 8 | 101 (100 to 101) | 50.5 (50 to 50.5) | 50.5 (50 to 50.5) | 50.5 (50 to 50.5) |",
		"| 1 | 10 ms | 20 ms | 20 ms |  |",
		"| shim, RSS | 10.0 MiB | 20.0 MiB | 20.0 MiB |",
		"| exec kill | 2.00 ms / 2.00 ms / 2.00 ms | 4.00 ms / 4.00 ms / 4.00 ms |",
		"| exec kill-to-exit | 4.00 ms / 4.00 ms / 4.00 ms | 8.00 ms / 8.00 ms / 8.00 ms |",
		"| shim after its rest, RSS | 8.00 MiB | 8.00 MiB | 8.00 MiB |",
		"| shim after its rest, goroutines | 21 | 21 | 21 |",
		"| 10 live execs | troupe | runc | runsc |",
		"| each, PSS of all | 256 KiB | 256 KiB | 256 KiB |",
		"| each, PSS outside of the sandbox | 1.00 KiB | 800 KiB | 800 KiB |",
		"| each, processes of the runtime | 0 | 1 | 1 |",
		"| the whole shim, RSS | 20.0 MiB |  |  |",
		"|  |  | not measured: 60 execs live, the next does not: too slow / really |",
		"| stubs, RSS | none | none | none |",
		"| container create | 50.0 ms / 50.0 ms / 50.0 ms |",
		"| runc | 100 | a process exits once: 2 | none |",
		"- runc: an example",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(string(text)) {
		if _, link, ok := strings.Cut(line, "]("); ok {
			link, _, _ = strings.Cut(link, ")")
			if _, err := os.Stat(filepath.Join(dir, link)); err != nil {
				t.Error(err)
			}
		}
		if strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
			t.Errorf("a number is none: %s", line)
		}
	}
}

// What was saved is read again, to write it anew.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	r := canned()
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := readResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Options.bin, again.Options.out = r.Options.bin, r.Options.out
	if !reflect.DeepEqual(again, r) {
		t.Errorf("read %+v, saved %+v", again, r)
	}
	if _, err := readResults(t.TempDir()); err == nil {
		t.Error("there is nothing, and it is read")
	}
	if err := os.WriteFile(filepath.Join(dir, resultsFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readResults(dir); err == nil {
		t.Error("half a file is read")
	}
}

// A run with nothing in it is written, too.
func TestWriteEmpty(t *testing.T) {
	r := &results{}
	for _, s := range allShims {
		r.Shims = append(r.Shims, &figures{Shim: s, Levels: map[int][]level{}})
	}
	if err := r.write(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Fatal(err)
	}
}
