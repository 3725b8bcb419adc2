package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/measure"
)

// bound is a threshold that was read.
type bound struct {
	figure, stat string
	op           string
	value        float64 // seconds for times
}

var thresholdForm = regexp.MustCompile(`^\s*([a-z]+)(?:\.([a-z0-9]+))?\s*(<=|>=|==|!=|<|>)\s*(\S+)\s*$`)

// quantiles and the like of a latency.
func stats() []string { return []string{"p50", "p90", "p99", "p999", "max", "min", "mean"} }

func latencies() []string {
	return []string{measure.NameAck, measure.NameDelivery, measure.NameLateness, measure.NameService, measure.NameConnect, measure.NameResume,
		string(History), string(Scroll), string(List), string(Search)}
}

func counters() []string {
	all := []string{measure.CountIntended, measure.CountSent, measure.CountAcked, measure.CountRefused, measure.CountDelivered, measure.CountFrames,
		measure.CountBytes, measure.CountOpened, measure.CountClosed, measure.CountResumed, measure.CountGaps, measure.CountErrors, measure.CountClamped, measure.CountEarly}
	for _, op := range Ops() { // each counts how often it was done
		all = append(all, string(op))
	}
	return all
}

// derived figures and what they have.
func derived() map[string][]string {
	return map[string][]string{
		"violations": {""},
		"memory":     {"edge", "directory", "user", "kernel", "slope"},
		"goroutines": {"slope"}, "descriptors": {"slope"}, "heap": {"slope"},
		"cpu":    {"delivery", "ack"},
		"growth": {"rss", "files", "goroutines", "heap"},
	}
}

// parse a threshold; the package comment has the grammar.
func parse(t Threshold) (bound, error) {
	m := thresholdForm.FindStringSubmatch(string(t))
	if m == nil {
		return bound{}, fmt.Errorf("%q is no threshold: want a figure, one of <= >= < > == != and a value, as ack.p99 <= 50ms", t)
	}
	b := bound{figure: m[1], stat: m[2], op: m[3]}
	var allowed []string
	if slices.Contains(latencies(), b.figure) {
		allowed = append(append(allowed, stats()...), "count")
	}
	if slices.Contains(counters(), b.figure) {
		allowed = append(allowed, "", "count", "rate")
	}
	allowed = append(allowed, derived()[b.figure]...)
	if allowed == nil {
		return bound{}, fmt.Errorf("%q: there is no figure %q: want a latency (%s), a counter (%s), violations, memory, heap, goroutines, descriptors, cpu or growth", t, b.figure,
			strings.Join(latencies(), ", "), strings.Join(counters(), ", "))
	}
	if !slices.Contains(allowed, b.stat) {
		return bound{}, fmt.Errorf("%q: %s has no %q: want one of %s", t, b.figure, b.stat, strings.TrimPrefix(strings.Join(allowed, ", "), ", "))
	}
	if b.stat == slope {
		v, err := parseSlope(m[4], b.figure == "memory" || b.figure == "heap")
		if err != nil {
			return bound{}, fmt.Errorf("%q: %w", t, err)
		}
		b.value = v
		return b, nil
	}
	if b.figure == "cpu" || slices.Contains(stats(), b.stat) {
		d, err := time.ParseDuration(m[4])
		if err != nil {
			return bound{}, fmt.Errorf("%q: %q is no duration: want one as 50ms", t, m[4])
		}
		b.value = d.Seconds()
		return b, nil
	}
	v, err := strconv.ParseFloat(m[4], 64)
	if err != nil || v != v {
		return bound{}, fmt.Errorf("%q: %q is no number", t, m[4])
	}
	b.value = v
	return b, nil
}

func (b bound) holds(v float64) bool {
	switch b.op {
	case "<=":
		return v <= b.value
	case ">=":
		return v >= b.value
	case "<":
		return v < b.value
	case ">":
		return v > b.value
	case "==":
		return v == b.value
	default:
		return v != b.value
	}
}

// Validate says whether the threshold can be read.
func (t Threshold) Validate() error {
	_, err := parse(t)
	return err
}

// Judge says which thresholds a run kept. A figure that the run does not have keeps none, and the verdict's text says so.
func (s *Scenario) Judge(r *measure.Run) []measure.Verdict {
	out := make([]measure.Verdict, 0, len(s.Thresholds))
	for _, t := range s.Thresholds {
		v := measure.Verdict{Text: string(t)}
		b, err := parse(t)
		if err == nil {
			v.Value, err = b.of(r, s.Seconds())
		}
		if err != nil {
			v.Text += " (" + err.Error() + ")"
		}
		v.OK = err == nil && b.holds(v.Value)
		out = append(out, v)
	}
	return out
}

// of is the figure of a run.
func (b bound) of(r *measure.Run, length int) (float64, error) {
	switch b.figure {
	case "violations":
		if r.Check == nil {
			return 0, fmt.Errorf("nothing was checked")
		}
		n := 0
		for _, k := range r.Check.Counts {
			n += k
		}
		return float64(n), nil
	case "memory", "heap", "goroutines", "descriptors":
		if b.stat == slope {
			return steepest(r, map[string]string{"memory": "rss", "heap": "heap", "goroutines": "goroutines", "descriptors": "files"}[b.figure], length)
		}
		m := r.Memory
		if m == nil || m.Connections == 0 {
			return 0, fmt.Errorf("memory was not measured")
		}
		return map[string]float64{"edge": m.Edge, "directory": m.Directory, "user": m.Edge + m.Directory, "kernel": m.Kernel}[b.stat], nil
	case "cpu":
		name := map[string]string{"delivery": measure.CountDelivered, "ack": measure.CountAcked}[b.stat]
		n := r.Totals[name]
		if n == 0 || len(r.Processes) == 0 {
			return 0, fmt.Errorf("no process was watched, or nothing was %s", name)
		}
		var cpu float64
		for _, p := range r.Processes {
			cpu += p.CPU
		}
		return cpu / float64(n), nil
	case "growth":
		most, found := 0.0, false
		for _, p := range r.Processes {
			if g, ok := p.Growth(b.stat, 0, float64(length)); ok && (!found || g > most) {
				most, found = g, true
			}
		}
		if !found {
			return 0, fmt.Errorf("no process was watched long enough")
		}
		return most, nil
	}
	d := r.Latency[b.figure]
	if slices.Contains(stats(), b.stat) {
		if d == nil || d.Count == 0 {
			return 0, fmt.Errorf("no %s was measured", b.figure)
		}
		ns := map[string]float64{"p50": float64(d.P50), "p90": float64(d.P90), "p99": float64(d.P99), "p999": float64(d.P999),
			"max": float64(d.Max), "min": float64(d.Min), "mean": d.Mean}[b.stat]
		return ns / 1e9, nil
	}
	if !slices.Contains(counters(), b.figure) {
		if d == nil {
			return 0, nil
		}
		return float64(d.Count), nil
	}
	n := float64(r.Totals[b.figure])
	if b.stat != "rate" {
		return n, nil
	}
	seconds := 0 // a run may be cut short
	for _, i := range r.Intervals {
		if i.At >= 0 && i.At < length {
			seconds += i.Seconds()
		}
	}
	if seconds == 0 {
		return 0, fmt.Errorf("no second was measured")
	}
	return n / float64(seconds), nil
}
