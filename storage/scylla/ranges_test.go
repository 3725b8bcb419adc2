package scylla

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/storage"
)

// FuzzSlices: the slices of a range hold its rows and no others, each once, in the order of the table.
func FuzzSlices(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkSlices)) }

func TestSlices(t *testing.T) { rapid.Check(t, checkSlices) }

func checkSlices(t *rapid.T) {
	cols := make([]storage.Column, 3)
	for i := range cols {
		cols[i] = storage.Column{Name: string(rune('a' + i)), Kind: storage.Int, Desc: rapid.Bool().Draw(t, "desc")}
	}
	bound := func(name string) storage.Key {
		var k storage.Key
		for range rapid.IntRange(0, 3).Draw(t, name) {
			k = append(k, storage.Value{Set: true, I: rapid.Int64Range(0, 3).Draw(t, "v")})
		}
		return k
	}
	from, to, inclusive := bound("from"), bound("to"), rapid.Bool().Draw(t, "inclusive")
	order := func(a, b storage.Key) int {
		for i := range min(len(a), len(b)) {
			if c := compare(cols[i], a[i], b[i]); c != 0 {
				return c
			}
		}
		return 0
	}
	parts := slicesOf(cols, from, to, inclusive)
	last := -1
	var before storage.Key
	// All rows in the order of the table.
	at := func(c storage.Column, i int64) storage.Value {
		if c.Desc {
			i = 3 - i
		}
		return storage.Value{Set: true, I: i}
	}
	for n := range int64(64) {
		row := storage.Key{at(cols[0], n>>4), at(cols[1], n>>2&3), at(cols[2], n&3)}
		want := len(from) == 0 || order(row, from) >= 0
		if len(to) > 0 {
			c := order(row, to)
			want = want && (c < 0 || c == 0 && inclusive)
		}
		found := -1
		for i, p := range parts {
			if holds(cols, &p, row) {
				if found >= 0 {
					t.Fatalf("row %v is in slices %d and %d", row, found, i)
				}
				found = i
			}
		}
		if (found >= 0) != want {
			t.Fatalf("row %v: in slice %d, want %v", row, found, want)
		}
		if found >= 0 {
			if found < last {
				t.Fatalf("row %v of slice %d comes after %v of slice %d", row, found, before, last)
			}
			last, before = found, row
		}
	}
}

func holds(cols []storage.Column, p *slice, row storage.Key) bool {
	for i := range p.eq {
		if row[i].I != p.eq[i].I {
			return false
		}
	}
	n := len(p.eq)
	if p.lo != nil {
		if c := compare(cols[n], row[n], p.lo.v); c < 0 || c == 0 && !p.lo.inclusive {
			return false
		}
	}
	if p.hi != nil {
		if c := compare(cols[n], row[n], p.hi.v); c > 0 || c == 0 && !p.hi.inclusive {
			return false
		}
	}
	return true
}

func TestTransactionsOnTablets(t *testing.T) {
	for version, want := range map[string]bool{"2025.4.0": true, "2025.3.9": false, "2026.1": true, "2024.2.1": false, "6.2.3": false, "": false,
		"2025.4.0~rc1": true, "nonsense": false} {
		if got := transactionsOnTablets(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestKeyspaceOptions(t *testing.T) {
	m := &migration{cfg: &Config{Keyspace: "k"}, dc: "dc1", nodes: 5, scylla: true}
	for replication, want := range map[string]string{
		"":  `CREATE KEYSPACE IF NOT EXISTS "k" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3} AND tablets = {'enabled': false}`,
		"2": `CREATE KEYSPACE IF NOT EXISTS "k" WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 2} AND tablets = {'enabled': false}`,
		"{'class': 'SimpleStrategy', 'replication_factor': 1}": `CREATE KEYSPACE IF NOT EXISTS "k" WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} AND tablets = {'enabled': false}`,
	} {
		m.cfg.Replication = replication
		if got := m.createKeyspace(); got != want {
			t.Errorf("%s", got)
		}
	}
}

func TestClockNeverRepeats(t *testing.T) {
	e := &Engine{}
	e.clock.now = func() (z time.Time) { return }
	last := int64(0)
	for i := range 100 {
		if i == 50 {
			e.RaiseClock(1 << 50)
		}
		first := e.clock.take(i%3 + 1)
		if first <= last {
			t.Fatalf("%d after %d", first, last)
		}
		last = first + int64(i%3)
	}
	if last <= 1<<50 {
		t.Error("the clock was not raised")
	}
}
