package projection

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// Config of a Runner. Conversations, Store and Consumers are required.
type Config struct {
	Conversations Conversations
	Store         Store
	Consumers     []Consumer // with distinct names
	// Owns says, where several nodes share the conversations, whether this one may speak for a shard now; Gained, Release
	// and Drop tell when that changes. nil: all shards are this node's.
	Owns func(shard int) bool

	Batch   int           // events of one Apply; default 200
	Delay   time.Duration // how long a commit waits for others to be applied with; default 100 ms
	Queue   int           // conversations that may wait for a consumer; default 16,384
	Workers int           // per consumer; default 2
	Timeout time.Duration // of one call of a consumer; default 30 s
	// MaxBackoff is the longest pause after a failure; default 15 s. The first is 100 ms.
	MaxBackoff time.Duration
	Recheck    time.Duration // how often Generation is asked; default 1 min
	Page       int           // conversations in memory while all of them are walked; default 65,536

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default: none
}

// Runner feeds consumers. Its methods are safe for concurrent use.
type Runner struct {
	cfg Config

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	feeds    []*feed // and those of rebuilds
	rebuilds map[string]*rebuild
	owned    chat.ShardSet // what is fed
	started  bool
	closed   bool
	draining bool
	// untold: a conversation could not be reported because another consumer was still looking for marks.
	untold bool
	unseen int // commits that found a queue full and perhaps cannot be seen yet
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// New returns a Runner that takes notice of commits; Prepare and Start follow, Close ends it.
func New(c Config) *Runner {
	def(&c.Batch, 200)
	def(&c.Delay, 100*time.Millisecond)
	def(&c.Queue, 16384)
	def(&c.Workers, 2)
	def(&c.Timeout, 30*time.Second)
	def(&c.MaxBackoff, 15*time.Second)
	def(&c.Recheck, time.Minute)
	def(&c.Page, 65536)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Runner{cfg: c, rebuilds: make(map[string]*rebuild)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if c.Owns == nil {
		r.owned = everything()
	}
	for _, consumer := range c.Consumers {
		f := newFeed(r, consumer.Name(), consumer)
		f.consumer, f.sought = consumer, r.owned
		r.feeds = append(r.feeds, f)
	}
	return r
}

// Prepare reads what is remembered of the consumers, and forgets those that are not there any more: from now on marks
// go without them, so that they must be fed everything when they come back. It must have returned before the first
// commit.
func (r *Runner) Prepare(ctx context.Context) error {
	states, err := r.cfg.Store.Consumers(ctx)
	if err != nil {
		return fmt.Errorf("prepare projections: %w", err)
	}
	for _, st := range states {
		name, shard := splitRow(st.Name)
		f := r.find(name)
		if f != nil && shard >= 0 {
			continue
		}
		if f == nil {
			if err := r.cfg.Store.ForgetConsumer(ctx, st.Name); err != nil {
				return fmt.Errorf("prepare projections: %w", err)
			}
			continue
		}
		r.mu.Lock()
		f.state = st
		r.mu.Unlock()
	}
	return nil
}

func (r *Runner) find(name string) *feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.feeds {
		if f.consumer != nil && f.name == name {
			return f
		}
	}
	return nil
}

// Start begins to feed.
func (r *Runner) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.closed {
		return
	}
	r.started = true
	for _, f := range r.feeds {
		f.start(r.ctx)
	}
}

// Committed implements conversation.Follower.
func (r *Runner) Committed(key chat.ConversationKey, head uint64, events int) (full bool) {
	now := r.cfg.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cfg.Owns != nil && !r.serves(key.Shard()) {
		return false // the owner finds its mark
	}
	for _, f := range r.feeds {
		full = !f.note(key, head, events, now) || full
	}
	if full {
		r.unseen++
	}
	return full
}

// Visible implements conversation.Follower. Who looked for marks before a head could be seen has to look once more.
func (r *Runner) Visible() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unseen--
	for _, f := range r.feeds {
		if f.dropping {
			f.missed = true
			f.dropping = r.unseen > 0
			f.signal(1)
		}
	}
}

// Drain waits until nothing waits for a consumer that works, or ctx ends.
func (r *Runner) Drain(ctx context.Context) {
	r.mu.Lock()
	r.draining = true
	for _, f := range r.feeds {
		f.signal(r.cfg.Workers)
	}
	r.mu.Unlock()
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		r.mu.Lock()
		busy := false
		for _, f := range r.feeds {
			busy = busy || r.started && f.consumer != nil && f.failures == 0 && len(f.pending) > 0
		}
		r.mu.Unlock()
		if !busy {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close stops feeding and waits. What was not fed is marked.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
}

// told reports whether everybody but f has applied what f has of a conversation. A head is seen by nobody before all
// feeds were told of it, so a conversation that does not wait at a feed has been applied there as far as anybody saw.
func (r *Runner) told(f *feed, key chat.ConversationKey) bool {
	if !r.owned.Has(key.Shard()) {
		return false // its marks have not been looked for
	}
	for _, g := range r.feeds {
		if g == f {
			continue
		}
		if e := g.pending[key]; e != nil {
			e.marked = true
			return false // it reports when it is done
		}
		if g.searching() {
			r.untold = true
			return false
		}
	}
	return true
}

// searched is called when a feed has seen all marks: conversations that could not be reported because of it can be now.
func (r *Runner) searched(f *feed) {
	if !r.untold {
		return
	}
	for _, g := range r.feeds {
		if g.searching() {
			return
		}
	}
	r.untold = false
	f.dirty = newDirtyWalk(r.owned)
}

// Stats of one consumer.
type Stats struct {
	Consumer string
	Rebuild  bool // of the new data beside the one in use
	Healthy  bool
	Error    string // why not

	Waiting  int       // conversations
	Lag      int64     // events that were committed and not applied; after an overflow or a restart a lower bound
	Oldest   time.Time // when the oldest of them was committed; zero: there is none
	Overflow bool      // conversations that wait are to be found by their marks

	Applied   uint64 // events
	Failures  uint64
	Overflows uint64 // commits that found the queue full

	// Everything is being fed: Done of Total conversations were looked at. Total is 0 while they are counted.
	Feeding     bool
	Done, Total int
}

// Stats returns a snapshot, one per consumer and running rebuild.
func (r *Runner) Stats() []Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Stats, len(r.feeds))
	for i, f := range r.feeds {
		out[i] = f.stats()
	}
	return out
}

// call bounds one call of a consumer.
func call[T any](r *Runner, ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	return f(ctx)
}
