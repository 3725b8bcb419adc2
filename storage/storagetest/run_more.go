package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
)

func testRanges(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("p"), num(0)}
	var all []storage.Key // in the order of the table: a ascending, b descending, c ascending
	for _, a := range []string{"", "a", "a\x00", "ab", "b"} {
		for _, b := range []int64{1 << 40, 1, 0, -1, -1 << 40} {
			for _, c := range []string{"", "\x00", "\xff"} {
				all = append(all, storage.Key{txt(a), num(b), txt(c)})
			}
		}
	}
	for _, i := range []int{2, 0, 1} { // not in order
		var b storage.Batch
		for j := i; j < len(all); j += 3 {
			b.Mutations = append(b.Mutations, storage.Mutation{Clustering: all[j], Columns: row(none, none, num(int64(j)))})
		}
		b.Table, b.Partition = wide, p
		if err := e.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	bounds := []storage.Key{nil, {txt("")}, {txt("a")}, {txt("a\x00")}, {txt("aa")}, {txt("z")}, {txt("a"), num(1)},
		{txt("a"), num(5)}, {txt("ab"), num(-1 << 62)}, {txt("b"), num(0), txt("\x00")}, {txt("b"), num(0), txt("\x00\x00")},
		{txt("b"), num(-1 << 40), txt("\xff")}}
	for _, from := range bounds {
		for _, to := range bounds {
			for variant := range 4 {
				r := storage.Range{Table: wide, Partition: p, From: from, To: to, ToInclusive: variant&1 == 1, Reverse: variant&2 == 2}
				for _, r.Limit = range []int{0, 1, 7} {
					r.Hint = r.Limit * 2
					var want []int64
					for j, k := range all {
						if from != nil && compareKeys(wide.Clustering, k, from) < 0 {
							continue
						}
						if c := compareKeys(wide.Clustering, k, to); to != nil && (c > 0 || c == 0 && !r.ToInclusive) {
							continue
						}
						want = append(want, int64(j))
					}
					if r.Reverse {
						slices.Reverse(want)
					}
					if r.Limit > 0 && len(want) > r.Limit {
						want = want[:r.Limit]
					}
					var got []int64
					if err := e.Scan(t.Context(), r, func(r storage.Row) bool {
						got = append(got, r.Columns[2].I)
						return true
					}); err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got, want) {
						t.Fatalf("from %s to %s inclusive %v reverse %v limit %d:\n got %v\nwant %v", show(from), show(to), r.ToInclusive, r.Reverse, r.Limit, got, want)
					}
				}
			}
		}
	}
	n := 0
	if err := e.Scan(t.Context(), storage.Range{Table: wide, Partition: p}, func(storage.Row) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Fatal("yield returned false after 3:", n, err)
	}
	for _, k := range []string{"", "a", "a\x00", "b"} {
		put(t, e, bare, storage.Key{num(1)}, storage.Key{txt(k)}, nil)
	}
	want := []string{show(storage.Key{txt("b")}) + "[]", show(storage.Key{txt("a\x00")}) + "[]", show(storage.Key{txt("a")}) + "[]"}
	if got := scan(t, e, storage.Range{Table: bare, Partition: storage.Key{num(1)}, To: storage.Key{txt("a")}, ToInclusive: true}); !slices.Equal(got, want) {
		t.Fatalf("descending text: %v, want %v", got, want)
	}
}

func testCAS(t *testing.T, e storage.Engine) {
	ctx, p := t.Context(), storage.Key{txt("k")}
	cas := func(expect, set []storage.Value, want bool, found []storage.Value) {
		t.Helper()
		applied, r, err := e.CompareAndSet(ctx, single, p, nil, expect, set)
		if err != nil || applied != want {
			t.Fatal(applied, err)
		}
		if !applied && show(r.Columns) != show(found) {
			t.Fatalf("found %s, want %s", show(r.Columns), show(found))
		}
	}
	cas(row(num(1)), row(num(2)), false, nil)
	cas(nil, row(num(1)), true, nil)
	cas(nil, row(num(2)), false, row(num(1), none))
	cas(row(num(1), txt("")), row(num(2)), false, row(num(1), none)) // an empty text is not an absent one
	cas(row(num(1)), row(none, txt("x")), true, nil)                 // upsert: the number stays
	cas(row(num(1)), row(num(2)), false, row(num(1), txt("x")))
	cas(row(num(1), txt("x")), row(num(2), txt("y")), true, nil)
	wantColumns(t, e, single, p, nil, row(num(2), txt("y")))
	if err := e.Apply(ctx, storage.Batch{Table: single, Partition: p, Mutations: []storage.Mutation{{Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	cas(row(num(2), txt("y")), row(num(3)), false, nil)
	cas(nil, row(num(3)), true, nil)
	wantColumns(t, e, single, p, nil, row(num(3), none))
}

func testCASRace(t *testing.T, e storage.Engine) {
	const workers, rounds = 8, 12
	p := storage.Key{txt("race")}
	var wins [rounds]atomic.Int32
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for r := range int64(rounds) {
				var expect []storage.Value
				if r > 0 {
					expect = row(num(r-1), none)
				}
				for { // wait for the row to reach the round, then race
					got, err := e.Get(t.Context(), single, p, nil)
					if err != nil && !errors.Is(err, storage.ErrNoRow) {
						t.Error(err)
						return
					}
					if r == 0 || err == nil && got.Columns[0].I >= r-1 {
						break
					}
				}
				applied, found, err := e.CompareAndSet(t.Context(), single, p, nil, expect, row(num(r)))
				if err != nil {
					t.Errorf("worker %d: %v", w, err)
					return
				}
				if applied {
					wins[r].Add(1)
				} else if found.Columns == nil || found.Columns[0].I < r {
					t.Errorf("lost round %d to %s", r, show(found.Columns))
				}
			}
		})
	}
	wg.Wait()
	for r := range wins {
		if n := wins[r].Load(); n != 1 {
			t.Errorf("round %d has %d winners", r, n)
		}
	}
}

func testLarge(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("large"), num(0)}
	for i, n := range []int{1 << 10, 70_000, 1_400_000} {
		v := storage.Value{Set: true, B: bytes.Repeat([]byte{0, 0xff, byte(i)}, n/3)}
		k := storage.Key{txt("k"), num(int64(i)), txt("")}
		put(t, e, wide, p, k, row(none, v))
		r, err := e.Get(t.Context(), wide, p, k)
		if err != nil || !bytes.Equal(r.Columns[1].B, v.B) {
			t.Fatal(n, len(r.Columns[1].B), err)
		}
	}
	var b storage.Batch
	b.Table, b.Partition = wide, storage.Key{txt("many"), num(0)}
	for i := range int64(2000) {
		b.Mutations = append(b.Mutations, storage.Mutation{Clustering: storage.Key{txt("k"), num(i), txt("")},
			Columns: row(txt(fmt.Sprintf("%0200d", i))), Whole: true})
	}
	if err := e.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, e, storage.Range{Table: wide, Partition: b.Partition}); len(got) != 2000 {
		t.Fatal(len(got))
	}
}

func testBadKeys(t *testing.T, e storage.Engine) {
	good := storage.Key{txt("p"), num(0)}
	for name, err := range map[string]error{
		"short partition": e.Apply(t.Context(), storage.Batch{Table: wide, Partition: good[:1], Mutations: []storage.Mutation{{Delete: true}}}),
		"unset partition": e.Apply(t.Context(), storage.Batch{Table: wide, Partition: storage.Key{txt("p"), none}, Mutations: []storage.Mutation{{Delete: true}}}),
		"too many columns": e.Apply(t.Context(), storage.Batch{Table: single, Partition: storage.Key{txt("p")},
			Mutations: []storage.Mutation{{Columns: row(num(1), txt(""), num(2))}}}),
		"scan": e.Scan(t.Context(), storage.Range{Table: wide, Partition: good[:1]}, func(storage.Row) bool { return true }),
		"get":  second(e.Get(t.Context(), wide, good, storage.Key{txt("a")})),
	} {
		if err == nil || errors.Is(err, storage.ErrNoRow) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func testContexts(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("p")}
	w := storage.Key{txt("p"), num(0)}
	var b storage.Batch
	b.Table, b.Partition = wide, w
	for i := range int64(3000) {
		b.Mutations = append(b.Mutations, storage.Mutation{Clustering: storage.Key{txt("k"), num(i), txt("")}})
	}
	if err := e.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	if err := e.Scan(ctx, storage.Range{Table: wide, Partition: w}, func(storage.Row) bool {
		if n++; n == 10 {
			cancel()
		}
		return true
	}); !errors.Is(err, context.Canceled) || n == 3000 {
		t.Errorf("a scan whose context ended at row 10 passed %d rows and answered %v", n, err)
	}
	_, _, cas := e.CompareAndSet(ctx, single, p, nil, nil, row(num(1)))
	for name, err := range map[string]error{
		"apply": e.Apply(ctx, storage.Batch{Table: single, Partition: p, Mutations: []storage.Mutation{{Columns: row(num(1))}}}),
		"get":   second(e.Get(ctx, single, p, nil)), "many": second(e.GetMany(ctx, single, nil)), "cas": cas,
		"table": e.ScanTable(ctx, single, func(storage.Key, storage.Row) bool { return true }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with an ended context: %v", name, err)
		}
	}
	wantColumns(t, e, single, p, nil, nil)
}

// testConcurrentColumns has writers of different columns of the same rows, partly and wholly: no column's last value
// may be lost.
func testConcurrentColumns(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("p"), num(0)}
	const rounds = 50
	var wg sync.WaitGroup
	for c := range 3 {
		wg.Go(func() {
			for i := range int64(rounds) {
				for k := range int64(2) {
					columns := make([]storage.Value, 5)
					columns[2+c%3] = num(i % 2)
					if c == 1 {
						columns[3] = num(1)
					}
					if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: p, Durability: storage.Relaxed,
						Mutations: []storage.Mutation{{Clustering: storage.Key{txt("k"), num(k), txt("")}, Columns: columns}}}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for k := range int64(2) {
		wantColumns(t, e, wide, p, storage.Key{txt("k"), num(k), txt("")}, row(none, none, num((rounds-1)%2), num(1), num((rounds-1)%2)))
	}
}

func testNested(t *testing.T, e storage.Engine) {
	for i := range int64(20) {
		put(t, e, single, storage.Key{txt(fmt.Sprint(i))}, nil, row(num(i)))
	}
	n := 0
	if err := e.ScanTable(t.Context(), single, func(p storage.Key, r storage.Row) bool {
		n++
		got, err := e.Get(t.Context(), single, p, nil)
		if err != nil || got.Columns[0].I != r.Columns[0].I {
			t.Error(got, err)
		}
		put(t, e, wide, storage.Key{txt("x"), num(0)}, storage.Key{txt(string(p[0].B)), num(0), txt("")}, nil)
		return true
	}); err != nil || n != 20 {
		t.Fatal(n, err)
	}
	if got := scan(t, e, storage.Range{Table: wide, Partition: storage.Key{txt("x"), num(0)}}); len(got) != 20 {
		t.Fatal(len(got))
	}
}

// testOwned checks that the engine keeps nothing of what it was given and shares nothing of what it returned.
func testOwned(t *testing.T, e storage.Engine) {
	name, value := []byte("key"), []byte("value")
	p := storage.Key{{Set: true, B: name}}
	put(t, e, single, p, nil, row(num(1), storage.Value{Set: true, B: value}))
	copy(name, "xxx")
	copy(value, "xxxxx")
	p = storage.Key{txt("key")}
	for range 2 {
		r, err := e.Get(t.Context(), single, p, nil)
		if err != nil || string(r.Columns[1].B) != "value" {
			t.Fatal(r, err)
		}
		copy(r.Columns[1].B, "yyyyy")
		rows, err := e.GetMany(t.Context(), single, []storage.FullKey{{Partition: p}})
		if err != nil || string(rows[0].Columns[1].B) != "value" {
			t.Fatal(rows, err)
		}
		copy(rows[0].Columns[1].B, "yyyyy")
	}
}

func testClose(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("k")}
	put(t, e, single, p, nil, row(num(1)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				err := e.Apply(t.Context(), storage.Batch{Table: single, Partition: p, Mutations: []storage.Mutation{{Columns: row(num(2))}}})
				if err == nil {
					_, err = e.Get(t.Context(), single, p, nil)
				}
				if err != nil {
					if !errors.Is(err, storage.ErrClosed) {
						t.Errorf("while closing: %v", err)
					}
					return
				}
			}
		})
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	_, _, cas := e.CompareAndSet(t.Context(), single, p, nil, nil, row(num(1)))
	for name, err := range map[string]error{
		"apply": e.Apply(t.Context(), storage.Batch{Table: single, Partition: p, Mutations: []storage.Mutation{{Columns: row(num(1))}}}),
		"get":   second(e.Get(t.Context(), single, p, nil)), "many": second(e.GetMany(t.Context(), single, nil)), "cas": cas,
		"scan":   e.Scan(t.Context(), storage.Range{Table: single, Partition: p}, func(storage.Row) bool { return true }),
		"table":  e.ScanTable(t.Context(), single, func(storage.Key, storage.Row) bool { return true }),
		"health": e.Health(t.Context()), "close": e.Close(),
	} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

// Clock is a clock that tests move. The zero value is at an arbitrary moment. It is safe for concurrent use.
type Clock struct{ offset atomic.Int64 }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(c.offset.Load()))
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

func (s *suite) testTTL(t *testing.T) {
	if s.realTime {
		s.testRealTTL(t)
		return
	}
	var clock Clock
	e := s.open(t, clock.Now)
	p := storage.Key{txt("p")}
	write := func(k int64, ttl time.Duration) {
		t.Helper()
		if err := e.Apply(t.Context(), storage.Batch{Table: mortal, Partition: p, Mutations: []storage.Mutation{
			{Clustering: storage.Key{num(k)}, Columns: row(num(k)), TTL: ttl}}}); err != nil {
			t.Fatal(err)
		}
	}
	live := func(want ...int64) {
		t.Helper()
		var got, table []int64
		if err := e.Scan(t.Context(), storage.Range{Table: mortal, Partition: p, Limit: len(want) + 1}, func(r storage.Row) bool {
			got = append(got, r.Clustering[0].I)
			return true
		}); err != nil || !slices.Equal(got, want) {
			t.Fatalf("live rows %v, want %v (%v)", got, want, err)
		}
		if err := e.ScanTable(t.Context(), mortal, func(_ storage.Key, r storage.Row) bool { table = append(table, r.Clustering[0].I); return true }); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(table); !slices.Equal(table, want) {
			t.Fatalf("live rows of the table %v, want %v", table, want)
		}
		for k := range int64(4) {
			var columns []storage.Value
			if slices.Contains(want, k) {
				columns = row(num(k))
			}
			wantColumns(t, e, mortal, p, storage.Key{num(k)}, columns)
			rows, err := e.GetMany(t.Context(), mortal, []storage.FullKey{{Partition: p, Clustering: storage.Key{num(k)}}})
			if err != nil || (rows[0].Columns != nil) != (columns != nil) {
				t.Fatal(rows, err)
			}
		}
	}
	write(0, 0)
	write(1, 10*time.Minute)
	write(2, 2*time.Hour)
	live(0, 1, 2)
	clock.Advance(10 * time.Minute)
	live(0, 2)
	clock.Advance(40 * time.Minute)
	write(0, 0) // lives on
	clock.Advance(20 * time.Minute)
	live(0, 2)
	applied, found, err := e.CompareAndSet(t.Context(), mortal, p, storage.Key{num(1)}, nil, row(num(1)))
	if err != nil || !applied {
		t.Fatal("an expired row counts as absent", applied, found, err)
	}
	live(0, 1, 2)
	clock.Advance(3 * time.Hour)
	live()
	put(t, e, single, p, nil, row(num(1)))
	clock.Advance(1000 * time.Hour)
	wantColumns(t, e, single, p, nil, row(num(1), none))
}

func (s *suite) testRealTTL(t *testing.T) {
	e := s.open(t, time.Now)
	p, k := storage.Key{txt("p")}, storage.Key{num(1)}
	if err := e.Apply(t.Context(), storage.Batch{Table: mortal, Partition: p, Mutations: []storage.Mutation{{Clustering: k, Columns: row(num(1)), TTL: time.Second}}}); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		_, err := e.Get(t.Context(), mortal, p, k)
		if errors.Is(err, storage.ErrNoRow) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatal("the row outlived its second by far", err)
		}
	}
}
