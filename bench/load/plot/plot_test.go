package plot_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/troupe-run/troupe/bench/load/plot"
)

// count reads an SVG as XML and counts its elements.
func count(t *testing.T, svg string) map[string]int {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	n := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			n[e.Name.Local]++
		}
	}
}

// Whatever is drawn is well-formed, and has no number that is none.
func TestCharts(t *testing.T) {
	nan := math.NaN()
	for name, svg := range map[string]string{
		"lines":            plot.Lines{Title: "<&>", X: []float64{1, 2, 3}, Format: plot.Number, Series: []plot.Series{{Name: "a<", Y: []float64{1, nan, 3}}, {Name: "b", Y: []float64{0, 5, 9}}}}.SVG(),
		"no lines":         plot.Lines{Format: plot.Number}.SVG(),
		"one point":        plot.Lines{X: []float64{0}, Format: plot.Number, Series: []plot.Series{{Y: []float64{0}}}}.SVG(),
		"gaps only":        plot.Lines{X: []float64{1, 2}, Format: plot.Number, Series: []plot.Series{{Y: []float64{nan, nan}}}}.SVG(),
		"binary":           plot.Lines{X: []float64{1, 2}, Binary: true, Format: plot.Number, Series: []plot.Series{{Y: []float64{3 << 20, 80 << 20}}}}.SVG(),
		"bars":             plot.Bars{Groups: []string{"1", "2"}, Format: plot.Number, Series: []plot.Series{{Name: "a", Y: []float64{1, nan}}, {Name: "b", Y: []float64{2}}}}.SVG(),
		"no bars":          plot.Bars{Format: plot.Number}.SVG(),
		"distribution":     plot.Distribution{From: []float64{0, 10, 100}, To: []float64{10, 100, 1000}, Count: []float64{1, 0, 3}, Format: plot.Number, Marks: []plot.Mark{{Name: "p50", At: 50}}}.SVG(),
		"no distribution":  plot.Distribution{Format: plot.Number}.SVG(),
		"one range":        plot.Distribution{From: []float64{8}, To: []float64{9}, Count: []float64{1}, Format: plot.Number}.SVG(),
		"values too large": plot.Lines{X: []float64{1}, Format: plot.Number, Series: []plot.Series{{Y: []float64{math.Inf(1)}}}}.SVG(),
	} {
		if n := count(t, svg); n["svg"] != 1 || n["style"] != 1 {
			t.Errorf("%s: elements %v", name, n)
		}
		for _, bad := range []string{"NaN", "Inf"} {
			if strings.Contains(svg, `"`+bad) || strings.Contains(svg, "L"+bad) || strings.Contains(svg, " "+bad+" ") {
				t.Errorf("%s has %s:\n%s", name, bad, svg)
			}
		}
	}
}

// A line of many points is drawn with as many as can be seen, its peaks kept.
func TestLinesThinned(t *testing.T) {
	l := plot.Lines{Format: plot.Number, Series: []plot.Series{{Name: "a"}}}
	for i := range 100_000 {
		y := 1.0
		if i == 77_777 {
			y = 1000
		}
		l.X, l.Series[0].Y = append(l.X, float64(i)), append(l.Series[0].Y, y)
	}
	svg := l.SVG()
	if points := strings.Count(svg, "L"); points > 700 || points < 300 {
		t.Errorf("%d points are drawn", points)
	}
	if !strings.Contains(svg, " 44.0L") {
		t.Error("the peak is not drawn at the top")
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 2.5: "2.5", 150.4: "150", 3: "3"} {
		if got := plot.Number(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}
