package fts_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search/fts"
	"github.com/zumodra/hub/storage/search/searchtest"
)

// BenchmarkReq085_Search asks in a conversation of 100,000 messages for a word that is in one of them, in a hundredth,
// and in all. `go run ./bench search` measures a million messages over many conversations.
func BenchmarkReq085_Search(b *testing.B) {
	const messages = 100_000
	ix, err := fts.Open(fts.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ix.Close() }()
	log := searchtest.NewLog(searchtest.Key("t", 1), searchtest.At(0))
	for i := range messages {
		content := fmt.Sprint("common number", i)
		if i%100 == 0 {
			content += " hundredth"
		}
		log.Say("alice", searchtest.At(i+1), content)
	}
	for events := range slices.Chunk(log.Events, 2000) {
		if err := ix.Apply(b.Context(), []chat.IndexChange{{Key: log.Key, Events: events}}); err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, text string
		hits       int
	}{{"rare", "number4711", 1}, {"hundredth", "hundredth", chat.MaxSearchResults}, {"common", "common", chat.MaxSearchResults}} {
		b.Run(c.name, func(b *testing.B) {
			q := chat.IndexQuery{Tenant: "t", Conversations: []chat.ConversationID{log.Key.ID}}
			q.Text = c.text
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				a, err := ix.Search(b.Context(), q)
				took = append(took, time.Since(began))
				if err != nil || len(a.Hits) < c.hits {
					b.Fatalf("%d hits, %v", len(a.Hits), err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
		})
	}
}

// BenchmarkApply indexes messages of 200 conversations as they come: what the hub hands over at once are the newest of each.
func BenchmarkApply(b *testing.B) {
	const conversations, each = 200, 2
	ix, err := fts.Open(fts.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ix.Close() }()
	logs := make([]*searchtest.Log, conversations)
	for i := range logs {
		logs[i] = searchtest.NewLog(searchtest.Key("t", i), searchtest.At(0))
	}
	at := 0
	for b.Loop() {
		b.StopTimer()
		changes := make([]chat.IndexChange, conversations)
		for i, l := range logs {
			changes[i] = chat.IndexChange{Key: l.Key}
		}
		for range each {
			for i, l := range logs {
				at++
				l.Say("alice", searchtest.At(at), fmt.Sprint("some common words and number", at%5000, " of conversation", i))
			}
		}
		for i, l := range logs {
			changes[i].Events = l.Events[len(l.Events)-each:]
		}
		b.StartTimer()
		if err := ix.Apply(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*conversations*each), "µs/message")
}
