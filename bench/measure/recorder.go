package measure

import (
	"maps"
	"slices"
	"time"
)

// Part is what one worker measured in one second, as it is sent to the controller. It holds only what is not empty.
type Part struct {
	Second    int                   `json:"second"` // since the start of the measured part; negative: warm-up
	Connected int64                 `json:"connected"`
	Counts    map[string]int64      `json:"counts,omitempty"`
	Latency   map[string]*Histogram `json:"latency,omitempty"`
}

// Recorder takes the figures of one worker. Begin, Record, Add and Cut are for one goroutine, its loop; the parts that it gives may be
// encoded by any other. Each name costs 140 KB while it is recorded, and twice that until its part is encoded.
type Recorder struct {
	counts  map[string]*int64
	latency map[string]*Histogram
}

// NewRecorder is an empty one.
func NewRecorder() *Recorder {
	return &Recorder{counts: map[string]*int64{}, latency: map[string]*Histogram{}}
}

// Begin forgets what was recorded: the next part begins here.
func (r *Recorder) Begin() {
	for _, n := range r.counts {
		*n = 0
	}
	for _, h := range r.latency {
		h.h.Reset()
	}
}

// Record a latency. It belongs to the second in which it ends: nobody knows it before. One above Longest is recorded as that, one below
// 0 as 0, and both are counted. It allocates nothing but at the first use of a name.
func (r *Recorder) Record(name string, d time.Duration) {
	switch {
	case d > Longest:
		d = Longest
		r.Add(CountClamped, 1)
	case d < 0:
		d = 0
		r.Add(CountEarly, 1)
	}
	h := r.latency[name]
	if h == nil {
		h = NewHistogram()
		r.latency[name] = h
	}
	h.record(d)
}

// Add to a counter. It allocates nothing but at the first use of a name.
func (r *Recorder) Add(name string, n int64) {
	c := r.counts[name]
	if c == nil {
		c = new(int64)
		r.counts[name] = c
	}
	*c += n
}

// Cut ends a second, with so many connections at its end, and gives what was recorded in it.
func (r *Recorder) Cut(second int, connected int64) Part {
	p := Part{Second: second, Connected: connected, Counts: map[string]int64{}, Latency: map[string]*Histogram{}}
	for name, n := range r.counts {
		if *n != 0 {
			p.Counts[name] = *n
			*n = 0
		}
	}
	for name, h := range r.latency {
		if h.Count() > 0 {
			p.Latency[name] = h
			r.latency[name] = NewHistogram()
		}
	}
	return p
}

// maxOpen seconds wait for the parts of slow workers before they are closed without them.
const maxOpen = 16

// Merger makes one run's figures of the parts of all workers. It is not for concurrent use.
//
// What counts is what happened in the measured part: counters of its seconds. Latencies also of the seconds after its end: nothing
// is due then any more, so that these are the slow rest of what was due before, and to leave them out would flatter the target.
type Merger struct {
	seconds int
	open    map[int]*second
	closed  map[int]bool // true: with the parts of all
	all     []Interval
	latency map[string]*Histogram
	totals  map[string]int64
}

// second of which parts are awaited.
type second struct {
	Interval
	latency map[string]*Histogram
	from    map[int]bool
}

// NewMerger for a run in which so many seconds are measured.
func NewMerger(seconds int) *Merger {
	return &Merger{seconds: seconds, open: map[int]*second{}, closed: map[int]bool{}, latency: map[string]*Histogram{}, totals: map[string]int64{}}
}

// Add the part of worker number part of parts. When that was the last one of its second, the second is returned, and whole is
// true. A part that is there already is left out. A second of which parts are missing is closed when 16 others are open; parts that
// come later count in the totals alone.
func (m *Merger) Add(part, parts int, p Part) (i Interval, whole bool) {
	s := m.open[p.Second]
	complete, closed := m.closed[p.Second]
	if complete || s != nil && s.from[part] {
		return Interval{}, false
	}
	if s == nil {
		s = &second{Interval: Interval{At: p.Second, Counts: map[string]int64{}}, latency: map[string]*Histogram{}, from: map[int]bool{}}
		if !closed {
			m.open[p.Second] = s
		}
	}
	s.from[part] = true
	s.Connected += p.Connected
	for name, n := range p.Counts {
		s.Counts[name] += n
		if p.Second >= 0 && p.Second < m.seconds {
			m.totals[name] += n
		}
	}
	for name, h := range p.Latency {
		merge(s.latency, name, h)
		if p.Second >= 0 {
			merge(m.latency, name, h)
		}
	}
	if len(s.from) >= parts && !closed {
		return m.close(p.Second, true), true
	}
	if len(m.open) > maxOpen {
		m.close(slices.Min(slices.Collect(maps.Keys(m.open))), false)
	}
	return Interval{}, false
}

func merge(into map[string]*Histogram, name string, h *Histogram) {
	if into[name] == nil {
		into[name] = NewHistogram()
	}
	into[name].Merge(h)
}

// close a second: its histograms become a few figures.
func (m *Merger) close(at int, complete bool) Interval {
	s := m.open[at]
	delete(m.open, at)
	m.closed[at] = complete
	s.Latency = map[string]map[string]int64{}
	for name, h := range s.latency {
		s.Latency[name] = h.summary()
	}
	if at < m.seconds {
		m.all = append(m.all, s.Interval)
	}
	return s.Interval
}

// Finish fills in Intervals, those of the warm-up and of the measured part, Latency and Totals.
func (m *Merger) Finish(r *Run) error {
	for _, at := range slices.Collect(maps.Keys(m.open)) {
		m.close(at, false)
	}
	r.Intervals = slices.SortedFunc(slices.Values(m.all), func(a, b Interval) int { return a.At - b.At })
	r.Totals = maps.Clone(m.totals)
	r.Latency = make(map[string]*Distribution, len(m.latency))
	for name, h := range m.latency {
		d, err := h.Distribution()
		if err != nil {
			return err
		}
		r.Latency[name] = d
	}
	return nil
}
