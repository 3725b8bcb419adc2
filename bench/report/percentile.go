package report

import (
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

// lastPercentile of the curve.
const lastPercentile = 99.99

// percentiles is the curve of latency over percentile, for each latency of the run but those of which nothing was recorded.
// On the axis X is 1/(1−p), logarithmic: every further nine has the same width.
func percentiles(r *measure.Run) (plot, bool) {
	var lines []line
	desc := "Latency by percentile. "
	for _, name := range compare.LatencyNames(r) {
		d := r.Latency[name]
		if d.Count == 0 || len(lines) == maxStyles {
			continue
		}
		l := line{Name: name, Points: curve(d)}
		lines = append(lines, l)
		desc += fmt.Sprintf("%s: median %s, 99 %% %s, longest %s. ", name, ns(d.P50), ns(d.P99), ns(d.Max))
	}
	if len(lines) == 0 {
		return plot{}, false
	}
	lo, hi := extent(lines)
	x := axis{Label: "percentile of operations (log scale)", Min: 1, Max: 1 / (1 - lastPercentile/100), Log: true}
	for _, p := range []string{"50", "90", "99", "99.9", "99.99"} {
		var v float64
		_, _ = fmt.Sscan(p, &v)
		x.Ticks = append(x.Ticks, tick{1 / (1 - v/100), p + " %"})
	}
	return plot{Title: "Latency by percentile", Desc: desc, X: x, Y: logTimes("latency (log scale)", lo, hi), Lines: lines}, true
}

// curve of a distribution: from its histogram, and where that cannot be read through the percentiles that the run states.
func curve(d *measure.Distribution) []point {
	h, err := hdrhistogram.Decode([]byte(d.Histogram))
	if err != nil || h.TotalCount() == 0 {
		var out []point
		for _, q := range []struct {
			p float64
			v int64
		}{{0, d.Min}, {0.5, d.P50}, {0.9, d.P90}, {0.99, d.P99}, {0.999, d.P999}} {
			out = append(out, point{1 / (1 - q.p), float64(q.v) / 1e9})
		}
		return out
	}
	// Beyond the last operation there is nothing to show: with 1,000 of them the curve ends at 99.9 %.
	last := math.Min(1/(1-lastPercentile/100), float64(h.TotalCount()))
	const steps = 120
	at := make([]float64, 0, steps+1)
	for i := range steps + 1 {
		at = append(at, math.Pow(last, float64(i)/steps))
	}
	quantiles := make([]float64, len(at))
	for i, x := range at {
		quantiles[i] = 100 * (1 - 1/x)
	}
	values := h.ValueAtPercentilesSlice(quantiles) // in nanoseconds, as all of the distribution
	out := make([]point, len(at))
	for i, x := range at {
		v := values[i]
		if i == 0 {
			v = h.Min() // the percentile 0 of the library
		}
		out[i] = point{x, float64(v) / 1e9}
	}
	return out
}

func ns(v int64) string { return compare.Format(float64(v)/1e9, compare.Seconds) }
