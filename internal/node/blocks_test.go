package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

// block blocks and answers the id of the entry.
func (u *user) block(other string) int {
	u.h.t.Helper()
	return u.call("POST", "blocked/", object{"user_id": other}).want(http.StatusCreated).body.num("id")
}

// unblock takes the block of an entry back.
func (u *user) unblock(entry int) {
	u.h.t.Helper()
	u.call("DELETE", fmt.Sprint("blocked/", entry, "/"), nil).want(http.StatusNoContent)
}

func TestReq029_Req099_Req100_BlockCutsADirectConversation(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"the writer", "the reader"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			us := h.users("ann", "bob", "cat")
			ann, bob := us[0], us[1]
			blocker, blocked := ann, bob
			if who == "the reader" {
				blocker, blocked = bob, ann
			}
			id := ann.direct("bob")
			other := ann.direct("cat")
			group := ann.group("Crew", "bob", "cat")
			message := ann.post(id, "before").str("id")
			a, b, all := ann.dial(id), bob.dial(id), ann.dial()
			elsewhere, mates := ann.dial(other), ann.dial(group)

			begun := time.Now()
			entry := blocker.block(blocked.id)
			a.wantClose(4003)
			b.wantClose(4003)
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("the sockets were closed after %v", took)
			}

			// It holds for both, on every way in.
			for _, u := range []*user{ann, bob} {
				s, err := h.open("/ws/chat/"+id+"/", http.Header{"Authorization": {"Bearer " + u.token}})
				if err != nil {
					t.Fatal(err)
				}
				if before := s.wantClose(4003); len(before) != 0 {
					t.Errorf("%s was told %v", u.id, before)
				}
				u.call("POST", "messages/", object{"conversation_id": id, "content": "no"}).want(http.StatusForbidden).says("FORBIDDEN")
				mux := u.dial()
				for _, f := range []object{
					{"type": "send_message", "content": "no"}, {"type": "typing", "is_typing": true},
					{"type": "react", "message_id": message, "emoji": "x"},
				} {
					f["conversation_id"], f["ref"] = id, "r"
					mux.send(f)
					if e := mux.refused("blocked"); e.str("ref") != "r" {
						t.Error(e.raw)
					}
				}
				u.call("POST", "conversations/", object{"participant_ids": []string{map[string]string{"ann": "bob", "bob": "ann"}[u.id]}}).
					want(http.StatusBadRequest).says("Cannot create conversation with blocked user.")
				// What was said stays, for both.
				if l := u.history(id); len(l) != 1 || l[0].str("content") != "before" {
					t.Errorf("%s has the history %v", u.id, l)
				}
			}
			ann.call("PATCH", "messages/"+message+"/", object{"content": "no"}).want(http.StatusForbidden)

			// Reading is one's own affair now: nobody is told.
			if r := bob.act(id, "mark_read").want(http.StatusOK); r.body.obj("data").num("messages_marked_read") != 1 {
				t.Error(r.raw)
			}
			if n := bob.unread(id); n != 0 {
				t.Errorf("%d unread", n)
			}
			for _, f := range all.alive() {
				if f.str("conversation_id") == id && f.str("type") != "typing" {
					t.Errorf("told %s", f.raw)
				}
			}
			if got := ann.readers(message); len(got) != 0 {
				t.Errorf("read by %v", got)
			}
			if ann.history(id)[0].yes("is_read") {
				t.Error("is_read")
			}

			// Other conversations do not notice, groups with both in them neither.
			elsewhere.say(other, "hello cat")
			mates.say(group, "hello all")
			bob.post(group, "hello too")

			// A restart changes nothing.
			h.restart()
			bob.call("POST", "messages/", object{"conversation_id": id, "content": "no"}).want(http.StatusForbidden)
			if r := blocker.call("GET", "blocked/", nil).want(http.StatusOK); r.body.num("count") != 1 {
				t.Error(r.raw)
			}
			// Nor does a loss of power.
			h.drop()
			ann.call("POST", "messages/", object{"conversation_id": id, "content": "no"}).want(http.StatusForbidden)

			blocker.unblock(entry)
			a, b = ann.dial(id), bob.dial(id)
			a.say(id, "again")
			b.message("again")
			bob.post(id, "and back")
			a.message("and back")
		})
	}
}

// The conversation is not in memory when the block comes, or is only then created.
func TestReq029_BlockOfASleepingConversation(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.IdleAfter = time.Second })
	us := h.users("ann", "bob")
	ann, bob := us[0], us[1]
	id := ann.direct("bob")
	ann.post(id, "x")
	h.await("nothing in memory", func() bool { return h.metric("hub_conversations_active") == 0 })
	entry := ann.block("bob")
	bob.call("POST", "messages/", object{"conversation_id": id, "content": "no"}).want(http.StatusForbidden)
	h.await("nothing in memory", func() bool { return h.metric("hub_conversations_active") == 0 })
	ann.unblock(entry)
	bob.post(id, "yes")

	h.users("cat")
	ann.block("cat")
	ann.call("POST", "conversations/", object{"participant_ids": []string{"cat"}}).want(http.StatusBadRequest)
	h.user("cat").call("POST", "conversations/", object{"participant_ids": []string{"ann"}}).want(http.StatusBadRequest)
}

// Senders on sockets and by REST go on while the block comes: what is there when it is answered is all there ever is.
func TestReq029_NothingIsAcknowledgedAfterTheBlock(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.UserRate = 0 })
	us := h.users("ann", "bob")
	ann, bob := us[0], us[1]
	id := ann.direct("bob")
	for round := range 8 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		acked := map[string]bool{}
		running := make(chan struct{}, 64)
		note := func(message string) {
			mu.Lock()
			defer mu.Unlock()
			acked[message] = true
			select {
			case running <- struct{}{}:
			default:
			}
		}
		for _, s := range []*socket{ann.dial(), bob.dial(), bob.dial()} {
			wg.Go(func() {
				for n := 0; ; n++ {
					b := fmt.Sprintf(`{"type":"send_message","conversation_id":%q,"content":"m","ref":%d}`, id, n)
					if s.put(b) != nil {
						return
					}
					for {
						f, err := s.take()
						if err != nil || f.str("type") == "error" {
							return
						}
						if fmt.Sprint(f.object["ref"]) == fmt.Sprint(n) {
							note(f.str("id"))
							break
						}
					}
				}
			})
		}
		wg.Go(func() {
			for {
				r, err := h.request("POST", api+"messages/", http.Header{"Authorization": {"Bearer " + bob.token}, "Content-Type": {"application/json"}},
					object{"conversation_id": id, "content": "m"})
				if err != nil || r.status != http.StatusCreated {
					return
				}
				note(r.body.str("id"))
			}
		})
		for range 10 + 5*round {
			<-running
		}
		blocker, blocked := ann, "bob"
		if round%2 == 1 {
			blocker, blocked = bob, "ann"
		}
		entry := blocker.block(blocked)
		count := ann.call("GET", "messages/?conversation="+id, nil).want(http.StatusOK).body.num("count")
		wg.Wait()
		all := ann.history(id)
		if len(all) != count {
			t.Fatalf("round %d: %d messages when the block was answered, %d in the end", round, count, len(all))
		}
		for _, m := range all {
			delete(acked, m.str("id"))
		}
		if len(acked) != 0 {
			t.Fatalf("round %d: acknowledged and not there: %v", round, acked)
		}
		blocker.unblock(entry)
	}
}

func TestReq012_Req016_Req099_BlockedUsersAndGroups(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat", "dan", "eve")
	ann, bob := us[0], us[1]
	ann.block("bob")
	us[4].block("ann")
	for _, other := range []string{"bob", "eve"} { // in either direction
		ann.call("POST", "conversations/", object{"participant_ids": []string{"cat", other}, "name": "x"}).want(http.StatusBadRequest).
			says(`"participant_ids":["Cannot create conversation with blocked user."]`)
		s := ann.dial()
		s.send(object{"type": "create_group", "group_name": "x", "members": []string{"cat", other}, "ref": "g"})
		if e := s.refused("blocked"); e.str("message") != "Cannot create conversation with blocked user." || e.str("ref") != "g" {
			t.Error(e.raw)
		}
		s.alive()
	}
	bob.call("POST", "conversations/", object{"participant_ids": []string{"cat", "ann"}, "name": "x"}).want(http.StatusBadRequest)
	id := ann.group("Crew", "cat", "dan")
	r := ann.act(id, "add_participants", "bob", "eve").want(http.StatusOK).says("Participants added")
	if n := len(r.body.obj("data").list("participants")); n != 3 {
		t.Errorf("%d participants: %s", n, r.raw)
	}
	h.user("fay")
	r = ann.act(id, "add_participants", "bob", "fay").want(http.StatusOK)
	if n := len(r.body.obj("data").list("participants")); n != 4 || strings.Contains(r.raw, `"bob"`) {
		t.Errorf("%d participants: %s", n, r.raw)
	}
	bob.detail(id).want(http.StatusNotFound)
	// Whom one does not block, another may add.
	if r := us[2].act(id, "add_participants", "bob").want(http.StatusOK); len(r.body.obj("data").list("participants")) != 5 {
		t.Error(r.raw)
	}
	ann.act(id, "add_participants", "nobody").want(http.StatusBadRequest)
}

func TestReq097_Req098_BlockListAndCheck(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("1"), h.user("2")
	r := ann.call("POST", "blocked/", object{"user_id": 2}).want(http.StatusCreated)
	if got := r.body.obj("blocked"); got.num("id") != 2 || got.str("full_name") == "" || r.body.str("created_at") == "" || r.body.num("id") <= 0 {
		t.Error(r.raw)
	}
	entry := r.body.num("id")
	for _, c := range []struct{ body, text string }{
		{`{"user_id":2}`, `{"user_id":["User already blocked."]}`},
		{`{"user_id":1}`, `{"user_id":["Cannot block yourself."]}`},
		{`{"user_id":99}`, `{"user_id":["User not found."]}`},
		{`{"blocked_user_id":99}`, `{"blocked_user_id":["User not found."]}`},
		{`{}`, `{"user_id":["This field is required."]}`},
		{`{"user_id":null}`, `{"user_id":["This field may not be null."]}`},
		{`{"user_id":[]}`, `{"user_id":["Must be a valid user id."]}`},
	} {
		if r := ann.call("POST", "blocked/", c.body).want(http.StatusBadRequest); r.raw != c.text {
			t.Errorf("%s: %s", c.body, r.raw)
		}
	}
	check := func(u *user, body, want string) {
		t.Helper()
		r := u.call("POST", "blocked/check/", body).want(http.StatusOK)
		if !strings.Contains(r.raw, `"data":`+want) {
			t.Errorf("%s as %s: %s", body, u.id, r.raw)
		}
	}
	check(ann, `{"user_id":2}`, `{"is_blocked":true,"is_blocked_by":false,"any_block":true}`)
	check(bob, `{"user_id":"1"}`, `{"is_blocked":false,"is_blocked_by":true,"any_block":true}`)
	check(ann, `{"user_id":1}`, `{"is_blocked":false,"is_blocked_by":false,"any_block":false}`)
	ann.call("POST", "blocked/check/", `{}`).want(http.StatusBadRequest).says(`"message":"user_id is required"`)
	ann.call("POST", "blocked/check/", `{"user_id":99}`).want(http.StatusNotFound).says(`"message":"User not found"`).says(`"error_code":"NOT_FOUND"`)

	// The list in pages, the newest first.
	for n := range 24 {
		id := fmt.Sprint(100 + n)
		h.user(id)
		ann.block(id)
	}
	l := ann.call("GET", "blocked/", nil).want(http.StatusOK)
	if l.body.num("count") != 25 || len(l.body.list("results")) != 20 || l.body.list("results")[0].obj("blocked").num("id") != 123 {
		t.Error(l.raw)
	}
	if l := ann.call("GET", "blocked/?page=2", nil).want(http.StatusOK).body.list("results"); len(l) != 5 || l[4].num("id") != entry {
		t.Error(l)
	}
	ann.call("GET", "blocked/?page=3", nil).want(http.StatusNotFound).says("Invalid page.")
	if l := bob.call("GET", "blocked/", nil).want(http.StatusOK); l.body.num("count") != 0 {
		t.Error(l.raw)
	}
	// Only one's own entries, and only by DELETE.
	bob.call("DELETE", fmt.Sprint("blocked/", entry, "/"), nil).want(http.StatusNotFound)
	ann.call("GET", fmt.Sprint("blocked/", entry, "/"), nil).want(http.StatusMethodNotAllowed)
	for _, id := range []string{"0", "-1", "x", "99999999999999999999", "1"} {
		ann.call("DELETE", "blocked/"+id+"/", nil).want(http.StatusNotFound)
	}
	ann.unblock(entry)
	ann.call("DELETE", fmt.Sprint("blocked/", entry, "/"), nil).want(http.StatusNotFound)
	check(ann, `{"user_id":2}`, `{"is_blocked":false,"is_blocked_by":false,"any_block":false}`)
	if again := ann.block("2"); again != entry {
		t.Errorf("entry %d, then %d", entry, again)
	}
	// Another tenant's users of the same ids are other people.
	h.userOf("other", "2").call("POST", "blocked/check/", `{"user_id":1}`).want(http.StatusNotFound)
}

func TestReq059_ReceiptsCanBeDisabled(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob, cat := us[0], us[1], us[2]
	if r := bob.call("GET", "preferences/", nil).want(http.StatusOK); r.raw != `{"read_receipts":true,"invisible":false}` {
		t.Error(r.raw)
	}
	id := ann.group("Crew", "bob", "cat")
	a, b := ann.dial(id), bob.dial(id)
	shown := a.say(id, "shown").str("id")
	b.send(object{"type": "read", "message_id": shown})
	a.expect("read")
	b.expect("read")

	prefer := func(u *user, on bool) {
		t.Helper()
		r := u.call("PATCH", "preferences/", object{"read_receipts": on}).want(http.StatusOK)
		if r.body.yes("read_receipts") != on {
			t.Error(r.raw)
		}
	}
	// quiet says that what bob does with the newest message reaches nobody, and counts for bob.
	quiet := func(act func(message string, seq int)) {
		t.Helper()
		m := a.say(id, "hidden")
		if n := bob.unread(id); n != 1 {
			t.Errorf("%d unread", n)
		}
		act(m.str("id"), m.num("seq"))
		h.await("nothing unread", func() bool { return bob.unread(id) == 0 })
		for _, s := range []*socket{a, b} {
			for _, f := range s.alive() {
				if typ := f.str("type"); typ == "read" || typ == "delivered" {
					t.Errorf("told %s", f.raw)
				}
			}
		}
		if got := ann.readers(m.str("id")); len(got) != 0 {
			t.Errorf("read by %v", got)
		}
		if r := ann.call("GET", "messages/"+m.str("id")+"/", nil).want(200); r.body.yes("is_read") {
			t.Error(r.raw)
		}
	}
	prefer(bob, false)
	bySocket := func(m string, seq int) {
		b.send(object{"type": "delivered", "seq": seq, "ref": "d"})
		b.send(object{"type": "read", "message_id": m, "ref": "r"})
	}
	byREST := func(string, int) {
		if r := bob.act(id, "mark_read").want(200); r.body.obj("data").num("messages_marked_read") != 1 {
			t.Error(r.raw)
		}
	}
	quiet(bySocket)
	quiet(byREST)
	hidden := ann.history(id)[0].str("id")
	// Sending does not give away that what came before was read.
	b.say(id, "my own")
	if r := ann.call("GET", "messages/"+hidden+"/", nil).want(200); r.body.yes("is_read") {
		t.Error(r.raw)
	}
	// It is still so when the conversation and the preference come from the disk.
	h.restart()
	if r := bob.call("GET", "preferences/", nil).want(http.StatusOK); r.body.yes("read_receipts") {
		t.Error(r.raw)
	}
	if r := ann.call("GET", "messages/"+hidden+"/", nil).want(200); r.body.yes("is_read") {
		t.Error(r.raw)
	}
	a, b = ann.dial(id), bob.dial(id)
	quiet(bySocket)
	quiet(byREST)
	// What was told before stays told; others' receipts are theirs.
	if got := ann.readers(shown); len(got) != 1 || got["bob"] == "" {
		t.Errorf("read by %v", got)
	}
	cat.act(id, "mark_read").want(200)
	if f := a.expect("read"); f.str("user") != "cat" {
		t.Error(f.raw)
	}
	if got := ann.readers(hidden); len(got) != 1 || got["cat"] == "" {
		t.Errorf("read by %v", got)
	}
	// Back on, the very next mark is told.
	prefer(bob, true)
	m := a.say(id, "open again").str("id")
	b.send(object{"type": "read", "message_id": m})
	if f := a.expect("read"); f.str("user") != "bob" || f.str("message_id") != m {
		t.Error(f.raw)
	}
	if got := ann.readers(m); got["bob"] == "" {
		t.Errorf("read by %v", got)
	}
	bob.call("PATCH", "preferences/", `{"read_receipts":"maybe"}`).want(http.StatusBadRequest).says("Must be a valid boolean.")
	bob.call("PATCH", "preferences/", `{}`).want(http.StatusOK).says(`{"read_receipts":true,"invisible":false}`)
	bob.call("PUT", "preferences/", `{}`).want(http.StatusMethodNotAllowed)
}

// Marks that race the change of the preference: none that begins after its answer is told.
func TestReq059_TheVeryNextMark(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.UserRate = 0 })
	us := h.users("ann", "bob")
	ann, bob := us[0], us[1]
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	for n := range 30 {
		m := a.say(id, "m").str("id")
		off := n%2 == 0
		bob.call("PATCH", "preferences/", object{"read_receipts": !off}).want(http.StatusOK)
		b.send(object{"type": "read", "message_id": m, "ref": "r"})
		b.expect(map[bool]string{true: "ok", false: "read"}[off])
		told := false
		for _, f := range a.alive() {
			told = told || f.str("type") == "read"
		}
		if off && told {
			t.Fatalf("round %d: told", n)
		}
		if got := ann.readers(m); (len(got) == 0) != off {
			t.Fatalf("round %d: read by %v", n, got)
		}
	}
}
