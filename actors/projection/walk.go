package projection

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// walk looks through the store for conversations to feed. One worker at a time uses it.
type walk interface {
	// next returns about limit conversations more.
	next(ctx context.Context, s Store, limit int) ([]item, error)
	// ended reports that there are no more.
	ended() bool
}

// dirtyWalk looks through the dirty marks of shards, one shard after the other.
type dirtyWalk struct {
	set   chat.ShardSet
	shard int // of the set
	after chat.ConversationKey
}

func newDirtyWalk(set chat.ShardSet) *dirtyWalk {
	w := &dirtyWalk{set: set}
	w.shard = w.from(0)
	return w
}

// from is the first shard of the set that is not below n.
func (w *dirtyWalk) from(n int) int {
	for n < chat.Shards && !w.set.Has(n) {
		n++
	}
	return n
}

func (w *dirtyWalk) ended() bool { return w.shard >= chat.Shards }

// shardReads is how many shards are read at once: on a store that is a network away, one after the other takes long.
const shardReads = 32

func (w *dirtyWalk) next(ctx context.Context, s Store, limit int) ([]item, error) {
	var items []item
	at := *w // which moves only if all goes well
	for !at.ended() && len(items) < limit {
		first := at
		var shards []int
		for n := first.shard; n < chat.Shards && len(shards) < shardReads; n = w.from(n + 1) {
			shards = append(shards, n)
		}
		pages := make([][]chat.ConversationKey, len(shards))
		g, ctx := errgroup.WithContext(ctx)
		for i := range pages {
			after := chat.ConversationKey{}
			if i == 0 {
				after = first.after
			}
			g.Go(func() (err error) {
				pages[i], err = s.DirtyShard(ctx, shards[i], after, limit)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, fmt.Errorf("look for marked conversations: %w", err)
		}
		for i, keys := range pages {
			for _, k := range keys {
				items = append(items, item{key: k})
			}
			if len(keys) == limit { // there may be more
				at.shard, at.after = shards[i], keys[limit-1]
				break
			}
			if at.shard, at.after = w.from(shards[i]+1), (chat.ConversationKey{}); len(items) >= limit {
				break // the rest is read again
			}
		}
	}
	*w = at
	return items, nil
}

// fullWalk looks through all conversations. The store gives them in one go and in any order, so what does not fit in
// memory takes several goes: each keeps the conversations of some of the shards.
type fullWalk struct {
	page int            // conversations in memory
	set  *chat.ShardSet // nil: of all shards

	pass, passes int // passes is 0 before they were counted
	items        []item
	at           int

	total, done atomic.Int64 // for those who only watch
}

func (w *fullWalk) progress() (done, total int) { return int(w.done.Load()), int(w.total.Load()) }

func (w *fullWalk) ended() bool { return w.passes > 0 && w.pass == w.passes && w.at == len(w.items) }

func (w *fullWalk) next(ctx context.Context, s Store, limit int) ([]item, error) {
	for w.at == len(w.items) {
		if w.ended() {
			return nil, nil
		}
		if err := w.load(ctx, s); err != nil {
			return nil, fmt.Errorf("look through all conversations: %w", err)
		}
	}
	page := w.items[w.at:min(w.at+limit, len(w.items))]
	w.at += len(page)
	w.done.Add(int64(len(page)))
	return append([]item(nil), page...), nil
}

// load fills items with the next pass.
func (w *fullWalk) load(ctx context.Context, s Store) error {
	w.items, w.at = nil, 0
	if w.passes == 0 {
		n := 0
		err := s.Conversations(ctx, func(k chat.ConversationKey, head uint64) bool {
			if w.set != nil && !w.set.Has(k.Shard()) {
				return true
			}
			if n++; n <= w.page {
				w.items = append(w.items, item{key: k, hint: head})
			}
			return true
		})
		if err != nil {
			w.items = nil
			return err
		}
		w.total.Store(int64(n))
		w.passes = min(n/max(w.page*3/4, 1)+1, chat.Shards)
		if n <= w.page {
			w.passes, w.pass = 1, 1
			return nil
		}
		w.items = nil
	}
	err := s.Conversations(ctx, func(k chat.ConversationKey, head uint64) bool {
		if n := k.Shard(); n*w.passes/chat.Shards == w.pass && (w.set == nil || w.set.Has(n)) {
			w.items = append(w.items, item{key: k, hint: head})
		}
		return true
	})
	if err != nil {
		w.items = nil
		return err
	}
	w.pass++
	return nil
}
