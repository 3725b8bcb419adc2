package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/storage"
)

// Open opens an empty engine for one test, which closes it at the test's end if the test did not. Expiry goes by now;
// an engine whose server keeps the time ignores it and says so with RealTime.
type Open func(t *testing.T, now func() time.Time) storage.Engine

// Option of Run.
type Option func(*suite)

// RealTime tells that the engine's clock is the real one: rows are made to live for a second and waited for.
func RealTime() Option { return func(s *suite) { s.realTime = true } }

type suite struct {
	open     Open
	realTime bool
}

// The tables of the suite. Engines that need them declared in advance take them from Tables.
var (
	wide = &storage.Table{ID: 900, Name: "test_wide",
		Partition:  []storage.Column{{Name: "p", Kind: storage.Text}, {Name: "q", Kind: storage.Int}},
		Clustering: []storage.Column{{Name: "a", Kind: storage.Text}, {Name: "b", Kind: storage.Int, Desc: true}, {Name: "c", Kind: storage.Blob}},
		Columns: []storage.Column{{Name: "t", Kind: storage.Text}, {Name: "x", Kind: storage.Blob}, {Name: "i", Kind: storage.Int},
			{Name: "o", Kind: storage.Bool}, {Name: "w", Kind: storage.Time}}}
	single = &storage.Table{ID: 901, Name: "test_single",
		Partition: []storage.Column{{Name: "p", Kind: storage.Blob}},
		Columns:   []storage.Column{{Name: "i", Kind: storage.Int}, {Name: "t", Kind: storage.Text}}}
	mortal = &storage.Table{ID: 902, Name: "test_mortal", TTL: time.Hour,
		Partition:  []storage.Column{{Name: "p", Kind: storage.Text}},
		Clustering: []storage.Column{{Name: "k", Kind: storage.Int}},
		Columns:    []storage.Column{{Name: "i", Kind: storage.Int}}}
	bare = &storage.Table{ID: 903, Name: "test_bare",
		Partition:  []storage.Column{{Name: "p", Kind: storage.Bool}},
		Clustering: []storage.Column{{Name: "k", Kind: storage.Text, Desc: true}}}
)

// Tables returns the tables that Run uses.
func Tables() []*storage.Table { return []*storage.Table{wide, single, mortal, bare, guarded} }

func txt(s string) storage.Value             { return storage.Value{Set: true, B: []byte(s)} }
func num(i int64) storage.Value              { return storage.Value{Set: true, I: i} }
func row(v ...storage.Value) []storage.Value { return v }

var none storage.Value

// Run runs the conformance suite.
func Run(t *testing.T, open Open, options ...Option) {
	s := &suite{open: open}
	for _, o := range options {
		o(s)
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, storage.Engine)
	}{
		{"Upsert", testUpsert},
		{"BareRows", testBare},
		{"GetMany", testGetMany},
		{"Ranges", testRanges},
		{"PrefixSharingPartitions", testPartitions},
		{"BatchAtomic", testBatchAtomic},
		{"BatchOrder", testBatchOrder},
		{"Groups", testGroups},
		{"Fences", testFences},
		{"Deletes", testDeletes},
		{"CompareAndSet", testCAS},
		{"CompareAndSetRace", testCASRace},
		{"ScanTable", testScanTable},
		{"HashState", testHashState},
		{"LargeValues", testLarge},
		{"BadKeys", testBadKeys},
		{"Contexts", testContexts},
		{"ConcurrentColumns", testConcurrentColumns},
		{"YieldCallsEngine", testNested},
		{"OwnedMemory", testOwned},
		{"Close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t, time.Now)) })
	}
	t.Run("TTL", s.testTTL)
	t.Run("Model", s.testModel)
}

func put(t *testing.T, e storage.Engine, tb *storage.Table, partition, clustering storage.Key, columns []storage.Value) {
	t.Helper()
	if err := e.Apply(t.Context(), storage.Batch{Table: tb, Partition: partition, Mutations: []storage.Mutation{{Clustering: clustering, Columns: columns}}}); err != nil {
		t.Fatal(err)
	}
}

func wantColumns(t *testing.T, e storage.Engine, tb *storage.Table, partition, clustering storage.Key, want []storage.Value) {
	t.Helper()
	r, err := e.Get(t.Context(), tb, partition, clustering)
	if want == nil {
		if !errors.Is(err, storage.ErrNoRow) {
			t.Fatalf("got row %v, error %v; want no row", show(r.Columns), err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if show(r.Columns) != show(want) || show(r.Clustering) != show(clustering) {
		t.Fatalf("row %s = %s, want %s = %s", show(r.Clustering), show(r.Columns), show(clustering), show(want))
	}
}

// show tells absent from empty and nothing else apart.
func show(v []storage.Value) string {
	s := "["
	for _, v := range v {
		if !v.Set {
			s += "-,"
		} else {
			s += fmt.Sprintf("%d/%q,", v.I, v.B)
		}
	}
	return s + "]"
}

func scan(t *testing.T, e storage.Engine, r storage.Range) []string {
	t.Helper()
	got := []string{}
	if err := e.Scan(t.Context(), r, func(r storage.Row) bool {
		got = append(got, show(r.Clustering)+show(r.Columns))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func testUpsert(t *testing.T, e storage.Engine) {
	p, k := storage.Key{txt("p"), num(-7)}, storage.Key{txt("a"), num(0), txt("")}
	wantColumns(t, e, wide, p, k, nil)
	put(t, e, wide, p, k, row(txt("one"), none, num(-1), none, none))
	wantColumns(t, e, wide, p, k, row(txt("one"), none, num(-1), none, none))
	put(t, e, wide, p, k, row(none, txt("\x00\xff"), none, num(1)))
	wantColumns(t, e, wide, p, k, row(txt("one"), txt("\x00\xff"), num(-1), num(1), none))
	put(t, e, wide, p, k, row(txt(""), none, num(0), num(0), num(-5)))
	wantColumns(t, e, wide, p, k, row(txt(""), txt("\x00\xff"), num(0), num(0), num(-5)))
	all := row(txt("x"), txt("y"), num(1<<63-1), num(1), num(-1<<63))
	put(t, e, wide, p, k, all)
	wantColumns(t, e, wide, p, k, all)
	put(t, e, wide, p, k, nil)
	wantColumns(t, e, wide, p, k, all)
	other := storage.Key{txt("a"), num(0), txt("\x00")}
	if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: p, Durability: storage.Relaxed, Mutations: []storage.Mutation{
		{Clustering: other, Columns: row(txt("whole")), Whole: true}}}); err != nil {
		t.Fatal(err)
	}
	wantColumns(t, e, wide, p, other, row(txt("whole"), none, none, none, none))
	if err := e.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func testBare(t *testing.T, e storage.Engine) {
	p := storage.Key{num(1)}
	put(t, e, bare, p, storage.Key{txt("k")}, nil)
	r, err := e.Get(t.Context(), bare, p, storage.Key{txt("k")})
	if err != nil || r.Columns == nil {
		t.Fatal("a row without columns exists", r, err)
	}
	put(t, e, wide, storage.Key{txt("p"), num(0)}, storage.Key{txt(""), num(0), txt("")}, nil)
	wantColumns(t, e, wide, storage.Key{txt("p"), num(0)}, storage.Key{txt(""), num(0), txt("")}, make([]storage.Value, 5))
	if got := scan(t, e, storage.Range{Table: bare, Partition: storage.Key{num(0)}}); len(got) != 0 {
		t.Fatal(got)
	}
}

func testGetMany(t *testing.T, e storage.Engine) {
	for i := range int64(10) {
		if i%3 != 0 {
			put(t, e, single, storage.Key{txt(fmt.Sprint("k", i))}, nil, row(num(i)))
		}
	}
	var keys []storage.FullKey
	for _, i := range []int64{4, 3, 9, 1, 1, 0, 8} {
		keys = append(keys, storage.FullKey{Partition: storage.Key{txt(fmt.Sprint("k", i))}})
	}
	rows, err := e.GetMany(t.Context(), single, keys)
	if err != nil || len(rows) != len(keys) {
		t.Fatal(len(rows), err)
	}
	for j, i := range []int64{4, -1, -1, 1, 1, -1, 8} {
		if i < 0 && rows[j].Columns != nil || i >= 0 && show(rows[j].Columns) != show(row(num(i), none)) {
			t.Fatalf("row %d: %v", j, show(rows[j].Columns))
		}
	}
	if rows, err := e.GetMany(t.Context(), single, nil); err != nil || len(rows) != 0 {
		t.Fatal(rows, err)
	}
}

func testPartitions(t *testing.T, e storage.Engine) {
	names := []string{"", "a", "a\x00", "a\x00\x01", "a\x00\xff", "a\x01", "aa", "a\xff", "\xff", "\xff\xff", "\x00", "\x00\x01"}
	for i, n := range names {
		for j := range int64(2) {
			put(t, e, wide, storage.Key{txt(n), num(j)}, storage.Key{txt(n), num(int64(i)), txt(n)}, row(none, none, num(int64(i)*10+j)))
		}
	}
	for i, n := range names {
		for j := range int64(2) {
			p := storage.Key{txt(n), num(j)}
			want := show(storage.Key{txt(n), num(int64(i)), txt(n)}) + show(row(none, none, num(int64(i)*10+j), none, none))
			for _, reverse := range []bool{false, true} {
				if got := scan(t, e, storage.Range{Table: wide, Partition: p, Reverse: reverse}); len(got) != 1 || got[0] != want {
					t.Fatalf("partition %q/%d: %v, want %v", n, j, got, want)
				}
			}
			if got := scan(t, e, storage.Range{Table: wide, Partition: p, From: storage.Key{txt(n)}, To: storage.Key{txt(n)}, ToInclusive: true}); len(got) != 1 {
				t.Fatalf("partition %q/%d by prefix: %v", n, j, got)
			}
		}
	}
	// Deleting one leaves the others.
	if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: storage.Key{txt("a"), num(1)}, Mutations: []storage.Mutation{{Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := e.ScanTable(t.Context(), wide, func(storage.Key, storage.Row) bool { n++; return true }); err != nil || n != 2*len(names)-1 {
		t.Fatal(n, err)
	}
}

func testBatchAtomic(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("p"), num(0)}
	const rows, writes = 20, 60
	write := func(ctx context.Context, v int64) error {
		b := storage.Batch{Table: wide, Partition: p, Durability: storage.Durability(v % 2)}
		for i := range int64(rows) {
			b.Mutations = append(b.Mutations, storage.Mutation{Clustering: storage.Key{txt("k"), num(i), txt("")}, Columns: row(none, none, num(v))})
		}
		return e.Apply(ctx, b)
	}
	if err := write(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for v := range int64(writes) {
			if err := write(t.Context(), v); err != nil {
				t.Error(err)
			}
		}
	})
	for !done.Load() {
		// Rows of one batch are read in one scan: engines that do not scan as of one moment may show newer rows late in
		// the scan, never older ones, so values along a scan in the order of writing never fall.
		last := int64(-1)
		n := 0
		if err := e.Scan(t.Context(), storage.Range{Table: wide, Partition: p}, func(r storage.Row) bool {
			if v := r.Columns[2].I; v < last {
				t.Errorf("torn batch: %d after %d", v, last)
			} else {
				last = v
			}
			n++
			return true
		}); err != nil || n != rows {
			t.Fatal(n, err)
		}
	}
	wg.Wait()
	// A batch with a bad mutation does nothing.
	bad := storage.Batch{Table: wide, Partition: p, Mutations: []storage.Mutation{
		{Clustering: storage.Key{txt("new"), num(0), txt("")}, Columns: row(txt("x"))}, {Clustering: storage.Key{txt("short")}, Columns: row(txt("x"))}}}
	if err := e.Apply(t.Context(), bad); err == nil {
		t.Fatal("a mutation with half a clustering key was accepted")
	}
	wantColumns(t, e, wide, p, storage.Key{txt("new"), num(0), txt("")}, nil)
}

func testBatchOrder(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("p"), num(0)}
	k := func(s string) storage.Key { return storage.Key{txt(s), num(0), txt("")} }
	put(t, e, wide, p, k("old"), row(txt("old")))
	put(t, e, wide, p, k("again"), row(txt("old"), txt("old")))
	if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: p, Mutations: []storage.Mutation{
		{Delete: true},
		{Clustering: k("again"), Columns: row(txt("new"))},
		{Clustering: k("twice"), Columns: row(txt("1"), txt("1"))},
		{Clustering: k("twice"), Columns: row(none, txt("2"))},
		{Clustering: k("gone"), Columns: row(txt("1"))},
		{Clustering: k("gone"), Delete: true},
	}}); err != nil {
		t.Fatal(err)
	}
	wantColumns(t, e, wide, p, k("old"), nil)
	wantColumns(t, e, wide, p, k("gone"), nil)
	wantColumns(t, e, wide, p, k("again"), row(txt("new"), none, none, none, none))
	wantColumns(t, e, wide, p, k("twice"), row(txt("1"), txt("2"), none, none, none))
	if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: p}); err != nil {
		t.Fatal("an empty batch:", err)
	}
}

func testDeletes(t *testing.T, e storage.Engine) {
	p := storage.Key{txt("k")}
	put(t, e, single, p, nil, row(num(1), txt("x")))
	del := storage.Batch{Table: single, Partition: p, Mutations: []storage.Mutation{{Delete: true}}}
	for range 2 { // twice: deleting what is not there is fine
		if err := e.Apply(t.Context(), del); err != nil {
			t.Fatal(err)
		}
		wantColumns(t, e, single, p, nil, nil)
	}
	put(t, e, single, p, nil, row(none, txt("y")))
	wantColumns(t, e, single, p, nil, row(none, txt("y"))) // the old column does not come back
	w := storage.Key{txt("p"), num(0)}
	for i := range int64(10) {
		put(t, e, wide, w, storage.Key{txt("a"), num(i), txt("")}, row(txt("v")))
	}
	if err := e.Apply(t.Context(), storage.Batch{Table: wide, Partition: w, Mutations: []storage.Mutation{
		{Clustering: storage.Key{txt("a"), num(3), txt("")}, Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, e, storage.Range{Table: wide, Partition: w}); len(got) != 9 {
		t.Fatal(got)
	}
}

func testScanTable(t *testing.T, e storage.Engine) {
	want := map[string]bool{}
	for i := range int64(300) {
		p, k := storage.Key{txt(fmt.Sprint(i % 7)), num(i % 3)}, storage.Key{txt("a\x00"), num(i), txt("\xff")}
		put(t, e, wide, p, k, row(none, none, num(i)))
		want[show(p)+show(k)+show(row(none, none, num(i), none, none))] = true
		put(t, e, bare, storage.Key{num(0)}, storage.Key{txt(fmt.Sprint(i))}, nil)
	}
	if err := e.ScanTable(t.Context(), wide, func(p storage.Key, r storage.Row) bool {
		k := show(p) + show(r.Clustering) + show(r.Columns)
		if !want[k] {
			t.Errorf("unexpected or second row %s", k)
		}
		delete(want, k)
		return true
	}); err != nil || len(want) != 0 {
		t.Fatal(len(want), err)
	}
	n := 0
	if err := e.ScanTable(t.Context(), bare, func(storage.Key, storage.Row) bool { n++; return n < 5 }); err != nil || n != 5 {
		t.Fatal(n, err)
	}
	if err := e.ScanTable(t.Context(), mortal, func(storage.Key, storage.Row) bool { t.Error("row of an empty table"); return true }); err != nil {
		t.Fatal(err)
	}
}
