package measure

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SpreadsPerDecade is how many buckets of a Spread a tenfold latency is away.
const SpreadsPerDecade = 8

// spreadBounds are the lower bounds of the buckets, from 1 µs to beyond Longest.
var spreadBounds = func() (list []int64) {
	for i := 0; ; i++ {
		bound := int64(math.Round(float64(time.Microsecond) * math.Pow(10, float64(i)/SpreadsPerDecade)))
		if bound > int64(Longest) {
			return list
		}
		list = append(list, bound)
	}
}()

// Spread is how latencies of an interval are distributed, in buckets of an eighth of a decade: what a heat map shows. Bucket 0 begins at
// 1 µs and has what is shorter as well. As text it is the first bucket that has anything and the counts from there: "17:3,0,5".
type Spread struct {
	First  int
	Counts []int64
}

// SpreadBound is where a bucket begins, in seconds.
func SpreadBound(bucket int) float64 {
	return 1e-6 * math.Pow(10, float64(bucket)/SpreadsPerDecade)
}

// spread of what is recorded.
func (h *Histogram) spread() Spread {
	counts := make([]int64, len(spreadBounds))
	first, last := len(counts), 0
	for _, bar := range h.h.Distribution() {
		if bar.Count == 0 {
			continue
		}
		i, exact := slices.BinarySearch(spreadBounds, bar.From+(bar.To-bar.From)/2)
		if !exact {
			i = max(0, i-1)
		}
		counts[i] += bar.Count
		first, last = min(first, i), max(last, i)
	}
	if first > last {
		return Spread{}
	}
	return Spread{first, slices.Clone(counts[first : last+1])}
}

// All buckets that have anything, with their counts.
func (s Spread) All(yield func(bucket int, count int64) bool) {
	for i, n := range s.Counts {
		if n > 0 && !yield(s.First+i, n) {
			return
		}
	}
}

// MarshalText encodes the spread.
func (s Spread) MarshalText() ([]byte, error) {
	b := append(strconv.AppendInt(nil, int64(s.First), 10), ':')
	for i, n := range s.Counts {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return b, nil
}

// UnmarshalText decodes what MarshalText wrote.
func (s *Spread) UnmarshalText(text []byte) error {
	first, rest, _ := strings.Cut(string(text), ":")
	got := Spread{}
	var err error
	if got.First, err = strconv.Atoi(first); err != nil {
		return fmt.Errorf("decoding a spread: %w", err)
	}
	for rest != "" && len(got.Counts) <= len(spreadBounds) {
		var word string
		word, rest, _ = strings.Cut(rest, ",")
		n, err := strconv.ParseUint(word, 10, 62)
		if err != nil {
			return fmt.Errorf("decoding a spread: %w", err)
		}
		got.Counts = append(got.Counts, int64(n))
	}
	if got.First < 0 || got.First > len(spreadBounds)-len(got.Counts) {
		return errors.New("decoding a spread: it has buckets that there are not")
	}
	*s = got
	return nil
}
