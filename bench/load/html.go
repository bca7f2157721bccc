package load

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/troupe-run/troupe/bench/load/plot"
)

//go:embed report.html
var pages embed.FS

var page = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"duration": Duration,
	"bytes":    Bytes,
	"known":    unknownIfZero,
	"rules":    func(m map[string]uint64) []string { return slices.Sorted(maps.Keys(m)) },
}).ParseFS(pages, "report.html"))

// WriteHTML writes a page that needs nothing else: no script, no style, no
// picture of another place.
func (r *Report) WriteHTML(w io.Writer) error {
	return page.Execute(w, struct {
		*Report
		States    any
		Roles     []Role
		Latency   []template.HTML
		OverTime  []template.HTML
		Resources []template.HTML
	}{r, r.states(), Roles, r.latencyCharts(), r.timeCharts(), r.resourceCharts()})
}

func safe(svg string) template.HTML {
	return template.HTML(svg) // package plot escapes every text
}

// plottedLatencies have a chart of their own; the table has all.
var plottedLatencies = []string{OpAdd, OpStart, OpStartToExit, OpKill, OpKillToExit, OpDelete}

func (r *Report) latencyCharts() []template.HTML {
	var out []template.HTML
	for _, op := range plottedLatencies {
		if l, ok := r.Latency(op); ok {
			out = append(out, safe(l.chart().SVG()))
		}
	}
	return out
}

func (l Latency) chart() plot.Distribution {
	d := plot.Distribution{
		Title:  fmt.Sprintf("%s (%d)", l.Op, l.Histogram.Count()),
		Format: nanoseconds,
		Marks: []plot.Mark{
			{Name: "p50", At: float64(l.P50)}, {Name: "p95", At: float64(l.P95)}, {Name: "p99", At: float64(l.P99)},
		},
	}
	for _, b := range l.Histogram.Buckets(8) {
		d.From, d.To = append(d.From, float64(b.From)), append(d.To, float64(b.To))
		d.Count = append(d.Count, float64(b.Count))
	}
	return d
}

func nanoseconds(v float64) string { return Duration(time.Duration(v)) }
func byteCount(v float64) string   { return Bytes(int64(v)) }

func (r *Report) moments() []float64 {
	var xs []float64
	for _, s := range r.Samples {
		xs = append(xs, s.At.Seconds())
	}
	return xs
}

func (r *Report) series(name string, of func(Sample) float64) plot.Series {
	s := plot.Series{Name: name}
	for _, sample := range r.Samples {
		s.Y = append(s.Y, of(sample))
	}
	return s
}

func (r *Report) timeCharts() []template.HTML {
	latency := func(of func(Sample) time.Duration) func(Sample) float64 {
		return func(s Sample) float64 {
			if d := of(s); d > 0 {
				return float64(d)
			}
			return math.NaN()
		}
	}
	return []template.HTML{
		safe(plot.Lines{Title: "execs per second", X: r.moments(), Format: plot.Number, Series: []plot.Series{
			r.series("completed", func(s Sample) float64 { return s.Rate }),
		}}.SVG()),
		safe(plot.Lines{Title: "start-to-exit", X: r.moments(), Format: nanoseconds, Series: []plot.Series{
			r.series("p50", latency(func(s Sample) time.Duration { return s.P50 })),
			r.series("p99", latency(func(s Sample) time.Duration { return s.P99 })),
		}}.SVG()),
	}
}

// resourceCharts leaves out what was nothing all the time.
func (r *Report) resourceCharts() []template.HTML {
	var out []template.HTML
	byRole := func(title string, binary bool, of func(Usage) float64, roles ...Role) {
		chart := plot.Lines{Title: title, X: r.moments(), Format: plot.Number, Binary: binary}
		if binary {
			chart.Format = byteCount
		}
		for _, role := range roles {
			s := r.series(string(role), func(s Sample) float64 { return of(s.ByRole[role]) })
			if slices.ContainsFunc(s.Y, func(y float64) bool { return y != 0 }) {
				chart.Series = append(chart.Series, s)
			}
		}
		if len(chart.Series) > 0 {
			out = append(out, safe(chart.SVG()))
		}
	}
	byRole("resident memory (RSS)", true, rss, Roles...)
	byRole("share of memory (PSS)", true, pss, Roles...)
	// The guests of systrap have copies of their sentry's.
	byRole("file descriptors", false, fds, RoleRuntime, RoleSentry, RoleGofer, RoleStub)
	byRole("threads", false, threads, Roles...)
	byRole("processes", false, processes, Roles...)
	for _, g := range []struct {
		title string
		of    func(Sample) float64
	}{
		{"goroutines of the runtime", func(s Sample) float64 { return float64(s.Goroutines) }},
		{"zombies", func(s Sample) float64 { return float64(s.Zombies) }},
		{"files of the runtime", func(s Sample) float64 { return float64(s.Files) }},
		{"mounts", func(s Sample) float64 { return float64(s.Mounts) }},
	} {
		s := r.series(g.title, g.of)
		if r.Options.Leaks || slices.ContainsFunc(s.Y, func(y float64) bool { return y != 0 }) {
			out = append(out, safe(plot.Lines{Title: g.title, X: r.moments(), Format: plot.Number, Series: []plot.Series{s}}.SVG()))
		}
	}
	return out
}
