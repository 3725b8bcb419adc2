package main

import (
	"math"
	"slices"
)

// sample holds the figures of one row, one per round.
type sample []float64

// median is the middle value, the mean of the two middle ones for an even count, NaN for none.
func (s sample) median() float64 { return s.quantile(0.5) }

// quantile interpolates linearly between the order statistics (type 7 of Hyndman and Fan). NaN for no values.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(s))
	at := q * float64(len(v)-1)
	i := int(math.Floor(at))
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

func (s sample) min() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return slices.Min(s)
}

func (s sample) max() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return slices.Max(s)
}

// ratios divides round by round: what a machine that is busy in one round does to both sides cancels out.
// Rounds that one side lacks are left out.
func ratios(s, base sample) sample {
	var out sample
	for i := range min(len(s), len(base)) {
		if base[i] > 0 {
			out = append(out, s[i]/base[i])
		}
	}
	return out
}

// latencies summarises durations in milliseconds.
type latencies struct {
	P50, P99, Max float64
}

func summarise(ms []float64) latencies {
	s := sample(ms)
	return latencies{P50: s.quantile(0.5), P99: s.quantile(0.99), Max: s.max()}
}
