package meili

import (
	"context"
	"errors"
	"fmt"

	"github.com/meilisearch/meilisearch-go"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage/search"
)

// newSuffix names the index that a rebuild fills.
const newSuffix = "_new"

// rebuild implements search.Rebuild.
type rebuild struct {
	x          *Index
	uid        string
	generation string
}

// Rebuild implements search.Index. One that another node began is ended as well.
func (x *Index) Rebuild(ctx context.Context) (search.Rebuild, error) {
	ctx, end, err := x.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	x.rebuilding.Lock()
	defer x.rebuilding.Unlock()
	x.rebuild.Store(nil)
	if err := x.ensure(ctx); err != nil {
		return nil, err
	}
	r := &rebuild{x: x, uid: x.live + newSuffix}
	if err := x.drop(ctx, r.uid); err != nil {
		return nil, err
	}
	if err := x.create(ctx, r.uid); err != nil {
		return nil, err
	}
	if r.generation, err = x.generation(ctx, r.uid); err != nil {
		return nil, err
	}
	x.rebuild.Store(r)
	return r, nil
}

// drop removes an index; one that is not there is fine.
func (x *Index) drop(ctx context.Context, uid string) error {
	err := x.do(ctx, "removing an index", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
		return x.client.DeleteIndexWithContext(ctx, uid)
	})
	var t *taskError
	if errors.Is(err, errNoIndex) || errors.As(err, &t) && t.code == "index_not_found" {
		return nil
	}
	return err
}

// begin enters a call while this rebuild is the one that runs.
func (r *rebuild) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, end, err := r.x.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	if r.x.rebuild.Load() != r {
		end()
		return nil, nil, fmt.Errorf("%w: this rebuild is over", search.ErrClosed)
	}
	return ctx, end, nil
}

// Apply implements search.Rebuild.
func (r *rebuild) Apply(ctx context.Context, changes []chat.IndexChange) error {
	ctx, end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return r.x.apply(ctx, r.uid, changes)
}

// Cursors implements search.Rebuild.
func (r *rebuild) Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error) {
	ctx, end, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return r.x.cursors(ctx, r.uid, keys)
}

// Commit implements search.Rebuild.
func (r *rebuild) Commit(ctx context.Context) error {
	ctx, end, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	r.x.rebuilding.Lock()
	defer r.x.rebuilding.Unlock()
	if !r.x.rebuild.CompareAndSwap(r, nil) {
		return fmt.Errorf("%w: this rebuild is over", search.ErrClosed)
	}
	g, err := r.x.generation(ctx, r.uid)
	switch {
	case err != nil:
		return err
	case g != r.generation:
		return fmt.Errorf("%w: another node began a rebuild", search.ErrClosed)
	}
	if err := r.x.do(ctx, "swapping indexes", func(ctx context.Context) (*meilisearch.TaskInfo, error) {
		return r.x.client.SwapIndexesWithContext(ctx, []*meilisearch.SwapIndexesParams{{Indexes: []string{r.x.live, r.uid}}})
	}); err != nil {
		return err
	}
	// What is left after a crash here is removed by the next rebuild.
	if err := r.x.drop(ctx, r.uid); err != nil {
		r.x.cfg.Logger.Warn("search: the old index could not be removed", "index", r.uid, "error", err)
	}
	return nil
}

// Abort implements search.Rebuild.
func (r *rebuild) Abort(ctx context.Context) error {
	if !r.x.rebuild.CompareAndSwap(r, nil) {
		return nil
	}
	ctx, end, err := r.x.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	r.x.rebuilding.Lock()
	defer r.x.rebuilding.Unlock()
	return r.x.drop(ctx, r.uid)
}
