package measure_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/zumodra/hub/bench/measure"
)

// What the library's reader finds in a log, tag by tag, is what the run has.
func TestHistogramLog(t *testing.T) {
	zero := time.Unix(1_800_000_000, 0)
	var text bytes.Buffer
	m := measure.NewMerger(measure.MergerConfig{Warmup: 1, Seconds: 3})
	m.Log(measure.NewLog(&text, zero))
	r := measure.NewRecorder()
	for at := -1; at < 4; at++ { // the last one is the slow rest
		for i := range 50 {
			r.Record(measure.NameAck, time.Duration(1+at+i)*time.Millisecond)
		}
		if at%2 == 0 {
			r.Record("history", 7*time.Second)
		}
		m.Add(0, 1, r.Cut(at, 1))
	}
	run := finish(t, m)
	if !strings.HasPrefix(text.String(), "#[") || !strings.Contains(text.String(), "#[StartTime: 1800000000 (seconds since epoch), 2027-01-15T08:00:00Z]\n") ||
		!strings.Contains(text.String(), "\nTag=ack,1800000002.000000,1.000000,") {
		t.Errorf("%s", text.String())
	}
	read := hdrhistogram.NewHistogramLogReader(&text)
	counts, intervals := map[string]int64{}, map[string]int{}
	for {
		h, err := read.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		intervals[h.Tag()]++
		if h.StartTimeMs() >= zero.UnixMilli() {
			counts[h.Tag()] += h.TotalCount()
		}
	}
	if len(intervals) != 2 || intervals["ack"] != 5 || intervals["history"] != 2 || counts["ack"] != run.Latency["ack"].Count || counts["history"] != run.Latency["history"].Count {
		t.Errorf("%v intervals with %v, want %d and %d", intervals, counts, run.Latency["ack"].Count, run.Latency["history"].Count)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestAHistogramLogThatCannotBeWrittenIsAnError(t *testing.T) {
	m := measure.NewMerger(measure.MergerConfig{Seconds: 1})
	m.Log(measure.NewLog(full{}, time.Unix(0, 0)))
	if err := m.Finish(&measure.Run{}); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}
