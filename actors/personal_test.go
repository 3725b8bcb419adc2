package actors_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// A history with hidden messages is the history without them, whichever way it is walked.
func TestHiddenHistory(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2")
	const n = 700
	var all []*chat.Event
	for i := range n {
		all = append(all, r.do("1", chat.Send{Conversation: c, Content: text(i)}).Event)
	}
	hidden := map[int]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		hidden[rnd.IntN(n)] = true
	}
	for i := 300; i < 340; i++ { // more than is read at once
		hidden[i] = true
	}
	hidden[n-1] = true
	for i := range hidden {
		r.do("2", chat.Hide{Conversation: c, Message: all[i].Message})
	}
	want := map[chat.UserID][]string{}
	for i := n - 1; i >= 0; i-- {
		want["1"] = append(want["1"], text(i))
		if !hidden[i] {
			want["2"] = append(want["2"], text(i))
		}
	}
	for _, u := range []chat.UserID{"1", "2"} {
		total := len(want[u])
		query := func(q chat.MessageQuery) chat.MessagePage {
			t.Helper()
			q.Conversation = c
			page, err := r.Messages(bg, as(u), q)
			if err != nil || page.Total != total {
				t.Fatalf("%d of %d, %v", page.Total, total, err)
			}
			return page
		}
		for _, offset := range []int{0, 1, 50, 255, 256, 257, 300, 301, 350, 400, 500, total - 1, total, 9999} {
			page := query(chat.MessageQuery{Offset: offset, Limit: 20})
			from, to := min(offset, total), min(offset+20, total)
			if !slices.Equal(contents(page), append([]string(nil), want[u][from:to]...)) || page.More != (to < total) {
				t.Fatalf("%s, offset %d: %v, want %v", u, offset, contents(page), want[u][from:to])
			}
		}
		var got []string
		for q := (chat.MessageQuery{Limit: 33}); ; {
			page := query(q)
			got = append(got, contents(page)...)
			if !page.More {
				break
			}
			q.Before = page.Items[len(page.Items)-1].Event.Message
		}
		if !slices.Equal(got, want[u]) {
			t.Fatalf("%s: walking by cursor differs", u)
		}
		if page, err := r.Messages(bg, as(u), chat.MessageQuery{Limit: 500}); err != nil || page.Total != total || !slices.Equal(contents(page), want[u][:500]) {
			t.Fatalf("%s: all of them: %d, %v", u, page.Total, err)
		}
	}
	// A client goes on behind a message that it has just hidden.
	page, err := r.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Before: all[320].Message, Limit: 1})
	if err != nil || contents(page)[0] != text(299) {
		t.Fatal(contents(page), err)
	}
}

// What is hidden is nowhere, and everything else is as for everybody; in memory, and read from the store.
func TestHiddenEverywhere(t *testing.T) {
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
			c := r.group("1", "2", "3")
			send := func(s string, to *chat.Event) *chat.Event {
				cmd := chat.Send{Conversation: c, Content: "needle " + s}
				if to != nil {
					cmd.ReplyTo = to.Message
				}
				return r.do("1", cmd).Event
			}
			a := send("a", nil)
			b := send("b", a)
			d, e := send("d", a), send("e", a)
			last := send("last", nil)
			for _, x := range []*chat.Event{a, b} {
				r.do("1", chat.Pin{Conversation: c, Message: x.Message})
			}
			for _, x := range []*chat.Event{b, e, last} {
				if err := r.Hide(bg, as("2"), x.Message); err != nil {
					t.Fatal(err)
				}
			}
			r.do("1", chat.Edit{Conversation: c, Message: b.Message, Content: "needle changed"})
			for range 2 { // again is the same
				if err := r.Hide(bg, as("2"), last.Message); err != nil {
					t.Fatal(err)
				}
			}
			rest()
			o.says(hit(c, a), hit(c, b), hit(c, d), hit(c, e), hit(c, last))
			// who sees how much
			for _, u := range []chat.UserID{"2", "3"} { // in this order: the second forwards something
				hides := u == "2"
				pick := func(yes, no []string) []string {
					if hides {
						return yes
					}
					return no
				}
				check := func(what string, got, yes, no []string) {
					t.Helper()
					if want := pick(yes, no); !slices.Equal(got, want) {
						t.Errorf("%s sees %s %q, want %q", u, what, got, want)
					}
				}
				items, err := r.Search(bg, as(u), chat.SearchQuery{Text: "needle"})
				if err != nil {
					t.Fatal(err)
				}
				check("in a search", found(items), []string{"needle d", "needle a"},
					[]string{"needle last", "needle e", "needle d", "needle changed", "needle a"})
				page, err := r.Messages(bg, as(u), chat.MessageQuery{ReplyTo: a.Message, Limit: 10})
				if err != nil || page.Total != len(page.Items) {
					t.Fatal(page.Total, err)
				}
				check("as replies", contents(page), []string{"needle d"}, []string{"needle e", "needle d", "needle changed"})
				page, err = r.Messages(bg, as(u), chat.MessageQuery{ReplyTo: a.Message, Limit: 1})
				if err != nil || page.More == hides {
					t.Fatal(page.More, err)
				}
				pins, err := r.Pins(bg, as(u), c)
				if err != nil {
					t.Fatal(err)
				}
				check("pinned", contents(chat.MessagePage{Items: pins}), []string{"needle a"}, []string{"needle changed", "needle a"})
				list, err := r.Conversations(bg, as(u), chat.ListQuery{Limit: 5})
				if err != nil {
					t.Fatal(err)
				}
				one, err := r.Conversation(bg, as(u), c)
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range []chat.ConversationItem{list.Items[0], one} {
					check("last", []string{it.Head.Last.Text}, []string{"needle d"}, []string{"needle last"})
					if want := map[bool]uint64{true: 2, false: 5}[hides]; it.Unread != want {
						t.Errorf("%s has %d unread, want %d", u, it.Unread, want)
					}
				}
				_, err = r.Message(bg, as(u), b.Message)
				if _, err2 := r.Messages(bg, as(u), chat.MessageQuery{ReplyTo: b.Message, Limit: 1}); errors.Is(err, chat.ErrNotFound) != hides || errors.Is(err2, chat.ErrNotFound) != hides {
					t.Errorf("%s: %v, %v", u, err, err2)
				}
				if _, err := r.Do(bg, as(u), chat.Forward{Conversation: c, Message: b.Message, ClientID: "f" + string(u)}); errors.Is(err, chat.ErrNotFound) != hides {
					t.Errorf("%s forwards: %v", u, err)
				}
				var after uint64
				events, err := r.Events(bg, as(u), chat.EventQuery{Conversation: c, After: &after, Limit: 50})
				if err != nil {
					t.Fatal(err)
				}
				var concealed []uint64
				for _, x := range events.Items {
					if x.Event.Type == chat.EventHidden {
						concealed = append(concealed, x.Event.Seq)
					}
				}
				res := r.do(u, chat.Resume{Conversation: c})
				for i := range res.Events {
					if is := slices.Contains(concealed, res.Events[i].Seq); is != (res.Events[i].Type == chat.EventHidden) {
						t.Errorf("%s: event %d differs in a replay", u, res.Events[i].Seq)
					}
				}
				if want := map[bool]int{true: 5, false: 0}[hides]; len(concealed) != want { // 3 messages, a pin and an edit
					t.Errorf("%s: %v are concealed, want %d", u, concealed, want)
				}
				rest()
			}
			if err := r.Hide(bg, as("4"), a.Message); !errors.Is(err, chat.ErrNotFound) {
				t.Error(err)
			}
			r.fails("4", chat.Hide{Conversation: c, Message: a.Message}, chat.ErrNotMember)
			// Nothing is left to show.
			for _, x := range []*chat.Event{a, d} {
				r.do("2", chat.Hide{Conversation: c, Message: x.Message})
			}
			page, err := r.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 5})
			if err != nil || len(page.Items) != 1 { // what 3 forwarded
				t.Fatal(contents(page), err)
			}
			r.do("2", chat.Hide{Conversation: c, Message: page.Items[0].Event.Message})
			if one, err := r.Conversation(bg, as("2"), c); err != nil || one.Head.Last != (chat.LastMessage{}) || one.Unread != 0 {
				t.Errorf("%+v, %v", one.Head.Last, err)
			}
		})
	}
}

// Reading costs one more read of the store where something is hidden, and none where nothing is.
func TestHiddenCostsOneRead(t *testing.T) {
	r := newRig(t, actors.Config{})
	c := r.group("1", "2")
	var ids []chat.MessageID
	for i := range 50 {
		ids = append(ids, r.do("1", chat.Send{Conversation: c, Content: text(i)}).Event.Message)
	}
	for _, id := range ids[10:30] {
		r.do("2", chat.Hide{Conversation: c, Message: id})
	}
	for u, want := range map[chat.UserID]int{"1": 0, "2": 1} {
		before := r.store.Calls("ListHidden")
		if _, err := r.Messages(bg, as(u), chat.MessageQuery{Conversation: c, Limit: 40}); err != nil {
			t.Fatal(err)
		}
		if n := r.store.Calls("ListHidden") - before; n != want {
			t.Errorf("%s: %d reads, want %d", u, n, want)
		}
		before = r.store.Calls("GetDrafts")
		if _, err := r.Conversations(bg, as(u), chat.ListQuery{Limit: 40}); err != nil || r.store.Calls("GetDrafts") != before {
			t.Errorf("%v, or drafts are looked for where there are none", err)
		}
	}
}

// Pinned conversations come first, in the order of pinning, through all pages.
func TestPinnedConversations(t *testing.T) {
	r := newRig(t, actors.Config{Idle: 20 * time.Millisecond})
	var ids []chat.ConversationID
	for range 12 {
		ids = append(ids, r.group("1", "2"))
	}
	pin := func(u chat.UserID, i int, on bool) {
		t.Helper()
		r.do(u, chat.PinConversation{Conversation: ids[i], On: on})
	}
	for _, i := range []int{3, 8, 1, 8, 3} {
		pin("1", i, true)
	}
	check := func(u chat.UserID, want ...int) {
		t.Helper()
		for _, limit := range []int{2, 5, 50} {
			var got []int
			for offset := 0; ; offset += limit {
				page, err := r.Conversations(bg, as(u), chat.ListQuery{Offset: offset, Limit: limit})
				if err != nil || page.Total != len(ids) {
					t.Fatalf("%d, %v", page.Total, err)
				}
				for _, it := range page.Items {
					got = append(got, slices.Index(ids, it.Head.Key.ID))
				}
				if len(page.Items) < limit {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %v, want %v", u, got, want)
			}
		}
	}
	check("1", 3, 8, 1, 11, 10, 9, 7, 6, 5, 4, 2, 0)
	check("2", 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
	r.do("2", chat.Send{Conversation: ids[0], Content: "x"})
	r.do("2", chat.Send{Conversation: ids[1], Content: "x"})
	check("1", 3, 8, 1, 0, 11, 10, 9, 7, 6, 5, 4, 2)
	eventually(t, "all left memory", func() bool { return r.Stats().Live == 0 })
	check("1", 3, 8, 1, 0, 11, 10, 9, 7, 6, 5, 4, 2)
	pin("1", 3, false)
	pin("1", 3, true)
	check("1", 8, 1, 3, 0, 11, 10, 9, 7, 6, 5, 4, 2)
	// It ends with the membership.
	r.do("1", chat.SetRole{Conversation: ids[8], User: "2", Role: chat.RoleOwner})
	r.do("2", chat.RemoveMembers{Conversation: ids[8], Users: []chat.UserID{"1"}})
	r.do("2", chat.AddMembers{Conversation: ids[8], Users: []chat.UserID{"1"}})
	check("1", 1, 3, 8, 0, 11, 10, 9, 7, 6, 5, 4, 2)
}

func TestPinnedConversationsAreBounded(t *testing.T) {
	r := newRig(t, actors.Config{})
	var last chat.ConversationID
	for range chat.MaxPinnedConversations {
		last = r.group("1", "2")
		r.do("1", chat.PinConversation{Conversation: last, On: true})
	}
	more := r.group("1", "2")
	r.fails("1", chat.PinConversation{Conversation: more, On: true}, chat.ErrInvalid)
	r.do("2", chat.PinConversation{Conversation: more, On: true})
	r.do("1", chat.PinConversation{Conversation: last, On: true}) // it is
	r.do("1", chat.PinConversation{Conversation: last})
	r.do("1", chat.PinConversation{Conversation: more, On: true})
}

// The sessions of one user are told on whichever node they are, of what was done on any; nobody else's are.
func TestOwnNoticesOnSeveralNodes(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	c := g.nodes[0].group("1", "2", "3")
	g.everywhere(func(m *member) {
		m.session("1", chat.ConversationID{}, chat.SessionID(10*m.id+1))
		m.session("1", c, chat.SessionID(10*m.id+2))
		m.session("2", chat.ConversationID{}, chat.SessionID(10*m.id+3))
	})
	id := g.nodes[0].do("2", chat.Send{Conversation: c, Content: "x"}).Event.Message
	for i, cmd := range []chat.Command{
		chat.Hide{Conversation: c, Message: id}, chat.Mute{Conversation: c, Until: chat.Forever}, chat.PinConversation{Conversation: c, On: true},
		chat.Archive{Conversation: c, On: true}, chat.SetDraft{Conversation: c, Text: "a draft", ReplyTo: id}, chat.SetDraft{Conversation: c},
	} {
		g.nodes[i%3].do("1", cmd)
	}
	g.nodes[0].do("2", chat.Send{Conversation: c, Content: "last"})
	kinds := func(m *member, s chat.SessionID) (out []string) {
		for _, n := range m.edge.notices(s) {
			switch {
			case n.Own != nil:
				out = append(out, n.Own.Kind())
			case n.Event != nil && n.Event.Content == "last":
				out = append(out, "last")
			}
		}
		return out
	}
	want := []string{"message_hidden", "conversation_settings", "conversation_settings", "conversation_settings", "draft", "draft", "last"}
	g.everywhere(func(m *member) {
		for s, want := range map[int][]string{1: want, 2: want, 3: want[6:]} {
			s := chat.SessionID(10*int(m.id) + s)
			eventually(t, "the last message", func() bool { return slices.Contains(kinds(m, s), "last") })
			if got := kinds(m, s); !slices.Equal(got, want) {
				t.Errorf("session %d is told %v, want %v", s, got, want)
			}
		}
		own := m.edge.notices(chat.SessionID(10*m.id + 1))
		if d := own[len(own)-3].Own.Draft; d.Text != "a draft" || d.ReplyTo != id || d.At.IsZero() {
			t.Errorf("%+v", d)
		}
		it, err := m.Conversation(bg, as("1"), c)
		if set := it.Me.Settings(it.Head.MsgNo); err != nil || it.Draft != nil || !set.Pinned || set.Archived || !set.MutedUntil.Equal(chat.Forever) {
			t.Errorf("%+v, %v", set, err)
		}
		if d, err := m.Draft(bg, as("1"), c); err != nil || d.Text != "" {
			t.Errorf("%+v, %v", d, err)
		}
		if _, err := m.Draft(bg, as("5"), c); !errors.Is(err, chat.ErrNotFound) {
			t.Error(err)
		}
	})
}
