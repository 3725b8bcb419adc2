package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// guarded is the table of the suite that has fences.
var guarded = &storage.Table{ID: 904, Name: "test_guarded", Fenced: true,
	Partition:  []storage.Column{{Name: "p", Kind: storage.Text}, {Name: "q", Kind: storage.Int}},
	Clustering: []storage.Column{{Name: "k", Kind: storage.Int}},
	Columns:    []storage.Column{{Name: "i", Kind: storage.Int}, {Name: "t", Kind: storage.Text}}}

// testFences holds for engines that are a storage.FencedApplier.
func testFences(t *testing.T, e storage.Engine) {
	f, ok := e.(storage.FencedApplier)
	if !ok {
		t.Skip("the engine has no fences")
	}
	fresh := func() storage.Key { return storage.Key{txt(rand.Text()), num(1)} } // what wipes a keyspace may leave fences
	set := func(k, i int64) storage.Mutation {
		return storage.Mutation{Clustering: storage.Key{num(k)}, Columns: row(num(i), txt("t")), Whole: true}
	}
	apply := func(p storage.Key, epoch uint64, m ...storage.Mutation) error {
		return f.ApplyFenced(t.Context(), storage.Batch{Table: guarded, Partition: p, Mutations: m}, epoch)
	}
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, storage.ErrFenced) || errors.Is(err, storage.ErrUnknownOutcome) {
			t.Fatalf("%v, want %v", err, storage.ErrFenced)
		}
	}
	count := func(p storage.Key) (n int) {
		t.Helper()
		must(t, e.Scan(t.Context(), storage.Range{Table: guarded, Partition: p}, func(storage.Row) bool { n++; return true }))
		return n
	}

	p := fresh()
	must(t, apply(p, 3, set(1, 1), set(2, 1)))
	must(t, apply(p, 3, set(1, 2)))
	must(t, apply(p, 3, set(1, 2))) // again
	refused(apply(p, 2, set(2, 9), set(3, 9)))
	refused(apply(p, 2))
	must(t, apply(p, 5)) // nothing but the fence
	must(t, apply(p, 5))
	refused(apply(p, 3, set(2, 9)))
	refused(apply(p, 4, storage.Mutation{Clustering: storage.Key{num(1)}, Delete: true}))
	wantColumns(t, e, guarded, p, storage.Key{num(1)}, row(num(2), txt("t")))
	wantColumns(t, e, guarded, p, storage.Key{num(2)}, row(num(1), txt("t")))
	wantColumns(t, e, guarded, p, storage.Key{num(3)}, nil)
	must(t, apply(p, 6, storage.Mutation{Clustering: storage.Key{num(1)}, Delete: true}, set(3, 3)))
	wantColumns(t, e, guarded, p, storage.Key{num(1)}, nil)
	must(t, apply(p, 6, set(1, 4))) // a row that was deleted before
	wantColumns(t, e, guarded, p, storage.Key{num(1)}, row(num(4), txt("t")))
	refused(apply(p, 5, set(1, 1)))

	// A partition with a fence and no rows has no rows, and its fence stays.
	empty := fresh()
	must(t, apply(empty, 9))
	if n := count(empty); n != 0 {
		t.Errorf("%d rows", n)
	}
	must(t, apply(empty, 9, set(1, 1)))
	must(t, apply(empty, 9, storage.Mutation{Clustering: storage.Key{num(1)}, Delete: true}))
	refused(apply(empty, 8, set(1, 1)))
	if n := count(empty); n != 0 {
		t.Errorf("%d rows", n)
	}
	must(t, e.ScanTable(t.Context(), guarded, func(k storage.Key, r storage.Row) bool {
		if !k[0].Set || len(r.Clustering) != 1 || !r.Clustering[0].Set || string(k[0].B) == string(empty[0].B) {
			t.Errorf("row %v of %v", show(r.Clustering), show(k))
		}
		return true
	}))
	must(t, apply(fresh(), 1<<62, set(1, 1)))

	// What is no fenced write is refused, and nothing of it is there.
	for name, err := range map[string]error{
		"no epoch":      apply(p, 0, set(7, 7)),
		"no fences":     f.ApplyFenced(t.Context(), storage.Batch{Table: wide, Partition: storage.Key{txt("p"), num(1)}}, 3),
		"partition":     apply(p, 9, storage.Mutation{Delete: true}),
		"key":           apply(p[:1], 9, set(7, 7)),
		"another table": f.ApplyFenced(t.Context(), storage.Batch{Table: single, Partition: storage.Key{txt("p")}}, 3),
	} {
		if err == nil || errors.Is(err, storage.ErrUnknownOutcome) || errors.Is(err, storage.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := count(p); n != 3 {
		t.Errorf("%d rows", n)
	}

	// Owners that do not know of one another: after the fence of one was set, nothing of an earlier one appears.
	race := fresh()
	const owners = 4
	var wg sync.WaitGroup
	var highest atomic.Uint64
	for o := uint64(1); o <= owners; o++ {
		wg.Go(func() {
			for n := int64(0); n < 25; n++ {
				before := highest.Load()
				err := apply(race, o, set(n, int64(o)))
				switch {
				case err == nil && before > o:
					t.Errorf("owner %d has written after owner %d", o, before)
				case errors.Is(err, storage.ErrFenced):
					return
				case err == nil:
					for {
						h := highest.Load()
						if h >= o || highest.CompareAndSwap(h, o) {
							break
						}
					}
				case !errors.Is(err, storage.ErrUnknownOutcome) && !errors.Is(err, storage.ErrUnreachable):
					t.Error(err) // contention is allowed to be felt, once
				}
			}
		})
	}
	wg.Wait()
	must(t, apply(race, owners+1))
	refused(apply(race, owners, set(1, 1)))
	must(t, e.Close())
	if err := apply(p, 9, set(1, 1)); !errors.Is(err, storage.ErrClosed) {
		t.Fatal(err)
	}
}

// fencedStore is a store with strict fencing, or the test is skipped.
func fencedStore(t *testing.T, e storage.Engine) *storage.Store {
	f, ok := e.(storage.FencedApplier)
	if !ok {
		t.Skip("the engine has no fences")
	}
	return storage.New(e, storage.Config{Fences: f})
}

// storeFences: what one owner writes after the next one has fenced it off is refused, wherever it is.
func storeFences(t *testing.T, _ *storage.Store, e storage.Engine) {
	s := fencedStore(t, e)
	ctx := t.Context()
	const size = 1 << storage.BucketBits
	old, next := s.Under(4), s.Under(7)
	refused := func(err error) {
		t.Helper()
		if !errors.Is(err, storage.ErrFenced) || !errors.Is(err, chat.ErrFenced) || errors.Is(err, chat.ErrUnknown) {
			t.Fatal(err)
		}
	}
	fence := func(s *storage.Store, key chat.ConversationKey, seq uint64) {
		t.Helper()
		last, err := s.Fence(ctx, key, seq)
		must(t, err)
		if want := seq | (size - 1); last != want {
			t.Fatalf("the part of %d ends at %d, want %d", seq, last, want)
		}
	}
	if s.Groups() || s.GroupLimits() != (chat.GroupLimits{}) {
		t.Error("groups")
	}

	key := Key("t")
	fence(old, key, 1)
	must(t, old.AppendEvents(ctx, key, Messages(key, 1, 3, 4)))
	must(t, old.SaveDerived(ctx, key, chat.Derived{Head: head(key, 3, 1), Members: []chat.Member{member("a", 1)}}))
	fence(next, key, 4)
	refused(old.AppendEvents(ctx, key, Messages(key, 4, 4, 4)))
	edited := Messages(key, 2, 2, 4)
	edited[0].Content, edited[0].EditedAt = "late", edited[0].At
	refused(old.SaveDerived(ctx, key, chat.Derived{Head: head(key, 3, 1), Rewritten: edited}))
	_, err := old.Fence(ctx, key, 4)
	refused(err)
	refused(old.DeleteConversation(ctx, key, nil))
	equal(t, readAll(t, s, key, 1, math.MaxUint64, 0), Messages(key, 1, 3, 4))
	must(t, next.AppendEvents(ctx, key, Messages(key, 4, 5, 7)))
	edited[0].Content = "in time"
	h := head(key, 5, 1)
	h.Epoch = 7
	must(t, next.SaveDerived(ctx, key, chat.Derived{Head: h, Rewritten: edited}))
	got, err := s.GetEvent(ctx, key, 2)
	must(t, err)
	equal(t, got, edited[0])
	refused(old.SaveDerived(ctx, key, chat.Derived{Head: head(key, 5, 1)})) // the head tells, too

	// Over a bucket's end: a part that the next owner has not fenced yet is reached through one that it has.
	key = Key("t")
	must(t, old.AppendEvents(ctx, key, Messages(key, 1, size-2, 4)))
	must(t, old.AppendEvents(ctx, key, Messages(key, size-1, size+3, 4)))
	fence(next, key, 1)
	fence(next, key, size)
	refused(old.AppendEvents(ctx, key, Messages(key, size+4, size+4, 4)))
	must(t, next.AppendEvents(ctx, key, Messages(key, size+4, size+4, 7)))
	fence(next, key, 2*size)
	equal(t, len(readAll(t, s, key, 1, math.MaxUint64, 0)), size+4)

	// Deleted and begun again, as a direct conversation may be: the owner before does not reach the new one either.
	must(t, next.SaveDerived(ctx, key, chat.Derived{Head: head(key, size+4, 1), Members: []chat.Member{member("a", 1)}}))
	must(t, next.DeleteConversation(ctx, key, nil))
	equal(t, len(readAll(t, s, key, 1, math.MaxUint64, 0)), 0)
	refused(old.AppendEvents(ctx, key, Messages(key, 1, 1, 4)))
	must(t, next.AppendEvents(ctx, key, Messages(key, 1, 2, 7)))
	equal(t, readAll(t, s, key, 1, math.MaxUint64, 0), Messages(key, 1, 2, 7))

	// Without an epoch nothing is written.
	if err := s.AppendEvents(ctx, key, Messages(key, 3, 3, 9)); !errors.Is(err, chat.ErrInvalid) {
		t.Fatal(err)
	}
	if same := storage.New(e, storage.Config{}); same.Under(9) != same {
		t.Error("lease fencing: another store")
	}
}

// storeFencing: the fencing of a keyspace is what was set last, and changes only while nobody is there.
func storeFencing(t *testing.T, _ *storage.Store, e storage.Engine) {
	fencedStore(t, e)
	ctx := t.Context()
	want := func(mode storage.Fencing) storage.FencingState {
		t.Helper()
		s, err := storage.ReadFencing(ctx, e)
		must(t, err)
		if s.Mode != mode || s.Changing {
			t.Fatalf("%+v, want %s", s, mode)
		}
		return s
	}
	idle := func(context.Context) error { return nil }
	want(storage.FencingLease)
	must(t, storage.ChangeFencing(ctx, e, storage.FencingLease, idle))
	want(storage.FencingLease)
	busy := errors.New("busy")
	seen := func(context.Context) error {
		if s, err := storage.ReadFencing(ctx, e); err != nil || !s.Changing {
			t.Errorf("%+v, %v: a node could start", s, err)
		}
		return busy
	}
	for _, mode := range []storage.Fencing{storage.FencingStrict, storage.FencingLease} {
		was := want(map[storage.Fencing]storage.Fencing{storage.FencingStrict: storage.FencingLease, storage.FencingLease: storage.FencingStrict}[mode])
		if err := storage.ChangeFencing(ctx, e, mode, seen); !errors.Is(err, busy) {
			t.Fatal(err)
		}
		want(was.Mode)
		must(t, storage.ChangeFencing(ctx, e, mode, idle))
		if now := want(mode); now.Clock < was.Clock || now.Clock == 0 {
			t.Errorf("the clock went from %d to %d", was.Clock, now.Clock)
		}
		must(t, storage.ChangeFencing(ctx, e, mode, seen)) // nothing to do
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = storage.ChangeFencing(ctx, e, storage.FencingStrict, idle) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	want(storage.FencingStrict)
}

// storeStrict runs a test of the store with strict fencing.
func storeStrict(run func(*testing.T, *storage.Store, storage.Engine)) func(*testing.T, *storage.Store, storage.Engine) {
	return func(t *testing.T, _ *storage.Store, e storage.Engine) { run(t, fencedStore(t, e).Under(1000), e) }
}
