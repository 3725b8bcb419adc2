package measure

import (
	"fmt"
	"time"
)

// Bounds of a valid run: beyond them the generator was the limit, not the target. Its zero value has the defaults.
type Bounds struct {
	Lateness time.Duration // of operations, p99; default 10 ms
	CPU      float64       // processors that a worker, which is one busy thread, may use; default 0.8
	Missing  float64       // share of the seconds of which some worker told nothing; default 0.02
}

// Validity says why a run says nothing about its target; nil: it does.
func Validity(r *Run, b Bounds) []string {
	if b.Lateness == 0 {
		b.Lateness = 10 * time.Millisecond
	}
	if b.CPU == 0 {
		b.CPU = 0.8
	}
	if b.Missing == 0 {
		b.Missing = 0.02
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if d := r.Latency[NameLateness]; d != nil && time.Duration(d.P99) > b.Lateness {
		say("the generator was late: 1 %% of the operations started %v or more after they were due; want less than %v", time.Duration(d.P99).Round(100*time.Microsecond), b.Lateness)
	}
	for _, w := range r.Workers {
		if w.CPU > b.CPU {
			say("worker %s used %.2f processors; want less than %.2f: more workers, or a lower load", w.Name, w.CPU, b.CPU)
		}
	}
	measured, last := 0, -1
	for _, i := range r.Intervals {
		if i.At >= 0 {
			measured += i.Seconds()
			last = max(last, i.At+i.Seconds()-1)
		}
	}
	switch {
	case measured == 0:
		say("nothing was measured")
	case float64(last+1-measured) > b.Missing*float64(last+1):
		say("%d of %d seconds are missing: a worker stood still", last+1-measured, last+1)
	}
	return out
}
