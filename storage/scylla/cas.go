package scylla

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// CompareAndSet implements storage.Engine. The statement is sent once. If its outcome is unknown, a serial read is made,
// which finishes or supersedes what was under way:
//
//   - the row is what it was to become: applied. Somebody else may have made it so; who must know that it was himself
//     puts something of his own into the row, as leases do.
//   - anything else: storage.ErrUnknownOutcome. The coordinator may still be trying, or somebody has already written
//     over what we wrote.
func (e *Engine) CompareAndSet(ctx context.Context, t *storage.Table, partition, clustering storage.Key, expect, set []storage.Value) (bool, storage.Row, error) {
	if err := e.begin(ctx); err != nil {
		return false, storage.Row{}, err
	}
	defer e.end()
	s, err := e.statements(t)
	if err != nil {
		return false, storage.Row{}, err
	}
	if err := checkRow(t, partition, clustering); err != nil {
		return false, storage.Row{}, err
	}
	if len(set) > len(t.Columns) || len(expect) > len(t.Columns) {
		return false, storage.Row{}, fmt.Errorf("storage: %s: more values than columns", t.Name)
	}
	st := s.compareAndSet(partition, clustering, expect, set)
	if st.args.bytes > e.cfg.MaxBatchBytes {
		return false, storage.Row{}, fmt.Errorf("%w: a row of %d bytes for %s, at most %d are possible", storage.ErrTooLarge, st.args.bytes, t.Name, e.cfg.MaxBatchBytes)
	}
	e.clock.settle(ctx)
	applied, found, err := e.conditional(ctx, s, st)
	switch {
	case err == nil && applied:
		return true, storage.Row{}, nil
	case err == nil:
		row := storage.Row{Columns: found}
		if found != nil {
			row.Clustering = cloneValues(clustering)
		}
		return false, row, nil
	}
	v := judge(err)
	if v != uncertain || ctx.Err() != nil {
		return false, storage.Row{}, writeError(ctx, t, v == uncertain, v, err)
	}
	e.stats.settled.Add(1)
	row, readErr := e.get(ctx, s, partition, clustering, gocql.LocalSerial, e.cfg.Retries)
	if readErr != nil && !errors.Is(readErr, storage.ErrNoRow) {
		return false, storage.Row{}, writeError(ctx, t, true, v, errors.Join(err, readErr))
	}
	if row.Columns != nil && sameColumns(row.Columns, overlay(t, expect, set)) {
		return true, storage.Row{}, nil
	}
	return false, storage.Row{}, writeError(ctx, t, true, v, err)
}

// CompareAndSetAll implements storage.MultiSwapper: one conditional batch, which is one lightweight transaction. It is
// sent once; after storage.ErrUnknownOutcome CompareAndSet of each row tells what became of it.
func (e *Engine) CompareAndSetAll(ctx context.Context, t *storage.Table, partition storage.Key, swaps []storage.RowSwap) (bool, error) {
	if err := e.begin(ctx); err != nil {
		return false, err
	}
	defer e.end()
	s, err := e.statements(t)
	if err != nil {
		return false, err
	}
	batch := e.session.BatchWithContext(ctx, gocql.UnloggedBatch)
	bytes := 0
	for i := range swaps {
		x := &swaps[i]
		if err := checkRow(t, partition, x.Clustering); err != nil {
			return false, err
		}
		if len(x.Set) > len(t.Columns) || len(x.Expect) > len(t.Columns) {
			return false, fmt.Errorf("storage: %s: more values than columns", t.Name)
		}
		st := s.compareAndSet(partition, x.Clustering, x.Expect, x.Set)
		bytes += st.args.bytes
		batch.Entries = append(batch.Entries, gocql.BatchEntry{Stmt: st.text, Args: st.args.values})
	}
	if bytes > e.cfg.MaxBatchBytes {
		return false, nil
	}
	e.clock.settle(ctx)
	applied, iter, err := e.session.MapExecuteBatchCAS(batch, make(map[string]any)) // what it found is not looked at
	if iter != nil {
		err = errors.Join(err, iter.Close())
	}
	if err == nil {
		return applied, nil
	}
	v := judge(err)
	return false, writeError(ctx, t, v == uncertain, v, err)
}

// compareAndSet is the conditional statement.
func (s *statements) compareAndSet(partition, clustering storage.Key, expect, set []storage.Value) statement {
	t := s.table
	a := newArgs(len(t.Partition) + len(t.Clustering) + 2*len(t.Columns) + 1)
	if expect == nil {
		a.partition(t, partition)
		a.key(t.Clustering, clustering)
		a.columns(t, set)
		if t.TTL > 0 {
			a.ttl(seconds(t.TTL))
		}
		return statement{s.create, a}
	}
	if t.TTL > 0 {
		a.ttl(seconds(t.TTL))
	}
	for i := range set {
		if set[i].Set {
			a.add(t.Columns[i].Kind, set[i])
		}
	}
	a.partition(t, partition)
	a.key(t.Clustering, clustering)
	for i := range expect {
		if expect[i].Set {
			a.add(t.Columns[i].Kind, expect[i])
		}
	}
	return statement{s.update(expect, set), a}
}

// conditional sends a lightweight transaction and returns the row found if it was not applied, nil if there is none.
//
// The answer is a row whose first column is [applied]. If that is false, Cassandra adds the columns of the condition, or
// all columns after IF NOT EXISTS, and none if there is no such row; Scylla always adds the columns, as they were before,
// null if there was no row, and after IF NOT EXISTS those of the key too. So columns are found by name.
func (e *Engine) conditional(ctx context.Context, s *statements, st statement) (bool, []storage.Value, error) {
	t := s.table
	iter := e.session.Query(st.text, st.args.values...).WithContext(ctx).Idempotent(false).NoSkipMetadata().Iter()
	returned := iter.Columns()
	cells := make([]cell, len(returned))
	dest := make([]any, len(returned))
	live, appliedAt := -1, -1
	columns := make([]int, len(returned)) // which column of t
	for i := range returned {
		columns[i] = -1
		switch name := returned[i].Name; name {
		case "[applied]":
			appliedAt, cells[i].kind = i, storage.Bool
		case liveColumn:
			live, cells[i].kind = i, storage.Bool
		default:
			cells[i].kind = storage.Blob // of the key: not looked at
			if c := slices.IndexFunc(t.Columns, func(c storage.Column) bool { return c.Name == name }); c >= 0 {
				columns[i], cells[i].kind = c, t.Columns[c].Kind
			}
		}
		dest[i] = &cells[i]
	}
	ok := iter.Scan(dest...)
	var found []storage.Value
	applied := false
	if ok {
		applied = appliedAt >= 0 && cells[appliedAt].v.I != 0
		if live >= 0 && cells[live].v.Set {
			row := make([]storage.Value, len(t.Columns))
			for i, c := range columns {
				if c >= 0 {
					row[c] = cells[i].v
				}
			}
			found = cloneValues(row)
		}
	}
	if err := iter.Close(); err != nil {
		return false, nil, err
	}
	if !ok || appliedAt < 0 {
		return false, nil, fmt.Errorf("storage: %s: the server does not say whether a transaction was applied", t.Name)
	}
	return applied, found, nil
}

// overlay is what a row of expect becomes by set.
func overlay(t *storage.Table, expect, set []storage.Value) []storage.Value {
	row := make([]storage.Value, len(t.Columns))
	copy(row, expect)
	for i := range set {
		if set[i].Set {
			row[i] = set[i]
		}
	}
	return row
}

func sameColumns(a, b []storage.Value) bool {
	return slices.EqualFunc(a, b, func(a, b storage.Value) bool {
		return a.Set == b.Set && (!a.Set || a.I == b.I && bytes.Equal(a.B, b.B))
	})
}
