// Package plot draws small charts as SVG that needs nothing else: no script, no
// font, no other file. They follow the reader's light or dark scheme, in a page
// or as files of their own.
package plot

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// The size of every chart, in pixels of its view box; it scales with its place.
const (
	width, height           = 640, 260
	left, right, top, below = 64, 16, 44, 34
	plotWidth               = width - left - right
	plotHeight              = height - top - below
)

// letterWidth of most fonts at the size of the labels.
const letterWidth = 6.2

// Colors is how many series can be told apart; a further one has the first's
// color again.
const Colors = 6

// style is repeated in every chart, so that each can stand alone.
const style = `<style>
.plot{--bg:#fcfcfb;--ink:#0b0b0b;--soft:#52514e;--line:#dddcd6;--c0:#2a78d6;--c1:#d9591f;--c2:#12875c;--c3:#7a4fc9;--c4:#b8860b;--c5:#c2366b;font:12px system-ui,sans-serif;max-width:100%;height:auto}
@media(prefers-color-scheme:dark){.plot{--bg:#1a1a19;--ink:#fff;--soft:#c3c2b7;--line:#3a3a38;--c0:#5b9df0;--c1:#f0824f;--c2:#35c48c;--c3:#a98bf0;--c4:#e0b23c;--c5:#ee6c9c}}
.plot .bg{fill:var(--bg)}.plot text{fill:var(--soft);paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}.plot .title{fill:var(--ink);font-weight:600;font-size:14px}
.plot .grid{stroke:var(--line);stroke-width:1}.plot .mark{stroke:var(--soft);stroke-dasharray:3 3}
.plot path{fill:none;stroke-width:1.75;stroke-linejoin:round}
.plot .s0{stroke:var(--c0)}.plot .s1{stroke:var(--c1)}.plot .s2{stroke:var(--c2)}.plot .s3{stroke:var(--c3)}.plot .s4{stroke:var(--c4)}.plot .s5{stroke:var(--c5)}
.plot .f0{fill:var(--c0)}.plot .f1{fill:var(--c1)}.plot .f2{fill:var(--c2)}.plot .f3{fill:var(--c3)}.plot .f4{fill:var(--c4)}.plot .f5{fill:var(--c5)}
</style>
`

// Format writes a value for an axis or a label.
type Format func(float64) string

// Number has at most one digit behind the point.
func Number(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	if math.Abs(v) < 1 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// Bytes and whatever else is counted by 1,024 has its grid at such numbers.
func binaryScale(most float64) scale {
	unit := 1.0
	for most/unit >= 1024 {
		unit *= 1024
	}
	s := newScale(most / unit)
	s.top *= unit
	for i := range s.ticks {
		s.ticks[i] *= unit
	}
	return s
}

// canvas is a chart that is being written.
type canvas struct{ b strings.Builder }

func newCanvas(title string) *canvas {
	c := &canvas{}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`,
		width, height, width, height, html.EscapeString(title))
	c.b.WriteByte('\n')
	c.b.WriteString(style)
	fmt.Fprintf(&c.b, `<rect class="bg" width="%d" height="%d" rx="6"/>`+"\n", width, height)
	c.text(12, 20, "start", "title", title)
	return c
}

func (c *canvas) end() string {
	c.b.WriteString("</svg>\n")
	return c.b.String()
}

func (c *canvas) text(x, y float64, anchor, class, s string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(&c.b, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, class, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(&c.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

// bar is a rectangle with a text that shows when it is pointed at.
func (c *canvas) bar(x, y, w, h float64, series int, tip string) {
	fmt.Fprintf(&c.b, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" rx="1.5" class="f%d"><title>%s</title></rect>`+"\n",
		x, y, w, h, series%Colors, html.EscapeString(tip))
}

// legend names the series, where there are several.
func (c *canvas) legend(names []string) {
	if len(names) < 2 {
		return
	}
	x := float64(left)
	for i, name := range names {
		fmt.Fprintf(&c.b, `<rect x="%.1f" y="28" width="10" height="10" rx="2" class="f%d"/>`+"\n", x, i%Colors)
		c.text(x+14, 37, "start", "", name)
		x += 30 + letterWidth*float64(len(name))
	}
}

// scale maps 0..top of the values to the height of the chart.
type scale struct {
	top   float64
	ticks []float64
}

// newScale ends at a round number at or above most.
func newScale(most float64) scale {
	if !(most > 0) || math.IsInf(most, 0) {
		most = 1
	}
	raw := most / 4
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := power
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if step = m * power; step >= raw*0.999 {
			break
		}
	}
	s := scale{}
	for v := 0.0; v < most+step*0.999; v += step {
		s.ticks = append(s.ticks, v)
		s.top = v
	}
	return s
}

func (s scale) y(v float64) float64 {
	v = min(max(v, 0), s.top)
	return top + plotHeight*(1-v/s.top)
}

func (c *canvas) vertical(s scale, f Format) {
	for _, v := range s.ticks {
		y := s.y(v)
		c.line(left, y, width-right, y, "grid")
		c.text(left-6, y+4, "end", "", f(v))
	}
}
