package compare

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/measure"
)

// Unit of a figure.
type Unit string

// The units.
const (
	Seconds   Unit = "s"
	PerSecond Unit = "/s"
	Bytes     Unit = "B"
	Count     Unit = ""
)

// Figure is one number of a run by which runs are compared.
type Figure struct {
	Name   string  // as in thresholds: ack.p99, delivered.rate; and cpu.per_delivery, memory.edge
	Value  float64 // in Unit
	Unit   Unit
	Higher bool // more is better
}

// String is the value with its unit, in at most about ten characters.
func (f Figure) String() string { return Format(f.Value, f.Unit) }

// order of the names that are known; others follow by the alphabet.
var order = []string{measure.NameAck, measure.NameDelivery, measure.NameConnect, measure.NameResume}

// Figures of a run: median and 99th percentile of each latency but the generator's own lateness, rates, what the target's processes
// used, and memory per connection. A figure that the run does not have is left out.
func Figures(r *measure.Run) []Figure {
	var out []Figure
	for _, name := range LatencyNames(r) {
		d := r.Latency[name]
		if name == measure.NameLateness || d.Count == 0 {
			continue
		}
		out = append(out,
			Figure{Name: name + ".p50", Value: float64(d.P50) / 1e9, Unit: Seconds},
			Figure{Name: name + ".p99", Value: float64(d.P99) / 1e9, Unit: Seconds})
	}
	if s := Measured(r).Seconds(); s > 0 {
		for _, name := range []string{measure.CountAcked, measure.CountDelivered} {
			if n, ok := r.Totals[name]; ok {
				out = append(out, Figure{Name: name + ".rate", Value: float64(n) / s, Unit: PerSecond, Higher: true})
			}
		}
	}
	for _, name := range []string{measure.CountRefused, measure.CountErrors, measure.CountGaps, measure.CountClosed} {
		if n, ok := r.Totals[name]; ok {
			out = append(out, Figure{Name: name, Value: float64(n)})
		}
	}
	var cpu float64
	var rss int64
	for _, p := range r.Processes {
		cpu += p.CPU
		var peak int64
		for _, s := range p.Samples {
			peak = max(peak, s.RSS)
		}
		rss += peak
	}
	if cpu > 0 {
		if n := r.Totals[measure.CountDelivered]; n > 0 {
			out = append(out, Figure{Name: "cpu.per_delivery", Value: cpu / float64(n), Unit: Seconds})
		}
		if n := r.Totals[measure.CountAcked]; n > 0 {
			out = append(out, Figure{Name: "cpu.per_send", Value: cpu / float64(n), Unit: Seconds})
		}
	}
	if rss > 0 {
		out = append(out, Figure{Name: "memory.peak", Value: float64(rss), Unit: Bytes})
	}
	if m := r.Memory; m != nil {
		out = append(out,
			// What the target itself uses: the figure to compare with peers, which have no directory.
			Figure{Name: "memory.user", Value: m.Edge + m.Directory, Unit: Bytes},
			Figure{Name: "memory.edge", Value: m.Edge, Unit: Bytes},
			Figure{Name: "memory.directory", Value: m.Directory, Unit: Bytes},
			Figure{Name: "memory.kernel", Value: m.Kernel, Unit: Bytes})
	}
	return out
}

// LatencyNames of a run in the order in which they are shown: ack, delivery, connect, resume, then by the alphabet.
func LatencyNames(r *measure.Run) []string {
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	names := slices.DeleteFunc(slices.Collect(maps.Keys(r.Latency)), func(n string) bool { return r.Latency[n] == nil })
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
	return names
}

// Measured is how long the measured part of the run lasted.
func Measured(r *measure.Run) time.Duration {
	if d := r.Ended.Sub(r.Started); d > 0 {
		return d
	}
	n := 0
	for _, i := range r.Intervals {
		if i.At >= 0 {
			n += i.Seconds()
		}
	}
	return time.Duration(n) * time.Second
}

// Format writes a value with three digits and its unit: 12.3 ms, 1.20 KiB, 45.6k/s.
func Format(v float64, u Unit) string {
	digits := func(v float64) string {
		switch a := max(v, -v); {
		case a == 0:
			return "0"
		case a >= 99.95:
			return fmt.Sprintf("%.0f", v)
		case a >= 9.995:
			return fmt.Sprintf("%.1f", v)
		default:
			return fmt.Sprintf("%.2f", v)
		}
	}
	scaled := func(names []string, base float64) string {
		i := 0
		for ; i < len(names)-1 && max(v, -v) >= base*0.9995; i++ {
			v /= base
		}
		return digits(v) + names[i]
	}
	switch u {
	case Seconds:
		if v == 0 {
			return "0 s"
		}
		switch a := max(v, -v); {
		case a < 999.5e-9:
			return digits(v*1e9) + " ns"
		case a < 999.5e-6:
			return digits(v*1e6) + " µs"
		case a < 999.5e-3:
			return digits(v*1e3) + " ms"
		default:
			return digits(v) + " s"
		}
	case Bytes:
		return scaled([]string{" B", " KiB", " MiB", " GiB", " TiB"}, 1024)
	default:
		if v == float64(int64(v)) && max(v, -v) < 10000 {
			return fmt.Sprintf("%d%s", int64(v), u)
		}
		return scaled([]string{"", "k", "M", "G"}, 1000) + string(u)
	}
}
