package storage

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// What projections need besides the log: which conversations there are, which of them may be behind, and what is
// remembered of the consumers.

// Conversations calls yield for every conversation that has a stored head, of all tenants, in any order, with the seq
// of that head, until it returns false. Conversations that are being deleted are left out.
func (s *Store) Conversations(ctx context.Context, yield func(key chat.ConversationKey, head uint64) bool) error {
	var failed error
	err := s.engine.ScanTable(ctx, TableConversation, func(p Key, r Row) bool {
		if string(r.Clustering[0].B) != rowHead {
			return true
		}
		key, err := keyOf(p[0], p[1])
		if err != nil {
			failed = err
			return false
		}
		return yield(key, r.Columns[convSeq].uint())
	})
	if err == nil {
		err = failed
	}
	return fail(err, "list", everything{})
}

type everything struct{}

func (everything) String() string { return "conversations" }

// DirtyShard returns the marked conversations of one shard that come after the given one (zero: from the first), at
// most limit, in the order of their keys.
func (s *Store) DirtyShard(ctx context.Context, shard int, after chat.ConversationKey, limit int) ([]chat.ConversationKey, error) {
	r := Range{Table: TableDirty, Partition: Key{number(uint64(shard))}, Limit: limit}
	if after.Tenant != "" {
		r.From, r.Limit = conversationPartition(&after), limit+1 // inclusive
	}
	var keys []chat.ConversationKey
	var failed error
	err := s.engine.Scan(ctx, r, func(r Row) bool {
		var key chat.ConversationKey
		if key, failed = keyOf(r.Clustering[0], r.Clustering[1]); failed != nil {
			return false
		}
		if key != after {
			keys = append(keys, key)
		}
		return len(keys) < limit
	})
	if err == nil {
		err = failed
	}
	return keys, fail(err, "list", dirtyMarks{})
}

// GetEvents returns events in their order, the zero Event where there is none. Those whose epoch is the one given with
// them cost one read together, each of the others one of its own.
func (s *Store) GetEvents(ctx context.Context, refs []chat.EventRef) ([]chat.Event, error) {
	events := make([]chat.Event, len(refs))
	keys := make([]FullKey, 0, len(refs))
	at := make([]int, 0, len(refs))
	for i := range refs {
		if r := &refs[i]; r.Seq > 0 && r.Seq <= maxSeq {
			keys = append(keys, FullKey{logKey(&r.Key, bucketOf(r.Seq)), Key{number(r.Seq), number(r.Epoch)}})
			at = append(at, i)
		}
	}
	rows, err := s.engine.GetMany(ctx, TableLog, keys)
	if err != nil {
		return nil, fail(err, "read events of", count(len(refs)))
	}
	var rest []int
	for j := range rows {
		i := at[j]
		if rows[j].Columns == nil {
			rest = append(rest, i)
			continue
		}
		rows[j].Clustering = keys[j].Clustering
		if events[i], err = decodeEvent(rows[j]); err != nil {
			return nil, fail(err, "read events of", refs[i].Key)
		}
	}
	// Written under another epoch, or not there.
	err = s.each(ctx, len(rest), func(ctx context.Context, j int) error {
		r := &refs[rest[j]]
		var failed error
		err := s.engine.Scan(ctx, Range{Table: TableLog, Partition: logKey(&r.Key, bucketOf(r.Seq)), From: Key{number(r.Seq)},
			To: Key{number(r.Seq)}, ToInclusive: true, Reverse: true, Limit: 1}, func(row Row) bool {
			events[rest[j]], failed = decodeEvent(row)
			return false
		})
		if err == nil {
			err = failed
		}
		return fail(err, "read events of", r.Key)
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// Consumers returns what is remembered of the consumers of the log.
func (s *Store) Consumers(ctx context.Context) ([]chat.ConsumerState, error) {
	var list []chat.ConsumerState
	err := s.engine.ScanTable(ctx, TableCursors, func(p Key, r Row) bool {
		list = append(list, chat.ConsumerState{Name: p[0].string(), Generation: r.Columns[0].string(), Complete: r.Columns[1].bool()})
		return true
	})
	return list, fail(err, "list", consumer("consumers"))
}

type consumer string

func (c consumer) String() string { return string(c) }

// PutConsumer durably remembers the state of a consumer.
func (s *Store) PutConsumer(ctx context.Context, c chat.ConsumerState) error {
	if c.Name == "" {
		return fmt.Errorf("remember a consumer: %w: it has no name", chat.ErrInvalid)
	}
	return fail(s.engine.Apply(ctx, Batch{Table: TableCursors, Partition: Key{text(c.Name)},
		Mutations: []Mutation{{Columns: []Value{text(c.Generation), boolean(c.Complete)}, Whole: true}}}), "remember", consumer(c.Name))
}

// ForgetConsumer durably forgets a consumer: when it comes back it is fed everything.
func (s *Store) ForgetConsumer(ctx context.Context, name string) error {
	return fail(s.deletePartition(ctx, TableCursors, Key{text(name)}, Durable), "forget", consumer(name))
}
