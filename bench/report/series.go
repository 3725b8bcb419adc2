package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

// timeAxis spans the run, in the unit in which it is best read. per converts seconds to that unit.
func timeAxis(r *measure.Run) (a axis, per float64) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, i := range r.Intervals {
		lo, hi = min(lo, float64(i.At)), max(hi, float64(i.At+r.Step()))
	}
	for _, p := range r.Processes {
		for _, s := range p.Samples {
			lo, hi = min(lo, s.At), max(hi, s.At)
		}
	}
	if lo > hi {
		lo, hi = 0, 1
	}
	unit := "s"
	per = 1
	switch span := hi - lo; {
	case span > 3*3600:
		unit, per = "h", 3600
	case span > 300:
		unit, per = "min", 60
	}
	return linear("time since the start of the load ("+unit+")", lo/per, hi/per, 8, false), per
}

// shrink brings a line to at most maxPoints, joining neighbours by fold. What is missing stays missing.
func shrink(pts []point, fold func([]float64) float64) []point {
	k := (len(pts) + maxPoints - 1) / maxPoints
	if k <= 1 {
		return pts
	}
	var out []point
	for part := range slices.Chunk(pts, k) {
		var ys []float64
		for _, p := range part {
			if !math.IsNaN(p.Y) {
				ys = append(ys, p.Y)
			}
		}
		y := math.NaN()
		if len(ys) > 0 {
			y = fold(ys)
		}
		out = append(out, point{part[len(part)/2].X, y})
	}
	return out
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// highest of the finite values of all lines, and their lowest above 0.
func extent(lines []line) (lowest, highest float64) {
	lowest = math.Inf(1)
	for _, l := range lines {
		for _, p := range l.Points {
			if p.Y > 0 && !math.IsInf(p.Y, 0) {
				lowest, highest = min(lowest, p.Y), max(highest, p.Y)
			}
		}
	}
	if highest == 0 {
		return 0, 0
	}
	return lowest, highest
}

// scaledAxis divides the lines by the unit that suits the highest, and names it.
func scaledAxis(what string, lines []line, base float64, units []string) axis {
	_, hi := extent(lines)
	by, i := 1.0, 0
	for ; i < len(units)-1 && hi/by >= base; i++ {
		by *= base
	}
	for _, l := range lines {
		for j := range l.Points {
			l.Points[j].Y /= by
		}
	}
	label := what
	if units[i] != "" {
		label += " (" + units[i] + ")"
	}
	return linear(label, 0, hi/by, 5, true)
}

// marks of a run, on an axis with per seconds a unit.
func marks(r *measure.Run, per float64) (out []markAt) {
	for i, m := range r.Marks {
		out = append(out, markAt{At: m.At / per, N: i + 1, Text: m.Text})
	}
	slices.SortStableFunc(out, func(a, b markAt) int { return cmp.Compare(a.At, b.At) })
	return out
}

// describe says in words what lines show.
func describe(lines []line, format func(float64) string) string {
	s := ""
	for _, l := range lines {
		var ys []float64
		for _, p := range l.Points {
			if !math.IsNaN(p.Y) {
				ys = append(ys, p.Y)
			}
		}
		if len(ys) == 0 {
			continue
		}
		s += fmt.Sprintf("%s: from %s to %s, mean %s. ", l.Name, format(slices.Min(ys)), format(slices.Max(ys)), format(mean(ys)))
	}
	return s
}

// intervalLine takes a value out of each interval.
func intervalLine(r *measure.Run, name string, per float64, value func(measure.Interval) float64, fold func([]float64) float64) line {
	l := line{Name: name}
	last, step := math.MinInt, r.Step()
	half := float64(step) / 2
	for _, i := range r.Intervals {
		if last != math.MinInt && i.At > last+step { // nothing was recorded between
			l.Points = append(l.Points, point{(float64(last+step) + half) / per, math.NaN()})
		}
		last = i.At
		l.Points = append(l.Points, point{(float64(i.At) + half) / per, value(i)})
	}
	l.Points = shrink(l.Points, fold)
	return l
}

// rates are the plots of what was sent, acknowledged and delivered.
func rates(r *measure.Run) (plots []plot) {
	x, per := timeAxis(r)
	for _, c := range []struct {
		title string
		names []string
	}{
		{"Sends", []string{measure.CountIntended, measure.CountSent, measure.CountAcked, measure.CountRefused}},
		{"Deliveries", []string{measure.CountDelivered}},
		{"Errors of REST", []string{measure.CountErrors}},
	} {
		if lines := countLines(r, per, c.names...); len(lines) > 0 {
			plots = append(plots, timed(r, c.title, lines, x, per, "a second", 1000, []string{"", "thousand", "million"}, compare.PerSecond))
		}
	}
	return plots
}

// timed makes a plot over time with a linear axis from 0.
func timed(r *measure.Run, title string, lines []line, x axis, per float64, what string, base float64, units []string, unit compare.Unit) plot {
	desc := title + " over time. " + describe(lines, func(v float64) string { return compare.Format(v, unit) })
	return plot{Title: title, Desc: desc, X: x, Y: scaledAxis(what, lines, base, units), Lines: lines, Marks: marks(r, per)}
}

// connections are the plots of the ramp, and of what happened to connections and sessions if anything did.
func connections(r *measure.Run) []plot {
	x, per := timeAxis(r)
	lines := []line{intervalLine(r, "connected", per, func(i measure.Interval) float64 { return float64(i.Connected) }, slices.Min)}
	plots := []plot{timed(r, "Connections", lines, x, per, "open", 1000, []string{"", "thousand", "million"}, compare.Count)}
	if lines := countLines(r, per, measure.CountOpened, measure.CountClosed, measure.CountResumed, measure.CountGaps); len(lines) > 0 {
		plots = append(plots, timed(r, "Sessions", lines, x, per, "a second", 1000, []string{"", "thousand", "million"}, compare.PerSecond))
	}
	return plots
}

// countLines are those of the counters that have anything to show.
func countLines(r *measure.Run, per float64, names ...string) (out []line) {
	for _, n := range names {
		l := intervalLine(r, n, per, func(i measure.Interval) float64 { return float64(i.Counts[n]) / float64(i.Seconds()) }, mean)
		if _, hi := extent([]line{l}); hi > 0 {
			out = append(out, l)
		}
	}
	return out
}

// latencies is a plot over time for each latency of the run.
func latencies(r *measure.Run) []plot {
	x, per := timeAxis(r)
	var charts []plot
	for _, name := range compare.LatencyNames(r) {
		var lines []line
		for _, q := range []string{"p50", "p99", "max"} {
			l := intervalLine(r, q, per, func(i measure.Interval) float64 {
				if v, ok := i.Latency[name][q]; ok && v > 0 {
					return float64(v) / 1e9
				}
				return math.NaN()
			}, func(v []float64) float64 {
				if q == "p50" {
					return mean(v)
				}
				return slices.Max(v)
			})
			if _, hi := extent([]line{l}); hi > 0 {
				lines = append(lines, l)
			}
		}
		if len(lines) == 0 {
			continue
		}
		lo, hi := extent(lines)
		desc := "Latency of " + name + " " + by(r) + ". " + describe(lines, func(v float64) string { return compare.Format(v, compare.Seconds) })
		charts = append(charts, plot{
			Title: "Latency: " + name, Desc: desc, X: x, Y: logTimes("latency (log scale)", lo, hi), Lines: lines, Marks: marks(r, per),
		})
	}
	return charts
}

// by says how wide the intervals of a run are.
func by(r *measure.Run) string {
	if r.Step() == 1 {
		return "by the second"
	}
	return fmt.Sprintf("in intervals of %d seconds", r.Step())
}

// processes are the plots of what the target's processes used.
func processes(r *measure.Run) []plot {
	if len(r.Processes) == 0 {
		return nil
	}
	x, per := timeAxis(r)
	var cpu []line
	for _, p := range r.Processes {
		l := line{Name: clean(p.Name)}
		for i := 1; i < len(p.Samples); i++ {
			s, before := p.Samples[i], p.Samples[i-1]
			used, took := s.CPU-before.CPU, s.At-before.At
			y := math.NaN() // it was started anew
			if used >= 0 && took > 0 {
				y = used / took
			}
			l.Points = append(l.Points, point{(s.At + before.At) / 2 / per, y})
		}
		l.Points = shrink(l.Points, mean)
		cpu = append(cpu, l)
	}
	plots := []plot{timed(r, "CPU of the target", busiest(cpu), x, per, "processors", 1e9, []string{""}, compare.Count)}
	var store []line
	for _, p := range r.Processes {
		store = append(store, requests(p, per))
	}
	if _, hi := extent(store); hi > 0 {
		plots = append(plots, timed(r, "Requests to the store", busiest(store), x, per, "a second", 1000, []string{"", "thousand", "million"}, compare.PerSecond))
	}
	for _, c := range []struct {
		title, what string
		base        float64
		units       []string
		unit        compare.Unit
		value       func(measure.Sample) float64
	}{
		{"Memory of the target (RSS)", "resident", 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"}, compare.Bytes, func(s measure.Sample) float64 { return float64(s.RSS) }},
		{"Heap of the target", "in use", 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"}, compare.Bytes, func(s measure.Sample) float64 { return float64(s.Heap) }},
		{"Goroutines of the target", "goroutines", 1000, []string{"", "thousand", "million"}, compare.Count, func(s measure.Sample) float64 { return float64(s.Goroutines) }},
		{"Descriptors of the target", "open", 1000, []string{"", "thousand", "million"}, compare.Count, func(s measure.Sample) float64 { return float64(s.Files) }},
	} {
		var lines []line
		for _, p := range r.Processes {
			l := line{Name: clean(p.Name)}
			for _, s := range p.Samples {
				l.Points = append(l.Points, point{s.At / per, c.value(s)})
			}
			l.Points = shrink(l.Points, slices.Max)
			lines = append(lines, l)
		}
		if _, hi := extent(lines); hi > 0 {
			plots = append(plots, timed(r, c.title, busiest(lines), x, per, c.what, c.base, c.units, c.unit))
		}
	}
	return plots
}

// silent is for how many seconds a process may tell the same before that is what it did: it is asked every few.
const silent = 10

// requests of a process to the store, a second. The samples have a counter, which is as it was until the process is asked again.
func requests(p measure.Process, per float64) line {
	l := line{Name: clean(p.Name)}
	var last *measure.Sample
	for i := range p.Samples {
		s := &p.Samples[i]
		switch {
		case s.Store == 0 || last != nil && s.Store == last.Store && s.At-last.At < silent:
			continue
		case last != nil && s.Store >= last.Store && s.At > last.At:
			l.Points = append(l.Points, point{(s.At + last.At) / 2 / per, float64(s.Store-last.Store) / (s.At - last.At)})
		}
		last = s
	}
	l.Points = shrink(l.Points, slices.Max)
	return l
}

// busiest keeps as many lines as can be told apart: those with the highest peaks, in their order.
func busiest(lines []line) []line {
	if len(lines) <= maxStyles {
		return lines
	}
	peak := func(l line) float64 { _, hi := extent([]line{l}); return hi }
	peaks := make([]float64, len(lines))
	for i, l := range lines {
		peaks[i] = peak(l)
	}
	slices.Sort(peaks)
	least := peaks[len(peaks)-maxStyles]
	var out []line
	for _, l := range lines {
		if len(out) < maxStyles && peak(l) >= least {
			out = append(out, l)
		}
	}
	return out
}
