package storagetest

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// testGroups holds for engines that are a storage.GroupApplier.
func testGroups(t *testing.T, e storage.Engine) {
	g, ok := e.(storage.GroupApplier)
	if !ok {
		t.Skip("the engine has no groups")
	}
	part := func(i int) storage.Key { return storage.Key{txt("p"), num(int64(i))} }
	whole := func(i int) storage.Mutation {
		return storage.Mutation{Clustering: storage.Key{txt("k"), num(int64(i)), txt("")}, Columns: row(txt("v"), none, num(int64(i))), Whole: true}
	}
	count := func(i int) (n int) {
		must(t, e.Scan(t.Context(), storage.Range{Table: wide, Partition: part(i)}, func(storage.Row) bool { n++; return true }))
		return n
	}
	if l := g.GroupLimits(); l.Parallel < 1 || l.MaxParallel < l.Parallel || l.Conversations < 2 || l.Bytes < 1 {
		t.Errorf("%+v", l)
	}
	must(t, g.ApplyGroup(t.Context(), nil))
	must(t, g.ApplyGroup(t.Context(), []storage.Batch{
		{Table: wide, Partition: part(1), Mutations: []storage.Mutation{whole(1), whole(2)}},
		{Table: wide, Partition: part(2), Mutations: []storage.Mutation{whole(1)}},
		{Table: single, Partition: storage.Key{txt("s")}, Mutations: []storage.Mutation{{Columns: row(num(5), txt("x"))}}},
	}))
	if count(1) != 2 || count(2) != 1 {
		t.Fatal(count(1), count(2))
	}
	r, err := e.Get(t.Context(), single, storage.Key{txt("s")}, nil)
	must(t, err)
	equal(t, r.Columns, row(num(5), txt("x")))
	// More than a request may hold, in number and in bytes, with deletions and rows that expire among them.
	var many []storage.Batch
	text := storage.Value{Set: true, B: make([]byte, 700)}
	for i := range 60 {
		m := whole(1)
		m.Columns = row(text, none, num(int64(i)))
		many = append(many, storage.Batch{Table: wide, Partition: part(100 + i), Mutations: []storage.Mutation{whole(0), m}})
		if i%3 == 0 {
			many[i].Mutations = append(many[i].Mutations, storage.Mutation{Clustering: whole(0).Clustering, Delete: true})
		}
	}
	must(t, g.ApplyGroup(t.Context(), many))
	must(t, g.ApplyGroup(t.Context(), many[20:40])) // a retry
	for i := range many {
		if want := 2 - (3-i%3)/3; count(100+i) != want {
			t.Errorf("partition %d has %d rows, want %d", i, count(100+i), want)
		}
	}
	// What cannot be written keeps the others out, too.
	for name, bad := range map[string]storage.Batch{
		"partial": {Table: wide, Partition: part(4), Mutations: []storage.Mutation{{Clustering: whole(1).Clustering, Columns: row(txt("v"))}}},
		"key":     {Table: wide, Partition: part(4)[:1], Mutations: []storage.Mutation{whole(1)}},
	} {
		err := g.ApplyGroup(t.Context(), []storage.Batch{{Table: wide, Partition: part(3), Mutations: []storage.Mutation{whole(1)}}, bad})
		if err == nil || errors.Is(err, storage.ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
		if count(3) != 0 || count(4) != 0 {
			t.Errorf("%s: written all the same", name)
		}
	}
	// Groups over the same partitions in any order, among writers that read what they change: none waits for ever, and
	// no change gets lost.
	var wg sync.WaitGroup
	const writers, turns, partitions = 4, 50, 40
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range turns {
				var batches []storage.Batch
				for _, i := range rng.Perm(partitions)[:20] {
					batches = append(batches, storage.Batch{Table: wide, Partition: part(10 + i), Mutations: []storage.Mutation{whole(w)}})
				}
				if err := g.ApplyGroup(t.Context(), batches); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			key := storage.Key{txt("n"), num(int64(w)), txt("")}
			for n := range turns {
				p := part(10 + rng.IntN(partitions))
				if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: p,
					Mutations: []storage.Mutation{{Clustering: key, Columns: row(none, none, num(int64(n)))}}}); err != nil {
					t.Error(err)
				}
				if _, _, err := e.CompareAndSet(t.Context(), wide, part(9), key, nil, row(none, none, num(1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, e.Close())
	if err := g.ApplyGroup(t.Context(), []storage.Batch{{Table: wide, Partition: part(1), Mutations: []storage.Mutation{whole(1)}}}); !errors.Is(err, storage.ErrClosed) {
		t.Fatal(err)
	}
}

func storeGroups(t *testing.T, s *storage.Store, _ storage.Engine) {
	if s.GroupLimits() == (chat.GroupLimits{}) {
		if s.Groups() {
			t.Error("groups, but none is worth while")
		}
		if err := s.AppendGroup(t.Context(), []chat.Append{{Key: Key("t")}}); !errors.Is(err, chat.ErrInvalid) {
			t.Fatal(err)
		}
		t.Skip("the engine has no groups")
	}
	const size = 1 << storage.BucketBits
	var group []chat.Append
	for i := range 30 {
		key := Key("t")
		must(t, s.AppendEvents(t.Context(), key, Messages(key, 1, 3, 1)))
		last := uint64(4 + i%3)
		if i == 7 { // over a bucket's end
			must(t, s.AppendEvents(t.Context(), key, Messages(key, 4, size-2, 1)))
			group = append(group, chat.Append{Key: key, Events: Messages(key, size-1, size+9, 1)})
			continue
		}
		group = append(group, chat.Append{Key: key, Events: Messages(key, 4, last, 1)})
	}
	must(t, s.AppendGroup(t.Context(), group))
	must(t, s.AppendGroup(t.Context(), group[3:5])) // a retry
	for _, a := range group {
		last := a.Events[len(a.Events)-1].Seq
		equal(t, readAll(t, s, a.Key, 1, math.MaxUint64, 0), Messages(a.Key, 1, last, 1))
	}
	// One that cannot be written keeps the others out.
	fine, bad := Key("t"), Key("t")
	err := s.AppendGroup(t.Context(), []chat.Append{{Key: fine, Events: Messages(fine, 1, 1, 1)}, {Key: bad, Events: []chat.Event{Message(bad, 1, 1), Message(bad, 3, 1)}}})
	if !errors.Is(err, chat.ErrInvalid) || errors.Is(err, chat.ErrUnknown) {
		t.Fatal(err)
	}
	equal(t, len(readAll(t, s, fine, 1, 10, 0)), 0)
}
