package conversation_test

import (
	"fmt"
	"testing"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

// In a conversation that has been in memory since its first message, a new client id costs no read, however many there
// were, and an old one still becomes the message that it became.
func TestSeenClientIDs(t *testing.T) {
	for _, c := range []struct {
		name   string
		budget int64
		most   int // reads for so many new ids
	}{
		{"room", conversation.DefaultSeenBytes, 100},
		{"no room", 100, 4000},
		{"room for one segment", 3000, 4000},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n = 4000
			budget := conversation.NewSeenBudget(c.budget)
			w := newSeenWorld(t, budget)
			for i := range n {
				if r := w.send("1", fmt.Sprint(i)); r.Duplicate || r.Event.Seq != uint64(i)+2 {
					t.Fatalf("%d: %+v", i, r)
				}
			}
			if w.asked > c.most {
				t.Errorf("the store was asked for %d of %d ids", w.asked, n)
			}
			if c.most == n && w.asked < n-2*conversation.MaxUnsaved-1024 {
				t.Errorf("without room the store was asked for %d of %d ids", w.asked, n)
			}
			for i := 0; i < n; i += 7 {
				if r := w.send("1", fmt.Sprint(i)); !r.Duplicate || r.Event.Seq != uint64(i)+2 {
					t.Fatalf("%d again: %+v", i, r)
				}
				if r := w.send("2", fmt.Sprint(i)); r.Duplicate { // another sender's
					t.Fatalf("%d of another: %+v", i, r)
				}
			}
			w.state.Discard()
			if used := budget.Used(); used != 0 {
				t.Errorf("%d bytes are still in use", used)
			}
		})
	}
}

// After a restart the ids before those that were read again are the store's to know.
func TestSeenAfterRestart(t *testing.T) {
	w := newSeenWorld(t, nil)
	for i := range 2000 {
		w.send("1", fmt.Sprint(i))
	}
	w.restart()
	before := w.asked
	if r := w.send("1", "3"); !r.Duplicate || r.Event.Seq != 5 {
		t.Fatalf("%+v", r)
	}
	if r := w.send("1", "new"); r.Duplicate {
		t.Fatalf("%+v", r)
	}
	if w.asked != before+2 {
		t.Fatalf("asked for %d ids", w.asked-before)
	}
}

// seenWorld is a world whose store counts the client ids that it is asked for.
type seenWorld struct {
	*world
	t      *testing.T
	budget *conversation.SeenBudget
	asked  int
	last   chat.Result
}

func newSeenWorld(t *testing.T, budget *conversation.SeenBudget) *seenWorld {
	w := &seenWorld{world: newWorld(), t: t, budget: budget}
	w.onReply = func(p conversation.Reply) {
		if p.Err != nil {
			t.Fatal(p.Err)
		}
		w.last = p.Result
	}
	w.restart()
	w.submit("1", chat.Create{Conversation: w.key.ID, Kind: chat.Group, Members: []chat.UserID{"2"}})
	w.settle()
	return w
}

func (w *seenWorld) restart() {
	w.fresh()
	w.state = conversation.New(conversation.Params{Key: w.key, Epoch: 1, Rules: &w.rules, Seen: w.budget})
}

func (w *seenWorld) send(u chat.UserID, id string) chat.Result {
	w.submit(u, chat.Send{Conversation: w.key.ID, ClientID: id, Content: "x"})
	w.finishLoad(nil)
	if w.batch != nil {
		w.asked += len(w.batch.Check)
	}
	w.settle()
	w.trace = w.trace[:0]
	return w.last
}
