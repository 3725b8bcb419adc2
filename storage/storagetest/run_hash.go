package storagetest

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zumodra/hub/storage"
)

// testHashState compares the hash of an engine with that of a memory engine which got the same rows in another order,
// and changes one thing after the other: each must change the hash, and taking it back must bring the hash back.
func testHashState(t *testing.T, e storage.Engine) {
	rng := rand.New(rand.NewPCG(11, 0))
	type cell struct {
		table                 *storage.Table
		partition, clustering storage.Key
		columns               []storage.Value
	}
	random := func(n int) storage.Value {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = byte(rng.IntN(3)) // with zeros, and prefixes of one another
		}
		return storage.Value{Set: true, B: b}
	}
	maybe := func(v storage.Value) storage.Value {
		if rng.IntN(3) == 0 {
			return none
		}
		return v
	}
	word := func() storage.Value { return txt(strings.Repeat("ab", rng.IntN(3))) }
	var cells []cell
	seen := make(map[string]bool)
	for len(cells) < 120 {
		c := cell{table: wide, partition: storage.Key{word(), num(rng.Int64N(3) - 1)},
			clustering: storage.Key{word(), num(rng.Int64N(3) - 1), random(3)},
			columns:    row(maybe(word()), maybe(random(5)), maybe(num(rng.Int64N(3)-1)), maybe(num(rng.Int64N(2))), maybe(num(rng.Int64N(9))))}
		switch rng.IntN(3) {
		case 0:
			c = cell{table: single, partition: storage.Key{random(6)}, columns: row(num(rng.Int64N(3)), maybe(word()))}
		case 1:
			c = cell{table: bare, partition: storage.Key{num(rng.Int64N(2))}, clustering: storage.Key{txt(fmt.Sprint(rng.IntN(50)))}, columns: row()}
		}
		if name := c.table.Name + show(c.partition) + show(c.clustering); !seen[name] {
			seen[name] = true
			cells = append(cells, c)
		}
	}
	store := func(e storage.Engine, c cell) {
		t.Helper()
		if err := e.Apply(t.Context(), storage.Batch{Table: c.table, Partition: c.partition,
			Mutations: []storage.Mutation{{Clustering: c.clustering, Delete: true}, {Clustering: c.clustering, Columns: c.columns, Whole: true}}}); err != nil {
			t.Fatal(err)
		}
	}
	tables := []*storage.Table{wide, single, bare}
	hash := func(e storage.Engine) storage.State {
		t.Helper()
		s, err := storage.HashState(t.Context(), e, tables, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	empty := hash(e)
	other := Memory()
	if empty.Rows != 0 || len(empty.Tables) != 0 || hash(other).Hash != empty.Hash {
		t.Fatal("an empty engine:", empty)
	}
	for _, c := range cells {
		store(e, c)
	}
	for _, i := range rng.Perm(len(cells)) {
		store(other, cells[i])
	}
	whole := hash(e)
	if d := whole.Diff(hash(other)); len(d) > 0 || whole.Rows != uint64(len(cells)) {
		t.Fatal(whole.Rows, d)
	}
	hashes := map[storage.Hash]string{whole.Hash: "the whole"}
	differs := func(what string) {
		t.Helper()
		s := hash(e)
		if was, ok := hashes[s.Hash]; ok || len(s.Diff(whole)) == 0 {
			t.Fatalf("%s has the hash of %s, difference %q", what, was, s.Diff(whole))
		}
		hashes[s.Hash] = what
	}
	for i, c := range cells {
		if i%6 > 0 {
			continue
		}
		where := fmt.Sprintf("%s %s %s", c.table.Name, show(c.partition), show(c.clustering))
		if err := e.Apply(t.Context(), storage.Batch{Table: c.table, Partition: c.partition, Mutations: []storage.Mutation{{Clustering: c.clustering, Delete: true}}}); err != nil {
			t.Fatal(err)
		}
		differs("without " + where)
		for j := range c.columns {
			changed := c
			changed.columns = slices.Clone(c.columns)
			v := &changed.columns[j]
			switch kind := c.table.Columns[j].Kind; {
			case v.Set && rng.IntN(2) == 0 && len(c.columns) > 2:
				*v = none
			case kind == storage.Text:
				*v = txt(string(v.B) + "c")
			case kind == storage.Blob:
				*v = storage.Value{Set: true, B: append(bytes.Clone(v.B), 0)}
			case kind == storage.Bool && !v.Set:
				*v = num(rng.Int64N(2))
			case kind == storage.Bool:
				*v = num(1 - v.I)
			default:
				*v = num(cmp.Or(v.I, 77) * 5)
			}
			store(e, changed)
			differs(fmt.Sprintf("column %d of %s", j, where))
		}
		store(e, c)
		if d := hash(e).Diff(whole); len(d) > 0 {
			t.Fatalf("%s taken back: %q", where, d)
		}
	}
}
