package actors_test

import (
	"testing"
	"testing/synctest"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
)

// Nobody can put words into somebody else's mouth: what is said to be another's is as they wrote it.
func TestForwardedMessagesCannotBeEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, actors.Config{})
		c := r.group("1", "2")
		said := r.do("1", chat.Send{Conversation: c, Content: "I never said that"}).Event
		copied := r.do("2", chat.Forward{Conversation: c, Message: said.Message}).Event
		again := r.do("1", chat.Forward{Conversation: c, Message: copied.Message}).Event // of one's own words
		r.fails("2", chat.Edit{Conversation: c, Message: copied.Message, Content: "I said that"}, chat.ErrForbidden)
		r.do("1", chat.Edit{Conversation: c, Message: again.Message, Content: "I would not say that"})
		page, err := r.Messages(bg, as("2"), chat.MessageQuery{Conversation: c, Limit: 5})
		if err != nil || len(page.Items) != 3 {
			t.Fatal(page, err)
		}
		for i, want := range []string{"I would not say that", "I never said that", "I never said that"} {
			if e := &page.Items[i].Event; e.Content != want || i < 2 && e.More().Forwarded.User != "1" {
				t.Errorf("%q by %q, want %q", e.Content, e.More().Forwarded.User, want)
			}
		}
	})
}
