package node_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/internal/node"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/scylla/scyllatest"
)

// TestFencingIsTheKeyspaces: a hub with strict fencing does what a hub does; one that wants the other fencing does not start; and
// it changes while no node runs, with nothing lost or hidden.
func TestFencingIsTheKeyspaces(t *testing.T) {
	if !scyllatest.Chosen() {
		t.Skip("the embedded store has no fencing")
	}
	h := start(t, func(c *config.Config) { c.CQLMigrate, c.Fencing = true, "strict" })
	a, b := h.user("a"), h.user("b")
	chat := a.direct("b")
	edit := func(id, content string) {
		t.Helper()
		a.call(http.MethodPatch, "messages/"+id+"/", object{"content": content}).want(http.StatusOK)
	}
	says := func(want ...string) {
		t.Helper()
		var got []string // oldest first, without what is deleted
		for _, m := range b.history(chat) {
			if c := m.str("content"); c != "" {
				got = append([]string{c}, got...)
			}
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	first := a.post(chat, "one").str("id")
	edit(first, "1 strict")
	second := b.post(chat, "two").str("id")
	says("1 strict", "two")
	if h.metric("hub_cql_fenced_total") < 3 || h.metric("hub_cql_group_batches_total") != 0 {
		t.Errorf("%v transactions, %v in groups", h.metric("hub_cql_fenced_total"), h.metric("hub_cql_group_batches_total"))
	}

	// Others, while it runs.
	other := h.cfg
	other.Data, other.Fencing, other.CQLMigrate = t.TempDir(), "lease", false
	for _, migrate := range []bool{false, true} {
		other.CQLMigrate = migrate
		n, err := node.New(other, node.Options{})
		if err == nil {
			err = n.Run(t.Context())
		}
		if !errors.Is(err, storage.ErrFencing) || !strings.Contains(err.Error(), "hub migrate --fencing lease") {
			t.Fatalf("a node that wants leases: %v", err)
		}
	}
	to := func(mode string) error {
		c := h.cfg
		c.Fencing = mode
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return node.Migrate(ctx, &c, false, nil)
	}
	if err := to("lease"); err == nil || !strings.Contains(err.Error(), "stop all nodes first") {
		t.Fatalf("changed under a running node: %v", err)
	}
	third := a.post(chat, "three").str("id") // it is not disturbed

	again := func(mode, asked string) {
		t.Helper()
		h.stop()
		if err := to(mode); err != nil {
			t.Fatal(err)
		}
		h.cfg.Fencing = asked
		h.run()
	}
	again("lease", "")
	says("1 strict", "two", "three")
	edit(first, "1 lease")
	a.call(http.MethodDelete, "messages/"+third+"/", nil)
	fourth := a.post(chat, "four").str("id")
	says("1 lease", "two", "four")
	if h.metric("hub_cql_fenced_total") != 0 {
		t.Error("transactions with leases")
	}
	again("strict", "strict")
	edit(first, "1 strict again")
	edit(fourth, "4 strict")
	b.call(http.MethodDelete, "messages/"+second+"/", nil)
	a.post(chat, "five")
	h.restart()
	says("1 strict again", "4 strict", "five")
}
