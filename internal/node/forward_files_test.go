package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
)

// A message that is forwarded takes its file along: members of the other conversation download it, whatever becomes of the
// original, and nobody else.
func TestForwardedFiles(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob, cat, dan := us[0], us[1], us[2], us[3]
	secret, crew := ann.direct("bob"), bob.group("Crew", "cat")
	first := ann.sendFile(secret, "report.txt", []byte("the report")).want(201).body
	path := first.str("file")
	cat.get(path, true).want(404)
	s, mine := cat.dial(crew), bob.dial(crew)
	forward := func(u *user, message, to string, clientID any) *reply {
		return u.call("POST", "messages/"+message+"/forward/", object{"conversation_id": to, "client_id": clientID})
	}
	sent := forward(bob, first.str("id"), crew, "f1").want(201).body
	copied := sent.str("file")
	if copied == "" || copied == path || sent.obj("attachment").str("name") != "report.txt" || sent.obj("forwarded_from").str("user_id") != "ann" {
		t.Error(sent)
	}
	if f := s.expect("message"); f.str("file") != copied || f.obj("attachment").num("size") != 10 {
		t.Error(f.raw)
	}
	mine.expect("message")
	if again := forward(bob, first.str("id"), crew, "f1").want(201).body; again.str("id") != sent.str("id") || again.str("file") != copied {
		t.Errorf("forwarded twice: %v", again)
	}
	cat.get(copied, true).want(200).says("the report")
	cat.get(path, true).want(404)
	dan.get(copied, true).want(404)
	ann.get(copied, true).want(404) // who is not there
	ann.get(path, true).want(200)

	// A voice message stays one. By socket, with a reference, and out of a conversation that the reader is in alone.
	voice := ann.sendForm(part{"conversation_id", "", []byte(secret)}, part{"voice_message", "v.mp3", append([]byte("ID3\x03\x00\x00\x00\x00\x00\x00"), make([]byte, 64)...)}).want(201).body
	mine.send(object{"type": "forward", "message_id": voice.str("id"), "ref": "r"})
	if f := mine.expect("message"); f.str("ref") != "r" || !f.yes("is_voice") || f.obj("attachment").str("name") != "v.mp3" {
		t.Error(f.raw)
	}

	// What is refused leaves nothing behind; what was only text goes on as before.
	forward(cat, first.str("id"), crew, nil).want(404)
	forward(ann, first.str("id"), crew, nil).want(400)
	ann.call("POST", "blocked/", object{"user_id": "bob"}).want(201)
	forward(bob, sent.str("id"), secret, nil).want(403)

	// The original is deleted: the copy stays, also after a restart. A deleted copy is gone for its members.
	ann.call("DELETE", "messages/"+first.str("id")+"/", nil).want(204)
	ann.get(path, true).want(404)
	h.restart()
	cat.get(copied, true).want(200).says("the report")
	onward := forward(cat, sent.str("id"), cat.direct("dan"), nil).want(201).body
	if onward.obj("forwarded_from").str("user_id") != "ann" {
		t.Error(onward)
	}
	dan.get(onward.str("file"), true).want(200).says("the report")
	bob.call("DELETE", "messages/"+sent.str("id")+"/", nil).want(204)
	cat.get(copied, true).want(404)
	dan.get(onward.str("file"), true).want(200)
	h.clock.advance(31 * 24 * time.Hour)
	dan.token = h.sign("dan", "default", h.clock.now().Add(time.Hour))
	forward(dan, onward.str("id"), dan.direct("bob"), nil).want(400).says("The file has expired.")
	h.stop()
	states := map[int64]int{}
	if n := h.rows(storage.TableFiles, func(_ storage.Key, r storage.Row) bool { states[r.Columns[1].I]++; return true }); n < 4 || states[1]+states[2]+states[3] != 0 {
		t.Errorf("files by state: %s", fmt.Sprint(states))
	}
}
