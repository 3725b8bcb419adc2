package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// One pair has one conversation, on whichever nodes its two ask for it at once.
func TestReq003_OneDirectOnSeveralNodes(t *testing.T) {
	for _, pair := range [][2]chat.UserID{{"1", "2"}, {"3", "4"}, {"5", "9"}} {
		g := newGrid(t, 3, actors.Config{})
		var created atomic.Int64
		var ids sync.Map
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				me, other := pair[i%2], pair[1-i%2]
				res, err := g.nodes[i%3].Do(bg, as(me), chat.Create{Kind: chat.Direct, Members: []chat.UserID{other}})
				if err != nil {
					t.Error(err)
					return
				}
				ids.Store(res.View.Head.Key.ID, true)
				if res.Created {
					created.Add(1)
				}
			})
		}
		wg.Wait()
		want := chat.DirectID(tenant, pair[0], pair[1])
		n := 0
		ids.Range(func(id, _ any) bool {
			if n++; id != want {
				t.Errorf("%v was made", id)
			}
			return true
		})
		if n != 1 || created.Load() != 1 || len(g.store.Log(keyOf(want))) != 1 {
			t.Fatalf("%d conversations, %d created, log %+v", n, created.Load(), g.store.Log(keyOf(want)))
		}
		g.everywhere(func(m *member) {
			if id, err := m.DirectConversation(bg, as(pair[0]), pair[1]); err != nil || id != want {
				t.Errorf("node %s: %v, %v", m.id, id, err)
			}
			if page, err := m.Conversations(bg, as(pair[1]), chat.ListQuery{Limit: 9}); err != nil || page.Total != 1 {
				t.Errorf("node %s: %+v, %v", m.id, page, err)
			}
			if id, err := m.DirectConversation(bg, as("6"), "7"); err != nil || !id.IsZero() {
				t.Errorf("node %s: %v, %v", m.id, id, err)
			}
		})
	}
}

// unsaved keeps the store from showing anything but logs: only the owners' memory knows more.
func (g *grid) unsaved() (over func()) {
	g.store.SetFaults(func(op string, _ chat.ConversationKey) error {
		if op == "SaveDerived" || op == "SaveWatermarks" {
			return chat.ErrUnavailable
		}
		return nil
	}, nil)
	return func() { g.store.SetFaults(nil, nil) }
}

// Every command and every query is the same on each node, and shows what was acknowledged before by any node although
// the store does not know it yet.
func TestAnyNodeWillDo(t *testing.T) {
	o := &oracle{}
	g := newGrid(t, 3, actors.Config{Search: o})
	g.everywhere(func(m *member) {
		first := m.group("1", "2", "3")
		c := m.group("1", "2", "3")
		d := m.direct("1", "5")
		m.do("2", chat.AddMembers{Conversation: c, Users: []chat.UserID{"4"}})
		m.do("1", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"4"}})
		m.fails("4", chat.Send{Conversation: c, Content: "x"}, chat.ErrNotMember)
		m.fails("1", chat.AddMembers{Conversation: c, Users: []chat.UserID{"nobody"}}, chat.ErrUnknownUser)
		m.fails("1", chat.Create{Kind: chat.Direct, Members: []chat.UserID{"nobody"}}, chat.ErrUnknownUser)
		m.do("3", chat.Leave{Conversation: first})
		saved := m.do("1", chat.Send{Conversation: c, Content: "needle saved"}).Event
		gone := m.do("1", chat.Send{Conversation: c, Content: "needle gone"}).Event
		waitSaved(t, g, c)
		over := g.unsaved()
		for i, w := range g.nodes {
			sent := w.do("2", chat.Send{Conversation: c, ClientID: fmt.Sprint(i), Content: text(i)}).Event
			w.do("1", chat.Edit{Conversation: c, Message: saved.Message, Content: "needle " + text(i)})
			w.do("1", chat.React{Conversation: c, Message: sent.Message, Emoji: "+"})
			if i == 1 {
				w.do("1", chat.Delete{Conversation: c, Message: gone.Message})
			}
			for j, r := range g.nodes {
				if again := r.do("2", chat.Send{Conversation: c, ClientID: fmt.Sprint(i), Content: text(i)}); !again.Duplicate || again.Event.Message != sent.Message {
					t.Fatalf("%d/%d: %+v", i, j, again)
				}
				page, err := r.Conversations(bg, as("1"), chat.ListQuery{Limit: 50})
				if err != nil || len(page.Items) == 0 || page.Items[0].Head.Key.ID != c || page.Items[0].Head.Last.Text != text(i) || len(page.Items[0].Members) != 3 {
					t.Fatalf("%d/%d: %+v, %v", i, j, page.Items, err)
				}
				item, err := r.Conversation(bg, as("1"), c)
				if err != nil || item.Unread != uint64(i+1) || len(item.Members) != 3 || item.Head.Last.Seq != sent.Seq {
					t.Fatalf("%d/%d: %+v, %v", i, j, item, err)
				}
				msgs, err := r.Messages(bg, as("3"), chat.MessageQuery{Conversation: c, Limit: 100})
				if err != nil || msgs.Total != i+3 || msgs.Items[len(msgs.Items)-1].Event.Content != "needle "+text(i) {
					t.Fatalf("%d/%d: %q, %v", i, j, contents(msgs), err)
				}
				if all, err := r.Messages(bg, as("1"), chat.MessageQuery{Limit: 1}); err != nil || all.Items[0].Event.Message != sent.Message {
					t.Fatalf("%d/%d: %q, %v", i, j, contents(all), err)
				}
				one, err := r.Message(bg, as("3"), saved.Message)
				if err != nil || one.Event.Content != "needle "+text(i) {
					t.Fatalf("%d/%d: %+v, %v", i, j, one, err)
				}
				if _, err := r.Message(bg, as("4"), saved.Message); !errors.Is(err, chat.ErrNotFound) {
					t.Fatalf("%d/%d: %v", i, j, err)
				}
				o.says(hit(c, saved), hit(c, gone))
				want := []string{"needle gone", "needle " + text(i)}
				if i > 0 {
					want = want[1:]
				}
				found1, err := r.Search(bg, as("3"), chat.SearchQuery{Text: "needle"})
				if got := found(found1); err != nil || !slices.Equal(got, want) {
					t.Fatalf("%d/%d: %q, want %q, %v", i, j, got, want, err)
				}
				if items, err := r.Search(bg, as("4"), chat.SearchQuery{Text: "needle"}); err != nil || len(items) != 0 {
					t.Fatalf("%d/%d: %q, %v", i, j, found(items), err)
				}
				res := r.do("3", chat.Resume{Conversation: c, LastSeq: sent.Seq - 1})
				if res.Gap || len(res.Events) == 0 || res.Events[0].Content != text(i) {
					t.Fatalf("%d/%d: %+v", i, j, res)
				}
			}
		}
		over()
		for i, r := range g.nodes {
			r.do("1", chat.MarkRead{Conversation: c})
			for _, r := range g.nodes {
				if item, err := r.Conversation(bg, as("1"), c); err != nil || item.Unread != 0 {
					t.Fatalf("%+v, %v", item, err)
				}
			}
			m.do("2", chat.Send{Conversation: c, Content: text(i)})
		}
		if id, err := m.DirectConversation(bg, as("5"), "1"); err != nil || id != d {
			t.Fatalf("%v, %v", id, err)
		}
	})
}

// waitSaved waits until the store shows a conversation as its owner does.
func waitSaved(t *testing.T, g *grid, c chat.ConversationID) {
	t.Helper()
	eventually(t, "derived rows", func() bool {
		head, _, err := g.store.LoadConversation(bg, keyOf(c))
		log := g.store.Log(keyOf(c))
		return err == nil && head.Seq == log[len(log)-1].Seq
	})
}

// A page of a list takes two questions to each other node, however many conversations there are.
func TestReq155_QuestionsOfAList(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	for range 60 {
		g.nodes[0].group("1", "2", "3")
	}
	page, err := g.nodes[0].Conversations(bg, as("1"), chat.ListQuery{Limit: 30})
	if err != nil || page.Total != 60 || len(page.Items) != 30 {
		t.Fatalf("%+v, %v", page, err)
	}
	if n := g.questions("peek"); n > 4 {
		t.Errorf("%d questions", n)
	}
	for _, it := range page.Items {
		if len(it.Members) != 3 {
			t.Errorf("%+v", it)
		}
	}
}

// A block is in force on every node for the very next command.
func TestReq100_BlocksOnSeveralNodes(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	for i := range 12 {
		a, b := chat.UserID(fmt.Sprint(1+i%5)), chat.UserID(fmt.Sprint(6+i%6))
		c := g.nodes[i%3].direct(a, b)
		open := g.nodes[i%3].group(a, "1", b)
		g.everywhere(func(m *member) { m.do(a, chat.Send{Conversation: c, Content: "x"}) })
		if _, err := g.nodes[(i+1)%3].Relate(bg, as(b), chat.Block{User: a}); err != nil {
			t.Fatal(err)
		}
		g.everywhere(func(m *member) {
			m.fails(a, chat.Send{Conversation: c, Content: "x"}, chat.ErrBlocked)
			m.fails(b, chat.Send{Conversation: c, Content: "x"}, chat.ErrBlocked)
			m.fails(a, chat.Create{Kind: chat.Group, Members: []chat.UserID{b}}, chat.ErrBlocked)
			if v := m.do(b, chat.AddMembers{Conversation: open, Users: []chat.UserID{a}}).View; v == nil {
				t.Fatal("no view")
			}
			pair, err := m.Pair(bg, as(a), b)
			blocks, err2 := m.Blocks(bg, as(b))
			if err != nil || err2 != nil || !pair.Blocked() || len(blocks) != 1 || blocks[0].User != a {
				t.Fatalf("%+v, %+v, %v, %v", pair, blocks, err, err2)
			}
			if _, err := m.Relate(bg, as(b), chat.Block{User: a}); !errors.Is(err, chat.ErrAlreadyBlocked) {
				t.Fatal(err)
			}
			if _, err := m.Relate(bg, as(a), chat.Block{User: a}); !errors.Is(err, chat.ErrSelfBlock) {
				t.Fatal(err)
			}
		})
		if _, err := g.nodes[(i+2)%3].Relate(bg, as(b), chat.Unblock{User: a}); err != nil {
			t.Fatal(err)
		}
		g.everywhere(func(m *member) { m.do(a, chat.Send{Conversation: c, Content: "x"}) })
	}
}

// Whichever of a block and the making of a conversation comes first, nobody writes to whom the other blocked.
func TestBlockWhileADirectIsMade(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	for i := range 40 {
		a, b := chat.UserID(fmt.Sprint("a", i)), chat.UserID(fmt.Sprint("b", i))
		g.store.AddUsers(tenant, a, b)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := g.nodes[i%3].Do(bg, as(a), chat.Create{Kind: chat.Direct, Members: []chat.UserID{b}})
			if err != nil && !errors.Is(err, chat.ErrBlocked) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := g.nodes[(i+1)%3].Relate(bg, as(b), chat.Block{User: a}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		_, err := g.nodes[(i+2)%3].Do(bg, as(a), chat.Send{Conversation: chat.DirectID(tenant, a, b), Content: "x"})
		if !errors.Is(err, chat.ErrBlocked) && !errors.Is(err, chat.ErrNotMember) && !errors.Is(err, chat.ErrNotFound) {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

// Contacts, requests and addresses go by the pair, wherever it is decided about.
func TestPeopleOnSeveralNodes(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	for i := range 6 {
		a, b := chat.UserID(fmt.Sprint("a", i)), chat.UserID(fmt.Sprint("b", i))
		g.store.AddUsers(tenant, a, b)
		m, w := g.nodes[i%3], g.nodes[(i+1)%3]
		named := make(chan error, 1)
		m.AddByEmail(as(a), string(b)+"@test", "", func(name string, err error) {
			if err == nil && name != "name-"+string(b) {
				err = fmt.Errorf("the name is %q", name)
			}
			named <- err
		})
		if err := <-named; err != nil {
			t.Fatal(err)
		}
		reqs, err := w.Requests(bg, as(b))
		if err != nil || len(reqs) != 1 || reqs[0].Sender != a {
			t.Fatalf("%+v, %v", reqs, err)
		}
		if _, err := w.Relate(bg, as(b), chat.AnswerRequest{User: a, ID: reqs[0].ID, Accept: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Relate(bg, as(b), chat.AnswerRequest{User: a, ID: reqs[0].ID, Accept: true}); !errors.Is(err, chat.ErrAlreadyAccepted) {
			t.Fatal(err)
		}
		g.everywhere(func(m *member) {
			list, err := m.Contacts(bg, as(b))
			if err != nil || len(list) != 1 || list[0].User != a || !list[0].Mutual {
				t.Fatalf("%+v, %v", list, err)
			}
		})
	}
}

// Preferences are in force on every node for the very next command.
func TestReq059_HiddenReceiptsOnSeveralNodes(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	c := g.nodes[0].group("1", "2", "3", "4", "5", "6", "7", "8", "9")
	for i, u := range []chat.UserID{"2", "3", "4", "5", "6", "7", "8", "9"} {
		hide := i%2 == 0
		for _, m := range g.nodes { // they are known everywhere, and must not be remembered
			m.do(u, chat.MarkRead{Conversation: c})
		}
		set, mark := g.nodes[i%3], g.nodes[(i+1)%3]
		if _, err := set.ChangePreferences(bg, as(u), chat.PreferencesChange{HideReceipts: &hide}); err != nil {
			t.Fatal(err)
		}
		e := g.nodes[2].do("1", chat.Send{Conversation: c, Content: "x"}).Event
		if n := mark.do(u, chat.MarkRead{Conversation: c}).Marked; n == 0 {
			t.Fatal("nothing was marked")
		}
		g.everywhere(func(m *member) {
			if p, err := m.Preferences(bg, as(u)); err != nil || p.HideReceipts != hide {
				t.Fatalf("%+v, %v", p, err)
			}
			item, err := m.Message(bg, as("1"), e.Message)
			if err != nil || item.IsRead == hide {
				t.Fatalf("%s: %+v, %v", u, item, err)
			}
		})
	}
}

// Who is there is the same on every node, and so is who does not want to be.
func TestReq102_PresenceOnSeveralNodes(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	users := []chat.UserID{"2", "3", "4", "5", "6", "7"}
	for _, u := range users {
		if _, err := g.nodes[0].Relate(bg, as("1"), chat.AddContact{User: u}); err != nil {
			t.Fatal(err)
		}
	}
	online := func(u chat.UserID) (n int) {
		t.Helper()
		g.everywhere(func(m *member) {
			list, err := m.Contacts(bg, as("1"))
			if err != nil || len(list) != len(users) {
				t.Fatalf("%+v, %v", list, err)
			}
			for _, it := range list {
				if it.User == u && it.Online {
					n++
				}
			}
		})
		return n
	}
	own := func(u chat.UserID) {
		t.Helper()
		first, err := g.nodes[0].Status(bg, as(u))
		g.everywhere(func(m *member) {
			s, err2 := m.Status(bg, as(u))
			list, err3 := m.Contacts(bg, as("1"))
			i := slices.IndexFunc(list, func(it chat.ContactItem) bool { return it.User == u })
			if err = errors.Join(err, err2, err3); err != nil || s != first || list[i].Standing != first {
				t.Errorf("%s is %+v, to others %+v, %v", u, s, list[i].Standing, err)
			}
		})
	}
	yes, no := true, false
	for i, u := range users {
		if n := online(u); n != 0 {
			t.Fatalf("%s is there on %d nodes", u, n)
		}
		leave := g.online(g.nodes[i%3], u, chat.SessionID(i+1))
		eventually(t, "the session", func() bool { return online(u) == 3 })
		if s, err := g.nodes[0].Status(bg, as(u)); err != nil || s.LastSeen.IsZero() {
			t.Fatalf("%+v, %v: seen now, and not written yet", s, err)
		}
		if _, err := g.nodes[(i+1)%3].ChangePreferences(bg, as(u), chat.PreferencesChange{Invisible: &yes}); err != nil {
			t.Fatal(err)
		}
		if n := online(u); n != 0 {
			t.Fatalf("%s, invisible, is there on %d nodes", u, n)
		}
		own(u)
		if _, err := g.nodes[(i+2)%3].ChangePreferences(bg, as(u), chat.PreferencesChange{Invisible: &no}); err != nil {
			t.Fatal(err)
		}
		if n := online(u); n != 3 {
			t.Fatalf("%s is there on %d nodes", u, n)
		}
		leave()
		eventually(t, "the end of the session", func() bool { return online(u) == 0 })
		if s, err := g.nodes[(i+1)%3].SetOnline(bg, as(u), true); err != nil || !s.Online {
			t.Fatalf("%+v, %v", s, err)
		}
		if n := online(u); n != 3 {
			t.Fatalf("%s said to be there and is on %d nodes", u, n)
		}
		if s, err := g.nodes[(i+2)%3].SetOnline(bg, as(u), false); err != nil || s.Online {
			t.Fatalf("%+v, %v", s, err)
		}
		if n := online(u); n != 0 {
			t.Fatalf("%s said not to be there and is on %d nodes", u, n)
		}
		own(u)
	}
}

// A home that moves leaves behind when users were seen, and forgets what they said.
func TestPresenceMovesHome(t *testing.T) {
	g := newGrid(t, 2, actors.Config{})
	u, v := chat.UserID("2"), chat.UserID("3")
	for _, x := range []chat.UserID{u, v} {
		if _, err := g.nodes[0].SetOnline(bg, as(x), true); err != nil {
			t.Fatal(err)
		}
	}
	g.home(u).ReleasePresence(bg, []int{as(u).Key().Shard()})
	g.home(v).LosePresence([]int{as(v).Key().Shard()})
	if at, err := g.store.GetLastSeen(bg, tenant, []chat.UserID{u}); err != nil || at[0].IsZero() {
		t.Errorf("%v, %v", at, err)
	}
	g.everywhere(func(m *member) {
		for _, x := range []chat.UserID{u, v} {
			if s, err := m.Status(bg, as(x)); err != nil || s.Online {
				t.Errorf("%s: %+v, %v", x, s, err)
			}
		}
		if s, _ := m.Status(bg, as(u)); s.LastSeen.IsZero() {
			t.Error("never seen")
		}
	})
}

// Users of two tenants who have the same names have nothing to do with one another, on any two nodes.
func TestReq042_TenantsOnTwoNodes(t *testing.T) {
	o := &oracle{}
	g := newGrid(t, 2, actors.Config{Search: o})
	other := func(u chat.UserID) chat.Principal {
		return chat.Principal{Tenant: "other", User: u, Username: string(u)}
	}
	g.store.AddUsers("other", "1", "2", "3")
	yes := true
	for i, m := range g.nodes {
		w := g.nodes[1-i]
		c := m.direct("1", "2")
		e := m.do("1", chat.Send{Conversation: c, Content: "needle"}).Event
		o.says(hit(c, e))
		_, e1 := w.Do(bg, other("1"), chat.Send{Conversation: c, Content: "x"})
		_, e2 := w.Messages(bg, other("1"), chat.MessageQuery{Conversation: c, Limit: 1})
		_, e3 := w.Conversation(bg, other("1"), c)
		_, e4 := w.Message(bg, other("1"), e.Message)
		for _, err := range []error{e1, e2, e3, e4} {
			if !errors.Is(err, chat.ErrNotFound) && !errors.Is(err, chat.ErrNotMember) {
				t.Fatal(err)
			}
		}
		if page, err := w.Conversations(bg, other("1"), chat.ListQuery{Limit: 9}); err != nil || page.Total != 0 {
			t.Fatalf("%+v, %v", page, err)
		}
		if items, err := w.Search(bg, other("1"), chat.SearchQuery{Text: "needle"}); err != nil || len(items) != 0 {
			t.Fatalf("%+v, %v", items, err)
		}
		if id, err := w.DirectConversation(bg, other("1"), "2"); err != nil || !id.IsZero() {
			t.Fatalf("%v, %v", id, err)
		}
		if _, err := m.SetOnline(bg, as("1"), true); err != nil {
			t.Fatal(err)
		}
		if s, err := w.Status(bg, other("1")); err != nil || s.Online || !s.LastSeen.IsZero() {
			t.Fatalf("%+v, %v", s, err)
		}
		if _, err := m.ChangePreferences(bg, as("1"), chat.PreferencesChange{HideReceipts: &yes}); err != nil {
			t.Fatal(err)
		}
		if p, err := w.Preferences(bg, other("1")); err != nil || p.HideReceipts {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	if _, err := g.nodes[0].Relate(bg, as("1"), chat.Block{User: "3"}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.nodes[1].Do(bg, other("1"), chat.Create{Kind: chat.Direct, Members: []chat.UserID{"3"}}); err != nil {
		t.Fatal(err)
	}
}

// Shards move while users write: nobody is refused, nothing is lost, nothing is twice, each sender's order holds.
func TestMovesBetweenCommands(t *testing.T) {
	g := newGrid(t, 3, actors.Config{Idle: 5 * time.Millisecond})
	const senders, each = 4, 60
	c := g.nodes[0].group("1", "2", "3", "4")
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			u := chat.UserID(fmt.Sprint(i + 1))
			for n := range each {
				m := g.nodes[(i+n)%3]
				if res, err := m.Do(bg, as(u), chat.Send{Conversation: c, ClientID: fmt.Sprint(n), Content: text(n)}); err != nil || res.Duplicate {
					t.Errorf("%s %d: %+v, %v", u, n, res, err)
				}
				if n%7 == 0 {
					if _, err := m.Do(bg, as(u), chat.MarkRead{Conversation: c}); err != nil {
						t.Error(err)
					}
				}
				if item, err := g.nodes[n%3].Conversation(bg, as(u), c); err != nil || item.Head.MsgNo == 0 {
					t.Errorf("%+v, %v", item, err)
				}
				page, err := g.nodes[(n+1)%3].Conversations(bg, as(u), chat.ListQuery{Limit: 9})
				if err != nil || len(page.Items) != 1 || page.Items[0].Head.MsgNo < uint64(n)+1 {
					t.Errorf("%+v, %v", page, err)
				}
			}
		})
	}
	stop := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				g.move()
			}
		}
	})
	wg.Wait()
	close(stop)
	mover.Wait()
	next := map[chat.UserID]int{}
	for _, e := range g.store.Log(keyOf(c))[1:] {
		if e.Content != text(next[e.Actor]) {
			t.Fatalf("%s wrote %q, want %q", e.Actor, e.Content, text(next[e.Actor]))
		}
		next[e.Actor]++
	}
	for u, n := range next {
		if n != each {
			t.Errorf("%s wrote %d", u, n)
		}
	}
}

// What a user sends without waiting stays in order when the shard comes to the user's node meanwhile.
func TestOrderWhenAShardComes(t *testing.T) {
	g := newGrid(t, 2, actors.Config{Idle: 10 * time.Millisecond})
	c := g.nodes[0].group("1", "2")
	near, far := g.apart(c), g.at(c)
	for round := range 4 {
		eventually(t, "it left memory", func() bool { return near.Stats().Live == 0 && far.Stats().Live == 0 })
		hold := make(chan struct{})
		far.in <- func() { <-hold } // questions arrive late
		var wg sync.WaitGroup
		send := func(n int) {
			wg.Add(1)
			near.Submit(as("1"), chat.Origin{}, chat.Send{Conversation: c, Content: text(3*round + n)}, func(_ chat.Result, err error) {
				defer wg.Done()
				if err != nil {
					t.Errorf("%d: %v", n, err)
				}
			})
		}
		send(0)
		g.mu.Lock()
		s := keyOf(c).Shard()
		g.owner[s] = near.id
		g.epoch[s]++
		g.mu.Unlock()
		send(1)
		close(hold)
		send(2)
		wg.Wait()
		near, far = far, near
	}
	for i, e := range g.store.Log(keyOf(c))[1:] {
		if e.Content != text(i) {
			t.Errorf("%q is at %d", e.Content, i)
		}
	}
}

// An owner that nobody reaches is no reason to show what may be old.
func TestUnreachableOwner(t *testing.T) {
	o := &oracle{}
	g := newGrid(t, 2, actors.Config{Patience: 50 * time.Millisecond, Search: o})
	m, far := g.nodes[0], g.nodes[1]
	var c chat.ConversationID
	for c.IsZero() || g.at(c) != far {
		c = m.group("1", "2", "3", "4", "5", "6", "7", "8", "9")
	}
	e := m.do("1", chat.Send{Conversation: c, Content: "needle"}).Event
	o.says(hit(c, e))
	var away chat.UserID
	for i := 2; away == ""; i++ {
		if u := chat.UserID(fmt.Sprint(i)); g.home(u) == far {
			away = u
		}
	}
	yes := true
	hide := chat.PreferencesChange{HideReceipts: &yes}
	g.reach(far, false)
	calls := map[string]func() error{
		"list":         func() error { _, err := m.Conversations(bg, as("1"), chat.ListQuery{Limit: 9}); return err },
		"conversation": func() error { _, err := m.Conversation(bg, as("1"), c); return err },
		"messages": func() error {
			_, err := m.Messages(bg, as("1"), chat.MessageQuery{Conversation: c, Limit: 9})
			return err
		},
		"all messages": func() error { _, err := m.Messages(bg, as("1"), chat.MessageQuery{Limit: 9}); return err },
		"message":      func() error { _, err := m.Message(bg, as("1"), e.Message); return err },
		"search":       func() error { _, err := m.Search(bg, as("1"), chat.SearchQuery{Text: "needle"}); return err },
		"send":         func() error { _, err := m.Do(bg, as("1"), chat.Send{Conversation: c, Content: "x"}); return err },
		"status":       func() error { _, err := m.Status(bg, as(away)); return err },
		"preferences":  func() error { _, err := m.Preferences(bg, as(away)); return err },
		"change":       func() error { _, err := m.ChangePreferences(bg, as(away), hide); return err },
		"mark":         func() error { _, err := m.Do(bg, as(away), chat.MarkRead{Conversation: c}); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, chat.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		} else if errors.Is(err, chat.ErrMoved) {
			t.Errorf("%s says that the shard moved", name)
		}
	}
	g.reach(far, true)
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s, reached again: %v", name, err)
		}
	}
}

// After a node died, its successor answers for what is not in its memory only when it has repaired it: what the dead
// node acknowledged and did not save must show.
func TestListsAfterATakeover(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	m := g.nodes[0]
	c := m.group("1", "2")
	for g.at(c) != g.nodes[1] {
		c = m.group("1", "2")
	}
	waitSaved(t, g, c)
	over := g.unsaved()
	m.do("1", chat.Send{Conversation: c, Content: "acknowledged"})
	dead, heir := g.nodes[1], g.nodes[2]
	g.reach(dead, false)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_ = dead.Close(ctx) // as a kill does
	over()
	for s := range chat.Shards {
		heir.SetRepaired(s, false)
	}
	shards := g.take(dead, heir)
	got := make(chan chat.ConversationPage, 3)
	for _, x := range []*member{m, heir, m} {
		go func() {
			page, err := x.Conversations(bg, as("2"), chat.ListQuery{Limit: 9})
			if err != nil {
				t.Error(err)
			}
			got <- page
		}()
	}
	select {
	case page := <-got:
		t.Fatalf("it answered before it could know: %+v", page)
	case <-time.After(50 * time.Millisecond):
	}
	heir.do("2", chat.Attach{Conversation: c}) // the repair
	for s := range chat.Shards {
		heir.SetRepaired(s, true)
	}
	if len(shards) == 0 {
		t.Fatal("nothing was taken")
	}
	for range 3 {
		page := <-got
		i := slices.IndexFunc(page.Items, func(it chat.ConversationItem) bool { return it.Head.Key.ID == c })
		if i < 0 || page.Items[i].Head.Last.Text != "acknowledged" || page.Items[i].Unread != 1 {
			t.Fatalf("%+v", page.Items)
		}
	}
}

// Only the edge that a command came from shows its reference, and a command without a session has none.
func TestOriginNamesItsNode(t *testing.T) {
	g := newGrid(t, 2, actors.Config{})
	c := g.nodes[0].group("1", "2")
	at := g.at(c)
	at.Register(as("2").Key(), c, 7)
	g.everywhere(func(m *member) {
		n := len(at.edge.notices(7))
		for _, o := range []chat.Origin{{Session: 5, Ref: "r"}, {}} {
			done := make(chan error, 1)
			m.Submit(as("1"), o, chat.Send{Conversation: c, Content: "x"}, func(_ chat.Result, err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "deliveries", func() bool { return len(at.edge.notices(7)) == n+2 })
		got := at.edge.notices(7)[n:]
		if want := (chat.Origin{Node: m.id, Session: 5, Ref: "r"}); got[0].Origin != want || got[1].Origin != (chat.Origin{}) {
			t.Errorf("%+v, %+v", got[0].Origin, got[1].Origin)
		}
	})
}

// A node answers for its own shards, and for nothing else.
func TestAnswer(t *testing.T) {
	g := newGrid(t, 2, actors.Config{})
	c := g.nodes[0].group("1", "2")
	at, other := g.at(c), g.apart(c)
	shard := keyOf(c).Shard()
	home := as("2").Key().Shard()
	ask := func(m *member, shard int, q chat.Question) (chat.Answer, error) {
		type reply struct {
			a   chat.Answer
			err error
		}
		ch := make(chan reply, 2)
		m.Answer(bg, shard, q, func(a chat.Answer, err error) { ch <- reply{a, err} })
		r := <-ch
		return r.a, r.err
	}
	send := chat.CarryOut{Principal: as("1"), Command: chat.Send{Conversation: c, Content: "x"}}
	pair := chat.PairOf(tenant, "1", "2")
	questions := []struct {
		shard int
		q     chat.Question
	}{
		{shard, send},
		{shard, chat.Read{Principal: as("1"), Conversation: c}},
		{shard, chat.Peek{User: "1", Keys: []chat.ConversationKey{keyOf(c)}}},
		{pair.Direct().Shard(), chat.Bar{Pair: chat.Pair{Key: pair}, By: as("1")}},
		{pair.Home().Shard(), chat.Relate{Caller: as("1"), Command: chat.Block{User: "2"}}},
		{pair.Home().Shard(), chat.FoundDirect{Principal: as("1"), Create: chat.Create{Kind: chat.Direct, Members: []chat.UserID{"2"}, Conversation: pair.Direct().ID}}},
		{home, chat.Prefer{User: as("2").Key()}},
		{home, chat.AskPresence{Tenant: tenant, Users: []chat.UserID{"2"}}},
		{home, chat.Declare{User: as("2").Key(), On: true}},
	}
	for _, x := range questions {
		foreign := g.nodes[int(g.ownerOf(x.shard).id)%2]
		if _, err := ask(foreign, x.shard, x.q); !errors.Is(err, chat.ErrMoved) {
			t.Errorf("%s at a node that does not own the shard: %v", x.q.Name(), err)
		}
		if _, err := ask(g.ownerOf(x.shard), x.shard, x.q); errors.Is(err, chat.ErrMoved) {
			t.Errorf("%s at its owner: %v", x.q.Name(), err)
		}
		switch x.q.(type) {
		case chat.Peek, chat.AskPresence: // by each of their things
			continue
		}
		astray := (x.shard + 2) % chat.Shards
		if _, err := ask(g.ownerOf(astray), astray, x.q); !errors.Is(err, chat.ErrInvalid) {
			t.Errorf("%s sent to another shard: %v", x.q.Name(), err)
		}
	}
	foreign := keyOf(chat.NewConversationID())
	for g.ownerOf(foreign.Shard()) == at {
		foreign = keyOf(chat.NewConversationID())
	}
	a, err := ask(at, shard, chat.Peek{User: "1", Keys: []chat.ConversationKey{foreign, keyOf(c)}, Members: 1})
	if s := a.(chat.Snapshots).List; err != nil || !s[0].Moved || s[1].Moved || !s[1].Exists || len(s[1].Members) != 1 || s[1].Set != nil {
		t.Errorf("%+v, %v", a, err)
	}
	log := len(g.store.Log(keyOf(c)))
	if err := other.Close(bg); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(other, shard, send); !errors.Is(err, chat.ErrShutdown) || len(g.store.Log(keyOf(c))) != log {
		t.Error(err)
	}
}
