package conversation

import (
	"context"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// GroupStore is a Store that can make the events of many conversations durable for less than one by one.
type GroupStore interface {
	Store
	// Groups reports whether AppendGroup is worth while now; it never blocks.
	Groups() bool
	// GroupLimits says which groups are; zero: none ever.
	GroupLimits() chat.GroupLimits
	// AppendGroup appends the events of several conversations. After an error that is Refused it appended none; after
	// any other each conversation's events may be there or not.
	AppendGroup(ctx context.Context, appends []chat.Append) error
}

const (
	// idleCommitters is how many committers wait for the next commit instead of ending.
	idleCommitters = 256
	// groupWait is how long a batch waits at most for a group on its way to come back when more could be.
	groupWait = 20 * time.Millisecond
)

// committers carry out commits on goroutines that are used again: a fresh one would grow its stack inside the
// storage engine at every commit, which was measured at 8 % of the process's CPU under load.
//
// While the store knows groups, batches that are ready at the same moment are written by one of a few leaders, as one
// group: what becomes ready while as many groups as are worth while are on their way forms the next one. A group that
// takes long does not hold up the others: there may be more of them, if one is full or its oldest batch has waited. A batch that has something to look up first, or whose group failed, goes through a committer of its own; those
// are bounded by the registry's semaphore. At most one batch per live conversation is under way.
type committers struct {
	reg    *Registry
	store  GroupStore // nil: every batch goes alone
	limits chat.GroupLimits

	jobs chan commitJob // unbuffered: a send succeeds only when somebody waits
	wg   sync.WaitGroup // Close waits for it

	mu     sync.Mutex
	idle   int
	ready  []commitJob
	calm   sync.Cond // leaders wait for their turn or closed
	busy   int       // leaders that have a group
	late   bool      // a batch has waited for groupWait
	timer  *time.Timer
	timing bool
	closed bool
}

type commitJob struct {
	a *activation
	b *Batch
	// start is when the commit began; set when the batch has its numbers and its conversation is marked.
	start time.Time
	// tried: a group that the batch was in may have been written.
	tried bool
}

func (c *committers) init(g *Registry) {
	c.reg, c.jobs = g, make(chan commitJob)
	c.calm.L = &c.mu
	// With strict fencing each log is written by a transaction of its own.
	if s, ok := g.cfg.Store.(GroupStore); ok && g.cfg.Under == nil && s.GroupLimits().Parallel > 0 {
		c.store, c.limits = s, s.GroupLimits()
		c.timer = time.AfterFunc(groupWait, c.hurry) // nothing is ready yet
		for range max(c.limits.Parallel, c.limits.MaxParallel) {
			c.wg.Go(c.lead)
		}
	}
}

// close ends everything; no job is under way any more.
func (c *committers) close() {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.calm.Broadcast()
	c.wg.Wait()
}

// do never blocks. The caller has added to io, which the end of the commit takes back.
func (c *committers) do(j commitJob) {
	if len(j.b.Check) == 0 && j.b.marked && c.grouping() {
		c.join(j)
		return
	}
	c.alone(j)
}

// waiting is how many batches are ready for the next group.
func (c *committers) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ready)
}

// grouping reports whether batches that are ready form groups.
func (c *committers) grouping() bool { return c.store != nil && c.store.Groups() }

// join puts a batch that needs no look-up into the next group.
func (c *committers) join(j commitJob) {
	c.mu.Lock()
	c.ready = append(c.ready, j)
	turn := c.turn()
	if !turn {
		c.wait()
	}
	c.mu.Unlock()
	if turn {
		c.calm.Signal()
	}
}

// turn reports whether one more leader may take a group. mu is held.
func (c *committers) turn() bool {
	switch {
	case len(c.ready) == 0:
		return false
	case c.busy < c.limits.Parallel:
		return true
	}
	return c.busy < c.limits.MaxParallel && (c.late || len(c.ready) >= c.limits.Conversations)
}

// wait makes sure that what is ready waits for no longer than groupWait while there could be more groups. mu is held.
func (c *committers) wait() {
	if len(c.ready) > 0 && !c.timing && c.busy < c.limits.MaxParallel && !c.closed {
		c.timing = true
		c.timer.Reset(groupWait)
	}
}

func (c *committers) hurry() {
	c.mu.Lock()
	c.timing, c.late = false, len(c.ready) > 0
	c.mu.Unlock()
	c.calm.Signal()
}

// lead commits one group after the other.
func (c *committers) lead() {
	var group []commitJob
	var appends []chat.Append
	var woken runner
	for {
		c.mu.Lock()
		for !c.turn() && !(c.closed && len(c.ready) == 0) {
			c.calm.Wait()
		}
		if len(c.ready) == 0 {
			c.mu.Unlock()
			return
		}
		group = c.take(group[:0])
		c.busy++
		more := c.turn()
		if !more {
			c.wait()
		}
		c.mu.Unlock()
		if more {
			c.calm.Signal()
		}
		appends = c.commit(group, appends[:0], &woken)
		clear(group)
		clear(appends)
		c.mu.Lock()
		c.busy--
		c.mu.Unlock()
	}
}

// take moves the oldest batches into group. mu is held.
func (c *committers) take(group []commitJob) []commitJob {
	n, bytes := 0, 0
	for n < len(c.ready) && n < c.limits.Conversations {
		for i := range c.ready[n].b.items {
			bytes += c.ready[n].b.items[i].size
		}
		if n > 0 && bytes > c.limits.Bytes {
			break
		}
		n++
	}
	group = append(group, c.ready[:n]...)
	left := copy(c.ready, c.ready[n:])
	clear(c.ready[left:])
	if c.ready = c.ready[:left]; left == 0 && cap(c.ready) > 4*max(512, c.limits.Conversations) {
		c.ready = nil
	}
	c.late = false
	return group
}

// commit makes a group durable and hands its batches back. It runs the conversations that this wakes up.
func (c *committers) commit(group []commitJob, appends []chat.Append, woken *runner) []chat.Append {
	g := c.reg
	start := g.cfg.Now()
	events := 0
	for i := range group {
		j := &group[i]
		if j.start.IsZero() {
			j.b.Number(nil)
			j.start = start
		}
		if n := len(j.b.Events); n > 0 {
			events += n
			appends = append(appends, chat.Append{Key: j.a.key, Events: j.b.Events})
		}
	}
	var err error
	if events > 0 {
		err = c.store.AppendGroup(g.ctx, appends)
	}
	if err != nil {
		// Whose fault it is shows when each tries by itself.
		for _, j := range group {
			if j.tried = !Refused(err); j.tried {
				g.cfg.Observer.CommitRetried()
			}
			c.alone(j)
		}
		return appends
	}
	g.cfg.Observer.Committed(events, g.cfg.Now().Sub(start))
	for i := range group {
		group[i].b.woken = woken
		group[i].done()
		woken.run()
	}
	return appends
}

// runner gathers what a message woke up; see mailbox.Carrier.
type runner struct{ f func() }

func (r *runner) run() {
	if f := r.f; f != nil {
		r.f = nil
		f()
	}
}

// Carry implements mailbox.Carrier.
func (b *Batch) Carry(run func()) bool {
	w := b.woken
	if b.woken = nil; w == nil {
		return false
	}
	w.f = run
	return true
}

// done hands a batch back to its conversation.
func (j *commitJob) done() {
	g := j.a.reg
	j.b.Lost = !j.a.owns()
	g.cfg.System.Root.Send(j.a.pid, j.b)
	g.io.Done()
}

// alone carries a batch out on a goroutine of its own.
func (c *committers) alone(j commitJob) {
	select {
	case c.jobs <- j:
	default:
		c.wg.Go(func() { c.run(j) })
	}
}

func (c *committers) run(j commitJob) {
	for {
		j.a.commit(j)
		if !c.park(1) {
			return
		}
		select {
		case j = <-c.jobs:
			c.park(-1)
		case <-c.reg.ctx.Done():
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
