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
	"github.com/zumodra/hub/chat"
)

// Shards move while users write: nobody is refused, nothing is lost, nothing is twice, each sender's order holds.
func TestMovesBetweenCommands(t *testing.T) {
	g := newGrid(t, 3, actors.Config{Idle: 5 * time.Millisecond, Patience: time.Minute})
	const senders, each = 4, 60
	c := g.nodes[0].group("1", "2", "3", "4")
	answered := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			u := chat.UserID(fmt.Sprint(i + 1))
			for n := range each {
				m := g.nodes[(i+n)%3]
				send := chat.Send{Conversation: c, ClientID: fmt.Sprint(n), Content: text(n)}
				res, err := m.Do(bg, as(u), send)
				// The grid may take a shard while its owner lets one more command in, which knows nothing of its outcome then.
				again := false
				for ; errors.Is(err, chat.ErrUnknown); again = true {
					res, err = m.Do(bg, as(u), send)
				}
				if err != nil || res.Duplicate && !again {
					t.Errorf("%s %d: %+v, %v", u, n, res, err)
				}
				select {
				case answered <- struct{}{}:
				default:
				}
				if n%7 == 0 {
					if _, err := m.Do(bg, as(u), chat.MarkRead{Conversation: c}); err != nil && !errors.Is(err, chat.ErrUnknown) {
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
			}
			select {
			case <-stop:
				return
			case <-answered: // on a slow machine shards would move faster than commands follow them
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
	g := newGrid(t, 2, actors.Config{Patience: 2 * time.Second, Search: o})
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
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			if err := call(); !errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, chat.ErrUnknown) {
				t.Errorf("%s: %v", name, err)
			} else if errors.Is(err, chat.ErrMoved) {
				t.Errorf("%s says that the shard moved", name)
			}
		})
	}
	wg.Wait()
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
	at.session("2", c, 7)
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
