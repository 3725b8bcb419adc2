package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

//go:embed page.html
var pageText string

// maxHistory bounds the operations that are shown of one violation, and maxViolations the violations: run.json has all that were kept.
const (
	maxViolations = 100
	maxHistory    = 40
)

// page is what the template shows.
type page struct {
	Run        *measure.Run
	Outcome    string // passed, failed, invalid
	Summary    string // the outcome in a sentence
	Tiles      []tile
	Curve      *plot
	Latency    []latencyRow
	Over       []plot
	Totals     []nameValue
	Memory     template.HTML
	Peers      *peerTable
	Violations []violation
	Omitted    int // violations that are not shown
	Counts     []nameValue
	Subtitle   string
	Warmup     bool // some seconds before the measured part are shown
	Facts      []nameValue
	Command    string
}

type tile struct{ Name, Value string }

type nameValue struct{ Name, Value string }

type latencyRow struct {
	Name                                      string
	Count                                     string
	Mean, Min, P50, P90, P99, P999, Max, Note string
}

type violation struct {
	check.Violation
	Ops  []string
	More int
}

// peerTable compares the run with others that were measured beside it.
type peerTable struct {
	Names []string // of the targets, this run first
	Rows  []peerRow
}

type peerRow struct {
	Name  string
	Cells []peerCell
}

type peerCell struct{ Value, Ratio string }

// HTML writes the page of a run. Peers are runs of the same scenario against other targets, at the same time on the same machine: the
// page has a table of the figures as ratios to the run's.
func HTML(w io.Writer, r *measure.Run, peers ...*measure.Run) error {
	t, err := template.New("page").Funcs(template.FuncMap{"number": func(i int) int { return i + 1 }, "value": value}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("report: parsing the page: %w", err)
	}
	if err := t.Execute(w, newPage(r, peers)); err != nil {
		return fmt.Errorf("report: writing the page of run %q: %w", r.ID, err)
	}
	return nil
}

func newPage(r *measure.Run, peers []*measure.Run) page {
	p := page{Run: r, Peers: newPeers(r, peers), Subtitle: subtitle(r), Command: command(r)}
	p.Outcome, p.Summary = outcome(r)
	for _, f := range compare.Figures(r) {
		p.Tiles = append(p.Tiles, tile{f.Name, f.String()})
	}
	if c, ok := percentiles(r); ok {
		p.Curve = &c
	}
	for _, name := range compare.LatencyNames(r) {
		d := r.Latency[name]
		p.Latency = append(p.Latency, latencyRow{
			Name: name, Count: fmt.Sprint(d.Count), Mean: compare.Format(d.Mean/1e9, compare.Seconds), Min: ns(d.Min),
			P50: ns(d.P50), P90: ns(d.P90), P99: ns(d.P99), P999: ns(d.P999), Max: ns(d.Max), Note: meaning[name],
		})
	}
	if len(r.Intervals) > 0 {
		p.Warmup = r.Intervals[0].At < 0
		p.Over = append(p.Over, heatMaps(r)...)
		p.Over = append(p.Over, rates(r)...)
		p.Over = append(p.Over, connections(r)...)
		p.Over = append(p.Over, latencies(r)...)
	}
	p.Over = append(p.Over, processes(r)...)
	for _, name := range slices.Sorted(maps.Keys(r.Totals)) {
		p.Totals = append(p.Totals, nameValue{name, fmt.Sprint(r.Totals[name])})
	}
	p.Memory = memory(r, peers)
	if r.Check != nil {
		p.violations(r.Check)
	}
	p.Facts = facts(r)
	return p
}

// aTime is how a threshold on a time ends.
var aTime = regexp.MustCompile(`[0-9](ns|us|µs|ms|s|m|h)\s*$`)

// value of a threshold, as a time when the threshold has one.
func value(v measure.Verdict) string {
	if aTime.MatchString(v.Text) {
		return compare.Format(v.Value, compare.Seconds)
	}
	return compare.Format(v.Value, compare.Count)
}

// subtitle is against what the run was, when, and for how long.
func subtitle(r *measure.Run) string {
	var parts []string
	if r.Target.Kind != "" {
		parts = append(parts, strings.TrimSpace("against "+r.Target.Kind+" "+r.Target.Version))
	}
	if !r.Started.IsZero() {
		parts = append(parts, r.Started.UTC().Format("2006-01-02 15:04 UTC"))
	}
	if d := compare.Measured(r); d > 0 {
		parts = append(parts, d.Round(time.Second).String()+" measured")
	}
	return strings.Join(parts, ", ")
}

// meaning of the latencies that are known.
var meaning = map[string]string{
	measure.NameAck:      "intended time of a send to its acknowledgement",
	measure.NameDelivery: "intended time of a send to its arrival at another member",
	measure.NameLateness: "how late the generator started",
	measure.NameService:  "actual start of a send to its acknowledgement",
	measure.NameConnect:  "opening of a connection to ready",
	measure.NameResume:   "loss of a connection to resumed",
}

// outcome of a run: a word, and a sentence that says why.
func outcome(r *measure.Run) (word, sentence string) {
	missed := 0
	for _, v := range r.Thresholds {
		if !v.OK {
			missed++
		}
	}
	violated := compare.Violations(r)
	switch {
	case violated != "":
		return "failed", "Correctness: " + violated + "."
	case r.Unsettled != "": // the load was over: a generator that was late is no excuse
		return "failed", "The run did not settle: " + r.Unsettled + "."
	case len(r.Invalid) > 0:
		return "invalid", "The figures say nothing about the target: " + strings.Join(r.Invalid, "; ") + "."
	case len(r.Latency) == 0 && len(r.Totals) == 0 && len(r.Intervals) == 0 && r.Memory == nil:
		return "invalid", "Nothing was recorded."
	case missed > 0:
		return "failed", fmt.Sprintf("%d of %d thresholds missed.", missed, len(r.Thresholds))
	case r.Check == nil:
		return "passed", "Correctness was not checked."
	}
	return "passed", fmt.Sprintf("%d acknowledged sends checked, nothing violated, %d of %d thresholds kept.", r.Check.Acked, len(r.Thresholds), len(r.Thresholds))
}

func (p *page) violations(rep *check.Report) {
	p.Counts = []nameValue{
		{"sends", fmt.Sprint(rep.Sends)}, {"acknowledged", fmt.Sprint(rep.Acked)}, {"without an answer", fmt.Sprint(rep.Unanswered)},
		{"found in the end", fmt.Sprint(rep.Stored)}, {"observers", fmt.Sprint(rep.Observers)},
	}
	if rep.ReceiptsUnchecked > 0 {
		p.Counts = append(p.Counts, nameValue{"receipts not checked", fmt.Sprint(rep.ReceiptsUnchecked)})
	}
	all := 0
	for _, n := range rep.Counts {
		all += n
	}
	for i, v := range rep.Violations {
		if i == maxViolations {
			break
		}
		shown := violation{Violation: v}
		for j, op := range v.History {
			if j == maxHistory {
				shown.More = len(v.History) - j
				break
			}
			shown.Ops = append(shown.Ops, op.String())
		}
		p.Violations = append(p.Violations, shown)
	}
	p.Omitted = all - len(p.Violations)
}

// facts of the machine and the run.
func facts(r *measure.Run) []nameValue {
	m := r.Machine
	var out []nameValue
	add := func(name, value string) {
		if value != "" {
			out = append(out, nameValue{name, value})
		}
	}
	add("run", r.ID)
	if !r.Started.IsZero() {
		add("started", r.Started.UTC().Format(time.RFC3339))
	}
	add("scenario", r.Scenario.Name)
	add("scenario hash", r.Scenario.Hash)
	add("seed", fmt.Sprint(r.Seed))
	add("target", strings.TrimSpace(r.Target.Kind+" "+r.Target.Version))
	add("at", strings.Join(r.Target.URLs, " "))
	if m.CPUs > 0 {
		add("processors", strings.TrimSpace(fmt.Sprintf("%d × %s", m.CPUs, m.Model)))
		add("memory", compare.Format(float64(m.Memory), compare.Bytes))
		add("system", strings.Join(strings.Fields(m.OS+" "+m.Kernel+" "+m.Arch), " "))
		add("descriptors a process", fmt.Sprint(m.Files))
	}
	add("load average before", m.Load)
	add("Go", m.Go)
	add("hubbench", m.Build)
	return out
}

// command line, quoted where a shell needs it.
func command(r *measure.Run) string {
	words := make([]string, len(r.Command))
	for i, w := range r.Command {
		plain := w != "" && !strings.ContainsFunc(w, func(c rune) bool {
			return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-_./:=,@+%", c)
		})
		if words[i] = w; !plain {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// memory per connection as bars, of the run and its peers.
func memory(r *measure.Run, peers []*measure.Run) template.HTML {
	var rows []bar
	var desc strings.Builder
	for i, one := range append([]*measure.Run{r}, peers...) {
		m := one.Memory
		if m == nil {
			continue
		}
		prefix := ""
		if len(peers) > 0 {
			prefix = short(label(one, i), 10) + " "
		}
		for _, part := range []struct {
			name  string
			value float64
		}{{"edge", m.Edge}, {"directory", m.Directory}, {"kernel", m.Kernel}} {
			text := compare.Format(part.value, compare.Bytes)
			rows = append(rows, bar{Name: prefix + part.name, Value: part.value, Text: text, Style: i})
			fmt.Fprintf(&desc, "%s%s: %s. ", prefix, part.name, text)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return bars("Memory per connection", desc.String(), rows)
}

// label of a run in the comparison with peers.
func label(r *measure.Run, i int) string {
	if r.Target.Kind != "" {
		return clean(r.Target.Kind)
	}
	return fmt.Sprintf("run %d", i+1)
}

func newPeers(r *measure.Run, peers []*measure.Run) *peerTable {
	if len(peers) == 0 {
		return nil
	}
	t := &peerTable{}
	all := append([]*measure.Run{r}, peers...)
	values := make([]map[string]compare.Figure, len(all))
	var names []string
	for i, one := range all {
		t.Names = append(t.Names, label(one, i))
		values[i] = map[string]compare.Figure{}
		for _, f := range compare.Figures(one) {
			values[i][f.Name] = f
			if i == 0 {
				names = append(names, f.Name)
			}
		}
	}
	for _, name := range names {
		row := peerRow{Name: name}
		own := values[0][name]
		for i := range all {
			f, ok := values[i][name]
			cell := peerCell{Value: "–"}
			if ok {
				cell.Value = f.String()
				if i > 0 && own.Value > 0 {
					cell.Ratio = fmt.Sprintf("× %.3g", f.Value/own.Value)
				}
			}
			row.Cells = append(row.Cells, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// clean makes text of others safe to print on one line: control characters, and what changes the direction of text, become spaces.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == unicode.ReplacementChar {
			return ' '
		}
		return c
	}, s)
}

// short cuts text to n characters.
func short(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
