package report_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
)

// hostile is what a name may be at worst.
const hostile = "</title><script>alert(1)</script>\"'&|`\x1b[31m"

// distribution of n latencies around a median in milliseconds.
func distribution(t testing.TB, rnd *rand.Rand, n int, medianMs float64) *measure.Distribution {
	t.Helper()
	h := hdrhistogram.New(1000, 60e9, 3)
	for range n {
		_ = h.RecordValue(int64(medianMs * 1e6 * math.Exp(0.6*rnd.NormFloat64())))
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		t.Fatal(err)
	}
	return &measure.Distribution{
		Count: h.TotalCount(), Mean: h.Mean(), Min: h.Min(), P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9), Max: h.Max(), Histogram: string(text),
	}
}

// spread of n latencies around a median in milliseconds.
func spread(rnd *rand.Rand, n int, medianMs float64) measure.Spread {
	s := measure.Spread{Counts: make([]int64, 63)}
	for range n {
		us := medianMs * 1e3 * math.Exp(0.6*rnd.NormFloat64())
		s.Counts[min(62, max(0, int(measure.SpreadsPerDecade*math.Log10(us))))]++
	}
	return s
}

// sample is a run of so many seconds with everything in it: a ramp, a node that is killed, violations, a missed threshold.
func sample(t testing.TB, seconds int, medianMs float64) *measure.Run {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(seconds)))
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := &measure.Run{
		Schema: measure.Schema, ID: "20260301-120000-dm-mix", Scenario: measure.Scenario{Name: "dm-mix", Hash: "5f3a9c11d2e4", Text: "name: dm-mix\nusers: 15000\n"},
		Seed: 7, Command: []string{"hubbench", "run", "bench/scenarios/dm-mix.yaml", "--set", "users=15000; x"}, Started: start, Ended: start.Add(time.Duration(seconds) * time.Second),
		Target:  measure.Target{Kind: "hub", URLs: []string{"http://127.0.0.1:8080", "http://127.0.0.1:8081"}, Version: "v0.6.0"},
		Machine: measure.Machine{CPUs: 2, Model: "Xeon", Memory: 24 << 30, Kernel: "6.1.0", OS: "linux", Arch: "amd64", Go: "go1.26.0", Files: 20000, Load: "0.51 0.40 0.30"},
		Latency: map[string]*measure.Distribution{
			measure.NameAck: distribution(t, rnd, 50000, medianMs), measure.NameDelivery: distribution(t, rnd, 90000, 1.7*medianMs),
			measure.NameLateness: distribution(t, rnd, 50000, 0.05), measure.NameResume: distribution(t, rnd, 300, 900), "history": distribution(t, rnd, 4000, 3*medianMs),
		},
		Totals: map[string]int64{
			measure.CountIntended: 1000 * int64(seconds), measure.CountSent: 1000 * int64(seconds), measure.CountAcked: 999 * int64(seconds),
			measure.CountDelivered: 9200 * int64(seconds), measure.CountErrors: 3, measure.CountRefused: 12, measure.CountGaps: 0,
		},
		Marks: []measure.Mark{
			{At: float64(seconds) * 0.4, Text: "kill node 2"}, {At: float64(seconds)*0.4 + 1, Text: "start node 2"},
			{At: float64(seconds) * 0.8, Text: "partition 1 | 2,3", Err: "needs network namespaces"},
		},
		Memory: &measure.Memory{Connections: 15000, Edge: 912, Directory: 143, Kernel: 5210},
		Check: &check.Report{
			Sends: 1000 * seconds, Acked: 999 * seconds, Unanswered: 8, Stored: 999 * seconds, Observers: 15000,
			Counts: map[check.Kind]int{check.Lost: 1, check.Skip: 1}, Violations: []check.Violation{
				{Kind: check.Lost, Conversation: "c-17", Text: "message k-99 was acknowledged as seq 12 and is not in the history", History: []check.Op{
					{What: "sent", Who: "user 4", Key: "k-99", Seq: 12, ID: "0193"}, {What: "found", Who: "user 5", Key: "k-100", Seq: 12, ID: "0194"}}},
				{Kind: check.Skip, Conversation: "c-3", Worker: "w2", Text: "user 8 saw seq 7 after seq 5"},
			},
		},
		Thresholds: []measure.Verdict{{Text: "ack.p99 <= 50ms", Value: 0.021, OK: true}, {Text: "delivered.rate >= 20000", Value: 9200}},
		Workers:    []measure.Worker{{Name: "w1", Host: "local", Connections: 7500, CPU: 0.4}, {Name: "w2", Host: "local", Connections: 7500, CPU: 0.42, Offset: 3 * time.Microsecond, Error: 20 * time.Microsecond}},
	}
	ms := func(v float64) int64 { return int64(v * medianMs * 1e6 * math.Exp(0.2*rnd.NormFloat64())) }
	for at := -5; at < seconds; at++ {
		i := measure.Interval{At: at, Connected: int64(min(15000, 3000*(at+6))), Counts: map[string]int64{}, Latency: map[string]map[string]int64{}}
		dead := at >= seconds*2/5 && at < seconds*2/5+3
		due := int64(1000 + rnd.IntN(60))
		acked := due
		if dead {
			acked, i.Connected = due*2/3, 10000
		}
		i.Counts = map[string]int64{measure.CountIntended: due, measure.CountSent: due, measure.CountAcked: acked, measure.CountDelivered: 9 * acked, measure.CountRefused: due - acked, "x-other": 1}
		slow := 1.0
		if at == seconds*2/5+3 {
			i.Counts[measure.CountResumed], i.Counts[measure.CountOpened] = 5000, 5000
		}
		if dead {
			slow = 60
		}
		i.Spread = map[string]measure.Spread{}
		for name, f := range map[string]float64{measure.NameAck: 1, measure.NameDelivery: 1.7} {
			i.Spread[name] = spread(rnd, int(acked), f*slow*medianMs)
			i.Latency[name] = map[string]int64{"p50": ms(f * slow), "p90": ms(2 * f * slow), "p99": ms(4 * f * slow), "p999": ms(6 * f * slow), "max": ms(9 * f * slow)}
		}
		r.Intervals = append(r.Intervals, i)
	}
	for n, name := range []string{"hub1", "hub2", "hub3"} {
		p := measure.Process{Name: name, PID: 100 + n, CPU: float64(seconds) * 0.3}
		cpu := 1.0
		for at := -5; at < seconds; at++ {
			if n == 1 && at == seconds*2/5 {
				cpu = 0
			}
			cpu += 0.25 + 0.1*float64(n) + 0.05*rnd.Float64()
			p.Samples = append(p.Samples, measure.Sample{At: float64(at), CPU: cpu, RSS: int64(90+at/5+n*20) << 20, Files: 5000, Goroutines: 80 + at%5, Heap: 40 << 20,
				Store: int64(1000 + (at+5)/5*200*(n+1))}) // asked every 5 s
		}
		r.Processes = append(r.Processes, p)
	}
	return r
}
