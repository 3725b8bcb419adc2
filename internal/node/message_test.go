package node_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

func TestReq116_CookieNeedsCSRFToken(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann := h.user("ann")
	h.user("bob")
	id := ann.direct("bob")
	try := func(method string, header http.Header) *reply {
		t.Helper()
		header.Set("Content-Type", "application/json")
		header.Add("Cookie", "hub_token="+ann.token)
		path, body := api+"messages/", any(object{"conversation_id": id, "content": "x"})
		if method == "GET" {
			path, body = api+"conversations/", nil
		}
		r, err := h.request(method, path, header, body)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	offered := try("GET", http.Header{}).want(200)
	var csrf string
	for _, c := range (&http.Response{Header: offered.header}).Cookies() {
		if c.Name == "csrftoken" {
			csrf = c.Value
		}
	}
	if csrf == "" {
		t.Fatalf("no csrftoken offered: %v", offered.header)
	}
	try("POST", http.Header{}).want(403).says("CSRF")
	try("POST", http.Header{"Origin": {"https://evil.example"}}).want(403)
	try("POST", http.Header{"Cookie": {"csrftoken=" + csrf}}).want(403)
	try("POST", http.Header{"Cookie": {"csrftoken=" + csrf}, "X-Csrftoken": {"other"}}).want(403)
	if n := len(ann.history(id)); n != 0 {
		t.Errorf("%d messages came through", n)
	}
	try("POST", http.Header{"Cookie": {"csrftoken=" + csrf}, "X-Csrftoken": {csrf}}).want(201)
	try("POST", http.Header{"Origin": {h.url}}).want(201)
	ann.post(id, "a bearer token needs none")
}

func TestReq142_Archive(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	ann.post(id, "one")
	listed := func(u *user, query string) int {
		t.Helper()
		return u.call("GET", "conversations/"+query, nil).want(200).body.num("count")
	}
	ann.act(id, "archive").want(200)
	if listed(ann, "") != 0 || listed(ann, "?archived=true") != 1 || listed(bob, "") != 1 {
		t.Error("not hidden from ann's list alone")
	}
	h.restart()
	if listed(ann, "") != 0 {
		t.Error("back after a restart")
	}
	bob.post(id, "two")
	if listed(ann, "") != 1 {
		t.Error("a new message does not bring it back")
	}
	ann.act(id, "archive").want(200)
	ann.act(id, "unarchive").want(200)
	if listed(ann, "") != 1 {
		t.Error("not brought back")
	}
}

func TestReq146_Reactions(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	m := a.say(id, "react!").str("id")
	react := func(s *socket, emoji string, remove bool) {
		t.Helper()
		s.send(object{"type": "react", "message_id": m, "emoji": emoji, "remove": remove, "ref": "r"})
	}
	heard := func(user, emoji string, removed bool) {
		t.Helper()
		for _, s := range []*socket{a, b} {
			f := s.expect("reaction")
			if f.str("message_id") != m || f.str("emoji") != emoji || f.yes("removed") != removed || f.str("user") != user {
				t.Error(f.raw)
			}
		}
	}
	react(a, "👍", false)
	heard("ann", "👍", false)
	react(b, "👍", false)
	heard("bob", "👍", false)
	react(b, "👍", false) // again: nothing happens
	b.expect("ok")
	react(b, "🎉", false)
	heard("bob", "🎉", false)
	react(a, "👍", true)
	heard("ann", "👍", true)
	check := func() {
		t.Helper()
		r := ann.call("GET", "messages/"+m+"/", nil).want(200)
		l := r.body.list("reactions")
		if len(l) != 2 || l[0].str("emoji") != "👍" || l[0].str("user_id") != "bob" || l[1].str("emoji") != "🎉" {
			t.Error(r.raw)
		}
	}
	check()
	h.drop()
	check()
}

func TestReq148_EditAndDelete(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	first, second := a.say(id, "first").str("id"), a.say(id, "second").str("id")
	a.send(object{"type": "edit", "message_id": first, "content": " better "})
	if f := b.expect("message_edited"); f.str("message_id") != first || f.str("content") != "better" || f.str("edited_at") == "" {
		t.Error(f.raw)
	}
	for _, cmd := range []object{{"type": "edit", "content": "mine"}, {"type": "delete"}} {
		cmd["message_id"] = first
		b.send(cmd)
		b.refused("forbidden")
	}
	a.send(object{"type": "delete", "message_id": second})
	if f := b.expect("message_deleted"); f.str("message_id") != second || f.object["content"] != nil {
		t.Error(f.raw)
	}
	a.send(object{"type": "edit", "message_id": second, "content": "undead"})
	a.refused("not_found")
	check := func() {
		t.Helper()
		l := bob.history(id)
		if len(l) != 2 || l[0].str("content") != "" || l[0].str("deleted_at") == "" || l[1].str("content") != "better" || l[1].str("edited_at") == "" {
			t.Errorf("%v", l)
		}
		c := bob.detail(id).want(200)
		if c.body.str("last_message_text") != "" {
			t.Errorf("the deleted text is in the list: %s", c.raw)
		}
		s := bob.dial(id)
		s.send(object{"type": "resume", "last_seq": 1})
		if f := s.next(); f.str("content") != "better" {
			t.Errorf("replayed %s", f.raw)
		}
		if f := s.next(); f.str("content") != "" || f.str("deleted_at") == "" {
			t.Errorf("replayed %s", f.raw)
		}
	}
	check()
	h.restart()
	check()
	h.clock.advance(16 * time.Minute)
	s := ann.dial(id)
	s.send(object{"type": "edit", "message_id": first, "content": "too late"})
	s.refused("edit_window")
	ann.call("PATCH", "messages/"+first+"/", object{"content": "too late"}).want(403)
	check()
}

// Conversations leave memory when nobody uses them; nobody must notice.
func TestPassivationIsInvisible(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.IdleAfter = time.Second })
	us := h.users("ann", "bob", "cat")
	id := us[0].group("Crew", "bob", "cat")
	a, b, cat := us[0].dial(id), us[1].dial(), us[2].dial(id)
	sleep := func() {
		t.Helper()
		h.clock.advance(time.Minute)
		h.await("the conversation leaves memory", func() bool { return h.metric("hub_conversations_active") == 0 })
	}
	sleep()
	var sent []string
	for i := range 3 {
		a.send(object{"type": "send_message", "content": "hello", "client_id": fmt.Sprint("c", i)})
		f := b.next()
		if f.num("seq") != i+2 {
			t.Errorf("%s, want seq %d", f.raw, i+2)
		}
		sent = append(sent, f.str("id"))
		cat.message("hello")
		a.message("hello")
		sleep()
	}
	a.send(object{"type": "send_message", "content": "hello", "client_id": "c1", "ref": "again"})
	if f := a.next(); f.str("id") != sent[1] || f.str("ref") != "again" {
		t.Errorf("%s, want %s", f.raw, sent[1])
	}
	sleep()
	b.send(object{"type": "read", "message_id": sent[1], "conversation_id": id})
	if f := a.next(); f.str("type") != "read" || f.str("message_id") != sent[1] {
		t.Error(f.raw)
	}
	sleep()
	if n := us[1].unread(id); n != 1 {
		t.Errorf("%d unread", n)
	}
	sleep()
	us[0].act(id, "remove_participant", "cat").want(200)
	cat.wantClose(4003)
	sleep()
	us[2].detail(id).want(404)
	for _, u := range us[:2] {
		u.act(id, "leave").want(200)
	}
	sleep()
	us[0].detail(id).want(404)
	a.wantClose(4003)
}
