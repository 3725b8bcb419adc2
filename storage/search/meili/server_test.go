package meili_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
	"github.com/zumodra/hub/storage/search/meili"
	"github.com/zumodra/hub/storage/search/meili/meilitest"
	"github.com/zumodra/hub/storage/search/searchtest"
)

const liveUID = "hub_messages_v1_1"

// TestSettingsDrift: what somebody changed in the server is put back, and said.
func TestSettingsDrift(t *testing.T) {
	f := meilitest.New(t)
	l := talk(1, "needle")
	must(t, open(t, meili.Config{URL: f.URL}).Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	good := f.Indexes[liveUID].Settings
	for name, change := range map[string]func(*meilitest.Settings){
		"searchableAttributes": func(s *meilitest.Settings) { s.SearchableAttributes = []string{"*"} },
		"filterableAttributes": func(s *meilitest.Settings) { s.FilterableAttributes = []string{"at"} },
		"sortableAttributes":   func(s *meilitest.Settings) { s.SortableAttributes = nil },
		"rankingRules":         func(s *meilitest.Settings) { s.RankingRules = []string{"words", "sort"} },
		"proximityPrecision":   func(s *meilitest.Settings) { s.ProximityPrecision = "byWord" },
		"prefixSearch":         func(s *meilitest.Settings) { s.PrefixSearch = "indexingTime" },
		"pagination":           func(s *meilitest.Settings) { s.Pagination.MaxTotalHits = 5 },
		"typoTolerance":        func(s *meilitest.Settings) { s.TypoTolerance.Enabled = false },
		"localizedAttributes":  func(s *meilitest.Settings) { s.LocalizedAttributes = nil },
	} {
		t.Run(name, func(t *testing.T) {
			f.Set(func() { s := good; change(&s); f.Indexes[liveUID].Settings = s })
			log := &buffer{}
			x := open(t, meili.Config{URL: f.URL, Logger: slog.New(slog.NewTextHandler(log, nil))})
			wantSeqs(t, find(t, x, "needle", l), 2)
			if !strings.Contains(log.String(), "settings="+"["+name+"]") {
				t.Fatalf("the log:\n%s", log)
			}
			f.Set(func() {
				if got := fmt.Sprintf("%+v", f.Indexes[liveUID].Settings); got != fmt.Sprintf("%+v", good) {
					t.Errorf("settings %s", got)
				}
			})
		})
	}
	f.Set(func() { f.Log = nil })
	must(t, open(t, meili.Config{URL: f.URL}).Health(t.Context()))
	f.Set(func() {
		if slices.ContainsFunc(f.Log, func(s string) bool { return !strings.HasPrefix(s, "GET ") && !strings.HasSuffix(s, "/documents/fetch") }) {
			t.Errorf("an index that is in order was written to: %v", f.Log)
		}
	})
}

// TestIndexRemoved: an index that somebody removed is made anew, whole, under another generation.
func TestIndexRemoved(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL})
	l := talk(1, "needle")
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	before, err := x.Generation(t.Context())
	must(t, err)
	f.Set(func() { delete(f.Indexes, liveUID) })
	unavailable(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}), "not there")
	f.Set(func() { delete(f.Indexes, liveUID) })
	after, err := x.Generation(t.Context())
	must(t, err)
	if after == before || after == "" {
		t.Fatalf("generation %q, then %q", before, after)
	}
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	wantSeqs(t, find(t, x, "needle", l), 2)
}

func TestOtherPeoplesIndexes(t *testing.T) {
	f := meilitest.New(t)
	f.Indexes = map[string]*meilitest.Index{}
	f.Indexes[liveUID] = &meilitest.Index{PrimaryKey: "sku", Settings: meilitest.DefaultSettings()}
	unavailable(t, open(t, meili.Config{URL: f.URL}).Health(t.Context()), `primary key is "sku"`)
	must(t, open(t, meili.Config{URL: f.URL, Prefix: "other"}).Health(t.Context()))
	f.Version = "1.17.1"
	unavailable(t, open(t, meili.Config{URL: f.URL}).Health(t.Context()), "1.17.1", "1.18 or newer")
}

// TestTwoNodes: nodes that start at once make one index; a rebuild of one ends that of the other.
func TestTwoNodes(t *testing.T) {
	f := meilitest.New(t)
	var nodes []*meili.Index
	for range 4 {
		nodes = append(nodes, open(t, meili.Config{URL: f.URL}))
	}
	var wg sync.WaitGroup
	for _, x := range nodes {
		wg.Go(func() {
			if err := x.Health(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	generations := map[string]bool{}
	for _, x := range nodes {
		g, err := x.Generation(t.Context())
		must(t, err)
		generations[g] = true
	}
	if len(generations) != 1 {
		t.Fatalf("generations %v", generations)
	}
	l := talk(1, "needle")
	must(t, nodes[0].Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	wantSeqs(t, find(t, nodes[1], "needle", l), 2)
	first, err := nodes[0].Rebuild(t.Context())
	must(t, err)
	second, err := nodes[1].Rebuild(t.Context())
	must(t, err)
	must(t, second.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	if err := first.Commit(t.Context()); !errors.Is(err, search.ErrClosed) {
		t.Fatalf("the ended rebuild: %v", err)
	}
	must(t, second.Commit(t.Context()))
	wantSeqs(t, find(t, nodes[0], "needle", l), 2)
	f.Set(func() {
		if len(f.Indexes) != 1 {
			t.Errorf("%d indexes are left", len(f.Indexes))
		}
	})
}

// TestPayloadsAreBounded by documents and bytes, and few are outstanding.
func TestPayloadsAreBounded(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL, MaxDocuments: 10, MaxBytes: 3000, Outstanding: 2})
	must(t, x.Health(t.Context()))
	most := 0
	f.Set(func() {
		f.Before = func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/documents") && r.ContentLength > 6000 {
				t.Errorf("a payload of %d bytes", r.ContentLength)
			}
			f.Set(func() {
				waiting := 0
				for _, k := range f.Tasks {
					if k.Status == "enqueued" {
						waiting++
					}
				}
				most = max(most, waiting)
			})
			return false
		}
		f.Polls = 3
	})
	logs := make([]*searchtest.Log, 8)
	var wg sync.WaitGroup
	for i := range logs {
		l := searchtest.NewLog(searchtest.Key("t", i), searchtest.At(0))
		for n := range 60 {
			l.Say("alice", searchtest.At(n), fmt.Sprint("needle ", n, strings.Repeat(" hay", n%30)))
		}
		logs[i] = l
		wg.Go(func() {
			if err := x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most > 2 {
		t.Fatalf("%d tasks were outstanding", most)
	}
	for _, l := range logs {
		if n := len(find(t, x, "needle", l)); n != 50 {
			t.Fatalf("%d hits", n)
		}
	}
	cursors, err := x.Cursors(t.Context(), []chat.ConversationKey{logs[0].Key, logs[7].Key})
	must(t, err)
	if !slices.Equal(cursors, []uint64{61, 61}) {
		t.Fatalf("cursors %v", cursors)
	}
}

// TestThousandsOfConversations are asked about in chunks whose answers are merged.
func TestThousandsOfConversations(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL})
	var logs []*searchtest.Log
	var changes []chat.IndexChange
	for i := range 9000 {
		l := searchtest.NewLog(searchtest.Key("t", i), searchtest.At(0))
		if i%1000 == 0 {
			l.Say("alice", searchtest.At(i), "needle")
			changes = append(changes, l.Since(0))
		}
		logs = append(logs, l)
	}
	must(t, x.Apply(t.Context(), changes))
	hits := find(t, x, "needle", logs...)
	if len(hits) != 9 {
		t.Fatalf("%d hits", len(hits))
	}
	for i, h := range hits {
		if want := logs[(8-i)*1000].Hit(2); h != want {
			t.Fatalf("hit %d is %v, want %v", i, h, want)
		}
	}
	if hits := find(t, x, "needle OR pin OR nail", logs[:5000]...); len(hits) != 5 {
		t.Fatalf("%d hits", len(hits))
	}
}

// TestHiddenByNewer: what only the matcher can tell apart is looked for further back, within bounds.
func TestHiddenByNewer(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL})
	l := searchtest.NewLog(searchtest.Key("t", 1), searchtest.At(0))
	l.Say("alice", searchtest.At(1), "red wine")
	for range 700 {
		l.Say("alice", searchtest.At(2), "wine, red") // the same words, all at one time
	}
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	wantSeqs(t, find(t, x, `"red wine"`, l), 2)
	n := uint64(len(l.Events))
	for i := range 2500 {
		l.Say("alice", searchtest.At(3+i), "wine, red")
	}
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(n)}))
	wantSeqs(t, find(t, x, `"red wine"`, l)) // beyond the bound: it ends, without it
	wantSeqs(t, find(t, x, `"wine red" -"red wine"`, l)[:1], 3202)
}

// TestOrderAcrossAlternatives: an alternative whose newest candidates do not match is gone on with before older hits of
// another one are taken for the newest.
func TestOrderAcrossAlternatives(t *testing.T) {
	f := meilitest.New(t)
	x := open(t, meili.Config{URL: f.URL})
	l := searchtest.NewLog(searchtest.Key("t", 1), searchtest.At(0))
	for i := range 100 {
		l.Say("alice", searchtest.At(1+i), "beer")
	}
	hidden := l.Say("alice", searchtest.At(200), "red wine")
	for i := range 150 {
		l.Say("alice", searchtest.At(300+i), "wine, red")
	}
	must(t, x.Apply(t.Context(), []chat.IndexChange{l.Since(0)}))
	hits := find(t, x, `"red wine" OR beer`, l)
	if len(hits) != 50 || hits[0].Seq != hidden || hits[1].Seq != hidden-1 {
		t.Fatalf("found %v", seqs(hits))
	}
}
