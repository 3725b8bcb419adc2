package projection

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// Where several nodes share the conversations (Config.Owns), each feeds the consumers with those of its shards. What is
// remembered of a consumer is then said of each shard by a row of its own, named "consumer/shard": that all of the
// shard was fed into the data of that generation. The consumer's own row says which generation that is, and if it is
// complete it speaks for all shards: it was written by a node that was alone.

// ErrScattered answers a Rebuild on a node that does not serve all shards: nobody else feeds the new data.
var ErrScattered = errors.New("projection: a rebuild needs all shards on one node")

// everything is all shards.
func everything() (s chat.ShardSet) {
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}

func empty(s *chat.ShardSet) bool { return *s == chat.ShardSet{} }

func add(s, more *chat.ShardSet) {
	for i := range s {
		s[i] |= more[i]
	}
}

func remove(s, less *chat.ShardSet) {
	for i := range s {
		s[i] &^= less[i]
	}
}

// serves reports whether a shard is this node's, as far as is known. mu is held.
func (r *Runner) serves(shard int) bool {
	return r.owned.Has(shard) || r.cfg.Owns != nil && r.cfg.Owns(shard)
}

// Gained begins to feed the conversations of a shard: those that are marked, and all of it where it is not known to
// have been fed.
func (r *Runner) Gained(shard int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owned.Add(shard)
	for _, f := range r.feeds {
		f.sought.Add(shard)
		if f.consumer != nil {
			f.unsure.Add(shard)
			f.checkAt = time.Time{}
		}
		f.signal(1)
	}
}

// Drop ends the feeding of shards: what waits is forgotten, nothing of them is reported any more, and rebuilds end. What
// is being applied right now may still be.
func (r *Runner) Drop(shards *chat.ShardSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	remove(&r.owned, shards)
	for _, f := range r.feeds {
		for _, set := range []*chat.ShardSet{&f.sought, &f.unsure, &f.todo, &f.fullSet} {
			remove(set, shards)
		}
		f.forget(shards)
	}
	for _, rb := range r.rebuilds {
		if rb.status.Running() {
			rb.cancel()
		}
	}
}

// Release is Drop, and waits until what is being applied has been, or ctx ends.
func (r *Runner) Release(ctx context.Context, shards *chat.ShardSet) {
	r.Drop(shards)
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for r.applying(shards) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Runner) applying(shards *chat.ShardSet) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.feeds {
		if f.running == 0 {
			continue
		}
		for key, e := range f.pending {
			if e.place == busy && shards.Has(key.Shard()) {
				return true
			}
		}
	}
	return false
}

// forget removes what waits of shards; what a worker has goes when it is done.
func (f *feed) forget(shards *chat.ShardSet) {
	for key, e := range f.pending {
		if !shards.Has(key.Shard()) {
			continue
		}
		if e.full {
			e.full = false
			f.fullLeft--
		}
		if e.place == busy {
			continue
		}
		f.lag -= e.events
		if e.place == queued {
			f.waiting -= e.events
		}
		f.remove(key, e)
	}
	var queue fifo
	for f.queue.len() > 0 {
		if key := f.queue.pop(); f.pending[key] != nil {
			queue.push(key)
		}
	}
	f.queue = queue
	parking := f.parking[:0]
	for _, p := range f.parking {
		if f.pending[p.key] != nil {
			parking = append(parking, p)
		}
	}
	f.parking = parking
	f.signal(1) // everything else may have been fed
}

// shardRow is the name of the row about a shard.
func shardRow(consumer string, shard int) string { return consumer + "/" + strconv.Itoa(shard) }

// splitRow is its inverse; shard is -1 for a consumer's own row.
func splitRow(name string) (consumer string, shard int) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name, -1
	}
	n, err := strconv.Atoi(name[i+1:])
	if err != nil || n < 0 || n >= chat.Shards {
		return name, -1
	}
	return name[:i], n
}

// recall reads what is remembered of a consumer: its own row, and the generation that was fed of each shard.
func (f *feed) recall(ctx context.Context) (own chat.ConsumerState, fed map[int]string, err error) {
	rows, err := f.r.cfg.Store.Consumers(ctx)
	if err != nil {
		return own, nil, fmt.Errorf("read what is remembered: %w", err)
	}
	fed = make(map[int]string)
	for _, st := range rows {
		switch consumer, shard := splitRow(st.Name); {
		case consumer != f.name:
		case shard < 0:
			own = st
		case st.Complete:
			fed[shard] = st.Generation
		}
	}
	return own, fed, nil
}

// disown forgets what is remembered of shards: it is true of data that is not the one in use any more.
func (f *feed) disown(ctx context.Context, fed map[int]string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(shardReads)
	for shard := range fed {
		g.Go(func() error { return f.r.cfg.Store.ForgetConsumer(ctx, shardRow(f.name, shard)) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("forget shards: %w", err)
	}
	return nil
}

// checkShards is check where there are several nodes: any of them may have found another generation, or fed a shard
// that is this node's now.
func (f *feed) checkShards(ctx context.Context, generation string) error {
	f.r.mu.Lock()
	want := f.unsure
	f.r.mu.Unlock()
	own, fed, err := f.recall(ctx)
	if err != nil {
		return err
	}
	fresh := own.Generation != generation || own.Name == ""
	if fresh {
		if err := f.disown(ctx, fed); err != nil {
			return err
		}
		own, fed = chat.ConsumerState{Name: f.name, Generation: generation}, nil
		if err := f.r.cfg.Store.PutConsumer(ctx, own); err != nil {
			return fmt.Errorf("remember the generation: %w", err)
		}
		f.r.cfg.Log.Info("projection: the consumer is fed all conversations", "consumer", f.name)
	}
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if fresh || !f.checked || f.state.Generation != own.Generation {
		// What is under way began with other data.
		want = f.r.owned
		f.full, f.feeding, f.fullLeft = nil, false, 0
		f.fullSet, f.todo = chat.ShardSet{}, chat.ShardSet{}
		for _, e := range f.pending {
			e.full = false
		}
	}
	for shard := range chat.Shards {
		if want.Has(shard) && f.r.owned.Has(shard) && !own.Complete && fed[shard] != generation {
			f.todo.Add(shard)
		}
	}
	f.state, f.checked, f.checkAt = own, true, f.r.cfg.Now().Add(f.r.cfg.Recheck)
	if remove(&f.unsure, &want); !empty(&f.unsure) {
		f.checkAt = time.Time{} // gained meanwhile
	}
	f.begin()
	f.signal(f.r.cfg.Workers)
	return nil
}

// begin feeds all of the shards that have to be, when those before have been.
func (f *feed) begin() {
	if f.feeding || f.full != nil || empty(&f.todo) {
		return
	}
	f.fullSet, f.todo = f.todo, chat.ShardSet{}
	set := f.fullSet
	f.full, f.feeding = &fullWalk{page: f.r.cfg.Page, set: &set}, true
}

// completedShards remembers that all of the shards was fed.
func (f *feed) completedShards(ctx context.Context, set *chat.ShardSet, generation string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(shardReads)
	for shard := range chat.Shards {
		if set.Has(shard) {
			g.Go(func() error {
				return f.r.cfg.Store.PutConsumer(ctx, chat.ConsumerState{Name: shardRow(f.name, shard), Generation: generation, Complete: true})
			})
		}
	}
	return g.Wait()
}
