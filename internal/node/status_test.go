package node_test

import (
	"slices"
	"testing"
	"time"
)

func TestReq089_Req102_Req104_PresenceFromSockets(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob", "cat")
	ann, bob, cat := us[0], us[1], us[2]
	ann.contact("bob")
	status := func() object {
		t.Helper()
		r := ann.call("GET", "status/contact_statuses/", nil).want(200)
		l := r.body.list("data")
		if len(l) != 1 || l[0].obj("user").str("id") != "bob" { // cat is no contact
			t.Fatal(r.raw)
		}
		return l[0]
	}
	online := func() []string { return names(ann.call("GET", "contacts/online/", nil).array(), "contact") }
	cat.dial()
	if s := status(); s.yes("is_online") || s.str("last_seen_display") != "Unknown" || s.object("last_seen") != nil {
		t.Error(s)
	}
	first, second := bob.dial(), bob.dial()
	h.await("bob online", func() bool { return status().yes("is_online") })
	if s := status(); s.str("last_seen_display") != "Online" {
		t.Error(s)
	}
	if got := online(); !slices.Equal(got, []string{"bob"}) {
		t.Error(got)
	}
	// The last socket counts, not the first.
	_ = first.conn.CloseNow()
	h.await("one session", func() bool { return h.metric("hub_sessions_open") == 2 })
	if s := status(); !s.yes("is_online") {
		t.Error(s)
	}
	_ = second.conn.CloseNow()
	h.await("bob offline", func() bool { return !status().yes("is_online") })
	if s := status(); s.str("last_seen_display") != "Just now" || !resourceStamp.MatchString(s.str("last_seen")) {
		t.Error(s)
	}
	if got := online(); len(got) != 0 {
		t.Error(got)
	}
	// It is on the disk by the time that the node has stopped.
	h.restart()
	if s := status(); s.yes("is_online") || s.str("last_seen_display") != "Just now" {
		t.Error(s)
	}
	// Not across a block.
	bob.dial()
	h.await("bob online", func() bool { return status().yes("is_online") })
	entry := bob.block("ann")
	if r := ann.call("GET", "status/contact_statuses/", nil).want(200); len(r.body.list("data")) != 0 {
		t.Error(r.raw)
	}
	if got := online(); len(got) != 0 {
		t.Error(got)
	}
	bob.unblock(entry)
	if !status().yes("is_online") {
		t.Error("still hidden")
	}
}

// A node that dies takes the sockets with it: after its end everybody is offline.
func TestReq102_OfflineAfterACrash(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("ann", "bob")
	us[0].contact("bob")
	us[1].dial()
	h.await("written", func() bool {
		l := us[0].call("GET", "status/contact_statuses/", nil).want(200).body.list("data")
		return len(l) == 1 && l[0].yes("is_online") && h.metric("hub_last_seen_pending") == 0
	})
	us[0].post(us[0].direct("bob"), "what is synced takes along what was written before")
	h.drop()
	l := us[0].call("GET", "status/contact_statuses/", nil).want(200).body.list("data")
	if len(l) != 1 || l[0].yes("is_online") || l[0].str("last_seen_display") != "Just now" {
		t.Error(l)
	}
}

func TestReq101_Req103_StatusOfOnesOwn(t *testing.T) {
	t.Parallel()
	h := start(t)
	us := h.users("1", "2")
	ann, bob := us[0], us[1]
	bob.contact("1")
	seen := func() object {
		t.Helper()
		return bob.call("GET", "status/contact_statuses/", nil).want(200).body.list("data")[0]
	}
	me := func() object { t.Helper(); return ann.call("GET", "status/me/", nil).want(200).body }
	s := me()
	wantKeys(t, "status", s, "id user is_online last_seen last_seen_display")
	if s.yes("is_online") || s.str("last_seen_display") != "Unknown" || s.obj("user").num("id") != 1 || s.num("id") <= 0 {
		t.Error(s)
	}
	r := ann.call("PUT", "status/update_status/", object{"is_online": true}).want(200).says("Status updated")
	if d := r.body.obj("data"); !d.yes("is_online") || d.str("last_seen_display") != "Online" {
		t.Error(r.raw)
	}
	if !me().yes("is_online") || !seen().yes("is_online") {
		t.Error("not online by one's own word")
	}
	h.clock.advance(6 * time.Minute) // nobody said so again
	if s := seen(); s.yes("is_online") || s.str("last_seen_display") != "6m ago" {
		t.Error(s)
	}
	sock := ann.dial()
	h.await("online", func() bool { return me().yes("is_online") })
	r = ann.call("PATCH", "status/update_status/", object{"is_online": false}).want(200)
	if d := r.body.obj("data"); d.yes("is_online") || d.str("last_seen_display") != "Just now" {
		t.Error(r.raw)
	}
	// Invisible, whatever the socket does.
	sock.alive()
	left := me().str("last_seen")
	if seen().yes("is_online") {
		t.Error("seen")
	}
	if p := ann.call("GET", "preferences/", nil).want(200); !p.body.yes("invisible") {
		t.Error(p.raw)
	}
	h.clock.advance(30 * time.Minute)
	_ = sock.conn.CloseNow()
	ann = h.user("1")
	ann.dial()
	if s := seen(); s.yes("is_online") || s.str("last_seen") != left || s.str("last_seen_display") != "30m ago" {
		t.Errorf("%v, left at %s", s, left)
	}
	for _, c := range []struct {
		more time.Duration
		want string
	}{{30 * time.Minute, "1h ago"}, {22*time.Hour + 59*time.Minute, "23h ago"}} {
		h.clock.advance(c.more)
		bob = h.user("2")
		if got := seen().str("last_seen_display"); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	h.clock.advance(2 * time.Minute)
	bob = h.user("2")
	at, err := time.Parse(time.RFC3339Nano, left)
	if got := seen().str("last_seen_display"); err != nil || got != at.Format("Jan 02") {
		t.Errorf("%q", got)
	}
	ann = h.user("1")
	ann.call("PATCH", "preferences/", object{"invisible": false}).want(200)
	ann.dial()
	h.await("seen again", func() bool { return seen().yes("is_online") })
	for _, body := range []string{`{}`, `{"is_online":null}`, `{"is_online":"maybe"}`, `[]`} {
		ann.call("PUT", "status/update_status/", body).want(400)
	}
	ann.call("POST", "status/update_status/", `{"is_online":true}`).want(405)
}
