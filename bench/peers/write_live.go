package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/troupe-run/troupe/bench/load"
	"github.com/troupe-run/troupe/bench/load/plot"
)

// notMeasured says why, so that it fits into a cell of a table.
func notMeasured(why string) string {
	return "not measured: " + strings.ReplaceAll(strings.Join(strings.Fields(why), " "), "|", "/")
}

// goroutines is the median of those that were counted.
func (f *figures) goroutines() string {
	var all []float64
	why := ""
	for _, r := range f.Rest {
		if r.Missing != "" {
			why = notMeasured(r.Missing)
			continue
		}
		all = append(all, float64(r.Goroutines))
	}
	if len(all) == 0 {
		return why
	}
	median, _, _ := spread(all)
	return number(median)
}

// writeLive writes what live execs keep.
func (r *results) writeLive(b *strings.Builder) {
	fmt.Fprintf(b, "### Live execs\n\n![Memory outside of the sandbox](results/live.svg)\n\n"+
		"What sleeping execs keep, in one container, looked at after %s without a call. "+
		"A figure for each exec is what there is more than without execs, divided by their number; outside of the sandbox are the shim and its stubs. "+
		"PSS counts a page that several processes share once, RSS in each.\n\n", load.Duration(restTime))
	for _, n := range r.Options.Live {
		r.writeLiveTable(b, n)
	}
}

func (r *results) writeLiveTable(b *strings.Builder, n int) {
	var rows [][]string
	add := func(name string, of func(live) float64, format func(float64) string) {
		row := []string{name}
		for _, f := range r.measured() {
			cell := ""
			if median, ok := f.live(n, of); ok {
				cell = format(median)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	add("each, RSS of all", func(l live) float64 { return l.All.RSS }, bytes)
	add("each, PSS of all", func(l live) float64 { return l.All.PSS }, bytes)
	add("each, RSS outside of the sandbox", func(l live) float64 { return l.Outside.RSS }, bytes)
	add("each, PSS outside of the sandbox", outsidePSS, bytes)
	add("each, processes of the runtime", func(l live) float64 { return l.Outside.Processes }, number)
	add("each, threads of the runtime", func(l live) float64 { return l.Outside.Threads }, number)
	add("the whole shim, RSS", shimRSS, bytes)
	add("the whole shim, PSS", func(l live) float64 { return float64(l.Shim.PSS) }, bytes)
	if row := r.missingRow(n); row != nil {
		rows = append(rows, row)
	}
	table(b, names(r.measured(), strconv.Itoa(n)+" live execs"), rows)
}

// missingRow says which shims could not be measured and why; nil if all were.
func (r *results) missingRow(n int) []string {
	row, some := []string{""}, false
	for _, f := range r.measured() {
		cell := ""
		if why := f.missing(n); why != "" {
			cell, some = notMeasured(why), true
		}
		row = append(row, cell)
	}
	if !some {
		return nil
	}
	return row
}

// liveChart has what all live execs keep outside of the sandbox, by how many
// there are.
func (r *results) liveChart() plot.Bars {
	chart := plot.Bars{Title: "what live execs add outside of the sandbox (PSS)", Format: bytes, Binary: true}
	for _, n := range r.Options.Live {
		chart.Groups = append(chart.Groups, strconv.Itoa(n))
	}
	for _, f := range r.measured() {
		s := plot.Series{Name: f.Shim.Name}
		for _, n := range r.Options.Live {
			y, ok := f.live(n, func(l live) float64 { return max(l.Outside.PSS, 0) * float64(l.Execs) })
			if !ok {
				y = math.NaN()
			}
			s.Y = append(s.Y, y)
		}
		chart.Series = append(chart.Series, s)
	}
	return chart
}
