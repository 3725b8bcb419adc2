package conversation_test

import (
	"testing"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

// Rows of changed messages are kept for as long as reads that began before they were saved, however many come after those.
func TestRowsAreForgottenWhileReadsOverlap(t *testing.T) {
	w := newWorld()
	id := w.key.ID
	w.submit("1", chat.Create{Conversation: id, Kind: chat.Group, Title: "t", Members: []chat.UserID{"2"}})
	w.settle()
	var sent []chat.MessageID
	for range 100 {
		w.submit("1", chat.Send{Conversation: id, Content: "text"})
		w.settle()
		log := w.store.Log(w.key)
		sent = append(sent, log[len(log)-1].Message)
	}
	w.submit("2", chat.Hide{Conversation: id, Message: sent[0]}) // so that all of its resumes read
	w.settle()
	w.step(conversation.Flush{})
	w.settle()
	resume := func() { w.submit("2", chat.Resume{Conversation: id, LastSeq: 1}) }
	most := 0
	for _, message := range sent {
		w.submit("1", chat.React{Conversation: id, Message: message, Emoji: "+"})
		for w.finishRead() {
		}
		w.commit(nil)
		resume()
		for w.finishWrite(nil) { // beside that read
		}
		most = max(most, len(w.state.Rewritten()))
	}
	if most > 4 {
		t.Errorf("%d rows were at hand, though the store showed nearly all of them", most)
	}
	w.settle()
	if n := len(w.state.Rewritten()); n > 4 {
		t.Errorf("%d rows stay", n)
	}
}

// A row that changes again is kept for the reads that began between its two writes.
func TestRowsAreKeptForReadsBetweenTwoWrites(t *testing.T) {
	w := newWorld()
	id := w.key.ID
	w.submit("1", chat.Create{Conversation: id, Kind: chat.Group, Title: "t", Members: []chat.UserID{"2", "3"}})
	for range 2 {
		w.submit("1", chat.Send{Conversation: id, Content: "text"})
	}
	w.settle()
	message := w.store.Log(w.key)[1].Message
	w.submit("2", chat.Hide{Conversation: id, Message: w.store.Log(w.key)[2].Message}) // so that its resumes read
	w.settle()
	var got []chat.Event
	w.onReply = func(p conversation.Reply) {
		if len(p.Result.Events) > 0 {
			got = p.Result.Events
		}
	}
	resume := func() { w.submit("2", chat.Resume{Conversation: id, LastSeq: 1}) }
	react := func(u chat.UserID) {
		w.submit(u, chat.React{Conversation: id, Message: message, Emoji: "+"})
		w.commit(nil)
	}
	resume()
	react("1")
	w.finishWrite(nil)
	resume()
	w.look() // of the older resume
	w.look() // of the other: between the two
	react("3")
	w.finishRead()
	w.finishWrite(nil)
	w.finishRead()
	if len(got) == 0 || len(got[0].Reactions) != 2 {
		t.Errorf("%+v", got)
	}
}
