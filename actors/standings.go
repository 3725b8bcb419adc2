package actors

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// maxStandings bounds how many are kept, at some 500 bytes each.
const maxStandings = 32 << 10

// standing is one conversation of a user.
type standing struct {
	head chat.Head
	me   chat.Member
}

// standingCache keeps what was read of conversations that are in no node's memory. Nothing is decided by it alone: the
// owner of each says with every look whether what was read is still true (chat.Snapshot.Version).
type standingCache struct {
	hits, misses atomic.Uint64

	mu sync.Mutex
	m  map[standingKey]keptStanding
}

type standingKey struct {
	conversation chat.ConversationKey
	user         chat.UserID
}

type keptStanding struct {
	standing
	version uint64
}

// get returns what was read when the version was the same.
func (c *standingCache) get(k standingKey, version uint64) (standing, bool) {
	c.mu.Lock()
	s, ok := c.m[k]
	c.mu.Unlock()
	if ok = ok && version != 0 && s.version == version; ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return s.standing, ok
}

// put keeps what was read after the version was seen.
func (c *standingCache) put(k standingKey, version uint64, s standing) {
	if version == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[standingKey]keptStanding)
	}
	if _, ok := c.m[k]; !ok && len(c.m) >= maxStandings {
		for old := range c.m { // any one: what is in use comes back
			delete(c.m, old)
			break
		}
	}
	c.m[k] = keptStanding{s, version}
}

// unread is a conversation whose standing is to be read, and the version that was seen before.
type unread struct {
	key     chat.ConversationKey
	version uint64
}

// standings are the conversations that the user is a member of now: those in memory say so themselves, of the others
// what was read before holds if it still is so, and the rest are read from the store, all at once.
func (h *Hub) standings(ctx context.Context, k chat.UserKey) ([]standing, error) {
	rows, err := h.store.ListMemberships(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("list memberships: %w", err)
	}
	out := make([]standing, 0, len(rows))
	keys := make([]chat.ConversationKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].Key
	}
	var rest []unread
	err = h.peek(ctx, chat.Peek{User: k.User, Keys: keys}, func(i int, s *chat.Snapshot) {
		if !s.Known {
			if kept, ok := h.kept.get(standingKey{keys[i], k.User}, s.Version); !ok {
				rest = append(rest, unread{keys[i], s.Version})
			} else if kept.exists() {
				out = append(out, kept)
			}
		} else if s.Exists && s.Me.User != "" {
			out = append(out, standing{s.Head, s.Me})
		}
	})
	if err != nil || len(rest) == 0 {
		return out, err
	}
	return h.readStandings(ctx, k.User, rest, out)
}

// exists reports whether there is such a conversation and the user is a member.
func (s *standing) exists() bool { return s.head.Seq > 0 && s.me.User != "" }

func (h *Hub) readStandings(ctx context.Context, user chat.UserID, rest []unread, out []standing) ([]standing, error) {
	keys := make([]chat.ConversationKey, len(rest))
	for i := range rest {
		keys[i] = rest[i].key
	}
	heads, err := h.store.GetHeads(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("read heads: %w", err)
	}
	mine, err := h.store.GetMembers(ctx, keys, user)
	if err != nil {
		return nil, fmt.Errorf("read memberships: %w", err)
	}
	for i := range rest {
		s := standing{heads[i], mine[i]}
		h.kept.put(standingKey{keys[i], user}, rest[i].version, s)
		if s.exists() {
			out = append(out, s)
		}
	}
	return out, nil
}
