package measure

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// LogFile is the name of a run's histograms in its directory.
const LogFile = "latency.hlog"

// Log writes the histograms of a run in the log format of HdrHistogram, which its tools read: a line for each latency, by its name as
// tag, and interval. Times are absolute, and the log starts with the measured part, so that readers leave out the warm-up. It is not for
// concurrent use.
type Log struct {
	w    *bufio.Writer
	log  *hdrhistogram.HistogramLogWriter
	zero time.Time
	err  error // the first
}

// NewLog of a run whose measured part starts at zero.
func NewLog(w io.Writer, zero time.Time) *Log {
	l := &Log{w: bufio.NewWriter(w), zero: zero}
	l.log = hdrhistogram.NewHistogramLogWriter(l.w)
	for _, f := range []func() error{
		func() error {
			return l.log.OutputComment("[Latencies from the intended times, in nanoseconds; maxima in milliseconds]")
		},
		l.log.OutputLogFormatVersion,
		func() error { return l.log.OutputStartTime(zero.UnixMilli()) },
		l.log.OutputLegend,
	} {
		l.keep(f())
	}
	return l
}

func (l *Log) keep(err error) {
	if l.err == nil && err != nil {
		l.err = fmt.Errorf("writing histograms: %w", err)
	}
}

// interval of so many seconds from one on.
func (l *Log) interval(at, seconds int, latency map[string]*Histogram) {
	start := l.zero.Add(time.Duration(at) * time.Second)
	for _, name := range slices.Sorted(maps.Keys(latency)) {
		h := latency[name].h
		h.SetTag(name)
		h.SetStartTimeMs(start.UnixMilli())
		h.SetEndTimeMs(start.Add(time.Duration(seconds) * time.Second).UnixMilli())
		l.keep(l.log.OutputIntervalHistogram(h))
	}
}

// Flush writes what is left, and says what went wrong.
func (l *Log) Flush() error {
	l.keep(l.w.Flush())
	return l.err
}
