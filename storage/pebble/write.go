package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

// Apply implements storage.Engine. Once the batch is handed to the log it is carried out whatever becomes of ctx.
func (e *Engine) Apply(ctx context.Context, b storage.Batch) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	if len(b.Mutations) == 0 {
		return nil
	}
	s := e.getScratch()
	defer e.putScratch(s)
	partition, err := e.partitionKey(s.key[:0], b.Table, b.Partition)
	if err != nil {
		return err
	}
	s.key = partition
	partial, puts := false, false
	for i := range b.Mutations {
		if m := &b.Mutations[i]; !m.Delete {
			puts = true
			partial = partial || !m.Whole && !complete(b.Table, m.Columns)
		}
	}
	if puts {
		if err := e.spaceError(); err != nil {
			return err
		}
	}
	var batch *pebble.Batch
	if partial {
		batch = e.db.NewIndexedBatch() // a partial mutation sees the earlier ones of its batch
	} else {
		batch = e.db.NewBatch()
	}
	lock := e.stripe(partition)
	if partial {
		lock.Lock()
	} else {
		lock.RLock()
	}
	unlock := func() {
		if partial {
			lock.Unlock()
		} else {
			lock.RUnlock()
		}
	}
	for i := range b.Mutations {
		if err := e.mutate(batch, s, len(partition), b.Table, &b.Mutations[i]); err != nil {
			unlock()
			return errors.Join(err, batch.Close())
		}
	}
	if b.Durability == storage.Relaxed {
		err := e.commit(batch)
		unlock()
		return commitError(b.Table, errors.Join(err, batch.Close()))
	}
	// The stripe is held until the rows are visible, not until they are synced.
	err = e.apply(batch)
	unlock()
	if err != nil {
		return commitError(b.Table, errors.Join(err, batch.Close()))
	}
	err = e.wait(batch)
	return commitError(b.Table, errors.Join(err, batch.Close()))
}

// Groups implements storage.GroupApplier.
func (e *Engine) Groups() bool { return true }

// GroupLimits implements storage.GroupApplier. Of three groups one waits for the disk, one is being written, one is taken
// apart. More would make them smaller, but while the disk is full writes hang, and the next is refused at once.
func (e *Engine) GroupLimits() chat.GroupLimits {
	return chat.GroupLimits{Parallel: 3, MaxParallel: 16, Conversations: 512, Bytes: 1 << 20}
}

// ApplyGroup implements storage.GroupApplier: one batch of pebble, one sync, all or nothing.
func (e *Engine) ApplyGroup(ctx context.Context, batches []storage.Batch) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	if err := e.spaceError(); err != nil {
		return err
	}
	s := e.getScratch()
	defer e.putScratch(s)
	batch := e.db.NewBatch()
	var locks stripeSet
	for i := range batches {
		b := &batches[i]
		partition, err := e.partitionKey(s.key[:0], b.Table, b.Partition)
		if err != nil {
			return errors.Join(err, batch.Close())
		}
		s.key = partition
		locks.add(e.stripeOf(partition))
		for j := range b.Mutations {
			m := &b.Mutations[j]
			if !m.Delete && !m.Whole && !complete(b.Table, m.Columns) {
				return errors.Join(fmt.Errorf("storage: %s: a group has a partial row", b.Table.Name), batch.Close())
			}
			if err := e.mutate(batch, s, len(partition), b.Table, m); err != nil {
				return errors.Join(err, batch.Close())
			}
		}
	}
	if batch.Empty() {
		return batch.Close()
	}
	locks.each(func(i int) { e.stripes[i].RLock() })
	err := e.apply(batch)
	locks.each(func(i int) { e.stripes[i].RUnlock() })
	if err == nil {
		err = e.wait(batch)
	}
	if err = errors.Join(err, batch.Close()); err != nil {
		return fmt.Errorf("%w: commit of a group: %w", storage.ErrUnknownOutcome, err)
	}
	return nil
}

// stripeSet is a set of stripes. They are locked in ascending order: two groups that lock the same ones in different
// orders could wait for each other across the writers that wait for both.
type stripeSet [stripes / 64]uint64

func (s *stripeSet) add(i int) { s[i/64] |= 1 << (i % 64) }

func (s *stripeSet) each(f func(int)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			f(w*64 + bits.TrailingZeros64(word))
		}
	}
}

func commitError(t *storage.Table, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: commit to %s: %w", storage.ErrUnknownOutcome, t.Name, err)
}

// complete reports whether v sets every column of t.
func complete(t *storage.Table, v []storage.Value) bool {
	if len(v) < len(t.Columns) {
		return false
	}
	for i := range v {
		if !v[i].Set {
			return false
		}
	}
	return true
}

func (e *Engine) stripe(partition []byte) *sync.RWMutex {
	return &e.stripes[e.stripeOf(partition)]
}

func (e *Engine) stripeOf(partition []byte) int {
	return int(maphash.Bytes(e.seed, partition) % stripes)
}

// partitionKey appends the prefix that the rows of a partition share.
func (e *Engine) partitionKey(b []byte, t *storage.Table, partition storage.Key) ([]byte, error) {
	if len(partition) != len(t.Partition) {
		return b, fmt.Errorf("storage: %s: partition key has %d of %d values", t.Name, len(partition), len(t.Partition))
	}
	return appendKey(appendTable(b, t), t.Partition, partition)
}

func (e *Engine) rowKey(b []byte, t *storage.Table, partition, clustering storage.Key) ([]byte, error) {
	b, err := e.partitionKey(b, t, partition)
	if err != nil {
		return b, err
	}
	return clusteringKey(b, t, clustering)
}

func clusteringKey(b []byte, t *storage.Table, clustering storage.Key) ([]byte, error) {
	if len(clustering) != len(t.Clustering) {
		return b, fmt.Errorf("storage: %s: clustering key has %d of %d values", t.Name, len(clustering), len(t.Clustering))
	}
	return appendKey(b, t.Clustering, clustering)
}

// mutate adds one mutation to batch. The partition's prefix is s.key[:prefix].
func (e *Engine) mutate(batch *pebble.Batch, s *scratch, prefix int, t *storage.Table, m *storage.Mutation) (err error) {
	if m.Delete && len(m.Clustering) == 0 && len(t.Clustering) > 0 {
		s.upper = appendSuccessor(s.upper[:0], s.key[:prefix])
		return batch.DeleteRange(s.key[:prefix], s.upper, nil)
	}
	if s.key, err = clusteringKey(s.key[:prefix], t, m.Clustering); err != nil {
		return err
	}
	if m.Delete {
		return batch.Delete(s.key, nil)
	}
	columns := m.Columns
	if !m.Whole && !complete(t, columns) {
		if columns, err = e.merged(batch, s, t, m); err != nil {
			return err
		}
	}
	return e.put(batch, s, t, columns, m)
}

// put writes columns under s.key.
func (e *Engine) put(batch *pebble.Batch, s *scratch, t *storage.Table, columns []storage.Value, m *storage.Mutation) (err error) {
	ttl, expires := t.TTL, int64(0)
	if m.TTL > 0 {
		ttl = m.TTL
	}
	if ttl > 0 {
		expires = e.cfg.Now().Add(ttl).UnixMicro()
	}
	if s.value, err = appendValue(s.value[:0], t.Columns, columns, expires); err != nil {
		return err
	}
	return batch.Set(s.key, s.value, nil)
}

// merged returns the columns of the row at s.key with those of m over them.
func (e *Engine) merged(batch pebble.Reader, s *scratch, t *storage.Table, m *storage.Mutation) ([]storage.Value, error) {
	if len(m.Columns) > len(t.Columns) {
		return nil, fmt.Errorf("storage: %s: row has %d values for %d columns", t.Name, len(m.Columns), len(t.Columns))
	}
	columns, err := e.read(batch, s.key, t)
	if err != nil {
		return nil, err
	}
	if columns == nil {
		return m.Columns, nil
	}
	overlay(columns, m.Columns)
	return columns, nil
}

func overlay(columns, set []storage.Value) {
	for i := range set {
		if set[i].Set {
			columns[i] = set[i]
		}
	}
}

// CompareAndSet implements storage.Engine.
func (e *Engine) CompareAndSet(ctx context.Context, t *storage.Table, partition, clustering storage.Key, expect, set []storage.Value) (bool, storage.Row, error) {
	if err := e.begin(ctx); err != nil {
		return false, storage.Row{}, err
	}
	defer e.end()
	if err := e.spaceError(); err != nil {
		return false, storage.Row{}, err
	}
	s := e.getScratch()
	defer e.putScratch(s)
	prefix, err := e.partitionKey(s.key[:0], t, partition)
	if err != nil {
		return false, storage.Row{}, err
	}
	lock := e.stripe(prefix)
	if s.key, err = clusteringKey(prefix, t, clustering); err != nil {
		return false, storage.Row{}, err
	}
	if len(set) > len(t.Columns) || len(expect) > len(t.Columns) {
		return false, storage.Row{}, fmt.Errorf("storage: %s: more values than columns", t.Name)
	}
	lock.Lock()
	found, err := e.read(e.db, s.key, t)
	if err != nil {
		lock.Unlock()
		return false, storage.Row{}, err
	}
	if (found == nil) != (expect == nil) || !sameColumns(found, expect) {
		lock.Unlock()
		// What was found may not be durable yet; the caller acts on it as if it were.
		if err := e.sync(); err != nil {
			return false, storage.Row{}, fmt.Errorf("storage: sync: %w", err)
		}
		row := storage.Row{Columns: found}
		if found != nil {
			row.Clustering = cloneKey(clustering)
		}
		return false, row, nil
	}
	columns := set
	if found != nil {
		overlay(found, set)
		columns = found
	}
	batch := e.db.NewBatch()
	if err := e.put(batch, s, t, columns, &storage.Mutation{}); err != nil {
		lock.Unlock()
		return false, storage.Row{}, errors.Join(err, batch.Close())
	}
	err = e.apply(batch)
	lock.Unlock()
	if err == nil {
		err = e.wait(batch)
	}
	if err = errors.Join(err, batch.Close()); err != nil {
		return false, storage.Row{}, commitError(t, err)
	}
	return true, storage.Row{}, nil
}

// sameColumns compares rows; missing trailing values are absent columns.
func sameColumns(a, b []storage.Value) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	for i := range a {
		switch {
		case i >= len(b):
			if a[i].Set {
				return false
			}
		case a[i].Set != b[i].Set:
			return false
		case a[i].Set && (a[i].I != b[i].I || !bytes.Equal(a[i].B, b[i].B)):
			return false
		}
	}
	return true
}
