package node_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

// readers maps who has read a message to when, as u is told.
func (u *user) readers(message string) map[string]string {
	u.h.t.Helper()
	by := map[string]string{}
	for _, r := range u.call("GET", "messages/"+message+"/", nil).want(200).body.list("read_by") {
		if by[r.str("user_id")] != "" {
			u.h.t.Errorf("%s is named twice", r.str("user_id"))
		}
		by[r.str("user_id")] = r.str("read_at")
	}
	return by
}

func TestReq037_Req053_Req054_Read(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob, cat := us[0], us[1], us[2]
	id := ann.group("Crew", "bob", "cat")
	a, b, all := ann.dial(id), bob.dial(id), cat.dial()
	m := a.say(id, "read me").str("id")
	if got := ann.readers(m); len(got) != 0 {
		t.Errorf("read before anybody did: %v", got)
	}
	b.send(object{"type": "read", "message_id": m})
	var first frame
	for _, s := range []*socket{a, b, all} {
		first = s.expect("read")
		if want := fmt.Sprintf(`{"type":"read","message_id":"%s","user":"bob"`, m); !strings.HasPrefix(first.raw, want) {
			t.Errorf("%s, want %s…", first.raw, want)
		}
		if first.str("user_id") != "bob" || first.str("conversation_id") != id || first.num("seq") != 2 {
			t.Error(first.raw)
		}
	}
	at := strings.Replace(first.str("read_at"), "+00:00", "Z", 1)
	check := func() {
		t.Helper()
		if got := ann.readers(m); len(got) != 1 || got["bob"] != at {
			t.Errorf("read by %v, want bob at %s", got, at)
		}
	}
	check()
	// Again, by socket and by REST: one receipt, the first time.
	b.send(object{"type": "read", "message_id": m, "ref": "again"})
	if f := b.next(); f.str("type") != "ok" || f.str("ref") != "again" {
		t.Errorf("%s", f.raw)
	}
	if r := bob.act(id, "mark_read").want(200); r.body.obj("data").num("messages_marked_read") != 0 {
		t.Error(r.raw)
	}
	check()
	if r := bob.call("GET", "messages/"+m+"/", nil).want(200); !r.body.yes("is_read") {
		t.Error(r.raw)
	}
	if l := ann.history(id); !l[0].yes("is_read") {
		t.Errorf("%v", l[0])
	}

	// Foreign and unknown messages change nothing and are told to nobody.
	ann.post(id, "unread")
	foreign := ann.post(ann.direct("bob"), "elsewhere").str("id")
	for _, wrong := range []string{foreign, "00000000-0000-0000-0000-000000000000", "0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"} {
		b.send(object{"type": "read", "message_id": wrong, "ref": "w"})
		if f := b.expect("error"); f.str("ref") != "w" {
			t.Errorf("%s: %s", wrong, f.raw)
		}
	}
	if got := ann.readers(foreign); len(got) != 0 {
		t.Errorf("a foreign receipt: %v", got)
	}
	b.send(object{"type": "read", "up_to_seq": 0, "ref": "w"})
	if f := b.expect("error"); f.str("ref") != "w" {
		t.Error(f.raw)
	}
	if n := bob.unread(id); n != 1 {
		t.Errorf("%d unread, want 1", n)
	}
	a.say(id, "marker")
	for _, f := range all.until("marker") {
		if f.str("type") == "read" {
			t.Errorf("broadcast: %s", f.raw)
		}
	}
}

func TestReq055_Req056_Req058_MarkConversationRead(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob, cat := us[0], us[1], us[2]
	id := ann.group("Crew", "bob", "cat")
	for i := range 5 {
		ann.post(id, fmt.Sprint("a", i))
		cat.post(id, fmt.Sprint("c", i))
	}
	bob.post(id, "mine")
	// recount counts from the receipts of each message.
	recount := func(u *user) (n int) {
		t.Helper()
		for _, m := range u.history(id) {
			if !m.yes("is_own") && u.readers(m.str("id"))[u.id] == "" {
				n++
			}
		}
		return n
	}
	check := func(want ...int) {
		t.Helper()
		for i, u := range us {
			if n, r := u.unread(id), recount(u); n != want[i] || r != want[i] {
				t.Errorf("%s has %d unread, recounted %d, want %d", u.id, n, r, want[i])
			}
		}
	}
	check(6, 10, 6)
	if l := bob.call("GET", "conversations/", nil).body.list("results"); l[0].num("unread_count") != 10 {
		t.Errorf("the list says %v", l[0]["unread_count"])
	}
	watch := ann.dial(id)
	r := bob.act(id, "mark_read").want(200).says(`"10 messages marked as read"`)
	if r.body.obj("data").num("messages_marked_read") != 10 {
		t.Error(r.raw)
	}
	check(6, 0, 6)
	bob.act(id, "mark_read").want(200).says(`"messages_marked_read":0`)
	ann.post(id, "marker")
	reads := 0
	for _, f := range watch.until("marker") {
		if f.str("type") == "read" {
			reads++
			if f.str("user") != "bob" {
				t.Error(f.raw)
			}
		}
	}
	if reads != 1 {
		t.Errorf("%d frames for one bulk read", reads)
	}
	check(6, 1, 7)
	newest := bob.history(id)
	s := cat.dial(id)
	s.send(object{"type": "read", "message_id": newest[5].str("id")}) // newest first: five are newer
	s.expect("read")
	if n, r := cat.unread(id), recount(cat); n != r {
		t.Errorf("in the middle: %d unread, recounted %d", n, r)
	}
	s.send(object{"type": "read", "up_to_seq": 1 << 40})
	s.expect("read")
	check(6, 1, 0)
}

func TestReq057_ReceiptsSurvive(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*hub){"orderly": (*hub).restart, "dropped": (*hub).drop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			ann, bob := h.user("ann"), h.user("bob")
			id := ann.direct("bob")
			var ids []string
			for i := range 10 {
				ids = append(ids, ann.post(id, fmt.Sprint(i)).str("id"))
			}
			s := bob.dial(id)
			s.send(object{"type": "read", "message_id": ids[6]})
			at := strings.Replace(s.expect("read").str("read_at"), "+00:00", "Z", 1)
			again(h)
			for i, m := range ids {
				want := ""
				if i <= 6 {
					want = at
				}
				if got := ann.readers(m)["bob"]; got != want {
					t.Errorf("message %d read at %q, want %q", i, got, want)
				}
			}
			if n := bob.unread(id); n != 3 {
				t.Errorf("%d unread, want 3", n)
			}
			bob.act(id, "mark_read").want(200).says(`"3 messages marked as read"`)
		})
	}
}

func TestReq060_DeliveredIsNotRead(t *testing.T) {
	t.Parallel()
	h := start(t)
	ann, bob := h.user("ann"), h.user("bob")
	id := ann.direct("bob")
	a, b := ann.dial(id), bob.dial(id)
	m := a.say(id, "hello")
	b.message("hello")
	b.send(object{"type": "delivered", "seq": m.num("seq")})
	d := a.expect("delivered")
	if d.str("message_id") != m.str("id") || d.str("user") != "bob" || d.num("seq") != m.num("seq") || d.object["read_at"] != nil {
		t.Error(d.raw)
	}
	if got := ann.readers(m.str("id")); len(got) != 0 {
		t.Errorf("delivered counts as read: %v", got)
	}
	if n := bob.unread(id); n != 1 {
		t.Errorf("%d unread", n)
	}
	b.send(object{"type": "read", "message_id": m.str("id")})
	r := a.expect("read")
	if r.object["delivered_at"] != nil || d.str("delivered_at") > r.str("read_at") {
		t.Errorf("%s then %s", d.raw, r.raw)
	}
}

// TestReq056_UnreadEqualsAModel does what users do, in any order, over restarts, and keeps count itself.
func TestReq056_UnreadEqualsAModel(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.IdleAfter = time.Second })
	us := h.users("ann", "bob", "cat")
	id := us[0].group("Crew", "bob", "cat")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	type sent struct {
		id     string
		by     int
		seenBy [3]bool
	}
	var log []sent
	unread := func(u int) (n int) {
		for _, m := range log {
			if m.by != u && !m.seenBy[u] {
				n++
			}
		}
		return n
	}
	readUpTo := func(u, n int) (marked int) {
		for i := range log[:n] {
			if log[i].by != u && !log[i].seenBy[u] {
				log[i].seenBy[u] = true
				marked++
			}
		}
		return marked
	}
	for step := range 150 {
		u := rnd.IntN(3)
		switch op := rnd.IntN(100); {
		case op < 60:
			m := us[u].post(id, fmt.Sprint("message ", step))
			log = append(log, sent{id: m.str("id"), by: u})
		case op < 75 && len(log) > 0:
			n := rnd.IntN(len(log))
			s := us[u].dial(id)
			s.send(object{"type": "read", "message_id": log[n].id, "ref": "r"})
			if f := s.next(); f.str("type") != "ok" && f.str("type") != "read" {
				t.Fatalf("step %d: %s", step, f.raw)
			}
			readUpTo(u, n+1)
			_ = s.conn.CloseNow()
		case op < 85:
			r := us[u].act(id, "mark_read").want(200)
			if got, want := r.body.obj("data").num("messages_marked_read"), readUpTo(u, len(log)); got != want {
				t.Fatalf("step %d: %s marked %d, want %d", step, us[u].id, got, want)
			}
		case op < 90:
			h.clock.advance(time.Minute)
			h.await("passivated", func() bool { return h.metric("hub_conversations_active") == 0 })
		case op < 94:
			h.restart()
		case op < 98:
			h.drop()
		}
		for i := range us {
			if got, want := us[i].unread(id), unread(i); got != want {
				t.Fatalf("step %d: %s has %d unread, want %d", step, us[i].id, got, want)
			}
		}
	}
	for _, m := range log {
		got := us[0].readers(m.id)
		for i, u := range us {
			if _, read := got[u.id]; i != m.by && read != m.seenBy[i] {
				t.Errorf("%s read by %v, want %v of %s", m.id, got, m.seenBy[i], u.id)
			}
		}
	}
}

// Beyond --named-readers, members are told how many have read, and whoever reads is told alone.
func TestReq058_LargeGroupsAreToldHowMany(t *testing.T) {
	t.Parallel()
	h := start(t, func(c *config.Config) { c.NamedReaders = 3 })
	us := h.users("ann", "bob", "cat", "dan", "eve")
	ann, bob := us[0], us[1]
	id := ann.group("Crowd", "bob", "cat", "dan", "eve")
	us[4].call("PATCH", "preferences/", object{"read_receipts": false}).want(200)
	a, b := ann.dial(id), bob.dial(id)
	m := a.say(id, "read me").str("id")
	b.expect("message")
	for _, u := range us[1:] {
		u.call("POST", "conversations/"+id+"/mark_read/", nil).want(200)
	}
	for who, s := range map[string]*socket{"ann": a, "bob": b} {
		for {
			f := s.next()
			if typ := f.str("type"); typ == "read" && who == "bob" && f.str("user_id") == "bob" {
				continue
			} else if typ != "read_count" {
				t.Fatalf("%s is told %s", who, f.raw)
			}
			if f.str("message_id") != m || f.num("message_seq") != 2 || f.str("conversation_id") != id || f.num("read_count") > 3 {
				t.Fatal(f.raw)
			}
			if f.num("read_count") == 3 { // not eve
				break
			}
		}
	}
	r := bob.call("GET", "messages/"+m+"/readers/", nil).want(200)
	if r.body.num("count") != 3 || len(r.body.list("results")) != 3 {
		t.Error(r.raw)
	}
	// In a small one everybody is told who it was.
	small := ann.group("Few", "bob", "cat")
	sa := ann.dial(small)
	sa.say(small, "you too")
	bob.call("POST", "conversations/"+small+"/mark_read/", nil).want(200)
	if f := sa.expect("read"); f.str("user_id") != "bob" {
		t.Error(f.raw)
	}
}
