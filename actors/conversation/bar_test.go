package conversation_test

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

// TestReq029_ModelOfBlocks plays commands of two users against blocks that come and go, refused commits and crashes.
// From the answer to a block on, until it is taken back, no message is acknowledged, and nothing that the other would
// notice is told; and nothing is refused as blocked that was given while there was no block.
func TestReq029_ModelOfBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		id := w.key.ID
		n := func(most int) int { return rapid.IntRange(0, most-1).Draw(t, "n") }
		fail := func(format string, args ...any) {
			for _, s := range w.trace {
				t.Log(s)
			}
			t.Fatalf(format, args...)
		}
		stored := conversation.Bar{Conversation: id} // what the store says; the conversation may not know yet
		inForce := false                             // a block was answered and is not taken back
		free := map[*conversation.Request]bool{}     // given while there was, and had been, no block to know of
		w.onReply = func(p conversation.Reply) {
			switch c := p.Request.Command.(type) {
			case conversation.Bar:
				if p.Err == nil && c.On && c.Version == stored.Version {
					inForce = true
				}
			case chat.Send:
				if p.Err == nil && inForce {
					fail("acknowledged after the block: %s", describeReply(p))
				}
				if errors.Is(p.Err, chat.ErrBlocked) && free[p.Request] && stored.Version == 0 {
					fail("refused, and there was never a block: %s", describeReply(p))
				}
			}
		}
		w.onOut = func(d *chat.Delivery) {
			for _, x := range d.Notices {
				if inForce && (x.Read != nil || x.Typing != nil && x.Typing.On) {
					fail("told after the block: %s", describeDelivery(d))
				}
			}
		}
		w.submit("1", chat.Create{Conversation: id, Kind: chat.Direct, Members: []chat.UserID{"2"}})
		w.settle()
		for range rapid.IntRange(1, 150).Draw(t, "moves") {
			u := chat.UserID(fmt.Sprint(1 + n(2)))
			switch n(14) {
			case 0, 1, 2, 3:
				r := w.request(u, chat.Send{Conversation: id, ClientID: fmt.Sprint("c", n(40)), Content: "text"})
				free[r] = stored.Version == 0
				w.step(r)
			case 4:
				w.submit(u, chat.Typing{Conversation: id, On: true})
			case 5:
				w.submit(u, chat.MarkRead{Conversation: id})
			case 6, 7: // the decider stores, then tells; the version grows
				stored.On, stored.Version = !stored.On, stored.Version+1
				w.barred = stored
				if !stored.On {
					inForce = false
				}
				if n(4) > 0 { // else it is told later, or the conversation reads it
					w.submit(u, stored)
				}
			case 8: // told again, or an older one late
				late := stored
				if late.Version > 0 && n(3) == 0 {
					late.On, late.Version = !late.On, late.Version-1
				}
				w.submit(u, late)
			case 9, 10:
				w.commit(nil)
			case 11:
				w.commit(errRefused)
			case 12:
				w.settle()
			case 13:
				if n(3) == 0 {
					w.crash(n(2) == 0, n(2) == 0)
					inForce = inForce && stored.On
				} else {
					w.finishWrite(nil)
					w.finishLoad(nil)
				}
			}
		}
		w.settle()
		// In the end it goes by what is stored, once told.
		w.submit("1", stored)
		w.settle()
		var last error
		w.onReply = func(p conversation.Reply) { last = p.Err }
		w.submit("2", chat.Send{Conversation: id, Content: "last"})
		w.settle()
		if errors.Is(last, chat.ErrBlocked) != stored.On || last != nil && !errors.Is(last, chat.ErrBlocked) {
			fail("blocked %v, sending: %v", stored.On, last)
		}
	})
}
