package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

const (
	// firstAgain and lastAgain bound the pause before what had moved is asked for again.
	firstAgain = 5 * time.Millisecond
	lastAgain  = 200 * time.Millisecond
	// gathers is how many nodes are asked at once on behalf of one call.
	gathers = 16
)

// term is this node's ownership of a shard, as it was when something began.
type term struct {
	cluster Cluster
	shard   int
	epoch   uint64
}

func (h *Hub) term(shard int) (t term, ok bool) {
	t = term{cluster: h.cfg.Cluster, shard: shard}
	if t.cluster == nil {
		return t, true
	}
	t.epoch, ok = t.cluster.Term(shard)
	return t, ok
}

// lasts reports whether the node has owned the shard ever since.
func (t *term) lasts() bool { return t.cluster == nil || t.cluster.MayAck(t.shard, t.epoch) }

// moved reports whether an error says that a node did not do something because it does not own the shard.
func moved(err error) bool {
	return err != nil && errors.Is(err, chat.ErrMoved) && !errors.Is(err, chat.ErrUnknown)
}

// near reports whether a question may be answered here, past the cluster. What is asked while others are on their way
// elsewhere goes after them: a user's commands must not overtake one another when the shard comes to this node.
func (h *Hub) near(shard int) bool {
	if h.cfg.Cluster == nil {
		return true
	}
	_, ok := h.cfg.Cluster.Term(shard)
	return ok && h.asking[shard].Load() == 0
}

// put has a question answered by the owner of its shard: at once, if that is this node. done is called once.
func (h *Hub) put(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	if !h.near(shard) {
		h.away(ctx, shard, q, done)
		return
	}
	h.answer(shard, q, func(a chat.Answer, err error) {
		if moved(err) && h.cfg.Cluster != nil {
			h.away(ctx, shard, q, done)
			return
		}
		done(a, err)
	})
}

// away asks the cluster, for Config.Patience at most. Close waits for the answer.
func (h *Hub) away(ctx context.Context, shard int, q chat.Question, done func(chat.Answer, error)) {
	_, bar := q.(chat.Bar) // of a change that is stored: Close waits for it with the users
	if !bar && !h.begin() {
		done(nil, chat.ErrShutdown)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Patience)
	unwatch := func() bool { return true }
	if !bar && ctx != h.ctx {
		unwatch = context.AfterFunc(h.ctx, cancel)
	}
	h.asking[shard].Add(1)
	h.cfg.Cluster.Ask(ctx, shard, q, func(a chat.Answer, err error) {
		h.asking[shard].Add(-1)
		unwatch()
		cancel()
		if moved(err) {
			err = fmt.Errorf("%w: %w", chat.ErrUnavailable, unwrapped{err})
		}
		done(a, err)
		if !bar {
			h.io.Done()
		}
	})
}

// begin counts something that Close waits for, which calls h.io.Done; false if it began to close.
func (h *Hub) begin() bool {
	h.ioMu.RLock()
	defer h.ioMu.RUnlock()
	if h.closed.Load() {
		return false
	}
	h.io.Add(1)
	return true
}

// carry hands a command to its conversation where there are several nodes.
func (h *Hub) carry(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	shard := chat.ConversationKey{Tenant: p.Tenant, ID: cmd.Target()}.Shard()
	away := func() {
		h.away(h.ctx, shard, chat.CarryOut{Principal: p, Origin: o, Command: cmd}, resultOf(done))
	}
	if !h.near(shard) {
		away()
		return
	}
	h.sendHere(p, o, cmd, func(res chat.Result, err error) {
		if moved(err) {
			away()
			return
		}
		done(res, err)
	})
}

// resultOf calls done with what a Done says.
func resultOf(done func(chat.Result, error)) func(chat.Answer, error) {
	return func(a chat.Answer, err error) {
		d, err := expect[chat.Done](a, err)
		done(d.Result, err)
	}
}

// expect is an answer of the type that belongs to the question.
func expect[A chat.Answer](a chat.Answer, err error) (A, error) {
	x, ok := a.(A)
	if err == nil && !ok {
		err = fmt.Errorf("%w: unexpected answer %T", chat.ErrUnknown, a)
	}
	return x, err
}

// decide is the blocking form of put.
func decide[A chat.Answer](ctx context.Context, h *Hub, shard int, q chat.Question) (A, error) {
	type reply struct {
		a   chat.Answer
		err error
	}
	ch := make(chan reply, 1)
	h.put(ctx, shard, q, func(a chat.Answer, err error) { ch <- reply{a, err} })
	var r reply
	select {
	case r = <-ch:
	case <-ctx.Done():
		r.err = fmt.Errorf("%w: %s: %w", chat.ErrUnknown, q.Name(), ctx.Err())
	}
	a, err := expect[A](r.a, r.err)
	if errors.Is(err, chat.ErrUnknown) && harmless(q) {
		err = fmt.Errorf("%w: %w", chat.ErrUnavailable, unknown{err})
	}
	return a, err
}

// harmless reports whether a question changes nothing: it can be asked again whatever became of it.
func harmless(q chat.Question) bool {
	switch q := q.(type) {
	case chat.Read, chat.Peek, chat.AskPresence:
		return true
	case chat.Prefer:
		return q.Change.IsZero()
	}
	return false
}

// unknown hides that the outcome of something is not known, where there is none.
type unknown struct{ error }

func (u unknown) Is(target error) bool {
	return target != chat.ErrUnknown && errors.Is(u.error, target)
}

// gather asks the nodes that own the shards of n things, each node once; what had moved, again, until ctx ends or
// Config.Patience is over. ask gets the things of one node and one of their shards; it is called from several goroutines
// at once, never twice at once for the same thing, and returns those that had moved.
func (h *Hub) gather(ctx context.Context, things []int, shard func(i int) int,
	ask func(ctx context.Context, shard int, things []int) (moved []int, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Patience)
	defer cancel()
	for pause := firstAgain; len(things) > 0; pause = min(2*pause, lastAgain) {
		groups := make(map[chat.NodeID][]int)
		for _, i := range things {
			node := h.cfg.Cluster.Owner(shard(i)) // whoever it is, Ask finds the owner of the first
			groups[node] = append(groups[node], i)
		}
		again := make(chan []int, len(groups))
		g, asking := errgroup.WithContext(ctx)
		g.SetLimit(gathers)
		for _, group := range groups {
			g.Go(func() error {
				moved, err := ask(asking, shard(group[0]), group)
				again <- moved
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		close(again)
		things = nil
		for moved := range again {
			things = append(things, moved...)
		}
		if len(things) == 0 {
			break
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w: %d shards have no owner: %w", chat.ErrUnavailable, len(things), ctx.Err())
		}
	}
	return nil
}
