package compare_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

func deciding(c *compare.Comparison) (names []string) {
	for _, r := range c.Rows {
		if r.Decides {
			names = append(names, r.Name)
		}
	}
	return names
}

// What the scenario has thresholds on decides, by the names that comparisons have for it.
func TestThresholdsDecide(t *testing.T) {
	with := func(texts ...string) []*measure.Run {
		list := runs(5, 20, 1000)
		for _, r := range list {
			r.Totals[measure.CountErrors] = 0
			for _, text := range texts {
				r.Thresholds = append(r.Thresholds, measure.Verdict{Text: text, OK: true})
			}
		}
		return list
	}
	for name, c := range map[string]struct {
		thresholds, want []string
	}{
		"none":           {nil, []string{"ack.p99", "acked.rate", "delivered.rate", "cpu.per_delivery"}},
		"none of use":    {[]string{"violations == 0", "growth.rss <= 0.1", "?"}, []string{"ack.p99", "acked.rate", "delivered.rate", "cpu.per_delivery"}},
		"themselves":     {[]string{"violations == 0", "errors == 0", " ack.p50<=5ms"}, []string{"ack.p50", "errors"}},
		"by other names": {[]string{"acked.count >= 1", "cpu.ack <= 1ms", "errors.count == 0 (x)", "ack.max <= 1s"}, []string{"ack.p99", "acked.rate", "errors", "cpu.per_send"}},
	} {
		if got := deciding(compare.Compare(with(c.thresholds...), with(c.thresholds...), compare.Config{})); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v decide, want %v", name, got, c.want)
		}
	}
}

// Of five figures two differ as clearly as five runs can show, and one a little less.
func TestHolm(t *testing.T) {
	figures := []string{"ack.p50", "ack.p99", "acked.rate", "delivered.rate", "errors"}
	base, new := runs(5, 20, 1000), runs(5, 30, 900)
	for i, r := range new {
		r.Latency[measure.NameAck].P50 = int64(1+i) * 1e6 // as those of base, and a little more
		r.Totals[measure.CountErrors] = 0
		r.Totals[measure.CountDelivered] = 100_000 // the same in all
	}
	for i, r := range base {
		r.Latency[measure.NameAck].P50 = int64(i) * 1e6
		r.Totals[measure.CountErrors] = 0
		r.Totals[measure.CountDelivered] = 100_000
	}
	got := compare.Compare(base, new, compare.Config{Gate: figures})
	if got.Family != 3 { // errors and deliveries can not differ
		t.Errorf("%d figures count", got.Family)
	}
	p := 2.0 / 252
	want := map[string]float64{"ack.p99": 3 * p, "acked.rate": 3 * p, "delivered.rate": 1, "errors": 1}
	for _, r := range got.Rows {
		if w, ok := want[r.Name]; ok && math.Abs(r.Adjusted-w) > 1e-9 {
			t.Errorf("%s: %v, want %v", r.Name, r.Adjusted, w)
		}
		if r.Name == "ack.p50" && (r.Adjusted != r.P || r.P < 0.1) { // the last one's stays
			t.Errorf("%+v", r)
		}
	}
}

func TestTooFewIsSaid(t *testing.T) {
	var b strings.Builder
	c := compare.Compare(runs(4, 20, 1000), runs(4, 90, 1000), compare.Config{})
	if err := c.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	if c.ExitCode() != compare.ExitOK || !strings.Contains(b.String(), "Too few runs to tell: 4 figures take 5 on each side.") {
		t.Errorf("exit code %d\n%s", c.ExitCode(), b.String())
	}
}

// Runs that are alike are seldom called a regression, however many figures decide.
func TestFewFalseAlarms(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	side := func() []*measure.Run {
		list := runs(6, 20, 1000)
		for _, r := range list {
			for _, name := range []string{measure.NameAck, measure.NameDelivery, measure.NameConnect, measure.NameResume} {
				r.Latency[name] = &measure.Distribution{Count: 10, P50: rnd.Int64N(1e9), P99: rnd.Int64N(1e9)}
			}
		}
		return list
	}
	gate := []string{"ack.p50", "ack.p99", "delivery.p50", "delivery.p99", "connect.p50", "connect.p99", "resume.p50", "resume.p99"}
	alarms, alone := 0, 0
	const comparisons = 500
	for range comparisons {
		c := compare.Compare(side(), side(), compare.Config{Gate: gate})
		if c.ExitCode() == compare.ExitRegression {
			alarms++
		}
		if slices.ContainsFunc(c.Rows, func(r compare.Row) bool { return r.P < 0.05 && r.New > r.Base }) {
			alone++
		}
	}
	if alarms > comparisons*5/100 || alone < comparisons*10/100 {
		t.Errorf("%d of %d are regressions, %d without the correction", alarms, comparisons, alone)
	}
}
