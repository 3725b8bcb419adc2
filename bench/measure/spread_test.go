package measure_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/bench/measure"
)

// Every latency is in the bucket between whose bounds it lies, and a part through JSON changes nothing.
func TestSpreadsHaveWhatWasRecorded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			unit := time.Duration(rapid.SampledFrom([]int64{1, 1e3, 1e6, 1e9}).Draw(t, "unit"))
			return min(measure.Longest, unit*time.Duration(rapid.Int64Range(0, 2000).Draw(t, "latency")))
		}), 1, 9).Draw(t, "latencies")
		r := measure.NewRecorder()
		for _, d := range list {
			r.Record(measure.NameDelivery, d)
			r.Record("history", d)
		}
		m := measure.NewMerger(measure.MergerConfig{Seconds: 1})
		m.Add(0, 1, sent(t, r.Cut(0, 1)))
		i := finish(t, m).Intervals[0]
		if len(i.Spread) != 1 {
			t.Fatalf("spreads of %v", i.Spread)
		}
		text, err := i.Spread[measure.NameDelivery].MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var s measure.Spread
		if err := s.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		got, sum := map[int]int64{}, int64(0)
		for b, n := range s.All {
			got[b] = n
			sum += n
		}
		if sum != int64(len(list)) {
			t.Errorf("%s has %d of %v", text, sum, list)
		}
		for _, d := range list {
			near := false // right to 3 digits, or half a microsecond
			for b := range got {
				const slack = 600e-9
				near = near || d.Seconds() >= measure.SpreadBound(b)*0.999-slack && d.Seconds() < measure.SpreadBound(b+1)*1.001+slack || b == 0 && d < time.Microsecond
			}
			if !near {
				t.Errorf("%v is in none of %s", d, text)
			}
		}
	})
	// Round figures are where a reader expects them.
	r := measure.NewRecorder()
	r.Record(measure.NameAck, time.Millisecond)
	r.Record(measure.NameAck, time.Second)
	m := measure.NewMerger(measure.MergerConfig{Seconds: 1})
	m.Add(0, 1, r.Cut(0, 1))
	if s := finish(t, m).Intervals[0].Spread[measure.NameAck]; s.First != 24 || len(s.Counts) != 25 || s.Counts[24] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSpreadsFromElsewhere(t *testing.T) {
	for _, text := range []string{"", "x", "1:x", "-1:5", "0:-5", "62:1,2", "70:", "0:1,,2", "0:99999999999999999999"} {
		var s measure.Spread
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %+v", text, s)
		}
	}
	var s measure.Spread
	if err := s.UnmarshalText([]byte("0:")); err != nil || len(s.Counts) != 0 {
		t.Errorf("an empty one: %+v, %v", s, err)
	}
}
