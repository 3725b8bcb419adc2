package storage

import (
	"context"

	"github.com/zumodra/hub/chat"
)

// saveReplies writes the threads that messages belong to, a batch per bucket of the messages that they answer.
func (s *Store) saveReplies(ctx context.Context, a *arena, key chat.ConversationKey, replies []chat.Reply) error {
	for i := 0; i < len(replies); {
		bucket := bucketOf(replies[i].To)
		a.reset()
		for ; i < len(replies) && bucketOf(replies[i].To) == bucket; i++ {
			k := Key(a.take(2))
			k[0], k[1] = number(replies[i].To), number(replies[i].Seq)
			a.put(k, nil)
		}
		if err := s.engine.Apply(ctx, Batch{Table: TableReplies, Partition: a.logPartition(&key, bucket), Mutations: a.mutations,
			Durability: Relaxed}); err != nil {
			return err
		}
	}
	return nil
}

// ReadReplies returns the places of the messages before seq before that answer the one at to, the newest first, at most
// limit. It knows those up to the stored head (GetHead, asked first) and perhaps later ones.
func (s *Store) ReadReplies(ctx context.Context, key chat.ConversationKey, to, before uint64, limit int) ([]uint64, error) {
	if to == 0 || to > maxSeq || before == 0 || limit <= 0 {
		return nil, nil
	}
	var seqs []uint64
	err := s.engine.Scan(ctx, Range{Table: TableReplies, Partition: logKey(&key, bucketOf(to)), From: Key{number(to)},
		To: Key{number(to), number(min(before, maxSeq) - 1)}, ToInclusive: true, Reverse: true, Limit: limit}, func(r Row) bool {
		seqs = append(seqs, r.Clustering[1].uint())
		return true
	})
	return seqs, fail(err, "read replies of", key)
}
