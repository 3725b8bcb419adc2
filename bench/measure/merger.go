package measure

import (
	"maps"
	"slices"
)

const (
	// maxOpen is for how many seconds the parts of slow workers are waited for before theirs is closed without them.
	maxOpen = 16
	// maxIntervals is about how many a run has: a longer one has wider ones.
	maxIntervals = 2048
)

// widths of intervals, such that minutes and hours begin with one.
var widths = []int{1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600}

// Width of the intervals, in seconds, of a run of so many: there are at most 2,048, and the warm-up has up to one more for its part.
// It is known before the run, so that nothing is ever put together that was only kept as quantiles.
func Width(seconds int) int {
	for _, w := range widths {
		if seconds <= w*maxIntervals {
			return w
		}
	}
	return (seconds + maxIntervals - 1) / maxIntervals
}

// MergerConfig says for what run a Merger is, and who is told of what the run's JSON has no room for.
type MergerConfig struct {
	Warmup, Seconds int // of the load: not measured, measured
	// Second is told every second of the load in order, also one of which parts are missing. May be nil.
	Second func(Interval)
}

// Merger makes one run's figures of the parts of all workers. It is not for concurrent use.
//
// What counts is what happened in the measured part: counters of its seconds. Latencies also of the seconds after its end: nothing
// is due then any more, so that these are the slow rest of what was due before, and to leave them out would flatter the target.
//
// What it keeps does not grow with the run: some 2,048 intervals, and the histograms of the seconds that wait and of the whole.
type Merger struct {
	cfg     MergerConfig
	width   int
	newest  int               // second of which anything was told
	next    int               // the first second that is not final
	open    map[int]*second   // that wait for parts
	done    map[int]*Interval // that have all parts, but wait for one that is before them
	whole   map[int]bool      // those with the parts of all, of the last 16 seconds
	wide    map[int]*second   // intervals of which more seconds may come, by their first
	all     []Interval
	latency map[string]*Histogram
	totals  map[string]int64
	log     *Log // of histograms; nil: none
}

// second, or interval, of which parts are awaited.
type second struct {
	Interval
	latency map[string]*Histogram
	from    map[int]bool
}

func newSecond(at int) *second {
	return &second{Interval: Interval{At: at, Counts: map[string]int64{}}, latency: map[string]*Histogram{}, from: map[int]bool{}}
}

// NewMerger for a run.
func NewMerger(cfg MergerConfig) *Merger {
	return &Merger{cfg: cfg, width: Width(cfg.Warmup + cfg.Seconds), newest: -cfg.Warmup - 1, next: -cfg.Warmup, open: map[int]*second{}, done: map[int]*Interval{},
		whole: map[int]bool{}, wide: map[int]*second{}, latency: map[string]*Histogram{}, totals: map[string]int64{}}
}

// Log has the histograms of intervals written, also of those after the end. Finish flushes it.
func (m *Merger) Log(l *Log) { m.log = l }

// Add the part of worker number part of parts. When that was the last one of its second, the second is returned, and whole is
// true. A part that is there already is left out. A second of which parts are missing is closed when one is told of that is 16 later;
// parts that come later still count in the totals alone.
func (m *Merger) Add(part, parts int, p Part) (i Interval, whole bool) {
	s := m.open[p.Second]
	if m.whole[p.Second] || s != nil && s.from[part] {
		return Interval{}, false
	}
	m.count(p)
	if p.Second < m.next {
		return Interval{}, false
	}
	if s == nil {
		s = newSecond(p.Second)
		m.open[p.Second] = s
	}
	s.from[part] = true
	s.Connected += p.Connected
	s.add(p.Counts, p.Latency)
	if len(s.from) >= parts {
		i, whole = m.close(s), true
		m.whole[p.Second] = true
	}
	m.newest = max(m.newest, p.Second)
	m.advance()
	return i, whole
}

// count a part in what the whole run has.
func (m *Merger) count(p Part) {
	if p.Second < 0 {
		return
	}
	for name, h := range p.Latency {
		merge(m.latency, name, h)
	}
	if p.Second < m.cfg.Seconds {
		for name, n := range p.Counts {
			m.totals[name] += n
		}
	}
}

func (s *second) add(counts map[string]int64, latency map[string]*Histogram) {
	for name, n := range counts {
		s.Counts[name] += n
	}
	for name, h := range latency {
		merge(s.latency, name, h)
	}
}

func merge(into map[string]*Histogram, name string, h *Histogram) {
	if into[name] == nil {
		into[name] = NewHistogram()
	}
	into[name].Merge(h)
}

// close a second: its histograms become a few figures, and part of its interval.
func (m *Merger) close(s *second) Interval {
	delete(m.open, s.At)
	s.summarize()
	m.done[s.At] = &s.Interval
	if m.width == 1 {
		m.wide[s.At] = s
		return s.Interval
	}
	at := m.first(s.At)
	w := m.wide[at]
	if w == nil {
		w = newSecond(at)
		w.Connected = s.Connected
		m.wide[at] = w
	}
	w.Told++
	w.Connected = min(w.Connected, s.Connected)
	w.add(s.Counts, s.latency)
	return s.Interval
}

// first second of the interval that has a second. The measured part begins and ends with one.
func (m *Merger) first(at int) int {
	zero := 0
	if at >= m.cfg.Seconds {
		zero = m.cfg.Seconds
	}
	n := (at - zero) / m.width
	if at < zero && (at-zero)%m.width != 0 {
		n--
	}
	return zero + n*m.width
}

func (s *second) summarize() {
	s.Latency = make(map[string]map[string]int64, len(s.latency))
	for name, h := range s.latency {
		s.Latency[name] = h.summary()
	}
}

// advance to the first second that may still change: those before it are final.
func (m *Merger) advance() {
	for ; m.done[m.next] != nil || m.next <= m.newest-maxOpen; m.next++ {
		if s := m.open[m.next]; s != nil {
			m.close(s)
		}
		if i := m.done[m.next]; i != nil && m.cfg.Second != nil && m.next < m.cfg.Seconds {
			m.cfg.Second(*i)
		}
		delete(m.done, m.next)
	}
	maps.DeleteFunc(m.whole, func(at int, _ bool) bool { return at <= m.newest-maxOpen })
	for _, at := range slices.Sorted(maps.Keys(m.wide)) {
		if m.first(m.next) > at {
			m.keep(m.wide[at])
			delete(m.wide, at)
		}
	}
}

// keep an interval that is final.
func (m *Merger) keep(w *second) {
	if w.Latency == nil {
		w.summarize()
	}
	if m.log != nil {
		m.log.interval(w.At, m.width, w.latency)
	}
	for _, name := range []string{NameAck, NameDelivery} { // not of all: run.json would be half as large again
		if h := w.latency[name]; h != nil {
			if w.Spread == nil {
				w.Spread = map[string]Spread{}
			}
			w.Spread[name] = h.spread()
		}
	}
	if w.At < m.cfg.Seconds {
		m.all = append(m.all, w.Interval)
	}
}

// Finish fills in Width and Intervals, those of the warm-up and of the measured part, Latency and Totals.
func (m *Merger) Finish(r *Run) error {
	m.newest += maxOpen + m.width // nothing comes any more
	m.advance()
	if m.log != nil {
		if err := m.log.Flush(); err != nil {
			return err
		}
	}
	if m.width > 1 {
		r.Width = m.width
	}
	r.Intervals = m.all
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
