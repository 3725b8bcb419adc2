package measure

import "time"

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
