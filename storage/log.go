package storage

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

func bucketOf(seq uint64) uint64 { return seq >> BucketBits }

func (a *arena) logPartition(k *chat.ConversationKey, bucket uint64) Key {
	a.conversation(k)
	a.partition[2] = number(bucket)
	return a.partition[:3]
}

// AppendEvents durably appends events with consecutive seqs. Events of two buckets are written bucket by bucket in
// order, so that what a crash leaves is a prefix. After chat.ErrUnknown, appending the same again is safe.
func (s *Store) AppendEvents(ctx context.Context, key chat.ConversationKey, events []chat.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := checkEvents(&key, events); err != nil {
		return err
	}
	a := s.arena()
	defer s.release(a)
	for written := false; len(events) > 0; written = true {
		bucket, n := bucketOf(events[0].Seq), inBucket(events)
		a.reset()
		for i := range events[:n] {
			a.eventMutation(&events[i])
		}
		err := s.applyLog(ctx, Batch{Table: TableLog, Partition: a.logPartition(&key, bucket), Mutations: a.mutations})
		if err != nil && written {
			err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err) // a part of it is there for sure
		}
		if err != nil {
			return fail(err, "append to", key)
		}
		events = events[n:]
	}
	return nil
}

// checkEvents refuses events that cannot be the next of a log.
func checkEvents(key *chat.ConversationKey, events []chat.Event) error {
	for i := range events {
		if e := &events[i]; e.Seq == 0 || e.Seq > maxSeq || e.Seq != events[0].Seq+uint64(i) || e.Epoch > maxSeq || e.MsgNo > e.Seq {
			return fmt.Errorf("append to %s: %w: event %d of %d has seq %d, msg_no %d, the first has seq %d", *key, chat.ErrInvalid,
				i+1, len(events), e.Seq, e.MsgNo, events[0].Seq)
		}
	}
	return nil
}

// maxSeq bounds what is stored in an Int column; the message ids hold less (2^40).
const maxSeq = 1<<63 - 1

// ReadEvents returns the events from ≤ seq ≤ to in ascending order, at most limit if positive. It takes the highest
// epoch of each seq, drops a row whose epoch is lower than that of its predecessor, and stops at a gap: if event from
// is not there, it returns none. Callers read no further than a head that the conversation's owner answered.
func (s *Store) ReadEvents(ctx context.Context, key chat.ConversationKey, from, to uint64, limit int) ([]chat.Event, error) {
	from, to = max(from, 1), min(to, maxSeq)
	if from > to {
		return nil, nil
	}
	w := window{next: from, before: from - 1, limit: limit}
	start := from
	if bucketOf(from-1) == bucketOf(from) && from > 1 {
		start = from - 1 // its epoch is a bound for ours
	} else if from > 1 {
		if err := s.predecessor(ctx, key, from-1, &w); err != nil {
			return nil, err
		}
	}
	if limit > 0 {
		w.events = make([]chat.Event, 0, min(uint64(limit), to-from+1, 1<<BucketBits))
	}
	for bucket := bucketOf(start); ; bucket++ {
		last := min(to, (bucket+1)<<BucketBits-1)
		r := Range{Table: TableLog, Partition: logKey(&key, bucket), From: Key{number(max(start, bucket<<BucketBits))},
			To: Key{number(last)}, ToInclusive: true}
		if limit > 0 {
			r.Hint = limit - len(w.events) + 4
		}
		if err := s.engine.Scan(ctx, r, w.add); err != nil {
			return nil, fail(err, "read events of", key)
		}
		if w.err != nil {
			return nil, fail(w.err, "read events of", key)
		}
		if w.done || last == to || w.next != last+1 || limit > 0 && len(w.events) == limit {
			return w.events, nil
		}
	}
}

func logKey(k *chat.ConversationKey, bucket uint64) Key {
	return Key{text(k.Tenant), blob(k.ID[:]), number(bucket)}
}

// predecessor finds the highest epoch of event seq.
func (s *Store) predecessor(ctx context.Context, key chat.ConversationKey, seq uint64, w *window) error {
	err := s.engine.Scan(ctx, Range{Table: TableLog, Partition: logKey(&key, bucketOf(seq)), From: Key{number(seq)},
		To: Key{number(seq)}, ToInclusive: true, Reverse: true, Limit: 1}, func(r Row) bool {
		w.epoch = r.Clustering[1].uint()
		return false
	})
	return fail(err, "read events of", key)
}

// window applies the rule of epochs to rows that come in ascending order.
type window struct {
	events []chat.Event
	next   uint64 // the seq that is expected after the last event
	before uint64 // the seq before the first event
	epoch  uint64 // of the event before the first one, 0 if that is not there
	limit  int
	done   bool
	err    error
}

func (w *window) add(r Row) bool {
	seq, epoch := r.Clustering[0].uint(), r.Clustering[1].uint()
	switch {
	case seq == w.before:
		w.epoch = epoch
		return true
	case seq == w.next:
		bound := w.epoch
		if n := len(w.events); n > 0 {
			bound = w.events[n-1].Epoch
		}
		if epoch < bound {
			return true // a late write of a former owner; a newer row of this seq may follow
		}
		if w.limit > 0 && len(w.events) == w.limit {
			w.done = true
			return false
		}
		e, err := decodeEvent(r)
		if err != nil {
			w.err = err
			return false
		}
		w.events = append(w.events, e)
		w.next++
		return true
	case seq == w.next-1 && len(w.events) > 0: // a newer row of the last event
		e, err := decodeEvent(r)
		if err != nil {
			w.err = err
			return false
		}
		w.events[len(w.events)-1] = e
		return true
	}
	w.done = true // a gap
	return false
}

// ReadEventsReverse calls yield for events in descending order, beginning with the newest at or before seq from within
// its bucket, until yield returns false, limit events if positive were passed, or the log begins or has a gap. It takes
// the highest epoch of each seq, which is the event for every seq up to the head, the only ones a caller may ask for.
func (s *Store) ReadEventsReverse(ctx context.Context, key chat.ConversationKey, from uint64, limit int, yield func(chat.Event) bool) error {
	if from = min(from, maxSeq); from == 0 {
		return nil
	}
	var last uint64 // seq of the event passed last
	var failed error
	passed, stop := 0, false
	for bucket := bucketOf(from); ; bucket-- {
		r := Range{Table: TableLog, Partition: logKey(&key, bucket), To: Key{number(from)}, ToInclusive: true, Reverse: true}
		if limit > 0 {
			r.Hint = limit - passed + 4
		}
		err := s.engine.Scan(ctx, r, func(r Row) bool {
			seq := r.Clustering[0].uint()
			if seq == last && last != 0 {
				return true // an older epoch
			}
			if last != 0 && seq != last-1 {
				stop = true
				return false
			}
			e, err := decodeEvent(r)
			if err != nil {
				failed = err
				return false
			}
			last = seq
			passed++
			stop = !yield(e) || passed == limit
			return !stop
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return fail(err, "read events of", key)
		}
		if stop || last <= 1 || last != bucket<<BucketBits || bucket == 0 {
			return nil
		}
	}
}

// GetEvent returns one event, or chat.ErrNotFound.
func (s *Store) GetEvent(ctx context.Context, key chat.ConversationKey, seq uint64) (chat.Event, error) {
	var e chat.Event
	var failed error = ErrNoRow
	if seq == 0 || seq > maxSeq {
		return e, fail(failed, "read event of", key)
	}
	err := s.engine.Scan(ctx, Range{Table: TableLog, Partition: logKey(&key, bucketOf(seq)), From: Key{number(seq)},
		To: Key{number(seq)}, ToInclusive: true, Reverse: true, Limit: 1}, func(r Row) bool {
		e, failed = decodeEvent(r)
		return false
	})
	if err == nil {
		err = failed
	}
	return e, fail(err, "read event of", key)
}
