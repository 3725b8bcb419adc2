package node_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// thread is the contents of the replies of a message, oldest first, walked with before.
func (u *user) thread(message string) (contents []string) {
	u.h.t.Helper()
	path := "messages/" + message + "/replies/"
	for {
		page := u.call("GET", path, nil).want(200).body.list("results")
		if len(page) == 0 {
			slices.Reverse(contents)
			return contents
		}
		for _, m := range page {
			if m.str("reply_to") != message {
				u.h.t.Errorf("not a reply: %v", m)
			}
			contents = append(contents, m.str("content"))
		}
		path = "messages/" + message + "/replies/?before=" + page[len(page)-1].str("id")
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat")
	other := ann.direct("bob")
	first := ann.post(id, "question").str("id")
	elsewhere := ann.post(other, "elsewhere").str("id")
	s, seen := bob.dial(id), ann.dial(id)
	var want []string
	for i := range 45 {
		want = append(want, fmt.Sprint("answer ", i))
		s.send(object{"type": "send_message", "content": want[i], "reply_to": first, "client_id": fmt.Sprint("c", i)})
		if i%9 == 0 { // a repetition is not counted twice
			s.send(object{"type": "send_message", "content": want[i], "reply_to": first, "client_id": fmt.Sprint("c", i)})
		}
		if i%5 == 0 { // changes of the answered message come between
			s.send(object{"type": "react", "message_id": first, "emoji": "x", "remove": i%10 == 5})
		}
	}
	if f := seen.message("answer 44"); f.str("reply_to") != first {
		t.Error(f.raw)
	}
	ann.call("PATCH", "messages/"+first+"/", object{"content": "question?"}).want(200)
	check := func(when string, want []string) {
		t.Helper()
		m := ann.call("GET", "messages/"+first+"/", nil).want(200).body
		if m.num("reply_count") != len(want) || m.str("content") != "question?" || len(m.list("reactions")) != 1 {
			t.Errorf("%s: %v", when, m)
		}
		if got := ann.thread(first); !slices.Equal(got, want) {
			t.Errorf("%s: %q", when, got)
		}
		page := ann.call("GET", "messages/?reply_to="+first+"&page=2", nil).want(200).body
		if l := page.list("results"); page.num("count") != len(want) || len(l) != 20 || l[0].str("content") != want[len(want)-21] {
			t.Errorf("%s: the second page is %v", when, page)
		}
	}
	check("at once", want)
	h.drop()
	check("after a crash", want)
	h.restart()
	check("after a restart", want)
	// An old message has to be read; what the sender sent behind the reply stays behind it.
	s = bob.dial(id)
	for i := range 200 {
		s.send(object{"type": "send_message", "content": fmt.Sprint("talk ", i)})
	}
	s.message("talk 199")
	h.restart()
	s = bob.dial(id)
	for i := range 6 {
		m := object{"type": "send_message", "content": fmt.Sprint("late ", i)}
		if i%2 == 0 {
			m["reply_to"] = first
			want = append(want, m.str("content"))
		}
		s.send(m)
	}
	for i := range 6 {
		if f := s.expect("message"); f.str("content") != fmt.Sprint("late ", i) {
			t.Fatalf("out of order: %s", f.raw)
		}
	}
	check("behind much else", want)
	// A deleted reply stays in its place, empty; a deleted message cannot be answered.
	last := ann.call("GET", "messages/"+first+"/replies/", nil).body.list("results")[0].str("id")
	bob.call("DELETE", "messages/"+last+"/", nil).want(204)
	want[len(want)-1] = ""
	check("one was deleted", want)
	for _, bad := range []string{last, elsewhere, "00000000-0000-0000-0000-000000000001"} {
		bob.call("POST", "messages/", object{"conversation_id": id, "content": "x", "reply_to": bad}).want(400).says("reply_to")
		s.send(object{"type": "send_message", "content": "x", "reply_to": bad})
		s.refused("invalid")
	}
	bob.call("POST", "messages/", object{"conversation_id": id, "content": "x", "reply_to": "x"}).want(400).says("reply_to")
	us[2].call("GET", "messages/"+elsewhere+"/replies/", nil).want(404)
	// With the conversation its threads go: TestReq018 looks at the tables.
}

func TestMentions(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat")
	s, sees := bob.dial(id), ann.dial(id)
	for _, c := range []struct {
		content string
		fields  object
		users   string
		all     bool
	}{
		{"hello @ann", nil, "[ann]", false},
		{"(@cat), @ann. and @bob, x@ann @dan @nobody", nil, "[cat ann]", false}, // bob wrote it, dan is no member
		{"hi", object{"mentions": []string{"cat", "dan", "cat", "ann"}}, "[cat ann]", false},
		{"no @all of a member", nil, "[]", false},
		{"nothing", nil, "[]", false},
	} {
		m := object{"type": "send_message", "content": c.content}
		for k, v := range c.fields {
			m[k] = v
		}
		s.send(m)
		f := sees.message(c.content)
		got := f.object["mentions"]
		if got == nil {
			got = []any{}
		}
		if fmt.Sprint(got) != c.users || f.yes("mention_all") != c.all {
			t.Errorf("%s, want %s", f.raw, c.users)
		}
		stored := ann.call("GET", "messages/"+f.str("id")+"/", nil).want(200).body
		if fmt.Sprint(stored["mentions"]) != c.users || stored.yes("mention_all") != c.all {
			t.Errorf("stored: %v", stored)
		}
	}
	s.send(object{"type": "send_message", "content": "x", "mention_all": true})
	s.refused("forbidden")
	bob.call("POST", "messages/", object{"conversation_id": id, "content": "x", "mention_all": true}).want(403)
	sees.send(object{"type": "send_message", "content": "hear, @all!"})
	f := sees.message("hear, @all!")
	if !f.yes("mention_all") {
		t.Error(f.raw)
	}
	ann.call("PATCH", "conversations/"+id+"/", object{"who_can_mention_all": "member"}).want(200)
	s.send(object{"type": "send_message", "content": "x", "mention_all": true})
	if f := s.message("x"); !f.yes("mention_all") {
		t.Error(f.raw)
	}
	// An edit says anew whom the message mentions; nothing of it is left when the message is deleted.
	ann.call("PATCH", "messages/"+f.str("id")+"/", object{"content": "hear, @bob", "mentions": []string{"cat"}}).want(200)
	if e := s.expect("message_edited"); fmt.Sprint(e.object["mentions"]) != "[cat bob]" || e.yes("mention_all") {
		t.Error(e.raw)
	}
	h.restart()
	m := ann.call("GET", "messages/"+f.str("id")+"/", nil).want(200).body
	if fmt.Sprint(m["mentions"]) != "[cat bob]" || m.yes("mention_all") {
		t.Error(m)
	}
	ann.call("DELETE", "messages/"+f.str("id")+"/", nil).want(204)
	h.restart()
	if m := ann.call("GET", "messages/"+f.str("id")+"/", nil).want(200).body; fmt.Sprint(m["mentions"]) != "[]" {
		t.Error(m)
	}
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprint("u", i)
	}
	ann.call("POST", "messages/", object{"conversation_id": id, "content": "x", "mentions": many}).want(400).says("mentions")
}

// A message with a file answers, and mentions, like any other one: with the file in its frame, in one that is too large for
// the event loop, and uploaded before.
func TestRepliesAndMentionsWithFiles(t *testing.T) {
	t.Parallel()
	h := start(t, withFiles)
	us := h.users("ann", "bob", "cat")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "cat")
	first := ann.post(id, "question").str("id")
	upload := func() string {
		t.Helper()
		r, err := h.request("POST", api+"uploads/", http.Header{"Authorization": {"Bearer " + ann.token}, "Tus-Resumable": {"1.0.0"},
			"Content-Type": {"application/offset+octet-stream"}, "Upload-Length": {"3"}, "Upload-Metadata": {"filename YS50eHQ="}}, "all")
		if err != nil {
			t.Fatal(err)
		}
		return ann.call("GET", r.want(201).header.Get("Location"), nil).want(200).body.str("id")
	}
	a, b := ann.dial(id), bob.dial(id)
	extra := object{"content": "see", "reply_to": first, "mentions": []string{"cat"}, "mention_all": true}
	uploaded := object{"type": "send_message", "upload_id": upload(), "ref": nextRef()}
	maps.Copy(uploaded, extra)
	for i, f := range []object{
		fileFrame(id, "a.txt", []byte("answer"), extra),
		fileFrame(id, "a.txt", []byte(strings.Repeat("answer\n", 20_000)), extra),
		uploaded,
	} {
		for _, got := range []frame{a.answer(f), b.message("see")} {
			if got.str("file") == "" || got.str("reply_to") != first || fmt.Sprint(got.object["mentions"]) != "[cat]" || !got.yes("mention_all") {
				t.Errorf("%d: %s", i, got.raw)
			}
		}
		if n := ann.call("GET", "messages/"+first+"/", nil).want(200).body.num("reply_count"); n != i+1 {
			t.Errorf("%d replies, want %d", n, i+1)
		}
	}
	// What may not be answered or mentioned is refused, and nothing is sent.
	for code, bad := range map[string]object{
		"invalid":   {"content": "no", "reply_to": "00000000-0000-0000-0000-000000000001"},
		"forbidden": {"content": "no", "mention_all": true},
	} {
		b.send(fileFrame(id, "a.txt", []byte("x"), bad))
		b.refused(code)
	}
	if n := len(ann.history(id)); n != 4 {
		t.Errorf("%d messages, want 4", n)
	}
}

func TestForward(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob, cat := us[0], us[1], us[2]
	secret := ann.direct("bob")
	crew := bob.group("Crew", "cat", "dan")
	m := ann.post(secret, "for your eyes, @bob @cat").str("id")
	s := cat.dial(crew)
	forward := func(u *user, message, to string, clientID any) *reply {
		return u.call("POST", "messages/"+message+"/forward/", object{"conversation_id": to, "client_id": clientID})
	}
	first := forward(bob, m, crew, "f1").want(201).body
	f := s.message("for your eyes, @bob @cat")
	if by := f.obj("forwarded_from"); by.str("user") != "ann" || by.str("user_id") != "ann" || len(by) != 2 || f.str("sender") != "bob" ||
		f.object["mentions"] != nil {
		t.Error(f.raw)
	}
	// Nothing says where it comes from, and it is not repeated.
	if again := forward(bob, m, crew, "f1").want(201).body; again.str("id") != first.str("id") {
		t.Errorf("forwarded twice: %v", again)
	}
	for _, raw := range []string{f.raw, cat.call("GET", "messages/"+f.str("id")+"/", nil).want(200).says(`"forwarded_from":{"user":"ann"`).raw} {
		if strings.Contains(raw, secret) || strings.Contains(raw, m) {
			t.Errorf("says where it was: %s", raw)
		}
	}
	// By socket, and once more: the one who wrote it stays named.
	mine := us[3].direct("cat")
	dan := us[3].dial()
	dan.send(object{"type": "forward", "conversation_id": mine, "message_id": f.str("id"), "ref": "r"})
	if got := dan.message("for your eyes, @bob @cat"); got.str("conversation_id") != mine || got.obj("forwarded_from").str("user") != "ann" || got.str("ref") != "r" {
		t.Error(got.raw)
	}
	// Whoever may not read it, or not send there, does not forward it.
	forward(cat, m, crew, nil).want(404)
	dan.send(object{"type": "forward", "conversation_id": mine, "message_id": m})
	dan.refused("not_found")
	forward(ann, m, crew, nil).want(400).says("conversation_id")
	ann.call("POST", "blocked/", object{"user_id": "bob"}).want(201)
	forward(bob, first.str("id"), secret, nil).want(403)
	bob.call("DELETE", "messages/"+first.str("id")+"/", nil).want(204)
	forward(bob, first.str("id"), crew, nil).want(404)
	h.restart()
	if l := cat.history(crew); len(l) != 1 || l[0]["forwarded_from"] != nil || l[0].str("content") != "" {
		t.Errorf("what is left of a deleted copy: %v", l)
	}
}
