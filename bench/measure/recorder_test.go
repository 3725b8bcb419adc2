package measure_test

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/measure"
)

// sent is a part as the controller gets it.
func sent(t rapid.TB, p measure.Part) measure.Part {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var out measure.Part
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func finish(t rapid.TB, m *measure.Merger) *measure.Run {
	t.Helper()
	r := &measure.Run{}
	if err := m.Finish(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Whatever is recorded by whichever worker in whichever second, the run has the same figures as the sorted list of all.
func TestMergedFiguresAreThoseOfAllThatWasRecorded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const seconds = 2
		workers := rapid.IntRange(1, 2).Draw(t, "workers")
		m := measure.NewMerger(measure.MergerConfig{Warmup: 1, Seconds: seconds})
		var latencies []time.Duration
		bySecond := map[int][]time.Duration{}
		var acked, late int64
		recorders := make([]*measure.Recorder, workers)
		for w := range recorders {
			recorders[w] = measure.NewRecorder()
			recorders[w].Record("ack", time.Hour) // before the load
			recorders[w].Add("acked", 1000)
			recorders[w].Begin()
		}
		for at := -1; at <= seconds; at++ {
			for w, r := range recorders {
				for range rapid.IntRange(0, 5).Draw(t, "records") {
					d := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "latency"))
					r.Record("ack", d)
					r.Add("acked", 1)
					bySecond[at] = append(bySecond[at], d)
					if at >= 0 {
						latencies = append(latencies, d)
						if at < seconds {
							acked++
						} else {
							late++
						}
					}
				}
				i, whole := m.Add(w, workers, sent(t, r.Cut(at, int64(10+w))))
				if whole != (w == workers-1) {
					t.Fatalf("second %d is whole after worker %d of %d: %v", at, w, workers, whole)
				}
				if whole && (i.At != at || i.Counts["acked"] != int64(len(bySecond[at])) || i.Connected != int64(workers*10+workers*(workers-1)/2)) {
					t.Fatalf("second %d: %+v, want %d acked", at, i, len(bySecond[at]))
				}
			}
		}
		r := finish(t, m)
		if r.Totals["acked"] != acked {
			t.Errorf("%d acked, want %d (and not %d after the end)", r.Totals["acked"], acked, late)
		}
		if len(r.Intervals) != seconds+1 || r.Intervals[0].At != -1 {
			t.Errorf("intervals %+v", r.Intervals)
		}
		for _, i := range r.Intervals {
			if l := bySecond[i.At]; len(l) > 0 && !close3(i.Latency["ack"]["max"], slices.Max(l)) {
				t.Errorf("second %d: max %v, want %v", i.At, i.Latency["ack"]["max"], slices.Max(l))
			}
		}
		d := r.Latency["ack"]
		if len(latencies) == 0 {
			if d != nil {
				t.Errorf("nothing was recorded: %+v", d)
			}
			return
		}
		slices.Sort(latencies)
		n := len(latencies)
		nearest := func(q float64) time.Duration { return latencies[min(max(int(q*float64(n)+0.5), 1), n)-1] }
		if d.Count != int64(n) || !close3(d.P50, nearest(0.5)) || !close3(d.P99, nearest(0.99)) || !close3(d.Max, latencies[n-1]) || !close3(d.Min, latencies[0]) {
			t.Errorf("%+v\nof %v", d, latencies)
		}
		var h measure.Histogram
		if err := h.UnmarshalText([]byte(d.Histogram)); err != nil || h.Count() != int64(n) || int64(h.Quantile(0.9)) != d.P90 {
			t.Errorf("the histogram is another: %v", err)
		}
	})
}

// close3 says whether a figure is right to 3 digits, or to a microsecond.
func close3(got int64, want time.Duration) bool {
	return math.Abs(float64(got-int64(want))) <= max(1100, float64(want)/1000)
}

func TestLatenciesOutOfBoundsAreCounted(t *testing.T) {
	r := measure.NewRecorder()
	r.Record("ack", 2*time.Hour)
	r.Record("ack", -time.Second)
	r.Record("ack", time.Minute)
	m := measure.NewMerger(measure.MergerConfig{Seconds: 1})
	m.Add(0, 1, r.Cut(0, 0))
	run := finish(t, m)
	if d := run.Latency["ack"]; d.Count != 3 || d.Max != int64(measure.Longest) || d.Min != 0 || run.Totals[measure.CountClamped] != 1 || run.Totals[measure.CountEarly] != 1 {
		t.Errorf("%+v, %v", d, run.Totals)
	}
}

func TestPartsHoldOnlyWhatIsNotEmpty(t *testing.T) {
	r := measure.NewRecorder()
	r.Record("ack", time.Millisecond)
	r.Add("acked", 1)
	r.Cut(0, 0)
	b, err := json.Marshal(r.Cut(1, 7))
	if err != nil || string(b) != `{"second":1,"connected":7}` {
		t.Errorf("%s, %v", b, err)
	}
	r.Record("ack", time.Millisecond)
	if b, err = json.Marshal(r.Cut(2, 7)); err != nil || len(b) > 200 {
		t.Errorf("a part with one latency has %d bytes: %s, %v", len(b), b, err)
	}
}

func TestMergerAndMissingParts(t *testing.T) {
	part := func(at int) measure.Part {
		return measure.Part{Second: at, Connected: 1, Counts: map[string]int64{"acked": 1}}
	}
	m := measure.NewMerger(measure.MergerConfig{Seconds: 100})
	for at := range 50 {
		if _, whole := m.Add(0, 2, part(at)); whole { // the other one says nothing
			t.Fatalf("second %d is whole", at)
		}
	}
	if _, whole := m.Add(0, 2, part(49)); whole {
		t.Error("the same part twice makes a whole")
	}
	if _, whole := m.Add(1, 2, part(49)); !whole {
		t.Error("both parts make no whole")
	}
	if _, whole := m.Add(1, 2, part(49)); whole {
		t.Error("a second is whole twice")
	}
	if _, whole := m.Add(1, 2, part(0)); whole { // very late
		t.Error("a second that was closed is whole")
	}
	r := finish(t, m)
	if len(r.Intervals) != 50 || r.Totals["acked"] != 52 || r.Intervals[0].Counts["acked"] != 1 || r.Intervals[49].Connected != 2 {
		t.Errorf("%d intervals, totals %v", len(r.Intervals), r.Totals)
	}
	for i, v := range r.Intervals {
		if v.At != i {
			t.Fatalf("interval %d is of second %d", i, v.At)
		}
	}
}

func TestHistogramsFromElsewhere(t *testing.T) {
	var h measure.Histogram
	for text, want := range map[string]string{
		"":                                   "decoding",
		"x":                                  "decoding",
		strings.Repeat("A", 2<<20):           "too many",
		"HISTFAAAABx4nJNpmSzMwMDAAcQABa0BPQ": "decoding",
	} {
		if err := h.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v", text, err)
		}
	}
}

func TestRecordingAllocatesNothing(t *testing.T) {
	r := measure.NewRecorder()
	use := func() {
		r.Record("ack", 3*time.Millisecond)
		r.Record("delivery", 2*time.Hour)
		r.Add("acked", 1)
	}
	use()
	if n := testing.AllocsPerRun(1000, use); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r.Cut(0, 0)
	if n := testing.AllocsPerRun(1000, use); n != 0 {
		t.Errorf("%v allocations after a cut", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	r := measure.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		r.Record("delivery", 3*time.Millisecond)
		r.Add("delivered", 1)
	}
}

// BenchmarkCut is what a worker's loop pays each second, and BenchmarkPart what another goroutine does for it.
func BenchmarkCut(b *testing.B) {
	r := measure.NewRecorder()
	for b.Loop() {
		for _, name := range []string{"ack", "delivery", "lateness", "service"} {
			r.Record(name, 3*time.Millisecond)
		}
		r.Cut(0, 0)
	}
}

func BenchmarkPart(b *testing.B) {
	r := measure.NewRecorder()
	for i := range 10_000 {
		r.Record("ack", time.Duration(i)*10*time.Microsecond)
	}
	p := r.Cut(0, 0)
	for b.Loop() {
		if _, err := json.Marshal(p); err != nil {
			b.Fatal(err)
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	r := &measure.Run{Schema: measure.Schema, ID: "x", Started: time.Unix(1e9, 0).UTC(), Ended: time.Unix(1e9+60, 0).UTC(), Totals: map[string]int64{"acked": 5},
		Latency:   map[string]*measure.Distribution{"ack": {Count: 5, P99: 7}},
		Intervals: []measure.Interval{{At: -1, Counts: map[string]int64{"sent": 1}, Latency: map[string]map[string]int64{"ack": {"p50": 3}}}},
		Memory:    &measure.Memory{Connections: 3}, Invalid: []string{"late"}}
	dir := t.TempDir() + "/new"
	if err := measure.Write(dir, r); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, dir + "/run.json"} {
		got, err := measure.Read(path)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	if err := measure.Write(dir, r); err != nil {
		t.Errorf("over an older one: %v", err)
	}
}
