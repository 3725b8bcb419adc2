package node_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

// crowded opens a socket that there is no room for.
func (u *user) crowded(header ...string) {
	u.h.t.Helper()
	hd := bearer(u.token)
	for i := 0; i+1 < len(header); i += 2 {
		hd.Set(header[i], header[i+1])
	}
	s, err := u.h.open("/ws/", hd)
	if err != nil {
		u.h.t.Fatal(err)
	}
	if before := s.wantClose(4029); len(before) != 1 || before[0].str("code") != "rate_limited" || before[0].num("retry_after_ms") < 1 {
		u.h.t.Errorf("first came %v", before)
	}
}

// at opens a socket from an address, by way of a proxy.
func (u *user) at(address string) *socket {
	u.h.t.Helper()
	hd := bearer(u.token)
	hd.Set("X-Forwarded-For", address)
	s, err := u.h.open("/ws/", hd)
	if err != nil {
		u.h.t.Fatal(err)
	}
	s.expect("status")
	return s
}

func TestReq119_ConnectionLimits(t *testing.T) {
	t.Parallel()
	h, key := operator(t, func(c *config.Config) {
		c.SessionsPerAddress, c.TrustedProxies = 3, []string{"127.0.0.1"}
	})
	h.manage(key, "POST", "tenants/", object{"id": "small", "limits": object{"connections": 3, "connections_per_user": 2, "connections_per_address": 2}}).want(201)
	ann, bob := h.userOf("small", "ann"), h.userOf("small", "bob")
	one := ann.at("203.0.113.1")
	ann.at("203.0.113.2")
	ann.crowded("X-Forwarded-For", "203.0.113.3") // of the user
	bob.at("203.0.113.1")
	bob.crowded("X-Forwarded-For", "203.0.113.4") // of the tenant
	// More room: at once.
	h.manage(key, "PATCH", "tenants/small/", object{"limits": object{"connections": 10, "connections_per_user": 5}}).want(200)
	bob.crowded("X-Forwarded-For", "203.0.113.1") // of the address
	six := bob.at("2001:db8:1:1::1")
	bob.at("2001:db8:1:1::2")
	bob.crowded("X-Forwarded-For", "2001:db8:1:1:ffff::") // the same network
	bob.at("2001:db8:1:2::1")
	_ = six.conn.CloseNow()
	h.await("room at the address", func() bool {
		s, err := h.open("/ws/", http.Header{"Authorization": {"Bearer " + bob.token}, "X-Forwarded-For": {"2001:db8:1:1::3"}})
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.take()
		return err == nil && f.str("type") == "status"
	})
	one.alive()
	// The hub's own limit, of another tenant.
	eve := h.user("eve")
	for range 3 {
		eve.at("203.0.113.1")
	}
	eve.crowded("X-Forwarded-For", "203.0.113.1")
	eve.at("203.0.113.9")
}

func TestTenantLimits(t *testing.T) {
	t.Parallel()
	h, key := operator(t)
	limit := func(l object) { t.Helper(); h.manage(key, "PATCH", "tenants/small/", object{"limits": l}).want(200) }
	h.manage(key, "POST", "tenants/", object{"id": "small", "limits": object{"users": 4}}).want(201)
	var us []*user
	for _, id := range []string{"ann", "bob", "cid", "dan"} {
		us = append(us, h.userOf("small", id))
	}
	ann, bob := us[0], us[1]

	// Users: tokens, sockets, the operator.
	full := func() {
		t.Helper()
		if r := h.call("", "POST", "/api/v1/auth/token/", object{"username": "eve", "password": "x", "tenant": "small"}).want(403); !strings.Contains(r.raw, "as many users as it may have") {
			t.Error(r.raw)
		}
		eve := &user{h, "eve", h.sign("eve", "small", time.Now().Add(time.Hour))}
		eve.call("GET", "conversations/", nil).want(403).says("QUOTA")
		s, err := h.open("/ws/", bearer(eve.token))
		if err != nil {
			t.Fatal(err)
		}
		if before := s.wantClose(1008); len(before) != 1 || before[0].str("code") != "quota" || !strings.Contains(before[0].raw, "as many users") {
			t.Errorf("first came %v", before)
		}
		h.manage(key, "PUT", "users/eve/?tenant=small", object{}).want(403)
	}
	full()
	h.restart()
	full()
	h.manage(key, "PUT", "users/ann/?tenant=small", object{"first_name": "Ann"}).want(200) // who is there
	h.userOf("small", "ann")
	h.userOf("other", "eve")
	limit(object{"users": 5})
	h.clock.advance(time.Minute)
	h.userOf("small", "eve")

	// Members of a group.
	limit(object{"group_size": 3})
	ann.call("POST", "conversations/", object{"participant_ids": []string{"bob", "cid", "dan"}}).want(400).says("maximum number of participants")
	g := ann.group("Crew", "bob", "cid")
	ann.act(g, "add_participants", "dan").want(400).says("maximum number of participants")
	limit(object{"group_size": nil})
	ann.act(g, "add_participants", "dan").want(200)

	// Conversations.
	limit(object{"conversations_per_user": 2})
	d := ann.direct("bob")
	ann.call("POST", "conversations/", object{"participant_ids": []string{"dan"}}).want(403).says("You can be in no more than 2 conversations.")
	ann.call("POST", "conversations/", object{"participant_ids": []string{"bob", "cid"}}).want(403)
	if again := ann.direct("bob"); again != d {
		t.Error("a conversation that is there was not found")
	}
	s := bob.dial()
	s.send(object{"type": "create_group", "group_name": "x", "members": []string{"ann", "cid"}, "ref": "r"})
	s.refused("quota")

	// Messages.
	h.clock.freeze()
	limit(object{"message_rate": 1, "message_burst": 3})
	for i := range 3 {
		ann.post(d, fmt.Sprint(i))
	}
	r := ann.call("POST", "messages/", object{"conversation_id": d, "content": "x"}).want(http.StatusTooManyRequests)
	if after := r.header.Get("Retry-After"); after != "1" {
		t.Errorf("Retry-After %q", after)
	}
	bob.post(d, "bob has his own")
	h.clock.advance(time.Second)
	ann.post(d, "later")
	other := h.user("zoe")
	h.user("yan")
	id := other.direct("yan")
	for i := range 30 {
		other.post(id, fmt.Sprint("of a tenant without limits ", i))
	}
}

// lines splits a stream.
func lines(t *testing.T, raw string) (all []object) {
	t.Helper()
	for in := bufio.NewScanner(strings.NewReader(raw)); in.Scan(); {
		var o object
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			t.Fatalf("%q: %v", in.Text(), err)
		}
		all = append(all, o)
	}
	return all
}

func TestUsersInBulk(t *testing.T) {
	t.Parallel()
	h, root := operator(t)
	key := h.manage(root, "POST", "keys/?tenant=acme", object{"scopes": []string{"users:read", "users:write", "audit:read"}}).want(201).body.str("key")
	const n = 1234
	var in strings.Builder
	for i := range n {
		fmt.Fprintf(&in, `{"id":"u%d","username":"name %d","email":"u%d@example.org","first_name":"First"}`+"\n", i, i, i)
	}
	r := h.manage(key, "POST", "import/users/", in.String(), "Content-Type", "application/x-ndjson").want(200)
	got := lines(t, r.raw)
	if len(got) != n+1 {
		t.Fatalf("%d lines came back", len(got))
	}
	for i, o := range got[:n] {
		if o.num("line") != i+1 || o.str("id") != fmt.Sprint("u", i) || o.str("status") != "created" {
			t.Fatalf("line %d: %v", i+1, o)
		}
	}
	if sum := got[n]; !sum.yes("done") || sum.num("created") != n || sum.num("lines") != n {
		t.Errorf("total %v", sum)
	}
	// Again: nothing changes.
	sum := func(r *reply) object { l := lines(t, r.raw); return l[len(l)-1] }
	if s := sum(h.manage(key, "POST", "import/users/?results=errors", in.String()).want(200)); s.num("unchanged") != n {
		t.Errorf("again: %v", s)
	}
	// What an export answers can be imported as it is.
	out := h.manage(key, "GET", "export/users/", nil).want(200)
	if ct := out.header.Get("Content-Type"); ct != "application/x-ndjson" {
		t.Error(ct)
	}
	seen := map[string]bool{}
	for _, o := range lines(t, out.raw) {
		seen[o.str("id")] = o.str("email") == o.str("id")+"@example.org" && o.str("tenant") == "acme"
	}
	if len(seen) != n {
		t.Errorf("%d exported", len(seen))
	}
	for id, right := range seen {
		if !right {
			t.Errorf("%s is exported wrong", id)
		}
	}
	if s := sum(h.manage(key, "POST", "import/users/?results=errors", out.raw).want(200)); s.num("unchanged") != n {
		t.Errorf("of an export: %v", s)
	}
	if l := lines(t, h.manage(root, "GET", "export/users/?tenant=other", nil).want(200).raw); len(l) != 0 {
		t.Errorf("another tenant has %v", l)
	}
	// Lines that are wrong do not stop the others.
	r = h.manage(key, "POST", "import/users/?results=errors", strings.Join([]string{
		`{"id":"good"}`, `{"id":"a b"}`, `{`, ``, `{"id":"x","email":"none"}`, `[]`, `{"id":"u1","username":"changed"}`, `{"username":"no id"}`,
		`{"id":"good2","tenant":"other"}`}, "\n")).want(200)
	l := lines(t, r.raw)
	if s := l[len(l)-1]; !s.yes("done") || s.num("created") != 2 || s.num("updated") != 1 || s.num("errors") != 5 || len(l) != 6 {
		t.Errorf("%s", r.raw)
	}
	if r := h.manage(root, "GET", "users/good2/?tenant=other", nil); r.status != 404 {
		t.Error("a key wrote into another tenant")
	}
	r = h.manage(key, "POST", "import/users/", `{"id":"good"}`+"\n"+`{"id":"`+strings.Repeat("x", 70000)+`"}`).want(200)
	if l := lines(t, r.raw); l[len(l)-1].yes("done") || l[0].str("status") != "unchanged" {
		t.Errorf("%.500s", r.raw)
	}
	// Both are in the audit log, once each.
	log := h.manage(key, "GET", "audit/?action=user.export", nil).want(200)
	if e := log.body.list("results"); len(e) != 1 || e[0].str("outcome") != "ok, 1234 users" || e[0].obj("actor").str("kind") != "key" {
		t.Error(log.raw)
	}
	if e := h.manage(key, "GET", "audit/?action=user.import", nil).want(200).body.list("results"); len(e) != 5 {
		t.Errorf("%d imports in the log", len(e))
	}
	h.restart()
	if l := lines(t, h.manage(key, "GET", "export/users/", nil).want(200).raw); len(l) != n+2 {
		t.Errorf("%d after a restart", len(l))
	}
}

// TestReq120_AuditLog: each sensitive action writes one entry, wherever it comes from; a repetition, or one that is
// refused, none.
func TestReq120_AuditLog(t *testing.T) {
	t.Parallel()
	h, key := operator(t, func(c *config.Config) { c.TrustedProxies = []string{"127.0.0.1"} })
	us := h.users("ann", "bob", "cid")
	ann, bob := us[0], us[1]
	g := ann.group("Crew", "bob", "cid")
	m := []string{ann.post(g, "one").str("id"), bob.post(g, "two").str("id"), ann.post(g, "three").str("id")}
	s := ann.at("203.0.113.7")
	ws := func(f object) func() {
		return func() {
			f["conversation_id"], f["ref"] = g, nextRef()
			s.send(f)
			for {
				if got := s.next(); got.str("ref") == f["ref"] {
					return
				}
			}
		}
	}
	rest := func(u *user, method, path string, body any, status int) func() {
		return func() {
			t.Helper()
			hd := bearer(u.token)
			hd.Set("Content-Type", "application/json")
			hd.Set("X-Forwarded-For", "203.0.113.8")
			r, err := h.request(method, api+path, hd, body)
			if err != nil {
				t.Fatal(err)
			}
			r.want(status)
		}
	}
	var entry int
	for _, c := range []struct {
		name    string
		do      func()
		action  string // empty: no entry
		objects string
		address string
	}{
		{"block", func() { entry = ann.block("cid") }, "user.block", "cid", ""},
		{"block again", func() { ann.call("POST", "blocked/", object{"user_id": "cid"}) }, "", "", ""},
		{"unblock", func() { ann.unblock(entry) }, "user.unblock", "cid", ""},
		{"delete", rest(ann, "DELETE", "messages/"+m[0]+"/", nil, 204), "message.delete", g + " " + m[0], "203.0.113.8"},
		{"delete by socket", ws(object{"type": "delete", "message_id": m[1]}), "message.delete", g + " " + m[1], "203.0.113.7"},
		{"delete again", ws(object{"type": "delete", "message_id": m[1]}), "", "", ""},
		{"delete what is another's", rest(bob, "DELETE", "messages/"+m[2]+"/", nil, 403), "", "", ""},
		{"role", rest(ann, "POST", "conversations/"+g+"/set_role/", object{"user_id": "bob", "role": "admin"}, 200), "conversation.set_role", g + " bob admin", "203.0.113.8"},
		{"role again", rest(ann, "POST", "conversations/"+g+"/set_role/", object{"user_id": "bob", "role": "admin"}, 200), "", "", ""},
		{"role without right", rest(us[2], "POST", "conversations/"+g+"/set_role/", object{"user_id": "bob", "role": "member"}, 403), "", "", ""},
		{"remove", rest(bob, "POST", "conversations/"+g+"/remove_participants/", object{"user_ids": []string{"cid", "nobody"}}, 200), "conversation.remove_participant", g + " cid", "203.0.113.8"},
		{"send", rest(ann, "POST", "messages/", object{"conversation_id": g, "content": "x"}, 201), "", "", ""},
		{"write a user", func() { h.manage(key, "PUT", "users/dan/", object{}).want(200) }, "user.write", "dan", ""},
		{"mint", func() { h.manage(key, "POST", "tokens/", object{"user_id": "bob"}).want(201) }, "token.mint", "", ""},
		{"suspend", func() { h.manage(key, "POST", "users/bob/suspend/", nil).want(200) }, "user.suspend", "bob", ""},
		{"resume", func() { h.manage(key, "POST", "users/bob/resume/", nil).want(200) }, "user.resume", "bob", ""},
		{"export", func() { h.manage(key, "GET", "export/users/", nil).want(200) }, "user.export", "", ""},
		{"tenant", func() { h.manage(key, "POST", "tenants/", object{"id": "default"}).want(201) }, "tenant.create", "", ""},
	} {
		before := h.manage(key, "GET", "audit/?limit=1000", nil).want(200).body.list("results")
		c.do()
		if strings.Contains(c.name, "socket") { // whose answer is the event, which does not wait for the entry
			h.await("the entry", func() bool {
				return len(h.manage(key, "GET", "audit/?limit=1000", nil).want(200).body.list("results")) > len(before)
			})
		}
		after := h.manage(key, "GET", "audit/?limit=1000", nil).want(200).body.list("results")
		news := after[:len(after)-len(before)]
		if c.action == "" {
			if len(news) != 0 {
				t.Errorf("%s wrote %v", c.name, news)
			}
			continue
		}
		if len(news) != 1 {
			t.Errorf("%s wrote %d entries: %v", c.name, len(news), news)
			continue
		}
		e := news[0]
		var objects []string
		for _, o := range e["objects"].([]any) {
			objects = append(objects, o.(string))
		}
		if e.str("action") != c.action || c.objects != "" && strings.Join(objects, " ") != c.objects || c.address != "" && e.str("address") != c.address || e.str("outcome") == "" {
			t.Errorf("%s wrote %v", c.name, e)
		}
	}
	all := h.manage(key, "GET", "audit/?limit=1000", nil).want(200)
	for _, word := range []string{"one", "two", "Crew", "@"} {
		if strings.Contains(all.raw, `"`+word+`"`) || word == "@" && strings.Contains(all.raw, word) {
			t.Errorf("the log holds %q", word)
		}
	}
	h.drop() // the power fails
	if again := h.manage(key, "GET", "audit/?limit=1000", nil).want(200); fmt.Sprint(again.body["results"]) != fmt.Sprint(all.body["results"]) {
		t.Errorf("after a restart the log is\n%s\nnot\n%s", again.raw, all.raw)
	}
	// By pages, and by what is asked for.
	n := 0
	for path := admin + "audit/?limit=3"; path != ""; {
		r, err := h.request("GET", path, http.Header{"X-Api-Key": {key}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n += len(r.want(200).body.list("results"))
		path = r.body.str("next")
	}
	if n != len(all.body.list("results")) {
		t.Errorf("%d entries by pages", n)
	}
	for query, want := range map[string]int{
		"action=message.delete": 2, "actor=bob": 1, "object=cid": 3, "object=" + m[1]: 1, "from=2100-01-01": 0, "to=2020-01-01": 0, "tenant=other": 0,
	} {
		if got := len(h.manage(key, "GET", "audit/?"+query, nil).want(200).body.list("results")); got != want {
			t.Errorf("%s: %d entries, want %d", query, got, want)
		}
	}
	for _, query := range []string{"before=x", "limit=0", "limit=x", "from=x", "to=%ff"} {
		h.manage(key, "GET", "audit/?"+query, nil).want(400)
	}
}
