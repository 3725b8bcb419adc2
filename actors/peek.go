package actors

import (
	"context"
	"errors"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// repaired reports whether what is stored of the conversations of a shard of this node's that are not in memory is as
// their logs say. It is not while a term begins: the owner before may have died before it saved what it had acknowledged.
func (h *Hub) repaired(shard int) bool { return !h.unrepaired[shard].Load() }

// look looks at a conversation of this node's.
func (h *Hub) look(key chat.ConversationKey, q *chat.Peek) chat.Snapshot {
	s, exists, known := h.convs.Peek(key, q.User, q.Members)
	s.Exists, s.Known, s.Set = exists, known, nil
	if exists && q.Rewritten {
		s.Rewritten = h.convs.Rewritten(key)
	}
	return s
}

// lookHere is the same where there are other nodes.
func (h *Hub) lookHere(key chat.ConversationKey, q *chat.Peek) chat.Snapshot {
	t, ok := h.term(key.Shard())
	if !ok || !h.repaired(t.shard) {
		return chat.Snapshot{Moved: true}
	}
	s := h.look(key, q)
	if !t.lasts() {
		return chat.Snapshot{Moved: true}
	}
	return s
}

// peek looks at conversations, on whichever nodes they are. yield gets the snapshot of each, in no order and one after
// the other; those that are not Known are as the store says, if it is read after. It fails with chat.ErrUnavailable if
// an owner cannot be reached in time: what the store says could be behind what was acknowledged.
func (h *Hub) peek(ctx context.Context, q chat.Peek, yield func(i int, s *chat.Snapshot)) error {
	if h.cfg.Cluster == nil {
		for i, k := range q.Keys {
			s := h.look(k, &q)
			yield(i, &s)
		}
		return nil
	}
	var elsewhere []int
	for i, k := range q.Keys {
		s := h.lookHere(k, &q)
		if s.Moved {
			elsewhere = append(elsewhere, i)
			continue
		}
		yield(i, &s)
	}
	got := make([]*chat.Snapshot, len(q.Keys))
	err := h.gather(ctx, elsewhere, func(i int) int { return q.Keys[i].Shard() }, func(ctx context.Context, _ int, things []int) ([]int, error) {
		return h.peekAt(ctx, &q, things, got)
	})
	if err != nil {
		return fmt.Errorf("look at conversations: %w", unreached(ctx, err))
	}
	for _, i := range elsewhere {
		yield(i, got[i])
	}
	return nil
}

// peekSize bounds what one answer to Peek holds, in conversations and members.
const peekSize = 4000

func (h *Hub) peekAt(ctx context.Context, q *chat.Peek, things []int, got []*chat.Snapshot) (again []int, err error) {
	for len(things) > 0 {
		some := things[:min(len(things), max(1, peekSize/(1+q.Members)))]
		things = things[len(some):]
		part := *q
		part.Keys = make([]chat.ConversationKey, len(some))
		for j, i := range some {
			part.Keys[j] = q.Keys[i]
		}
		a, err := decide[chat.Snapshots](ctx, h, part.Keys[0].Shard(), part)
		if err != nil {
			return nil, err
		}
		if len(a.List) != len(some) {
			return nil, fmt.Errorf("%w: %d snapshots of %d", chat.ErrUnavailable, len(a.List), len(some))
		}
		for j, i := range some {
			if a.List[j].Moved {
				again = append(again, i)
			} else {
				got[i] = &a.List[j]
			}
		}
	}
	return again, nil
}

// unreached is the error of a look that found nobody in time, which was not the caller's.
func unreached(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", chat.ErrUnavailable, unwrapped{err})
	}
	return err
}

// presences answers who of users is there.
func (h *Hub) presences(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.Presence, error) {
	out := make([]chat.Presence, len(ids))
	var elsewhere []int
	for i, id := range ids {
		if out[i] = h.presenceHere(chat.UserKey{Tenant: t, User: id}); out[i].Moved {
			elsewhere = append(elsewhere, i)
		}
	}
	if len(elsewhere) == 0 {
		return out, nil
	}
	shard := func(i int) int { return chat.UserKey{Tenant: t, User: ids[i]}.Shard() }
	err := h.gather(ctx, elsewhere, shard, func(ctx context.Context, shard int, things []int) (again []int, err error) {
		q := chat.AskPresence{Tenant: t, Users: make([]chat.UserID, len(things))}
		for j, i := range things {
			q.Users[j] = ids[i]
		}
		a, err := decide[chat.PresenceOf](ctx, h, shard, q)
		if err == nil && len(a.List) != len(things) {
			err = fmt.Errorf("%w: %d users of %d", chat.ErrUnavailable, len(a.List), len(things))
		}
		if err != nil {
			return nil, err
		}
		for j, i := range things {
			if out[i] = a.List[j]; out[i].Moved {
				again = append(again, i)
			}
		}
		return again, nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask who is there: %w", unreached(ctx, err))
	}
	return out, nil
}

// presenceHere is what this node, if it is the user's home, knows.
func (h *Hub) presenceHere(k chat.UserKey) chat.Presence {
	t, ok := h.term(k.Shard())
	if !ok {
		return chat.Presence{Moved: true}
	}
	p := chat.Presence{Connected: h.connected(k), Seen: h.presence.unwritten(k)}
	if !t.lasts() {
		return chat.Presence{Moved: true}
	}
	return p
}
