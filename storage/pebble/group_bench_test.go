package pebble_test

import (
	"fmt"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

// BenchmarkAppendGroup is the price of one message's event when so many conversations have one each, per event.
func BenchmarkAppendGroup(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, err := pebble.Open(pebble.Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			s := storage.New(e, storage.Config{})
			group := make([]chat.Append, n)
			for i := range group {
				key := storagetest.Key("t")
				group[i] = chat.Append{Key: key, Events: storagetest.Messages(key, 1, 1, 1)}
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += n {
				for j := range group {
					group[j].Events[0].Seq++
				}
				if err := s.AppendGroup(b.Context(), group); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
