package projection

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	firstBackoff = 100 * time.Millisecond
	// parkFor is how long a conversation that cannot be fed now waits.
	parkFor = time.Second
	// jobBatches is how many batches are fed before other conversations get a chance.
	jobBatches = 10
)

// applier is what a feed needs of a Consumer or a Rebuild.
type applier interface {
	Apply(ctx context.Context, changes []chat.IndexChange) error
	Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error)
}

// place is where a conversation that waits is.
type place uint8

const (
	queued place = iota
	busy         // a worker has it
	parked
)

// entry is a conversation that a consumer has to be fed.
type entry struct {
	head   uint64    // that was told; 0: none, look
	events int64     // told and not applied, as far as known
	since  time.Time // when the oldest of them was committed; zero: not known
	place  place
	marked bool // it has a dirty mark, or may
	full   bool // everything is being fed, and it is part of that
}

// feed is one consumer and what waits for it. All but the first group of fields is guarded by Runner.mu.
type feed struct {
	r        *Runner
	name     string
	c        applier
	consumer Consumer // nil: a rebuild
	wake     chan struct{}
	wg       sync.WaitGroup

	pending map[chat.ConversationKey]*entry
	free    []*entry // to be used again
	queue   fifo
	parking []parkedKey // by due
	waiting int64       // events of those in queue
	lag     int64       // events of all of pending
	running int         // jobs
	paused  bool
	still   chan struct{} // non-nil: somebody waits for running to be 0

	dirty    *dirtyWalk    // nil: all marks were seen
	full     *fullWalk     // nil: nothing or no more to walk
	sought   chat.ShardSet // whose marks are to be looked for when dirty has come to its end
	feeding  bool          // everything is being fed
	fullLeft int           // conversations of full that are in pending
	// Where there are several nodes: the shards that are being fed, those that are next, and those of which it is not
	// known whether they were.
	fullSet, todo, unsure chat.ShardSet
	walking               bool // a worker is at dirty or full
	turn                  bool // whose turn it is, if both can: a walk's

	missed       bool // a commit found the queue full
	dropping     bool // the same, of a commit that perhaps cannot be seen yet
	missedEvents int64
	missedSince  time.Time

	failures int // in a row
	retryAt  time.Time
	probing  bool
	lastErr  error

	state    chat.ConsumerState
	checkAt  time.Time
	checked  bool
	checking bool

	applied, failed, overflows uint64
	complained                 time.Time
	told                       bool // the log was told of a failure, and not yet of its end
}

type parkedKey struct {
	key chat.ConversationKey
	due time.Time
}

func newFeed(r *Runner, name string, c applier) *feed {
	return &feed{r: r, name: name, c: c, wake: make(chan struct{}, r.cfg.Workers), pending: make(map[chat.ConversationKey]*entry)}
}

func (f *feed) start(ctx context.Context) {
	for range f.r.cfg.Workers {
		f.wg.Add(1)
		f.r.wg.Go(func() {
			defer f.wg.Done()
			f.work(ctx)
		})
	}
}

func (f *feed) signal(n int) {
	for range n {
		select {
		case f.wake <- struct{}{}:
		default:
			return
		}
	}
}

// note takes in that a conversation has more events. It reports false if there is no room for it.
func (f *feed) note(key chat.ConversationKey, head uint64, events int, now time.Time) bool {
	e := f.pending[key]
	fresh := e == nil
	if fresh {
		if len(f.pending) >= f.r.cfg.Queue {
			f.overflows++
			if !f.missed && !f.dropping {
				f.missedSince = now
			}
			f.missed, f.dropping = true, true
			f.missedEvents += int64(events)
			return false
		}
		e = f.add(key)
		e.since = now
		f.queue.push(key)
	}
	if e.events == 0 && e.since.IsZero() {
		e.since = now
	}
	e.head, e.marked = max(e.head, head), true
	e.events += int64(events)
	f.lag += int64(events)
	before := f.waiting
	if e.place == queued {
		f.waiting += int64(events)
	}
	if full := int64(f.r.cfg.Batch); f.queue.len() == 1 && fresh || before < full && f.waiting >= full {
		f.signal(1)
	}
	return true
}

// add makes an entry that is queued, for the caller to push.
func (f *feed) add(key chat.ConversationKey) *entry {
	var e *entry
	if n := len(f.free); n > 0 {
		e, f.free = f.free[n-1], f.free[:n-1]
	} else {
		e = new(entry)
	}
	f.pending[key] = e
	return e
}

func (f *feed) remove(key chat.ConversationKey, e *entry) {
	delete(f.pending, key)
	if len(f.free) < 4096 {
		*e = entry{}
		f.free = append(f.free, e)
	}
}

// searching reports whether there may be marked conversations that are not in pending.
func (f *feed) searching() bool {
	return f.dirty != nil || f.missed || f.dropping || !empty(&f.sought)
}

// job is what a worker does next: check the generation, take a page of a walk, or feed items.
type job struct {
	check bool
	walk  walk
	items []item
}

// work is a worker's life.
func (f *feed) work(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for ctx.Err() == nil {
		f.r.mu.Lock()
		j, wait := f.claim(f.r.cfg.Now())
		f.r.mu.Unlock()
		if j != nil {
			f.do(ctx, j)
			continue
		}
		var timer <-chan time.Time
		if wait >= 0 {
			t.Reset(wait)
			timer = t.C
		}
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-timer:
		}
	}
}

// claim returns a job, or how long to wait until there may be one; negative: until woken.
func (f *feed) claim(now time.Time) (*job, time.Duration) {
	if f.paused {
		return nil, -1
	}
	probe := false
	if f.failures > 0 {
		if f.probing {
			return nil, -1
		}
		if now.Before(f.retryAt) {
			return nil, f.retryAt.Sub(now)
		}
		probe = true
	}
	j, wait := f.choose(now)
	if j != nil {
		f.running++
		f.probing = probe
	}
	return j, wait
}

func (f *feed) choose(now time.Time) (*job, time.Duration) {
	if f.consumer != nil && !now.Before(f.checkAt) {
		if !f.checking {
			f.checking = true
			return &job{check: true}, 0
		}
		if !f.checked {
			return nil, -1 // nothing is fed before the generation is known
		}
	}
	wait := time.Duration(-1)
	if f.consumer != nil {
		wait = max(f.checkAt.Sub(now), 0)
		if f.checking {
			wait = -1
		}
	}
	sooner := func(d time.Duration) {
		if wait < 0 || d < wait {
			wait = d
		}
	}
	for len(f.parking) > 0 && !now.Before(f.parking[0].due) {
		f.requeue(f.parking[0].key)
		f.parking = f.parking[1:]
	}
	if len(f.parking) > 0 {
		sooner(f.parking[0].due.Sub(now))
	}
	var walk walk
	if !f.walking {
		switch {
		case f.dirty != nil:
			walk = f.dirty
		case f.missed: // what was missed is marked: look for it
			f.missed, f.sought = false, chat.ShardSet{}
			f.dirty = newDirtyWalk(f.r.owned)
			walk = f.dirty
		case !empty(&f.sought):
			f.dirty, f.sought = newDirtyWalk(f.sought), chat.ShardSet{}
			walk = f.dirty
		case f.full != nil:
			walk = f.full
		}
	}
	if f.queue.len() > 0 && (walk == nil || !f.turn) {
		due := f.pending[f.queue.first()].since.Add(f.r.cfg.Delay).Sub(now)
		if due <= 0 || f.r.draining || f.waiting >= int64(f.r.cfg.Batch) || f.queue.len() >= f.r.cfg.Batch {
			f.turn = true
			return &job{items: f.take()}, 0
		}
		sooner(due)
	}
	if walk != nil {
		f.turn = false
		f.walking = true
		return &job{walk: walk}, 0
	}
	return nil, wait
}

// take claims conversations of the queue.
func (f *feed) take() []item {
	items := make([]item, 0, min(f.queue.len(), f.r.cfg.Batch))
	for len(items) < f.r.cfg.Batch && f.queue.len() > 0 {
		key := f.queue.pop()
		e := f.pending[key]
		f.waiting -= e.events
		if !f.r.serves(key.Shard()) {
			f.lag -= e.events
			f.remove(key, e)
			continue
		}
		e.place = busy
		items = append(items, item{key: key, claimed: e.head})
	}
	return items
}

func (f *feed) requeue(key chat.ConversationKey) {
	e := f.pending[key]
	if e == nil {
		return
	}
	e.place = queued
	f.waiting += e.events
	f.queue.push(key)
}

func (f *feed) park(key chat.ConversationKey, now time.Time) {
	f.pending[key].place = parked
	f.parking = append(f.parking, parkedKey{key, now.Add(parkFor)})
}

// do carries a job out and takes its outcome in.
func (f *feed) do(ctx context.Context, j *job) {
	var err error
	switch {
	case j.check:
		err = f.check(ctx)
	case j.walk != nil:
		if j.items, err = f.page(ctx, j.walk); err == nil && len(j.items) > 0 {
			err = f.feed(ctx, j.items)
		}
	case len(j.items) > 0:
		err = f.feed(ctx, j.items)
	}
	f.r.mu.Lock()
	done := f.finish(j, err, ctx.Err() != nil)
	f.r.mu.Unlock()
	// Not with ctx: what a rebuild that was cancelled has seen is to be reported as well.
	if all := f.r.ctx; len(done) > 0 && all.Err() == nil {
		if again := f.r.cfg.Conversations.Followed(all, done); len(again) > 0 {
			f.again(again)
		}
	}
	f.completed(ctx)
}

// finish takes in what came of a job and returns what everybody knows now.
func (f *feed) finish(j *job, err error, stopping bool) (done []Followed) {
	now := f.r.cfg.Now()
	f.running--
	f.probing = false
	if j.check {
		f.checking = false
	}
	if j.walk != nil {
		f.walking = false
	}
	for i := range j.items {
		if seq, ok := f.settle(&j.items[i], now); ok {
			done = append(done, Followed{j.items[i].key, seq})
		}
	}
	switch {
	case err == nil:
		f.recovered(now)
	case !stopping:
		f.fail(err, now)
	}
	if j.walk != nil && err == nil && j.walk.ended() {
		f.walked(j.walk)
	}
	f.stands()
	f.signal(1)
	return done
}

// stands tells who waits for it that the feed stands still.
func (f *feed) stands() {
	if f.paused && f.running == 0 && f.still != nil {
		close(f.still)
		f.still = nil
	}
}

// settle puts a conversation that a worker had where it belongs now. It reports the seq that may be told, if any.
func (f *feed) settle(it *item, now time.Time) (uint64, bool) {
	e := f.pending[it.key]
	f.lag -= e.events
	if !f.r.serves(it.key.Shard()) {
		if e.full {
			f.fullLeft--
		}
		f.remove(it.key, e)
		return 0, false
	}
	whole := it.done && it.next > e.head
	if it.gone {
		whole = it.done && e.head == it.claimed // or else it is there again
	}
	if whole {
		marked := e.marked
		if e.full {
			f.fullLeft--
		}
		f.remove(it.key, e)
		seq := it.next - 1
		if it.gone {
			seq = Gone
		}
		if !marked || !f.r.told(f, it.key) {
			return 0, false
		}
		return seq, true
	}
	if it.known {
		e.events = max(0, int64(max(it.head, e.head))-int64(it.next-1))
		if !it.reached.IsZero() {
			e.since = it.reached
		}
	}
	f.lag += e.events
	if it.later || it.done && it.next <= it.claimed { // what was told could not be seen yet
		f.park(it.key, now)
	} else {
		f.requeue(it.key)
	}
	return 0, false
}

// again takes conversations back that could not be reported.
func (f *feed) again(keys []chat.ConversationKey) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	now := f.r.cfg.Now()
	for _, key := range keys {
		if e := f.pending[key]; e != nil {
			e.marked = true
			continue
		}
		if !f.r.serves(key.Shard()) {
			continue
		}
		e := f.add(key)
		e.marked, e.since = true, now
		f.park(key, now)
	}
	f.signal(1)
}

func (f *feed) fail(err error, now time.Time) {
	f.failures++
	f.failed++
	f.lastErr = err
	pause := min(firstBackoff<<min(f.failures-1, 20), f.r.cfg.MaxBackoff)
	pause += rand.N(pause/4 + 1)
	f.retryAt = now.Add(pause)
	f.checkAt = time.Time{}                                            // it may be another one when it comes back
	if f.complained.IsZero() || now.Sub(f.complained) >= time.Minute { // also one that fails now and then, again and again
		f.complained, f.told = now, true
		f.r.cfg.Log.Warn("projection: the consumer fails, it will be tried again", "consumer", f.name, "failures", f.failures,
			"conversations", len(f.pending), "error", err)
	}
}

func (f *feed) recovered(now time.Time) {
	if f.failures == 0 {
		return
	}
	if f.told {
		f.told = false
		f.r.cfg.Log.Info("projection: the consumer works again", "consumer", f.name, "failures", f.failures,
			"conversations", len(f.pending))
	}
	f.failures, f.lastErr = 0, nil
	f.retryAt = now
	f.signal(f.r.cfg.Workers)
}

func (f *feed) stats() Stats {
	s := Stats{Consumer: f.name, Rebuild: f.consumer == nil, Healthy: f.failures == 0, Waiting: len(f.pending),
		Lag: f.lag + f.missedEvents, Overflow: f.missed, Applied: f.applied, Failures: f.failed, Overflows: f.overflows,
		Feeding: f.feeding}
	if f.lastErr != nil {
		s.Error = f.lastErr.Error()
	}
	if f.full != nil {
		s.Done, s.Total = f.full.progress()
	}
	if f.missedEvents > 0 {
		s.Oldest = f.missedSince
	}
	for _, e := range f.pending {
		if e.events > 0 && !e.since.IsZero() && (s.Oldest.IsZero() || e.since.Before(s.Oldest)) {
			s.Oldest = e.since
		}
	}
	return s
}
