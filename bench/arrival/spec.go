package arrival

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxRate of arrivals a second: more than one generator can make. It bounds what a slip of the pen can do.
const MaxRate = 10e6

// UnmarshalText reads the short form: a rate of Poisson arrivals, as `200/s`.
func (s *Spec) UnmarshalText(text []byte) error {
	number, unit, found := strings.Cut(string(text), "/")
	rate, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}[strings.TrimSpace(unit)]
	if err != nil || !found || seconds == 0 {
		return fmt.Errorf("%q is no rate: want a number and a unit, as 200/s, 12/m or 30/h", text)
	}
	*s = Spec{Rate: rate / seconds}
	return nil
}

// MarshalYAML writes the short form of what can be said in it.
func (s Spec) MarshalYAML() (any, error) {
	if s == (Spec{Rate: s.Rate}) || s == (Spec{Kind: Poisson, Rate: s.Rate}) {
		return strconv.FormatFloat(s.Rate, 'g', -1, 64) + "/s", nil
	}
	type plain Spec
	return plain(s), nil
}

// kind with its default.
func (s Spec) kind() Kind {
	if s.Kind == "" {
		return Poisson
	}
	return s.Kind
}

// fields that a kind reads, besides kind.
func fields(k Kind) []string {
	switch k {
	case Constant, Poisson:
		return []string{"rate"}
	case Ramp:
		return []string{"rate", "to", "random"}
	case Step:
		return []string{"rate", "to", "steps", "random"}
	case Sine:
		return []string{"rate", "to", "period", "peaks", "random"}
	case Spike:
		return []string{"rate", "to", "at", "width", "random"}
	case Once:
		return []string{"at"}
	case Replay:
		return []string{"file"}
	}
	return nil
}

// Validate says what is wrong with the spec, all at once, and what is allowed.
func (s Spec) Validate() error {
	k := s.kind()
	known := fields(k)
	if known == nil {
		return fmt.Errorf("kind %q is unknown: want one of %v", k, Kinds())
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(string(k)+": "+format, args...)) }
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"rate", s.Rate != 0}, {"to", s.To != 0}, {"steps", s.Steps != 0}, {"period", s.Period != 0}, {"at", s.At != 0},
		{"width", s.Width != 0}, {"peaks", s.Peaks != 0}, {"file", s.File != ""}, {"random", s.Random},
	} {
		if f.set && !slices.Contains(known, f.name) {
			fail("%s has no meaning: it has %s", f.name, strings.Join(known, ", "))
		}
	}
	rate := func(name string, v float64) {
		if !(v >= 0 && v <= MaxRate) { // NaN too
			fail("%s is %v a second: want 0 to %v", name, v, float64(MaxRate))
		}
	}
	rate("rate", s.Rate)
	rate("to", s.To)
	if slices.Contains(known, "rate") && s.Rate == 0 && s.To == 0 {
		fail("no rate: want more than 0 a second")
	}
	switch k {
	case Step:
		if s.Steps < 2 || s.Steps > 10_000 {
			fail("steps is %d: want 2 to 10000", s.Steps)
		}
	case Sine:
		if (s.Period > 0) == (s.Peaks > 0) || s.Period < 0 || s.Peaks < 0 {
			fail("want either a period or peaks")
		}
	case Spike:
		if s.Width <= 0 {
			fail("width is %v: want more than 0", s.Width)
		}
	case Replay:
		if s.File == "" {
			fail("no file")
		}
	}
	if s.At < 0 {
		fail("at is %v: want 0 or later", s.At)
	}
	return errors.Join(errs...)
}

// Expected arrivals between two times of a load of that length, and the highest rate a second therein. Replay's are not known
// before the file is read, and are 0.
func (s Spec) Expected(length, from, to time.Duration) (count, peak float64) {
	from, to = max(0, from), min(to, length)
	switch k := s.kind(); {
	case k == Once && s.At >= from && s.At < to:
		return 1, 1
	case k == Once || k == Replay || from >= to:
		return 0, 0
	}
	p := s.profile(length.Seconds())
	count = p.upTo(to.Seconds()) - p.upTo(from.Seconds())
	return count, p.peak(from.Seconds(), to.Seconds())
}

// profile of the rate over a load of so many seconds.
func (s Spec) profile(length float64) profile {
	switch s.kind() {
	case Sine:
		period := s.Period.Seconds()
		if s.Peaks > 0 {
			period = length / float64(s.Peaks)
		}
		return &wave{low: s.Rate, high: s.To, period: period, length: length}
	case Ramp:
		return pieces([]piece{{length: length, from: s.Rate, to: s.To}})
	case Step:
		all := make([]piece, s.Steps)
		for i := range all {
			r := s.Rate + (s.To-s.Rate)*float64(i)/float64(s.Steps-1)
			all[i] = piece{length: length / float64(s.Steps), from: r, to: r}
		}
		return pieces(all)
	case Spike:
		at := min(s.At.Seconds(), length)
		end := min(at+s.Width.Seconds(), length)
		return pieces([]piece{
			{length: at, from: s.Rate, to: s.Rate},
			{length: end - at, from: s.To, to: s.To},
			{length: length - end, from: s.Rate, to: s.Rate},
		})
	default:
		return pieces([]piece{{length: length, from: s.Rate, to: s.Rate}})
	}
}

// profile is a rate over time as its integral: how many arrivals are due up to a time.
type profile interface {
	// upTo the time t in seconds.
	upTo(t float64) float64
	// when the count reaches n, for n that do not fall from call to call; beyond the end of the load if it does not.
	when(n float64) float64
	// peak is the highest rate between two times.
	peak(from, to float64) float64
}

// piece of a profile: the rate goes from one value to another in a straight line.
type piece struct {
	start, length float64
	from, to      float64
	before        float64 // arrivals up to start
}

// rate at t seconds after the start of the piece.
func (p *piece) rate(t float64) float64 {
	return p.from + (p.to-p.from)*t/p.length
}

// count of arrivals up to t seconds after the start of the piece.
func (p *piece) count(t float64) float64 {
	return (p.from + p.rate(t)) / 2 * t
}

type linear struct {
	pieces []piece
	now    int // that when looked at last
}

func pieces(all []piece) *linear {
	l := &linear{}
	var start, before float64
	for _, p := range all {
		if p.length <= 0 {
			continue
		}
		p.start, p.before = start, before
		start += p.length
		before += p.count(p.length)
		l.pieces = append(l.pieces, p)
	}
	return l
}

func (l *linear) upTo(t float64) float64 {
	var n float64
	for i := range l.pieces {
		if p := &l.pieces[i]; t > p.start {
			n = p.before + p.count(min(t-p.start, p.length))
		}
	}
	return n
}

func (l *linear) when(n float64) float64 {
	for ; l.now < len(l.pieces); l.now++ {
		p := &l.pieces[l.now]
		due := n - p.before
		if due > p.count(p.length) {
			continue
		}
		// The smaller root of from·t + slope·t²/2 = due, in the form that loses no digits when the slope is small.
		slope := (p.to - p.from) / p.length
		root := math.Sqrt(max(0, p.from*p.from+2*slope*due))
		if p.from+root == 0 {
			continue // nothing comes in this piece
		}
		return p.start + min(2*due/(p.from+root), p.length)
	}
	return math.Inf(1)
}

func (l *linear) peak(from, to float64) float64 {
	var most float64
	for i := range l.pieces {
		p := &l.pieces[i]
		a, b := max(from, p.start), min(to, p.start+p.length)
		if a < b {
			most = max(most, p.rate(a-p.start), p.rate(b-p.start))
		}
	}
	return most
}

// wave between two rates, that begins at the low one.
type wave struct {
	low, high, period, length float64
	last                      float64 // that when returned
}

func (w *wave) rate(t float64) float64 {
	return w.low + (w.high-w.low)*(1-math.Cos(2*math.Pi*t/w.period))/2
}

func (w *wave) upTo(t float64) float64 {
	return w.low*t + (w.high-w.low)/2*(t-w.period/(2*math.Pi)*math.Sin(2*math.Pi*t/w.period))
}

// when is Newton's method between bounds that are halved where it leaves them: the rate may be 0 at a trough.
func (w *wave) when(n float64) float64 {
	lo, hi := w.last, w.length
	if w.upTo(hi) < n {
		return math.Inf(1)
	}
	t := lo
	for range 100 {
		miss := w.upTo(t) - n
		if miss < 0 {
			lo = t
		} else {
			hi = t
		}
		next := t - miss/w.rate(t)
		if !(next > lo && next < hi) {
			next = lo + (hi-lo)/2
		}
		if math.Abs(next-t) < 1e-10 {
			t = next
			break
		}
		t = next
	}
	w.last = t
	return t
}

func (w *wave) peak(from, to float64) float64 {
	// The extrema lie at multiples of half a period.
	most := max(w.rate(from), w.rate(to))
	for half := math.Ceil(from / (w.period / 2)); half*w.period/2 <= to && half <= math.Ceil(from/(w.period/2))+1; half++ {
		most = max(most, w.rate(half*w.period/2))
	}
	return most
}
