package actors

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	// suggestionGroups is how many of the caller's groups are looked at, those joined last, and in each at the members
	// that joined first, as many as a list carries.
	suggestionGroups = 100
	// suggestionUsers is at how many users of the tenant is looked for colleagues.
	suggestionUsers = 100
	// suggestionsKept is how many are remembered, so that there are enough when some of them become contacts.
	suggestionsKept = 50
	suggestionsTTL  = 24 * time.Hour
	// nobodyTTL is how long it is remembered that there was nobody to suggest.
	nobodyTTL = time.Minute
	// maxSuggestions bounds the users whose suggestions are remembered, at up to 3 KB each.
	maxSuggestions = 4 << 10
)

// suggestion is a user whom another may know.
type suggestion struct {
	user   chat.UserID
	shared int // groups of both
}

// suggestions remembers for a day whom users may know. What is between them is looked at with every answer.
type suggestions struct {
	now          func() time.Time
	hits, misses atomic.Uint64

	mu sync.Mutex
	m  map[chat.UserKey]keptSuggestions
}

type keptSuggestions struct {
	list  []suggestion
	until time.Time
}

func (c *suggestions) get(k chat.UserKey) ([]suggestion, bool) {
	now := c.now()
	c.mu.Lock()
	kept, ok := c.m[k]
	if ok && !now.Before(kept.until) {
		delete(c.m, k)
		ok = false
	}
	c.mu.Unlock()
	if ok {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
	return kept.list, ok
}

func (c *suggestions) put(k chat.UserKey, list []suggestion) {
	ttl := suggestionsTTL
	if len(list) == 0 {
		ttl = nobodyTTL
	}
	until := c.now().Add(ttl)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[chat.UserKey]keptSuggestions)
	}
	if _, ok := c.m[k]; !ok && len(c.m) >= maxSuggestions {
		for old := range c.m { // any one: it is found again when it is asked for
			delete(c.m, old)
			break
		}
	}
	c.m[k] = keptSuggestions{list, until}
}

// Suggestions are users whom the caller may want as contacts, at most chat.MaxSuggestions: those who share the most groups
// with them first, then colleagues, who are of the same tenant. There are none of the latter with Config.EmailPrivacy,
// which is for tenants of strangers. They are looked for once a day. Who is a contact, has a block or a friend request with
// the caller is left out at once.
func (h *Hub) Suggestions(ctx context.Context, p chat.Principal) ([]chat.SuggestionItem, error) {
	if h.people == nil {
		return nil, errNoPeople
	}
	list, ok := h.suggested.get(p.Key())
	if !ok {
		var err error
		if list, err = h.suggest(ctx, p.Key()); err != nil {
			return nil, err
		}
		h.suggested.put(p.Key(), list)
	}
	keys := make([]chat.PairKey, len(list))
	for i := range list {
		keys[i] = chat.PairOf(p.Tenant, p.User, list[i].user)
	}
	pairs, err := h.cfg.People.GetPairs(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("read pairs: %w", err)
	}
	users, out := newUserSet(p.Tenant), make([]chat.SuggestionItem, 0, len(list))
	for i, s := range list {
		if mayBeSuggested(&pairs[i], p.User) {
			users.want(s.user)
			out = append(out, chat.SuggestionItem{Profile: chat.User{ID: s.user}, SharedGroups: s.shared})
		}
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(s chat.SuggestionItem) bool { return users.users[s.Profile.ID].ID == "" }) // unknown
	out = out[:min(len(out), chat.MaxSuggestions)]
	for i := range out {
		out[i].Profile = users.get(out[i].Profile.ID, "")
	}
	return out, nil
}

// mayBeSuggested reports whether nothing is between the two that one of them decided already. A quiet request of the
// caller's is no reason: who goes missing from the list would be the one with that address.
func mayBeSuggested(pair *chat.Pair, caller chat.UserID) bool {
	mine, theirs := pair.Of(caller), pair.Of(pair.Key.Other(caller))
	asked := mine.Request.State != chat.RequestNone && (!mine.Request.Quiet || mine.Request.State == chat.RequestAccepted)
	return mine.ContactSince.IsZero() && !pair.Blocked() && !asked && theirs.Request.State == chat.RequestNone
}

// suggest looks for users whom another may know, the best first. What it reads is bounded, however many groups the user
// is in and however large they are.
func (h *Hub) suggest(ctx context.Context, k chat.UserKey) ([]suggestion, error) {
	shared, err := h.sharedGroups(ctx, k)
	if err != nil {
		return nil, err
	}
	if !h.cfg.EmailPrivacy {
		if err := h.colleagues(ctx, k, shared); err != nil {
			return nil, err
		}
	}
	delete(shared, k.User)
	contacts, err := h.cfg.People.ListContacts(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	for i := range contacts {
		delete(shared, contacts[i].User)
	}
	list := make([]suggestion, 0, len(shared))
	for u, n := range shared {
		list = append(list, suggestion{u, n})
	}
	slices.SortFunc(list, func(a, b suggestion) int { return cmp.Or(b.shared-a.shared, cmp.Compare(a.user, b.user)) })
	return slices.Clone(list[:min(len(list), suggestionsKept)]), nil
}

// sharedGroups counts the groups that others share with the user.
func (h *Hub) sharedGroups(ctx context.Context, k chat.UserKey) (map[chat.UserID]int, error) {
	rows, err := h.store.ListMemberships(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("list memberships: %w", err)
	}
	rows = slices.DeleteFunc(rows, func(m chat.Membership) bool { return m.Kind != chat.Group })
	slices.SortFunc(rows, func(a, b chat.Membership) int { return b.JoinedAt.Compare(a.JoinedAt) })
	rows = rows[:min(len(rows), suggestionGroups)]
	keys := make([]chat.ConversationKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].Key
	}
	shared := make(map[chat.UserID]int)
	count := func(ms []chat.Member) {
		for i := range ms {
			shared[ms[i].User]++
		}
	}
	var rest []chat.ConversationKey
	err = h.peek(ctx, chat.Peek{User: k.User, Keys: keys, Members: listMembers}, func(i int, s *chat.Snapshot) {
		switch {
		case !s.Known:
			rest = append(rest, keys[i])
		case s.Exists && s.Me.User != "":
			count(s.Members)
		}
	})
	if err != nil {
		return nil, err
	}
	lists, err := h.listMembers(ctx, rest, listMembers)
	if err != nil {
		return nil, err
	}
	for _, ms := range lists {
		count(ms)
	}
	return shared, nil
}

// colleagues adds users of the tenant who share no group. Where there are many, everybody is shown others.
func (h *Hub) colleagues(ctx context.Context, k chat.UserKey, shared map[chat.UserID]int) error {
	from := chat.UserCursor{Slot: int(k.Number("suggestion", "") % chat.UserSlots)}
	for left := suggestionUsers; left > 0; {
		users, _, done, err := h.cfg.People.WalkUsers(ctx, k.Tenant, from, left)
		if err != nil {
			return fmt.Errorf("list users: %w", err)
		}
		for i := range users {
			shared[users[i].ID] += 0
		}
		if left -= len(users); !done || from.Slot == 0 {
			return nil
		}
		from = chat.UserCursor{} // those before
	}
	return nil
}
