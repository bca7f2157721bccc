package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/plot"
)

// chartFolder holds the charts, beside RESULTS.md.
const chartFolder = "results"

// write writes RESULTS.md and its charts into a folder.
func (r *results) write(dir string) error {
	charts := filepath.Join(dir, chartFolder)
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	for name, svg := range r.charts() {
		if err := os.WriteFile(filepath.Join(charts, name), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, "RESULTS.md")
	if err := os.WriteFile(path, []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "wrote", path)
	return nil
}

// markdown is RESULTS.md.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Troupe's shim beside others

Written by `+"`make bench-peers`"+`; nothing here was typed by hand. %s, %d rounds, %s in all.

Every shim has its turn in every round, in changing order, under the same containerd in namespaces of its own, with the same image (a static busybox), the same load generator (`+"`bench/load`"+`) and `+"`/bin/true`"+` as the command. Latencies are those of a client of containerd, over all rounds. A rate is the median of the rounds, with the least and the most in brackets. Processor time is that of every process in the namespaces but the load generator.

| name | is |
| --- | --- |
| %s | containerd-shim-troupe-v1, this project's, with runsc |
| %s | containerd-shim-runc-v2, containerd's, with runc: no sandbox |
| %s | containerd-shim-runsc-v1, gVisor's own, with runsc |
| %s | the same with room for 4,096 exits in place of 32 in each subscription: with 32 it stalls above 8 execs at once |

`, r.Started.UTC().Format("2006-01-02 15:04 MST"), r.Options.Rounds, r.Elapsed.Round(time.Second), troupe, runc, runsc, wide)
	r.writeAims(&b)
	r.writeThroughput(&b)
	r.writeLatencies(&b)
	r.writeMemory(&b)
	r.writeTrouble(&b)
	r.writeWhere(&b)
	return b.String()
}

// table writes a table; a row of one cell is left out.
func table(b *strings.Builder, head []string, rows [][]string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteByte('\n')
}

// measured are the shims that are no changed copy.
func (r *results) measured() []*figures {
	return slices.DeleteFunc(slices.Clone(r.Shims), func(f *figures) bool { return f.Shim.Variant })
}

func names(shims []*figures, first string) []string {
	head := []string{first}
	for _, f := range shims {
		head = append(head, f.Shim.Name)
	}
	return head
}

func (r *results) writeThroughput(b *strings.Builder) {
	b.WriteString("## Execs per second\n\n![Execs per second](results/throughput.svg)\n\n")
	var rows, cpu [][]string
	for _, n := range levels {
		row, cpuRow := []string{strconv.Itoa(n)}, []string{strconv.Itoa(n)}
		for _, f := range r.Shims {
			cell, cpuCell := "", ""
			if len(f.Levels[n]) > 0 {
				median, least, most := f.overRounds(n, func(l level) float64 { return l.Rate })
				cell = fmt.Sprintf("%s (%s to %s)", number(median), number(least), number(most))
				median, _, _ = f.overRounds(n, func(l level) float64 { return l.CPU })
				cpuCell = number(median*1000) + " ms"
			}
			row, cpuRow = append(row, cell), append(cpuRow, cpuCell)
		}
		rows, cpu = append(rows, row), append(cpu, cpuRow)
	}
	table(b, names(r.Shims, "at once"), rows)
	b.WriteString("Processor time of one exec:\n\n")
	table(b, names(r.Shims, "at once"), cpu)
}

func (r *results) writeLatencies(b *strings.Builder) {
	b.WriteString("## Latency\n\n![Latency of one exec](results/latency.svg)\n\np50 / p95 / p99, one at a time:\n\n")
	cells := func(op string, of func(*figures) *load.Histogram) []string {
		row := []string{op}
		for _, f := range r.measured() {
			row = append(row, quantiles(of(f)))
		}
		return row
	}
	var rows [][]string
	for _, op := range execOps {
		rows = append(rows, cells(op, func(f *figures) *load.Histogram { return f.exec(1, op) }))
	}
	for _, op := range killOps {
		rows = append(rows, cells(op, func(f *figures) *load.Histogram { return f.Kills[op] }))
	}
	for _, op := range containerOps {
		rows = append(rows, cells(op, func(f *figures) *load.Histogram { return f.Containers[op] }))
	}
	table(b, names(r.measured(), ""), rows)
	fmt.Fprintf(b, "What is killed is a sleep that has lived for %s or so; kill-to-exit lasts until a wait, which was asked before, is answered.\n\n", load.Duration(killedAfter))
	b.WriteString("start-to-exit, p50 / p95 / p99, with more at once:\n\n")
	rows = nil
	for _, n := range levels {
		row := []string{strconv.Itoa(n)}
		for _, f := range r.Shims {
			row = append(row, quantiles(f.exec(n, load.OpStartToExit)))
		}
		rows = append(rows, row)
	}
	table(b, names(r.Shims, "at once"), rows)
}

func quantiles(h *load.Histogram) string {
	if h == nil || h.Count() == 0 {
		return ""
	}
	return fmt.Sprintf("%s / %s / %s", load.Duration(h.Quantile(0.5)), load.Duration(h.Quantile(0.95)), load.Duration(h.Quantile(0.99)))
}

func (r *results) writeMemory(b *strings.Builder) {
	fmt.Fprintf(b, "## Memory\n\n![Memory of an idle container](results/memory.svg)\n\nOne container that has just begun and has nothing to do; the same after a rest of %s; the shims of a pod:\n\n", load.Duration(restTime))
	rows := [][]string{}
	add := func(name string, of func(*figures) string) {
		row := []string{name}
		for _, f := range r.measured() {
			row = append(row, of(f))
		}
		rows = append(rows, row)
	}
	idle := func(role load.Role, of func(load.Usage) float64, format func(float64) string) func(*figures) string {
		return func(f *figures) string {
			if f.idle(role, func(u load.Usage) float64 { return float64(u.Processes) }) == 0 {
				return "none"
			}
			return format(f.idle(role, of))
		}
	}
	add("shim, RSS", idle(load.RoleRuntime, rss, bytes))
	add("shim, PSS", idle(load.RoleRuntime, pss, bytes))
	add("shim, threads", idle(load.RoleRuntime, threads, number))
	add("shim, threads at 64 at once, at most", func(f *figures) string {
		_, _, most := f.overRounds(64, func(l level) float64 { return float64(l.Threads) })
		return number(most)
	})
	add("shim, file descriptors", idle(load.RoleRuntime, func(u load.Usage) float64 { return float64(u.FDs) }, number))
	add("stubs, RSS", idle(load.RoleStub, rss, bytes))
	add("stubs, PSS", idle(load.RoleStub, pss, bytes))
	add("sentry, RSS", idle(load.RoleSentry, rss, bytes))
	add("gofer, RSS", idle(load.RoleGofer, rss, bytes))
	add("shim after its rest, RSS", func(f *figures) string { return bytes(f.rested(rss)) })
	add("shim after its rest, PSS", func(f *figures) string { return bytes(f.rested(pss)) })
	add("shim after its rest, threads", func(f *figures) string { return number(f.rested(threads)) })
	add("shim after its rest, goroutines", (*figures).goroutines)
	pod := func(of func(load.Usage) float64, format func(float64) string) func(*figures) string {
		return func(f *figures) string {
			var all []float64
			for _, u := range f.Pods {
				all = append(all, of(u))
			}
			median, _, _ := spread(all)
			return format(median)
		}
	}
	add(fmt.Sprintf("pod of %d containers, shims", podContainers), pod(func(u load.Usage) float64 { return float64(u.Processes) }, number))
	add(fmt.Sprintf("pod of %d containers, RSS of its shims", podContainers), pod(rss, bytes))
	table(b, names(r.measured(), ""), rows)
	r.writeLive(b)
}

func rss(u load.Usage) float64     { return float64(u.RSS) }
func pss(u load.Usage) float64     { return float64(u.PSS) }
func threads(u load.Usage) float64 { return float64(u.Threads) }
func bytes(v float64) string       { return load.Bytes(int64(v)) }

// number has three digits.
func number(v float64) string {
	switch {
	case math.Abs(v) >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func (r *results) writeTrouble(b *strings.Builder) {
	b.WriteString("## Order of events, and errors\n\n")
	rows := [][]string{}
	for _, f := range r.Shims {
		rows = append(rows, []string{f.Shim.Name, strconv.FormatUint(f.Events, 10), counted(f.Violations), counted(f.Errors)})
	}
	table(b, []string{"", "events", "violations", "errors"}, rows)
	for _, f := range r.Shims {
		for _, text := range f.Examples {
			fmt.Fprintf(b, "- %s: %s\n", f.Shim.Name, text)
		}
	}
	b.WriteByte('\n')
}

func counted(m map[string]uint64) string {
	if len(m) == 0 {
		return "none"
	}
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s: %d", key, m[key]))
	}
	return strings.Join(parts, "; ")
}

func (r *results) writeWhere(b *strings.Builder) {
	b.WriteString("## Machine and versions\n\n")
	rows := [][]string{}
	for _, f := range append(slices.Clone(r.Machine), r.Versions...) {
		rows = append(rows, []string{f.Name, f.Value})
	}
	table(b, []string{"", ""}, rows)
}

// charts by the name of their file.
func (r *results) charts() map[string]string {
	throughput := plot.Bars{Title: "execs per second, by how many at once", Format: plot.Number}
	latency := plot.Bars{Title: "one exec at a time, p50", Groups: []string{"start", "start-to-exit", "create-to-delete"}, Format: milliseconds}
	memory := plot.Bars{Title: "memory right after a container's start", Groups: []string{"shim and stubs (RSS)", "shim and stubs (PSS)"}, Format: bytes, Binary: true}
	for _, n := range levels {
		throughput.Groups = append(throughput.Groups, strconv.Itoa(n))
	}
	for _, f := range r.Shims {
		s := plot.Series{Name: f.Shim.Name}
		for _, n := range levels {
			rate := math.NaN()
			if len(f.Levels[n]) > 0 {
				rate, _, _ = f.overRounds(n, func(l level) float64 { return l.Rate })
				rate = math.Round(rate)
			}
			s.Y = append(s.Y, rate)
		}
		throughput.Series = append(throughput.Series, s)
	}
	for _, f := range r.measured() {
		var y []float64
		for _, op := range []string{load.OpStart, load.OpStartToExit, load.OpWhole} {
			y = append(y, float64(f.exec(1, op).Quantile(0.5)))
		}
		latency.Series = append(latency.Series, plot.Series{Name: f.Shim.Name, Y: y})
		memory.Series = append(memory.Series, plot.Series{Name: f.Shim.Name, Y: []float64{
			f.idle(load.RoleRuntime, rss) + f.idle(load.RoleStub, rss),
			f.idle(load.RoleRuntime, pss) + f.idle(load.RoleStub, pss),
		}})
	}
	return map[string]string{"throughput.svg": throughput.SVG(), "latency.svg": latency.SVG(), "memory.svg": memory.SVG(), "live.svg": r.liveChart().SVG()}
}

func milliseconds(v float64) string { return load.Duration(time.Duration(v)) }
