package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

// A heat map is at most so large, whatever the run: some 25 KB of page.
const (
	heatColumns = 96
	heatRows    = 32
	heatLevels  = 7 // colours that can be told apart
)

// heat is the latencies of a run by time and by length.
type heat struct {
	from, wide int     // seconds: where the first column begins, and how wide each is
	end        float64 // of the last one, in columns: it may have less than the others
	low        int     // bucket of a Spread with which the lowest row begins
	per        int     // buckets of a row
	rows       int
	cells      [][]int64 // of each column, from the lowest row
	total      int64
	highest    int64
}

// newHeat joins intervals to columns and buckets to rows, so that there are not more of them than can be seen. The rows fill whole decades, as the axis
// does. false: nothing was recorded.
func newHeat(r *measure.Run, name string) (h heat, ok bool) {
	low, high := math.MaxInt, -1
	from, last := math.MaxInt, math.MinInt
	for _, i := range r.Intervals {
		from, last = min(from, i.At), max(last, i.At)
		for b := range i.Spread[name].All {
			low, high = min(low, b), max(high, b)
		}
	}
	if high < 0 {
		return heat{}, false
	}
	const decade = measure.SpreadsPerDecade
	low, high = low/decade*decade, (high/decade+1)*decade
	step := r.Step()
	h = heat{from: from, low: low, per: 1}
	for ; (high-low)/h.per > heatRows; h.per *= 2 {
	}
	h.rows = (high - low) / h.per
	columns := (last-from)/step + 1
	h.wide = step * ((columns + heatColumns - 1) / heatColumns)
	h.end = float64(last-from+step) / float64(h.wide)
	h.cells = make([][]int64, (last-from)/h.wide+1)
	for i := range h.cells {
		h.cells[i] = make([]int64, h.rows)
	}
	for _, i := range r.Intervals {
		column := h.cells[(i.At-h.from)/h.wide]
		for b, n := range i.Spread[name].All {
			cell := &column[(b-low)/h.per]
			*cell += n
			h.total += n
			h.highest = max(h.highest, *cell)
		}
	}
	return h, true
}

// bound is where a row begins, in seconds.
func (h heat) bound(row int) float64 { return measure.SpreadBound(h.low + row*h.per) }

// levels are the least counts of the colours that are used: equal steps of a logarithm, since one slow message is to be seen beside
// thousands of quick ones.
func (h heat) levels() []int64 {
	var out []int64
	for i := range heatLevels {
		n := max(int64(i+1), int64(math.Round(math.Pow(float64(h.highest), float64(i)/heatLevels))))
		if len(out) > 0 {
			n = max(n, out[len(out)-1]+1)
		}
		if n > h.highest {
			break
		}
		out = append(out, n)
	}
	return out
}

// style of the i-th of n colours: the most always has the strongest.
func style(i, n int) int { return heatLevels - n + 1 + i }

// svg of the cells: a path of each colour, in a system of coordinates in which a cell is 1 by 1. Neighbours in a row are one stroke.
func (h heat) svg(p plot, per float64) string {
	levels := h.levels()
	paths := make([]strings.Builder, len(levels))
	levelOf := func(n int64) int {
		level := -1
		for level+1 < len(levels) && n >= levels[level+1] {
			level++
		}
		return level
	}
	for row := range h.rows {
		for c := 0; c < len(h.cells); {
			level, end := levelOf(h.cells[c][row]), c+1
			for end < len(h.cells) && levelOf(h.cells[end][row]) == level {
				end++
			}
			if level >= 0 {
				fmt.Fprintf(&paths[level], "M%d %dh%.4g", c, h.rows-1-row, min(float64(end), h.end)-float64(c))
			}
			c = end
		}
	}
	left := p.x(float64(h.from) / per)
	width := p.x(float64(h.from+h.wide)/per) - left
	height := (plotHeight - plotTop - plotBottom) / float64(h.rows)
	var b strings.Builder
	fmt.Fprintf(&b, `<g class="heat" transform="translate(%.2f %.2f) scale(%.4f %.4f)">`, left, plotTop+height/2, width, height)
	for i := range paths {
		if paths[i].Len() > 0 {
			fmt.Fprintf(&b, `<path class="h%d" d="%s"/>`, style(i, len(levels)), paths[i].String())
		}
	}
	b.WriteString(`</g>`)
	return b.String()
}

// scale is the legend.
func (h heat) scale(what string) []swatch {
	levels := h.levels()
	out := []swatch{{Text: fmt.Sprintf("%s in a cell of %s:", what, plural(h.wide, "second"))}}
	for i, n := range levels {
		to := h.highest
		if i+1 < len(levels) {
			to = levels[i+1] - 1
		}
		text := count(n)
		if to > n {
			text += "–" + count(to)
		}
		out = append(out, swatch{style(i, len(levels)), text})
	}
	return out
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func count(n int64) string { return compare.Format(float64(n), compare.Count) }

// quantile of a column: the row above which there is no more than 1−q of it; -1: it is empty.
func quantile(column []int64, q float64) int {
	var all, sum int64
	for _, n := range column {
		all += n
	}
	if all == 0 {
		return -1
	}
	for row, n := range column {
		if sum += n; float64(sum) >= q*float64(all) {
			return row
		}
	}
	return len(column) - 1
}

const (
	unusual     = 4 // times slower than usual is worth a word
	maxUnusuals = 5
)

// words for what the map shows: how long most took, and when it was much longer.
func (h heat) words(what string) string {
	sum := make([]int64, h.rows)
	each := make([]int64, h.rows) // how many columns have their 99 % in a row
	for _, c := range h.cells {
		for row, n := range c {
			sum[row] += n
		}
		if row := quantile(c, 0.99); row >= 0 {
			each[row]++
		}
	}
	within := func(column []int64, q float64) string {
		return compare.Format(h.bound(quantile(column, q)+1), compare.Seconds)
	}
	text := fmt.Sprintf("Heat map of %s: time from left to right, latency from below to above, colour is how many in %s. %s in all: half took less than %s, 99 %% less than %s, all less than %s. ",
		what, plural(h.wide, "second"), count(h.total), within(sum, 0.5), within(sum, 0.99), within(sum, 1))
	usual := quantile(each, 0.5)
	slow := func(c []int64) bool {
		row := quantile(c, 0.99)
		return row >= 0 && h.bound(row) > unusual*h.bound(usual)
	}
	found := 0
	for i := 0; i < len(h.cells); i++ {
		if !slow(h.cells[i]) {
			continue
		}
		from, column := i, make([]int64, h.rows)
		for ; i < len(h.cells) && slow(h.cells[i]); i++ {
			for row, n := range h.cells[i] {
				column[row] += n
			}
		}
		if found++; found <= maxUnusuals {
			text += fmt.Sprintf("From second %d to %d it was slower than usual: 99 %% less than %s. ", h.from+from*h.wide, h.from+i*h.wide, within(column, 0.99))
		}
	}
	if found > maxUnusuals {
		text += fmt.Sprintf("It was so at %d more times.", found-maxUnusuals)
	}
	return strings.TrimSpace(text)
}

// heatMaps of the latencies of which the run has spreads.
func heatMaps(r *measure.Run) (plots []plot) {
	x, per := timeAxis(r)
	for _, c := range []struct{ name, what string }{{measure.NameAck, "acknowledgements"}, {measure.NameDelivery, "deliveries"}} {
		h, ok := newHeat(r, c.name)
		if !ok {
			continue
		}
		p := plot{Title: "Latencies over time: " + c.name, Desc: h.words(c.what), X: x, Y: logTimes("latency (log scale)", h.bound(0), h.bound(h.rows)),
			Marks: marks(r, per), Scale: h.scale(c.what)}
		p.cells = h.svg(p, per)
		plots = append(plots, p)
	}
	return plots
}
