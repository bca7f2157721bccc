package plot

import (
	"fmt"
	"math"
)

// Bars is a chart of groups of bars: one bar of each series in each group.
type Bars struct {
	Title  string
	Groups []string
	// Series have one value for each group; NaN is a bar that is not there.
	Series []Series
	Format Format
	// Binary puts the grid at multiples of powers of 1,024.
	Binary bool
}

// SVG draws the chart.
func (b Bars) SVG() string {
	c := newCanvas(b.Title)
	most, names := 0.0, []string{}
	for _, s := range b.Series {
		names = append(names, s.Name)
		for _, y := range s.Y {
			if !math.IsNaN(y) {
				most = max(most, y)
			}
		}
	}
	// Room for the number above the highest bar.
	s := newScale(most * 1.05)
	if b.Binary {
		s = binaryScale(most * 1.05)
	}
	c.vertical(s, b.Format)
	group := float64(plotWidth) / float64(max(len(b.Groups), 1))
	bar := min(group*0.9/float64(max(len(b.Series), 1)), 64)
	for g, name := range b.Groups {
		middle := left + group*(float64(g)+0.5)
		c.text(middle, height-below+18, "middle", "", name)
		x := middle - bar*float64(len(b.Series))/2
		for i, series := range b.Series {
			if g < len(series.Y) && !math.IsNaN(series.Y[g]) {
				v := series.Y[g]
				c.bar(x+1, s.y(v), bar-2, max(s.y(0)-s.y(v), 0.5), i, fmt.Sprintf("%s, %s: %s", series.Name, name, b.Format(v)))
				if text := b.Format(v); letterWidth*float64(len(text)) <= bar+4 {
					c.text(x+bar/2, s.y(v)-4, "middle", "", text)
				}
			}
			x += bar
		}
	}
	c.legend(names)
	return c.end()
}

// Distribution is a chart of how often values fell into ranges that grow by a
// constant factor, with marks at some of them.
type Distribution struct {
	Title string
	// From and To of the ranges, rising, and how many fell into each.
	From, To []float64
	Count    []float64
	Marks    []Mark
	Format   Format
}

// Mark is a value with a name: a quantile.
type Mark struct {
	Name string
	At   float64
}

// SVG draws the chart.
func (d Distribution) SVG() string {
	c := newCanvas(d.Title)
	most := 0.0
	for _, n := range d.Count {
		most = max(most, n)
	}
	s := newScale(most)
	c.vertical(s, Number)
	if len(d.From) == 0 {
		return c.end()
	}
	low, high := math.Log(max(d.From[0], 1)), math.Log(max(d.To[len(d.To)-1], 2))
	x := func(v float64) float64 { return left + plotWidth*(math.Log(max(v, 1))-low)/max(high-low, 1e-9) }
	for i, n := range d.Count {
		if n > 0 {
			x1, x2 := x(d.From[i]), x(d.To[i])
			c.bar(x1+0.3, s.y(n), max(x2-x1-0.6, 0.6), max(s.y(0)-s.y(n), 0.75), 0,
				fmt.Sprintf("%s to %s: %.0f", d.Format(d.From[i]), d.Format(d.To[i]), n))
		}
	}
	lastLabel := math.Inf(-1)
	for v := math.Pow(10, math.Floor(low/math.Ln10)); v <= d.To[len(d.To)-1]; v *= 10 {
		for _, m := range []float64{1, 2, 5} {
			at := x(v * m)
			if at < left-1 || at > width-right+1 || at < lastLabel+48 {
				continue
			}
			c.text(at, height-below+18, "middle", "", d.Format(v*m))
			lastLabel = at
		}
	}
	for i, m := range d.Marks {
		at := x(m.At)
		c.line(at, top, at, height-below, "mark")
		anchor := "start"
		if at > width-120 {
			anchor, at = "end", at-6
		}
		c.text(at+3, top+12+14*float64(i), anchor, "", m.Name+" "+d.Format(m.At))
	}
	return c.end()
}
