package projection

import (
	"context"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// settleFor is how long a rebuild that has been fed everything waits for a moment in which little waits for it.
const settleFor = 30 * time.Second

// Phase of a rebuild.
type Phase string

const (
	PhaseStarting   Phase = "starting"
	PhaseFeeding    Phase = "feeding"
	PhaseCommitting Phase = "committing"
	PhaseDone       Phase = "done"
	PhaseFailed     Phase = "failed"
	PhaseCancelled  Phase = "cancelled"
)

// RebuildStatus of the newest rebuild of a consumer.
type RebuildStatus struct {
	Phase    Phase
	Started  time.Time
	Ended    time.Time // zero while it runs
	Done     int       // conversations
	Total    int       // 0 before they were counted
	Events   uint64    // applied
	Failures uint64    // that were, or are, tried again
	Error    string    // the newest
}

// Running reports that it has not come to its end.
func (s *RebuildStatus) Running() bool { return s.Ended.IsZero() }

type rebuild struct {
	cancel context.CancelFunc
	feed   *feed
	walk   *fullWalk
	status RebuildStatus
}

// Rebuild begins to make the data of a consumer anew, from all conversations, beside the data in use: changes go to
// both until the new data takes the place of the old. A process that ends before that has to begin again.
func (r *Runner) Rebuild(name string) error {
	main := r.find(name)
	if main == nil {
		return fmt.Errorf("%w: no consumer %q", ErrNoRebuild, name)
	}
	maker, ok := main.consumer.(Rebuilder)
	if !ok {
		return fmt.Errorf("%w: %q", ErrNoRebuild, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.owned != everything() {
		return ErrScattered
	}
	if old := r.rebuilds[name]; old != nil && old.status.Running() {
		return ErrRebuilding
	}
	if r.closed || !r.started {
		return fmt.Errorf("%w: %q is not running", ErrNoRebuild, name)
	}
	ctx, cancel := context.WithCancel(r.ctx)
	rb := &rebuild{cancel: cancel, status: RebuildStatus{Phase: PhaseStarting, Started: r.cfg.Now()}}
	r.rebuilds[name] = rb
	r.wg.Go(func() {
		defer cancel()
		r.rebuild(ctx, main, maker, rb)
	})
	return nil
}

// CancelRebuild ends a rebuild; the data in use stays.
func (r *Runner) CancelRebuild(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	rb := r.rebuilds[name]
	if rb == nil || !rb.status.Running() {
		return ErrNoRebuild
	}
	rb.cancel()
	return nil
}

// RebuildStatus returns that of the newest rebuild of a consumer since the start; false if there was none.
func (r *Runner) RebuildStatus(name string) (RebuildStatus, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rb := r.rebuilds[name]
	if rb == nil {
		return RebuildStatus{}, false
	}
	rb.update()
	return rb.status, true
}

func (rb *rebuild) update() {
	f := rb.feed
	if f == nil {
		return
	}
	rb.status.Done, rb.status.Total = rb.walk.progress()
	rb.status.Events, rb.status.Failures = f.applied, f.failed
	if f.lastErr != nil {
		rb.status.Error = f.lastErr.Error()
	}
}

func (r *Runner) rebuild(ctx context.Context, main *feed, maker Rebuilder, rb *rebuild) {
	log := r.cfg.Log.With("consumer", main.name)
	log.Info("projection: a rebuild begins")
	err := r.rebuildInto(ctx, main, maker, rb)
	r.mu.Lock()
	defer r.mu.Unlock()
	rb.update()
	rb.status.Ended = r.cfg.Now()
	rb.feed = nil
	switch {
	case err == nil:
		rb.status.Phase, rb.status.Error = PhaseDone, ""
		log.Info("projection: the rebuild is done", "conversations", rb.status.Total, "events", rb.status.Events,
			"took", rb.status.Ended.Sub(rb.status.Started))
	case ctx.Err() != nil:
		rb.status.Phase, rb.status.Error = PhaseCancelled, ""
		log.Info("projection: the rebuild was cancelled")
	default:
		rb.status.Phase, rb.status.Error = PhaseFailed, err.Error()
		log.Error("projection: the rebuild failed", "error", err)
	}
}

func (r *Runner) rebuildInto(ctx context.Context, main *feed, maker Rebuilder, rb *rebuild) error {
	target, err := call(r, ctx, maker.Rebuild)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	f := newFeed(r, main.name, target)
	f.all()
	own, stop := context.WithCancel(ctx)
	r.mu.Lock()
	rb.feed, rb.walk, rb.status.Phase = f, f.full, PhaseFeeding
	// The walk sees all that can be seen from now on; of what was committed and cannot be seen yet, main was told.
	for key, e := range main.pending {
		own := f.add(key)
		*own = *e
		own.place, own.full = queued, false
		f.lag += e.events
		f.waiting += e.events
		f.queue.push(key)
	}
	f.missed, f.missedSince, f.dropping = main.searching(), r.cfg.Now(), main.dropping
	r.feeds = append(r.feeds, f)
	f.start(own)
	r.mu.Unlock()

	if err = r.fed(ctx, f); err == nil {
		r.mu.Lock()
		rb.status.Phase = PhaseCommitting
		r.mu.Unlock()
		if err = r.pause(ctx, main, f); err == nil {
			if _, err = call(r, ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, target.Commit(ctx) }); err == nil {
				r.committed(ctx, main)
			}
		}
	}
	stop()
	f.wg.Wait()
	if err != nil {
		// Also when ctx ended; after a Commit it does nothing.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Timeout)
		if aborted := target.Abort(late); aborted != nil {
			r.cfg.Log.Warn("projection: what a rebuild left may not be gone", "consumer", main.name, "error", aborted)
		}
		cancel()
	}
	r.merge(main, f)
	return err
}

// fed waits until a rebuild has been fed everything, and little waits for it.
func (r *Runner) fed(ctx context.Context, f *feed) error {
	t := time.NewTicker(r.cfg.Delay)
	defer t.Stop()
	var since time.Time
	for {
		r.mu.Lock()
		whole, waiting := f.full == nil && f.fullLeft == 0, len(f.pending)
		r.mu.Unlock()
		if whole {
			now := r.cfg.Now()
			if since.IsZero() {
				since = now
			}
			if waiting <= r.cfg.Batch || now.Sub(since) > settleFor {
				return nil
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pause stops feeds and waits until they stand. merge lets the first go on.
func (r *Runner) pause(ctx context.Context, feeds ...*feed) error {
	for _, f := range feeds {
		r.mu.Lock()
		f.paused = true
		var stands chan struct{}
		if f.running > 0 {
			stands = make(chan struct{})
			f.still = stands
		}
		r.mu.Unlock()
		if stands == nil {
			continue
		}
		select {
		case <-stands:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// committed remembers the new generation. If that fails, the next check finds it.
func (r *Runner) committed(ctx context.Context, main *feed) {
	g, err := call(r, ctx, main.consumer.Generation)
	st := chat.ConsumerState{Name: main.name, Generation: g, Complete: true}
	if err == nil {
		err = r.cfg.Store.PutConsumer(ctx, st)
	}
	if err != nil {
		r.cfg.Log.Warn("projection: the new generation could not be remembered: all conversations are compared once more",
			"consumer", main.name, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	main.state, main.full, main.feeding = st, nil, false
}

// merge ends the feed of a rebuild: what waits for it waits for the data in use now, whichever that is.
func (r *Runner) merge(main, f *feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.feeds {
		if r.feeds[i] == f {
			r.feeds = append(r.feeds[:i:i], r.feeds[i+1:]...)
			break
		}
	}
	for key, e := range f.pending {
		old := main.pending[key]
		if old == nil {
			own := main.add(key)
			*own = *e
			own.place, own.full = queued, false
			main.lag += e.events
			main.waiting += e.events
			main.queue.push(key)
			continue
		}
		more := max(0, e.events-old.events)
		old.head, old.marked, old.events = max(old.head, e.head), old.marked || e.marked, old.events+more
		if old.place == queued {
			main.waiting += more
		}
		main.lag += more
	}
	if f.searching() {
		main.missed, main.dropping = true, main.dropping || f.dropping
		if main.missedSince.IsZero() {
			main.missedSince = r.cfg.Now()
		}
	}
	main.paused, main.still, main.checkAt, main.retryAt = false, nil, time.Time{}, time.Time{}
	main.signal(r.cfg.Workers)
}
