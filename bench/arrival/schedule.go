package arrival

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// MaxReplay is how many arrivals a replayed file may have.
const MaxReplay = 10_000_000

// New makes the part-th of parts shares of a schedule for a load of that length: each parts-th arrival, so that all shares together
// are the same whole schedule however many workers there are. The same seed gives the same times. Seeds also say where between
// two arrivals an even schedule begins: loads with different seeds do not act in step.
func New(s Spec, length time.Duration, seed uint64, part, parts int) (Schedule, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if part < 0 || part >= parts {
		return nil, fmt.Errorf("share %d of %d: want 0 to %d", part, parts, parts-1)
	}
	switch s.kind() {
	case Once:
		l := &list{}
		if part == 0 && s.At < length {
			l.times = []time.Duration{s.At}
		}
		return l, nil
	case Replay:
		return replay(s.File, length, part, parts)
	}
	rng := rand.New(rand.NewPCG(seed, 0x6172726976616c73))
	f := &flow{profile: s.profile(length.Seconds()), length: length, parts: parts, skip: part}
	if s.Random || s.kind() == Poisson {
		f.random = rng
	} else {
		f.due = rng.Float64() - 1
	}
	return f, nil
}

// flow of arrivals of which each has its place in the integral of the rate: one after another, or with exponential gaps,
// which makes a Poisson process of any rate over time.
type flow struct {
	profile profile
	length  time.Duration
	random  *rand.Rand // nil: even gaps
	due     float64    // place of the last arrival of all
	last    time.Duration
	skip    int // arrivals of other parts before the next own one
	parts   int
}

func (f *flow) Next() (time.Duration, bool) {
	for range f.skip + 1 {
		if f.random != nil {
			f.due += f.random.ExpFloat64()
		} else {
			f.due++
		}
	}
	f.skip = f.parts - 1
	seconds := f.profile.when(f.due)
	if seconds >= f.length.Seconds() {
		return 0, false
	}
	f.last = max(f.last, time.Duration(seconds*float64(time.Second)))
	return f.last, f.last < f.length
}

// list of times that are known.
type list struct {
	times []time.Duration
}

func (l *list) Next() (time.Duration, bool) {
	if len(l.times) == 0 {
		return 0, false
	}
	t := l.times[0]
	l.times = l.times[1:]
	return t, true
}

// replay reads a file of times in seconds, one a line, in order. Empty lines and those that begin with # are left out, and
// what comes after length.
func replay(path string, length time.Duration, part, parts int) (Schedule, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	defer func() { _ = f.Close() }()
	l := &list{}
	var last time.Duration
	lines, count := bufio.NewScanner(f), 0
	for line := 1; lines.Scan(); line++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0 && seconds < 1e9) {
			return nil, fmt.Errorf("replay: %s:%d: %q is no time in seconds", path, line, text)
		}
		t := time.Duration(seconds * float64(time.Second))
		if t < last {
			return nil, fmt.Errorf("replay: %s:%d: %v comes after %v: want the times in order", path, line, t, last)
		}
		if last = t; t >= length {
			break
		}
		if count == MaxReplay {
			return nil, fmt.Errorf("replay: %s has more than %d times", path, MaxReplay)
		}
		if count%parts == part {
			l.times = append(l.times, t)
		}
		count++
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("replay: reading %s: %w", path, err)
	}
	return l, nil
}
