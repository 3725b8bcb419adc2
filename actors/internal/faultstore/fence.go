package faultstore

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// partSize is how many events a part of a log has that is fenced by itself.
const partSize = 8

type part struct {
	key  chat.ConversationKey
	part uint64
}

// Fenced is a Store as the owner of an epoch writes to it: a conversation.FencedStore.
type Fenced struct {
	*Store
	epoch uint64
}

// Under returns the store as the owner of an epoch writes to it.
func (s *Store) Under(epoch uint64) *Fenced { return &Fenced{s, epoch} }

// pass raises the fence of the parts that events lie in, or refuses.
func (f *Fenced) pass(key chat.ConversationKey, seqs ...uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, seq := range seqs {
		p := part{key, seq / partSize}
		if was := f.fences[p]; was > f.epoch {
			return fmt.Errorf("%w: by epoch %d, ours is %d", chat.ErrFenced, was, f.epoch)
		}
		f.fences[p] = f.epoch
	}
	return nil
}

// Fence implements conversation.FencedStore.
func (f *Fenced) Fence(_ context.Context, key chat.ConversationKey, seq uint64) (uint64, error) {
	if err := f.begin("Fence", key); err != nil {
		return 0, err
	}
	return seq/partSize*partSize + partSize - 1, f.pass(key, seq)
}

// AppendEvents is the store's, part by part.
func (f *Fenced) AppendEvents(_ context.Context, key chat.ConversationKey, events []chat.Event) error {
	if err := f.begin("AppendEvents", key); err != nil {
		return err
	}
	for i := range events {
		err := f.pass(key, events[i].Seq)
		if err == nil {
			err = f.append(key, events[i:i+1])
		}
		if err != nil && i > 0 {
			err = fmt.Errorf("%w: %w", chat.ErrUnknown, err)
		}
		if err != nil {
			return err
		}
	}
	return f.end("AppendEvents", key)
}

// SaveDerived is the store's, unless a row that it rewrites is fenced off.
func (f *Fenced) SaveDerived(_ context.Context, key chat.ConversationKey, d chat.Derived) error {
	if err := f.begin("SaveDerived", key); err != nil {
		return err
	}
	for i := range d.Rewritten {
		if err := f.pass(key, d.Rewritten[i].Seq); err != nil {
			return err
		}
	}
	f.save(key, d)
	return f.end("SaveDerived", key)
}

// DeleteConversation is the store's, unless the log's beginning is fenced off.
func (f *Fenced) DeleteConversation(ctx context.Context, key chat.ConversationKey, users []chat.UserID) error {
	if err := f.pass(key, 1); err != nil {
		return err
	}
	return f.Store.DeleteConversation(ctx, key, users)
}
