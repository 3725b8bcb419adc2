package actors_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// counting counts the events that are walked through.
type counting struct {
	*faultstore.Store
	walked atomic.Int64
}

func (s *counting) ReadEventsReverse(ctx context.Context, k chat.ConversationKey, from uint64, limit int, yield func(chat.Event) bool) error {
	return s.Store.ReadEventsReverse(ctx, k, from, limit, func(e chat.Event) bool {
		s.walked.Add(1)
		return yield(e)
	})
}

// A page far behind a cursor, or behind a time, reads no more of the log than any other one, whatever other events lie between
// and whatever the reader has hidden.
func TestPagesBehindACursorAreFound(t *testing.T) {
	store := &counting{Store: faultstore.New()}
	store.AddUsers(tenant, "1", "2")
	h := actors.New(actors.Config{Store: store, Edge: &edge{}})
	if err := h.Start(bg, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(bg, 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	r := &rig{h, store.Store, nil, t}
	c := r.group("1", "2")
	const n = 1500
	var sent []*chat.Event
	var want []string // newest first
	for i := range n {
		e := r.do("1", chat.Send{Conversation: c, Content: text(i)}).Event
		sent = append(sent, e)
		if i%9 == 0 {
			r.do("1", chat.React{Conversation: c, Message: e.Message, Emoji: "+"})
		}
		if i%50 == 3 {
			r.do("2", chat.Hide{Conversation: c, Message: e.Message})
		} else {
			want = append(want, text(i))
		}
	}
	slices.Reverse(want)
	newest := r.do("1", chat.React{Conversation: c, Message: sent[0].Message, Emoji: "x"}).Event.At.Add(time.Hour)
	for _, cursor := range []int{n, n - 1, 1203, 700, 1, 0} {
		q := chat.MessageQuery{Conversation: c, Limit: 20, BeforeTime: newest}
		if cursor < n {
			q.Before, q.BeforeTime = sent[cursor].Message, time.Time{}
		}
		hidden := 0
		for i := range cursor {
			if i%50 == 3 {
				hidden++
			}
		}
		older := want[len(want)-(cursor-hidden):]
		for _, q.Offset = range []int{0, 19, 256, 257, 600, 1190, 1400, 1_000_000_000} {
			store.walked.Store(0)
			page, err := h.Messages(bg, as("2"), q)
			if err != nil {
				t.Fatal(err)
			}
			from, to := min(q.Offset, len(older)), min(q.Offset+20, len(older))
			if !slices.Equal(contents(page), append([]string(nil), older[from:to]...)) || page.More != (to < len(older)) {
				t.Errorf("%d behind %d: %q, more %v", q.Offset, cursor, contents(page), page.More)
			}
			if n := store.walked.Load(); n > 500 {
				t.Errorf("%d behind %d: %d events were read", q.Offset, cursor, n)
			}
		}
	}
}
