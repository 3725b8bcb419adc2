package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// FencedApplier is implemented by an engine that several processes can open, and that can make a write depend on who
// writes: each partition of a Fenced table has a fence, the highest epoch that has written to it, none at first.
type FencedApplier interface {
	// ApplyFenced durably writes a batch, all of it or nothing, if the fence of its partition is not above epoch (at least
	// 1), and sets the fence to epoch in the same step. A batch without mutations only does the latter. Where the fence is
	// above, nothing is written and the answer is ErrFenced: now and for ever. Its other errors are those of Apply.
	//
	// Calls for a partition are in one order, which all of their writers and the reads after them see, whatever anybody's
	// clock says. A row is named once in a batch, and no partition is deleted as a whole. Rows that are written by it must not be
	// written by Apply as well, but see ChangeFencing. Safe for concurrent use.
	ApplyFenced(ctx context.Context, b Batch, epoch uint64) error
}

// Under returns the store as the owner of an epoch writes to it. With Config.Fences its writes to logs are refused with
// chat.ErrFenced (and ErrFenced) once a later owner has called Fence for that part of the log, whether or not this one
// has noticed; without, it is the store itself. What is derived from the log is written as ever: it is derived again.
func (s *Store) Under(epoch uint64) *Store {
	if s.cfg.Fences == nil {
		return s
	}
	u := *s
	u.epoch = epoch
	return &u
}

// Fence keeps all owners of lower epochs from writing to the part of the log that event seq is or will be in, and returns
// the last seq of that part. Whoever takes a conversation over calls it before it reads: first for the event behind the
// stored head, and for that behind the part's last one if that is there. chat.ErrFenced: there is a later owner already.
// Without Config.Fences the log is one part, and nothing is done.
func (s *Store) Fence(ctx context.Context, key chat.ConversationKey, seq uint64) (last uint64, err error) {
	if s.cfg.Fences == nil {
		return maxSeq, nil
	}
	bucket := bucketOf(seq)
	err = s.applyLog(ctx, Batch{Table: TableLog, Partition: logKey(&key, bucket)})
	return (bucket+1)<<BucketBits - 1, fail(err, "fence", key)
}

// writesLogs reports whether the store may write to logs.
func (s *Store) writesLogs() bool { return s.cfg.Fences == nil || s.epoch > 0 }

// applyLog is Apply for a partition of TableLog.
func (s *Store) applyLog(ctx context.Context, b Batch) error {
	if s.cfg.Fences == nil {
		return s.engine.Apply(ctx, b)
	}
	if !s.writesLogs() {
		return fmt.Errorf("%w: with strict fencing a log is written under an epoch", chat.ErrInvalid)
	}
	err := s.cfg.Fences.ApplyFenced(ctx, b, s.epoch)
	if errors.Is(err, ErrFenced) {
		err = fmt.Errorf("%w: %w", chat.ErrFenced, err)
	}
	return err
}

// deleteChunk is how many rows a transaction deletes.
const deleteChunk = 256

// deleteFenced deletes rows of a partition of TableLog one by one. The deletion of a partition as a whole would have a
// time of our clock, not the servers', and take the fence away too.
func (s *Store) deleteFenced(ctx context.Context, partition Key, rows []Key) error {
	for len(rows) > 0 {
		n := min(len(rows), deleteChunk)
		b := Batch{Table: TableLog, Partition: partition, Mutations: make([]Mutation, n)}
		for i, k := range rows[:n] {
			b.Mutations[i] = Mutation{Clustering: k, Delete: true}
		}
		if err := s.applyLog(ctx, b); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// unreleased is how much later than the clock in its lease a node that ended without releasing it may have written.
func unreleased(l *NodeLease) time.Duration {
	if l.State == NodeReleased {
		return 0
	}
	return l.Duration + l.Duration/10
}
