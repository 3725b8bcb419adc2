package router

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire"
)

var (
	errNoOwner    = errors.New("the owner is not known")
	errNotServing = errors.New("this node does not answer yet")
	errNoAnswer   = errors.New("no answer in time")
)

// Router finds the owners of shards and asks them. It is safe for concurrent use; no method blocks but Close.
type Router struct {
	cfg     Config
	handler atomic.Pointer[Handler]
	seed    maphash.Seed
	stripes [64]stripe
	bursts  atomic.Uint64 // begun so far
	turns   turns
	here    here
	buffers sync.Pool // *[]byte
	count   counters

	closed atomic.Bool
	idle   chan struct{}   // told when nothing is under way after Close
	base   context.Context // of what other nodes ask
	cancel context.CancelFunc
}

// New returns a Router.
func New(cfg Config) *Router {
	r := &Router{cfg: cfg.withDefaults(), seed: maphash.MakeSeed(), idle: make(chan struct{}, 1)}
	r.base, r.cancel = context.WithCancel(context.Background())
	r.buffers.New = func() any { return new([]byte) }
	for i := range r.stripes {
		r.stripes[i].lines = map[lineKey]*line{}
	}
	if cfg.Handler != nil {
		r.Serve(cfg.Handler)
	}
	return r
}

// Serve names the handler, once, if Config did not. Before that this node owns nothing, whatever Shards says.
func (r *Router) Serve(h Handler) { r.handler.Store(&h) }

// Close refuses further questions with chat.ErrShutdown, tries none again, and waits until the attempts that are being
// made have ended and all done were called, or ctx ends; then chat.ErrUnavailable.
func (r *Router) Close(ctx context.Context) error {
	r.closed.Store(true)
	defer r.cancel()
	if r.count.underWay.Load() == 0 {
		return nil
	}
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("router: %w: %d questions have no outcome: %w", chat.ErrUnavailable, r.count.underWay.Load(), ctx.Err())
	}
}

// Self is this node.
func (r *Router) Self() chat.NodeID { return r.cfg.Self }

// Term says whether this node serves a shard now, and under which epoch.
func (r *Router) Term(shard int) (epoch uint64, ok bool) { return r.cfg.Shards.Term(shard) }

// MayAck reports whether it still serves it under that epoch.
func (r *Router) MayAck(shard int, epoch uint64) bool { return r.cfg.Shards.MayAck(shard, epoch) }

// Owner is the node that holds a shard as far as is known here; 0: not known.
func (r *Router) Owner(shard int) chat.NodeID { return r.cfg.Shards.Owner(shard) }

// Edges are the nodes that may have sessions.
func (r *Router) Edges() []chat.NodeID { return r.cfg.Edges() }

// Ask hands a question to whoever owns the shard, this node included, and goes after it when it moves, until ctx ends, or
// for Config.Patience if it has no deadline. done is called once, from any goroutine, the caller's included. What the
// package says about outcomes and order holds; questions of one line are ordered by the calls of one goroutine. Errors of
// the router: chat.ErrUnavailable, chat.ErrUnknown, chat.ErrOverloaded, chat.ErrShutdown after Close.
func (r *Router) Ask(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	if r.count.underWay.Add(1) > int64(r.cfg.Limit) {
		r.left()
		r.count.refused.Add(1)
		done(nil, fmt.Errorf("%w: %d questions are under way", chat.ErrOverloaded, r.cfg.Limit))
		return
	}
	if r.closed.Load() {
		r.left()
		done(nil, chat.ErrShutdown)
		return
	}
	a := &asking{ctx: ctx, shard: shard, q: q, done: done, started: time.Now()}
	var limited bool
	if a.deadline, limited = ctx.Deadline(); !limited {
		a.deadline = a.started.Add(r.cfg.Patience)
	}
	l, ok := r.join(a)
	if !ok {
		l.mu.Unlock()
		r.left()
		r.count.refused.Add(1)
		done(nil, fmt.Errorf("%w: %d questions of one user wait for a conversation", chat.ErrOverloaded, r.cfg.Line))
		return
	}
	r.drain(l)
}

// send makes an attempt.
func (r *Router) send(a *asking, attempt int, to target, place uint64) {
	h := r.handler.Load()
	switch {
	case a.ctx.Err() != nil:
		r.failed(a, attempt, a.ctx.Err(), &r.count.notSent)
	case !time.Now().Before(a.deadline):
		r.failed(a, attempt, context.DeadlineExceeded, &r.count.notSent)
	case to.node == 0:
		r.failed(a, attempt, errNoOwner, &r.count.homeless)
	case to.node != r.cfg.Self:
		r.request(a, attempt, to.node, place)
	case h == nil:
		r.failed(a, attempt, errNotServing, &r.count.homeless)
	default:
		r.count.local.Add(1)
		(*h).Answer(a.ctx, a.shard, a.q, func(answer chat.Answer, err error) { r.answered(a, attempt, answer, err) })
	}
}

func (r *Router) request(a *asking, attempt int, node chat.NodeID, place uint64) {
	buf := r.buffers.Get().(*[]byte)
	defer r.buffers.Put(buf)
	payload, err := wire.AppendQuestion((*buf)[:0], a.shard, place, a.q)
	if err != nil {
		r.ended(a, attempt, nil, fmt.Errorf("router: %w", err))
		return
	}
	keepSmall(buf, payload)
	r.count.remote.Add(1)
	budget := time.Until(a.deadline)
	if a.q.Repeatable() {
		budget = min(budget, r.cfg.Attempt)
	}
	ctx, cancel := context.WithTimeout(a.ctx, budget)
	unwatch := context.AfterFunc(ctx, func() {
		why := a.ctx.Err()
		if why == nil {
			why = errNoAnswer
		}
		r.failed(a, attempt, why, &r.count.lost)
	})
	a.line.mu.Lock()
	if a.phase != underWay || a.attempts != attempt { // it timed out already
		a.line.mu.Unlock()
		cancel()
		return
	}
	a.end, a.unwatch = cancel, unwatch
	a.line.mu.Unlock()
	r.cfg.Peers.Request(ctx, node, payload, func(b []byte, err error) {
		if err != nil {
			if r.cfg.NotSent(err) {
				r.failed(a, attempt, err, &r.count.notSent)
			} else {
				r.failed(a, attempt, err, &r.count.lost)
			}
			return
		}
		answer, err := wire.DecodeAnswer(b)
		switch {
		case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrUnknownType):
			r.cfg.Logger.Error("router: answer not understood", "node", node, "question", a.q.Name(), "shard", a.shard, "err", err)
			r.count.unknown.Add(1)
			r.ended(a, attempt, nil, fmt.Errorf("%w: shard %d: %w", chat.ErrUnknown, a.shard, err))
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled): // that node's time for it
			r.failed(a, attempt, err, &r.count.lost)
		default:
			r.answered(a, attempt, answer, err)
		}
	})
}

// answered is called with what a node answered.
func (r *Router) answered(a *asking, attempt int, answer chat.Answer, err error) {
	if refused(err) {
		r.failed(a, attempt, err, &r.count.moved)
		return
	}
	r.ended(a, attempt, answer, err)
}

// refused reports whether an error says that a node did not carry out the question, and another will.
func refused(err error) bool {
	return err != nil && (errors.Is(err, chat.ErrMoved) || errors.Is(err, chat.ErrShutdown)) && !errors.Is(err, chat.ErrUnknown)
}

// failed is called when an attempt did not bring the outcome, with the counter of such: lost is that of attempts that may
// have been carried out.
func (r *Router) failed(a *asking, attempt int, why error, counter *atomic.Uint64) {
	l := a.line
	l.mu.Lock()
	if a.phase != underWay || a.attempts != attempt {
		l.mu.Unlock()
		return
	}
	counter.Add(1)
	l.clean = false
	a.why, a.maybe = why, a.maybe || counter == &r.count.lost
	err := r.hopeless(a)
	switch {
	case err != nil:
		r.remove(a)
	case l.pending[0] == a:
		r.enter(a, backingOff)
		pause := min(backOffMin<<min(a.failures, 10), backOffMax)
		a.failures++
		r.wakeIn(a, min(pause-rand.N(pause/2), time.Until(a.deadline)))
	default:
		r.enter(a, waiting)
		r.wakeIn(a, time.Until(a.deadline))
	}
	l.mu.Unlock()
	r.cfg.Shards.Refresh()
	l.mu.Lock()
	r.drain(l)
	if err != nil {
		r.finish(a, nil, err)
	}
}

// hopeless is the outcome of a question that is not tried any more, nil if it is. The lock is held.
func (r *Router) hopeless(a *asking) error {
	switch {
	case a.maybe && !a.q.Repeatable():
	case a.ctx.Err() != nil || !time.Now().Before(a.deadline) || r.closed.Load():
	default:
		return nil
	}
	outcome, counter := chat.ErrUnavailable, &r.count.gaveUp
	if a.maybe {
		outcome, counter = chat.ErrUnknown, &r.count.unknown
	}
	counter.Add(1)
	why := a.why
	if why == nil {
		why = context.DeadlineExceeded // it never had its turn
	}
	return fmt.Errorf("%w: shard %d: %v", outcome, a.shard, why) //nolint:errorlint // why may be ErrMoved, which is not the outcome
}

// ended is called when an attempt brought the outcome.
func (r *Router) ended(a *asking, attempt int, answer chat.Answer, err error) {
	l := a.line
	l.mu.Lock()
	if a.phase != underWay || a.attempts != attempt {
		l.mu.Unlock()
		return
	}
	r.remove(a)
	r.drain(l)
	r.finish(a, answer, err)
}

// finish tells the outcome. Nothing is locked.
func (r *Router) finish(a *asking, answer chat.Answer, err error) {
	r.cfg.Observer.Asked(a.q.Name(), a.remote, a.attempts, time.Since(a.started), err)
	a.done(answer, err)
	r.left()
}

// left counts a question that is over.
func (r *Router) left() {
	if r.count.underWay.Add(-1) == 0 && r.closed.Load() {
		select {
		case r.idle <- struct{}{}:
		default:
		}
	}
}

// keepSmall leaves a buffer as large as it became for the next message, unless that was unusually long.
func keepSmall(buf *[]byte, b []byte) {
	if cap(b) <= 64<<10 {
		*buf = b
	}
}
