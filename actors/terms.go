package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

const (
	takeovers      = 16               // shards that are taken over at once
	takeoverEach   = 16               // conversations and pairs of one of them at once
	takeoverTime   = 30 * time.Second // of one attempt
	takeoverPage   = 1000             // marks that are read at once
	firstTakeover  = 100 * time.Millisecond
	lastTakeover   = 5 * time.Second
	maxMisses      = 4                      // looks at a term that is not there, until it is taken for over
	releaseFollows = 200 * time.Millisecond // for what consumers are being fed when shards are released
)

// terms takes over what the last owners of shards left, in the background: a goroutine for each shard that was gained
// and has something left to do, of which a few work at a time.
type terms struct {
	hub    *Hub
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{}

	mu     sync.Mutex // orders wg.Go before close's Wait
	closed bool
	wg     sync.WaitGroup
}

func (t *terms) init(h *Hub) {
	t.hub, t.slots = h, make(chan struct{}, takeovers)
	t.ctx, t.cancel = context.WithCancel(context.Background())
}

func (t *terms) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.wg.Wait()
}

// owner says which shards are this node's; nil: all.
func (h *Hub) owner() conversation.Owner {
	if h.cfg.Cluster != nil {
		return h.cfg.Cluster
	}
	return h.cfg.Owner
}

// serves reports whether a shard is this node's now; nil: all are, always.
func (h *Hub) serves() func(shard int) bool {
	c := h.cfg.Cluster
	if c == nil {
		return nil
	}
	return func(shard int) bool {
		_, ok := c.Term(shard)
		return ok
	}
}

// Gained takes in that this node serves a shard from now on. In the background, what the last owner left is finished:
// derived rows are brought up to the logs, what follows from changes of pairs is carried out, members of conversations
// that were busy are told how far the log reaches, and consumers are fed. It does not block.
func (h *Hub) Gained(shard int, epoch uint64) {
	if h.cfg.Cluster == nil {
		return
	}
	h.unrepaired[shard].Store(true)
	if h.follow != nil {
		h.follow.Gained(shard)
	}
	t := &h.terms
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.wg.Go(func() { t.takeOver(shard, epoch) })
	}
}

// Release hands shards over: from now on what is about them is answered chat.ErrMoved, and what was accepted is
// finished. Nothing of them is live when it returns, also if it returns an error because ctx ended: then what was still
// under way was given up.
func (h *Hub) Release(ctx context.Context, shards *chat.ShardSet) error {
	if h.follow != nil {
		short, cancel := context.WithTimeout(ctx, releaseFollows)
		h.follow.Release(short, shards)
		cancel()
	}
	var err error
	if h.people != nil { // first: what they decide is told to conversations
		err = h.people.Release(ctx, shards)
	}
	if h.presence != nil {
		h.presence.release(ctx, shards)
	}
	return errors.Join(err, h.convs.Release(ctx, shards))
}

// Lost takes in that shards are not this node's any more: whatever is under way about them is given up, and nothing of it
// is acknowledged or delivered. It does not block.
func (h *Hub) Lost(shards *chat.ShardSet) {
	h.convs.Drop(shards)
	if h.people != nil {
		h.people.Drop(shards)
		h.presence.lose(shards)
	}
	if h.follow != nil {
		h.follow.Drop(shards)
	}
}

// leftover is what the last owner of a shard left and has not been taken over yet.
type leftover struct {
	listed bool
	keys   []chat.ConversationKey
	pairs  []chat.PairKey
}

// takeOver tries until nothing is left, or the term ends.
func (t *terms) takeOver(shard int, epoch uint64) {
	var left leftover
	misses := 0
	for wait := firstTakeover; ; wait = min(2*wait, lastTakeover) {
		select {
		case t.slots <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		var err error
		mine := t.hub.cfg.Cluster.MayAck(shard, epoch)
		if mine {
			err = t.hub.attempt(t.ctx, shard, &left)
		}
		<-t.slots
		if mine && err == nil {
			t.hub.unrepaired[shard].Store(false)
		}
		if !mine { // it is over, or has hardly begun
			misses++
		}
		if mine && err == nil || misses > maxMisses || t.ctx.Err() != nil {
			return
		}
		if mine {
			t.hub.cfg.Log.Warn("a shard is not taken over yet, it will be tried again", slog.Int("shard", shard),
				slog.Int("conversations", len(left.keys)), slog.Int("pairs", len(left.pairs)), slog.Any("error", err))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// attempt finishes what it can of what is left.
func (h *Hub) attempt(ctx context.Context, shard int, left *leftover) error {
	ctx, cancel := context.WithTimeout(ctx, takeoverTime)
	defer cancel()
	if !left.listed {
		if err := h.leftover(ctx, shard, left); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var keys []chat.ConversationKey
	var pairs []chat.PairKey
	var failed error
	var g errgroup.Group
	g.SetLimit(takeoverEach)
	for _, k := range left.keys {
		g.Go(func() error {
			if err := h.convs.Announce(ctx, k); err != nil {
				mu.Lock()
				defer mu.Unlock()
				keys, failed = append(keys, k), err
			}
			return nil
		})
	}
	for _, k := range left.pairs {
		g.Go(func() error {
			if err := h.people.Repair(ctx, k); err != nil {
				mu.Lock()
				defer mu.Unlock()
				pairs, failed = append(pairs, k), err
			}
			return nil
		})
	}
	_ = g.Wait() // they answer nil
	left.keys, left.pairs = keys, pairs
	return failed
}

func (h *Hub) leftover(ctx context.Context, shard int, left *leftover) error {
	left.keys, left.pairs = nil, nil
	for after := (chat.ConversationKey{}); ; {
		page, err := h.store.DirtyShard(ctx, shard, after, takeoverPage)
		if err != nil {
			return fmt.Errorf("list conversations to repair: %w", err)
		}
		left.keys = append(left.keys, page...)
		if len(page) < takeoverPage {
			break
		}
		after = page[len(page)-1]
	}
	if h.people != nil {
		var err error
		if left.pairs, err = h.cfg.People.UnsettledShard(ctx, shard); err != nil {
			return fmt.Errorf("list pairs of users to repair: %w", err)
		}
	}
	left.listed = true
	return nil
}
