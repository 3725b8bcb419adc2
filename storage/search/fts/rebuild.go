package fts

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// rebuild fills a database beside the one in use. It is not synced before Commit.
type rebuild struct {
	ix   *Index
	file *file
}

// Rebuild implements search.Index.
func (ix *Index) Rebuild(ctx context.Context) (search.Rebuild, error) {
	f, err := ix.acquire(ctx) // so that Close waits
	if err != nil {
		return nil, err
	}
	defer ix.release(f)
	next, err := createFile(ix.cfg, false)
	if err != nil {
		return nil, fmt.Errorf("%w: beginning a rebuild: %w", search.ErrUnavailable, err)
	}
	r := &rebuild{ix: ix, file: next}
	ix.mu.Lock()
	old := ix.next
	closed := ix.closed
	if !closed {
		ix.next = r
	}
	ix.mu.Unlock()
	if closed {
		ix.retire(next)
		return nil, search.ErrClosed
	}
	if old != nil {
		ix.retire(old.file)
	}
	return r, nil
}

// acquire keeps the file open until release, if the rebuild is still the one that runs.
func (r *rebuild) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	r.ix.mu.Lock()
	defer r.ix.mu.Unlock()
	switch {
	case r.ix.closed:
		return search.ErrClosed
	case r.ix.next != r:
		return fmt.Errorf("%w: this rebuild is over", search.ErrClosed)
	}
	r.file.users++
	return nil
}

// Apply implements search.Rebuild.
func (r *rebuild) Apply(ctx context.Context, changes []chat.IndexChange) error {
	if err := r.acquire(ctx); err != nil {
		return r.ix.failed(err)
	}
	defer r.ix.release(r.file)
	return r.ix.apply(ctx, r.file, changes)
}

// Cursors implements search.Rebuild.
func (r *rebuild) Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	if err := r.acquire(ctx); err != nil {
		return nil, err
	}
	defer r.ix.release(r.file)
	return r.file.cursors(ctx, keys)
}

// Commit implements search.Rebuild. A crash leaves the old index or the new one, whole.
func (r *rebuild) Commit(ctx context.Context) error {
	if err := r.acquire(ctx); err != nil {
		return err
	}
	defer r.ix.release(r.file)
	err := r.file.settle(ctx)
	if err == nil {
		r.ix.mu.Lock()
		switch {
		case r.ix.closed:
			err = search.ErrClosed
		case r.ix.next != r:
			err = fmt.Errorf("%w: this rebuild is over", search.ErrClosed)
		default:
			// Under the lock, so that no other rebuild can end between: two small syncs.
			if err = writeCurrent(r.ix.cfg.Dir, r.file); err != nil {
				err = fmt.Errorf("%w: %w", search.ErrUnavailable, err)
			}
		}
		if err == nil {
			old := r.ix.current
			r.ix.current, r.ix.next = r.file, nil
			r.ix.mu.Unlock()
			r.ix.retire(old)
			return nil
		}
		r.ix.mu.Unlock()
	}
	_ = r.Abort(ctx)
	return fmt.Errorf("ending a rebuild: %w", err)
}

// Abort implements search.Rebuild.
func (r *rebuild) Abort(context.Context) error {
	r.ix.mu.Lock()
	running := r.ix.next == r
	if running {
		r.ix.next = nil
	}
	r.ix.mu.Unlock()
	if running {
		r.ix.retire(r.file)
	}
	return nil
}
