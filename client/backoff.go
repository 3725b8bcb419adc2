package client

import "time"

// Backoff says how long to wait between attempts to connect: a random time between zero and
// min(Max, Min·2^n), "full jitter" (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015), so that
// many clients that lost one server do not return as one.
type Backoff struct {
	Min time.Duration // default 200 ms
	Max time.Duration // default 20 s
}

// healthyAfter is how long a connection must last before its loss counts as the first failure again.
const healthyAfter = 30 * time.Second

func (b Backoff) withDefaults() Backoff {
	if b.Min <= 0 {
		b.Min = 200 * time.Millisecond
	}
	if b.Max <= 0 {
		b.Max = 20 * time.Second
	}
	b.Max = max(b.Max, b.Min)
	return b
}

// delay is the pause before attempt n (from 0) for a random number r in [0,1).
func (b Backoff) delay(n int, r float64) time.Duration {
	ceiling := b.Max
	if n < 32 && b.Min<<n > 0 && b.Min<<n < b.Max {
		ceiling = b.Min << n
	}
	return time.Duration(r * float64(ceiling))
}

// Clock is where the client takes time from; the zero Config uses package time.
type Clock interface {
	Now() time.Time
	After(time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
