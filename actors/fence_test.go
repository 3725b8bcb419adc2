package actors_test

import (
	"slices"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// What the owner of a conversation acknowledged, and its readers did not get before another node took over, they are told
// of by the successor; when it comes at last it is refused, and not shown behind what the successor sent.
func TestLateDeliveriesOfAFormerOwner(t *testing.T) {
	for name, taken := range map[string]bool{"taken over": true, "only late": false} {
		t.Run(name, func(t *testing.T) {
			g := newGrid(t, 3, actors.Config{})
			c, old, heir, reader := g.apartFrom("2")
			g.online(reader, "2", 7)
			before := old.do("1", chat.Send{Conversation: c, Content: "before"}).Event.Seq
			eventually(t, "the message", func() bool { return len(reader.edge.notices(7)) == 1 })

			release := g.holdBack(old)
			late := old.do("1", chat.Send{Conversation: c, Content: "acknowledged"}).Event.Seq
			if !taken {
				release()
				eventually(t, "the late message", func() bool { return len(reader.edge.notices(7)) == 2 })
				g.everywhere(func(m *member) {
					if n := m.Stats().Home.Fenced + m.Stats().Directory.Fenced; n != 0 {
						t.Errorf("node %d refused %d deliveries", m.id, n)
					}
				})
				return
			}
			shard := keyOf(c).Shard()
			heir.Gained(shard, g.give(shard, heir))
			eventually(t, "the notice of the head", func() bool {
				ns := reader.edge.notices(7)
				return ns[len(ns)-1].Head != nil && ns[len(ns)-1].Head.Seq == late
			})
			after := heir.do("1", chat.Send{Conversation: c, Content: "after"}).Event.Seq
			eventually(t, "the successor's message", func() bool {
				ns := reader.edge.notices(7)
				return ns[len(ns)-1].Event != nil && ns[len(ns)-1].Event.Seq == after
			})
			release()
			eventually(t, "the refusal", func() (refused bool) {
				g.everywhere(func(m *member) {
					refused = refused || m.Stats().Home.Fenced+m.Stats().Directory.Fenced > 0
				})
				return refused
			})
			eventually(t, "nothing is left to the former owner", func() bool {
				s := old.Stats().Fanout
				return s.UnderWay == 0 && s.Missed == 0
			})
			var seqs []uint64
			for _, n := range reader.edge.notices(7) {
				if n.Event != nil {
					seqs = append(seqs, n.Event.Seq)
				}
			}
			if len(seqs) != 2 || seqs[0] != before || seqs[1] != after {
				t.Errorf("the reader got %d, want %d", seqs, []uint64{before, after})
			}
			res := reader.do("2", chat.Resume{Conversation: c, LastSeq: before})
			if res.Gap || len(res.Events) != 2 || res.Events[0].Content != "acknowledged" || res.Events[1].Seq != after {
				t.Errorf("%+v", res)
			}
		})
	}
}

// Who was removed by a command whose delivery is refused comes back, and finds out.
func TestLateRemovalOfAFormerOwner(t *testing.T) {
	g := newGrid(t, 3, actors.Config{})
	c, old, heir, reader := g.apartFrom("2")
	g.online(reader, "2", 7)
	g.online(reader, "3", 8)
	got := func(s chat.SessionID, content string) bool {
		return slices.ContainsFunc(reader.edge.notices(s), func(n chat.Notice) bool { return n.Event != nil && n.Event.Content == content })
	}
	// What is behind something that is under way would not be held back, but never be sent.
	before := old.do("1", chat.Send{Conversation: c, Content: "before"}).Event.Seq
	eventually(t, "the message, confirmed", func() bool {
		return got(7, "before") && got(8, "before") && old.Stats().Fanout.UnderWay == 0
	})
	release := g.holdBack(old)
	old.do("1", chat.RemoveMembers{Conversation: c, Users: []chat.UserID{"2"}})
	shard := keyOf(c).Shard()
	heir.Gained(shard, g.give(shard, heir))
	heir.do("1", chat.Send{Conversation: c, Content: "not for 2"})
	eventually(t, "the successor's message", func() bool { return got(8, "not for 2") })
	release()
	eventually(t, "the end of the session", func() bool { return len(reader.edge.overflown()) > 0 })
	if got := reader.edge.overflown(); len(got) != 1 || got[0] != 7 {
		t.Errorf("sessions %d were ended", got)
	}
	for _, n := range reader.edge.notices(7) {
		if n.Event == nil || n.Event.Seq > before {
			t.Errorf("who is a member no more got %+v", n)
		}
	}
}

// apartFrom makes a group of which neither the owner, nor the node that will be the next, nor the home of its member u is
// the node that u is connected to, if there are three.
func (g *grid) apartFrom(u chat.UserID) (c chat.ConversationID, old, heir, reader *member) {
	g.t.Helper()
	c = g.nodes[0].group("1", u, "3")
	for g.at(c) == g.home(u) {
		c = g.nodes[0].group("1", u, "3")
	}
	old, heir = g.at(c), g.home(u)
	for _, m := range g.nodes {
		if m != old && m != heir {
			reader = m
		}
	}
	return c, old, heir, reader
}

// give makes a node the owner of a shard, which its former owner has not noticed otherwise.
func (g *grid) give(shard int, to *member) (epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.owner[shard] = to.id
	g.epoch[shard]++
	return g.epoch[shard]
}

// holdBack keeps deliveries that a node sends from now on, until release.
func (g *grid) holdBack(from *member) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var held []func()
	g.hold = func(sender, _ chat.NodeID, p chat.Parcel, hand func()) bool {
		if _, ok := p.(*chat.ToHome); !ok || sender != from.id {
			return false
		}
		held = append(held, hand)
		return true
	}
	return func() {
		g.mu.Lock()
		g.hold = nil
		g.mu.Unlock()
		for _, hand := range held {
			hand()
		}
	}
}
