package searchindex

import (
	"context"

	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/chat"
)

// Name of the consumer: in the store, in metrics and logs.
const Name = "search"

// Index takes messages in. Its methods are those of projection.Consumer.
type Index interface {
	Apply(ctx context.Context, changes []chat.IndexChange) error
	Cursors(ctx context.Context, keys []chat.ConversationKey) ([]uint64, error)
	Generation(ctx context.Context) (string, error)
}

// Consumer feeds an Index.
type Consumer struct {
	Index
	rebuild func(context.Context) (projection.Rebuild, error)
}

// New returns the consumer of an index. rebuild begins a new index beside it; nil: it cannot be rebuilt.
func New(x Index, rebuild func(context.Context) (projection.Rebuild, error)) *Consumer {
	return &Consumer{x, rebuild}
}

// Name implements projection.Consumer.
func (c *Consumer) Name() string { return Name }

// Rebuild implements projection.Rebuilder.
func (c *Consumer) Rebuild(ctx context.Context) (projection.Rebuild, error) {
	if c.rebuild == nil {
		return nil, projection.ErrNoRebuild
	}
	return c.rebuild(ctx)
}

var (
	_ projection.Consumer  = (*Consumer)(nil)
	_ projection.Rebuilder = (*Consumer)(nil)
)
