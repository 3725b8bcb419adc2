package actors_test

import (
	"context"
	"testing"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/internal/faultstore"
	"github.com/zumodra/hub/chat"
)

// What an owner before the last one left behind the stored head is written again under the present epoch before anybody
// reads it; what the last one left is not, and costs nothing.
func TestTailIsSealed(t *testing.T) {
	for later, want := range map[uint64]uint64{2: 1, 3: 3} {
		store := faultstore.New()
		r := newRig(t, actors.Config{Store: store, Epoch: 1})
		c := r.direct("1", "2")
		store.SetFaults(func(op string, _ chat.ConversationKey) error {
			if op == "SaveDerived" {
				return chat.ErrUnavailable
			}
			return nil
		}, nil)
		for n := range 3 {
			r.do("1", chat.Send{Conversation: c, Content: text(n)})
		}
		ctx, cancel := context.WithCancel(bg)
		cancel()
		_ = r.Close(ctx) // gives up at once, as a kill does
		store.SetFaults(nil, nil)
		again := newRig(t, actors.Config{Store: store, Epoch: later})
		page, err := again.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 10})
		if err != nil || len(page.Items) != 3 {
			t.Fatalf("%+v, %v", page, err)
		}
		for i, item := range page.Items {
			if item.Event.Epoch != want || item.Event.Content != text(2-i) {
				t.Errorf("epoch %d: %+v", later, item.Event)
			}
		}
		if e := again.do("1", chat.Send{Conversation: c, Content: "next"}).Event; e.Epoch != later || e.MsgNo != 4 {
			t.Errorf("%+v", e)
		}
	}
}
