package actors_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

// No member can fill a message with reactions, so that there is room for the others'.
func TestReq146_ReactionsOfOneMemberAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		c := r.group("1", "2", "3")
		m := r.do("1", chat.Send{Conversation: c, Content: "hello"}).Event.Message
		react := func(n int) chat.React {
			return chat.React{Conversation: c, Message: m, Emoji: fmt.Sprint("x", n)}
		}
		for n := range conversation.MaxReactionsEach {
			r.do("2", react(n))
		}
		r.fails("2", react(99), chat.ErrInvalid)
		r.do("2", react(0)) // which is there
		r.do("3", react(99))
		back := react(0)
		back.Remove = true
		r.do("2", back)
		r.do("2", react(99))
		it, err := r.Message(bg, as("1"), m)
		if n := len(it.Event.Reactions); err != nil || n != conversation.MaxReactionsEach+1 {
			t.Errorf("%d reactions, %v", n, err)
		}
	})
}
