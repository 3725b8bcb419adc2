package session

import (
	"context"
	"errors"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
)

// maxSearches is how many searches of sessions run at once; more are answered overloaded.
const maxSearches = 32

// Searcher finds messages for a user. It may wait, for as long as the context lasts.
type Searcher interface {
	Search(ctx context.Context, p chat.Principal, q chat.SearchQuery) ([]chat.SearchItem, error)
}

// search asks for messages, on a goroutine of its own: it may take long.
func (m *Manager) search(q request, s chat.SearchQuery) {
	if m.cfg.Searcher == nil {
		m.fail(&q, chat.ErrNotSupported)
		return
	}
	s.Conversation = q.target
	if q.single {
		s.Conversation = q.conversation
	}
	if m.searches.Add(1) > maxSearches {
		m.searches.Add(-1)
		m.fail(&q, chat.ErrOverloaded)
		return
	}
	m.wg.Go(func() {
		defer m.searches.Add(-1)
		ctx, cancel := context.WithTimeout(m.life, m.cfg.WorkTimeout)
		defer cancel()
		items, err := m.cfg.Searcher.Search(ctx, q.u.principal(), s)
		m.found(&q, &s, items, err)
	})
}

func (m *Manager) found(q *request, s *chat.SearchQuery, items []chat.SearchItem, err error) {
	if errors.Is(err, chat.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = &frame.Error{Code: frame.CodeUnavailable, Text: frame.TextSearchUnavailable}
	}
	if err != nil {
		m.fail(q, err)
		return
	}
	// Like a replay it must not fill the queue of the connection, which would be closed for it.
	b, _ := frame.AppendSearchResults(nil, s.Text, items, m.cfg.ReplayBytes/2, q.ref)
	if wait := m.chargeReplay(q.caller.link, len(b)); wait > 0 {
		m.fail(q, &chat.RateLimitError{RetryAfter: wait})
		return
	}
	m.done(q)
	m.reply(q.caller.link, b)
}
