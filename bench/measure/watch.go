package measure

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// maxSamples of a process: when there are more, every other one is dropped, and from then on half as many are taken.
const maxSamples = 4096

// watched is a process that runs or ran.
type watched struct {
	Process
	skip int // samples to leave out between two that are taken
	left int
}

// Watch takes a sample of the target's processes each so often until ctx ends, and gives them. processes says which run, by name: one that
// was started again has another pid, and is a process of its own. vitals are what they said of themselves last, by name; nil: nothing. Times
// count from zero, and length is how long the measured part is, of which Process.CPU is. It blocks; elsewhere than on Linux there are no
// samples.
func Watch(ctx context.Context, zero time.Time, every, length time.Duration, processes func() map[string]int, vitals func() map[string]Vitals) []Process {
	all := map[int]*watched{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		at := time.Since(zero).Seconds()
		var said map[string]Vitals
		if vitals != nil {
			said = vitals()
		}
		for name, pid := range processes() {
			s, err := sampleOf(pid)
			if err != nil {
				continue // it ended meanwhile
			}
			if all[pid] == nil {
				all[pid] = &watched{Process: Process{Name: name, PID: pid}}
			}
			v := said[name]
			s.At, s.Goroutines, s.Heap, s.Store = at, v.Goroutines, v.Heap, v.Store
			all[pid].add(s)
		}
		select {
		case <-ctx.Done():
			out := make([]Process, 0, len(all))
			for _, w := range all {
				w.CPU = w.used(length.Seconds())
				out = append(out, w.Process)
			}
			slices.SortFunc(out, func(a, b Process) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.PID, b.PID)) })
			return out
		case <-tick.C:
		}
	}
}

func (w *watched) add(s Sample) {
	if w.left > 0 {
		w.left--
		return
	}
	w.Samples = append(w.Samples, s)
	w.left = w.skip
	if len(w.Samples) == maxSamples {
		half := w.Samples[:0]
		for i := 0; i < maxSamples; i += 2 {
			half = append(half, w.Samples[i])
		}
		w.Samples = half
		w.skip = 2*w.skip + 1 // the last one was dropped: the next one is due as before
	}
}

// used processor seconds between 0 and length. Between two samples it is taken to be even.
func (p *Process) used(length float64) float64 {
	if len(p.Samples) == 0 {
		return 0
	}
	return p.cpuAt(length) - p.cpuAt(0)
}

// cpuAt a time; before the first sample and after the last one it is theirs.
func (p *Process) cpuAt(t float64) float64 {
	i, _ := slices.BinarySearchFunc(p.Samples, t, func(s Sample, t float64) int { return cmp.Compare(s.At, t) })
	switch {
	case i == 0:
		return p.Samples[0].CPU
	case i == len(p.Samples):
		return p.Samples[i-1].CPU
	}
	a, b := p.Samples[i-1], p.Samples[i]
	return a.CPU + (b.CPU-a.CPU)*(t-a.At)/(b.At-a.At)
}

// figures of a process whose growth is looked at.
var figures = map[string]func(Sample) float64{
	"rss":        func(s Sample) float64 { return float64(s.RSS) },
	"files":      func(s Sample) float64 { return float64(s.Files) },
	"goroutines": func(s Sample) float64 { return float64(s.Goroutines) },
	"heap":       func(s Sample) float64 { return float64(s.Heap) },
}

// minGrowth is how many samples a line is put through.
const minGrowth = 10

// Growth of a figure, rss, files, goroutines or heap, between two times, as a share of its beginning: of the line of least squares
// through its samples. false: there are fewer than 10 samples that have it.
func (p *Process) Growth(figure string, from, to float64) (float64, bool) {
	value := figures[figure]
	if value == nil {
		return 0, false
	}
	var n, sumX, sumY, sumXX, sumXY, first, last float64
	for _, s := range p.Samples {
		y := value(s)
		if s.At < from || s.At > to || y == 0 {
			continue
		}
		x := s.At - from
		if n == 0 {
			first = x
		}
		n, last = n+1, x
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	spread := n*sumXX - sumX*sumX
	if n < minGrowth || spread <= 0 {
		return 0, false
	}
	slope := (n*sumXY - sumX*sumY) / spread
	start := (sumY-slope*sumX)/n + slope*first
	if start <= 0 {
		return 0, false
	}
	return slope * (last - first) / start, true
}
