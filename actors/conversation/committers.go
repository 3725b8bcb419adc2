package conversation

import (
	"context"
	"sync"
)

// idleCommitters is how many committers wait for the next commit instead of ending.
const idleCommitters = 256

// committers carry out commits on goroutines that are used again: a fresh one would grow its stack inside the
// storage engine at every commit, which was measured at 8 % of the process's CPU under load. They are bounded
// by the registry's semaphore, and end with its context.
type committers struct {
	jobs chan commitJob // unbuffered: a send succeeds only when somebody waits
	wg   sync.WaitGroup // Close waits for it

	mu   sync.Mutex
	idle int
}

type commitJob struct {
	a *activation
	b *Batch
}

// do never blocks. The caller has added to io, which commit takes back.
func (c *committers) do(ctx context.Context, j commitJob) {
	select {
	case c.jobs <- j:
	default:
		c.wg.Go(func() { c.run(ctx, j) })
	}
}

func (c *committers) run(ctx context.Context, j commitJob) {
	for {
		j.a.commit(j.b)
		if !c.park(1) {
			return
		}
		select {
		case j = <-c.jobs:
			c.park(-1)
		case <-ctx.Done():
			c.park(-1)
			return
		}
	}
}

// park counts the committers that wait and reports whether there is room for one more.
func (c *committers) park(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 && c.idle >= idleCommitters {
		return false
	}
	c.idle += n
	return true
}
