package faultstore

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
)

// people is what is between users. Lists are computed: SavePair does not return before they would show it.
type people struct {
	pairs     map[chat.PairKey]chat.Pair
	unsettled map[chat.PairKey]bool
	prefs     map[chat.UserKey]chat.Preferences
	seen      map[chat.UserKey]time.Time
}

func newPeople() people {
	return people{map[chat.PairKey]chat.Pair{}, map[chat.PairKey]bool{}, map[chat.UserKey]chat.Preferences{}, map[chat.UserKey]time.Time{}}
}

// with runs f, a read or a write, alone.
func (s *Store) with(op string, f func(p *people)) error {
	if err := s.begin(op, chat.ConversationKey{}); err != nil {
		return err
	}
	s.mu.Lock()
	f(&s.people)
	s.mu.Unlock()
	return s.end(op, chat.ConversationKey{})
}

func (p *people) pair(k chat.PairKey) chat.Pair {
	x := p.pairs[k]
	x.Key = k
	return x
}

// GetPair implements actors.People, as the methods below do.
func (s *Store) GetPair(_ context.Context, k chat.PairKey) (out chat.Pair, err error) {
	err = s.with("GetPair", func(p *people) { out = p.pair(k) })
	return out, err
}

func (s *Store) GetPairs(_ context.Context, keys []chat.PairKey) ([]chat.Pair, error) {
	out := make([]chat.Pair, len(keys))
	return out, s.with("GetPairs", func(p *people) {
		for i, k := range keys {
			out[i] = p.pair(k)
		}
	})
}

func (s *Store) SavePair(_ context.Context, p, _ chat.Pair) error {
	return s.with("SavePair", func(x *people) { x.pairs[p.Key], x.unsettled[p.Key] = p, true })
}

func (s *Store) RederivePair(context.Context, chat.Pair) error {
	return s.with("RederivePair", func(*people) {})
}

func (s *Store) SettlePair(_ context.Context, k chat.PairKey) error {
	return s.with("SettlePair", func(p *people) { delete(p.unsettled, k) })
}

func (s *Store) UnsettledPairs(_ context.Context, yield func(chat.PairKey) bool) error {
	var keys []chat.PairKey
	err := s.with("UnsettledPairs", func(p *people) { keys = slices.Collect(maps.Keys(p.unsettled)) })
	for _, k := range keys {
		if err != nil || !yield(k) {
			break
		}
	}
	return err
}

func (s *Store) UnsettledShard(ctx context.Context, shard int) (list []chat.PairKey, err error) {
	err = s.UnsettledPairs(ctx, func(k chat.PairKey) bool {
		if k.Home().Shard() == shard {
			list = append(list, k)
		}
		return true
	})
	return list, err
}

func (s *Store) GetPreferences(_ context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.Preferences, error) {
	out := make([]chat.Preferences, len(ids))
	return out, s.with("GetPreferences", func(p *people) {
		for i, id := range ids {
			out[i] = p.prefs[chat.UserKey{Tenant: t, User: id}]
		}
	})
}

func (s *Store) PutPreferences(_ context.Context, k chat.UserKey, prefs chat.Preferences) error {
	return s.with("PutPreferences", func(p *people) { p.prefs[k] = prefs })
}

// sides calls f with every pair of a user's, in order.
func (p *people) sides(k chat.UserKey, f func(other chat.UserID, mine, theirs *chat.Side)) {
	keys := slices.SortedFunc(maps.Keys(p.pairs), func(a, b chat.PairKey) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		if key.Tenant == k.Tenant && (key.Lo == k.User || key.Hi == k.User) {
			x := p.pairs[key]
			f(key.Other(k.User), x.Of(k.User), x.Of(key.Other(k.User)))
		}
	}
}

func (s *Store) ListContacts(_ context.Context, k chat.UserKey) (out []chat.Contact, err error) {
	err = s.with("ListContacts", func(p *people) {
		p.sides(k, func(other chat.UserID, mine, _ *chat.Side) {
			if !mine.ContactSince.IsZero() {
				out = append(out, chat.Contact{User: other, Since: mine.ContactSince, Favorite: mine.Favorite})
			}
		})
	})
	return out, err
}

func (s *Store) ListBlocks(_ context.Context, k chat.UserKey) (out []chat.BlockRow, err error) {
	err = s.with("ListBlocks", func(p *people) {
		p.sides(k, func(other chat.UserID, mine, _ *chat.Side) {
			if !mine.BlockedAt.IsZero() {
				out = append(out, chat.BlockRow{User: other, At: mine.BlockedAt})
			}
		})
	})
	return out, err
}

func (s *Store) ListRequests(_ context.Context, k chat.UserKey) (out []chat.RequestRow, err error) {
	err = s.with("ListRequests", func(p *people) {
		p.sides(k, func(other chat.UserID, mine, theirs *chat.Side) {
			if mine.Request.State != chat.RequestNone {
				out = append(out, chat.RequestRow{FriendRequest: mine.Request, Sender: k.User, Receiver: other})
			}
			if theirs.Request.State != chat.RequestNone {
				out = append(out, chat.RequestRow{FriendRequest: theirs.Request, Sender: other, Receiver: k.User})
			}
		})
	})
	return out, err
}

// FindByEmail knows the address of every user: their id, at "test".
func (s *Store) FindByEmail(_ context.Context, t chat.TenantID, email string) (out []chat.User, err error) {
	err = s.with("FindByEmail", func(*people) {
		id, ok := strings.CutSuffix(email, "@test")
		if u := s.users[chat.UserKey{Tenant: t, User: chat.UserID(id)}]; ok && u.ID != "" {
			out = append(out, u)
		}
	})
	return out, err
}

// WalkUsers has all users of a tenant in its first slot.
func (s *Store) WalkUsers(_ context.Context, t chat.TenantID, after chat.UserCursor, limit int) (users []chat.User, next chat.UserCursor, done bool, err error) {
	err = s.with("WalkUsers", func(*people) {
		for k, u := range s.users {
			if k.Tenant == t && after.Slot == 0 && u.ID > after.After {
				users = append(users, u)
			}
		}
	})
	slices.SortFunc(users, func(a, b chat.User) int { return strings.Compare(string(a.ID), string(b.ID)) })
	if len(users) > limit {
		users = users[:limit]
		return users, chat.UserCursor{After: users[limit-1].ID}, false, err
	}
	return users, chat.UserCursor{Slot: chat.UserSlots}, true, err
}

func (s *Store) GetLastSeen(_ context.Context, t chat.TenantID, ids []chat.UserID) ([]time.Time, error) {
	out := make([]time.Time, len(ids))
	return out, s.with("GetLastSeen", func(p *people) {
		for i, id := range ids {
			out[i] = p.seen[chat.UserKey{Tenant: t, User: id}]
		}
	})
}

func (s *Store) PutLastSeen(_ context.Context, seen []chat.Seen) error {
	return s.with("PutLastSeen", func(p *people) {
		for _, x := range seen {
			p.seen[x.User] = x.At
		}
	})
}
