package session_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/session"
)

type searcher struct {
	mu    sync.Mutex
	asked []chat.SearchQuery
	by    []chat.UserID
	items []chat.SearchItem
	err   error
	hold  chan struct{}
}

func (s *searcher) Search(ctx context.Context, p chat.Principal, q chat.SearchQuery) ([]chat.SearchItem, error) {
	s.mu.Lock()
	s.asked, s.by = append(s.asked, q), append(s.by, p.User)
	items, err, hold := s.items, s.err, s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return items, err
}

func item(content string) chat.SearchItem {
	return chat.SearchItem{Highlight: "<mark>x</mark>", MessageItem: chat.MessageItem{Conversation: conv, Event: *event(3, "bob", content)}}
}

func TestSearch(t *testing.T) {
	s := &searcher{items: []chat.SearchItem{item("x")}}
	b := newBed(t, func(c *session.Config, _ *hub) { c.Searcher = s })
	one, all := b.dial(chatPath, "alice"), b.dial("/ws/", "alice")
	b.frames(one)
	b.frames(all)
	other := chat.ConversationID{9}
	ask := func(c *conn, frame string) string {
		t.Helper()
		b.send(c, frame)
		var got []string
		eventually(t, "answers", func() bool { got = append(got, b.frames(c)...); return len(got) > 0 })
		if len(got) != 1 {
			t.Fatalf("%s: %q", frame, got)
		}
		return got[0]
	}
	if got := ask(all, `{"type":"search","query":" x y ","ref":7}`); !strings.HasPrefix(got, `{"type":"search_results","query":"x y","count":1,"results":[{"id":"`) ||
		!strings.HasSuffix(got, `"truncated":false,"ref":7}`) || !strings.Contains(got, `"content_highlight":"\u003cmark\u003ex\u003c/mark\u003e"`) {
		t.Error(got)
	}
	ask(all, `{"type":"search","query":"xy","conversation_id":"`+other.String()+`"}`)
	ask(one, `{"type":"search","query":"xy"}`)
	ask(one, `{"type":"search","query":"xy","conversation_id":"`+conv.String()+`"}`)
	for i, want := range []chat.ConversationID{{}, other, conv, conv} {
		if s.asked[i].Conversation != want || s.by[i] != "alice" {
			t.Errorf("%d: %+v by %s", i, s.asked[i], s.by[i])
		}
	}
	if got := ask(one, `{"type":"search","query":"xy","conversation_id":"`+other.String()+`"}`); !strings.Contains(got, `"code":"invalid"`) {
		t.Error(got)
	}
	s.err = fmt.Errorf("%w: search: no route", chat.ErrUnavailable)
	if got := ask(all, `{"type":"search","query":"xy","ref":"r"}`); !strings.HasPrefix(got, `{"type":"error","message":"Search is temporarily unavailable, try again later.","code":"unavailable"`) ||
		!strings.Contains(got, `"ref":"r"`) || !strings.Contains(got, `"retry_after_ms":`) {
		t.Error(got)
	}
}

func TestSearchIsOff(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial("/ws/", "alice")
	b.frames(c)
	b.send(c, `{"type":"search","query":"xy","ref":1}`)
	want(t, b.frames(c), `{"type":"error","message":"Not supported","code":"not_supported","ref":1}`)
}

// Results that do not fit are left out and said to be, and many of them do not overflow the connection's queue.
func TestSearchResultsAreBounded(t *testing.T) {
	s := &searcher{}
	for range 50 {
		s.items = append(s.items, item(strings.Repeat("x", 10000)))
	}
	b := newBed(t, func(c *session.Config, _ *hub) { c.Searcher, c.Now = s, func() time.Time { return at } })
	c := b.dial("/ws/", "alice")
	b.frames(c)
	sum, limited := 0, false
	for range 10 {
		b.send(c, `{"type":"search","query":"xy"}`)
		eventually(t, "answers", func() bool {
			got := b.frames(c)
			for _, f := range got {
				sum += len(f)
				limited = limited || strings.Contains(f, `"code":"rate_limited"`)
				if len(f) > 100<<10 || len(f) > 10000 && !strings.Contains(f, `"truncated":true`) {
					t.Errorf("%d bytes", len(f))
				}
			}
			return len(got) > 0
		})
	}
	if sum > 200<<10 || !limited {
		t.Errorf("%d bytes within a second, limited: %v", sum, limited)
	}
}

func TestSearchesAreBounded(t *testing.T) {
	s := &searcher{hold: make(chan struct{})}
	b := newBed(t, func(c *session.Config, _ *hub) { c.Searcher = s })
	var conns []*conn
	for i := range 5 {
		c := b.dial("/ws/", fmt.Sprint("user", i))
		b.frames(c)
		conns = append(conns, c)
		for range 10 {
			b.send(c, `{"type":"search","query":"xy"}`)
		}
	}
	refused := 0
	count := func(code string) (n int) {
		for _, c := range conns {
			for _, f := range b.frames(c) {
				if strings.Contains(f, code) {
					n++
				}
			}
		}
		return n
	}
	eventually(t, "answers", func() bool { refused += count(`"code":"overloaded"`); return refused == 50-32 })
	close(s.hold)
	answered := 0
	eventually(t, "answers", func() bool { answered += count("search_results"); return answered == 32 })
}
