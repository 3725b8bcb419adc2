package conversation

import (
	"context"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// GroupStore is a Store that can make the events of many conversations durable in one step, at about the price of one.
type GroupStore interface {
	Store
	// Groups reports whether AppendGroup may be used.
	Groups() bool
	// AppendGroup appends the events of several conversations: all or none.
	AppendGroup(ctx context.Context, appends []chat.Append) error
}

const (
	// idleCommitters is how many committers wait for the next commit instead of ending.
	idleCommitters = 256
	// leaders is how many groups may be on their way at once: one waits for the disk, one is being written, one is
	// taken apart. More make the groups smaller.
	leaders = 3
	// maxGroup and maxGroupBytes bound a group; what is left forms the next.
	maxGroup      = 512
	maxGroupBytes = 1 << 20
	// stalled is how long batches may be ready while no leader takes any: then one more leads for a while, at most
	// maxExtra of them. A store that hangs in one write may refuse the next at once.
	stalled  = 250 * time.Millisecond
	maxExtra = 16
)

// committers carry out commits on goroutines that are used again: a fresh one would grow its stack inside the
// storage engine at every commit, which was measured at 8 % of the process's CPU under load.
//
// Where the store knows groups, batches that are ready at the same moment are written by one of a few leaders, as one
// group. A batch that has something to look up first, or whose group failed, goes through a committer of its own; those
// are bounded by the registry's semaphore. At most one batch per live conversation is under way.
type committers struct {
	reg   *Registry
	store GroupStore // nil: every batch goes alone

	jobs chan commitJob // unbuffered: a send succeeds only when somebody waits
	wg   sync.WaitGroup // Close waits for it

	mu     sync.Mutex
	idle   int
	ready  []commitJob
	calm   sync.Cond // leaders wait for ready or closed
	closed bool

	busy  int         // leaders with a group under way
	extra int         // leaders that end when nothing is ready
	taken uint64      // groups
	seen  uint64      // taken when watch was set
	watch *time.Timer // nil or set: all leaders are busy and batches are ready, or were a moment ago
	set   bool
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
	if s, ok := g.cfg.Store.(GroupStore); ok && s.Groups() {
		c.store = s
		for range leaders {
			c.wg.Go(func() { c.lead(false) })
		}
	}
}

// close ends everything; no job is under way any more.
func (c *committers) close() {
	c.mu.Lock()
	c.closed = true
	if c.watch != nil {
		c.watch.Stop()
	}
	c.mu.Unlock()
	c.calm.Broadcast()
	c.wg.Wait()
}

// do never blocks. The caller has added to io, which the end of the commit takes back.
func (c *committers) do(j commitJob) {
	if c.store != nil && len(j.b.Check) == 0 && j.b.marked {
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

// join puts a batch that needs no look-up into the next group.
func (c *committers) join(j commitJob) {
	c.mu.Lock()
	c.ready = append(c.ready, j)
	c.guard()
	c.mu.Unlock()
	c.calm.Signal()
}

// guard sets the watch if nobody is free to take what is ready. mu is held.
func (c *committers) guard() {
	if c.set || c.closed || len(c.ready) == 0 || c.busy < leaders {
		return
	}
	c.set, c.seen = true, c.taken
	if c.watch == nil {
		c.watch = time.AfterFunc(stalled, c.relieve)
	} else {
		c.watch.Reset(stalled)
	}
}

// relieve lets one more lead if no group was taken since the watch was set.
func (c *committers) relieve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = false
	if !c.closed && len(c.ready) > 0 && c.taken == c.seen && c.extra < maxExtra {
		c.extra++
		c.wg.Go(func() { c.lead(true) })
	}
	c.guard()
}

// lead commits one group after the other; an extra leader ends when nothing is ready.
func (c *committers) lead(extra bool) {
	var group []commitJob
	var appends []chat.Append
	var woken runner
	for {
		c.mu.Lock()
		for len(c.ready) == 0 && !c.closed && !extra {
			c.calm.Wait()
		}
		if len(c.ready) == 0 {
			if extra {
				c.extra--
			}
			c.mu.Unlock()
			return
		}
		group = c.take(group[:0])
		c.busy++
		c.guard()
		c.mu.Unlock()
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
	c.taken++
	n, bytes := 0, 0
	for n < len(c.ready) && n < maxGroup && bytes < maxGroupBytes {
		for i := range c.ready[n].b.items {
			bytes += c.ready[n].b.items[i].size
		}
		n++
	}
	group = append(group, c.ready[:n]...)
	left := copy(c.ready, c.ready[n:])
	clear(c.ready[left:])
	if c.ready = c.ready[:left]; left == 0 && cap(c.ready) > 4*maxGroup {
		c.ready = nil
	}
	if left > 0 {
		c.calm.Signal()
	}
	return group
}

// commit makes a group durable and hands its batches back. It runs the conversations that this wakes up.
func (c *committers) commit(group []commitJob, appends []chat.Append, woken *runner) []chat.Append {
	g := c.reg
	start := g.cfg.Now()
	events := 0
	kept := group[:0]
	for _, j := range group {
		if j.a.term.lost.Load() { // nobody waits for it
			j.b.Err = chat.ErrMoved
			j.done()
			continue
		}
		kept = append(kept, j)
	}
	group = kept
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
