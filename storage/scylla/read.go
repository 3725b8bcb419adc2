package scylla

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gocql/gocql"
	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/storage"
)

// readPause is the wait before a read is tried again, doubled each time.
const readPause = 20 * time.Millisecond

// pause waits before another attempt; it reports false if ctx has ended.
func pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(readPause << attempt)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// query makes a read. Only a first attempt, and only where there is a second node, is speculative: the driver answers
// a read with "no host" when its speculative attempt finds no other host, though the first is still under way.
func (e *Engine) query(ctx context.Context, stmt string, values []any, attempt int) *gocql.Query {
	q := e.session.Query(stmt, values...).WithContext(ctx).Idempotent(true)
	if attempt == 0 && e.cfg.Speculate > 0 && e.stats.several() {
		q = q.SetSpeculativeExecutionPolicy(&gocql.SimpleSpeculativeExecution{NumAttempts: 1, TimeoutDelay: e.cfg.Speculate})
	}
	return q
}

// Get implements storage.Engine.
func (e *Engine) Get(ctx context.Context, t *storage.Table, partition, clustering storage.Key) (storage.Row, error) {
	if err := e.begin(ctx); err != nil {
		return storage.Row{}, err
	}
	defer e.end()
	s, err := e.statements(t)
	if err != nil {
		return storage.Row{}, err
	}
	if err := checkRow(t, partition, clustering); err != nil {
		return storage.Row{}, err
	}
	return e.get(ctx, s, partition, clustering, gocql.LocalQuorum, e.cfg.Retries)
}

// get reads one row at a consistency, which may be LocalSerial.
func (e *Engine) get(ctx context.Context, s *statements, partition, clustering storage.Key, c gocql.Consistency, retries int) (storage.Row, error) {
	t := s.table
	a := newArgs(len(t.Partition) + len(t.Clustering))
	a.partition(t, partition)
	a.key(t.Clustering, clustering)
	for attempt := 0; ; attempt++ {
		columns := t.Columns
		if len(columns) == 0 {
			columns = []storage.Column{{Kind: storage.Bool}} // the hidden column
		}
		d := newDestination(columns)
		q := e.query(ctx, s.get, a.values, attempt).Consistency(c)
		if c == gocql.LocalSerial {
			q.SetSpeculativeExecutionPolicy(gocql.NonSpeculativeExecution{})
		}
		iter := q.Iter()
		found := iter.Scan(d.ptrs...)
		var row storage.Row
		if found {
			row.Columns = cloneValues(d.values()[:len(t.Columns)])
			row.Clustering = cloneValues(clustering)
		}
		err := iter.Close()
		switch {
		case err == nil && found:
			return row, nil
		case err == nil:
			return storage.Row{}, storage.ErrNoRow
		case attempt >= retries || !e.again(ctx, err, attempt):
			return storage.Row{}, readError(ctx, t, err)
		}
	}
}

// again reports, after a pause, whether a read that failed with err is worth another attempt.
func (e *Engine) again(ctx context.Context, err error, attempt int) bool {
	if ctx.Err() != nil || judge(err) == refused || !pause(ctx, attempt) {
		return false
	}
	e.stats.retries.Add(1)
	return true
}

// GetMany implements storage.Engine.
func (e *Engine) GetMany(ctx context.Context, t *storage.Table, keys []storage.FullKey) ([]storage.Row, error) {
	if err := e.begin(ctx); err != nil {
		return nil, err
	}
	defer e.end()
	s, err := e.statements(t)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if err := checkRow(t, keys[i].Partition, keys[i].Clustering); err != nil {
			return nil, err
		}
	}
	rows := make([]storage.Row, len(keys))
	read := func(ctx context.Context, i int) error {
		r, err := e.get(ctx, s, keys[i].Partition, keys[i].Clustering, gocql.LocalQuorum, e.cfg.Retries)
		if err != nil && !errors.Is(err, storage.ErrNoRow) {
			return err
		}
		rows[i] = r
		return nil
	}
	if len(keys) == 1 {
		return rows, read(ctx, 0)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.cfg.Parallel)
	for i := range keys {
		g.Go(func() error { return read(gctx, i) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return rows, nil
}

// Scan implements storage.Engine. A range that CQL cannot name at once is read slice by slice; see slicesOf.
func (e *Engine) Scan(ctx context.Context, r storage.Range, yield func(storage.Row) bool) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	t := r.Table
	s, err := e.statements(t)
	if err != nil {
		return err
	}
	if err := checkKey(t, "partition", t.Partition, r.Partition, true); err != nil {
		return err
	}
	for _, k := range []storage.Key{r.From, r.To} {
		if err := checkKey(t, "clustering", t.Clustering, k, false); err != nil {
			return err
		}
	}
	parts := slicesOf(t.Clustering, r.From, r.To, r.ToInclusive)
	if r.To != nil && len(r.To) == 0 && !r.ToInclusive {
		return nil // everything equals the empty prefix
	}
	left := r.Limit
	for i := range parts {
		part := &parts[i]
		if r.Reverse {
			part = &parts[len(parts)-1-i]
		}
		n, more, err := e.scanSlice(ctx, s, &r, part, left, yield)
		if err != nil || !more {
			return err
		}
		if r.Limit > 0 {
			if left -= n; left <= 0 {
				return nil
			}
		}
	}
	return nil
}

// scanSlice passes the rows of one slice, at most limit if positive. more is false once yield has returned false.
func (e *Engine) scanSlice(ctx context.Context, s *statements, r *storage.Range, part *slice, limit int, yield func(storage.Row) bool) (n int, more bool, err error) {
	t := s.table
	a := newArgs(len(t.Partition) + len(t.Clustering) + 3)
	var b strings.Builder
	b.WriteString(s.selectRows + " WHERE " + s.wherePartition)
	a.partition(t, r.Partition)
	part.where(&b, a, t.Clustering)
	if r.Reverse {
		b.WriteString(s.reversed)
	}
	size := e.cfg.PageSize
	if r.Hint > 0 {
		size = min(max(r.Hint, 10), 5*e.cfg.PageSize)
	}
	if limit > 0 {
		// Not a bound value: a limit is an int, of which there are few.
		b.WriteString(" LIMIT ")
		b.WriteString(itoa(limit))
		size = min(size, limit)
	}
	groups := [][]storage.Column{t.Clustering, t.Columns}
	if len(t.Clustering)+len(t.Columns) == 0 {
		groups = [][]storage.Column{{{Kind: storage.Bool}}}
	}
	k := len(t.Clustering)
	more = true
	err = e.rows(ctx, s, b.String(), a.values, size, groups, func(v []storage.Value) bool {
		if k > 0 && !v[0].Set {
			return true // a partition that has a fence and no row
		}
		n++
		more = yield(storage.Row{Clustering: v[:k:k], Columns: v[k : k+len(t.Columns)]})
		return more
	})
	return n, more, err
}

func itoa(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// rows reads page by page. A page that fails is read again; a page of which rows were passed is not.
func (e *Engine) rows(ctx context.Context, s *statements, stmt string, values []any, size int, groups [][]storage.Column, yield func([]storage.Value) bool) error {
	d := newDestination(groups...)
	var state []byte
	for attempt := 0; ; {
		// One page at a time: the driver's own paging cannot be resumed after an error.
		q := e.query(ctx, stmt, values, attempt).PageSize(size).PageState(state)
		iter := q.Iter()
		next := append([]byte(nil), iter.PageState()...)
		passed := false
		for iter.Scan(d.ptrs...) {
			if err := ctx.Err(); err != nil {
				_ = iter.Close()
				return err
			}
			passed = true
			if !yield(d.values()) {
				return closeIter(ctx, s.table, iter)
			}
		}
		if err := iter.Close(); err != nil {
			if passed || errors.Is(err, storage.ErrCorrupt) || attempt >= e.cfg.Retries || !e.again(ctx, err, attempt) {
				return readError(ctx, s.table, err)
			}
			attempt++
			continue
		}
		if len(next) == 0 {
			return nil
		}
		state, attempt = next, 0
	}
}

func closeIter(ctx context.Context, t *storage.Table, iter *gocql.Iter) error {
	if err := iter.Close(); err != nil {
		return readError(ctx, t, err)
	}
	return nil
}

// ScanTable implements storage.Engine.
func (e *Engine) ScanTable(ctx context.Context, t *storage.Table, yield func(partition storage.Key, r storage.Row) bool) error {
	if err := e.begin(ctx); err != nil {
		return err
	}
	defer e.end()
	s, err := e.statements(t)
	if err != nil {
		return err
	}
	p, k := len(t.Partition), len(t.Clustering)
	return e.rows(ctx, s, s.scanAll, nil, e.cfg.PageSize, [][]storage.Column{t.Partition, t.Clustering, t.Columns}, func(v []storage.Value) bool {
		if k > 0 && !v[p].Set {
			return true // as in scanSlice
		}
		if keyText(t) {
			v[0].B = decodeKeyText(v[0].B)
		}
		return yield(storage.Key(v[:p:p]), storage.Row{Clustering: v[p : p+k : p+k], Columns: v[p+k:]})
	})
}
