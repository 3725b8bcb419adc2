package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// oracle is an index that answers what a test wants it to, whatever is asked.
type oracle struct {
	mu    sync.Mutex
	hits  []chat.SearchHit
	asked []chat.IndexQuery
	err   error
	hold  chan struct{}
}

func (o *oracle) Search(ctx context.Context, q chat.IndexQuery) (chat.SearchAnswer, error) {
	o.mu.Lock()
	o.asked = append(o.asked, q)
	err, hold := o.err, o.hold
	rest := slices.Clone(o.hits[min(q.Offset, len(o.hits)):])
	o.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return chat.SearchAnswer{}, ctx.Err()
		}
	}
	n := min(q.Limit, len(rest))
	return chat.SearchAnswer{Hits: rest[:n], More: n < len(rest), Highlight: func(s string) (string, bool) {
		return strings.ReplaceAll(s, q.Text, "["+q.Text+"]"), strings.Contains(s, q.Text)
	}}, err
}

func (o *oracle) says(hits ...chat.SearchHit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hits = hits
}

func hit(c chat.ConversationID, e *chat.Event) chat.SearchHit {
	return chat.SearchHit{Conversation: c, Seq: e.Seq, Message: e.Message}
}

func found(items []chat.SearchItem) (out []string) {
	for _, it := range items {
		out = append(out, it.Event.Content)
	}
	return out
}

// An index says what it likes; nothing of it is shown that is not so.
func TestSearchChecksHits(t *testing.T) {
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprint("live ", live), func(t *testing.T) {
			o := &oracle{}
			idle := time.Hour
			if !live {
				idle = time.Millisecond
			}
			r := newRig(t, actors.Config{Search: o, Idle: idle})
			rest := func() {
				if !live {
					eventually(t, "all left memory", func() bool { return r.Stats().Live == 0 })
				}
			}
			mine, theirs, left := r.group("1", "2", "3"), r.group("3", "4", "5"), r.group("2", "1", "3")
			send := func(u chat.UserID, c chat.ConversationID, s string) *chat.Event {
				return r.do(u, chat.Send{Conversation: c, Content: s}).Event
			}
			good, edited, deleted := send("2", mine, "needle good"), send("1", mine, "needle edited"), send("1", mine, "needle deleted")
			better := send("1", mine, "something else")
			foreign, gone := send("4", theirs, "needle foreign"), send("2", left, "needle of before")
			r.do("1", chat.Edit{Conversation: mine, Message: edited.Message, Content: "thread"})
			r.do("1", chat.Edit{Conversation: mine, Message: better.Message, Content: "a needle now"})
			r.do("1", chat.Delete{Conversation: mine, Message: deleted.Message})
			reaction := r.do("2", chat.React{Conversation: mine, Message: good.Message, Emoji: "+"}).Event
			r.do("1", chat.Leave{Conversation: left})
			beyond := chat.SearchHit{Conversation: mine, Seq: 1000, Message: good.Message}
			wrong := chat.SearchHit{Conversation: mine, Seq: better.Seq, Message: good.Message}
			nowhere := chat.SearchHit{Conversation: chat.NewConversationID(), Seq: 2, Message: good.Message}
			o.says(hit(mine, good), hit(mine, edited), hit(mine, deleted), hit(mine, better), hit(theirs, foreign), hit(left, gone),
				hit(mine, reaction), beyond, wrong, nowhere, hit(mine, good), chat.SearchHit{Conversation: mine})
			rest()
			items, err := r.Search(bg, as("1"), chat.SearchQuery{Text: " needle "})
			if err != nil || !slices.Equal(found(items), []string{"a needle now", "needle good"}) {
				t.Fatalf("%q, %v", found(items), err)
			}
			if it := items[1]; it.Highlight != "[needle] good" || it.ConversationName != "group" || it.Sender.Username != "name-2" || it.IsOwn || it.Conversation != mine {
				t.Errorf("%+v", it)
			}
			if q := o.asked[0]; q.Text != "needle" || q.Tenant != tenant || !slices.Equal(q.Conversations, []chat.ConversationID{mine}) || q.Limit != 50 {
				t.Errorf("asked %+v", q)
			}
			rest()
			if items, err = r.Search(bg, as("1"), chat.SearchQuery{Text: "needle", Sender: "1"}); err != nil || len(items) != 1 {
				t.Errorf("by sender: %q, %v", found(items), err)
			}
			rest()
			if items, err = r.Search(bg, as("1"), chat.SearchQuery{Text: "needle", Before: good.At}); err != nil || len(items) != 0 {
				t.Errorf("by time: %q, %v", found(items), err)
			}
			// Of a conversation that is not the caller's the index is not even asked.
			n := len(o.asked)
			if items, err = r.Search(bg, as("1"), chat.SearchQuery{Text: "needle", Conversation: theirs}); err != nil || len(items) != 0 || len(o.asked) != n {
				t.Errorf("in a foreign conversation: %q, %v", found(items), err)
			}
		})
	}
}

// What was dropped is made up for, within bounds, and the store is read a number of times that does not depend on how
// many conversations and hits there are.
func TestSearchReadsAreBounded(t *testing.T) {
	o := &oracle{}
	r := newRig(t, actors.Config{Search: o, Idle: time.Millisecond})
	var hits []chat.SearchHit
	for i := range 120 {
		c := r.group("1", "2", "3")
		e := r.do("1", chat.Send{Conversation: c, Content: "needle " + text(i)}).Event
		if i%2 == 0 {
			r.do("1", chat.Delete{Conversation: c, Message: e.Message})
		}
		hits = append([]chat.SearchHit{hit(c, e)}, hits...)
	}
	o.says(hits...)
	eventually(t, "all left memory", func() bool { return r.Stats().Live == 0 })
	before := r.store.TotalCalls()
	items, err := r.Search(bg, as("1"), chat.SearchQuery{Text: "needle"})
	if err != nil || len(items) != 50 {
		t.Fatalf("%d, %v", len(items), err)
	}
	// One for the lists, one for the users, and three for each of the two times that the index was asked.
	if n := r.store.TotalCalls() - before; n > 8 || len(o.asked) != 2 {
		t.Errorf("the store was read %d times, the index %d times", n, len(o.asked))
	}
	// An index that is wrong about everything is not asked for ever.
	for i := range hits {
		hits[i].Message[0]++
	}
	for len(hits) < 1000 {
		more := hits[len(hits)%120]
		more.Message[15], more.Message[14] = byte(len(hits)), byte(len(hits)>>8)
		hits = append(hits, more)
	}
	o.says(hits...)
	o.asked = nil
	items, err = r.Search(bg, as("1"), chat.SearchQuery{Text: "needle"})
	if err != nil || len(items) != 0 || len(o.asked) > 5 {
		t.Errorf("%d, %v, asked %d times", len(items), err, len(o.asked))
	}
}

func TestSearchFailures(t *testing.T) {
	o := &oracle{}
	var mu sync.Mutex
	var outcomes []error
	r := newRig(t, actors.Config{Search: o, Searches: 1, SearchTimeout: 20 * time.Millisecond,
		Searched: func(err error, _, _ int, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, err)
		}})
	r.group("1", "2", "3")
	ask := func() error {
		_, err := r.Search(bg, as("1"), chat.SearchQuery{Text: "needle"})
		return err
	}
	o.err = errors.New("no route to host")
	if err := ask(); !errors.Is(err, chat.ErrUnavailable) {
		t.Error(err)
	}
	o.err = &chat.FieldError{Field: "query", Text: "Too many words."}
	if field := (*chat.FieldError)(nil); !errors.As(ask(), &field) || field.Text != "Too many words." {
		t.Error(field)
	}
	o.err, o.hold = nil, make(chan struct{})
	if err := ask(); !errors.Is(err, chat.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an index that does not answer: %v", err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := r.Search(ctx, as("1"), chat.SearchQuery{Text: "needle"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := ask(); !errors.Is(err, chat.ErrUnavailable) {
		t.Error(err)
	}
	for text, ok := range map[string]bool{"": false, " a ": false, "ab": true, strings.Repeat("é", 100): true, strings.Repeat("é", 101): false, "a\xff": false} {
		o.hold = nil
		if _, err := r.Search(bg, as("1"), chat.SearchQuery{Text: text}); errors.Is(err, chat.ErrInvalid) == ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	o.hold = make(chan struct{})
	first := make(chan error, 1)
	go func() { first <- ask() }()
	eventually(t, "the first search", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.asked) > 0 && o.asked[len(o.asked)-1].Text == "needle"
	})
	if err := ask(); !errors.Is(err, chat.ErrOverloaded) && !errors.Is(err, chat.ErrUnavailable) {
		t.Errorf("a second one at once: %v", err)
	}
	<-first
	off := newRig(t, actors.Config{})
	if _, err := off.Search(bg, as("1"), chat.SearchQuery{Text: "needle"}); !errors.Is(err, chat.ErrNotSupported) {
		t.Error(err)
	}
	if len(outcomes) != 13 {
		t.Errorf("%d searches were observed", len(outcomes))
	}
}
