package compare_test

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/compare"
	"github.com/zumodra/hub/bench/measure"
)

// TestUTestTables compares with the critical values of U for two sides at 5 % (Mann and Whitney's table as in
// textbooks): with the largest significant U the probability is at most 0.05, with the next it is not.
func TestUTestTables(t *testing.T) {
	for _, c := range []struct{ n, m, critical int }{
		{4, 4, 0}, {4, 5, 1}, {5, 5, 2}, {5, 8, 6}, {6, 6, 5}, {7, 7, 8}, {8, 8, 13}, {9, 12, 26}, {10, 10, 23}, {15, 15, 64}, {20, 20, 127},
	} {
		if p := compare.UTest(withU(c.n, c.m, c.critical)); p > 0.05 {
			t.Errorf("n %d m %d U %d: p %.4f, the table has it significant", c.n, c.m, c.critical, p)
		}
		if p := compare.UTest(withU(c.n, c.m, c.critical+1)); p <= 0.05 {
			t.Errorf("n %d m %d U %d: p %.4f, the table has it not significant", c.n, c.m, c.critical+1, p)
		}
	}
}

// withU makes two samples without ties with U pairs of which a's is the greater.
func withU(n, m, u int) (a, b []float64) {
	for i := range m {
		b = append(b, float64(10*i+5))
	}
	for i := range n {
		k := min(u, m)
		u -= k
		a = append(a, float64(10*k)+float64(i)/100)
	}
	return a, b
}

func TestUTestKnown(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		p    float64
	}{
		{[]float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{[]float64{1, 2, 3}, []float64{4, 5, 6}, 0.1},
		{[]float64{1, 1, 1, 1}, []float64{1, 1, 1, 1}, 1},
		{[]float64{1, 2}, []float64{1, 2}, 1},
		// Of the 6 ways to choose two of {1, 2, 2, 3}: sums of ranks 3.5 3.5 5 5 6.5 6.5.
		{[]float64{1, 2}, []float64{2, 3}, 4.0 / 6},
		{nil, []float64{1}, 1},
	} {
		if got := compare.UTest(c.a, c.b); math.Abs(got-c.p) > 1e-12 {
			t.Errorf("%v %v: %v, want %v", c.a, c.b, got, c.p)
		}
	}
	// The approximation begins beyond 60 values: it must continue what is exact.
	exact := compare.UTest(withU(30, 30, 310))
	near := compare.UTest(withU(30, 31, 320))
	if math.Abs(exact-near) > 0.01 {
		t.Errorf("exact %.4f and approximate %.4f differ", exact, near)
	}
}

func TestUTestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.Map(rapid.IntRange(0, 12), func(i int) float64 { return float64(i) }) // with ties
		values := rapid.SliceOfN(whole, 1, 9)
		a, b := values.Draw(t, "a"), values.Draw(t, "b")
		p := compare.UTest(a, b)
		if p < 0 || p > 1 || math.Abs(p-compare.UTest(b, a)) > 1e-9 {
			t.Fatalf("p %v, and %v the other way round", p, compare.UTest(b, a))
		}
		for i := range a {
			a[i] = 2*a[i] + 1
		}
		for i := range b {
			b[i] = 2*b[i] + 1
		}
		if q := compare.UTest(a, b); math.Abs(p-q) > 1e-9 {
			t.Fatalf("the unit matters: %v and %v", p, q)
		}
	})
}

// run with an ack p99, in milliseconds, and a rate of acks.
func run(p99 float64, rate int64) *measure.Run {
	start := time.Unix(1000, 0)
	return &measure.Run{
		Schema: measure.Schema, ID: "r", Scenario: measure.Scenario{Name: "dm-mix", Hash: "abc"},
		Started: start, Ended: start.Add(10 * time.Second),
		Target: measure.Target{Kind: "hub"}, Machine: measure.Machine{CPUs: 2, Memory: 1 << 30},
		Latency: map[string]*measure.Distribution{
			measure.NameAck:      {Count: 100, P50: 1e6, P99: int64(p99 * 1e6)},
			measure.NameLateness: {Count: 100, P50: 1, P99: 1},
		},
		Totals:    map[string]int64{measure.CountAcked: rate * 10, measure.CountDelivered: rate * 100},
		Processes: []measure.Process{{Name: "hub1", CPU: 2, Samples: []measure.Sample{{RSS: 5}, {RSS: 7}, {RSS: 6}}}},
		Check:     &check.Report{Acked: 10},
	}
}

func runs(n int, p99 float64, rate int64) (out []*measure.Run) {
	for i := range n {
		out = append(out, run(p99+float64(i)/10, rate+int64(i)))
	}
	return out
}

func verdict(c *compare.Comparison, name string) compare.Verdict {
	for _, r := range c.Rows {
		if r.Name == name {
			return r.Verdict
		}
	}
	return "none"
}

func TestCompareVerdicts(t *testing.T) {
	for _, c := range []struct {
		name      string
		base, new []*measure.Run
		figure    string
		want      compare.Verdict
		code      int
		cfg       compare.Config
	}{
		{name: "the same", base: runs(5, 20, 1000), new: runs(5, 20, 1000), figure: "ack.p99", want: compare.Same},
		{name: "slower", base: runs(5, 20, 1000), new: runs(5, 30, 1000), figure: "ack.p99", want: compare.Worse, code: compare.ExitRegression},
		{name: "faster", base: runs(5, 30, 1000), new: runs(5, 20, 1000), figure: "ack.p99", want: compare.Better},
		{name: "fewer acks", base: runs(5, 20, 1000), new: runs(5, 20, 800), figure: "acked.rate", want: compare.Worse, code: compare.ExitRegression},
		{name: "more acks", base: runs(5, 20, 1000), new: runs(5, 20, 1200), figure: "acked.rate", want: compare.Better},
		{name: "under 2 ms", base: runs(5, 3, 1000), new: runs(5, 4.5, 1000), figure: "ack.p99", want: compare.Same},
		{name: "under 1 %", base: runs(5, 2000, 1000), new: runs(5, 2010, 1000), figure: "ack.p99", want: compare.Same},
		{name: "three runs", base: runs(3, 20, 1000), new: runs(3, 90, 1000), figure: "ack.p99", want: compare.TooFew},
		{name: "three runs, at 20 %", base: runs(3, 20, 1000), new: runs(3, 90, 1000), figure: "ack.p99", want: compare.Worse, code: compare.ExitRegression, cfg: compare.Config{Alpha: 0.2, Gate: []string{"ack.p99"}}},
		{name: "four runs for one figure", base: runs(4, 20, 1000), new: runs(4, 90, 1000), figure: "ack.p99", want: compare.Worse, code: compare.ExitRegression, cfg: compare.Config{Gate: []string{"ack.p99"}}},
		{name: "four runs for two", base: runs(4, 20, 1000), new: runs(4, 90, 1000), figure: "ack.p99", want: compare.TooFew, cfg: compare.Config{Gate: []string{"ack.p99", "acked.rate"}}},
		{name: "another figure decides", base: runs(5, 20, 1000), new: runs(5, 30, 1000), figure: "ack.p99", want: compare.Worse, cfg: compare.Config{Gate: []string{"acked.rate"}}},
		{name: "no such figure", base: runs(5, 20, 1000), new: runs(5, 20, 1000), figure: "ack.p99", want: compare.Same, code: compare.ExitNotComparable, cfg: compare.Config{Gate: []string{"ack.p42"}}},
		{name: "the generator's lateness", base: runs(5, 20, 1000), new: runs(5, 20, 1000), figure: "lateness.p99", want: "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := compare.Compare(c.base, c.new, c.cfg)
			if v := verdict(got, c.figure); v != c.want {
				t.Errorf("%s is %q, want %q", c.figure, v, c.want)
			}
			if got.ExitCode() != c.code {
				t.Errorf("exit code %d, want %d: %+v", got.ExitCode(), c.code, got.Rows)
			}
		})
	}
}

func TestCompareMedianResistsOneBadRun(t *testing.T) {
	base, new := runs(5, 20, 1000), runs(5, 20, 1000)
	new[2].Latency[measure.NameAck].P99 = 9e9
	if got := compare.Compare(base, new, compare.Config{}); verdict(got, "ack.p99") != compare.Same {
		t.Errorf("one disturbed run of five decides: %+v", got.Rows)
	}
}

func TestCompareNotComparable(t *testing.T) {
	for name, change := range map[string]func(*measure.Run){
		"scenario": func(r *measure.Run) { r.Scenario.Hash = "other" },
		"machine":  func(r *measure.Run) { r.Machine.CPUs = 64 },
		"memory":   func(r *measure.Run) { r.Machine.Memory *= 2 },
		"target":   func(r *measure.Run) { r.Target.Kind = "limit" },
		"schema":   func(r *measure.Run) { r.Schema = 99 },
		"invalid":  func(r *measure.Run) { r.Invalid = []string{"lateness"} },
		"check":    func(r *measure.Run) { r.Check = nil },
	} {
		t.Run(name, func(t *testing.T) {
			base, new := runs(5, 20, 1000), runs(5, 20, 1000)
			change(new[3])
			if got := compare.Compare(base, new, compare.Config{}); got.ExitCode() != compare.ExitNotComparable || len(got.Reasons) != 1 {
				t.Errorf("exit code %d, reasons %q", got.ExitCode(), got.Reasons)
			}
			got := compare.Compare(base, new, compare.Config{Force: true})
			if got.ExitCode() != compare.ExitOK || len(got.Reasons) != 1 {
				t.Errorf("forced: exit code %d, reasons %q", got.ExitCode(), got.Reasons)
			}
		})
	}
	if got := compare.Compare(nil, runs(5, 1, 1), compare.Config{Force: true}); got.ExitCode() != compare.ExitNotComparable {
		t.Errorf("nothing was compared, and the exit code is %d", got.ExitCode())
	}
}

func TestCompareViolationIsARegression(t *testing.T) {
	base, new := runs(1, 20, 1000), runs(1, 20, 1000)
	new[0].Check.Counts = map[check.Kind]int{check.Lost: 2, check.Skip: 1}
	new[0].Scenario.Hash = "other"
	got := compare.Compare(base, new, compare.Config{})
	if got.ExitCode() != compare.ExitRegression || len(got.Violations) != 1 || !strings.Contains(got.Violations[0], "1 × skip, 2 × lost") {
		t.Errorf("exit code %d, violations %q", got.ExitCode(), got.Violations)
	}
	got = compare.Compare(new, base, compare.Config{Force: true})
	if got.ExitCode() != compare.ExitOK {
		t.Errorf("a violation in the base is none of the new one's: exit code %d", got.ExitCode())
	}
}

func TestCompareMarkdown(t *testing.T) {
	base, new := runs(5, 20, 1000), runs(5, 30, 1000)
	for _, r := range new {
		r.Memory = &measure.Memory{Edge: 900, Directory: 100, Kernel: 5000}
		r.Totals[measure.CountErrors] = 5
	}
	for _, r := range base {
		r.Totals[measure.CountErrors] = 0
		r.Scenario.Name = "a|b<script>\n# x"
	}
	base[0].Scenario.Hash = "other"
	var b strings.Builder
	if err := compare.Compare(base, new, compare.Config{Force: true}).Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| ack.p99 | 20.2 ms | 30.2 ms | +49.5 % | 0.008 | 0.032 | **worse** |",
		"| memory.edge | – | 900 B | – | – | – | missing |",
		"| errors | 0 | 5 | from 0 | 0.008 | – | worse? |",
		"it holds for all 4 of them together",
		"**Regression.**",
	} {
		if !strings.Contains(strings.ReplaceAll(b.String(), `\_`, "_"), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "<script") || strings.Contains(b.String(), "\n# x") || strings.Contains(b.String(), "a|b") {
		t.Errorf("names are not escaped:\n%s", b.String())
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		v    float64
		u    compare.Unit
		want string
	}{
		{0, compare.Seconds, "0 s"}, {12.34e-3, compare.Seconds, "12.3 ms"}, {999.6e-6, compare.Seconds, "1.00 ms"}, {2.5e-6, compare.Seconds, "2.50 µs"},
		{93, compare.Seconds, "93.0 s"}, {1023, compare.Bytes, "1023 B"}, {1024, compare.Bytes, "1.00 KiB"}, {3 << 30, compare.Bytes, "3.00 GiB"},
		{45600, compare.PerSecond, "45.6k/s"}, {7, compare.PerSecond, "7/s"}, {0.5, compare.Count, "0.50"}, {-1.5e6, compare.Count, "-1.50M"},
	} {
		if got := compare.Format(c.v, c.u); got != c.want {
			t.Errorf("%v: %q, want %q", c.v, got, c.want)
		}
	}
}

func ExampleComparison_Markdown() {
	_ = compare.Compare(nil, nil, compare.Config{}).Markdown(os.Stdout)
	// Output:
	// - not comparable: a side has no runs
	//
	// The runs are not comparable.
}
