package node_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
)

const admin = "/api/v1/admin/"

// operator runs a hub whose administrative API the key opens.
func operator(t *testing.T, options ...func(*config.Config)) (h *hub, key string) {
	t.Helper()
	key = strings.Repeat("k", 40)
	return start(t, append(options, func(c *config.Config) {
		c.AdminKeyFile = filepath.Join(t.TempDir(), "admin-key")
		if err := os.WriteFile(c.AdminKeyFile, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})...), key
}

// manage makes a request of the administrative API.
func (h *hub) manage(key, method, path string, body any, header ...string) *reply {
	h.t.Helper()
	hd := http.Header{"Content-Type": {"application/json"}}
	if strings.HasPrefix(key, "hub_") {
		hd.Set("Authorization", "Bearer "+key)
	} else {
		hd.Set("X-Api-Key", key)
	}
	for i := 0; i+1 < len(header); i += 2 {
		hd.Set(header[i], header[i+1])
	}
	r, err := h.request(method, admin+path, hd, body)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// refusedSocket dials and wants to be closed before anything else comes.
func (u *user) refusedSocket(code int) {
	u.h.t.Helper()
	s, err := u.h.open("/ws/", http.Header{"Authorization": {"Bearer " + u.token}})
	if err != nil {
		u.h.t.Fatal(err)
	}
	s.wantClose(code)
}

func TestTenants(t *testing.T) {
	t.Parallel()
	h, key := operator(t)
	r := h.manage(key, "POST", "tenants/", object{"id": "acme", "name": "Acme", "settings": object{"theme": "dark"}, "limits": object{"users": 5}}).want(201)
	if r.header.Get("ETag") != `"1"` || r.body.str("state") != "active" || r.body.obj("limits").num("users") != 5 || r.body.obj("settings").str("theme") != "dark" {
		t.Error(r.raw, r.header)
	}
	h.manage(key, "POST", "tenants/", object{"id": "acme"}).want(409)
	for _, bad := range []object{
		{}, {"id": "a b"}, {"id": "x", "limits": object{"users": -1}}, {"id": "x", "limits": object{"nonsense": 1}}, {"id": "x", "settings": []int{1}},
		{"id": "x", "limits": object{"group_size": 2}}, {"id": "x", "settings": object{"x": strings.Repeat("x", 17000)}}, {"id": "x", "limits": 3},
	} {
		h.manage(key, "POST", "tenants/", bad).want(400)
	}
	r = h.manage(key, "PATCH", "tenants/acme/", object{"limits": object{"group_size": 7}}, "If-Match", `"1"`).want(200)
	if l := r.body.obj("limits"); l.num("users") != 5 || l.num("group_size") != 7 || r.body.str("name") != "Acme" {
		t.Errorf("what a change leaves out has to stay: %s", r.raw)
	}
	h.manage(key, "PATCH", "tenants/acme/", object{"name": "late"}, "If-Match", `"1"`).want(412)
	h.manage(key, "PATCH", "tenants/acme/", object{"name": "now", "limits": object{"users": nil}}).want(200)
	r = h.manage(key, "GET", "tenants/acme/", nil).want(200)
	if r.body.num("version") != 3 || r.body.obj("limits").num("users") != 0 {
		t.Error(r.raw)
	}
	h.manage(key, "GET", "tenants/none/", nil).want(404)
	h.manage(key, "PATCH", "tenants/none/", object{"name": "x"}).want(404)
	for i := range 4 {
		h.manage(key, "POST", "tenants/", object{"id": fmt.Sprint("t", i)}).want(201)
	}
	var ids []string
	for path := admin + "tenants/?limit=2"; path != ""; {
		p, err := h.request("GET", path, http.Header{"X-Api-Key": {key}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range p.want(200).body.list("results") {
			ids = append(ids, x.str("id"))
		}
		path = p.body.str("next")
	}
	if got := strings.Join(ids, " "); got != "acme t0 t1 t2 t3" {
		t.Errorf("listed %s", got)
	}
	// Deletion is for ever, and the id is not given again.
	u := h.userOf("t3", "ann")
	s := u.dial()
	h.manage(key, "DELETE", "tenants/t3/", nil, "If-Match", `"7"`).want(412)
	h.manage(key, "DELETE", "tenants/t3/", nil, "If-Match", `"1"`).want(204)
	s.wantClose(4003)
	u.call("GET", "conversations/", nil).want(403)
	h.manage(key, "POST", "tenants/", object{"id": "t3"}).want(409)
	h.manage(key, "POST", "tenants/t3/resume/", nil).want(404)
	h.restart()
	u.call("GET", "conversations/", nil).want(403)
	u.refusedSocket(4003)
}

func TestKeysAndScopes(t *testing.T) {
	t.Parallel()
	h, root := operator(t)
	h.manage(root, "POST", "tenants/", object{"id": "acme"}).want(201)
	h.userOf("acme", "ann")
	h.userOf("acme", "bob")
	h.userOf("other", "eve")
	made := h.manage(root, "POST", "keys/?tenant=acme", object{"name": "server", "scopes": []string{"users:read", "keys:admin"}}).want(201)
	key, id := made.body.str("key"), made.body.str("id")
	if !strings.HasPrefix(key, "hub_"+id+"_") {
		t.Fatalf("key %s", made.raw)
	}
	if r := h.manage(root, "GET", "keys/"+id+"/?tenant=acme", nil).want(200); strings.Contains(r.raw, key) || r.body["key"] != nil {
		t.Error("the secret is shown again")
	}
	// What it may do, in its own tenant.
	h.manage(key, "GET", "users/ann/", nil).want(200)
	h.manage(key, "GET", "users/eve/", nil).want(404)
	h.manage(key, "GET", "users/eve/?tenant=other", nil).want(403)
	h.manage(key, "GET", "tenants/acme/", nil).want(200)
	h.manage(key, "GET", "tenants/other/", nil).want(403)
	for _, x := range [][2]string{
		{"PUT", "users/ann/"}, {"GET", "tenants/"}, {"POST", "tenants/"}, {"PATCH", "tenants/acme/"}, {"DELETE", "tenants/acme/"},
		{"POST", "tenants/acme/suspend/"}, {"POST", "users/ann/suspend/"}, {"GET", "audit/"}, {"POST", "tokens/"}, {"POST", "tokens/revoke/"},
		{"POST", "users/ann/messages/"}, {"POST", "import/users/"},
	} {
		h.manage(key, x[0], x[1], object{}).want(403)
	}
	h.manage(key, "POST", "keys/", object{"scopes": []string{"messages:send"}}).want(400).says("lacks the scope")
	h.manage(key, "POST", "keys/", object{"scopes": []string{"tenants:admin"}}).want(400)
	h.manage(key, "POST", "keys/", object{"scopes": []string{"users:read"}, "tenant": "other"}).want(403)
	h.manage(key, "POST", "keys/", object{"scopes": []string{"what"}}).want(400)
	h.manage(key, "POST", "keys/", object{}).want(400)
	strong := h.manage(root, "POST", "keys/?tenant=acme", object{"scopes": []string{"moderation"}}).want(201).body.str("id")
	h.manage(key, "POST", "keys/"+strong+"/rotate/", nil).want(403)
	h.manage(key, "DELETE", "keys/"+strong+"/", nil).want(403)

	// Nobody else.
	for _, bad := range []string{"", "hub_x", key + "x", key[:len(key)-1] + "2", "hub_" + strings.Repeat("a", 16) + "_" + strings.Repeat("b", 52)} {
		h.manage(bad, "GET", "users/ann/", nil).want(401)
	}

	// Rotation: the old secret goes on for its grace, and no longer.
	turned := h.manage(root, "POST", "keys/"+id+"/rotate/?tenant=acme", object{"grace_seconds": 60}).want(200).body.str("key")
	h.manage(key, "GET", "users/ann/", nil).want(200)
	h.manage(turned, "GET", "users/ann/", nil).want(200)
	h.clock.advance(61 * time.Second)
	h.manage(key, "GET", "users/ann/", nil).want(401)
	h.manage(turned, "GET", "users/ann/", nil).want(200)
	h.restart()
	h.manage(turned, "GET", "users/ann/", nil).want(200)
	if r := h.manage(root, "GET", "keys/"+id+"/?tenant=acme", nil).want(200); r.body.str("last_used_at") == "" {
		t.Error(r.raw)
	}
	// An end.
	brief := h.manage(root, "POST", "keys/?tenant=acme", object{"scopes": []string{"users:read"}, "expires_at": h.clock.now().Add(time.Hour).UTC().Format(time.RFC3339)}).want(201).body.str("key")
	h.manage(brief, "GET", "users/ann/", nil).want(200)
	h.clock.advance(2 * time.Hour)
	h.manage(brief, "GET", "users/ann/", nil).want(401)
	h.manage(root, "DELETE", "keys/"+id+"/?tenant=acme", nil).want(204)
	h.manage(turned, "GET", "users/ann/", nil).want(401)
	h.manage(root, "POST", "keys/"+id+"/rotate/?tenant=acme", nil).want(400)
	if r := h.manage(root, "GET", "keys/?tenant=acme", nil).want(200); len(r.body.list("results")) != 3 {
		t.Error(r.raw)
	}
	// A suspended tenant's keys.
	alive := h.manage(root, "POST", "keys/?tenant=acme", object{"scopes": []string{"users:read"}}).want(201).body.str("key")
	h.manage(root, "POST", "tenants/acme/suspend/", object{"reason": "unpaid"}).want(200)
	h.manage(alive, "GET", "users/ann/", nil).want(403).says("unpaid")
	h.manage(root, "POST", "tenants/acme/resume/", nil).want(200)
	h.manage(alive, "GET", "users/ann/", nil).want(200)
	// An operator's key in the store.
	boss := h.manage(root, "POST", "keys/", object{"scopes": []string{"tenants:admin"}}).want(201).body.str("key")
	h.manage(boss, "GET", "users/eve/?tenant=other", nil).want(200)
	h.manage(boss, "POST", "tenants/", object{"id": "new"}).want(201)
}

func TestSuspension(t *testing.T) {
	t.Parallel()
	h, key := operator(t)
	us := h.users("ann", "bob")
	ann, bob := us[0], us[1]
	id := ann.direct("bob")
	a1, a2, b := ann.dial(), ann.dial(id), bob.dial()
	r := h.manage(key, "POST", "users/ann/suspend/", object{"reason": "Spam."}).want(200)
	if !r.body.yes("suspended") || r.body.str("reason") != "Spam." {
		t.Error(r.raw)
	}
	for _, s := range []*socket{a1, a2} {
		if code, reason, _ := s.closed(); code != 4003 || reason != "suspended" {
			t.Errorf("closed with %d %q", code, reason)
		}
	}
	b.alive()
	barred := func() {
		t.Helper()
		ann.call("GET", "conversations/", nil).want(403).says("Your account has been suspended. Spam.")
		ann.call("POST", "messages/", object{"conversation_id": id, "content": "x"}).want(403)
		ann.refusedSocket(4003)
		h.manage(key, "POST", "users/ann/messages/", object{"conversation_id": id, "content": "x"}).want(403)
		bob.post(id, "for later")
	}
	barred()
	h.restart()
	barred()
	h.manage(key, "POST", "users/ann/resume/", nil).want(200)
	ann.post(id, "back")
	ann.dial(id).say(id, "and here")

	// The same user of another tenant is another user. A tenant is all of its users.
	x, y, z := h.userOf("x", "ann"), h.userOf("x", "bob"), h.userOf("y", "ann")
	xs, ys, zs := x.dial(), y.dial(), z.dial()
	h.manage(key, "POST", "users/ann/suspend/?tenant=x", nil).want(200)
	xs.wantClose(4003)
	ys.alive()
	zs.alive()
	ann.dial()
	h.manage(key, "POST", "tenants/", object{"id": "x"}).want(201)
	h.manage(key, "POST", "tenants/x/suspend/", object{"reason": "Unpaid."}).want(200)
	ys.wantClose(4003)
	zs.alive()
	y.call("GET", "conversations/", nil).want(403).says("This service has been suspended. Unpaid.")
	y.refusedSocket(4003)
	h.manage(key, "POST", "tenants/x/resume/", nil).want(200)
	y.dial()
	x.refusedSocket(4003)
}

func TestTokenRevocation(t *testing.T) {
	t.Parallel()
	h, key := operator(t, func(c *config.Config) { c.PreAcceptReject = false })
	mint := func(id string) (*user, string) {
		t.Helper()
		r := h.manage(key, "POST", "tokens/", object{"user_id": id, "lifetime_seconds": 600}).want(201)
		return &user{h, id, r.body.str("access")}, r.body.str("jti")
	}
	h.users("ann", "bob")
	first, jti := mint("ann")
	second, _ := mint("ann")
	one, two := first.dial(), second.dial()
	h.manage(key, "POST", "tokens/revoke/", object{"jti": jti}).want(204)
	if code, reason, _ := one.closed(); code != 4001 || reason != "token revoked" {
		t.Errorf("closed with %d %q", code, reason)
	}
	two.alive()
	first.call("GET", "conversations/", nil).want(401).says("Token is revoked")
	first.refusedSocket(4001)
	second.call("GET", "conversations/", nil).want(200)
	h.manage(key, "POST", "tokens/revoke/", object{"token": second.token}).want(204)
	two.wantClose(4001)
	h.manage(key, "POST", "tokens/revoke/", object{"token": second.token}).want(204)
	// Whoever is suspended first, and has the token revoked then, does not get it back with the end of the suspension.
	stolen, _ := mint("ann")
	h.manage(key, "POST", "users/ann/suspend/", nil).want(200)
	h.manage(key, "POST", "tokens/revoke/", object{"token": stolen.token}).want(204)
	h.manage(key, "POST", "users/ann/resume/", nil).want(200)
	stolen.call("GET", "conversations/", nil).want(401)
	for _, bad := range []object{{}, {"jti": ""}, {"jti": strings.Repeat("x", 300)}, {"token": "rubbish"}, {"jti": "x", "expires_at": "never"}} {
		h.manage(key, "POST", "tokens/revoke/", bad).want(400)
	}
	// All of them, up to now.
	third, _ := mint("ann")
	live := third.dial()
	bob := h.user("bob").dial()
	h.clock.advance(2 * time.Second) // tokens say to the second when they were issued
	h.manage(key, "POST", "users/ann/revoke_tokens/", nil).want(200)
	live.wantClose(4001)
	bob.alive()
	h.restart()
	third.call("GET", "conversations/", nil).want(401)
	first.call("GET", "conversations/", nil).want(401)
	// At the next moment, and in the same second, a new one is good.
	for range 3 {
		h.manage(key, "POST", "users/ann/revoke_tokens/", nil).want(200)
		fresh, _ := mint("ann")
		fresh.call("GET", "conversations/", nil).want(200)
		fresh.dial()
	}
	h.manage(key, "POST", "users/ann/revoke_tokens/", object{"before": h.clock.now().Add(time.Hour).UTC().Format(time.RFC3339)}).want(400)
	h.manage(key, "POST", "users/ann/revoke_tokens/", object{"before": h.clock.now().Add(50 * time.Second).UTC().Format(time.RFC3339)}).want(200)
	h.manage(key, "POST", "tokens/", object{"user_id": "ann"}).want(409)
	h.manage(key, "POST", "tokens/", object{"user_id": "nobody"}).want(400)
}

func TestSendOnBehalf(t *testing.T) {
	t.Parallel()
	h, root := operator(t)
	us := h.users("ann", "bob")
	id := us[0].direct("bob")
	bob := us[1].dial()
	key := h.manage(root, "POST", "keys/", object{"scopes": []string{"messages:send"}}).want(201).body.str("key")
	r := h.manage(key, "POST", "users/ann/messages/", object{"conversation_id": id, "content": "from a server", "client_id": "1"}).want(201)
	if r.body.obj("sender").str("id") != "ann" {
		t.Error(r.raw)
	}
	if f := bob.message("from a server"); f.str("sender_id") != "ann" {
		t.Error(f.raw)
	}
	h.manage(key, "POST", "users/ann/messages/", object{"conversation_id": id, "content": "from a server", "client_id": "1"}).want(201)
	if n := len(us[0].history(id)); n != 1 {
		t.Errorf("%d messages after a repetition", n)
	}
	h.manage(key, "POST", "users/nobody/messages/", object{"conversation_id": id, "content": "x"}).want(404)
	h.users("eve")
	h.manage(key, "POST", "users/eve/messages/", object{"conversation_id": id, "content": "x"}).want(400)
}

// visitAdmin walks through the administrative API, once.
func (h *hub) visitAdmin(key, conversation string, visited map[string]bool) {
	h.t.Helper()
	visit := func(method, pattern, id string, body any, status int) *reply {
		h.t.Helper()
		visited[method+" "+admin+pattern] = true
		return h.manage(key, method, strings.Replace(pattern, "{id}", id, 1), body).want(status)
	}
	visit("POST", "tenants/", "", object{"id": "acme"}, 201)
	visit("GET", "tenants/", "", nil, 200)
	wantKeys(h.t, "tenant", visit("GET", "tenants/{id}/", "acme", nil, 200).body, "id name state reason settings limits version created_at updated_at")
	visit("PATCH", "tenants/{id}/", "acme", object{"name": "Acme"}, 200)
	visit("POST", "tenants/{id}/suspend/", "acme", nil, 200)
	visit("POST", "tenants/{id}/resume/", "acme", nil, 200)
	const usage = "day upload_bytes uploads upload_bytes_limit renewed_at"
	wantKeys(h.t, "usage", visit("GET", "tenants/{id}/usage/", "acme", nil, 200).body, usage)
	wantKeys(h.t, "usage", visit("GET", "users/{id}/usage/", "1", nil, 200).body, usage)
	visit("DELETE", "tenants/{id}/", "acme", nil, 204)
	wantKeys(h.t, "tenant", visit("POST", "tenants/{id}/erase/", "acme", object{"confirm": "acme"}, 202).body,
		"id name state reason settings limits version created_at updated_at erasing")
	made := visit("POST", "keys/", "", object{"scopes": []string{"users:read"}}, 201).body
	const keyFields = "id tenant name scopes created_by created_at expires_at revoked_at old_secret_until last_used_at"
	wantKeys(h.t, "new key", made, keyFields+" key")
	wantKeys(h.t, "key", visit("GET", "keys/{id}/", made.str("id"), nil, 200).body, keyFields)
	visit("GET", "keys/", "", nil, 200)
	visit("POST", "keys/{id}/rotate/", made.str("id"), nil, 200)
	visit("DELETE", "keys/{id}/", made.str("id"), nil, 204)
	wantKeys(h.t, "audit entry", visit("GET", "audit/", "", nil, 200).body.list("results")[0], "id at actor action objects address outcome")
	for _, action := range []string{"suspend", "resume", "revoke_tokens"} {
		wantKeys(h.t, "restriction", visit("POST", "users/{id}/"+action+"/", "9", nil, 200).body, "user tenant suspended suspended_at reason tokens_revoked_before")
	}
	visit("POST", "users/{id}/messages/", "1", object{"conversation_id": conversation, "content": "x"}, 201)
	wantKeys(h.t, "minted token", visit("POST", "tokens/", "", object{"user_id": 1}, 201).body, "access jti expires_at")
	visit("POST", "tokens/revoke/", "", object{"jti": "x"}, 204)
	visit("GET", "export/users/", "", nil, 200)
	visit("POST", "import/users/", "", `{"id":"7"}`, 200)
}
