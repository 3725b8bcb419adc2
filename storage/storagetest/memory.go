package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/storage"
)

// Op is an operation of an engine, as hooks see it.
type Op string

const (
	OpGet       Op = "get"
	OpGetMany   Op = "get_many"
	OpApply     Op = "apply"
	OpScan      Op = "scan"
	OpCAS       Op = "compare_and_set"
	OpScanTable Op = "scan_table"
)

// Hooks let a test fail or delay operations of a MemoryEngine. Either may be nil, both may be called concurrently.
type Hooks struct {
	// Before is called before an operation; an error is its answer and nothing happens.
	Before func(ctx context.Context, op Op, t *storage.Table) error
	// After is called after an operation that succeeded; an error is its answer although it happened, as it must be
	// for storage.ErrUnknownOutcome.
	After func(ctx context.Context, op Op, t *storage.Table) error
}

// MemoryEngine is a storage.Engine that keeps everything in memory. Every write counts as durable.
type MemoryEngine struct {
	now    func() time.Time
	hooks  atomic.Pointer[Hooks]
	reads  atomic.Int64
	writes atomic.Int64

	mu     sync.RWMutex
	closed bool
	tables map[uint16]map[string]*memoryPartition
	fences map[string]uint64
}

type memoryPartition struct {
	key  storage.Key
	rows []memoryRow // sorted
}

type memoryRow struct {
	clustering storage.Key
	columns    []storage.Value
	expires    time.Time
}

var _ storage.Engine = (*MemoryEngine)(nil)

// Memory returns an empty engine.
func Memory() *MemoryEngine { return MemoryAt(time.Now) }

// MemoryAt returns an empty engine with a clock.
func MemoryAt(now func() time.Time) *MemoryEngine {
	return &MemoryEngine{now: now, tables: make(map[uint16]map[string]*memoryPartition), fences: make(map[string]uint64)}
}

// SetHooks replaces the hooks.
func (m *MemoryEngine) SetHooks(h Hooks) { m.hooks.Store(&h) }

// Reads is how many reads were made: Get, GetMany, Scan and ScanTable count as one each.
func (m *MemoryEngine) Reads() int64 { return m.reads.Load() }

// Writes is how many batches and compare-and-sets were made.
func (m *MemoryEngine) Writes() int64 { return m.writes.Load() }

// Rows is how many live rows a table has.
func (m *MemoryEngine) Rows(t *storage.Table) int {
	n := 0
	_ = m.ScanTable(context.Background(), t, func(storage.Key, storage.Row) bool { n++; return true })
	return n
}

func (m *MemoryEngine) before(ctx context.Context, op Op, t *storage.Table) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if h := m.hooks.Load(); h != nil && h.Before != nil {
		return h.Before(ctx, op, t)
	}
	return nil
}

func (m *MemoryEngine) after(ctx context.Context, op Op, t *storage.Table) error {
	if h := m.hooks.Load(); h != nil && h.After != nil {
		return h.After(ctx, op, t)
	}
	return nil
}

// partitionName tells partitions apart: every value's length precedes it.
func partitionName(k storage.Key) string {
	var b []byte
	for _, v := range k {
		b = fmt.Appendf(b, "%d:%d:%s|", v.I, len(v.B), v.B)
	}
	return string(b)
}

func checkKey(cols []storage.Column, k storage.Key, whole bool) error {
	if len(k) > len(cols) || whole && len(k) != len(cols) {
		return fmt.Errorf("storagetest: key has %d values for %d columns", len(k), len(cols))
	}
	for i := range k {
		if !k[i].Set {
			return fmt.Errorf("storagetest: key column %s is not set", cols[i].Name)
		}
	}
	return nil
}

// compareKeys compares the first min(len(a), len(b)) values in the order of the table.
func compareKeys(cols []storage.Column, a, b storage.Key) int {
	for i := range min(len(a), len(b)) {
		var c int
		switch cols[i].Kind {
		case storage.Text, storage.Blob:
			c = bytes.Compare(a[i].B, b[i].B)
		case storage.Bool:
			c = cmp.Compare(min(1, uint64(a[i].I)), min(1, uint64(b[i].I)))
		default:
			c = cmp.Compare(a[i].I, b[i].I)
		}
		if cols[i].Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func cloneValues(v []storage.Value) []storage.Value {
	c := make([]storage.Value, len(v))
	for i := range v {
		c[i] = v[i]
		if v[i].B != nil {
			c[i].B = append(make([]byte, 0, len(v[i].B)), v[i].B...)
		}
	}
	return c
}

func (m *MemoryEngine) live(r *memoryRow) bool { return r.expires.IsZero() || r.expires.After(m.now()) }

func (p *memoryPartition) find(t *storage.Table, k storage.Key) (int, bool) {
	return slices.BinarySearchFunc(p.rows, k, func(r memoryRow, k storage.Key) int { return compareKeys(t.Clustering, r.clustering, k) })
}

func (m *MemoryEngine) get(t *storage.Table, partition, clustering storage.Key) (storage.Row, error) {
	if err := checkKey(t.Partition, partition, true); err != nil {
		return storage.Row{}, err
	}
	if err := checkKey(t.Clustering, clustering, true); err != nil {
		return storage.Row{}, err
	}
	if m.closed {
		return storage.Row{}, storage.ErrClosed
	}
	if p := m.tables[t.ID][partitionName(partition)]; p != nil {
		if i, ok := p.find(t, clustering); ok && m.live(&p.rows[i]) {
			return storage.Row{Clustering: cloneValues(p.rows[i].clustering), Columns: cloneValues(p.rows[i].columns)}, nil
		}
	}
	return storage.Row{}, nil
}

// Get implements storage.Engine.
func (m *MemoryEngine) Get(ctx context.Context, t *storage.Table, partition, clustering storage.Key) (storage.Row, error) {
	if err := m.before(ctx, OpGet, t); err != nil {
		return storage.Row{}, err
	}
	m.reads.Add(1)
	m.mu.RLock()
	row, err := m.get(t, partition, clustering)
	m.mu.RUnlock()
	if err == nil && row.Columns == nil {
		err = storage.ErrNoRow
	}
	if err != nil {
		return row, err
	}
	return row, m.after(ctx, OpGet, t)
}

// GetMany implements storage.Engine.
func (m *MemoryEngine) GetMany(ctx context.Context, t *storage.Table, keys []storage.FullKey) ([]storage.Row, error) {
	if err := m.before(ctx, OpGetMany, t); err != nil {
		return nil, err
	}
	m.reads.Add(1)
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return nil, storage.ErrClosed
	}
	rows := make([]storage.Row, len(keys))
	for i, k := range keys {
		var err error
		if rows[i], err = m.get(t, k.Partition, k.Clustering); err != nil {
			return nil, err
		}
	}
	return rows, m.after(ctx, OpGetMany, t)
}

// Apply implements storage.Engine.
func (m *MemoryEngine) Apply(ctx context.Context, b storage.Batch) error {
	if err := m.before(ctx, OpApply, b.Table); err != nil {
		return err
	}
	if err := checkBatch(&b); err != nil {
		return err
	}
	m.writes.Add(1)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return storage.ErrClosed
	}
	for i := range b.Mutations {
		m.mutate(b.Table, b.Partition, &b.Mutations[i])
	}
	m.mu.Unlock()
	return m.after(ctx, OpApply, b.Table)
}

func checkBatch(b *storage.Batch) error {
	if err := checkKey(b.Table.Partition, b.Partition, true); err != nil {
		return err
	}
	for i := range b.Mutations {
		mu := &b.Mutations[i]
		if err := checkKey(b.Table.Clustering, mu.Clustering, !mu.Delete || len(mu.Clustering) > 0); err != nil {
			return err
		}
		if len(mu.Columns) > len(b.Table.Columns) {
			return fmt.Errorf("storagetest: row has %d values for %d columns", len(mu.Columns), len(b.Table.Columns))
		}
	}
	return nil
}

func (m *MemoryEngine) mutate(t *storage.Table, partition storage.Key, mu *storage.Mutation) {
	name := partitionName(partition)
	p := m.tables[t.ID][name]
	if mu.Delete {
		if p == nil {
			return
		}
		if len(mu.Clustering) == 0 {
			p.rows = nil
		} else if i, ok := p.find(t, mu.Clustering); ok {
			p.rows = slices.Delete(p.rows, i, i+1)
		}
		if len(p.rows) == 0 {
			delete(m.tables[t.ID], name)
		}
		return
	}
	if p == nil {
		if m.tables[t.ID] == nil {
			m.tables[t.ID] = make(map[string]*memoryPartition)
		}
		p = &memoryPartition{key: cloneValues(partition)}
		m.tables[t.ID][name] = p
	}
	i, ok := p.find(t, mu.Clustering)
	if !ok {
		p.rows = slices.Insert(p.rows, i, memoryRow{clustering: cloneValues(mu.Clustering), columns: make([]storage.Value, len(t.Columns))})
	}
	r := &p.rows[i]
	columns := make([]storage.Value, len(t.Columns))
	if m.live(r) {
		copy(columns, r.columns)
	}
	for c, v := range cloneValues(mu.Columns) {
		if v.Set {
			if t.Columns[c].Kind == storage.Bool && v.I != 0 {
				v.I = 1
			}
			columns[c] = v
		}
	}
	r.columns, r.expires = columns, time.Time{}
	if ttl := max(t.TTL, 0); mu.TTL > 0 || ttl > 0 {
		if mu.TTL > 0 {
			ttl = mu.TTL
		}
		r.expires = m.now().Add(ttl)
	}
}

// Scan implements storage.Engine.
func (m *MemoryEngine) Scan(ctx context.Context, r storage.Range, yield func(storage.Row) bool) error {
	t := r.Table
	if err := m.before(ctx, OpScan, t); err != nil {
		return err
	}
	if err := checkKey(t.Partition, r.Partition, true); err != nil {
		return err
	}
	if err := checkKey(t.Clustering, r.From, false); err != nil {
		return err
	}
	if err := checkKey(t.Clustering, r.To, false); err != nil {
		return err
	}
	m.reads.Add(1)
	m.mu.RLock()
	if m.closed {
		m.mu.RUnlock()
		return storage.ErrClosed
	}
	var rows []memoryRow
	if p := m.tables[t.ID][partitionName(r.Partition)]; p != nil {
		for _, row := range p.rows {
			if r.From != nil && compareKeys(t.Clustering, row.clustering, r.From) < 0 {
				continue
			}
			if r.To != nil {
				if c := compareKeys(t.Clustering, row.clustering, r.To); c > 0 || c == 0 && !r.ToInclusive {
					break
				}
			}
			if m.live(&row) {
				rows = append(rows, row)
			}
		}
	}
	m.mu.RUnlock()
	if r.Reverse {
		slices.Reverse(rows)
	}
	if r.Limit > 0 && len(rows) > r.Limit {
		rows = rows[:r.Limit]
	}
	for i, row := range rows {
		if i%256 == 255 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !yieldRow(row, yield) {
			break
		}
	}
	return m.after(ctx, OpScan, t)
}

// yieldRow passes a copy and scribbles over it afterwards, so that a caller who keeps it is found out.
func yieldRow(row memoryRow, yield func(storage.Row) bool) bool {
	r := storage.Row{Clustering: cloneValues(row.clustering), Columns: cloneValues(row.columns)}
	ok := yield(r)
	for _, values := range [][]storage.Value{r.Clustering, r.Columns} {
		for i := range values {
			for j := range values[i].B {
				values[i].B[j] = 0xdb
			}
			values[i] = storage.Value{Set: true, I: -1, B: values[i].B}
		}
	}
	return ok
}

// CompareAndSet implements storage.Engine.
func (m *MemoryEngine) CompareAndSet(ctx context.Context, t *storage.Table, partition, clustering storage.Key, expect, set []storage.Value) (bool, storage.Row, error) {
	if err := m.before(ctx, OpCAS, t); err != nil {
		return false, storage.Row{}, err
	}
	m.writes.Add(1)
	m.mu.Lock()
	found, err := m.get(t, partition, clustering)
	if err != nil {
		m.mu.Unlock()
		return false, storage.Row{}, err
	}
	same := (found.Columns == nil) == (expect == nil)
	for i := range found.Columns {
		var want storage.Value
		if i < len(expect) {
			want = expect[i]
		}
		same = same && want.Set == found.Columns[i].Set && want.I == found.Columns[i].I && bytes.Equal(want.B, found.Columns[i].B)
	}
	if same {
		m.mutate(t, partition, &storage.Mutation{Clustering: clustering, Columns: set})
		found = storage.Row{}
	}
	m.mu.Unlock()
	if err := m.after(ctx, OpCAS, t); err != nil {
		return false, storage.Row{}, err
	}
	return same, found, nil
}

// ScanTable implements storage.Engine.
func (m *MemoryEngine) ScanTable(ctx context.Context, t *storage.Table, yield func(storage.Key, storage.Row) bool) error {
	if err := m.before(ctx, OpScanTable, t); err != nil {
		return err
	}
	m.reads.Add(1)
	type full struct {
		partition storage.Key
		row       memoryRow
	}
	var rows []full
	m.mu.RLock()
	if m.closed {
		m.mu.RUnlock()
		return storage.ErrClosed
	}
	for _, p := range m.tables[t.ID] {
		for _, row := range p.rows {
			if m.live(&row) {
				rows = append(rows, full{p.key, row})
			}
		}
	}
	m.mu.RUnlock()
	for i, f := range rows {
		if i%256 == 255 && ctx.Err() != nil {
			return ctx.Err()
		}
		if !yieldRow(f.row, func(r storage.Row) bool { return yield(cloneValues(f.partition), r) }) {
			break
		}
	}
	return m.after(ctx, OpScanTable, t)
}

// Health implements storage.Engine.
func (m *MemoryEngine) Health(ctx context.Context) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// Close implements storage.Engine.
func (m *MemoryEngine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return storage.ErrClosed
	}
	m.closed = true
	return nil
}
