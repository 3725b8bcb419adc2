package node_test

import (
	"fmt"
	"slices"
	"testing"
)

func (u *user) pins(conversation string) (contents []string) {
	u.h.t.Helper()
	for _, m := range u.call("GET", "conversations/"+conversation+"/pins/", nil).want(200).body.list("results") {
		contents = append(contents, m.str("content"))
	}
	return contents
}

func TestPins(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat")
	var ids []string
	for i := range 52 {
		ids = append(ids, ann.post(id, fmt.Sprint("m", i)).str("id"))
	}
	s := bob.dial(id)
	pin := func(u *user, message, action string) *reply {
		return u.call("POST", "messages/"+message+"/"+action+"/", nil)
	}
	pin(bob, ids[0], "pin").want(403)
	pin(us[3], ids[0], "pin").want(404)
	pin(ann, ids[0], "pin").want(200)
	if f := s.expect("message_pinned"); f.str("message_id") != ids[0] || f.yes("removed") || f.str("user") != "ann" || f.num("seq") != 54 {
		t.Error(f.raw)
	}
	pin(ann, ids[0], "pin").want(200) // again: nothing happens
	ann.call("PATCH", "conversations/"+id+"/", object{"who_can_pin": "member"}).want(200)
	s.send(object{"type": "pin", "message_id": ids[1], "ref": 1})
	if f := s.expect("message_pinned"); f.str("message_id") != ids[1] || f.num("ref") != 1 || f.num("seq") != 56 {
		t.Error(f.raw)
	}
	check := func(when string, want ...string) {
		t.Helper()
		if got := bob.pins(id); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	check("at once", "m1", "m0")
	h.drop()
	check("after a crash", "m1", "m0")
	ann.call("PATCH", "messages/"+ids[1]+"/", object{"content": "edited"}).want(200)
	check("edited", "edited", "m0")
	bob.call("DELETE", "messages/"+ids[1]+"/", nil).want(403)
	ann.call("DELETE", "messages/"+ids[1]+"/", nil).want(204)
	check("deleted", "m0")
	pin(ann, ids[1], "pin").want(404)
	pin(bob, ids[0], "unpin").want(200)
	check("unpinned")
	h.restart()
	check("after a restart")
	for i, m := range ids[2:] {
		if i < 50 {
			pin(bob, m, "pin").want(200)
		}
	}
	pin(bob, ids[0], "pin").want(400).says("At most 50")
	if got := bob.pins(id); len(got) != 50 || got[0] != "m51" || got[49] != "m2" {
		t.Error(got)
	}
	us[3].call("GET", "conversations/"+id+"/pins/", nil).want(404)
	// In a direct conversation both may, unless one blocked the other.
	direct := ann.direct("bob")
	m := ann.post(direct, "x").str("id")
	pin(bob, m, "pin").want(200)
	ann.call("POST", "blocked/", object{"user_id": "bob"}).want(201)
	pin(bob, m, "unpin").want(403)
	if got := bob.pins(direct); fmt.Sprint(got) != "[x]" {
		t.Error(got)
	}
}
