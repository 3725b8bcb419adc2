package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/vclient"
)

// Begin starts the loop. The worker runs until Close.
func (w *Worker) Begin(ctx context.Context) error {
	l, err := vclient.New(vclient.Config{Handler: w})
	if err != nil {
		return err
	}
	w.loop = l
	w.ctx, w.stop = context.WithCancel(ctx)
	w.running.Go(func() {
		if w.ended = l.Run(w.ctx); w.ended != nil && w.ctx.Err() == nil {
			w.stop()
		}
	})
	w.lanes()
	return nil
}

// Connect opens all connections, at the scenario's rate, and waits until all are ready. Connections that failed are an error.
func (w *Worker) Connect(ctx context.Context) error {
	rate := w.sc.Connections.Rate / float64(w.cfg.Plan.Parts)
	start := time.Now()
	next := 0
	var open func()
	open = func() {
		for ; next < len(w.conns); next++ {
			if due := start.Add(time.Duration(float64(next) / rate * float64(time.Second))); due.After(time.Now()) {
				w.loop.At(due, open)
				return
			}
			w.open(int32(next))
		}
	}
	if err := w.on(ctx, open); err != nil {
		return err
	}
	patience := time.Duration(float64(len(w.conns))/rate*float64(time.Second)) + connectPatience
	last := Progress{Ready: -1}
	_, err := w.until(ctx, patience, func() bool {
		if p := w.progress(); p != last && w.cfg.Events.Progress != nil {
			last = p
			w.cfg.Events.Progress(p)
		}
		return w.ready+w.failed >= len(w.conns)
	})
	if err != nil {
		return err
	}
	var p Progress
	var why error
	if err := w.on(ctx, func() { p, why = w.progress(), w.why }); err != nil {
		return err
	}
	if p.Ready < p.Of {
		return fmt.Errorf("%w: %v; the last: %w", errNotReady, p, why)
	}
	return nil
}

// Start lets the load begin at a time by the controller's clock. It returns at once.
func (w *Worker) Start(ctx context.Context, at time.Time) (err error) {
	if e := w.on(ctx, func() { err = w.begin(at) }); e != nil {
		return e
	}
	return err
}

// connectPatience is how much longer than planned the opening of all connections may take: a target that is busy sends clients away, and
// they come again.
const connectPatience = 3 * time.Minute

// Finish reads this worker's share of the conversations as they are now, when all workers have settled, and closes all connections.
func (w *Worker) Finish(ctx context.Context) (Report, error) {
	r := Report{Connections: len(w.conns)}
	var err error
	if w.chk != nil {
		r.Unchecked, err = w.read(ctx)
	}
	if e := w.on(ctx, func() {
		w.closing = true
		if length := time.Duration(w.sc.Duration); length > 0 && w.used[1] > 0 {
			r.CPU = float64(w.used[1]-w.used[0]) / float64(length)
		}
		for i := range w.conns {
			w.loop.Drop(int32(i))
		}
	}); err == nil {
		err = e
	}
	if w.chk != nil {
		r.Spilled, r.Violations = w.chk.Spilled(), w.chk.Violations()
	}
	return r, err
}

// read gives the checker the history of every conversation that is this worker's by number, as its first member sees it, that of
// the sampled ones also as the last, and what those who marked as read are told of unread messages.
func (w *Worker) read(ctx context.Context) (unchecked int, err error) {
	var jobs []func(context.Context) error
	p := w.cfg.Plan
	for ci := range w.convs {
		v := &w.convs[ci]
		if ci%p.Parts != p.Part || len(v.members) == 0 {
			continue
		}
		readers := v.members[:1]
		if v.sampled && len(v.members) > 1 {
			readers = []int32{v.members[0], v.members[len(v.members)-1]}
		}
		for _, u := range readers {
			jobs = append(jobs, func(ctx context.Context) error {
				list, err := w.tgt.Final(ctx, int(u), v.id)
				if err == nil {
					w.chk.Final(w.tgt.User(int(u)), v.id, list)
				}
				return err
			})
		}
	}
	var marks map[place]mark
	if err := w.on(ctx, func() { marks = w.marks }); err != nil {
		return 0, err
	}
	for at, m := range marks {
		if m.sent != m.confirmed {
			continue // it may have been carried out nevertheless
		}
		user, id := int(w.conns[at.conn].user), w.convs[at.conv].id
		jobs = append(jobs, func(ctx context.Context) error {
			n, err := w.tgt.Unread(ctx, user, id)
			if err == nil {
				w.chk.Unread(id, w.tgt.User(user), n)
			}
			return err
		})
	}
	var failed atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(restLanes)
	for _, job := range jobs {
		g.Go(func() error {
			if err := job(gctx); err != nil && !errors.Is(err, target.ErrNotSupported) {
				failed.Add(1)
			}
			return gctx.Err()
		})
	}
	err = g.Wait()
	return int(failed.Load()), err
}

// Export writes the history for the controller, after Finish. It does nothing when nothing is checked.
func (w *Worker) Export(out io.Writer) error {
	if w.chk == nil {
		return nil
	}
	return w.chk.Export(out)
}

// Close ends everything. It may be called at any time after New.
func (w *Worker) Close() error {
	var err error
	if w.stop != nil {
		w.stop()
		w.running.Wait()
	}
	if w.chk != nil {
		err = w.chk.Close()
	}
	return err
}
