package measure_test

import (
	"encoding/json"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/bench/measure"
)

func TestWidth(t *testing.T) {
	for seconds, want := range map[int]int{1: 1, 2048: 1, 2049: 2, 4097: 5, 8*3600 + 600: 15, 24 * 3600: 60, 7 * 24 * 3600: 300, 1 << 30: 1 << 19} {
		if got := measure.Width(seconds); got != want || seconds > got*2048 {
			t.Errorf("%d seconds: intervals of %d, want %d", seconds, got, want)
		}
	}
}

// A long run has few intervals, and each has the figures of all that was recorded in its seconds, not some mean of figures. Who wants
// every second is told every second.
func TestLongRunsHaveWideIntervals(t *testing.T) {
	const width, warmup, seconds, workers, missing, slow = 2, 7, 2051, 2, 1234, 2002
	latency := func(worker, at int) time.Duration {
		return time.Duration(1+(at*7+worker*3)%997) * time.Millisecond
	}
	var told []measure.Interval
	m := measure.NewMerger(measure.MergerConfig{Warmup: warmup, Seconds: seconds, Second: func(i measure.Interval) { told = append(told, i) }})
	r := measure.NewRecorder()
	acked := int64(0)
	var later []measure.Part
	for at := -warmup; at < seconds+3; at++ {
		if at == missing { // no worker tells
			continue
		}
		for w := range workers {
			r.Record("ack", latency(w, at))
			r.Add("acked", 2)
			if at >= 0 && at < seconds {
				acked += 2
			}
			p := r.Cut(at, int64(100+at%3))
			if w == 1 && at == slow { // comes when nobody waits any more
				later = append(later, p)
				continue
			}
			if i, whole := m.Add(w, workers, p); whole && i.At != at {
				t.Fatalf("second %d is whole when %d comes", i.At, at)
			}
		}
		if at == slow+30 {
			if _, whole := m.Add(1, workers, later[0]); whole {
				t.Error("a second that was given up is whole")
			}
		}
	}
	run := finish(t, m)
	if run.Width != width || run.Step() != width || len(run.Intervals) != 4+1026 || run.Totals["acked"] != acked {
		t.Fatalf("%d intervals of %d seconds, %d acked, want %d", len(run.Intervals), run.Width, run.Totals["acked"], acked)
	}
	if len(told) != warmup+seconds-1 || told[0].At != -warmup || !slices.IsSortedFunc(told, func(a, b measure.Interval) int { return a.At - b.At }) {
		t.Errorf("%d seconds were told, from %d", len(told), told[0].At)
	}
	byInterval := map[int][]measure.Interval{}
	for _, s := range told {
		if s.Seconds() != 1 {
			t.Fatalf("a second of %d", s.Seconds())
		}
		i := s.At + 10_000 // no division of what is negative
		byInterval[i-i%width-10_000] = append(byInterval[i-i%width-10_000], s)
	}
	for n, i := range run.Intervals {
		of := byInterval[i.At]
		if n > 0 && i.At != run.Intervals[n-1].At+width || i.Seconds() != len(of) {
			t.Fatalf("interval %d: %+v of %d seconds", n, i, len(of))
		}
		sum, longest, fewest := int64(0), int64(0), int64(1<<30)
		for _, s := range of {
			sum += s.Counts["acked"]
			longest = max(longest, s.Latency["ack"]["max"])
			fewest = min(fewest, s.Connected)
		}
		if i.Counts["acked"] != sum || i.Latency["ack"]["max"] != longest || i.Connected != fewest {
			t.Fatalf("interval at %d: %+v, its seconds have %d acked, %d ns, %d connected", i.At, i, sum, longest, fewest)
		}
	}
	// The median of an interval, of all latencies and not of medians.
	var all []time.Duration
	for at := 100; at < 100+width; at++ {
		all = append(all, latency(0, at), latency(1, at))
	}
	slices.Sort(all)
	at100 := run.Intervals[slices.IndexFunc(run.Intervals, func(i measure.Interval) bool { return i.At == 100 })]
	if got := at100.Latency["ack"]["p50"]; !close3(got, all[1]) {
		t.Errorf("the median is %v, want %v", time.Duration(got), all[1])
	}
	if got := measure.Validity(run, measure.Bounds{}); len(got) != 0 {
		t.Errorf("one second of 2,051 is missing: %v", got)
	}
}

// BenchmarkEightHours is a soak of two workers with ten latencies; one op is all of it. It reports what of it grows with a run: run.json,
// and what the controller holds at its end.
func BenchmarkEightHours(b *testing.B) {
	const warmup, seconds, workers = 600, 8 * 3600, 2
	names := map[string]int{"ack": 10, "service": 10, "delivery": 60, "lateness": 40, "resume": 3, "connect": 3, "history": 10, "list": 3, "search": 1, "scroll": 1}
	counts := []string{"intended", "sent", "acked", "delivered", "frames", "bytes", "opened", "closed", "resumed", "send", "typing", "read", "react", "edit", "history", "list", "search", "reconnect"}
	inUse := func() float64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return float64(s.HeapAlloc) / (1 << 20)
	}
	for b.Loop() {
		before := inUse()
		m := measure.NewMerger(measure.MergerConfig{Warmup: warmup, Seconds: seconds})
		var logged counter
		m.Log(measure.NewLog(&logged, time.Unix(1e9, 0)))
		rec := make([]*measure.Recorder, workers)
		for w := range rec {
			rec[w] = measure.NewRecorder()
		}
		for at, x := -warmup, uint64(1); at < seconds; at++ {
			for w, r := range rec {
				for name, n := range names {
					for range n {
						x = x*6364136223846793005 + 1442695040888963407
						r.Record(name, time.Duration(1<<(17+x>>61))*time.Nanosecond+time.Duration(x>>40&0xffff)) // an eighth in each of 8 octaves
					}
				}
				for _, c := range counts {
					r.Add(c, int64(40+x>>58))
				}
				m.Add(w, workers, r.Cut(at, 500))
			}
		}
		run := &measure.Run{Schema: measure.Schema}
		if err := m.Finish(run); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(inUse()-before, "held-MiB")
		text, err := json.MarshalIndent(run, "", " ")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(text))/1e6, "run.json-MB")
		b.ReportMetric(float64(logged)/1e6, "hlog-MB")
		b.ReportMetric(float64(len(run.Intervals)), "intervals")
		if len(slices.Collect(maps.Keys(run.Latency))) != len(names) {
			b.Fatal(run.Latency)
		}
	}
}

// counter of what is written.
type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}
