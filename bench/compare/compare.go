package compare

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/zumodra/hub/bench/measure"
)

// Config of a comparison. The zero value is meant for use.
type Config struct {
	Alpha     float64 // a difference with a smaller probability is significant; default 0.05
	MinChange float64 // smaller relative differences do not matter; default 0.01
	MinTime   float64 // nor do smaller differences of a latency, in seconds; default 0.002
	Force     bool    // compare what should not be compared
	// Gate are the figures that decide; default: those that the runs have thresholds on, or the usual ones.
	Gate []string
}

// Verdict on a figure.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "same"
	Better  Verdict = "better"
	Worse   Verdict = "worse"
	TooFew  Verdict = "too few runs" // for a difference that would matter to be significant
	Missing Verdict = "missing"      // from one side
)

// Row is a figure of both sides.
type Row struct {
	Name      string
	Unit      Unit
	Higher    bool
	Base, New float64 // medians
	BaseN     int     // runs that have the figure
	NewN      int
	Change    float64 // (New − Base) / Base; ±Inf when Base is 0 and New is not
	P         float64 // of the difference by chance
	// Decides: the exit code depends on it. Adjusted is P, corrected for how many figures do. The others are told, and prove
	// nothing: of twenty that are the same one is significant by chance.
	Decides  bool
	Adjusted float64
	Verdict  Verdict

	matters  bool // the difference is large enough
	constant bool // all runs of both sides have the same value
}

// Comparison of two sets of runs.
type Comparison struct {
	BaseRuns, NewRuns int
	Rows              []Row
	Family            int // figures that decide and can differ
	// Regressions that are no figure: violations in new runs, and those that did not settle.
	Violations []string
	// Reasons why the runs should not be compared.
	Reasons []string
	forced  bool
	empty   bool
	alpha   float64
}

// Exit codes of a comparison.
const (
	ExitOK            = 0 // nothing is significantly worse
	ExitRegression    = 1
	ExitNotComparable = 2
)

// Compare runs of a base with runs of something new.
func Compare(base, new []*measure.Run, cfg Config) *Comparison {
	cfg.Alpha = cmp.Or(cfg.Alpha, 0.05)
	cfg.MinChange = cmp.Or(cfg.MinChange, 0.01)
	cfg.MinTime = cmp.Or(cfg.MinTime, 0.002)
	c := &Comparison{BaseRuns: len(base), NewRuns: len(new), alpha: cfg.Alpha, forced: cfg.Force, empty: len(base) == 0 || len(new) == 0}
	c.reasons(base, new)
	for i, r := range new {
		say := func(what string) {
			if what != "" {
				c.Violations = append(c.Violations, fmt.Sprintf("new run %d (%s): %s", i+1, r.ID, what))
			}
		}
		say(Violations(r))
		if r.Unsettled != "" {
			say("did not settle: " + r.Unsettled)
		}
	}
	var names []string
	figures := map[string]Figure{}
	collect := func(runs []*measure.Run) map[string][]float64 {
		values := map[string][]float64{}
		for _, r := range runs {
			for _, f := range Figures(r) {
				if _, ok := figures[f.Name]; !ok {
					figures[f.Name] = f
					names = append(names, f.Name)
				}
				values[f.Name] = append(values[f.Name], f.Value)
			}
		}
		return values
	}
	old, fresh := collect(base), collect(new)
	for _, name := range cfg.Gate {
		if _, ok := figures[name]; !ok && !c.empty {
			c.Reasons = append(c.Reasons, fmt.Sprintf("no run has a figure %q", name))
		}
	}
	decides := decisive(slices.Concat(base, new), cfg.Gate, figures)
	rows := make([]*Row, 0, len(names))
	for _, name := range names {
		row := look(figures[name], old[name], fresh[name], cfg)
		row.Decides = decides[name]
		rows = append(rows, &row)
	}
	c.Family = correct(rows)
	for _, row := range rows {
		row.judge(c.Family, cfg.Alpha)
		c.Rows = append(c.Rows, *row)
	}
	return c
}

// look at a figure by itself.
func look(f Figure, base, new []float64, cfg Config) Row {
	row := Row{Name: f.Name, Unit: f.Unit, Higher: f.Higher, BaseN: len(base), NewN: len(new), P: 1, Adjusted: 1, Verdict: Same}
	if len(base) == 0 || len(new) == 0 {
		row.Base, row.New, row.Verdict = median(base), median(new), Missing
		return row
	}
	row.Base, row.New = median(base), median(new)
	row.P = UTest(base, new)
	all := slices.Concat(base, new)
	row.constant = slices.Min(all) == slices.Max(all)
	diff := row.New - row.Base
	switch {
	case row.Base != 0:
		row.Change = diff / math.Abs(row.Base)
	case diff != 0:
		row.Change = math.Inf(int(math.Copysign(1, diff)))
	}
	latency := f.Unit == Seconds && !strings.HasPrefix(f.Name, "cpu.")
	row.matters = math.Abs(row.Change) >= cfg.MinChange && (!latency || math.Abs(diff) >= cfg.MinTime)
	return row
}

// judge a figure that was looked at, among so many that decide.
func (r *Row) judge(family int, alpha float64) {
	p, least := r.P, leastP(r.BaseN, r.NewN)
	if r.Decides {
		p, least = r.Adjusted, least*float64(family)
	}
	switch {
	case r.Verdict == Missing || !r.matters:
	case least >= alpha:
		r.Verdict = TooFew
	case p >= alpha:
	case (r.New > r.Base) == r.Higher:
		r.Verdict = Better
	default:
		r.Verdict = Worse
	}
}

// leastP is the smallest probability that so many runs can give: all of one side before all of the other.
func leastP(n, m int) float64 {
	ways := 1.0
	for i := 1; i <= n; i++ {
		ways *= float64(m+i) / float64(i)
	}
	return 2 / ways
}

func (c *Comparison) reasons(base, new []*measure.Run) {
	if c.empty {
		c.Reasons = append(c.Reasons, "a side has no runs")
		return
	}
	first := base[0]
	seen := map[string]bool{}
	add := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !seen[s] {
			seen[s] = true
			c.Reasons = append(c.Reasons, s)
		}
	}
	for _, r := range slices.Concat(base, new) {
		if r.Schema != measure.Schema {
			add("run %s has schema %d, this is for %d", r.ID, r.Schema, measure.Schema)
		}
		if a, b := first.Scenario, r.Scenario; a.Hash != b.Hash {
			add("scenarios differ: %s (%.12s) and %s (%.12s)", a.Name, a.Hash, b.Name, b.Hash)
		}
		if a, b := first.Target.Kind, r.Target.Kind; a != b {
			add("targets differ: %s and %s", a, b)
		}
		a, b := first.Machine, r.Machine
		if a.CPUs != b.CPUs || a.Model != b.Model || a.Arch != b.Arch || a.OS != b.OS {
			add("machines differ: %d × %q %s/%s and %d × %q %s/%s", a.CPUs, a.Model, a.OS, a.Arch, b.CPUs, b.Model, b.OS, b.Arch)
		}
		// A kernel keeps some for itself, and how much differs from version to version.
		if lo, hi := min(a.Memory, b.Memory), max(a.Memory, b.Memory); float64(lo) < 0.95*float64(hi) {
			add("machines differ: %s and %s of memory", Format(float64(a.Memory), Bytes), Format(float64(b.Memory), Bytes))
		}
		if (first.Check == nil) != (r.Check == nil) {
			add("correctness was checked in some runs only")
		}
		for _, why := range r.Invalid {
			add("run %s is invalid: %s", r.ID, why)
		}
	}
}

// ExitCode of a program that was asked for the comparison: a violation in a new run is a regression whatever else there is.
func (c *Comparison) ExitCode() int {
	switch {
	case len(c.Violations) > 0:
		return ExitRegression
	case c.empty || len(c.Reasons) > 0 && !c.forced:
		return ExitNotComparable
	case slices.ContainsFunc(c.Rows, func(r Row) bool { return r.Decides && r.Verdict == Worse }):
		return ExitRegression
	}
	return ExitOK
}

// Violations of a run in a line: how many of which kind, or that nothing was acknowledged. Empty when all is well.
func Violations(r *measure.Run) string {
	if r.Check == nil || r.Check.OK() {
		return ""
	}
	if len(r.Check.Counts) == 0 {
		return "nothing was acknowledged"
	}
	var parts []string
	for kind, n := range r.Check.Counts {
		parts = append(parts, fmt.Sprintf("%d × %s", n, kind))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// Markdown writes the comparison as a table, reasons and violations before it, the outcome behind it.
func (c *Comparison) Markdown(w io.Writer) error {
	var b strings.Builder
	for _, v := range c.Violations {
		fmt.Fprintf(&b, "- **violation**: %s\n", Escape(v))
	}
	for _, r := range c.Reasons {
		fmt.Fprintf(&b, "- not comparable: %s\n", Escape(r))
	}
	if len(c.Rows) > 0 {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "| figure | base (median of %d) | new (median of %d) | change | p | p, corrected | |\n|---|--:|--:|--:|--:|--:|---|\n", c.BaseRuns, c.NewRuns)
	}
	few := 0
	for _, r := range c.Rows {
		side := func(v float64, n int) string {
			if n == 0 {
				return "–"
			}
			return Format(v, r.Unit)
		}
		change, p, corrected := "–", "–", "–"
		if r.Verdict != Missing {
			change, p = FormatChange(r.Change), fmt.Sprintf("%.3f", r.P)
			if r.Decides {
				corrected = fmt.Sprintf("%.3f", r.Adjusted)
			}
		}
		verdict := string(r.Verdict)
		switch {
		case r.Decides && r.Verdict == Worse:
			verdict = "**worse**"
		case r.Decides && r.Verdict == TooFew:
			few++
		case !r.Decides && (r.Verdict == Worse || r.Verdict == Better):
			verdict += "?"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", Escape(r.Name), side(r.Base, r.BaseN), side(r.New, r.NewN), change, p, corrected, verdict)
	}
	if c.Family > 0 {
		fmt.Fprintf(&b, "\nFigures with a corrected p decide: it holds for all %d of them together (Holm). The others are hints: look at one, with runs of its own.\n", c.Family)
	}
	if few > 0 {
		fmt.Fprintf(&b, "\nToo few runs to tell: %d figures take %d on each side.\n", c.Family, enough(c.Family, c.alpha))
	}
	switch c.ExitCode() {
	case ExitOK:
		b.WriteString("\nNothing is significantly worse.\n")
	case ExitRegression:
		b.WriteString("\n**Regression.**\n")
	case ExitNotComparable:
		b.WriteString("\nThe runs are not comparable.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// FormatChange writes a relative change in percent with its sign.
func FormatChange(c float64) string {
	switch {
	case math.IsInf(c, 0):
		return "from 0"
	case c == 0:
		return "0 %"
	}
	return fmt.Sprintf("%+.1f %%", 100*c)
}

// Escape makes text safe in a cell of a Markdown table, on one line and without markup.
func Escape(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "!", `\!`).Replace(s)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}
