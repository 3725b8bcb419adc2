package user

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// Owner says which shards of users this node may decide for (I4). Its methods must not block.
type Owner interface {
	// Term says whether this node serves the shard now, and under which epoch.
	Term(shard int) (epoch uint64, ok bool)
	// MayAck reports whether it still serves it under that epoch. It is asked after every write.
	MayAck(shard int, epoch uint64) bool
}

type always struct{}

func (always) Term(int) (uint64, bool) { return 1, true }
func (always) MayAck(int, uint64) bool { return true }

// term is what the actors of a shard share while this node serves it under one epoch.
type term struct {
	shard  int
	epoch  uint64
	ctx    context.Context // of their I/O
	cancel context.CancelFunc
	// leaving: the shard is being released. lost: the term is over.
	leaving, lost atomic.Bool
}

// shard is the live actors of one chat shard.
type shard struct {
	mu     sync.RWMutex
	term   *term // of all that is in m; nil: m is empty
	m      map[chat.UserKey]*activation
	fading map[chat.UserKey][]*activation // of lost terms, with operations under way
	closed uint64                         // terms up to this one were released or lost
	vacant chan struct{}                  // closed when m and fading are empty; nil: nobody waits for it
}

func notOwner() error { return fmt.Errorf("user: %w", chat.ErrMoved) }

// enter finds or makes the activation and counts one message into its inbox, which keeps it alive until handled.
func (g *Registry) enter(k chat.UserKey) (*activation, error) {
	n := k.Shard()
	epoch, ok := g.cfg.Owner.Term(n)
	if !ok {
		return nil, notOwner()
	}
	s := &g.shards[n]
	s.mu.Lock()
	a, lost, err := g.activate(s, n, epoch, k)
	s.mu.Unlock()
	g.tell(lost)
	return a, err
}

// activate is enter with s.mu held. It returns the actors of an older term, which is lost.
func (g *Registry) activate(s *shard, n int, epoch uint64, k chat.UserKey) (a *activation, lost []*activation, err error) {
	if epoch <= s.closed || s.term != nil && epoch < s.term.epoch {
		return nil, nil, notOwner()
	}
	if s.term != nil && s.term.epoch < epoch {
		lost = g.abandon(s)
	}
	if g.closing.Load() {
		return nil, lost, chat.ErrShutdown
	}
	if a := s.m[k]; a != nil {
		a.inbox.Add(1)
		return a, lost, nil
	}
	if g.live.Load() >= int64(g.cfg.Cap) {
		return nil, lost, chat.ErrOverloaded
	}
	if s.term == nil {
		s.term = &term{shard: n, epoch: epoch}
		s.term.ctx, s.term.cancel = context.WithCancel(g.ctx)
	}
	a = &activation{reg: g, key: k, term: s.term}
	for _, old := range s.fading[k] {
		a.after = append(a.after, old.ended)
	}
	a.pid = g.cfg.System.Root.Spawn(g.props)
	a.inbox.Store(1)
	g.cfg.System.Root.Send(a.pid, a)
	if s.m == nil {
		s.m = make(map[chat.UserKey]*activation)
	}
	s.m[k] = a
	g.live.Add(1)
	return a, lost, nil
}

// leave removes an activation unless a message is on its way to it.
func (g *Registry) leave(a *activation) bool {
	s := &g.shards[a.term.shard]
	s.mu.Lock()
	if a.inbox.Load() > 0 {
		s.mu.Unlock()
		return false
	}
	if s.m[a.key] == a {
		delete(s.m, a.key)
	} else {
		close(a.ended)
		s.unfade(a)
	}
	left := g.live.Add(-1)
	s.vacate()
	s.mu.Unlock()
	if left == 0 && g.closing.Load() {
		select {
		case g.empty <- struct{}{}:
		default:
		}
	}
	return true
}

func (s *shard) unfade(a *activation) {
	rest := s.fading[a.key][:0]
	for _, b := range s.fading[a.key] {
		if b != a {
			rest = append(rest, b)
		}
	}
	if len(rest) == 0 {
		delete(s.fading, a.key)
	} else {
		s.fading[a.key] = rest
	}
}

// vacate ends a term that is over and tells who waits for it. mu is held.
func (s *shard) vacate() {
	if len(s.m) > 0 {
		return
	}
	if s.term != nil && s.term.leaving.Load() {
		s.term.cancel()
		s.term, s.m = nil, nil
	}
	if s.vacant != nil && len(s.fading) == 0 {
		close(s.vacant)
		s.vacant = nil
	}
}

// abandon ends the term of a shard and returns its actors, to be told. mu is held.
func (g *Registry) abandon(s *shard) []*activation {
	if s.term == nil {
		return nil
	}
	s.closed = max(s.closed, s.term.epoch)
	s.term.lost.Store(true)
	s.term.cancel()
	all := make([]*activation, 0, len(s.m))
	for k, a := range s.m {
		a.ended = make(chan struct{})
		if s.fading == nil {
			s.fading = make(map[chat.UserKey][]*activation)
		}
		s.fading[k] = append(s.fading[k], a)
		all = append(all, a)
	}
	s.term, s.m = nil, nil
	return all
}

func (g *Registry) tell(lost []*activation) {
	for _, a := range lost {
		g.cfg.System.Root.Send(a.pid, dropped{})
	}
}

// Release hands shards over. From now on requests of theirs are answered chat.ErrMoved; those accepted are finished. It
// returns when nothing of the shards is in memory or, with an error, when ctx ends: then the rest is given up as by
// Drop. A later term, under a higher epoch, opens a shard again.
func (g *Registry) Release(ctx context.Context, shards *chat.ShardSet) error {
	var vacant []chan struct{}
	for n := range g.shards {
		if !shards.Has(n) {
			continue
		}
		epoch, _ := g.cfg.Owner.Term(n)
		s := &g.shards[n]
		s.mu.Lock()
		s.closed = max(s.closed, epoch)
		var lost []*activation
		switch {
		case s.term == nil:
		case !g.cfg.Owner.MayAck(n, s.term.epoch): // it could not finish anything
			lost = g.abandon(s)
		default:
			s.closed = max(s.closed, s.term.epoch)
			s.term.leaving.Store(true)
		}
		all := make([]*activation, 0, len(s.m))
		for _, a := range s.m {
			all = append(all, a)
		}
		if len(s.m)+len(s.fading) > 0 {
			if s.vacant == nil {
				s.vacant = make(chan struct{})
			}
			vacant = append(vacant, s.vacant)
		}
		s.vacate()
		s.mu.Unlock()
		g.tell(lost)
		for _, a := range all {
			g.cfg.System.Root.Send(a.pid, passivate{})
		}
	}
	for i, done := range vacant {
		select {
		case <-done:
		case <-ctx.Done():
			g.Drop(shards)
			return fmt.Errorf("release users: up to %d of the shards still busy: %w", len(vacant)-i, ctx.Err())
		}
	}
	return nil
}

// Drop takes in that the terms of shards are lost: operations under way are given up and answered chat.ErrUnknown if
// they may have written, those that wait chat.ErrMoved. It does not wait for that. A later term, under a higher epoch,
// opens a shard again.
func (g *Registry) Drop(shards *chat.ShardSet) {
	for n := range g.shards {
		if !shards.Has(n) {
			continue
		}
		s := &g.shards[n]
		s.mu.Lock()
		lost := g.abandon(s)
		s.mu.Unlock()
		g.tell(lost)
	}
}

// disown gives up the terms that are over, though nobody said so: nothing of theirs could be finished.
func (g *Registry) disown() {
	for n := range g.shards {
		s := &g.shards[n]
		s.mu.Lock()
		var lost []*activation
		if s.term != nil && !g.cfg.Owner.MayAck(n, s.term.epoch) {
			lost = g.abandon(s)
		}
		s.mu.Unlock()
		g.tell(lost)
	}
}

// dropped is the message of a term that is lost: a handler that runs sees it at the next message.
type dropped struct{}

// IgnoreDeadLetterLogging implements actor.IgnoreDeadLetterLogging.
func (dropped) IgnoreDeadLetterLogging() {}

// receiveLost handles messages once the term is lost, and reports whether the activation has ended.
func (a *activation) receiveLost(m any) bool {
	if !a.aborted {
		a.aborted = true
		a.shared.Store(0)
		for _, r := range a.state.Abort() {
			a.refuse(r, notOwner())
		}
	}
	switch m := m.(type) {
	case *Request:
		a.inbox.Add(-1)
		a.refuse(m, notOwner())
	case Finished:
		a.out--
		a.refuse(m.Request, lostError(m.Request))
	}
	return a.out == 0 && a.reg.leave(a)
}

func (a *activation) refuse(r *Request, err error) {
	if r.Done != nil {
		r.Done(Result{}, err)
	}
}

// lostError is what came of an operation that was under way when the term was lost.
func lostError(r *Request) error {
	switch {
	case errors.Is(r.err, chat.ErrUnknown):
		return r.err
	case r.err != nil || r.Pair == (chat.PairKey{}) && r.Change == nil:
		return notOwner() // nothing was written, and what was judged may be out of date
	}
	return fmt.Errorf("%w: the shard moved", chat.ErrUnknown)
}
