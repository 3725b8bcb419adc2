package node_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/config"
	"github.com/zumodra/hub/storage/search/meili/meilitest"
)

// TestMeilisearchAwayAndBack: a Meilisearch that is not there at the start, has another key, comes, goes for long and
// comes back costs searches alone, and everything is found afterwards, once.
func TestMeilisearchAwayAndBack(t *testing.T) {
	t.Parallel()
	srv := meilitest.New(t)
	away := func(w http.ResponseWriter, _ *http.Request) bool {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = c.Close()
		}
		return true
	}
	srv.Key, srv.Before = "the key", away
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("another key"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := start(t, func(c *config.Config) {
		c.Search, c.MeiliURL, c.MeiliKeyFile, c.MeiliIndexPrefix = "meili", srv.URL, key, "hub"
		c.IdleAfter = time.Second
	})
	us := h.users("1", "2")
	ann, bob := us[0], us[1]
	d := ann.direct("2")
	ann.post(d, "the first needle")
	ready := func(text string) {
		t.Helper()
		h.await("/readyz with "+text, func() bool {
			status, list := h.readyz()
			if status != http.StatusOK {
				t.Fatalf("the index made the node unready: %s", list)
			}
			return strings.Contains(list, text)
		})
	}
	ready("[+]search unavailable")
	bob.call("GET", "messages/search/?q=needle", nil).want(http.StatusServiceUnavailable).says("Search is temporarily unavailable. Try again later.")
	srv.Set(func() { srv.Before = nil })
	ready("does not accept the key")
	if err := os.WriteFile(key, []byte("the key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ready("[+]search ok")
	bob.finds("needle", "the first needle")

	srv.Set(func() { srv.Before = away })
	ann.post(d, "a second needle")
	bob.post(d, "a third needle, and wine")
	h.restart()
	ann.post(d, "the last needle")
	ready("[+]search unavailable")
	srv.Set(func() { srv.Before = nil })
	ready("[+]search ok")
	bob.finds("needle", "the last needle", "a third needle, and wine", "a second needle", "the first needle")
	bob.finds("needle wine", "a third needle, and wine")
	bob.finds("neeedle NOT wine", "the last needle", "a second needle", "the first needle")

	// Somebody removed the index from the server: everything is fed again.
	srv.Set(func() { clear(srv.Indexes) })
	ann.post(d, "hay") // the consumer hears of it
	h.await("an index again", func() bool {
		return bob.call("GET", "messages/search/?q=hay", nil).status == http.StatusOK
	})
	bob.finds("needle", "the last needle", "a third needle, and wine", "a second needle", "the first needle")
}
