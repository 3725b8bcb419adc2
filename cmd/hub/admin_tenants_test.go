package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of an operator, against the real binary.
func TestAdminTenants(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "operator.key")
	if err := os.WriteFile(keyFile, []byte("# the operator\n"+strings.Repeat("k", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, t.TempDir(), "--dev", "--admin-key-file", keyFile)
	hub := func(file string, args ...string) (string, string, int) {
		t.Helper()
		return run(t, nil, append([]string{"admin"}, append(args, "--api", s.url, "--key-file", file)...)...)
	}
	must := func(words string, args ...string) string {
		t.Helper()
		out, errs, code := hub(keyFile, args...)
		if code != 0 || !strings.Contains(out, words) {
			t.Fatalf("hub admin %s: %d %s%s", strings.Join(args, " "), code, out, errs)
		}
		return strings.TrimSpace(out)
	}
	must(`"state":"active"`, "tenant", "create", "acme", "--name", "Acme", "--limit", "users=3;message_rate=2.5", "--settings", `{"a":1}`)
	must(`"message_rate":2.5`, "tenant", "show", "acme")
	must(`"group_size":5`, "tenant", "update", "acme", "--limit", "group_size=5")
	must(`"acme"`, "tenant", "list")
	key := must("hub_", "key", "create", "--tenant", "acme", "--scopes", "users:read,users:write,moderation,audit:read")
	tenantFile := filepath.Join(t.TempDir(), "tenant.key")
	write := func(key string) {
		if err := os.WriteFile(tenantFile, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(key)
	if _, errs, code := hub(tenantFile, "tenant", "list"); code == 0 || !strings.Contains(errs, "tenants:admin") {
		t.Errorf("a tenant's key lists tenants: %d %s", code, errs)
	}
	must("acme", "tenant", "suspend", "acme", "--reason", "unpaid")
	if _, errs, code := hub(tenantFile, "user", "export"); code == 0 || !strings.Contains(errs, "unpaid") {
		t.Errorf("a suspended tenant exports: %d %s", code, errs)
	}
	must("acme", "tenant", "resume", "acme")
	id, _, _ := strings.Cut(strings.TrimPrefix(key, "hub_"), "_")
	key = must("hub_"+id, "key", "rotate", id, "--tenant", "acme", "--grace", "0s")
	if _, _, code := hub(tenantFile, "user", "export"); code == 0 {
		t.Error("the old secret is accepted without a grace")
	}
	write(key)
	out, errs, code := hub(tenantFile, "user", "suspend", "ann", "--reason", "spam")
	if code != 0 || !strings.Contains(out, `"suspended":true`) {
		t.Errorf("suspend: %d %s%s", code, out, errs)
	}
	var body map[string]any
	if status := s.call("POST", "/api/v1/auth/token/", "", map[string]string{"username": "bob", "password": "x", "tenant": "acme"}, &body); status != http.StatusOK {
		t.Fatalf("token: %d", status)
	}
	if out, _, code := hub(tenantFile, "user", "export"); code != 0 || !strings.Contains(out, `"id":"bob"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("export: %d %s", code, out)
	}
	log := must("tenant.suspend", "audit", "--tenant", "acme")
	if n := strings.Count(log, "\n") + 1; n != 8 { // create, update, key, suspend, resume, rotate, user, export
		t.Errorf("%d entries: %s", n, log)
	}
	if got := must("user.suspend", "audit", "--tenant", "acme", "--action", "user.suspend"); strings.Contains(got, "\n") {
		t.Errorf("more than that action: %s", got)
	}
	must("", "key", "revoke", id, "--tenant", "acme")
	if _, errs, code := hub(tenantFile, "audit"); code == 0 || !strings.Contains(errs, "401") {
		t.Errorf("a revoked key: %d %s", code, errs)
	}
	must("", "tenant", "delete", "acme")
	if _, _, code := hub(keyFile, "tenant", "update", "acme", "--name", "x"); code == 0 {
		t.Error("a deleted tenant can be changed")
	}
}
