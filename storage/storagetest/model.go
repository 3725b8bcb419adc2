package storagetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zumodra/hub/storage"
)

// testModel does random operations on the engine and on Memory and compares every answer.
func (s *suite) testModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var clock Clock
		engine, model := s.open(t, clock.Now), MemoryAt(clock.Now)
		defer engine.Close()
		m := &modelTest{t: rt, ctx: t.Context(), engine: engine, model: model}
		actions := map[string]func(*rapid.T){"apply": m.apply, "get": m.get, "scan": m.scan, "cas": m.cas, "table": m.table}
		if !s.realTime {
			actions["time"] = func(rt *rapid.T) {
				clock.Advance(time.Duration(rapid.IntRange(0, 50).Draw(rt, "minutes")) * time.Minute)
			}
		}
		rt.Repeat(actions)
	})
}

type modelTest struct {
	t             *rapid.T
	ctx           context.Context
	engine, model storage.Engine
}

var (
	modelTexts = rapid.SampledFrom([]string{"", "a", "a\x00", "a\x00b", "a\xff", "b", "\x00", "\xff", "\xff\xff"})
	modelInts  = rapid.SampledFrom([]int64{-1 << 63, -1, 0, 1, 255, 256, 1<<63 - 1})
)

func drawValue(t *rapid.T, c storage.Column) storage.Value {
	switch c.Kind {
	case storage.Text, storage.Blob:
		return txt(modelTexts.Draw(t, c.Name))
	case storage.Bool:
		return num(rapid.Int64Range(0, 1).Draw(t, c.Name))
	}
	return num(modelInts.Draw(t, c.Name))
}

func drawKey(t *rapid.T, cols []storage.Column) storage.Key {
	k := make(storage.Key, len(cols))
	for i := range cols {
		k[i] = drawValue(t, cols[i])
	}
	return k
}

func drawTable(t *rapid.T) *storage.Table { return rapid.SampledFrom(Tables()).Draw(t, "table") }

// drawColumns draws some columns, all of them for tables with a TTL.
func drawColumns(t *rapid.T, tb *storage.Table) []storage.Value {
	v := make([]storage.Value, len(tb.Columns))
	for i := range v {
		if tb.TTL > 0 || rapid.Bool().Draw(t, "set") {
			v[i] = drawValue(t, tb.Columns[i])
		}
	}
	return v
}

func (m *modelTest) apply(t *rapid.T) {
	tb := drawTable(t)
	b := storage.Batch{Table: tb, Partition: drawKey(t, tb.Partition), Durability: storage.Durability(rapid.IntRange(0, 1).Draw(t, "durability"))}
	for range rapid.IntRange(1, 4).Draw(t, "mutations") {
		var mu storage.Mutation
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			mu.Delete = true // the partition
		case 1:
			mu.Delete, mu.Clustering = true, drawKey(t, tb.Clustering)
		default:
			mu.Clustering, mu.Columns = drawKey(t, tb.Clustering), drawColumns(t, tb)
			if tb.TTL > 0 && rapid.Bool().Draw(t, "ttl") {
				mu.TTL = time.Duration(rapid.IntRange(1, 200).Draw(t, "minutes")) * time.Minute
			}
		}
		b.Mutations = append(b.Mutations, mu)
	}
	same(t, "apply", fmt.Sprint(m.engine.Apply(m.ctx, b)), fmt.Sprint(m.model.Apply(m.ctx, b)))
}

func same(t *rapid.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func result(r storage.Row, err error) string {
	if errors.Is(err, storage.ErrNoRow) {
		return "none"
	}
	return fmt.Sprint(r.Columns != nil, show(r.Clustering), show(r.Columns), err)
}

func (m *modelTest) get(t *rapid.T) {
	tb := drawTable(t)
	p, k := drawKey(t, tb.Partition), drawKey(t, tb.Clustering)
	same(t, "get", result(m.engine.Get(m.ctx, tb, p, k)), result(m.model.Get(m.ctx, tb, p, k)))
}

func (m *modelTest) cas(t *rapid.T) {
	tb := drawTable(t)
	p, k, set := drawKey(t, tb.Partition), drawKey(t, tb.Clustering), drawColumns(t, tb)
	var expect []storage.Value
	if r, err := m.model.Get(m.ctx, tb, p, k); err == nil && rapid.Bool().Draw(t, "match") {
		expect = r.Columns
	} else if rapid.Bool().Draw(t, "expect") {
		expect = drawColumns(t, tb)
	}
	one := func(e storage.Engine) string {
		applied, found, err := e.CompareAndSet(m.ctx, tb, p, k, expect, set)
		return fmt.Sprint(applied, result(found, err))
	}
	same(t, "compare and set", one(m.engine), one(m.model))
}

func (m *modelTest) scan(t *rapid.T) {
	tb := drawTable(t)
	r := storage.Range{Table: tb, Partition: drawKey(t, tb.Partition), ToInclusive: rapid.Bool().Draw(t, "inclusive"),
		Reverse: rapid.Bool().Draw(t, "reverse"), Limit: rapid.IntRange(0, 3).Draw(t, "limit")}
	if n := rapid.IntRange(0, len(tb.Clustering)).Draw(t, "from"); n > 0 {
		r.From = drawKey(t, tb.Clustering[:n])
	}
	if n := rapid.IntRange(0, len(tb.Clustering)).Draw(t, "to"); n > 0 {
		r.To = drawKey(t, tb.Clustering[:n])
	}
	one := func(e storage.Engine) string {
		s := ""
		err := e.Scan(m.ctx, r, func(r storage.Row) bool { s += show(r.Clustering) + show(r.Columns) + "\n"; return true })
		return s + fmt.Sprint(err)
	}
	same(t, "scan", one(m.engine), one(m.model))
}

func (m *modelTest) table(t *rapid.T) {
	tb := drawTable(t)
	one := func(e storage.Engine) (map[string]bool, error) {
		rows := map[string]bool{}
		return rows, e.ScanTable(m.ctx, tb, func(p storage.Key, r storage.Row) bool {
			rows[show(p)+show(r.Clustering)+show(r.Columns)] = true
			return true
		})
	}
	got, gotErr := one(m.engine)
	want, wantErr := one(m.model)
	same(t, "table", fmt.Sprint(got, gotErr), fmt.Sprint(want, wantErr))
}
