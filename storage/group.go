package storage

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// GroupApplier is implemented by an engine for which durable batches of many partitions cost less together than one by
// one: one sync makes all of them durable, or one request carries them.
type GroupApplier interface {
	// Groups reports whether that holds now. It never blocks, and its answer may change at any time; ApplyGroup does what
	// it says whatever the answer.
	Groups() bool
	// GroupLimits says which groups are worth while; they do not change. ApplyGroup takes any.
	GroupLimits() chat.GroupLimits
	// ApplyGroup durably writes batches of any tables and partitions, each of which all or nothing, in no order: nil says
	// that all of them were written. After an error that is ErrUnknownOutcome each may or may not have been, on its own;
	// applying any of them again, in a group or not, is safe. After any other error none was written.
	// It is otherwise as Apply. A partition is named once, and every put must be Whole, or set all columns.
	ApplyGroup(ctx context.Context, batches []Batch) error
}

// Groups reports whether AppendGroup is worth while now. It never blocks; the answer may change.
func (s *Store) Groups() bool {
	g, ok := s.engine.(GroupApplier)
	return ok && s.cfg.Fences == nil && g.Groups()
}

// GroupLimits says which groups are worth while; zero if the engine has none, and never will. Under strict fencing there are
// none: each log is written by a transaction of its own.
func (s *Store) GroupLimits() chat.GroupLimits {
	if g, ok := s.engine.(GroupApplier); ok && s.cfg.Fences == nil {
		return g.GroupLimits()
	}
	return chat.GroupLimits{}
}

// AppendGroup does what AppendEvents does for several conversations, each named once, in one step. Its errors are those of
// AppendEvents: after chat.ErrUnknown any of the events may be there, for each conversation as after its AppendEvents;
// after any other nothing was written.
func (s *Store) AppendGroup(ctx context.Context, appends []chat.Append) error {
	g, ok := s.engine.(GroupApplier)
	if !ok || s.cfg.Fences != nil {
		return fmt.Errorf("append to %d conversations: %w: the engine has no groups", len(appends), chat.ErrInvalid)
	}
	for i := range appends {
		if err := checkEvents(&appends[i].Key, appends[i].Events); err != nil {
			return err
		}
	}
	a := s.arena()
	defer s.release(a)
	// Events of two buckets, which are rare, are written bucket by bucket, so that what a crash leaves is a prefix.
	for round, more := 0, true; more; round++ {
		more = false
		a.batches, a.ends, a.mutations = a.batches[:0], a.ends[:0], a.mutations[:0]
		for i := range appends {
			key, events := &appends[i].Key, appends[i].Events
			for skip := round; skip > 0 && len(events) > 0; skip-- {
				events = events[inBucket(events):]
			}
			if len(events) == 0 {
				continue
			}
			n := inBucket(events)
			more = more || n < uint64(len(events))
			for j := range events[:n] {
				a.eventMutation(&events[j])
			}
			partition := Key(a.take(3))
			partition[0], partition[1], partition[2] = text(key.Tenant), blob(key.ID[:]), number(bucketOf(events[0].Seq))
			a.batches = append(a.batches, Batch{Table: TableLog, Partition: partition})
			a.ends = append(a.ends, len(a.mutations))
		}
		first := 0 // the mutations have moved while they were appended
		for i, end := range a.ends {
			a.batches[i].Mutations = a.mutations[first:end:end]
			first = end
		}
		if err := g.ApplyGroup(ctx, a.batches); err != nil {
			if round > 0 {
				err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err) // a part of it is there for sure
			}
			return fail(err, "append to", many(len(appends)))
		}
	}
	return nil
}

// inBucket is how many of events, of which there is one, are in the bucket of the first.
func inBucket(events []chat.Event) uint64 {
	return min(uint64(len(events)), (bucketOf(events[0].Seq)+1)<<BucketBits-events[0].Seq)
}

// many names a number of conversations in an error.
type many int

func (n many) String() string { return fmt.Sprintf("%d conversations", int(n)) }
