package storage

import (
	"context"
	"slices"

	"github.com/zumodra/hub/chat"
)

// deletion is what the marker row of a conversation that is being deleted holds: the seq up to which its log surely
// reaches, and the users whose lists name it.
type deletion struct {
	seq   uint64
	users []chat.UserID
}

func decodeDeletion(c []Value) (*deletion, error) {
	users, err := decodeUsers(c[convName].B)
	return &deletion{seq: c[convSeq].uint(), users: users}, err
}

// DeleteConversation removes everything of a conversation; members are users whose lists may name it, beyond those in
// its derived state. First, in one durable batch, the derived state gives way to a marker, so the conversation is gone
// at once; a crash after that leaves work which the next LoadConversation of it finishes. The dirty mark stays: it goes
// when the projections have heard of the deletion.
func (s *Store) DeleteConversation(ctx context.Context, key chat.ConversationKey, members []chat.UserID) error {
	d := deletion{users: slices.Clone(members)}
	pending, err := s.scanConversation(ctx, key, func(h chat.Head) { d.seq = h.Seq },
		func(m chat.Member) { d.users = append(d.users, m.User) })
	if err != nil {
		return fail(err, "delete", key)
	}
	if pending != nil {
		d.seq, d.users = max(d.seq, pending.seq), append(d.users, pending.users...)
	}
	slices.Sort(d.users)
	d.users = slices.Compact(d.users)
	columns := make([]Value, convSeq+1)
	columns[convSeq] = number(d.seq)
	if len(d.users) > 0 {
		columns[convName] = blob(appendUsers(nil, d.users))
	}
	err = s.engine.Apply(ctx, Batch{Table: TableConversation, Partition: conversationPartition(&key), Mutations: []Mutation{
		{Delete: true}, {Clustering: deletingRow, Columns: columns, Whole: true}}})
	if err == nil {
		err = s.finishDeletion(ctx, key, d)
	}
	return fail(err, "delete", key)
}

// finishDeletion removes what the marker stands for and, last, the marker.
func (s *Store) finishDeletion(ctx context.Context, key chat.ConversationKey, d deletion) error {
	err := s.each(ctx, len(d.users), func(ctx context.Context, i int) error {
		if err := s.dropPersonal(ctx, &key, d.users[i]); err != nil {
			return err
		}
		return s.engine.Apply(ctx, Batch{Table: TableMemberships, Partition: Key{text(key.Tenant), text(d.users[i])},
			Mutations: []Mutation{{Clustering: Key{blob(key.ID[:])}, Delete: true}}, Durability: Relaxed})
	})
	if err != nil {
		return err
	}
	if err := s.deleteLog(ctx, key, d.seq); err != nil {
		return err
	}
	for _, kind := range [...]chat.ReceiptKind{chat.ReceiptRead, chat.ReceiptDelivered} {
		if err := s.deletePartition(ctx, TableReceipts, Key{text(key.Tenant), blob(key.ID[:]), number(uint64(kind))}, Relaxed); err != nil {
			return err
		}
	}
	return s.deletePartition(ctx, TableConversation, conversationPartition(&key), Durable)
}

func (s *Store) deletePartition(ctx context.Context, t *Table, partition Key, d Durability) error {
	return s.engine.Apply(ctx, Batch{Table: t, Partition: partition, Mutations: []Mutation{{Delete: true}}, Durability: d})
}

// deleteLog removes the log, bucket by bucket, with its threads and the client ids of those who sent. It ends at the first empty
// bucket beyond seq.
func (s *Store) deleteLog(ctx context.Context, key chat.ConversationKey, seq uint64) error {
	for bucket := uint64(0); ; bucket++ {
		senders := make(map[chat.UserID]bool)
		rows := 0
		var keys []Key
		err := s.engine.Scan(ctx, Range{Table: TableLog, Partition: logKey(&key, bucket)}, func(r Row) bool {
			rows++
			if s.cfg.Fences != nil {
				keys = append(keys, Key{r.Clustering[0], r.Clustering[1]})
			}
			if r.Columns[logClientID].Set && !senders[chat.UserID(r.Columns[logActor].B)] {
				senders[chat.UserID(r.Columns[logActor].string())] = true
			}
			return true
		})
		if err != nil {
			return err
		}
		if rows == 0 && bucket > bucketOf(seq) {
			return nil
		}
		for u := range senders {
			if err := s.deletePartition(ctx, TableDedup, Key{text(key.Tenant), blob(key.ID[:]), text(u)}, Relaxed); err != nil {
				return err
			}
		}
		if err := s.deletePartition(ctx, TableReplies, logKey(&key, bucket), Relaxed); err != nil {
			return err
		}
		if s.cfg.Fences != nil {
			err = s.deleteFenced(ctx, logKey(&key, bucket), keys)
		} else {
			err = s.deletePartition(ctx, TableLog, logKey(&key, bucket), Relaxed)
		}
		if err != nil {
			return err
		}
	}
}
