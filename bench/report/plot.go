package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// A plot is drawn for half a page, and shown on a telephone a fifth smaller: the size of its text stands both.
const (
	plotWidth, plotHeight                    = 480.0, 270.0
	plotLeft, plotRight, plotTop, plotBottom = 62.0, 14.0, 36.0, 44.0
	maxStyles                                = 6   // dashes and colours that can be told apart
	maxPoints                                = 480 // of a line: one for each unit of its width
	labelWidth                               = 7.2 // of a character, about
)

// point of a line; a NaN in Y interrupts it.
type point struct{ X, Y float64 }

// line of a plot. Its style is its place in the plot.
type line struct {
	Name   string
	Points []point
}

// tick of an axis.
type tick struct {
	At   float64
	Text string
}

// axis from Min to Max.
type axis struct {
	Label    string // what, with its unit
	Min, Max float64
	Log      bool
	Ticks    []tick
}

// scale gives the place of v between 0 and 1, or outside when v is.
func (a axis) scale(v float64) float64 {
	lo, hi := a.Min, a.Max
	if a.Log {
		lo, hi, v = math.Log10(lo), math.Log10(hi), math.Log10(v)
	}
	if hi == lo {
		return 0.5
	}
	return (v - lo) / (hi - lo)
}

// linear makes an axis that begins and ends at a tick when loose, and exactly at its bounds otherwise.
func linear(label string, lo, hi float64, ticks int, loose bool) axis {
	if !(hi > lo) {
		hi = lo + 1
	}
	step := niceStep((hi - lo) / float64(ticks))
	a := axis{Label: label, Min: lo, Max: hi}
	if loose {
		a.Min, a.Max = math.Floor(lo/step)*step, math.Ceil(hi/step-1e-9)*step
	}
	decimals := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	for i := math.Ceil(a.Min/step - 1e-9); i*step <= a.Max+step*1e-6; i++ {
		at := i*step + 0 // −0 becomes 0
		a.Ticks = append(a.Ticks, tick{at, strconv.FormatFloat(at, 'f', decimals, 64)})
	}
	return a
}

// niceStep is the smallest of 1, 2, 5 × 10ⁿ that is not less than v.
func niceStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*p*(1+1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// logTimes makes a logarithmic axis of seconds from the decade of lo to that of hi.
func logTimes(label string, lo, hi float64) axis {
	if !(lo > 0) {
		lo = 1e-3
	}
	hi = max(hi, lo)
	first, last := math.Floor(math.Log10(lo)+1e-9), math.Ceil(math.Log10(hi)-1e-9)
	if first == last {
		last++
	}
	a := axis{Label: label, Min: math.Pow(10, first), Max: math.Pow(10, last), Log: true}
	for e := first; e <= last; e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if v > a.Max*1.001 || m != 1 && last-first > 2 {
				break
			}
			a.Ticks = append(a.Ticks, tick{v, shortTime(v)})
		}
	}
	return a
}

// shortTime writes 1, 2 or 5 × 10ⁿ seconds.
func shortTime(s float64) string {
	for _, u := range []struct {
		name string
		unit float64
	}{{"s", 1}, {"ms", 1e-3}, {"µs", 1e-6}} {
		if s >= u.unit*0.999 {
			return fmt.Sprintf("%.0f %s", s/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%.0f ns", s*1e9)
}

// plot is lines over one axis, with vertical marks.
type plot struct {
	Title string
	Desc  string // what it shows, in words, for those who do not see it
	X, Y  axis
	Lines []line
	Marks []markAt
	// Of a heat map: what is drawn behind the marks, and what its colours mean.
	cells string
	Scale []swatch
}

// swatch is a colour of a heat map.
type swatch struct {
	Style int // 1 to heatLevels
	Text  string
}

// markAt is a vertical line with the number of a Mark.
type markAt struct {
	At   float64 // on the axis X
	N    int
	Text string
}

func (p plot) x(v float64) float64 {
	return plotLeft + p.X.scale(v)*(plotWidth-plotLeft-plotRight)
}

func (p plot) y(v float64) float64 {
	return plotHeight - plotBottom - p.Y.scale(v)*(plotHeight-plotTop-plotBottom)
}

// SVG draws the plot.
func (p plot) SVG() template.HTML {
	var b strings.Builder
	open(&b, plotWidth, plotHeight, p.Title, p.Desc)
	bottom, right := plotHeight-plotBottom, plotWidth-plotRight
	if !p.X.Log && p.X.Min < 0 { // the warm-up
		fmt.Fprintf(&b, `<rect class="warm" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, plotLeft, plotTop, p.x(min(0, p.X.Max))-plotLeft, bottom-plotTop)
	}
	for _, t := range p.Y.Ticks {
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %.1fH%.1f"/><text class="tick end" x="%.1f" y="%.1f">%s</text>`,
			plotLeft, p.y(t.At), right, plotLeft-6, p.y(t.At)+4, escape(t.Text))
	}
	free := math.Inf(-1) // up to where the last label reaches
	for _, t := range p.X.Ticks {
		x, half := p.x(t.At), float64(len(t.Text))*labelWidth/2
		fmt.Fprintf(&b, `<path class="grid" d="M%.1f %.1fV%.1f"/>`, x, plotTop, bottom)
		if x-half < free+4 {
			continue
		}
		// The last label ends with the plot.
		anchor, at := "mid", x
		if x+half > plotWidth {
			anchor, at = "end", plotWidth-1
		}
		free = x + half
		fmt.Fprintf(&b, `<text class="tick %s" x="%.1f" y="%.1f">%s</text>`, anchor, at, bottom+16, escape(t.Text))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%.1f %.1fH%.1f"/>`, plotLeft, bottom, right)
	fmt.Fprintf(&b, `<text class="label" x="4" y="13">%s</text>`, escape(p.Y.Label))
	fmt.Fprintf(&b, `<text class="label end" x="%.1f" y="%.1f">%s</text>`, right, plotHeight-8, escape(p.X.Label))
	b.WriteString(p.cells)
	p.marks(&b)
	for i, l := range p.Lines {
		p.line(&b, l, i%maxStyles)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// open writes the beginning of an SVG.
func open(b *strings.Builder, w, h float64, title, desc string) {
	fmt.Fprintf(b, `<svg viewBox="0 0 %.0f %.0f" role="img"><title>%s</title><desc>%s</desc>`,
		w, h, escape(title), escape(desc))
}

// escape makes text of others safe within an SVG, which knows no control characters at all.
func escape(s string) string { return html.EscapeString(clean(s)) }

// marks draws vertical lines, and their numbers above: together where they would touch.
func (p plot) marks(b *strings.Builder) {
	var x, end float64
	first, last := 0, 0
	flush := func() {
		if first == 0 {
			return
		}
		text := strconv.Itoa(first)
		if last != first {
			text += "–" + strconv.Itoa(last)
		}
		fmt.Fprintf(b, `<text class="marknum" x="%.1f" y="%.1f">%s</text>`, x, plotTop-5, text)
	}
	for _, m := range p.Marks {
		if m.At < p.X.Min || m.At > p.X.Max {
			continue
		}
		at := p.x(m.At)
		if p.cells != "" { // seen on every colour
			fmt.Fprintf(b, `<path class="halo" d="M%.1f %.1fV%.1f"/>`, at, plotTop, plotHeight-plotBottom)
		}
		fmt.Fprintf(b, `<path class="mark" d="M%.1f %.1fV%.1f"><title>%s</title></path>`,
			at, plotTop, plotHeight-plotBottom, escape(fmt.Sprintf("%d: %s", m.N, m.Text)))
		if first == 0 || at > end {
			flush()
			first, x = m.N, at
		}
		last = m.N
		end = x + 5*labelWidth
	}
	flush()
}

// line draws one. A single point becomes a dot.
func (p plot) line(b *strings.Builder, l line, style int) {
	var d strings.Builder
	var dots []point
	run := 0
	var before point
	end := func() {
		if run == 1 {
			dots = append(dots, before)
		}
		run = 0
	}
	for _, pt := range l.Points {
		if math.IsNaN(pt.Y) || math.IsInf(pt.Y, 0) || p.Y.Log && pt.Y <= 0 || p.X.Log && pt.X <= 0 {
			end()
			continue
		}
		before = point{p.x(pt.X), p.y(min(max(pt.Y, p.Y.Min), p.Y.Max))}
		verb := 'L'
		if run == 0 {
			verb = 'M'
		}
		fmt.Fprintf(&d, "%c%.1f %.1f", verb, before.X, before.Y)
		run++
	}
	end()
	if d.Len() > 0 {
		fmt.Fprintf(b, `<path class="line s%d" d="%s"/>`, style, d.String())
	}
	for _, at := range dots {
		fmt.Fprintf(b, `<circle class="dot d%d" cx="%.1f" cy="%.1f" r="2"/>`, style, at.X, at.Y)
	}
}

// bar of a bar chart.
type bar struct {
	Name  string
	Value float64
	Text  string // of the value, with its unit
	Style int
}

// bars draws horizontal bars, each with its name and its value.
func bars(title, desc string, rows []bar) template.HTML {
	const rowHeight, left, right = 30.0, 150.0, 84.0
	var b strings.Builder
	open(&b, plotWidth, rowHeight*float64(len(rows))+8, title, desc)
	most := 0.0
	for _, r := range rows {
		most = max(most, r.Value)
	}
	for i, r := range rows {
		y, w := float64(i)*rowHeight+4, 0.0
		if most > 0 {
			w = max(0, r.Value) / most * (plotWidth - left - right)
		}
		fmt.Fprintf(&b, `<text class="barname end" x="%.1f" y="%.1f">%s</text><rect class="bar b%d" x="%.1f" y="%.1f" width="%.1f" height="20" rx="2"/><text class="barvalue" x="%.1f" y="%.1f">%s</text>`,
			left-8, y+15, escape(r.Name), r.Style%maxStyles, left, y, max(w, 1), left+w+6, y+15, escape(r.Text))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
