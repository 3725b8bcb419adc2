package pebble_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	cockroach "github.com/cockroachdb/pebble/v2"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
	"github.com/zumodra/hub/storage/pebble"
	"github.com/zumodra/hub/storage/storagetest"
)

// BenchmarkAppend measures durable appends of one small message each with so many conversations in flight, against
// pebble's own commit of batches of the same size, in turns on the same disk: see the metric "of-pebble".
func BenchmarkAppend(b *testing.B) {
	for _, inflight := range []int{1, 64, 1000} {
		b.Run(fmt.Sprint(inflight), func(b *testing.B) {
			e := open(b, pebble.Config{Dir: b.TempDir()})
			s := storage.New(e, storage.Config{})
			db, err := cockroach.Open(b.TempDir(), &cockroach.Options{FormatMajorVersion: cockroach.FormatNewest, Logger: quiet{}, MemTableSize: 16 << 20})
			must(b, err)
			defer db.Close()
			keys := make([]chat.ConversationKey, inflight)
			for i := range keys {
				keys[i] = storagetest.Key("default")
			}
			rawKey, rawValue := make([]byte, 2+9+18+8+16), make([]byte, 120) // as long as the rows are
			seq := uint64(0)
			// run spreads n operations over the conversations.
			run := func(n int, op func(i int, round uint64) error) {
				var wg sync.WaitGroup
				var left atomic.Int64
				left.Store(int64(n))
				for i := range inflight {
					wg.Go(func() {
						for round := seq + 1; left.Add(-1) >= 0; round++ {
							if err := op(i, round); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				seq += uint64(n)
			}
			ours := func(i int, round uint64) error {
				return s.AppendEvents(context.Background(), keys[i], []chat.Event{{Seq: round, Epoch: 1, MsgNo: round, Type: chat.EventMessage,
					At: storagetest.At(round), Actor: "1234", ActorName: "alice", ClientID: "0123456789abcdef", Message: chat.MessageID{1},
					MessageSeq: round, Content: "a message of an ordinary length, more or less"}})
			}
			theirs := func(i int, round uint64) error {
				batch := db.NewBatch()
				defer batch.Close()
				k := append([]byte(nil), rawKey...)
				k[20], k[21], k[45], k[44], k[43] = byte(i), byte(i>>8), byte(round), byte(round>>8), byte(round>>16)
				if err := batch.Set(k, rawValue, nil); err != nil {
					return err
				}
				return batch.Commit(cockroach.Sync)
			}
			var mine, raw time.Duration
			b.ResetTimer()
			for n := b.N; n > 0; {
				part := min(n, 200*min(inflight, 50)) // in turns, because disks change their mind
				n -= part
				start := time.Now()
				run(part, ours)
				mine += time.Since(start)
				start = time.Now()
				run(part, theirs)
				raw += time.Since(start)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/mine.Seconds(), "appends/s")
			b.ReportMetric(raw.Seconds()/mine.Seconds(), "of-pebble")
			b.ReportMetric(mine.Seconds()*1e9/float64(b.N), "ns/op")
		})
	}
}

// BenchmarkAppendAllocs counts the allocations of one append without waiting for a disk.
func BenchmarkAppendAllocs(b *testing.B) {
	for _, c := range []struct {
		name   string
		engine storage.Engine
	}{{"nothing", nullEngine{}}, {"pebble", open(b, pebble.Config{Dir: b.TempDir()})}} {
		b.Run(c.name, func(b *testing.B) {
			s := storage.New(c.engine, storage.Config{})
			key, ctx := storagetest.Key("default"), context.Background()
			events := make([]chat.Event, 1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				events[0] = chat.Event{Seq: uint64(i + 1), Epoch: 1, MsgNo: uint64(i + 1), Type: chat.EventMessage, At: storagetest.At(1), Actor: "1234",
					ActorName: "alice", ClientID: "0123456789abcdef", Message: chat.MessageID{1}, MessageSeq: uint64(i + 1), Content: "a message of an ordinary length"}
				if err := s.AppendEvents(ctx, key, events); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type nullEngine struct{ storage.Engine }

func (nullEngine) Apply(context.Context, storage.Batch) error { return nil }

// BenchmarkReadLast50 reads the newest 50 messages of one of 200 conversations of 500.
func BenchmarkReadLast50(b *testing.B) {
	e := open(b, pebble.Config{Dir: b.TempDir()})
	s, ctx := storage.New(e, storage.Config{}), context.Background()
	keys := make([]chat.ConversationKey, 200)
	for i := range keys {
		keys[i] = storagetest.Key("default")
		must(b, s.AppendEvents(ctx, keys[i], storagetest.Messages(keys[i], 1, 500, 1)))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n := 0
		must(b, s.ReadEventsReverse(ctx, keys[i%len(keys)], 500, 50, func(chat.Event) bool { n++; return true }))
		if n != 50 {
			b.Fatal(n)
		}
		i++
	}
}

// BenchmarkUpsert compares a mutation of one column, which reads and merges, with that of a whole row. The argument for
// reading instead of pebble's merge operator is their ratio: it is what one write pays, instead of every read.
func BenchmarkUpsert(b *testing.B) {
	for _, whole := range []bool{false, true} {
		b.Run(fmt.Sprintf("whole=%v", whole), func(b *testing.B) {
			e := open(b, pebble.Config{Dir: b.TempDir()})
			t := storage.TableConversation
			columns := make([]storage.Value, len(t.Columns))
			partition := storage.Key{text("t"), text("0123456789abcdef")}
			columns[len(columns)-1] = number(1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				must(b, e.Apply(context.Background(), storage.Batch{Table: t, Partition: partition, Durability: storage.Relaxed,
					Mutations: []storage.Mutation{{Clustering: storage.Key{text(fmt.Sprint(i % 1000))}, Columns: columns, Whole: whole}}}))
			}
		})
	}
}

// BenchmarkHashState reads and hashes 100,000 messages: what a backup costs beyond copying files.
func BenchmarkHashState(b *testing.B) {
	e := open(b, pebble.Config{Dir: b.TempDir()})
	s, ctx := storage.New(e, storage.Config{}), context.Background()
	for range 20 {
		key := storagetest.Key("default")
		must(b, s.AppendEvents(ctx, key, storagetest.Messages(key, 1, 5000, 1)))
	}
	for b.Loop() {
		state, err := storage.HashState(ctx, e, nil, nil)
		if err != nil || state.Rows != 100_001 {
			b.Fatal(state.Rows, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_001, "ns/row")
}
