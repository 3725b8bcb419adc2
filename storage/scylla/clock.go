package scylla

import (
	"context"
	"sync/atomic"
	"time"
)

// clock gives the timestamps of writes: microseconds, strictly increasing, never below the machine's own clock. It is a
// hybrid logical clock: a burst or a step back of the machine's clock makes it run ahead until that has caught up.
type clock struct {
	last atomic.Int64
	now  func() time.Time
}

// take returns the first of n consecutive timestamps.
func (c *clock) take(n int) int64 {
	for {
		last := c.last.Load()
		first := max(last+1, c.now().UnixMicro())
		if c.last.CompareAndSwap(last, first+int64(n)-1) {
			return first
		}
	}
}

// raise makes all further timestamps greater than t.
func (c *clock) raise(t int64) {
	for {
		last := c.last.Load()
		if last >= t || c.last.CompareAndSwap(last, t) {
			return
		}
	}
}

// maxSettle bounds the wait of settle.
const maxSettle = 20 * time.Millisecond

// settle waits until a server on this machine would give a lightweight transaction a later timestamp than any that was
// taken: Cassandra's have the resolution of a millisecond. It is a courtesy to those who write one row both ways.
func (c *clock) settle(ctx context.Context) {
	next := (c.last.Load()/1000 + 1) * 1000
	wait := time.Duration(next-c.now().UnixMicro()) * time.Microsecond
	if wait <= 0 {
		return
	}
	t := time.NewTimer(min(wait, maxSettle))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
