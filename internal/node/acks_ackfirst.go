//go:build ackfirst

package node

import (
	"context"
	"sync/atomic"

	"github.com/zumodra/hub/storage"
)

// lostCommit is which commit to a log is forgotten: each that this divides.
const lostCommit = 500

// ackFirst is a defect on purpose, for the proof that the load harness finds it: commits to logs are acknowledged before
// they are durable, and some never become it, as if the machine had failed in between.
type ackFirst struct {
	*timedEngine
	commits *atomic.Uint64
}

func promised(t *timedEngine) *ackFirst { return &ackFirst{t, new(atomic.Uint64)} }

// weaken reports whether a commit is carried out, without waiting for the disk. What is no commit to a log stays as it is.
func (a *ackFirst) weaken(b *storage.Batch) bool {
	if b.Table != storage.TableLog || b.Durability != storage.Durable {
		return true
	}
	b.Durability = storage.Relaxed
	return a.commits.Add(1)%lostCommit != 0
}

func (a *ackFirst) Apply(ctx context.Context, b storage.Batch) error {
	if !a.weaken(&b) {
		return nil
	}
	return a.timedEngine.Apply(ctx, b)
}

func (a *ackFirst) ApplyFenced(ctx context.Context, b storage.Batch, epoch uint64) error {
	if !a.weaken(&b) {
		return nil
	}
	return a.timedEngine.ApplyFenced(ctx, b, epoch)
}

func (a *ackFirst) ApplyGroup(ctx context.Context, batches []storage.Batch) error {
	kept := batches[:0:0]
	for _, b := range batches {
		if a.weaken(&b) {
			kept = append(kept, b)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return a.timedEngine.ApplyGroup(ctx, kept)
}
