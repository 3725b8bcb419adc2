package report_test

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/report"
)

func page(t *testing.T, r *measure.Run, peers ...*measure.Run) string {
	t.Helper()
	// A report is made from what was written: through JSON and back.
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var read measure.Run
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.HTML(&b, &read, peers...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// heats are the cells of heat maps, whose coordinates are not those of the plot.
var heats = regexp.MustCompile(`<g class="heat".*?</g>`)

var svgs = regexp.MustCompile(`(?s)<svg viewBox="0 0 480.*?</svg>`)

// plots of a page by their titles.
func plots(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, s := range svgs.FindAllString(text, -1) {
		d := xml.NewDecoder(strings.NewReader(s))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("not well formed: %v\n%s", err, s)
			}
		}
		_, rest, _ := strings.Cut(s, "<title>")
		title, rest, _ := strings.Cut(rest, "</title><desc>")
		if desc, _, ok := strings.Cut(rest, "</desc>"); !ok || title == "" || desc == "" {
			t.Errorf("a plot without title or description: %.200s", s)
		}
		out[title] = s
	}
	return out
}

func TestHTMLHasEverything(t *testing.T) {
	peer := sample(t, 60, 8)
	peer.Target.Kind = "centrifugo"
	text := page(t, sample(t, 60, 4), peer)
	got := plots(t, text)
	for _, title := range []string{
		"Latency by percentile", "Sends", "Deliveries", "Connections", "Latency: ack", "Latency: delivery", "CPU of the target",
		"Latencies over time: ack", "Latencies over time: delivery", "Memory of the target (RSS)", "Heap of the target", "Goroutines of the target", "Descriptors of the target", "Memory per connection", "Sessions",
		"Requests to the store",
	} {
		if got[title] == "" {
			t.Errorf("no plot %q", title)
		}
	}
	if got["Errors of REST"] != "" {
		t.Error("a plot of nothing")
	}
	// Marks: two close ones share a label, and every one has its line.
	if s := got["Sends"]; strings.Count(s, `class="mark"`) != 3 || !strings.Contains(s, ">1–2</text>") || !strings.Contains(s, ">3</text>") {
		t.Errorf("marks: %s", s)
	}
	if !strings.Contains(got["Latency: ack"], "<desc>Latency of ack by the second. p50: from ") {
		t.Errorf("description: %.300s", got["Latency: ack"])
	}
	if s := got["Requests to the store"]; !strings.Contains(s, "hub1: from 40/s to 40/s, mean 40/s. ") || !strings.Contains(s, "hub3: from 120/s to 120/s") {
		t.Errorf("requests to the store: %.300s", s)
	}
	for _, want := range []string{
		"failed</b> Correctness: 1 × lost, 1 × skip.", "delivered.rate &gt;= 20000", "✗ missed", "✓ kept", "user 5 found k-100 seq 12 id 0194",
		"needs network namespaces", "centrifugo", "× 2", "5f3a9c11d2e4", "&#39;users=15000; x&#39;", "name: dm-mix\nusers: 15000",
		"15000 connections", "912 B",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
}

func TestHTMLOutcomes(t *testing.T) {
	good := func() *measure.Run {
		r := sample(t, 10, 4)
		r.Check.Counts, r.Check.Violations = nil, nil
		r.Thresholds = r.Thresholds[:1]
		return r
	}
	for name, c := range map[string]struct {
		change func(*measure.Run)
		want   string
	}{
		"passed":      {func(*measure.Run) {}, `class="outcome passed"`},
		"threshold":   {func(r *measure.Run) { r.Thresholds[0].OK = false }, `<b>failed</b> 1 of 1 thresholds missed.`},
		"invalid":     {func(r *measure.Run) { r.Invalid = []string{"lateness p99 was 40ms"} }, `<b>invalid</b> The figures say nothing about the target: lateness p99 was 40ms.`},
		"unsettled":   {func(r *measure.Run) { r.Unsettled = "2 sends unanswered after 30s"; r.Invalid = []string{"late"} }, `<b>failed</b> The run did not settle: 2 sends unanswered after 30s.`},
		"violated":    {func(r *measure.Run) { r.Check.Counts = map[check.Kind]int{check.Foreign: 3} }, `<b>failed</b> Correctness: 3 × foreign.`},
		"nothing":     {func(r *measure.Run) { r.Check.Acked = 0 }, `<b>failed</b> Correctness: nothing was acknowledged.`},
		"not checked": {func(r *measure.Run) { r.Check = nil }, `Correctness was not checked.`},
	} {
		r := good()
		c.change(r)
		text := page(t, r)
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: no %q", name, c.want)
		}
		if passed := strings.Contains(text, `class="outcome passed"`); passed != r.OK() {
			t.Errorf("%s: the page says passed: %v, the run %v", name, passed, r.OK())
		}
	}
}

func TestHTMLIsSelfContainedAndEscaped(t *testing.T) {
	r := sample(t, 60, 4)
	r.ID, r.Scenario.Name, r.Scenario.Text, r.Target.Kind, r.Machine.Model = hostile, hostile, hostile, hostile, hostile
	r.Command, r.Target.URLs, r.Invalid = []string{hostile}, []string{hostile}, []string{hostile}
	r.Marks[0].Text, r.Marks[0].Err = hostile, hostile
	r.Workers[0].Name, r.Unsettled = hostile, hostile
	r.Processes[0].Name = hostile
	r.Thresholds[0].Text = hostile
	r.Check.Violations[0].Text, r.Check.Violations[0].Conversation, r.Check.Violations[0].History[0].Who = hostile, hostile, hostile
	r.Latency[hostile] = r.Latency[measure.NameAck]
	r.Intervals[3].Latency[hostile] = r.Intervals[3].Latency[measure.NameAck]
	text := page(t, r, r)
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "link", "img", "iframe", "object", "image", "use", "base", "form"}, n.Data) {
			t.Errorf("an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "href" || a.Key == "src" || a.Key == "style" {
				t.Errorf("%s has the attribute %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	if strings.Contains(text, "url(") || strings.Contains(text, "@import") || strings.Contains(text, "ZgotmplZ") {
		t.Error("the page loads something, or the template refused something")
	}
	plots(t, text) // well formed
}

// TestPlotsStayInside: no coordinate of a line lies outside of its plot, whatever the values.
func TestPlotsStayInside(t *testing.T) {
	numbers := regexp.MustCompile(`[ML](-?[0-9.]+) (-?[0-9.]+)`)
	for name, change := range map[string]func(*measure.Run){
		"as it is": func(*measure.Run) {},
		"zeros": func(r *measure.Run) {
			for i := range r.Intervals {
				r.Intervals[i].Counts, r.Intervals[i].Connected = nil, 0
				r.Intervals[i].Latency[measure.NameAck] = map[string]int64{"p50": 0, "p99": 0, "max": 0}
			}
		},
		"huge": func(r *measure.Run) {
			r.Intervals[4].Counts[measure.CountSent] = 1 << 60
			r.Intervals[5].Latency[measure.NameAck]["max"] = 1 << 60
			r.Processes[0].Samples[3].RSS = 1 << 60
		},
		"one second":      func(r *measure.Run) { r.Intervals = r.Intervals[:1] },
		"only a process":  func(r *measure.Run) { r.Intervals = nil },
		"gap":             func(r *measure.Run) { r.Intervals = slices.Delete(r.Intervals, 10, 30) },
		"broken":          func(r *measure.Run) { r.Latency[measure.NameAck].Histogram = "not base64" },
		"empty histogram": func(r *measure.Run) { r.Latency[measure.NameAck] = &measure.Distribution{} },
		"many processes": func(r *measure.Run) {
			for i := range 20 {
				p := r.Processes[0]
				p.Name = fmt.Sprint("more", i)
				r.Processes = append(r.Processes, p)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := sample(t, 60, 4)
			change(r)
			text := page(t, r)
			for title, s := range plots(t, text) {
				if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
					t.Errorf("%s: a number is none: %s", title, s)
				}
				for _, m := range numbers.FindAllStringSubmatch(heats.ReplaceAllString(s, ""), -1) {
					x, _ := strconv.ParseFloat(m[1], 64)
					y, _ := strconv.ParseFloat(m[2], 64)
					if x < 61.9 || x > 466.1 || y < 35.9 || y > 226.1 {
						t.Fatalf("%s: %v %v is outside", title, x, y)
					}
				}
				if n := strings.Count(s, `class="line s`); n > 6 {
					t.Errorf("%s: %d lines", title, n)
				}
			}
		})
	}
}

func TestLongRunStaysSmall(t *testing.T) {
	text := page(t, sample(t, 8000, 4))
	if len(text) > 400_000 {
		t.Errorf("a page of %d bytes", len(text))
	}
	// What lasted three seconds of two hours is still there: the longest latency of each group is shown.
	if s := plots(t, text)["Latency: ack"]; !strings.Contains(s, "10 s</text>") {
		t.Errorf("the outage is not to be seen: %.600s", s)
	}
}

// TestWideIntervals: the counters of a long run are shown by the second, whatever an interval has of them, and gaps are gaps.
func TestWideIntervals(t *testing.T) {
	r := &measure.Run{Width: 15}
	for at := -30; at < 150; at += 15 {
		i := measure.Interval{At: at, Told: 15, Counts: map[string]int64{measure.CountSent: 150}}
		if at == 30 {
			i.Told, i.Counts[measure.CountSent] = 5, 50
		}
		if at != 60 {
			r.Intervals = append(r.Intervals, i)
		}
	}
	r.Intervals[1].Latency = map[string]map[string]int64{measure.NameAck: {"p50": 5e6}}
	r.Latency = map[string]*measure.Distribution{measure.NameAck: {Count: 1, P50: 5e6}}
	text := page(t, r)
	got := plots(t, text)
	if !strings.Contains(text, "An interval is of 15 seconds") {
		t.Error("nobody is told how long an interval is")
	}
	if s := got["Sends"]; !strings.Contains(s, "sent: from 10/s to 10/s") || strings.Count(s[strings.Index(s, `class="line`):], "M") != 2 {
		t.Errorf("%s", s)
	}
	if s := got["Latency: ack"]; !strings.Contains(s, "Latency of ack in intervals of 15 seconds.") {
		t.Errorf("%s", s)
	}
}

// TestPercentileCurve: the curve goes through the percentiles of the histogram, at the places that the axis names.
func TestPercentileCurve(t *testing.T) {
	r := sample(t, 10, 4)
	for name := range r.Latency {
		if name != measure.NameAck {
			delete(r.Latency, name)
		}
	}
	s := plots(t, page(t, r))["Latency by percentile"]
	m := regexp.MustCompile(`class="line s0" d="M([^"]*)"`).FindStringSubmatch(s)
	if m == nil {
		t.Fatal(s)
	}
	var pts [][2]float64
	for p := range strings.SplitSeq(m[1], "L") {
		var x, y float64
		if _, err := fmt.Sscan(p, &x, &y); err != nil || len(pts) > 0 && y > pts[len(pts)-1][1] {
			t.Fatalf("the curve falls at %q: %v", p, err)
		}
		pts = append(pts, [2]float64{x, y})
	}
	// where an axis has a label. The text stands 4 below its line, and 16 below the axis X.
	where := func(expr string) float64 {
		m := regexp.MustCompile(expr).FindStringSubmatch(s)
		if m == nil {
			t.Fatalf("no %s in %s", expr, s)
		}
		v, _ := strconv.ParseFloat(m[1], 64)
		return v
	}
	ms1, ms10 := where(`y="([0-9.]+)">1 ms<`)-4, where(`y="([0-9.]+)">10 ms<`)-4
	for label, want := range map[string]int64{"50": r.Latency[measure.NameAck].P50, "90": r.Latency[measure.NameAck].P90, "99": r.Latency[measure.NameAck].P99, "99.9": r.Latency[measure.NameAck].P999} {
		x := where(`x="([0-9.]+)" y="[0-9.]+">` + regexp.QuoteMeta(label) + ` %<`)
		i := slices.IndexFunc(pts, func(p [2]float64) bool { return p[0] >= x })
		y := ms1 + (ms10-ms1)*math.Log10(float64(want)/1e6)
		if i < 1 || pts[i][1]-2 > y || pts[i-1][1]+2 < y {
			t.Errorf("at %s %% the curve is between %v and %v, want %v", label, pts[i-1], pts[i], y)
		}
	}
}

func TestEmptyRun(t *testing.T) {
	text := page(t, &measure.Run{}, &measure.Run{})
	if !strings.Contains(text, "Nothing was recorded.") || len(plots(t, text)) != 0 {
		t.Error(text)
	}
	var b strings.Builder
	if err := errors.Join(report.Text(&b, &measure.Run{}), csvOf(t, &b, &measure.Run{}), report.Markdown(&b, &measure.Run{})); err != nil {
		t.Error(err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriterErrors(t *testing.T) {
	r := sample(t, 10, 4)
	for name, err := range map[string]error{
		"HTML": report.HTML(full{}, r), "Text": report.Text(full{}, r), "CSV": csvOf(t, full{}, r), "Markdown": report.Markdown(full{}, r),
	} {
		if !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTextFitsATerminal(t *testing.T) {
	r := sample(t, 60, 4)
	for i := range 100 {
		r.Thresholds = append(r.Thresholds, measure.Verdict{Text: fmt.Sprint("x", i, hostile)})
		r.Latency[fmt.Sprint("rest", i, hostile)] = r.Latency[measure.NameAck]
		r.Invalid = append(r.Invalid, strings.Repeat(hostile, 9))
		r.Check.Violations = append(r.Check.Violations, r.Check.Violations[0])
		r.Marks = append(r.Marks, measure.Mark{Text: hostile})
	}
	r.Scenario.Name = hostile
	r.Unsettled = "2 sends unanswered after 30s" + hostile
	var b strings.Builder
	if err := report.Text(&b, r); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) > 40 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if utf8.RuneCountInString(l) > 100 || strings.ContainsFunc(l, unicode.IsControl) {
			t.Errorf("%q", l)
		}
	}
	for _, want := range []string{"FAILED Correctness: 1 × lost", "✓ ack.p99 <= 50ms (21.0 ms)", "✗ delivered.rate >= 20000 (9200)", "… and ", "✗ did not settle: 2 sends unanswered after 30s", "✗ lost: c-17", "at 24 s: kill node 2", "acked.rate 999/s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestMarkdown(t *testing.T) {
	r, peer := sample(t, 10, 4), sample(t, 10, 4)
	peer.Target.Kind = "limit|" + hostile
	peer.Memory = nil
	peer.Totals[measure.CountAcked] *= 2
	var b strings.Builder
	if err := report.Markdown(&b, r, peer); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| dm-mix | hub | limit\\|", "| acked.rate | 999/s | 1998/s × 2 |", "| memory.edge | 912 B | – |", "failed: Correctness"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "<script") {
		t.Errorf("not escaped:\n%s", b.String())
	}
}

// csvOf writes the intervals of a run as if each were a second.
func csvOf(t *testing.T, w io.Writer, r *measure.Run) error {
	t.Helper()
	dir := t.TempDir()
	rows, err := report.NewRows(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Intervals {
		rows.Add(i)
	}
	err = rows.CSV(w)
	if err := rows.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("a file is left: %v", left)
	}
	return err
}

func TestCSV(t *testing.T) {
	r := sample(t, 20, 4)
	r.Intervals[2].Latency["history"] = map[string]int64{"p50": 77}
	var b strings.Builder
	if err := csvOf(t, &b, r); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(b.String())).ReadAll()
	if err != nil || len(rows) != 1+len(r.Intervals) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	// The columns are a contract: others read them by place.
	const fixed = "at,connected,intended,sent,acked,refused,delivered,frames,bytes,opened,closed,resumed,gaps,errors,ack_p50_ns,ack_p90_ns,ack_p99_ns,ack_p999_ns,ack_max_ns,delivery_p50_ns,"
	if got := strings.Join(rows[0], ","); !strings.HasPrefix(got, fixed) || !strings.HasSuffix(got, ",resume_max_ns,x-other,history_p50_ns,history_p90_ns,history_p99_ns,history_p999_ns,history_max_ns") {
		t.Errorf("columns %s", got)
	}
	at := func(row int, name string) string { return rows[row][slices.Index(rows[0], name)] }
	for i, want := range r.Intervals {
		if at(i+1, "at") != strconv.Itoa(want.At) || at(i+1, "sent") != fmt.Sprint(want.Counts["sent"]) || at(i+1, "ack_p99_ns") != fmt.Sprint(want.Latency["ack"]["p99"]) || at(i+1, "gaps") != "0" {
			t.Errorf("row %d: %v", i+1, rows[i+1])
		}
	}
	if at(3, "history_p50_ns") != "77" || at(4, "history_p50_ns") != "" {
		t.Errorf("history: %q, %q", at(3, "history_p50_ns"), at(4, "history_p50_ns"))
	}
}
