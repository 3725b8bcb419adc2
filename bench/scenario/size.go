package scenario

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Draw a number. It allocates nothing.
func (s Size) Draw(rng *rand.Rand) int {
	switch {
	case s.Zipf > 0:
		return newZipf(s.Zipf, s.Min, s.Max).draw(rng)
	case s.Lognormal > 0:
		return s.clamp(float64(s.Median) * math.Exp(s.Lognormal*rng.NormFloat64()))
	case s.Max > 0:
		return s.Min + rng.IntN(s.Max-s.Min+1)
	}
	return s.Fixed
}

func (s Size) clamp(v float64) int {
	if s.Max > 0 {
		v = min(v, float64(s.Max))
	}
	return int(max(math.Round(v), float64(s.Min)))
}

// Mean of the drawn numbers.
func (s Size) Mean() float64 {
	switch {
	case s.Zipf > 0:
		var sum, weights float64
		for k := s.Min; k <= s.Max; k++ {
			w := math.Pow(float64(k), -s.Zipf)
			sum += w * float64(k)
			weights += w
		}
		return sum / weights
	case s.Lognormal > 0:
		const points = 10_000 // of the distribution, at even distances in probability
		var sum float64
		for i := range points {
			normal := math.Sqrt2 * math.Erfinv(2*(float64(i)+0.5)/points-1)
			sum += float64(s.clamp(float64(s.Median) * math.Exp(s.Lognormal*normal)))
		}
		return sum / points
	case s.Max > 0:
		return float64(s.Min+s.Max) / 2
	}
	return float64(s.Fixed)
}

// Most that is drawn; 0: there is no bound.
func (s Size) Most() int {
	if s.Fixed > 0 {
		return s.Fixed
	}
	return s.Max
}

// check the fields; least is what a number must be at least and most at most.
func (s Size) check(least, most int) error {
	forms := "a number, {zipf, min, max}, {lognormal, median, min, max} or {min, max}"
	switch {
	case s.Fixed != 0 && s != (Size{Fixed: s.Fixed}),
		s.Zipf != 0 && s != (Size{Zipf: s.Zipf, Min: s.Min, Max: s.Max}),
		s.Median != 0 && s.Lognormal == 0:
		return fmt.Errorf("fields that do not belong together: want %s", forms)
	case s.Fixed != 0:
		if s.Fixed < least || s.Fixed > most {
			return fmt.Errorf("is %d: want %d to %d", s.Fixed, least, most)
		}
		return nil
	case s.Min < least || s.Max < s.Min || s.Max > most:
		return fmt.Errorf("min is %d and max is %d: want %d <= min <= max <= %d", s.Min, s.Max, least, most)
	case !(s.Zipf >= 0 && s.Zipf <= 10):
		return fmt.Errorf("zipf is %v: want an exponent above 0 and up to 10", s.Zipf)
	case !(s.Lognormal >= 0 && s.Lognormal <= 5):
		return fmt.Errorf("lognormal is %v: want a sigma above 0 and up to 5", s.Lognormal)
	case s.Lognormal > 0 && (s.Median < s.Min || s.Median > s.Max):
		return fmt.Errorf("median is %d: want it between min and max", s.Median)
	}
	return nil
}

// zipf draws k from min to max with a probability in proportion to 1/k^exponent, exactly and in constant memory: the
// rejection-inversion of W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions"
// (1996). math/rand has it for exponents above 1 alone.
type zipf struct {
	exponent   float64
	min, max   int
	first, end float64 // of the integral of the hat
}

func newZipf(exponent float64, min, max int) zipf {
	z := zipf{exponent: exponent, min: min, max: max}
	z.first = z.integral(float64(min)+0.5) - z.density(float64(min))
	z.end = z.integral(float64(max) + 0.5)
	return z
}

func (z zipf) density(x float64) float64 { return math.Exp(-z.exponent * math.Log(x)) }

// integral of the density from 1 to x: (x^(1-s) - 1)/(1-s), and log x for s = 1.
func (z zipf) integral(x float64) float64 {
	log := math.Log(x)
	return ratio(math.Expm1, (1-z.exponent)*log) * log
}

func (z zipf) inverse(y float64) float64 {
	return math.Exp(ratio(math.Log1p, max(-1, y*(1-z.exponent))) * y)
}

// ratio is f(x)/x for a function like x near 0.
func ratio(f func(float64) float64, x float64) float64 {
	if math.Abs(x) < 1e-8 {
		return 1
	}
	return f(x) / x
}

func (z zipf) draw(rng *rand.Rand) int {
	for {
		u := z.end + rng.Float64()*(z.first-z.end)
		k := min(max(int(z.inverse(u)+0.5), z.min), z.max)
		if u >= z.integral(float64(k)+0.5)-z.density(float64(k)) {
			return k
		}
	}
}

// Picker picks one of a row of things, evenly or by Zipf: the first most often. It may be used concurrently, each caller with
// its own source of chance.
type Picker struct {
	n    int
	skew bool
	zipf zipf
}

// NewPicker picks from n things, at least 1; skew is the exponent, 0: evenly.
func NewPicker(n int, skew float64) *Picker {
	p := &Picker{n: n, skew: skew > 0}
	if p.skew {
		p.zipf = newZipf(skew, 1, n)
	}
	return p
}

// Pick a number from 0 to n-1. It allocates nothing.
func (p *Picker) Pick(rng *rand.Rand) int {
	if p.skew {
		return p.zipf.draw(rng) - 1
	}
	return rng.IntN(p.n)
}
