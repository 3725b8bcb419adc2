package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

// textWidth is what a line of Text is cut to.
const textWidth = 100

// Text writes the summary of a run for a terminal: at most 40 lines of at most 100 characters.
func Text(w io.Writer, r *measure.Run) error {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, short(clean(fmt.Sprintf(format, args...)), textWidth))
	}
	// list shows the first of many.
	list := func(n, most int, one func(i int)) {
		for i := range n {
			if i == most-1 && n > most {
				add("  … and %d more", n-i)
				return
			}
			one(i)
		}
	}
	word, sentence := outcome(r)
	add("%s %s", strings.ToUpper(word), sentence)
	add("%s against %s, %s, seed %d", r.Scenario.Name, strings.TrimSpace(r.Target.Kind+" "+r.Target.Version), compare.Measured(r).Round(time.Second), r.Seed)
	if names := compare.LatencyNames(r); len(names) > 0 {
		add("%-12s %10s %10s %10s %10s %10s %10s", "latency", "count", "50 %", "90 %", "99 %", "99.9 %", "max")
		list(len(names), 8, func(i int) {
			d := r.Latency[names[i]]
			add("  %-10s %10d %10s %10s %10s %10s %10s", short(names[i], 10), d.Count, ns(d.P50), ns(d.P90), ns(d.P99), ns(d.P999), ns(d.Max))
		})
	}
	var figures []string
	for _, f := range compare.Figures(r) {
		if !strings.HasSuffix(f.Name, ".p50") && !strings.HasSuffix(f.Name, ".p99") {
			figures = append(figures, f.Name+" "+f.String())
		}
	}
	for len(figures) > 0 {
		n := min(4, len(figures))
		add("%s", strings.Join(figures[:n], "   "))
		figures = figures[n:]
	}
	list(len(r.Thresholds), 8, func(i int) {
		v := r.Thresholds[i]
		mark := "✓"
		if !v.OK {
			mark = "✗"
		}
		add("  %s %s (%s)", mark, v.Text, value(v))
	})
	if r.Unsettled != "" {
		add("  ✗ did not settle: %s", r.Unsettled)
	}
	list(len(r.Invalid), 4, func(i int) { add("  ✗ invalid: %s", r.Invalid[i]) })
	if r.Check != nil {
		list(len(r.Check.Violations), 6, func(i int) { add("  ✗ %s", r.Check.Violations[i]) })
	}
	list(len(r.Marks), 5, func(i int) { add("  at %.0f s: %s %s", r.Marks[i].At, r.Marks[i].Text, r.Marks[i].Err) })
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

// Markdown writes the figures of runs side by side as a table for RESULTS.md: the first is what the others are ratios to.
func Markdown(w io.Writer, r *measure.Run, peers ...*measure.Run) error {
	var b strings.Builder
	t := newPeers(r, peers)
	if t == nil {
		t = &peerTable{Names: []string{label(r, 0)}}
		for _, f := range compare.Figures(r) {
			t.Rows = append(t.Rows, peerRow{Name: f.Name, Cells: []peerCell{{Value: f.String()}}})
		}
	}
	b.WriteString("| " + compare.Escape(r.Scenario.Name))
	for _, n := range t.Names {
		b.WriteString(" | " + compare.Escape(n))
	}
	b.WriteString(" |\n|---|" + strings.Repeat("--:|", len(t.Names)) + "\n")
	for _, row := range t.Rows {
		b.WriteString("| " + compare.Escape(row.Name))
		for _, c := range row.Cells {
			b.WriteString(" | " + strings.TrimSpace(c.Value+" "+c.Ratio))
		}
		b.WriteString(" |\n")
	}
	word, sentence := outcome(r)
	fmt.Fprintf(&b, "\n%s: %s\n", word, compare.Escape(sentence))
	_, err := io.WriteString(w, b.String())
	return err
}
