package actors_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

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
	eventually(t, "homes have heard of every node", func() bool {
		shards, waiting := 0, 0
		g.everywhere(func(m *member) {
			s := m.Stats().Home
			shards, waiting = shards+s.Shards, waiting+s.Waiting
		})
		return shards == chat.Shards && waiting == 0
	})
	for i, u := range users {
		if n := online(u); n != 0 {
			t.Fatalf("%s is there on %d nodes", u, n)
		}
		leave := g.online(g.nodes[i%3], u, chat.SessionID(i+1))
		eventually(t, "the session", func() bool { return online(u) == 3 })
		eventually(t, "seen now, and not written yet", func() bool {
			s, err := g.nodes[0].Status(bg, as(u))
			return err == nil && !s.LastSeen.IsZero()
		})
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
