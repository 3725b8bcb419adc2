package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/internal/testcluster"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// TestAdministrationSpansNodes: what is suspended or revoked at one node is closed and refused at all others. The time
// that it took is reported, not judged; what is judged is that it holds long before everything is read again.
func TestAdministrationSpansNodes(t *testing.T) {
	several(t)
	key := strings.Repeat("k", 40)
	file := filepath.Join(t.TempDir(), "admin-key")
	must(t, os.WriteFile(file, []byte(key+"\n"), 0o600))
	c := ownCluster(t, 2, "", func(cfg *testcluster.Config) { cfg.Args = []string{"--admin-key-file", file} })
	admin := func(at *testcluster.Node, key, method, path string, body object, want int) object {
		t.Helper()
		return administer(t, c, at, key, method, path, body, want)
	}
	ps := people(t, c, "red", "ann", "bob")
	ann, bob := ps[0], ps[1]
	here, there := node(c, 0), node(c, 1)

	type closing struct {
		code websocket.StatusCode
		at   time.Time
	}
	socket := func(at *testcluster.Node, token string) <-chan closing {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		conn, _, err := websocket.Dial(ctx, strings.Replace(at.URL(), "http", "ws", 1)+"/ws/", &websocket.DialOptions{
			HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
		must(t, err)
		ended := make(chan closing, 1)
		if _, _, err := conn.Read(ctx); err != nil { // status, unless it is refused
			ended <- closing{websocket.CloseStatus(err), time.Now()}
			return ended
		}
		go func() {
			for {
				if _, _, err := conn.Read(ctx); err != nil {
					ended <- closing{websocket.CloseStatus(err), time.Now()}
					return
				}
			}
		}()
		return ended
	}
	gone := func(what string, ended <-chan closing, code websocket.StatusCode, from time.Time) {
		t.Helper()
		select {
		case x := <-ended:
			if x.code != code {
				t.Errorf("%s: closed with %d", what, x.code)
			}
			measured(t, what, "closed after %v", x.at.Sub(from).Round(time.Millisecond))
		case <-time.After(30 * time.Second):
			t.Errorf("%s: not closed", what)
		}
	}

	s, other := socket(there, ann.token), socket(there, bob.token)
	from := time.Now()
	admin(here, key, "POST", "users/"+ann.name+"/suspend/?tenant=red", object{"reason": "spam"}, 200)
	gone("a user is suspended at the other node", s, 4003, from)
	if a := ann.call(there, "GET", "conversations/", nil); a.Code != 403 {
		t.Errorf("a suspended user is answered %d", a.Code)
	}
	gone("a new socket of a suspended user", socket(there, ann.token), 4003, time.Now())
	admin(there, key, "POST", "users/"+ann.name+"/resume/?tenant=red", nil, 200)
	within(t, "the user is let in again", func() bool { return ann.call(here, "GET", "conversations/", nil).Code == 200 })

	admin(there, key, "POST", "tenants/", object{"id": "red"}, 201)
	minted := admin(here, key, "POST", "tokens/?tenant=red", object{"user_id": ann.name}, 201)
	token, jti := minted["access"].(string), minted["jti"].(string)
	s = socket(there, token)
	from = time.Now()
	admin(here, key, "POST", "tokens/revoke/?tenant=red", object{"jti": jti}, 204)
	gone("a token is revoked at the other node", s, 4001, from)

	made := admin(here, key, "POST", "keys/?tenant=red", object{"scopes": []string{"users:read"}}, 201)
	tenantKey := made["key"].(string)
	admin(there, tenantKey, "GET", "users/"+ann.name+"/", nil, 200)
	admin(here, key, "DELETE", "keys/"+made["id"].(string)+"/?tenant=red", nil, 204)
	admin(there, tenantKey, "GET", "users/"+ann.name+"/", nil, 401) // at once

	s = socket(here, ann.token)
	from = time.Now()
	admin(there, key, "POST", "tenants/red/suspend/", nil, 200)
	gone("a tenant is suspended at the other node", s, 4003, from)
	gone("all of a tenant's sockets", other, 4003, from)
	node(c, 0).Kill()
	must(t, node(c, 0).Start())
	revive(t, c)
	if a := ann.call(node(c, 0), "GET", "conversations/", nil); a.Code != 403 {
		t.Errorf("after a restart the suspended tenant's user is answered %d", a.Code)
	}
}

// TestErasingSpansNodes: a tenant whose users are at all nodes is erased at the wish of one, though a node dies meanwhile.
func TestErasingSpansNodes(t *testing.T) {
	several(t)
	key := strings.Repeat("k", 40)
	file := filepath.Join(t.TempDir(), "admin-key")
	must(t, os.WriteFile(file, []byte(key+"\n"), 0o600))
	keyspace := ""
	c := ownCluster(t, 2, "", func(cfg *testcluster.Config) { cfg.Args, keyspace = []string{"--admin-key-file", file}, cfg.Keyspace })
	here, there := node(c, 0), node(c, 1)
	ps := people(t, c, "blue", "ann", "bob", "cat")
	for i := range 20 {
		at := node(c, i)
		id := ps[i%2].made(at, "conversations/", object{"participant_ids": []string{ps[2].name, ps[(i+1)%2].name}, "name": "g"})
		if code := ps[2].post(node(c, i+1), id, "hello"); code != 201 {
			t.Fatal(code)
		}
	}
	administer(t, c, there, key, "POST", "tenants/", object{"id": "blue"}, 201)
	administer(t, c, here, key, "POST", "tenants/blue/erase/", object{"confirm": "blue"}, 202)
	within(t, "the tenant is closed at the other node", func() bool { return ps[0].call(there, "GET", "conversations/", nil).Code == 403 })
	state := func(at *testcluster.Node) (state, step string) {
		out := administer(t, c, at, key, "GET", "tenants/blue/", nil, 200)
		state, _ = out["state"].(string)
		step, _ = out["erasing"].(string)
		return state, step
	}
	await(t, "the erasing begins", func() bool { s, step := state(there); return step != "" || s == "erased" })
	here.Kill()
	must(t, here.Start())
	revive(t, c)
	for _, at := range c.Nodes() {
		step := ""
		await(t, "the tenant is erased", func() bool {
			s, now := state(at)
			if now != step {
				step = now
				t.Logf("%s: %s", at.Name, step)
			}
			return s == "erased"
		})
	}
	if l := administer(t, c, here, key, "GET", "audit/?tenant=blue", nil, 200)["results"].([]any); len(l) != 1 {
		t.Errorf("audit log %v", l)
	}
	e := scyllatest.OpenKeyspace(t, keyspace)
	defer e.Close()
	for _, table := range storage.Tables() {
		n := 0
		must(t, e.ScanTable(t.Context(), table, func(p storage.Key, r storage.Row) bool {
			if slices.ContainsFunc(slices.Concat(p, r.Clustering, storage.Key(r.Columns)), func(v storage.Value) bool { return string(v.B) == "blue" }) {
				n++
			}
			return true
		}))
		if n > 0 && table != storage.TableTenants && table != storage.TableAudit {
			t.Errorf("%d rows left in %s", n, table.Name)
		}
	}
}

// administer makes a request of the administrative API at a node.
func administer(t *testing.T, c *testcluster.Cluster, at *testcluster.Node, key, method, path string, body object, want int) (out object) {
	t.Helper()
	if body == nil {
		body = object{}
	}
	b, err := json.Marshal(body)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, at.URL()+"/api/v1/admin/"+path, bytes.NewReader(b))
	must(t, err)
	req.Header.Set("Authorization", "Api-Key "+key)
	resp, err := c.HTTP().Do(req)
	must(t, err)
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		t.Fatalf("%s %s at %s: %d %s", method, path, at.Name, resp.StatusCode, raw)
	}
	_ = json.Unmarshal(raw, &out)
	return out
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
