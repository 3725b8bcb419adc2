package pebble

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/zumodra/hub/storage"
)

// sweeper removes expired rows: each turn looks at a bounded number of rows of the tables that have a TTL, from where
// the last one stopped, so its cost per time is fixed and a pass takes as long as the tables are large.
type sweeper struct {
	mu      sync.Mutex // one turn at a time
	table   int        // index in Config.Tables
	cursor  []byte     // the key to go on from; nil: the table's beginning
	removed atomic.Uint64
}

// sweepTurn runs one turn and returns how many rows it removed.
func (e *Engine) sweepTurn(ctx context.Context) (removed int, err error) {
	if err := e.begin(ctx); err != nil {
		return 0, err
	}
	defer e.end()
	w := &e.sweep
	w.mu.Lock()
	defer w.mu.Unlock()
	left := e.cfg.SweepRows
	for range e.cfg.Tables {
		t := e.cfg.Tables[w.table]
		if t.TTL > 0 {
			lower := appendTable(nil, t)
			upper := appendSuccessor(nil, lower)
			if w.cursor != nil {
				lower = w.cursor
			}
			var dead [][]byte
			if w.cursor, dead, left, err = e.expired(ctx, lower, upper, left); err != nil {
				return removed, fmt.Errorf("storage: sweep %s: %w", t.Name, err)
			}
			for _, key := range dead {
				ok, err := e.removeExpired(t.Partition, key)
				if err != nil {
					return removed, fmt.Errorf("storage: sweep %s: %w", t.Name, err)
				}
				if ok {
					removed++
					w.removed.Add(1)
				}
			}
			if w.cursor != nil {
				break // used up
			}
		}
		w.table = (w.table + 1) % len(e.cfg.Tables)
	}
	return removed, nil
}

// expired returns the keys of expired rows among the next limit ones, and where to go on, nil at the end.
func (e *Engine) expired(ctx context.Context, lower, upper []byte, limit int) (cursor []byte, dead [][]byte, left int, err error) {
	it, err := e.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, nil, limit, err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	now := e.cfg.Now().UnixMicro()
	for ok := it.First(); ok; ok = it.Next() {
		if limit == 0 {
			return append([]byte(nil), it.Key()...), dead, 0, nil
		}
		limit--
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, nil, limit, err
		}
		if at, _, err := expiry(value); err == nil && at != 0 && at <= now {
			dead = append(dead, append([]byte(nil), it.Key()...))
		}
	}
	return nil, dead, limit, it.Error()
}

// removeExpired removes the row at key if it is expired still.
func (e *Engine) removeExpired(partition []storage.Column, key []byte) (bool, error) {
	var d keyDecoder
	_, rest, err := d.decode(nil, partition, key[2:])
	if err != nil {
		return false, err
	}
	lock := e.stripe(key[:len(key)-len(rest)])
	lock.Lock()
	defer lock.Unlock()
	value, closer, err := e.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	at, _, err := expiry(value)
	if err = errors.Join(err, closer.Close()); err != nil || at == 0 || at > e.cfg.Now().UnixMicro() {
		return false, err
	}
	return true, e.remove(key)
}
