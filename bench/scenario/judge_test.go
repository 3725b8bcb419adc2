package scenario_test

import (
	"strings"
	"testing"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
)

// measured is a run of 4 seconds, the first of which is warm-up.
func measured() *measure.Run {
	r := &measure.Run{
		Intervals: []measure.Interval{{At: -1}, {At: 0}, {At: 1}, {At: 2}},
		Latency: map[string]*measure.Distribution{
			"ack":     {Count: 9, Mean: 2e6, Min: 1e6, P50: 2e6, P90: 3e6, P99: 40e6, P999: 50e6, Max: 60e6},
			"history": {Count: 5, P99: 7e6},
		},
		Totals: map[string]int64{"delivered": 3000, "resumed": 2, "acked": 9, "history": 6},
		Memory: &measure.Memory{Connections: 10, Edge: 700, Directory: 60, Kernel: 5000},
		Check:  &check.Report{Acked: 9},
	}
	p := measure.Process{CPU: 0.06}
	for i := range 21 {
		p.Samples = append(p.Samples, measure.Sample{At: float64(i) * 0.15, RSS: int64(1000 + 5*i), Files: 50})
	}
	r.Processes = []measure.Process{p, {CPU: 0.03}}
	return r
}

func TestThresholds(t *testing.T) {
	for text, want := range map[string]struct {
		value float64
		ok    bool
	}{
		"ack.p99 <= 50ms":           {0.04, true},
		"ack.p99 <= 39ms":           {0.04, false},
		"ack.p50<2ms":               {0.002, false},
		"ack.max >= 60ms":           {0.06, true},
		"ack.mean == 2ms":           {0.002, true},
		"ack.min != 1ms":            {0.001, false},
		"ack.count > 8":             {9, true},
		"history.p99 <= 10ms":       {0.007, true},
		"history.rate >= 2":         {2, true},
		"delivered.rate >= 1000":    {1000, true},
		"delivered.rate >= 1001":    {1000, false},
		"resumed.count >= 1":        {2, true},
		"resumed >= 3":              {2, false},
		"errors == 0":               {0, true},
		"violations == 0":           {0, true},
		"memory.edge <= 1024":       {700, true},
		"memory.user <= 760":        {760, true},
		"memory.kernel < 5000":      {5000, false},
		"cpu.delivery <= 30us":      {0.00003, true},
		"cpu.ack <= 9ms":            {0.01, false},
		"growth.rss <= 0.11":        {0.1, true},
		"growth.rss <= 0.09":        {0.1, false},
		"growth.files == 0":         {0, true},
		"memory.slope <= 117KiB/h":  {120000, false}, // 5 bytes in 0.15 s
		"memory.slope <= 1MiB/h":    {120000, true},
		"memory.slope < 119999B/h":  {120000, false},
		"descriptors.slope <= 0/h":  {0, true},
		"goroutines.slope <= 5/h":   {0, false}, // nobody said how many there are
		"delivery.p99 <= 1h":        {0, false}, // nothing was measured
		"growth.goroutines <= 1000": {0, false},
	} {
		s := decode(t, small, "duration=3s", "thresholds=['"+text+"']")
		got := s.Judge(measured())
		if len(got) != 1 || got[0].OK != want.ok || got[0].Value < want.value*0.999999 || got[0].Value > want.value*1.000001 || !strings.HasPrefix(got[0].Text, text) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

// A threshold on what the run does not have is not kept, whatever its operator.
func TestThresholdsOfNothing(t *testing.T) {
	for text, why := range map[string]string{
		"violations == 0":        "nothing was checked",
		"ack.p99 <= 1h":          "no ack was measured",
		"memory.edge <= 1e9":     "memory was not measured",
		"cpu.delivery <= 1h":     "no process was watched",
		"growth.rss <= 100":      "no process was watched",
		"memory.slope <= 1e9B/h": "no process was watched",
		"delivered.rate >= 0":    "no second was measured",
		"delivery.p50 != 17ms":   "no delivery was measured",
	} {
		got := decode(t, small, "thresholds=['"+text+"']").Judge(&measure.Run{})
		if len(got) != 1 || got[0].OK || !strings.Contains(got[0].Text, why) {
			t.Errorf("%s: %+v, want %q", text, got, why)
		}
	}
	r := measured()
	r.Check.Counts = map[check.Kind]int{check.Lost: 2, check.Skip: 1}
	if got := decode(t, small, "thresholds=[violations <= 2]").Judge(r); got[0].OK || got[0].Value != 3 {
		t.Errorf("3 violations: %+v", got)
	}
}

func TestThresholdGrammar(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "no threshold",
		"ack.p99":                    "no threshold",
		"ack.p99 =< 5ms":             "no threshold",
		"ack.p99 <= 5 ms":            "no threshold",
		"ack.p99 <= 5":               "no duration",
		"ack.p95 <= 5ms":             "want one of p50",
		"ack <= 5ms":                 "want one of p50",
		"errors == none":             "no number",
		"errors == NaN":              "no number",
		"memory <= 5":                "want one of edge",
		"latency.p99 <= 5ms":         `no figure "latency"`,
		"delivered.p99 <= 5ms":       "want one of count, rate",
		"violations.rate == 0":       "violations has no",
		"memory.slope <= 5":          "want one as 1MiB/h",
		"memory.slope <= 5/h":        "want one as 1MiB/h",
		"memory.slope <= 5MB/h":      "want one as 1MiB/h",
		"goroutines.slope <= 5":      "want one as 5/h",
		"descriptors.slope <= NaN/h": "want one as 5/h",
		"descriptors <= 5/h":         "want one of slope",
	} {
		if err := scenario.Threshold(text).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
