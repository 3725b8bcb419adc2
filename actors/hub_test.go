package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

const tenant = chat.TenantID("t")

func as(u chat.UserID) chat.Principal {
	return chat.Principal{Tenant: tenant, User: u, Username: "name-" + string(u)}
}

// edge records what each session gets.
type edge struct {
	mu     sync.Mutex
	events map[chat.SessionID][]*chat.Delivery
	over   []chat.SessionID // that were to come back
}

// Overflow implements directory.Overflower.
func (e *edge) Overflow(set *chat.SessionSet, _ chat.ConversationKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = append(e.over, set.Sessions...)
}

func (e *edge) overflown() []chat.SessionID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.over)
}

func (e *edge) Deliver(set *chat.SessionSet, d *chat.Delivery) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.events == nil {
		e.events = map[chat.SessionID][]*chat.Delivery{}
	}
	for _, s := range set.Sessions {
		e.events[s] = append(e.events[s], d)
	}
}

func (e *edge) deliveries(s chat.SessionID) []*chat.Delivery {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.events[s])
}

func (e *edge) notices(s chat.SessionID) (out []chat.Notice) {
	for _, d := range e.deliveries(s) {
		out = append(out, d.Notices...)
	}
	return out
}

type rig struct {
	*actors.Hub
	store *faultstore.Store
	edge  *edge
	t     testing.TB
}

func newRig(t testing.TB, c actors.Config) *rig {
	t.Helper()
	store, _ := c.Store.(*faultstore.Store)
	if store == nil {
		store = faultstore.New()
		c.Store = store
	}
	store.AddUsers(tenant, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
	e := &edge{}
	c.Edge = e
	h := actors.New(c)
	if err := h.Start(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	r := &rig{h, store, e, t}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

func (r *rig) do(u chat.UserID, c chat.Command) chat.Result {
	r.t.Helper()
	res, err := r.Do(context.Background(), as(u), c)
	if err != nil {
		r.t.Fatalf("%s by %s: %v", c.Name(), u, err)
	}
	return res
}

func (r *rig) fails(u chat.UserID, c chat.Command, want error) {
	r.t.Helper()
	if _, err := r.Do(context.Background(), as(u), c); !errors.Is(err, want) {
		r.t.Fatalf("%s by %s: %v, want %v", c.Name(), u, err, want)
	}
}

func (r *rig) group(owner chat.UserID, members ...chat.UserID) chat.ConversationID {
	r.t.Helper()
	return r.do(owner, chat.Create{Kind: chat.Group, Title: "group", Members: members}).View.Head.Key.ID
}

func (r *rig) direct(a, b chat.UserID) chat.ConversationID {
	r.t.Helper()
	return r.do(a, chat.Create{Kind: chat.Direct, Members: []chat.UserID{b}}).View.Head.Key.ID
}

// session opens one as an edge does: its user is enrolled before.
func (r *rig) session(u chat.UserID, c chat.ConversationID, s chat.SessionID) {
	r.t.Helper()
	r.enter(u)
	r.Register(as(u).Key(), c, s)
}

func (r *rig) enter(u chat.UserID) {
	r.t.Helper()
	ch := make(chan error, 1)
	if r.Enter(as(u).Key(), func(err error) { ch <- err }) {
		return
	}
	if err := <-ch; err != nil {
		r.t.Fatal(err)
	}
}

// open attaches a session as an edge does: registering inside the callback.
func (r *rig) open(u chat.UserID, c chat.ConversationID, s chat.SessionID) *chat.View {
	r.t.Helper()
	ch := make(chan *chat.View, 1)
	r.enter(u)
	r.Submit(as(u), chat.Origin{Session: s}, chat.Attach{Conversation: c}, func(res chat.Result, err error) {
		if err != nil {
			ch <- nil
			return
		}
		r.Register(as(u).Key(), c, s)
		ch <- res.View
	})
	v := <-ch
	if v == nil {
		r.t.Fatalf("attach of %s refused", u)
	}
	return v
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func text(i int) string { return fmt.Sprintf("message %d", i) }

func TestWayOfAMessage(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	r.open("1", c, 11)
	v := r.open("2", c, 12)
	if v.Head.Seq != 1 || len(v.Members.Users) != 3 || v.Me.User != "2" {
		t.Fatalf("view %+v", v)
	}
	res := r.do("1", chat.Send{Conversation: c, ClientID: "a", Content: " hello "})
	if res.Event.Seq != 2 || res.Event.MsgNo != 1 || res.Event.Content != "hello" || res.Event.ActorName != "name-1" {
		t.Fatalf("event %+v", res.Event)
	}
	again := r.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "hello"})
	if !again.Duplicate || again.Event.Message != res.Event.Message {
		t.Fatalf("duplicate %+v", again)
	}
	eventually(t, "both sessions get it", func() bool {
		return len(r.edge.notices(11)) == 1 && len(r.edge.notices(12)) == 1
	})
	if got := r.do("2", chat.MarkRead{Conversation: c}); got.Marked != 1 {
		t.Fatalf("marked %d", got.Marked)
	}
	r.do("2", chat.Typing{Conversation: c, On: true})
	eventually(t, "read and typing notices", func() bool { return len(r.edge.notices(11)) == 3 })
	r.fails("4", chat.Attach{Conversation: c}, chat.ErrNotMember)
	r.do("2", chat.AddMembers{Conversation: c, Users: []chat.UserID{"4"}})
	if v := r.do("4", chat.Attach{Conversation: c}).View; v.Me.Read.Seq != v.Head.Seq {
		t.Fatalf("new member reads from %d of %d", v.Me.Read.Seq, v.Head.Seq)
	}
	r.fails("2", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"4"}}, chat.ErrForbidden)
	r.do("1", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"4"}})
	r.fails("4", chat.Send{Conversation: c, Content: "x"}, chat.ErrNotMember)
	got := r.do("3", chat.Resume{Conversation: c, LastSeq: 1})
	if got.Gap || len(got.Events) != 3 || got.Events[0].Content != "hello" {
		t.Fatalf("resume %+v", got)
	}
	r.do("1", chat.Leave{Conversation: c})
	if v := r.do("2", chat.Attach{Conversation: c}).View; v.Me.Role != chat.RoleOwner {
		t.Fatalf("heir is %v", v.Me.Role)
	}
}
