package fts_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/fts"
	"github.com/zumodra/hub/storage/search/searchtest"
)

func open(t *testing.T, cfg fts.Config) *fts.Index {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ix, err := fts.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ix.Close() })
	return ix
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t)
	searchtest.Run(t, func(t *testing.T) search.Index { return open(t, fts.Config{Dir: t.TempDir()}) })
}

// TestLargeScopes runs what asks in several conversations with the plans that large scopes have.
func TestLargeScopes(t *testing.T) {
	defer fts.NameNoConversations()()
	searchtest.Run(t, func(t *testing.T) search.Index { return open(t, fts.Config{Dir: t.TempDir()}) },
		searchtest.Only("Req077_OnlyWhatIsNamed", "Req078_Conversation", "Req083_Filters", "Req079_NewestFirst", "Gone", "Req086_Oracle"))
}
