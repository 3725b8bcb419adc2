package scylla

import (
	"context"
	"errors"
	"fmt"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// fenceTurns is how often a fence that was found to be another one than expected is tried again: more than once only if
// several owners raise it at the same moment.
const fenceTurns = 8

// ApplyFenced implements storage.FencedApplier: one conditional batch, which is a lightweight transaction, on the fence of
// the partition, a static column that every such batch sets again. Its rows get the transaction's timestamp, all the same
// one; a later transaction on the partition gets a later one. Equality is all that is asked for, so that a fence that is
// null, as after the end of a partition, lets nobody pass by accident.
//
// The first batch of an epoch in a partition finds out what the fence was and is sent again on that condition. Beyond that
// nothing is repeated; after storage.ErrUnknownOutcome the caller applies the same batch again, which the servers put in
// order with what was left under way.
func (e *Engine) ApplyFenced(ctx context.Context, b storage.Batch, epoch uint64) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	s, err := e.check(&b)
	if err != nil {
		return err
	}
	if err := checkFenced(&b, epoch); err != nil {
		return err
	}
	rows, err := e.bindFenced(s, &b)
	if err != nil {
		return err
	}
	expect := epoch
	if len(rows) == 0 {
		// Mostly it is this owner's already. A fence that a quorum shows has been decided on.
		if expect, err = e.fence(ctx, s, b.Partition); err != nil {
			return readError(ctx, b.Table, err)
		}
		if expect == epoch {
			return nil
		}
	}
	for range fenceTurns {
		if expect > epoch {
			e.stats.refused.Add(1)
			return fmt.Errorf("%w: write to %s under epoch %d, the fence is %d", storage.ErrFenced, b.Table.Name, epoch, expect)
		}
		e.stats.fenced.Add(1)
		applied, found, err := e.transact(ctx, s.raise(b.Partition, expect, epoch), rows)
		if err != nil {
			v := judge(err)
			return writeError(ctx, b.Table, v == uncertain, v, err)
		}
		if applied {
			return nil
		}
		expect = found
	}
	return fmt.Errorf("%w: write to %s: its fence changes all the time", storage.ErrUnreachable, b.Table.Name)
}

func checkFenced(b *storage.Batch, epoch uint64) error {
	if !b.Table.Fenced || epoch == 0 || epoch > 1<<63-1 {
		return fmt.Errorf("storage: %s: no fenced write under epoch %d", b.Table.Name, epoch)
	}
	for i := range b.Mutations {
		if b.Mutations[i].Delete && len(b.Mutations[i].Clustering) < len(b.Table.Clustering) {
			return fmt.Errorf("storage: %s: a fenced batch deletes rows one by one", b.Table.Name)
		}
	}
	return nil
}

// bindFenced makes a batch's statements, without timestamps: those of a transaction are the servers'.
func (e *Engine) bindFenced(s *statements, b *storage.Batch) ([]statement, error) {
	t := b.Table
	list := make([]statement, 0, len(b.Mutations))
	bytes := 0
	for i := range b.Mutations {
		m := &b.Mutations[i]
		a := newArgs(len(t.Partition) + len(t.Clustering) + len(t.Columns))
		a.partition(t, b.Partition)
		a.key(t.Clustering, m.Clustering)
		text := s.fenced.deleteRow
		if !m.Delete {
			a.columns(t, m.Columns)
			text = s.fenced.insert
		}
		bytes += a.bytes
		list = append(list, statement{text, a})
	}
	if bytes > e.cfg.MaxBatchBytes {
		return nil, fmt.Errorf("%w: a batch of %d bytes for %s, at most %d are possible", storage.ErrTooLarge, bytes, t.Name, e.cfg.MaxBatchBytes)
	}
	return list, nil
}

// raise is the conditional statement that sets a fence from old, 0 for none, to next.
func (s *statements) raise(partition storage.Key, old, next uint64) statement {
	a := newArgs(len(s.table.Partition) + 2)
	a.number(int64(next))
	a.partition(s.table, partition)
	if old == 0 {
		return statement{s.fenced.first, a}
	}
	a.number(int64(old))
	return statement{s.fenced.raise, a}
}

// fence reads a fence at a quorum, 0 for none.
func (e *Engine) fence(ctx context.Context, s *statements, partition storage.Key) (uint64, error) {
	a := newArgs(len(s.table.Partition))
	a.partition(s.table, partition)
	for attempt := 0; ; attempt++ {
		c := cell{kind: storage.Int}
		iter := e.query(ctx, s.fenced.get, a.values, attempt).Iter()
		iter.Scan(&c)
		err := iter.Close()
		if err == nil {
			return uint64(c.v.I), nil
		}
		if attempt >= e.cfg.Retries || !e.again(ctx, err, attempt) {
			return 0, err
		}
	}
}

// transact sends a conditional batch, once, and returns the fence found if it was not applied.
func (e *Engine) transact(ctx context.Context, condition statement, rows []statement) (applied bool, found uint64, err error) {
	batch := e.session.BatchWithContext(ctx, gocql.UnloggedBatch)
	batch.Entries = make([]gocql.BatchEntry, 1, 1+len(rows))
	batch.Entries[0] = gocql.BatchEntry{Stmt: condition.text, Args: condition.args.values}
	for i := range rows {
		batch.Entries = append(batch.Entries, gocql.BatchEntry{Stmt: rows[i].text, Args: rows[i].args.values})
	}
	// If it is not applied, the answer has the column of the condition, and on some servers others. Null comes as 0.
	answer := make(map[string]any)
	applied, iter, err := e.session.MapExecuteBatchCAS(batch, answer)
	if iter != nil {
		err = errors.Join(err, iter.Close())
	}
	if err != nil || applied {
		return applied, 0, err
	}
	fence, ok := answer[fenceColumn].(int64)
	if !ok && len(answer) > 0 {
		return false, 0, fmt.Errorf("storage: the server does not say what the fence is, but %v", answer)
	}
	return false, uint64(fence), nil
}

// ServerClocks are the earliest and the latest timestamp, microseconds, that transactions would get now, by the server
// that is asked. It fails unless every server that may be asked answers: each has its own clock.
func (e *Engine) ServerClocks(ctx context.Context) (earliest, latest int64, err error) {
	if err := e.begin(ctx); err != nil {
		return 0, 0, err
	}
	defer e.end()
	asked := 0
	for _, h := range e.session.GetHosts() {
		if e.cfg.Datacenter != "" && h.DataCenter() != e.cfg.Datacenter {
			continue
		}
		var ms int64
		err := e.session.Query("SELECT toUnixTimestamp(now()) FROM system.local").WithContext(ctx).Consistency(gocql.LocalOne).
			SetHostID(h.HostID()).Idempotent(true).Scan(&ms)
		if err != nil {
			return 0, 0, fmt.Errorf("%w: the clock of %s: %w", storage.ErrUnreachable, h.ConnectAddress(), err)
		}
		// Some count whole milliseconds only, and go on above them while they last.
		low, high := ms*1000, ms*1000+999
		if asked++; asked == 1 {
			earliest, latest = low, high
		}
		earliest, latest = min(earliest, low), max(latest, high)
	}
	if asked == 0 {
		return 0, 0, fmt.Errorf("%w: no server is known", storage.ErrUnreachable)
	}
	return earliest, latest, nil
}
