package compare

import (
	"math"
	"slices"
)

// UTest is the two-sided test of Mann and Whitney: the probability that two samples of one distribution differ in rank by at least
// as much as a and b do. 1 when a side is empty or all values are equal. It is exact, ties included, up to 60 values together, and beyond
// that the normal approximation with the corrections for ties and continuity, which then differs by less than 0.01.
//
// golang.org/x/perf/benchmath has the same, but brings gonum, gRPC and a cloud SDK of years ago into the module graph.
//
// Source: H. B. Mann, D. R. Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other", 1947.
func UTest(a, b []float64) float64 {
	n, m := len(a), len(b)
	if n == 0 || m == 0 {
		return 1
	}
	ranks := doubledRanks(a, b)
	sum := 0
	for _, r := range ranks[:n] {
		sum += r
	}
	// Twice the rank sum of a, and twice its mean when the sides are alike.
	mean := n * (n + m + 1)
	off := max(sum-mean, mean-sum)
	if off == 0 {
		return 1
	}
	if n+m <= 60 {
		return exact(ranks, n, mean, off)
	}
	ties := 0.0
	for _, t := range groups(ranks) {
		ties += float64(t*t*t - t)
	}
	all := float64(n + m)
	variance := float64(n*m) / 12 * (all + 1 - ties/(all*(all-1)))
	z := (float64(off)/2 - 0.5) / math.Sqrt(variance)
	return min(1, math.Erfc(z/math.Sqrt2))
}

// exact counts, of all ways to choose n of the ranks, those whose sum is at least off away from mean.
func exact(ranks []int, n, mean, off int) float64 {
	total := 0
	for _, r := range ranks {
		total += r
	}
	// ways[k][s]: to choose k of the ranks so far with the sum s. As float64: C(60, 30) has 57 bits, and a rounding in the last
	// digits is nothing to a probability.
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, total+1)
	}
	ways[0][0] = 1
	for i, r := range ranks {
		for k := min(i+1, n); k > 0; k-- {
			for s := total; s >= r; s-- {
				ways[k][s] += ways[k-1][s-r]
			}
		}
	}
	var far, all float64
	for s, w := range ways[n] {
		all += w
		if max(s-mean, mean-s) >= off {
			far += w
		}
	}
	return far / all
}

// doubledRanks of a and then b in the union, from 2, the mean of their places for equal values: doubled they are whole.
func doubledRanks(a, b []float64) []int {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	out := make([]int, 0, len(all))
	for _, v := range slices.Concat(a, b) {
		first, _ := slices.BinarySearch(all, v)
		last := first
		for last+1 < len(all) && all[last+1] == v {
			last++
		}
		out = append(out, first+last+2)
	}
	return out
}

// groups is how often each rank occurs.
func groups(ranks []int) map[int]int {
	out := map[int]int{}
	for _, r := range ranks {
		out[r]++
	}
	return out
}
