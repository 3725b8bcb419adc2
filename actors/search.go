package actors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// Searcher finds messages by their text: an index, which may be late or wrong. Errors that are neither a
// *chat.FieldError nor the context's mean that it cannot be asked now.
type Searcher interface {
	Search(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error)
}

// searchRounds is how often the index is asked again because hits were stale.
const searchRounds = 5

// searches bounds how many run at once.
type searches struct {
	index    Searcher
	running  chan struct{}
	timeout  time.Duration
	observed func(err error, found, stale int, took time.Duration)
}

func newSearches(c *Config) searches {
	s := searches{index: c.Search, timeout: c.SearchTimeout, observed: c.Searched}
	n := c.Searches
	if n <= 0 {
		n = 64
	}
	if s.timeout <= 0 {
		s.timeout = 5 * time.Second
	}
	s.running = make(chan struct{}, n)
	return s
}

// Search finds messages in the conversations of which the caller is a member now, newest first, at most
// chat.MaxSearchResults. Whatever the index says is checked against the logs: what was deleted, or edited so that it
// does not match any more, is not found, and nothing of a conversation that the caller has left. IsRead and ReadBy of
// the items are not filled in. It reads the store a number of times that does not grow with conversations or hits.
//
// chat.ErrNotSupported if there is no search, chat.ErrUnavailable if the index cannot be asked now, chat.ErrOverloaded
// if too many search at once.
func (h *Hub) Search(ctx context.Context, p chat.Principal, q chat.SearchQuery) ([]chat.SearchItem, error) {
	start := h.cfg.Now()
	items, stale, err := h.admitSearch(ctx, p, q)
	if h.search.observed != nil {
		h.search.observed(err, len(items), stale, h.cfg.Now().Sub(start))
	}
	return items, err
}

func (h *Hub) admitSearch(ctx context.Context, p chat.Principal, q chat.SearchQuery) ([]chat.SearchItem, int, error) {
	switch {
	case h.search.index == nil:
		return nil, 0, fmt.Errorf("search: %w", chat.ErrNotSupported)
	case h.closed.Load():
		return nil, 0, chat.ErrShutdown
	}
	if err := q.Normalize(); err != nil {
		return nil, 0, err
	}
	select {
	case h.search.running <- struct{}{}:
		defer func() { <-h.search.running }()
	default:
		return nil, 0, fmt.Errorf("search: %w", chat.ErrOverloaded)
	}
	return h.find(ctx, p, q)
}

func (h *Hub) find(ctx context.Context, p chat.Principal, q chat.SearchQuery) (items []chat.SearchItem, stale int, err error) {
	iq := chat.IndexQuery{SearchQuery: q, Tenant: p.Tenant}
	if iq.Conversations, err = h.readable(ctx, p, q.Conversation); err != nil || len(iq.Conversations) == 0 {
		return nil, 0, err
	}
	seen := make(map[chat.MessageID]bool)
	for range searchRounds {
		answer, err := h.ask(ctx, iq)
		if err != nil {
			return nil, stale, err
		}
		hits := slices.DeleteFunc(answer.Hits, func(x chat.SearchHit) bool {
			again := seen[x.Message]
			seen[x.Message] = true
			return again
		})
		iq.Offset += len(answer.Hits)
		confirmed, err := h.confirm(ctx, p, &q, hits, answer.Highlight)
		if err != nil {
			return nil, stale, err
		}
		stale += len(hits) - len(confirmed)
		items = append(items, confirmed...)
		if len(items) >= q.Limit || !answer.More || len(answer.Hits) == 0 {
			break
		}
	}
	slices.SortStableFunc(items, func(a, b chat.SearchItem) int {
		if c := b.Event.At.Compare(a.Event.At); c != 0 {
			return c
		}
		return bytes.Compare(b.Event.Message[:], a.Event.Message[:])
	})
	items = items[:min(q.Limit, len(items))]
	users := newUserSet(p.Tenant)
	for i := range items {
		users.want(items[i].Event.Actor)
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, stale, err
	}
	for i := range items {
		items[i].Sender = users.get(items[i].Event.Actor, items[i].Event.ActorName)
	}
	return items, stale, nil
}

// readable are the conversations to search in. Changes of membership show in the lists before they are acknowledged,
// and every hit is checked once more.
func (h *Hub) readable(ctx context.Context, p chat.Principal, only chat.ConversationID) ([]chat.ConversationID, error) {
	rows, err := h.store.ListMemberships(ctx, p.Key())
	if err != nil {
		return nil, fmt.Errorf("list memberships: %w", err)
	}
	keys := make([]chat.ConversationKey, 0, len(rows))
	for _, row := range rows {
		if only.IsZero() || row.Key.ID == only {
			keys = append(keys, row.Key)
		}
	}
	ids := make([]chat.ConversationID, 0, len(keys))
	err = h.peek(ctx, chat.Peek{User: p.User, Keys: keys}, func(i int, s *chat.Snapshot) {
		if !s.Known || s.Exists && s.Me.User != "" {
			ids = append(ids, keys[i].ID)
		}
	})
	return ids, err
}

// ask asks the index, for a bounded time.
func (h *Hub) ask(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error) {
	bounded, cancel := context.WithTimeout(ctx, h.search.timeout)
	defer cancel()
	answer, err := h.search.index.Search(bounded, q)
	var field *chat.FieldError
	switch {
	case err == nil && answer.Highlight == nil:
		return answer, errors.New("search: the index answered without a highlighter")
	case err == nil, errors.As(err, &field):
		return answer, err
	case ctx.Err() != nil:
		return answer, fmt.Errorf("search: %w", ctx.Err())
	}
	return answer, fmt.Errorf("%w: search: %w", chat.ErrUnavailable, unwrapped{err})
}

// unwrapped keeps the text of an error and hides its kind: that the index ran out of time is not the caller's doing.
type unwrapped struct{ err error }

func (u unwrapped) Error() string { return u.err.Error() }

// confirm keeps the hits that are true, in their order.
func (h *Hub) confirm(ctx context.Context, p chat.Principal, q *chat.SearchQuery, hits []chat.SearchHit,
	highlight func(string) (string, bool)) ([]chat.SearchItem, error) {
	if len(hits) == 0 {
		return nil, nil
	}
	heads, changed, hides, err := h.openAll(ctx, p, hits)
	if err != nil {
		return nil, err
	}
	var refs []chat.EventRef
	kept := hits[:0]
	for _, x := range hits {
		if head := heads[x.Conversation]; head != nil && x.Seq > 0 && x.Seq <= head.Seq {
			refs = append(refs, chat.EventRef{Key: head.Key, Seq: x.Seq, Epoch: head.Epoch})
			kept = append(kept, x)
		}
	}
	hidden, err := h.concealed(ctx, p.User, refs, hides)
	if err != nil {
		return nil, err
	}
	events, err := h.store.GetEvents(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	items := make([]chat.SearchItem, 0, len(kept))
	for i, x := range kept {
		e := events[i]
		if c := changed[refs[i].Key][x.Seq]; c != nil {
			e = *c
		}
		if hidden[i] || !e.IsMessage() || e.Message != x.Message || !e.DeletedAt.IsZero() || !q.Admits(&e) {
			continue
		}
		marked, matches := highlight(e.Content)
		if !matches {
			continue
		}
		items = append(items, chat.SearchItem{ConversationName: heads[x.Conversation].Name, Highlight: marked,
			MessageItem: chat.MessageItem{Conversation: x.Conversation, Event: e, IsOwn: e.Actor == p.User}})
	}
	return items, nil
}

// openAll answers the heads of those of the hits' conversations that the caller may read, the rows there that the
// store does not show yet, and where the caller has hidden messages.
func (h *Hub) openAll(ctx context.Context, p chat.Principal, hits []chat.SearchHit) (map[chat.ConversationID]*chat.Head,
	map[chat.ConversationKey]map[uint64]*chat.Event, map[chat.ConversationKey]bool, error) {
	hides := make(map[chat.ConversationKey]bool)
	heads := make(map[chat.ConversationID]*chat.Head)
	changed := make(map[chat.ConversationKey]map[uint64]*chat.Event)
	var keys, rest []chat.ConversationKey
	for _, x := range hits {
		if _, ok := heads[x.Conversation]; !ok {
			heads[x.Conversation] = nil
			keys = append(keys, chat.ConversationKey{Tenant: p.Tenant, ID: x.Conversation})
		}
	}
	err := h.peek(ctx, chat.Peek{User: p.User, Keys: keys, Rewritten: true}, func(i int, s *chat.Snapshot) {
		key := keys[i]
		switch {
		case !s.Known:
			rest = append(rest, key)
		case s.Exists && s.Me.User != "":
			head := s.Head
			if s.Me.HiddenMessages > 0 {
				hides[key] = true
			}
			heads[key.ID] = &head
			for _, e := range s.Rewritten {
				if changed[key] == nil {
					changed[key] = make(map[uint64]*chat.Event)
				}
				changed[key][e.Seq] = e
			}
		}
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if len(rest) == 0 {
		return heads, changed, hides, nil
	}
	stored, err := h.store.GetHeads(ctx, rest)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read heads: %w", err)
	}
	mine, err := h.store.GetMembers(ctx, rest, p.User)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read memberships: %w", err)
	}
	for i := range rest {
		if stored[i].Seq > 0 && mine[i].User != "" {
			heads[rest[i].ID] = &stored[i]
			if mine[i].HiddenMessages > 0 {
				hides[rest[i]] = true
			}
		}
	}
	return heads, changed, hides, nil
}
