package measure

import (
	"cmp"
	"slices"
)

const (
	// minSlope is through how many samples a slope is put, and maxSlope of how many at most: their pairs are their square.
	minSlope = 10
	maxSlope = 512
)

// Slope is by how much a figure, rss, files, goroutines or heap, grows an hour between two times: the median of the slopes of all pairs of
// samples (Theil and Sen). The saw of a garbage collector and a burst do not move it, as they move a line of least squares. false: there are fewer than 10 samples that have it, or they cover less than half of the time, as those of a process that was
// started again near the end, which still grows.
func (p *Process) Slope(figure string, from, to float64) (float64, bool) {
	value := figures[figure]
	if value == nil {
		return 0, false
	}
	var in []Sample
	for _, s := range p.Samples {
		if s.At >= from && s.At <= to && value(s) != 0 {
			in = append(in, s)
		}
	}
	if len(in) < minSlope || in[len(in)-1].At-in[0].At < (to-from)/2 {
		return 0, false
	}
	if each := (len(in) + maxSlope - 1) / maxSlope; each > 1 {
		n := 0
		in = slices.DeleteFunc(in, func(Sample) bool { n++; return (n-1)%each != 0 })
	}
	var slopes []float64
	for i, a := range in {
		for _, b := range in[i+1:] {
			if b.At > a.At {
				slopes = append(slopes, (value(b)-value(a))/(b.At-a.At))
			}
		}
	}
	if len(slopes) == 0 {
		return 0, false
	}
	slices.SortFunc(slopes, cmp.Compare[float64])
	const hour = 3600
	half := len(slopes) / 2
	if len(slopes)%2 == 0 {
		return (slopes[half-1] + slopes[half]) / 2 * hour, true
	}
	return slopes[half] * hour, true
}
