package node_test

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage"
)

// inhabit makes a tenant whose users leave something in every table.
func (h *hub) inhabit(root, tenant string) (ann *user, group, file string) {
	h.t.Helper()
	h.manage(root, "POST", "tenants/", object{"id": tenant, "limits": object{"upload_bytes": 1 << 20}}).want(201)
	of := "?tenant=" + tenant
	ann, bob, cat := h.userOf(tenant, "ann"), h.userOf(tenant, "bob"), h.userOf(tenant, "cat")
	h.manage(root, "PUT", "users/ann/"+of, object{"email": "ann@example.org"}).want(200)
	group = ann.group("Crew", "bob", "cat")
	ann.post(ann.direct("bob"), "between us")
	first := ann.post(group, "needle one").str("id")
	bob.call("POST", "messages/", object{"conversation_id": group, "content": "needle two", "reply_to": first, "client_id": "c"}).want(201)
	cat.act(group, "mark_read").want(200)
	bob.call("DELETE", "messages/"+first+"/?scope=me", nil).want(204)
	bob.call("PUT", "conversations/"+group+"/draft/", object{"text": "later"}).want(200)
	file = ann.sendFile(group, "a.txt", []byte(tenant)).want(201).body.str("file")
	ann.get(file, true).want(200)
	r, err := h.request("POST", api+"uploads/", http.Header{"Authorization": {"Bearer " + bob.token}, "Tus-Resumable": {"1.0.0"}, "Upload-Length": {"3"},
		"Upload-Metadata": {"filename YS50eHQ="}}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.want(201)
	ann.contact("bob")
	ann.ask("cat")
	cat.block("bob")
	ann.call("PATCH", "preferences/", object{"read_receipts": false}).want(200)
	ann.later(group, "tomorrow", 24*time.Hour)
	refresh := h.call("", "POST", "/api/v1/auth/token/", object{"username": "ann", "password": "x", "tenant": tenant}).want(200).body.str("refresh")
	h.call("", "POST", "/api/v1/auth/token/blacklist/", object{"refresh": refresh}).want(200)
	h.manage(root, "POST", "keys/"+of, object{"name": "k", "scopes": []string{"users:read"}}).want(201)
	h.manage(root, "POST", "users/cat/suspend/"+of, nil).want(200)
	h.manage(root, "POST", "tokens/revoke/"+of, object{"jti": "j"}).want(204)
	return ann, group, file
}

// mentions counts the rows of a table, of the stopped hub, that name a tenant.
func (h *hub) mentions(table *storage.Table, tenant string) int {
	h.t.Helper()
	return h.rows(table, func(p storage.Key, r storage.Row) bool {
		return slices.ContainsFunc(slices.Concat(p, r.Clustering, storage.Key(r.Columns)), func(v storage.Value) bool { return string(v.B) == tenant })
	})
}

// files counts the attachments of a tenant.
func (h *hub) files(tenant string) (n int) {
	h.t.Helper()
	folder := string(filepath.Separator) + hex.EncodeToString([]byte(tenant)) + string(filepath.Separator)
	err := filepath.WalkDir(filepath.Join(h.cfg.Data, node.BlobDir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, folder) {
			n++
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func (h *hub) tenantIs(root, tenant, state string) {
	h.t.Helper()
	h.await(tenant+" is "+state, func() bool {
		time.Sleep(20 * time.Millisecond) // each look is a request
		return h.manage(root, "GET", "tenants/"+tenant+"/", nil).want(200).body.str("state") == state
	})
}

// Nothing is left of an erased tenant in any table, in the index or among the files, but its id and one entry of its audit
// log, and nothing of another tenant is missing. It survives a restart in the middle.
func TestErasedTenantLeavesNothing(t *testing.T) {
	t.Parallel()
	h, root := operator(t, withSearch, withFiles)
	ann, _, _ := h.inhabit(root, "acme")
	eve, group, file := h.inhabit(root, "kept")
	eve.finds("needle", "needle two", "needle one")
	// Tables of which a busy moment alone leaves a row.
	fleeting := []*storage.Table{storage.TableDirty, storage.TableUnsettled}
	h.stop()
	before := map[string]int{}
	for _, table := range storage.Tables() {
		if slices.ContainsFunc(slices.Concat(table.Partition, table.Clustering, table.Columns), func(c storage.Column) bool { return c.Name == "tenant" }) {
			before[table.Name] = h.mentions(table, "kept")
			if n := h.mentions(table, "acme"); (n == 0 || before[table.Name] == 0) && !slices.Contains(fleeting, table) {
				t.Errorf("nothing of the tenants in %s: the test does not see what it should", table.Name)
			}
		}
	}
	if h.files("acme") == 0 || h.files("kept") == 0 {
		t.Error("no files of the tenants")
	}
	h.run()
	s := ann.dial()
	for _, bad := range []object{{}, {"confirm": "kept"}} {
		h.manage(root, "POST", "tenants/acme/erase/", bad).want(400)
	}
	h.manage(root, "POST", "tenants/acme/erase/", object{"confirm": "acme"}, "If-Match", `"7"`).want(412)
	if r := h.manage(root, "POST", "tenants/acme/erase/", object{"confirm": "acme"}).want(202); r.body.str("state") != "erasing" {
		t.Error(r.raw)
	}
	s.wantClose(4003)
	ann.call("GET", "conversations/", nil).want(403)
	h.manage(root, "PUT", "users/new/?tenant=acme", object{}).want(403)
	h.manage(root, "POST", "tenants/", object{"id": "acme"}).want(409)
	h.restart()
	h.tenantIs(root, "acme", "erased")
	ann.call("GET", "conversations/", nil).want(403)
	h.call("", "POST", "/api/v1/auth/token/", object{"username": "new", "password": "x", "tenant": "acme"}).want(403)
	h.manage(root, "POST", "tenants/", object{"id": "acme"}).want(409) // not yet
	if l := h.manage(root, "GET", "audit/?tenant=acme", nil).want(200).body.list("results"); len(l) != 1 || l[0].str("action") != "tenant.erased" ||
		l[0].obj("actor").str("kind") != "operator" {
		t.Errorf("audit log %v", l)
	}
	eve.finds("needle", "needle two", "needle one")
	if n := h.metric("hub_search_index_documents"); n != 4 {
		t.Errorf("%v documents in the index, want those of one tenant", n)
	}
	if r := eve.get(file, true).want(200); r.raw != "kept" {
		t.Error(r.raw)
	}
	if n := len(eve.history(group)); n != 3 {
		t.Errorf("%d messages of the other tenant", n)
	}
	h.stop()
	for _, table := range storage.Tables() {
		want := 0
		switch table {
		case storage.TableTenants:
			want = 1
		case storage.TableAudit:
			want = 2 // the entry, and that there is one of that day
		}
		if n := h.mentions(table, "acme"); n != want {
			t.Errorf("%d rows left in %s, want %d", n, table.Name, want)
		}
		if n, was := h.mentions(table, "kept"), before[table.Name]; n < was && !slices.Contains(fleeting, table) {
			t.Errorf("%d of %d rows of the other tenant left in %s", n, was, table.Name)
		}
	}
	if n := h.files("acme"); n != 0 {
		t.Errorf("%d files left", n)
	}
	h.verify()
	// The id is given again, after a while, to a tenant that begins from nothing.
	h.clock.advance(11 * time.Minute)
	h.run()
	h.manage(root, "POST", "tenants/", object{"id": "acme", "name": "Acme II"}).want(201)
	ann = h.userOf("acme", "ann")
	h.userOf("acme", "bob")
	if n := len(ann.history(ann.direct("bob"))); n != 0 {
		t.Errorf("%d messages in the new conversation", n)
	}
	if r := ann.call("GET", "preferences/", nil).want(200); !r.body.yes("read_receipts") {
		t.Error(r.raw)
	}
}

// Uploads under way at that moment, and writers of all kinds, leave nothing either.
func TestErasingABusyTenant(t *testing.T) {
	t.Parallel()
	h, root := operator(t, withFiles, func(c *config.Config) { c.UserRate = 0 })
	h.manage(root, "POST", "tenants/", object{"id": "acme"}).want(201)
	ann := h.userOf("acme", "ann")
	h.userOf("acme", "bob")
	ids := []string{ann.direct("bob")}
	for i := range 40 {
		ids = append(ids, ann.group(fmt.Sprint("g", i), "bob", "ann"))
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = h.request("POST", api+"messages/", http.Header{"Authorization": {"Bearer " + ann.token}, "Content-Type": {"application/json"}},
				object{"conversation_id": ids[i%len(ids)], "content": "x"})
		}
	}()
	h.manage(root, "POST", "tenants/acme/erase/", object{"confirm": "acme"}).want(202)
	h.tenantIs(root, "acme", "erased")
	close(stop)
	<-ended
	h.stop()
	for _, table := range storage.Tables() {
		if n := h.mentions(table, "acme"); n > 0 && table != storage.TableTenants && table != storage.TableAudit {
			t.Errorf("%d rows left in %s", n, table.Name)
		}
	}
	h.verify()
}
