package meili_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/meili"
	"github.com/zumodra/hub/storage/search/meili/meilitest"
	"github.com/zumodra/hub/storage/search/searchtest"
)

func open(t *testing.T, cfg meili.Config) *meili.Index {
	t.Helper()
	x, err := meili.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// TestConformance runs against the server of HUB_MEILI_URL (with the key HUB_MEILI_KEY), and otherwise against the fake.
func TestConformance(t *testing.T) {
	url, key := os.Getenv("HUB_MEILI_URL"), os.Getenv("HUB_MEILI_KEY")
	if url == "" {
		searchtest.Run(t, func(t *testing.T) search.Index { return open(t, meili.Config{URL: meilitest.New(t).URL}) })
		return
	}
	searchtest.Run(t, func(t *testing.T) search.Index {
		cfg := meili.Config{URL: url, Prefix: "hub-test-" + rand.Text()}
		if key != "" {
			cfg.KeyFile = filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(cfg.KeyFile, []byte(key), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			for _, uid := range []string{cfg.Prefix + "_messages_v1_1", cfg.Prefix + "_messages_v1_1_new"} {
				q, err := http.NewRequestWithContext(ctx, http.MethodDelete, url+"/indexes/"+uid, nil)
				if err != nil {
					t.Fatal(err)
				}
				q.Header.Set("Authorization", "Bearer "+key)
				if resp, err := http.DefaultClient.Do(q); err == nil {
					_ = resp.Body.Close()
				}
			}
		})
		return open(t, cfg)
	})
}
