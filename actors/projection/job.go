package projection

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// reads is how many conversations are read at once.
const reads = 8

// item is a conversation that a worker feeds.
type item struct {
	key     chat.ConversationKey
	claimed uint64 // head that had been told
	hint    uint64 // stored head, from a walk of everything

	known   bool // where it stands was found out
	gone    bool
	reset   bool // the consumer knows more than there is: it is told that the conversation is gone, and then all of it
	next    uint64
	head    uint64
	take    uint64 // events of this batch
	events  []chat.Event
	reached time.Time // of the last event applied

	done  bool
	later bool
}

// check asks for the generation and begins to feed everything if it is another one.
func (f *feed) check(ctx context.Context) error {
	g, err := call(f.r, ctx, f.consumer.Generation)
	if err != nil {
		return fmt.Errorf("ask for the generation: %w", err)
	}
	if f.r.cfg.Owns != nil {
		return f.checkShards(ctx, g)
	}
	f.r.mu.Lock()
	st, first := f.state, !f.checked
	f.r.mu.Unlock()
	if st.Generation != g || st.Name == "" {
		_, fed, err := f.recall(ctx) // it may have been one of several nodes
		if err == nil {
			err = f.disown(ctx, fed)
		}
		if err != nil {
			return err
		}
		st = chat.ConsumerState{Name: f.name, Generation: g}
		if err := f.r.cfg.Store.PutConsumer(ctx, st); err != nil {
			return fmt.Errorf("remember the generation: %w", err)
		}
		first = true
		f.r.cfg.Log.Info("projection: the consumer is fed all conversations", "consumer", f.name)
	}
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.state, f.checked, f.checkAt = st, true, f.r.cfg.Now().Add(f.r.cfg.Recheck)
	if first && !st.Complete {
		f.all()
	}
	f.signal(f.r.cfg.Workers)
	return nil
}

// all begins to feed everything.
func (f *feed) all() {
	f.full, f.feeding, f.fullSet = &fullWalk{page: f.r.cfg.Page}, true, everything()
}

// page takes the next page of a walk and makes its conversations the worker's own.
func (f *feed) page(ctx context.Context, w walk) ([]item, error) {
	items, err := w.next(ctx, f.r.cfg.Store, f.r.cfg.Batch)
	if err != nil {
		return nil, err
	}
	_, full := w.(*fullWalk)
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	kept := items[:0]
	for _, it := range items {
		if n := it.key.Shard(); !f.r.owned.Has(n) || full && !f.fullSet.Has(n) {
			continue // lost since
		}
		e := f.pending[it.key]
		if e == nil {
			e = f.add(it.key)
			e.place = busy
			kept = append(kept, it)
		}
		e.marked = e.marked || !full
		if full && !e.full {
			e.full = true
			f.fullLeft++
		}
	}
	return kept, nil
}

// walked takes in that a walk has come to its end.
func (f *feed) walked(w walk) {
	switch w {
	case f.dirty:
		f.dirty = nil
		if !f.missed {
			f.missedEvents = 0
			f.r.searched(f)
		}
	case f.full:
		f.full = nil
	}
}

// completed remembers that everything has been fed, once that is so.
func (f *feed) completed(ctx context.Context) {
	f.r.mu.Lock()
	whole := f.feeding && f.full == nil && f.fullLeft == 0 && f.consumer != nil && f.checked && !f.paused
	st := f.state
	st.Complete = true
	if whole {
		f.feeding = false // nobody else does it as well
		f.running++       // and nobody changes the generation meanwhile
	}
	set := f.fullSet
	f.r.mu.Unlock()
	if !whole {
		return
	}
	var err error
	shards := f.r.cfg.Owns != nil
	if shards {
		err = f.completedShards(ctx, &set, st.Generation)
	} else {
		err = f.r.cfg.Store.PutConsumer(ctx, st)
	}
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.running--
	f.stands()
	switch {
	case err == nil && shards:
		f.r.cfg.Log.Info("projection: the consumer has been fed all conversations of shards that were gained", "consumer", f.name)
		f.begin()
		f.signal(1)
	case err != nil && f.feeding: // others, meanwhile
		add(&f.todo, &set)
	case err == nil && f.state.Generation == st.Generation:
		f.state = st
		f.r.cfg.Log.Info("projection: the consumer has been fed all conversations", "consumer", f.name)
	case err != nil: // with the next job
		f.feeding = true
	}
}

// feed applies what the consumer lacks of the items, as much as a job may.
func (f *feed) feed(ctx context.Context, items []item) error {
	if err := f.locate(ctx, items); err != nil {
		return err
	}
	round := make([]*item, 0, len(items))
	changes := make([]chat.IndexChange, 0, len(items))
	for range jobBatches {
		round, changes = f.batch(items, round[:0]), changes[:0]
		if len(round) == 0 {
			break
		}
		if err := f.read(ctx, round); err != nil {
			return err
		}
		events := 0
		for _, it := range round {
			switch {
			case it.gone || it.reset:
				changes = append(changes, chat.IndexChange{Key: it.key, Gone: true})
			case len(it.events) > 0:
				changes = append(changes, chat.IndexChange{Key: it.key, Events: it.events})
				events += len(it.events)
			}
		}
		if len(changes) == 0 {
			continue
		}
		if _, err := call(f.r, ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, f.c.Apply(ctx, changes) }); err != nil {
			return fmt.Errorf("apply %d events of %d conversations: %w", events, len(changes), err)
		}
		for _, it := range round {
			it.advance()
		}
		f.r.mu.Lock()
		f.applied += uint64(events)
		f.r.mu.Unlock()
	}
	return nil
}

// locate finds out what the consumer has of each item and how far its log goes.
func (f *feed) locate(ctx context.Context, items []item) error {
	keys := make([]chat.ConversationKey, len(items))
	for i := range items {
		keys[i] = items[i].key
	}
	cursors, err := call(f.r, ctx, func(ctx context.Context) ([]uint64, error) { return f.c.Cursors(ctx, keys) })
	if err != nil {
		return fmt.Errorf("ask for the cursors: %w", err)
	}
	if len(cursors) != len(keys) {
		return fmt.Errorf("ask for the cursors: %d answers to %d", len(cursors), len(keys))
	}
	ask, told, at := keys[:0], make([]uint64, 0, len(items)), make([]int, 0, len(items))
	for i := range items {
		it := &items[i]
		it.next = cursors[i] + 1
		if it.hint > 0 && it.hint == cursors[i] && it.claimed == 0 {
			it.done = true
			continue
		}
		ask, told, at = append(ask, it.key), append(told, it.claimed), append(at, i)
	}
	if len(ask) == 0 {
		return nil
	}
	positions, err := f.r.cfg.Conversations.Positions(ctx, ask, told)
	if err != nil {
		return fmt.Errorf("ask for the heads: %w", err)
	}
	for j, p := range positions {
		it := &items[at[j]]
		switch {
		case p.Err != nil || p.Later:
			it.later = true
			if p.Err != nil {
				f.complain(it.key, p.Err)
			}
		case !p.Exists:
			it.known, it.gone = true, true
		default:
			it.known, it.head = true, p.Head
			it.reset = it.next > p.Head+1
			it.done = it.next == p.Head+1
		}
	}
	return nil
}

// batch fills a batch.
func (f *feed) batch(items []item, round []*item) []*item {
	room := uint64(f.r.cfg.Batch)
	for i := range items {
		it := &items[i]
		if it.done || it.later {
			continue
		}
		if room == 0 {
			break
		}
		it.take = 1
		if !it.gone && !it.reset {
			it.take = min(it.head-it.next+1, room)
		}
		room -= it.take
		round = append(round, it)
	}
	return round
}

// read fetches the events of a batch, messages as they are now.
func (f *feed) read(ctx context.Context, round []*item) error {
	one := func(ctx context.Context, it *item) error {
		it.events = nil
		if it.gone || it.reset {
			return nil
		}
		rewritten := f.r.cfg.Conversations.Rewritten(it.key) // before the rows are read
		es, err := f.r.cfg.Store.ReadEvents(ctx, it.key, it.next, it.next+it.take-1, int(it.take))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, chat.ErrUnavailable):
			return fmt.Errorf("read events: %w", err)
		case err == nil && len(es) == 0: // it is being deleted, or the log is damaged
			err = errors.New("events below the head are missing")
		}
		if err != nil { // of this conversation alone
			it.later = true
			f.complain(it.key, err)
			return nil
		}
		it.events = present(es, rewritten)
		return nil
	}
	if len(round) <= 4 {
		for _, it := range round {
			if err := one(ctx, it); err != nil {
				return err
			}
		}
		return nil
	}
	// A goroutine for each would grow its stack inside the storage engine each time.
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(reads, len(round)/2) {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(round) {
					return nil
				}
				if err := one(ctx, round[i]); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// present makes the rows of messages show the present; nothing is left of those that were deleted.
func present(es []chat.Event, rewritten []*chat.Event) []chat.Event {
	for _, row := range rewritten {
		if i := row.Seq - es[0].Seq; row.Seq >= es[0].Seq && i < uint64(len(es)) {
			es[i] = *row
		}
	}
	for i := range es {
		if e := &es[i]; e.IsMessage() && !e.DeletedAt.IsZero() {
			e.Content, e.Reactions = "", nil
		}
	}
	return es
}

// advance takes in that the item's part of a batch was applied.
func (it *item) advance() {
	switch {
	case it.gone:
		it.done = true
	case it.reset:
		it.reset, it.next = false, 1
	case len(it.events) > 0:
		last := &it.events[len(it.events)-1]
		it.next, it.reached = last.Seq+1, last.At
		it.done = it.next > it.head
		it.events = nil
	}
}

// complain says, once a minute, that a conversation cannot be fed.
func (f *feed) complain(key chat.ConversationKey, err error) {
	now := f.r.cfg.Now()
	f.r.mu.Lock()
	silent := now.Sub(f.complained) < time.Minute
	if !silent {
		f.complained = now
	}
	f.r.mu.Unlock()
	if !silent {
		f.r.cfg.Log.Warn("projection: a conversation cannot be fed now, it will be tried again", "consumer", f.name,
			"tenant", string(key.Tenant), "conversation", key.ID.String(), "error", err)
	}
}
