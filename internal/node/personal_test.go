package node_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// texts are the contents of a conversation's messages as the user sees them, the newest first.
func (u *user) texts(conversation string) (out []string) {
	u.h.t.Helper()
	for _, m := range u.history(conversation) {
		out = append(out, m.str("content"))
	}
	return out
}

// item is a conversation as it stands in the user's list.
func (u *user) item(conversation string) object {
	u.h.t.Helper()
	for _, c := range u.call("GET", "conversations/", nil).want(200).body.list("results") {
		if c.str("id") == conversation {
			return c
		}
	}
	u.h.t.Fatalf("%s does not list %s", u.id, conversation)
	return nil
}

// quiet checks that nothing came on the socket.
func (s *socket) quiet() {
	s.t.Helper()
	for _, f := range s.alive() {
		s.t.Errorf("was told %s", f.raw)
	}
}

func TestDeleteForMe(t *testing.T) {
	t.Parallel()
	h := start(t, withSearch)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob := us[0], us[1]
	id := ann.group("Crew", "bob", "dan")
	var ids []string
	for i := range 6 {
		ids = append(ids, ann.post(id, fmt.Sprint("needle ", i)).str("id"))
	}
	hide := func(m string) *reply { return bob.call("DELETE", "messages/"+m+"/?scope=me", nil) }
	one, two, other := bob.dial(), bob.dial(id), ann.dial()
	hide(ids[5]).want(204)
	for _, s := range []*socket{one, two} {
		if f := s.next(); f.raw != fmt.Sprintf(`{"type":"message_hidden","message_id":"%s","conversation_id":"%s"}`, ids[5], id) {
			t.Error(f.raw)
		}
	}
	two.send(object{"type": "delete", "message_id": ids[2], "scope": "me", "ref": 7})
	for range 2 { // the answer and the frame, in any order
		if f := two.next(); f.raw != `{"type":"ok","ref":7}` && (f.str("type") != "message_hidden" || f.str("message_id") != ids[2]) {
			t.Error(f.raw)
		}
	}
	one.expect("message_hidden")
	hide(ids[2]).want(204) // again: nothing happens, and nothing is told
	one.quiet()
	two.quiet()
	other.quiet()
	bob.call("DELETE", "messages/"+ids[2]+"/?scope=mine", nil).want(400).says("scope")
	us[2].call("DELETE", "messages/"+ids[2]+"/?scope=me", nil).want(404)

	visible := []string{"needle 4", "needle 3", "needle 1", "needle 0"}
	all := []string{"needle 5", "needle 4", "needle 3", "needle 2", "needle 1", "needle 0"}
	check := func(when string) {
		t.Helper()
		if got := bob.texts(id); !slices.Equal(got, visible) {
			t.Errorf("%s: bob sees %q", when, got)
		}
		if got := ann.texts(id); !slices.Equal(got, all) {
			t.Errorf("%s: ann sees %q", when, got)
		}
		bob.call("GET", "messages/"+ids[2]+"/", nil).want(404)
		ann.call("GET", "messages/"+ids[2]+"/", nil).want(200)
		if c := bob.item(id); c.str("last_message_text") != "needle 4" || c.num("unread_count") != 4 {
			t.Errorf("%s: %v", when, c)
		}
		if c := ann.item(id); c.str("last_message_text") != "needle 5" {
			t.Errorf("%s: %v", when, c)
		}
		ann.finds("needle", all...)
		if got := bob.contents("needle"); !slices.Equal(got, visible) {
			t.Errorf("%s: bob finds %q", when, got)
		}
		s := bob.dial()
		s.send(object{"type": "resume", "conversation_id": id, "last_seq": 1})
		var got []string
		for i := range 6 {
			f := s.next()
			if f.num("seq") != i+2 {
				t.Errorf("%s: %s", when, f.raw)
			}
			if f.str("type") != "message_hidden" {
				got = append(got, f.str("content"))
			} else if f.str("message_id") != ids[i] {
				t.Errorf("%s: %s", when, f.raw)
			}
		}
		slices.Reverse(got)
		if !slices.Equal(got, visible) {
			t.Errorf("%s: a resume brings %q", when, got)
		}
		s.expect("resumed")
	}
	check("at once")
	h.drop()
	check("after a crash")
	h.restart()
	check("after a restart")
	if n := bob.call("POST", "conversations/"+id+"/mark_read/", nil).want(200).body.obj("data").num("messages_marked_read"); n != 4 {
		t.Errorf("%d were marked", n)
	}
	// One may hide what is older than the edit window, what is not one's own, and what is deleted.
	h.clock.advance(24 * time.Hour)
	ann, bob = h.user("ann"), h.user("bob")
	ann.call("DELETE", "messages/"+ids[3]+"/", nil).want(204)
	hide(ids[3]).want(204)
	hide(ids[0]).want(204)
	if got := bob.texts(id); !slices.Equal(got, []string{"needle 4", "needle 1"}) {
		t.Error(got)
	}
	// With the membership the rows go.
	ann.call("POST", "conversations/"+id+"/remove_participants/", object{"user_ids": []string{"bob"}}).want(200)
	h.stop()
	if n := h.rows(storage.TableHidden, func(storage.Key, storage.Row) bool { return true }); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	h.run()
}

func TestMuteAndPinConversations(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "dan")
	ann, bob := us[0], us[1]
	var ids []string
	for i := range 4 {
		ids = append(ids, ann.group(fmt.Sprint("g", i), "bob", "dan"))
	}
	s, other := bob.dial(), ann.dial()
	act := func(i int, action string, body any) *reply {
		return bob.call("POST", "conversations/"+ids[i]+"/"+action+"/", body)
	}
	told := func(i int, rest string) {
		t.Helper()
		if f := s.next(); f.raw != `{"type":"conversation_settings","conversation_id":"`+ids[i]+`",`+rest+`}` {
			t.Error(f.raw)
		}
	}
	until := h.clock.now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	act(0, "mute", nil).want(200).says("Conversation muted")
	told(0, `"is_muted":true,"is_pinned":false,"is_archived":false`)
	act(1, "mute", object{"until": until}).want(200)
	told(1, `"is_muted":true,"muted_until":"`+until.Format("2006-01-02T15:04:05.000000+00:00")+`","is_pinned":false,"is_archived":false`)
	act(1, "mute", object{"until": "2020-01-01T00:00:00Z"}).want(400).says("until")
	act(1, "mute", object{"until": "soon"}).want(400).says("until")
	act(2, "pin", nil).want(200).says("Conversation pinned")
	told(2, `"is_muted":false,"is_pinned":true,"is_archived":false`)
	act(0, "pin", nil).want(200)
	told(0, `"is_muted":true,"is_pinned":true,"is_archived":false`)
	act(3, "archive", nil).want(200)
	told(3, `"is_muted":false,"is_pinned":false,"is_archived":true`)
	h.user("cat").call("POST", "conversations/"+ids[0]+"/pin/", nil).want(404)
	other.quiet()
	order := func(u *user) (out []int) {
		for _, c := range u.call("GET", "conversations/", nil).want(200).body.list("results") {
			out = append(out, slices.Index(ids, c.str("id")))
		}
		return out
	}
	check := func(when string) {
		t.Helper()
		if got := order(bob); !slices.Equal(got, []int{2, 0, 1}) {
			t.Errorf("%s: bob's list is %v", when, got)
		}
		if got := order(ann); !slices.Equal(got, []int{3, 2, 1, 0}) {
			t.Errorf("%s: ann's list is %v", when, got)
		}
		if c := bob.item(ids[0]); !c.yes("is_muted") || c["muted_until"] != nil || !c.yes("is_pinned") {
			t.Errorf("%s: %v", when, c)
		}
		if c := bob.item(ids[1]); !c.yes("is_muted") || c.str("muted_until") != until.Format("2006-01-02T15:04:05.000000Z") || c.yes("is_pinned") {
			t.Errorf("%s: %v", when, c)
		}
		if c := bob.call("GET", "conversations/"+ids[3]+"/", nil).want(200).body; !c.yes("is_archived") {
			t.Errorf("%s: %v", when, c)
		}
	}
	check("at once")
	h.drop()
	check("after a crash")
	h.restart()
	check("after a restart")
	// It ends by itself.
	h.clock.advance(time.Hour)
	bob = h.user("bob")
	if c := bob.item(ids[1]); c.yes("is_muted") || c["muted_until"] != nil {
		t.Error(c)
	}
	if c := bob.item(ids[0]); !c.yes("is_muted") {
		t.Error(c)
	}
	act(0, "unmute", nil).want(200)
	act(2, "unpin", nil).want(200)
	act(2, "unpin", nil).want(200)
	if c := bob.item(ids[0]); c.yes("is_muted") {
		t.Error(c)
	}
	if got := order(bob); !slices.Equal(got, []int{0, 2, 1}) {
		t.Error(got)
	}
}

func TestDrafts(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan")
	ann, bob := us[0], us[1]
	id, other := ann.group("Crew", "bob", "dan"), ann.group("Other", "bob", "dan")
	m := ann.post(id, "m").str("id")
	s, foreign := bob.dial(), ann.dial()
	path := "conversations/" + id + "/draft/"
	empty := `{"text":"","reply_to":null,"updated_at":null}`
	if r := bob.call("GET", path, nil).want(200); r.raw != empty {
		t.Error(r.raw)
	}
	d := bob.call("PUT", path, object{"text": " not yet ", "reply_to": m}).want(200).body
	if d.str("text") != " not yet " || d.str("reply_to") != m {
		t.Error(d)
	}
	if f := s.next(); f.str("type") != "draft" || f.str("text") != " not yet " || f.str("reply_to") != m || f.str("conversation_id") != id {
		t.Error(f.raw)
	}
	bob.call("PUT", path, object{}).want(400).says("text")
	bob.call("PUT", path, object{"text": "x", "reply_to": "y"}).want(400).says("reply_to")
	bob.call("PUT", path, object{"text": string(make([]byte, chat.MaxContent+1))}).want(400).says("text")
	us[2].call("PUT", path, object{"text": "x"}).want(404)
	us[2].call("GET", path, nil).want(404)
	for _, text := range []string{"one", "two", "three"} {
		bob.call("PUT", "conversations/"+other+"/draft/", object{"text": text}).want(200)
		s.expect("draft")
	}
	bob.post(id, "sent") // leaves the draft alone
	foreign.message("sent")
	foreign.quiet()
	check := func(when string) {
		t.Helper()
		for c, want := range map[string]string{id: " not yet ", other: "three"} {
			views := []object{bob.item(c), bob.call("GET", "conversations/"+c+"/", nil).want(200).body}
			for _, v := range append(views, object{"draft": map[string]any(bob.call("GET", "conversations/"+c+"/draft/", nil).want(200).body)}) {
				if d := v.obj("draft"); d.str("text") != want || d.str("updated_at") == "" {
					t.Errorf("%s: %v, want %q", when, v, want)
				}
			}
			if v := ann.item(c); v["draft"] != nil {
				t.Errorf("%s: ann sees %v", when, v["draft"])
			}
		}
	}
	check("at once")
	h.drop()
	check("after a crash")
	h.restart()
	check("after a restart")
	s = bob.dial()
	bob.call("DELETE", path, nil).want(204)
	if f := s.next(); f.str("type") != "draft" || f.str("text") != "" {
		t.Error(f.raw)
	}
	bob.call("DELETE", path, nil).want(204)
	bob.call("PUT", "conversations/"+other+"/draft/", object{"text": " \n"}).want(200)
	for _, c := range []string{id, other} {
		if r := bob.call("GET", "conversations/"+c+"/draft/", nil).want(200); r.raw != empty {
			t.Error(r.raw)
		}
	}
	// Rows go with the membership and with the conversation.
	bob.call("PUT", path, object{"text": "x"}).want(200)
	ann.call("PUT", "conversations/"+other+"/draft/", object{"text": "x"}).want(200)
	bob.act(id, "leave").want(200)
	bob.act(other, "leave").want(200)
	ann.act(other, "leave").want(200)
	us[3].act(other, "leave").want(200)
	h.stop()
	if n := h.rows(storage.TableDrafts, func(storage.Key, storage.Row) bool { return true }); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	h.run()
}
