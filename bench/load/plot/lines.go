package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// maxPoints of one line are drawn: two for each pixel would not be seen.
const maxPoints = 640

// Lines is a chart of values over time.
type Lines struct {
	Title string
	// X are the moments, in seconds, of every series.
	X      []float64
	Series []Series
	Format Format
	// Binary puts the grid at multiples of powers of 1,024.
	Binary bool
}

// Series is one line; NaN is a gap.
type Series struct {
	Name string
	Y    []float64
}

// SVG draws the chart.
func (l Lines) SVG() string {
	c := newCanvas(l.Title)
	most, names := 0.0, []string{}
	for _, s := range l.Series {
		names = append(names, s.Name)
		for _, y := range s.Y {
			if !math.IsNaN(y) {
				most = max(most, y)
			}
		}
	}
	vertical := newScale(most)
	if l.Binary {
		vertical = binaryScale(most)
	}
	c.vertical(vertical, l.Format)
	span := 1.0
	if n := len(l.X); n > 0 && l.X[n-1] > 0 {
		span = l.X[n-1]
	}
	horizontal := newScale(span)
	for _, v := range horizontal.ticks {
		if v <= span*1.001 {
			c.text(left+plotWidth*v/span, height-below+18, "middle", "", seconds(v))
		}
	}
	for i, s := range l.Series {
		c.path(l.X, s, i, span, vertical, l.Format)
	}
	c.legend(names)
	return c.end()
}

func seconds(v float64) string {
	switch {
	case v >= 7200:
		return Number(v/3600) + " h"
	case v >= 180:
		return Number(v/60) + " min"
	}
	return Number(v) + " s"
}

// path draws a line: of more points than can be seen, the highest of each step.
func (c *canvas) path(xs []float64, s Series, color int, span float64, vertical scale, f Format) {
	var d strings.Builder
	step := (len(xs) + maxPoints - 1) / maxPoints
	pen := "M"
	for i := 0; i < len(xs); i += max(step, 1) {
		y := math.NaN()
		for j := i; j < min(i+max(step, 1), len(xs), len(s.Y)); j++ {
			if !math.IsNaN(s.Y[j]) && !(s.Y[j] <= y) {
				y = s.Y[j]
			}
		}
		if math.IsNaN(y) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&d, "%s%.1f %.1f", pen, left+plotWidth*xs[i]/span, vertical.y(y))
		pen = "L"
	}
	fmt.Fprintf(&c.b, `<path class="s%d" d="%s"><title>%s: %s</title></path>`+"\n",
		color%Colors, d.String(), html.EscapeString(s.Name), html.EscapeString(s.summary(f)))
}

func (s Series) summary(f Format) string {
	first, last, most := math.NaN(), math.NaN(), math.Inf(-1)
	for _, y := range s.Y {
		if math.IsNaN(y) {
			continue
		}
		if math.IsNaN(first) {
			first = y
		}
		last, most = y, max(most, y)
	}
	if math.IsNaN(first) {
		return "nothing"
	}
	return fmt.Sprintf("first %s, last %s, most %s", f(first), f(last), f(most))
}
