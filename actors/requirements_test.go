package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

var bg = context.Background()

// One pair has one conversation, from either side and under any race.
func TestReq002Req003_GetOrCreateDirect(t *testing.T) {
	r := newRig(t, actors.Config{})
	var mu sync.Mutex
	created := 0
	ids := map[chat.ConversationID]bool{}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			me, other := chat.UserID("1"), chat.UserID("2")
			if i%2 == 0 {
				me, other = other, me
			}
			res, err := r.Do(bg, as(me), chat.Create{Kind: chat.Direct, Members: []chat.UserID{other}})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[res.View.Head.Key.ID] = true
			if res.Created {
				created++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || created != 1 {
		t.Fatalf("%d conversations, %d created", len(ids), created)
	}
	page, err := r.Conversations(bg, as("1"), chat.ListQuery{Limit: 10})
	if err != nil || page.Total != 1 || page.Items[0].Other == nil || page.Items[0].Other.ID != "2" {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestReq004_DirectCache(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	r := newRig(t, actors.Config{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	r.direct("1", "2")
	r.direct("1", "2")
	if s := r.Stats(); s.DirectHits != 1 || s.DirectMisses != 1 {
		t.Fatalf("%+v", s)
	}
	mu.Lock()
	now = now.Add(3601 * time.Second)
	mu.Unlock()
	r.direct("2", "1")
	if s := r.Stats(); s.DirectHits != 1 || s.DirectMisses != 2 {
		t.Fatalf("%+v", s)
	}
}

// When a frame is out, the message is in the log; after a crash it is still listed.
func TestReq005_PersistedBeforeBroadcast(t *testing.T) {
	store := faultstore.New()
	r := newRig(t, actors.Config{Store: store})
	c := r.direct("1", "2")
	r.open("2", c, 12)
	// From here on nothing derived is saved: the process will be gone before.
	store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "SaveDerived" {
			return chat.ErrUnavailable
		}
		return nil
	}, nil)
	r.do("1", chat.Send{Conversation: c, Content: "hello"})
	eventually(t, "the frame", func() bool { return len(r.edge.notices(12)) == 1 })
	log := store.Log(chat.ConversationKey{Tenant: tenant, ID: c})
	if len(log) != 2 || log[1].Content != "hello" {
		t.Fatalf("log %+v", log)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_ = r.Close(ctx) // gives up at once, as a kill does
	store.SetFaults(nil, nil)
	again := newRig(t, actors.Config{Store: store})
	page, err := again.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 10})
	if err != nil || len(page.Items) != 1 || page.Items[0].Event.Content != "hello" {
		t.Fatalf("%+v, %v", page, err)
	}
	list, err := again.Conversations(bg, as("2"), chat.ListQuery{Limit: 10})
	if err != nil || len(list.Items) != 1 || list.Items[0].Head.Last.Text != "hello" || list.Items[0].Unread != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
}

func TestReq006Req007_MessageFieldsAndTimes(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	seen := map[chat.MessageID]bool{}
	var last time.Time
	for i := range 50 {
		before := time.Now().Truncate(time.Microsecond)
		e := r.do("1", chat.Send{Conversation: c, Content: text(i)}).Event
		switch {
		case seen[e.Message], e.Actor != "1", e.Content != text(i), e.IsVoice:
			t.Fatalf("event %+v", e)
		case e.At.Before(before), e.At.After(time.Now()), e.At.Before(last):
			t.Fatalf("at %v, sent after %v", e.At, before)
		case e.At.Location() != time.UTC, e.At.Nanosecond()%1000 != 0:
			t.Fatalf("at %v is not UTC microseconds", e.At)
		}
		seen[e.Message], last = true, e.At
	}
	page, err := r.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 1})
	if err != nil || page.Items[0].IsRead || page.Items[0].IsOwn || page.Items[0].Sender.Username != "name-1" {
		t.Fatalf("%+v, %v", page, err)
	}
}

func TestReq008_LastMessage(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	long := strings.Repeat("é", 300)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			u := chat.UserID("1")
			if i%2 == 0 {
				u = "2"
			}
			r.do(u, chat.Send{Conversation: c, Content: text(i)})
		})
	}
	wg.Wait()
	e := r.do("2", chat.Send{Conversation: c, Content: long}).Event
	item, err := r.Conversation(bg, as("1"), c)
	if err != nil {
		t.Fatal(err)
	}
	last := item.Head.Last
	if last.Seq != e.Seq || last.Text != long[:255*2] || last.Sender != "2" || !last.At.Equal(e.At) || !item.Head.UpdatedAt.Equal(e.At) {
		t.Fatalf("last %+v", last)
	}
}

// Who is no member sees nothing, and cannot tell it from what is not there.
func TestReq009_Access(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	m := r.do("1", chat.Send{Conversation: c, Content: "x"}).Event.Message
	if page, err := r.Conversations(bg, as("3"), chat.ListQuery{Limit: 10}); err != nil || page.Total != 0 {
		t.Fatalf("%+v, %v", page, err)
	}
	_, e1 := r.Conversation(bg, as("3"), c)
	_, e2 := r.Messages(bg, as("3"), chat.MessageQuery{Conversation: c, Limit: 1})
	_, e3 := r.Message(bg, as("3"), m)
	for _, err := range []error{e1, e2, e3} {
		if !errors.Is(err, chat.ErrNotFound) || errors.Is(err, chat.ErrNotMember) {
			t.Fatalf("%v", err)
		}
	}
	other := chat.Principal{Tenant: "other", User: "1", Username: "1"} // I8
	if _, err := r.Conversation(bg, other, c); !errors.Is(err, chat.ErrNotFound) {
		t.Fatalf("another tenant: %v", err)
	}
	r.fails("3", chat.Attach{Conversation: c}, chat.ErrNotMember)
}

func TestReq010_NoSelfConversation(t *testing.T) {
	r := newRig(t, actors.Config{})
	for _, kind := range []chat.Kind{chat.Direct, chat.Group} {
		r.fails("1", chat.Create{Kind: kind, Members: []chat.UserID{"1"}}, chat.ErrInvalid)
	}
	r.fails("1", chat.Create{Kind: chat.Direct, Members: []chat.UserID{"nobody"}}, chat.ErrUnknownUser)
	r.fails("1", chat.Create{Kind: chat.Group, Members: []chat.UserID{"2", "nobody"}}, chat.ErrUnknownUser)
}

func TestReq012Req013_GroupsStayGroups(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	item, err := r.Conversation(bg, as("2"), c)
	if err != nil || item.Head.Kind != chat.Group || len(item.Members) != 3 || !item.CanAdd {
		t.Fatalf("%+v, %v", item, err)
	}
	r.do("3", chat.Leave{Conversation: c})
	item, _ = r.Conversation(bg, as("2"), c)
	if item.Head.Kind != chat.Group || item.Head.MemberCount != 2 {
		t.Fatalf("%+v", item.Head)
	}
	r.do("2", chat.Leave{Conversation: c})
}

// A new member has the conversation in the list and gets the next message on the sessions it has.
func TestReq014_AddMembers(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2")
	r.Register(as("3").Key(), chat.ConversationID{}, 13)
	r.do("2", chat.AddMembers{Conversation: c, Users: []chat.UserID{"3"}})
	if page, err := r.Conversations(bg, as("3"), chat.ListQuery{Limit: 10}); err != nil || page.Total != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	r.do("1", chat.Send{Conversation: c, Content: "hi"})
	eventually(t, "told of the group, and the message", func() bool { return len(r.edge.notices(13)) == 2 })
	if v := r.do("1", chat.AddMembers{Conversation: c, Users: []chat.UserID{"3"}}).View; v.Head.MemberCount != 3 {
		t.Fatalf("%d members", v.Head.MemberCount)
	}
	r.fails("1", chat.AddMembers{Conversation: c, Users: []chat.UserID{"nobody"}}, chat.ErrUnknownUser)
}

func TestReq015_NotForDirect(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.direct("1", "2")
	r.fails("1", chat.AddMembers{Conversation: c, Users: []chat.UserID{"3"}}, chat.ErrDirect)
	r.fails("1", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"2"}}, chat.ErrDirect)
	r.fails("1", chat.Leave{Conversation: c}, chat.ErrDirect)
}

func TestReq017_RemovedAtOnce(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	r.open("2", c, 12)
	r.do("1", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"2"}})
	r.fails("2", chat.Send{Conversation: c, Content: "x"}, chat.ErrNotMember)
	if _, err := r.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 1}); !errors.Is(err, chat.ErrNotFound) {
		t.Fatal(err)
	}
	eventually(t, "the session is told to go", func() bool {
		ds := r.edge.deliveries(12)
		return len(ds) == 1 && slices.Contains(ds[0].Detached, "2")
	})
	r.do("1", chat.Send{Conversation: c, Content: "secret"})
	item, _ := r.Conversation(bg, as("3"), c)
	if item.Head.MemberCount != 2 || len(item.Members) != 2 {
		t.Fatalf("%+v", item)
	}
	r.open("3", c, 13)
	r.do("3", chat.Typing{Conversation: c, On: true})
	eventually(t, "something later has been delivered", func() bool { return len(r.edge.deliveries(13)) > 0 })
	if len(r.edge.deliveries(12)) != 1 {
		t.Fatal("a removed member's session got more")
	}
}

func TestReq018_LastMemberLeaves(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2")
	r.do("1", chat.Send{Conversation: c, Content: "x"})
	r.open("2", c, 12)
	r.do("1", chat.Leave{Conversation: c})
	r.do("2", chat.Leave{Conversation: c})
	key := chat.ConversationKey{Tenant: tenant, ID: c}
	if !r.store.Empty(key) {
		t.Fatal("rows are left")
	}
	if _, err := r.Conversation(bg, as("2"), c); !errors.Is(err, chat.ErrNotFound) {
		t.Fatal(err)
	}
	eventually(t, "gone", func() bool {
		ds := r.edge.deliveries(12)
		return len(ds) > 0 && ds[len(ds)-1].Gone
	})
	eventually(t, "out of memory, without a dirty mark", func() bool { return r.Stats().Live == 0 && !r.store.Dirty(key) })
}

func TestReq019_Leave(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3")
	r.open("1", c, 11)
	r.do("3", chat.Leave{Conversation: c})
	eventually(t, "participants_changed", func() bool {
		ns := r.edge.notices(11)
		return len(ns) == 1 && ns[0].Event.Type == chat.EventParticipants && ns[0].Event.Change == chat.ChangeLeft
	})
}

func TestReq021_FilterByKind(t *testing.T) {
	r := newRig(t, actors.Config{})
	d, g := r.direct("1", "2"), r.group("1", "2", "3")
	for kind, want := range map[chat.Kind]chat.ConversationID{chat.Direct: d, chat.Group: g} {
		page, err := r.Conversations(bg, as("1"), chat.ListQuery{Kind: kind, Limit: 10})
		if err != nil || page.Total != 1 || page.Items[0].Head.Key.ID != want {
			t.Fatalf("%v: %+v, %v", kind, page, err)
		}
	}
}

func TestReq022Req024_Limits(t *testing.T) {
	r := newRig(t, actors.Config{Rules: chat.Rules{MaxGroupSize: 3}})
	r.fails("1", chat.Create{Kind: chat.Group, Members: []chat.UserID{"2"}, Title: strings.Repeat("é", 256)}, chat.ErrInvalid)
	r.do("1", chat.Create{Kind: chat.Group, Members: []chat.UserID{"2"}, Title: strings.Repeat("é", 255)})
	r.fails("1", chat.Create{Kind: chat.Group, Members: []chat.UserID{"2", "3", "4"}}, chat.ErrGroupFull)
	c := r.group("1", "2", "3")
	r.fails("1", chat.AddMembers{Conversation: c, Users: []chat.UserID{"4"}}, chat.ErrGroupFull)
}

func TestReq023_Roles(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2", "3", "4")
	r.fails("2", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"3"}}, chat.ErrForbidden)
	r.do("1", chat.SetRole{Conversation: c, User: "2", Role: chat.RoleAdmin})
	r.do("2", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"3"}})
	r.fails("2", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"1"}}, chat.ErrForbidden)
	r.fails("2", chat.SetRole{Conversation: c, User: "4", Role: chat.RoleAdmin}, chat.ErrForbidden)
}

// Ten senders pipeline; every receiver sees the same order without gap or duplicate, and each sender's own
// order is kept.
func TestReq020Req034_OneOrder(t *testing.T) {
	const senders, each = 10, 100
	r := newRig(t, actors.Config{})
	members := []chat.UserID{}
	for i := 2; i <= senders; i++ {
		members = append(members, chat.UserID(fmt.Sprint(i)))
	}
	c := r.group("1", members...)
	for i := 1; i <= senders; i++ {
		r.open(chat.UserID(fmt.Sprint(i)), c, chat.SessionID(i))
	}
	var wg sync.WaitGroup
	for i := 1; i <= senders; i++ {
		u := chat.UserID(fmt.Sprint(i))
		wg.Add(each)
		go func() {
			for n := range each {
				r.Submit(as(u), chat.Origin{}, chat.Send{Conversation: c, ClientID: fmt.Sprint(n), Content: text(n)},
					func(_ chat.Result, err error) {
						if err != nil {
							t.Errorf("%s %d: %v", u, n, err)
						}
						wg.Done()
					})
			}
		}()
	}
	wg.Wait()
	for i := 1; i <= senders; i++ {
		s := chat.SessionID(i)
		eventually(t, "all messages", func() bool { return len(r.edge.notices(s)) >= senders*each })
		next := map[chat.UserID]int{}
		for j, n := range r.edge.notices(s) {
			if n.Event.Seq != uint64(j)+2 || n.Event.MsgNo != uint64(j)+1 {
				t.Fatalf("session %d: event %d at %d", s, n.Event.Seq, j)
			}
			if want := text(next[n.Event.Actor]); n.Event.Content != want {
				t.Fatalf("session %d: %s sent %q, want %q", s, n.Event.Actor, n.Event.Content, want)
			}
			next[n.Event.Actor]++
		}
	}
}

func TestReq036_TypingExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		c := r.group("1", "2")
		r.open("1", c, 11)
		r.do("2", chat.Typing{Conversation: c, On: true})
		synctest.Wait()
		time.Sleep(4 * time.Second)
		if ns := r.edge.notices(11); len(ns) != 1 || !ns[0].Typing.On {
			t.Fatalf("%+v", ns)
		}
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		if ns := r.edge.notices(11); len(ns) != 2 || ns[1].Typing.On || ns[1].Typing.User != "2" {
			t.Fatalf("%+v", ns)
		}
	})
}

func TestReq048_IdempotentSend(t *testing.T) {
	store := faultstore.New()
	r := newRig(t, actors.Config{Store: store})
	c := r.direct("1", "2")
	first := r.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"})
	again := r.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"})
	other := r.do("2", chat.Send{Conversation: c, ClientID: "a", Content: "y"})
	if !again.Duplicate || again.Event.Message != first.Event.Message || other.Duplicate {
		t.Fatalf("%+v %+v", again, other)
	}
	for i := range 600 { // beyond the window
		r.do("1", chat.Send{Conversation: c, ClientID: fmt.Sprint("n", i), Content: "x"})
	}
	if err := r.Close(bg); err != nil {
		t.Fatal(err)
	}
	later := newRig(t, actors.Config{Store: store})
	again = later.do("1", chat.Send{Conversation: c, ClientID: "a", Content: "x"})
	if !again.Duplicate || again.Event.Message != first.Event.Message {
		t.Fatalf("%+v", again)
	}
	if n := len(store.Log(chat.ConversationKey{Tenant: tenant, ID: c})); n != 603 {
		t.Fatalf("%d events", n)
	}
}
