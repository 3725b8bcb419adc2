package actors_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// What a list remembers of conversations that are in no memory is right, whatever happens to them on whichever node.
func TestReq156_ListsRememberNothingStale(t *testing.T) {
	g := newGrid(t, 3, actors.Config{Idle: 20 * time.Millisecond})
	rng := rand.New(rand.NewPCG(1, 2))
	any := func() *member { return g.nodes[rng.IntN(3)] }
	ids := make([]chat.ConversationID, 20)
	for i := range ids {
		ids[i] = any().group("2", "1", "3")
	}
	unread := make(map[chat.ConversationID]uint64)
	gone := make(map[chat.ConversationID]bool)
	quiet := func() {
		eventually(t, "all left memory", func() bool {
			return !slices.ContainsFunc(g.nodes, func(m *member) bool { return m.Stats().Live > 0 })
		})
	}
	check := func() {
		t.Helper()
		for _, m := range g.nodes {
			page, err := m.Conversations(bg, as("1"), chat.ListQuery{Limit: 50})
			if err != nil || page.Total != len(ids)-len(gone) {
				t.Fatalf("%d conversations, %v, want %d", page.Total, err, len(ids)-len(gone))
			}
			for _, it := range page.Items {
				id := it.Head.Key.ID
				if log := g.store.Log(keyOf(id)); it.Head.Seq != log[len(log)-1].Seq || it.Unread != unread[id] {
					t.Fatalf("%v: seq %d of %d, %d unread of %d", id, it.Head.Seq, log[len(log)-1].Seq, it.Unread, unread[id])
				}
			}
		}
	}
	for round := range 60 {
		if round%3 == 0 {
			quiet()
		}
		check()
		id := ids[rng.IntN(len(ids))]
		switch action := rng.IntN(5); {
		case gone[id]:
			any().do("2", chat.AddMembers{Conversation: id, Users: []chat.UserID{"1"}})
			delete(gone, id)
			unread[id] = 0
		case action == 0:
			any().do("2", chat.RemoveMembers{Conversation: id, Users: []chat.UserID{"1"}})
			gone[id] = true
		case action == 1:
			any().do("1", chat.MarkRead{Conversation: id})
			unread[id] = 0
		default:
			any().do("2", chat.Send{Conversation: id, Content: "x"})
			unread[id]++
		}
	}
	quiet()
	check()
	reads := g.store.Calls("GetHeads") + g.store.Calls("GetMembers")
	if reads == 0 {
		t.Error("nothing was read")
	}
	check()
	if n := g.store.Calls("GetHeads") + g.store.Calls("GetMembers") - reads; n > 0 {
		t.Errorf("%d reads of what is remembered", n)
	}
	g.move()
	check()
}
