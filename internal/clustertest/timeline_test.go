package clustertest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// timeline is when a conversation acknowledged something.
type timeline struct {
	mu   sync.Mutex
	acks []time.Time
}

func (l *timeline) add(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, at)
}

// silence is the longest time without an acknowledgement that began at from or later, and when it ended, reckoned from from.
// What lasts at until counts as if it ended there.
func (l *timeline) silence(from, until time.Time) (longest, ended time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.acks, from, time.Time.Compare)
	last := from
	for _, at := range append(slices.Clone(l.acks[i:]), until) {
		if at.After(until) {
			at = until
		}
		if d := at.Sub(last); d > longest {
			longest, ended = d, at.Sub(from)
		}
		last = at
	}
	return longest, ended
}

// outage is what the conversations of a run went through after an event.
type outage struct {
	all         int
	interrupted int           // silent for more than a second
	mean, worst time.Duration // of those: until the end of their longest silence
}

// interruption is the silence from which on a conversation counts as interrupted: several times what the load's own pauses,
// and those of a busy machine, make.
const interruption = time.Second

func outages(lines []*timeline, from, until time.Time) outage {
	o := outage{all: len(lines)}
	var sum time.Duration
	for _, l := range lines {
		silence, ended := l.silence(from, until)
		if silence > interruption {
			o.interrupted++
			sum += ended
			o.worst = max(o.worst, ended)
		} else if o.interrupted == 0 {
			o.worst = max(o.worst, silence)
		}
	}
	if o.interrupted > 0 {
		o.mean = sum / time.Duration(o.interrupted)
		o.worst = 0
		for _, l := range lines {
			if silence, ended := l.silence(from, until); silence > interruption {
				o.worst = max(o.worst, ended)
			}
		}
	}
	return o
}

func (o outage) String() string {
	if o.interrupted == 0 {
		return fmt.Sprintf("none of %d conversations was interrupted; longest silence %v", o.all, o.worst.Round(time.Millisecond))
	}
	return fmt.Sprintf("%d of %d conversations interrupted; writable again after: mean %v, max %v", o.interrupted, o.all,
		o.mean.Round(10*time.Millisecond), o.worst.Round(10*time.Millisecond))
}

func TestSilence(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }
	line := func(ms ...int) *timeline {
		l := &timeline{}
		for _, m := range ms {
			l.add(at(m))
		}
		return l
	}
	for _, tc := range []struct {
		line           *timeline
		longest, ended int
	}{
		{line(0, 50, 100, 2100, 2150, 9000), 2000, 2000}, // killed at once
		{line(0, 50, 150, 200, 2300, 2900), 2100, 2200},  // self-fenced a little later
		{line(0, 50), 2900, 2900},                        // never again
		{line(), 2900, 2900},
	} {
		longest, ended := tc.line.silence(at(100), at(3000))
		if longest != time.Duration(tc.longest)*time.Millisecond || ended != time.Duration(tc.ended)*time.Millisecond {
			t.Errorf("%v %v, want %d %d", longest, ended, tc.longest, tc.ended)
		}
	}
	o := outages([]*timeline{line(150, 200, 300, 900, 1500, 2100, 2900), line(2200), line(1700, 2600)}, at(100), at(3000))
	if o.interrupted != 2 || o.worst != 2100*time.Millisecond || o.mean != 1850*time.Millisecond {
		t.Errorf("%+v", o)
	}
}
