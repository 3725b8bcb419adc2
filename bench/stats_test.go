package main

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		s    sample
		q    float64
		want float64
	}{
		{sample{3}, 0.5, 3},
		{sample{1, 2}, 0.5, 1.5},
		{sample{9, 1, 5}, 0.5, 5},
		{sample{4, 1, 3, 2}, 0.5, 2.5},
		{sample{0, 10}, 0.99, 9.9},
		{sample{1, 2, 3}, 0, 1},
		{sample{1, 2, 3}, 1, 3},
	} {
		if got := tt.s.quantile(tt.q); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.s, tt.q, got, tt.want)
		}
	}
	var none sample
	if !math.IsNaN(none.median()) || !math.IsNaN(none.min()) || !math.IsNaN(none.max()) {
		t.Error("a sample without values must have no median, minimum or maximum")
	}
}

func TestQuantileIsWithinAndDoesNotReorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sample(rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 40).Draw(t, "s"))
		before := slices.Clone(s)
		a, b := rapid.Float64Range(0, 1).Draw(t, "a"), rapid.Float64Range(0, 1).Draw(t, "b")
		if a > b {
			a, b = b, a
		}
		lo, hi := s.quantile(a), s.quantile(b)
		if lo > hi+1e-6 || lo < s.min()-1e-6 || hi > s.max()+1e-6 {
			t.Fatalf("quantiles %v of %v and %v of %v do not ascend within [%v, %v]", lo, a, hi, b, s.min(), s.max())
		}
		if !slices.Equal(s, before) {
			t.Fatal("quantile reordered its sample: rounds would no longer pair up")
		}
	})
}

func TestRatiosPairRounds(t *testing.T) {
	got := ratios(sample{2, 9, 8}, sample{1, 3, 0, 7})
	if want := (sample{2, 3}); !slices.Equal(got, want) {
		t.Errorf("ratios = %v, want %v", got, want)
	}
}

func TestReport(t *testing.T) {
	r := &report{Title: "things", Unit: "µs"}
	r.row("limit", "").values = sample{2, 2, 4}
	x := r.row("ours", "limit")
	x.values, x.Target = sample{2, 3, 8}, 1.15
	r.note("said %d", 1)
	r.finish("x", time.Now())

	var table bytes.Buffer
	if err := r.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"limit", "ours", "1.50", "MISSED", "said 1"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	var out bytes.Buffer
	if err := r.writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Rows []struct {
			Name          string
			Median, Ratio float64
			Rounds        []float64
			Met           *bool
		}
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(back.Rows) != 2 || back.Rows[1].Ratio != 1.5 || back.Rows[1].Median != 3 || len(back.Rows[1].Rounds) != 3 {
		t.Errorf("JSON came back as %+v", back)
	}
	if m := back.Rows[1].Met; m == nil || *m {
		t.Errorf("a ratio of 1.5 with a target of 1.15 must be a miss, got %v", m)
	}
	if back.Rows[0].Met != nil {
		t.Error("a row without a target is neither met nor missed")
	}
}

func TestReportAtLeast(t *testing.T) {
	r := &report{}
	r.row("base", "").values = sample{10}
	x := r.row("x", "base")
	x.values, x.Target, x.AtLeast = sample{7}, 0.6, true
	r.finish("x", time.Now())
	if x.Met == nil || !*x.Met {
		t.Error("0.7 of at least 0.6 is met")
	}
	y := r.row("y", "")
	y.values, y.Target = sample{12}, 12
	r.finish("x", time.Now())
	if y.Met == nil || !*y.Met {
		t.Error("12 of at most 12 is met: a row without a baseline is judged by its median")
	}
}
