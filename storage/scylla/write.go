package scylla

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gocql/gocql"

	"github.com/zumodra/hub/storage"
)

// maxStatements is what a batch of the native protocol can hold.
const maxStatements = 1<<16 - 1

// statement with its values.
type statement struct {
	text string
	args *args
}

// seconds of a time to live; the servers count whole ones.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func ttlOf(t *storage.Table, m time.Duration) int64 {
	if m > 0 {
		return seconds(m)
	}
	return seconds(t.TTL)
}

// Apply implements storage.Engine. Its retries carry the timestamps of the first attempt.
func (e *Engine) Apply(ctx context.Context, b storage.Batch) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	s, err := e.check(&b)
	if err != nil || len(b.Mutations) == 0 {
		return err
	}
	list, err := e.bind(nil, s, &b, e.clock.take(len(b.Mutations)))
	if err != nil {
		return err
	}
	return e.write(ctx, b.Table, list)
}

// check refuses a batch that is none.
func (e *Engine) check(b *storage.Batch) (*statements, error) {
	s, err := e.statements(b.Table)
	if err != nil {
		return nil, err
	}
	if err := checkKey(b.Table, "partition", b.Table.Partition, b.Partition, true); err != nil {
		return nil, err
	}
	if len(b.Mutations) > maxStatements {
		return nil, fmt.Errorf("%w: %d mutations of %s, at most %d are possible", storage.ErrTooLarge, len(b.Mutations), b.Table.Name, maxStatements)
	}
	for i := range b.Mutations {
		m := &b.Mutations[i]
		if err := checkKey(b.Table, "clustering", b.Table.Clustering, m.Clustering, !m.Delete || len(m.Clustering) > 0); err != nil {
			return nil, err
		}
		if len(m.Columns) > len(b.Table.Columns) {
			return nil, fmt.Errorf("storage: %s: row has %d values for %d columns", b.Table.Name, len(m.Columns), len(b.Table.Columns))
		}
	}
	return s, nil
}

// bind appends a batch's statements to list; stamp is the first of their timestamps.
func (e *Engine) bind(list []statement, s *statements, b *storage.Batch, stamp int64) ([]statement, error) {
	list = slices.Grow(list, len(b.Mutations))
	bytes := 0
	for i := range b.Mutations {
		m := s.mutation(b, &b.Mutations[i], stamp+int64(i))
		bytes += m.args.bytes
		list = append(list, m)
	}
	if bytes > e.cfg.MaxBatchBytes {
		return nil, fmt.Errorf("%w: a batch of %d bytes for %s, at most %d are possible", storage.ErrTooLarge, bytes, b.Table.Name, e.cfg.MaxBatchBytes)
	}
	return list, nil
}

// write carries out the statements of one batch, again if it must.
func (e *Engine) write(ctx context.Context, t *storage.Table, list []statement) error {
	maybe := false
	for attempt := 0; ; attempt++ {
		err := e.send(ctx, list)
		if err == nil {
			return nil
		}
		v := judge(err)
		maybe = maybe || v == uncertain
		if v == refused || attempt >= e.cfg.Retries || ctx.Err() != nil || !pause(ctx, attempt) {
			return writeError(ctx, t, maybe, v, err)
		}
		e.stats.retries.Add(1)
	}
}

// mutation is one statement of a batch. Each has a timestamp of its own, so that a later mutation of the batch wins
// against an earlier one, and a put against a deletion before it: among equal timestamps the deletion would win.
func (s *statements) mutation(b *storage.Batch, m *storage.Mutation, stamp int64) statement {
	t := s.table
	a := newArgs(len(t.Partition) + len(t.Clustering) + len(t.Columns) + 2)
	if m.Delete {
		a.number(stamp)
		a.partition(t, b.Partition)
		if len(m.Clustering) == 0 {
			return statement{s.deletePartition, a}
		}
		a.key(t.Clustering, m.Clustering)
		return statement{s.deleteRow, a}
	}
	a.partition(t, b.Partition)
	a.key(t.Clustering, m.Clustering)
	a.columns(t, m.Columns)
	a.number(stamp)
	if t.TTL > 0 {
		a.ttl(ttlOf(t, m.TTL))
	}
	return statement{s.insert, a}
}

// send carries out the statements, several as one batch. It is the driver's only attempt.
func (e *Engine) send(ctx context.Context, list []statement) error {
	if len(list) == 1 {
		return e.session.Query(list[0].text, list[0].args.values...).WithContext(ctx).Exec()
	}
	// Unlogged: within one partition the server makes one mutation of it, which is atomic without a batch log. Over
	// several, see ApplyGroup.
	batch := e.session.BatchWithContext(ctx, gocql.UnloggedBatch)
	batch.Entries = make([]gocql.BatchEntry, len(list))
	for i := range list {
		batch.Entries[i] = gocql.BatchEntry{Stmt: list[i].text, Args: list[i].args.values}
	}
	return batch.Exec()
}
