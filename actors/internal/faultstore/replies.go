package faultstore

import (
	"context"
	"slices"

	"github.com/zumodra/hub/chat"
)

// GetHead implements actors.Store.
func (s *Store) GetHead(ctx context.Context, key chat.ConversationKey) (chat.Head, error) {
	heads, err := s.GetHeads(ctx, []chat.ConversationKey{key})
	if err != nil {
		return chat.Head{}, err
	}
	return heads[0], nil
}

// ReadReplies implements actors.Store.
func (s *Store) ReadReplies(_ context.Context, key chat.ConversationKey, to, before uint64, limit int) ([]uint64, error) {
	if err := s.begin("ReadReplies", key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var seqs []uint64
	if c := s.convs[key]; c != nil {
		for _, r := range c.replies {
			if r.To == to && r.Seq < before {
				seqs = append(seqs, r.Seq)
			}
		}
	}
	slices.Sort(seqs)
	slices.Reverse(seqs)
	return seqs[:min(limit, len(seqs))], nil
}
