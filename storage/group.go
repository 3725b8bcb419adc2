package storage

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// GroupApplier is implemented by an engine for which durable batches of many partitions cost about as much as one: it has
// one log, and one sync makes all of it durable.
type GroupApplier interface {
	// ApplyGroup durably writes batches of any tables and partitions: all of them or none. It is otherwise as Apply.
	// Every put must be Whole, or set all columns.
	ApplyGroup(ctx context.Context, batches []Batch) error
}

// Groups reports whether AppendGroup may be used: whether the engine is a GroupApplier.
func (s *Store) Groups() bool {
	g, ok := s.engine.(interface{ Groups() bool })
	if ok {
		return g.Groups()
	}
	_, ok = s.engine.(GroupApplier)
	return ok
}

// AppendGroup does what AppendEvents does for several conversations, each named once, in one step: all of it is durable or
// none. Its errors are those of AppendEvents; after one other than chat.ErrUnknown nothing was written.
func (s *Store) AppendGroup(ctx context.Context, appends []chat.Append) error {
	g, ok := s.engine.(GroupApplier)
	if !ok {
		return fmt.Errorf("append to %d conversations: %w: the engine has no groups", len(appends), chat.ErrInvalid)
	}
	for i := range appends {
		if err := checkEvents(&appends[i].Key, appends[i].Events); err != nil {
			return err
		}
	}
	a := s.arena()
	defer s.release(a)
	for i := range appends {
		key, events := &appends[i].Key, appends[i].Events
		for len(events) > 0 {
			bucket := bucketOf(events[0].Seq)
			n := min(uint64(len(events)), (bucket+1)<<BucketBits-events[0].Seq)
			for j := range events[:n] {
				a.eventMutation(&events[j])
			}
			partition := Key(a.take(3))
			partition[0], partition[1], partition[2] = text(key.Tenant), blob(key.ID[:]), number(bucket)
			a.batches = append(a.batches, Batch{Table: TableLog, Partition: partition})
			a.ends = append(a.ends, len(a.mutations))
			events = events[n:]
		}
	}
	first := 0 // the mutations have moved while they were appended
	for i, end := range a.ends {
		a.batches[i].Mutations = a.mutations[first:end:end]
		first = end
	}
	return fail(g.ApplyGroup(ctx, a.batches), "append to", many(len(appends)))
}

// many names a number of conversations in an error.
type many int

func (n many) String() string { return fmt.Sprintf("%d conversations", int(n)) }
