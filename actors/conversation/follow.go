package conversation

import (
	"context"
	"fmt"
	"math"

	"github.com/zumodra/hub/chat"
)

// Gone is the position of followers that know that a conversation is there no more.
const Gone = math.MaxUint64

// Follower feeds what follows the logs (projections). The dirty mark of a conversation goes only when it said, by
// Followed or Follow, that everything up to the head has been taken in.
type Follower interface {
	// Committed says that the log now reaches head, by that many events more. It comes before the head can be seen by
	// anybody, is called from many goroutines, must not block and should not allocate. A head of 0 says only that the
	// conversation should be looked at. It reports true if there was no room to take note: then Visible follows.
	Committed(key chat.ConversationKey, head uint64, events int) (full bool)
	// Visible follows a Committed that reported true, once the head can be seen.
	Visible()
}

type noFollower struct{}

func (noFollower) Committed(chat.ConversationKey, uint64, int) bool { return false }
func (noFollower) Visible()                                         {}

// Followed notes that everything that follows the log of a conversation has taken it in up to seq. It reports false
// if the conversation is not in memory: its mark, if it has one, goes by Follow.
func (g *Registry) Followed(key chat.ConversationKey, seq uint64) bool {
	s := &g.shards[key.Shard()]
	s.mu.RLock() // orders this before or behind leave
	defer s.mu.RUnlock()
	a := s.m[key]
	if a == nil {
		return false
	}
	a.follow(seq)
	return true
}

// Follow brings the derived rows of a conversation up to its log, as Repair does, and takes its dirty mark away if
// followers have taken in all of it with seq. It answers how far the log reaches, and whether the conversation exists.
func (g *Registry) Follow(ctx context.Context, key chat.ConversationKey, seq uint64) (head uint64, exists bool, err error) {
	a, err := g.enter(key)
	if err != nil {
		return 0, false, fmt.Errorf("repair %s: %w", key, err)
	}
	done := make(chan repaired, 1)
	g.cfg.System.Root.Send(a.pid, repair{done: done, told: seq})
	r := await(ctx, done)
	if r.err != nil {
		return 0, false, fmt.Errorf("repair %s: %w", key, r.err)
	}
	return r.head, r.exists, nil
}

func await(ctx context.Context, done <-chan repaired) (r repaired) {
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	return r
}

// Announce tells the members of a conversation, if it exists, how far its log reaches: whoever owned it before may have
// died between a commit and its delivery. It brings the derived rows up to the log as Repair does, but does not wait
// for them to be written.
func (g *Registry) Announce(ctx context.Context, key chat.ConversationKey) error {
	a, err := g.enter(key)
	if err != nil {
		return fmt.Errorf("announce %s: %w", key, err)
	}
	done := make(chan repaired, 1)
	g.cfg.System.Root.Send(a.pid, repair{done: done, announce: true})
	if r := await(ctx, done); r.err != nil {
		return fmt.Errorf("announce %s: %w", key, r.err)
	}
	return nil
}

// Repair brings the derived rows of a conversation up to its log. Its dirty mark goes if nothing follows the logs.
func (g *Registry) Repair(ctx context.Context, key chat.ConversationKey) error {
	_, _, err := g.Follow(ctx, key, 0)
	return err
}

// follow notes how far followers are. Whoever says so believes that there is a mark.
func (a *activation) follow(seq uint64) {
	a.suspect.Store(true)
	for {
		old := a.told.Load()
		if seq == 0 || old >= seq && (old != Gone || seq == Gone) || a.told.CompareAndSwap(old, seq) {
			return
		}
	}
}

// show runs the core with an input that makes committed events visible, of which the follower is told first.
func (a *activation) show(events []chat.Event, in Input) {
	full := false
	if len(events) > 0 {
		if a.told.Load() == Gone {
			a.told.Store(0)
		}
		full = a.reg.cfg.Follower.Committed(a.key, events[len(events)-1].Seq, len(events))
	}
	a.step(in)
	if full {
		a.reg.cfg.Follower.Visible()
	}
}

// look asks the follower to look at the conversation.
func (a *activation) look() {
	if a.reg.cfg.Follower.Committed(a.key, 0, 0) {
		a.reg.cfg.Follower.Visible()
	}
}

// clearable reports whether there is a dirty mark, or may be one, that nobody needs any more: the derived rows are
// saved, and followers have taken in all of the log. It is asked on the actor's goroutine.
func (a *activation) clearable() bool {
	if !a.dirty && !a.suspect.Load() || !a.state.Known() || !a.state.Saved() {
		return false
	}
	if f := a.reg.cfg.Delivered; f != nil && !f(a.key) {
		return false
	}
	if a.reg.unfollowed {
		return true
	}
	head, _, _, exists := a.state.Peek("")
	if !exists {
		return a.told.Load() == Gone
	}
	told := a.told.Load()
	return told >= head.Seq && told != Gone // which was said of what had this id before
}
