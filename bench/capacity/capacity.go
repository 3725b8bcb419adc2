package capacity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// ErrConfig says that the bounds make no sense.
var ErrConfig = errors.New("capacity: 0 < low ≤ high and 0 < precision < 1 are needed")

// Config of a search.
type Config struct {
	Low  float64 // the first rate that is tried; needed
	High float64 // no higher rate is tried; 0: the search doubles until one fails, at most 40 times
	// Precision is how far apart the last rate that held and the first that did not may be, as a share of the former; default 0.05.
	Precision float64
	// Repeats is how many more times a rate that failed is tried: it fails when it failed each time. Default 1; negative: not tried again.
	Repeats int
	// Confirm is how many more times in a row the result has to hold; default 1; negative: none. If it does not, the search goes on below it.
	Confirm int
}

// Probe of a rate.
type Probe struct {
	Rate   float64
	OK     bool
	Detail string // what the probe said
	// Confirms: the rate had held before.
	Confirms bool
}

// Result of a search.
type Result struct {
	Rate   float64 // the highest that held, and was confirmed; 0: not even Low did
	Failed float64 // the lowest above Rate that did not hold; 0: none did, High was reached
	Probes []Probe // all, in order
}

// maxDoublings bounds a search without High.
const maxDoublings = 40

// Search finds the highest rate for which probe says ok. An error of probe ends the search, with the probes so far; so does ctx.
func Search(ctx context.Context, cfg Config, probe func(ctx context.Context, rate float64) (ok bool, detail string, err error)) (Result, error) {
	s := search{ctx: ctx, probe: probe}
	cfg.Precision = cmp.Or(cfg.Precision, 0.05)
	s.repeats, s.confirm = max(0, cmp.Or(cfg.Repeats, 1)), max(0, cmp.Or(cfg.Confirm, 1))
	limit := cfg.High
	if limit == 0 {
		limit = cfg.Low * math.Pow(2, maxDoublings)
	}
	if ok := cfg.Low > 0 && cfg.Low <= limit && !math.IsInf(limit, 0) && cfg.Precision > 0 && cfg.Precision < 1; !ok {
		return Result{}, ErrConfig
	}
	// What is known: held rates up to low, failed ones from failed on; 0: none.
	low, failed := 0.0, 0.0
	for rate := cfg.Low; failed == 0 && low < limit; rate = min(2*rate, limit) {
		ok, err := s.holds(rate)
		if err != nil {
			return s.result, err
		}
		if !ok {
			failed = rate
			break
		}
		low = rate
	}
	for {
		for low > 0 && failed > 0 && failed-low > cfg.Precision*low {
			rate := low + (failed-low)/2
			ok, err := s.holds(rate)
			if err != nil {
				return s.result, err
			}
			if ok {
				low = rate
			} else {
				failed = rate
			}
		}
		if low == 0 {
			s.result.Failed = failed
			return s.result, nil
		}
		ok, err := s.confirmed(low)
		if err != nil {
			return s.result, err
		}
		if ok {
			s.result.Rate, s.result.Failed = low, failed
			return s.result, nil
		}
		// It held by chance. What held below it is the next guess. This ends: a rate is asked for confirmation once, and new rates
		// lie half the precision of Low apart at least.
		failed = low
		low = s.below(failed)
	}
}

// search is the state of one.
type search struct {
	ctx              context.Context
	probe            func(ctx context.Context, rate float64) (bool, string, error)
	repeats, confirm int
	result           Result
}

func (s *search) try(rate float64, confirms bool) (bool, error) {
	if err := s.ctx.Err(); err != nil {
		return false, fmt.Errorf("capacity: before the rate %g: %w", rate, err)
	}
	ok, detail, err := s.probe(s.ctx, rate)
	if err != nil {
		return false, fmt.Errorf("capacity: probing the rate %g: %w", rate, err)
	}
	s.result.Probes = append(s.result.Probes, Probe{Rate: rate, OK: ok, Detail: detail, Confirms: confirms})
	return ok, nil
}

// holds reports whether the rate holds in one of its tries.
func (s *search) holds(rate float64) (bool, error) {
	for range s.repeats + 1 {
		if ok, err := s.try(rate, false); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// confirmed reports whether the rate holds in every one of its confirmations, one failure forgiven for each repeat.
func (s *search) confirmed(rate float64) (bool, error) {
	misses := 0
	for held := 0; held < s.confirm; {
		ok, err := s.try(rate, true)
		if err != nil {
			return false, err
		}
		if ok {
			held++
		} else if misses++; misses > s.repeats {
			return false, nil
		}
	}
	return true, nil
}

// below is the highest rate under failed that held, 0 if there is none.
func (s *search) below(failed float64) float64 {
	best := 0.0
	for _, p := range s.result.Probes {
		if p.OK && p.Rate < failed {
			best = max(best, p.Rate)
		}
	}
	return best
}

// Text writes the probes in order and the result, for a terminal. What probes said is expected to be printable.
func (r Result) Text(w io.Writer) error {
	var b strings.Builder
	for _, p := range r.Probes {
		mark, note := "✗", ""
		if p.OK {
			mark = "✓"
		}
		if p.Confirms {
			note = " (once more)"
		}
		fmt.Fprintf(&b, "%s %10.1f/s%s  %s\n", mark, p.Rate, note, p.Detail)
	}
	switch {
	case r.Rate > 0 && r.Failed > 0:
		fmt.Fprintf(&b, "%.1f/s holds, %.1f/s does not\n", r.Rate, r.Failed)
	case r.Rate > 0:
		fmt.Fprintf(&b, "%.1f/s holds, the highest that was to be tried\n", r.Rate)
	case r.Failed > 0:
		fmt.Fprintf(&b, "not even %.1f/s holds\n", r.Failed)
	default:
		b.WriteString("the search did not end\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
