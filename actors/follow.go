package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

const (
	// drainConsumers is how long Close lets the consumers catch up: what they lack is marked, and costs time at the
	// next start.
	drainConsumers = 2 * time.Second
	// followTimeout bounds the activation of one conversation on behalf of the consumers.
	followTimeout = 10 * time.Second
	follows       = 16 // at once
)

// prepare forgets consumers that are not there any more.
func (h *Hub) prepare(ctx context.Context) error {
	if h.follow != nil {
		return h.follow.Prepare(ctx)
	}
	nobody := projection.New(projection.Config{Store: h.store})
	defer nobody.Close()
	return nobody.Prepare(ctx)
}

// unfollow lets the consumers catch up, for a moment, and stops feeding them.
func (h *Hub) unfollow(ctx context.Context) {
	if h.follow == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainConsumers)
	defer cancel()
	h.follow.Drain(ctx)
	h.follow.Close()
}

// Projections is the state of the consumers and of their rebuilds.
func (h *Hub) Projections() []projection.Stats {
	if h.follow == nil {
		return nil
	}
	return h.follow.Stats()
}

// Rebuild makes the data of a consumer anew beside the data in use; see projection.Runner.
func (h *Hub) Rebuild(consumer string) error {
	if h.follow == nil {
		return fmt.Errorf("%w: no consumer %q", projection.ErrNoRebuild, consumer)
	}
	return h.follow.Rebuild(consumer)
}

// CancelRebuild ends a rebuild.
func (h *Hub) CancelRebuild(consumer string) error {
	if h.follow == nil {
		return projection.ErrNoRebuild
	}
	return h.follow.CancelRebuild(consumer)
}

// RebuildStatus is that of the newest rebuild; false if there was none since the start.
func (h *Hub) RebuildStatus(consumer string) (projection.RebuildStatus, bool) {
	if h.follow == nil {
		return projection.RebuildStatus{}, false
	}
	return h.follow.RebuildStatus(consumer)
}

// followed implements projection.Conversations.
type followed struct{ h *Hub }

// Positions asks the conversations in memory. Of the others the stored head is enough: it is written after the events
// that it covers were committed, and what lies behind it is marked. Where there is none, or more was told of, the
// conversation is brought into memory: its log may be ahead of what is stored.
func (f followed) Positions(ctx context.Context, keys []chat.ConversationKey, told []uint64) ([]projection.Position, error) {
	out := make([]projection.Position, len(keys))
	rest := make([]chat.ConversationKey, 0, len(keys))
	at := make([]int, 0, len(keys))
	for i, k := range keys {
		snap, exists, known := f.h.convs.Peek(k, "", 0)
		switch {
		case !known:
			rest, at = append(rest, k), append(at, i)
		case exists || snap.Gone:
			out[i] = projection.Position{Head: snap.Head.Seq, Exists: exists}
		default: // about to be created, or to leave memory
			out[i].Later = true
		}
	}
	if len(rest) == 0 {
		return out, nil
	}
	heads, err := f.h.store.GetHeads(ctx, rest)
	if err != nil {
		return nil, fmt.Errorf("read heads: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(follows)
	for j, i := range at {
		if heads[j].Seq > 0 && heads[j].Seq >= told[i] {
			out[i] = projection.Position{Head: heads[j].Seq, Exists: true}
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, followTimeout)
			defer cancel()
			p := &out[i]
			p.Head, p.Exists, p.Err = f.h.convs.Follow(ctx, rest[j], 0)
			if p.Err != nil && p.Head == 0 && (errors.Is(p.Err, context.DeadlineExceeded) || errors.Is(p.Err, chat.ErrShutdown) || errors.Is(p.Err, chat.ErrMoved)) {
				p.Later, p.Err = true, nil
			}
			return nil
		})
	}
	return out, g.Wait()
}

// Rewritten implements projection.Conversations.
func (f followed) Rewritten(key chat.ConversationKey) []*chat.Event { return f.h.convs.Rewritten(key) }

// Followed implements projection.Conversations. Conversations in memory take note; the others are brought there, so
// that their marks go while nothing else can happen to them.
func (f followed) Followed(ctx context.Context, list []projection.Followed) (failed []chat.ConversationKey) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(follows)
	for _, x := range list {
		if f.h.convs.Followed(x.Key, x.Seq) {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, followTimeout)
			defer cancel()
			if _, _, err := f.h.convs.Follow(ctx, x.Key, x.Seq); err != nil {
				mu.Lock()
				failed = append(failed, x.Key)
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // they answer nil
	return failed
}
