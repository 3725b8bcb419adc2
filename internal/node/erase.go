package node

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors"
	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/tenancy"
	"github.com/zumodra/hub/storage/blob"
)

// erasesAtOnce is how many conversations of a tenant are erased at once.
const erasesAtOnce = 16

// runEraser erases the data of tenants until unerase is called: first the conversations, by those who decide about them, so
// that consumers hear of it as of every other deletion; then the rows of every table; then the files.
func (n *Node) runEraser(hub *actors.Hub) {
	steps := []tenancy.EraseStep{{Name: "conversations", Do: func(ctx context.Context, t chat.TenantID) (int, error) {
		return eraseConversations(ctx, n.store.TenantConversations, hub, t)
	}}}
	for _, table := range n.store.ErasedTables() {
		steps = append(steps, tenancy.EraseStep{Name: table, Do: func(ctx context.Context, t chat.TenantID) (int, error) {
			return n.store.EraseRows(ctx, t, table)
		}})
	}
	blobs := n.blobs.Load().store
	steps = append(steps, tenancy.EraseStep{Name: "blobs", Do: func(ctx context.Context, t chat.TenantID) (int, error) {
		return eraseBlobs(ctx, blobs, t)
	}})
	e := tenancy.NewEraser(tenancy.EraserConfig{Registry: n.tenancy, Steps: steps, Grace: n.opts.EraseGrace, Log: n.log,
		Owns: func(t chat.TenantID) bool { return hub.Serves(chat.UserKey{Tenant: t}.Shard()) }})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { e.Run(ctx) })
	n.unerase = func() {
		cancel()
		running.Wait()
	}
}

type listConversations func(context.Context, chat.TenantID, func(chat.ConversationKey) bool) error

// eraseConversations also finds those that are gone, and of whose end consumers have not heard: it sees to that.
func eraseConversations(ctx context.Context, list listConversations, hub *actors.Hub, t chat.TenantID) (int, error) {
	found := 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(erasesAtOnce)
	err := list(ctx, t, func(k chat.ConversationKey) bool {
		found++
		g.Go(func() error {
			_, err := hub.Do(gctx, chat.Principal{Tenant: t}, chat.Erase{Conversation: k.ID})
			return err
		})
		return gctx.Err() == nil
	})
	if failed := g.Wait(); failed != nil {
		err = failed
	}
	return found, err
}

// eraseBlobs removes files that nothing refers to any more, without the sweeper's grace. What unfinished uploads left
// aside the sweeper removes.
func eraseBlobs(ctx context.Context, s blob.Store, t chat.TenantID) (int, error) {
	found := 0
	var failed error
	err := s.List(ctx, func(i blob.Info) bool {
		if i.Key.Tenant != t {
			return true
		}
		found++
		failed = s.Delete(ctx, i.Key)
		return failed == nil
	})
	return found, errors.Join(err, failed)
}

// stopEraser may be called more than once.
func (n *Node) stopEraser() {
	if n.unerase != nil {
		n.unerase()
		n.unerase = nil
	}
}
