package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/zumodra/hub/storage"
)

// Get implements storage.Engine.
func (e *Engine) Get(ctx context.Context, t *storage.Table, partition, clustering storage.Key) (storage.Row, error) {
	if err := e.begin(ctx); err != nil {
		return storage.Row{}, err
	}
	defer e.end()
	s := e.getScratch()
	defer e.putScratch(s)
	row, err := e.get(s, t, partition, clustering)
	if err == nil && row.Columns == nil {
		err = storage.ErrNoRow
	}
	return row, err
}

// fewRows is up to how many rows are got one by one; more are sought in their order by one iterator, which takes two
// thirds of the time.
const fewRows = 4

// GetMany implements storage.Engine.
func (e *Engine) GetMany(ctx context.Context, t *storage.Table, keys []storage.FullKey) ([]storage.Row, error) {
	if err := e.begin(ctx); err != nil {
		return nil, err
	}
	defer e.end()
	s := e.getScratch()
	defer e.putScratch(s)
	rows := make([]storage.Row, len(keys))
	if len(keys) <= fewRows {
		for i := range keys {
			var err error
			if rows[i], err = e.get(s, t, keys[i].Partition, keys[i].Clustering); err != nil {
				return nil, err
			}
		}
		return rows, nil
	}
	return rows, e.seek(ctx, t, keys, rows)
}

// seek fills rows with those that keys name.
func (e *Engine) seek(ctx context.Context, t *storage.Table, keys []storage.FullKey, rows []storage.Row) (err error) {
	type wanted struct {
		key []byte
		i   int
	}
	list := make([]wanted, len(keys))
	buf := make([]byte, 0, 64*len(keys))
	for i := range keys {
		start := len(buf)
		if buf, err = e.rowKey(buf, t, keys[i].Partition, keys[i].Clustering); err != nil {
			return err
		}
		list[i] = wanted{buf[start:len(buf):len(buf)], i}
	}
	slices.SortFunc(list, func(a, b wanted) int { return bytes.Compare(a.key, b.key) })
	it, err := e.db.NewIterWithContext(ctx, nil)
	if err != nil {
		return readError(t, err)
	}
	defer func() {
		if cerr := it.Close(); err == nil && cerr != nil {
			err = readError(t, cerr)
		}
	}()
	for n, w := range list {
		if n%scanCheck == scanCheck-1 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if !it.SeekPrefixGE(w.key) {
			if err := it.Error(); err != nil {
				return readError(t, err)
			}
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(t, err)
		}
		columns, ok, err := rowOf(t, value, e.cfg.Now)
		if err != nil {
			return fmt.Errorf("%s: %w", keyName(w.key), err)
		}
		if ok {
			rows[w.i] = storage.Row{Clustering: cloneKey(keys[w.i].Clustering), Columns: columns}
		}
	}
	return nil
}

func (e *Engine) get(s *scratch, t *storage.Table, partition, clustering storage.Key) (row storage.Row, err error) {
	if s.key, err = e.rowKey(s.key[:0], t, partition, clustering); err != nil {
		return row, err
	}
	if row.Columns, err = e.read(e.db, s.key, t); err != nil || row.Columns == nil {
		return storage.Row{}, err
	}
	row.Clustering = cloneKey(clustering)
	return row, nil
}

// read returns the columns of the row at key in memory of their own, nil if there is none.
func (e *Engine) read(from pebble.Reader, key []byte, t *storage.Table) ([]storage.Value, error) {
	value, closer, err := from.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, readError(t, err)
	}
	columns, ok, err := rowOf(t, value, e.cfg.Now)
	if cerr := closer.Close(); err == nil && cerr != nil {
		err = readError(t, cerr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyName(key), err)
	}
	if !ok {
		return nil, nil
	}
	return columns, nil
}

func readError(t *storage.Table, err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: read %s: %w", storage.ErrCorrupt, t.Name, err)
	}
	return fmt.Errorf("storage: read %s: %w", t.Name, err)
}

// cloneKey copies a key with one allocation for all bytes.
func cloneKey(k storage.Key) storage.Key {
	if len(k) == 0 {
		return nil
	}
	n := 0
	for i := range k {
		n += len(k[i].B)
	}
	c, buf := make(storage.Key, len(k)), make([]byte, 0, n)
	for i := range k {
		c[i] = k[i]
		if k[i].B != nil {
			start := len(buf)
			buf = append(buf, k[i].B...)
			c[i].B = buf[start:len(buf):len(buf)]
		}
	}
	return c
}

// scanCheck is how many rows are read between looks at the context.
const scanCheck = 256

// Scan implements storage.Engine. All rows are seen as of one moment.
func (e *Engine) Scan(ctx context.Context, r storage.Range, yield func(storage.Row) bool) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	s := e.getScratch()
	defer e.putScratch(s)
	prefix, err := e.partitionKey(s.key[:0], r.Table, r.Partition)
	if err != nil {
		return err
	}
	n := len(prefix)
	if s.key, err = appendKey(prefix, r.Table.Clustering, r.From); err != nil {
		return err
	}
	switch {
	case r.To == nil:
		s.upper = appendSuccessor(s.upper[:0], s.key[:n])
	case r.ToInclusive:
		if s.value, err = appendKey(append(s.value[:0], s.key[:n]...), r.Table.Clustering, r.To); err != nil {
			return err
		}
		s.upper = appendSuccessor(s.upper[:0], s.value)
	default:
		if s.upper, err = appendKey(append(s.upper[:0], s.key[:n]...), r.Table.Clustering, r.To); err != nil {
			return err
		}
	}
	left := r.Limit
	return e.iterate(ctx, s, r.Table, s.key, s.upper, r.Reverse, func(_, clustering storage.Key, columns []storage.Value) bool {
		if !yield(storage.Row{Clustering: clustering, Columns: columns}) {
			return false
		}
		left--
		return left != 0
	})
}

// ScanTable implements storage.Engine.
func (e *Engine) ScanTable(ctx context.Context, t *storage.Table, yield func(partition storage.Key, r storage.Row) bool) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	s := e.getScratch()
	defer e.putScratch(s)
	s.key = appendTable(s.key[:0], t)
	s.upper = appendSuccessor(s.upper[:0], s.key)
	return e.iterate(ctx, s, t, s.key, s.upper, false, func(partition, clustering storage.Key, columns []storage.Value) bool {
		return yield(partition, storage.Row{Clustering: clustering, Columns: columns})
	})
}

// iterate calls yield for the live rows of lower <= key < upper. What it passes is valid until yield returns.
func (e *Engine) iterate(ctx context.Context, s *scratch, t *storage.Table, lower, upper []byte, reverse bool,
	yield func(partition, clustering storage.Key, columns []storage.Value) bool) (err error) {
	it, err := e.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError(t, err)
	}
	defer func() {
		// Close repeats the iterator's error.
		if cerr := it.Close(); err == nil && cerr != nil && e.lenient == nil {
			err = readError(t, cerr)
		}
	}()
	if cap(s.columns) < len(t.Columns) {
		s.columns = make([]storage.Value, len(t.Columns))
	}
	now := e.cfg.Now().UnixMicro()
	first, next := it.First, it.Next
	if reverse {
		first, next = it.Last, it.Prev
	}
	rows := 0
	for ok := first(); ok; ok = next() {
		if rows++; rows%scanCheck == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		value, err := it.ValueAndErr()
		if err != nil && e.lenient == nil {
			return readError(t, err)
		}
		var at int64
		var rest []byte
		if err == nil {
			at, rest, err = expiry(value)
		}
		if err == nil && at != 0 && at <= now {
			continue
		}
		columns := s.columns[:len(t.Columns)]
		if err == nil {
			clear(columns)
			err = decodeValue(columns, t.Columns, rest)
		}
		if err == nil {
			s.partition, s.clustering, err = s.decoder.decodeRowKey(t, s.partition, s.clustering, it.Key())
		}
		if err != nil {
			if e.lenient != nil {
				e.lenient(storage.Problem{Table: t.Name, Key: keyName(it.Key()), Text: err.Error()})
				continue
			}
			return fmt.Errorf("%s: %w", keyName(it.Key()), err)
		}
		if !yield(s.partition, s.clustering, columns) {
			break
		}
	}
	if err := it.Error(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e.lenient != nil {
			e.lenient(storage.Problem{Table: t.Name, Text: fmt.Sprintf("reading ended early: %v", err)})
			return nil
		}
		return readError(t, err)
	}
	return nil
}
