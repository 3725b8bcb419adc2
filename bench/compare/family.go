package compare

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/zumodra/hub/bench/measure"
)

// usual are the figures that decide when no threshold says what matters.
var usual = []string{measure.NameAck + ".p99", measure.NameDelivery + ".p99", measure.CountAcked + ".rate", measure.CountDelivered + ".rate", "cpu.per_delivery"}

// figureOf is the beginning of a threshold.
var figureOf = regexp.MustCompile(`^\s*([a-z]+)(?:\.([a-z0-9]+))?`)

// figureNames are the other names of figures: thresholds are on what one run gives, comparisons on what two have in common.
var figureNames = map[string]string{
	"cpu.delivery": "cpu.per_delivery", "cpu.ack": "cpu.per_send",
	measure.CountAcked: measure.CountAcked + ".rate", measure.CountDelivered: measure.CountDelivered + ".rate",
}

// decisive are the figures, of those that there are, by which the comparison is decided: what was asked for; else what the runs'
// thresholds are about, where a quantile or another measure of a latency stands for its p99; else the usual ones.
func decisive(runs []*measure.Run, gate []string, figures map[string]Figure) map[string]bool {
	found := map[string]bool{}
	take := func(name string) {
		if _, ok := figures[name]; ok {
			found[name] = true
		}
	}
	if len(gate) > 0 {
		for _, name := range gate {
			take(name)
		}
		return found
	}
	for _, r := range runs {
		for _, t := range r.Thresholds {
			m := figureOf.FindStringSubmatch(t.Text)
			if m == nil {
				continue
			}
			name := strings.TrimSuffix(strings.TrimSpace(m[0]), ".count")
			name = cmp.Or(figureNames[name], name)
			if _, ok := figures[name]; !ok && r.Latency[m[1]] != nil {
				name = m[1] + ".p99"
			}
			take(name)
		}
	}
	if len(found) == 0 {
		for _, name := range usual {
			take(name)
		}
	}
	return found
}

// correct gives the rows that decide their Adjusted by the method of Holm: the chance that one of them seems to differ when none does
// stays below what is asked for, however they depend on one another. It returns among how many that is. A figure that is the same in
// every run is none of them: it can never differ, so it takes no chance from the others.
//
// Source: S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979; for what can never differ, R. E. Tarone, "A Modified
// Bonferroni Method for Discrete Data", 1990.
func correct(rows []*Row) (family int) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r *Row) bool { return !r.Decides || r.Verdict == Missing || r.constant })
	slices.SortStableFunc(rows, func(a, b *Row) int { return cmp.Compare(a.P, b.P) })
	least := 0.0
	for i, r := range rows {
		least = max(least, min(1, float64(len(rows)-i)*r.P))
		r.Adjusted = least
	}
	return len(rows)
}

// enough is how many runs a side can decide so many figures: with fewer not even all of one side before all of the other would do.
func enough(family int, alpha float64) int {
	n := 1
	for leastP(n, n)*float64(family) >= alpha {
		n++
	}
	return n
}
