package session_test

import (
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/session"
)

// Sessions of one user on two nodes may have the same number: the reference goes to the one that sent the command.
func TestReferenceGoesToTheSessionOfItsNode(t *testing.T) {
	b := newBed(t, func(c *session.Config, _ *hub) { c.Self = 7 })
	alice := b.dial(chatPath, "alice")
	b.frames(alice)
	b.hub.answer = nil
	b.send(alice, `{"type":"send_message","content":"hi","ref":7}`)
	if o := b.hub.last().o; o.Node != 7 || o.Session != chat.SessionID(alice.Handle) {
		t.Fatalf("%+v", o)
	}
	e := event(3, "alice", "hi")
	for node, ref := range map[chat.NodeID]string{7: `,"ref":7`, 8: "", 0: `,"ref":7`} {
		b.deliver(&chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: e,
			Origin: chat.Origin{Node: node, Session: chat.SessionID(alice.Handle), Ref: "7"}}}}, alice)
		want(t, b.frames(alice), messageFrame(e, ref))
	}
}

func TestHeadFrame(t *testing.T) {
	b := newBed(t, nil)
	one, all := b.dial(chatPath, "alice"), b.dial("/ws/", "alice")
	b.frames(one)
	b.frames(all)
	b.deliver(&chat.Delivery{Key: convKey, Notices: []chat.Notice{{Head: &chat.HeadNotice{Seq: 12}}}}, one, all)
	head := `{"type":"head","conversation_id":"` + conv.String() + `","head_seq":12}`
	want(t, b.frames(one), head)
	want(t, b.frames(all), head)
	if one.shed+all.shed != 0 {
		t.Fatal("a head frame is ephemeral")
	}
}

// Nothing is said to a client, and nothing asked for it, before its node gets the user's deliveries.
func TestSessionOpensOnceEntered(t *testing.T) {
	b := newBed(t, func(_ *session.Config, h *hub) { h.hold = true })
	alice := chat.UserKey{Tenant: chat.DefaultTenant, User: "alice"}
	for _, path := range []string{chatPath, "/ws/"} {
		c := b.dial(path, "alice")
		b.send(c, `{"type":"ping"}`)
		if f := b.frames(c); len(f) != 0 || len(b.hub.commands) != 0 || b.hub.isRegistered(chat.SessionID(c.Handle)) {
			t.Fatalf("%v before it entered", f)
		}
		b.hub.entering[0](nil)
		want(t, b.frames(c), status, `{"type":"pong"}`)
		b.hub.commands, b.hub.entering = nil, nil
		b.close(c)
		if b.hub.entered[alice] != 0 {
			t.Fatal("it did not exit")
		}
	}
	c := b.dial(chatPath, "alice")
	b.hub.entering[0](chat.ErrUnavailable)
	if code, _ := b.closed(c); code != frame.CloseOverload {
		t.Fatalf("closed with %d", code)
	}
	b.close(c)
	gone := b.dial(chatPath, "alice")
	b.close(gone)
	b.hub.entering[1](nil)
	if len(b.frames(gone)) != 0 || len(b.hub.commands) != 0 || b.hub.entered[alice] != 0 {
		t.Fatal("a session that is gone went on")
	}
}
