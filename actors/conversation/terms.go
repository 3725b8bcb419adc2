package conversation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/zumodra/hub/chat"
)

// Owner says which shards this node may decide for (I4). Its methods must not block.
type Owner interface {
	// Term says whether this node serves the shard now, and under which epoch.
	Term(shard int) (epoch uint64, ok bool)
	// MayAck reports whether it still serves it under that epoch. It is asked after every write.
	MayAck(shard int, epoch uint64) bool
}

// always owns everything, under one epoch.
type always struct{ epoch uint64 }

func (o always) Term(int) (uint64, bool)         { return o.epoch, true }
func (o always) MayAck(_ int, epoch uint64) bool { return epoch == o.epoch }

// notOwner answers while this node may not answer for the conversation.
func notOwner(key chat.ConversationKey) error {
	return fmt.Errorf("conversation %s: %w", key, chat.ErrMoved)
}

// owns reports whether the node still serves the conversation in the term of the activation.
func (a *activation) owns() bool { return a.reg.cfg.Owner.MayAck(a.term.shard, a.term.epoch) }

// term is what the activations of a shard share while this node serves it under one epoch.
type term struct {
	shard  int
	epoch  uint64
	store  Store           // as this term writes to it
	fences FencedStore     // the same; nil without strict fencing
	ctx    context.Context // of their I/O
	cancel context.CancelFunc
	// leaving: the shard is being released, and they finish what they have. lost: the term is over, and whatever they
	// have is given up.
	leaving, lost atomic.Bool
}

// shard is the live conversations of one chat shard.
type shard struct {
	mu   sync.RWMutex
	term *term // of all that is in m; nil: m is empty
	m    map[chat.ConversationKey]*activation
	// fading are those of lost terms that have I/O under way. Who follows one of them does not read before it has ended.
	fading map[chat.ConversationKey][]*activation
	closed uint64        // terms up to this one were released or lost
	vacant chan struct{} // closed when m and fading are empty; nil: nobody waits for it
	stamps [stamps]atomic.Uint32
}

// stamps is how many counters a shard has of the conversations that came into memory or went. A counter is shared by
// some: that one of them moves costs the others a read of the store.
const stamps = 64

func (s *shard) stamp(key chat.ConversationKey) *atomic.Uint32 { return &s.stamps[key.ID[15]%stamps] }

// enter finds or makes the activation and counts one message into its inbox, which keeps it alive until that
// message has been handled.
func (g *Registry) enter(key chat.ConversationKey) (*activation, error) {
	n := key.Shard()
	epoch, ok := g.cfg.Owner.Term(n)
	if !ok {
		// Also what writes nothing is the owner's to answer: this node may not know what its successor wrote.
		return nil, notOwner(key)
	}
	s := &g.shards[n]
	s.mu.RLock()
	a := s.m[key]
	if a != nil && a.term.epoch == epoch && epoch > s.closed {
		a.inbox.Add(1)
	} else {
		a = nil
	}
	s.mu.RUnlock()
	if a != nil {
		return a, nil
	}
	s.mu.Lock()
	a, lost, err := g.activate(s, n, epoch, key)
	s.mu.Unlock()
	g.tell(lost)
	return a, err
}

// activate is enter with s.mu held. It returns the activations of an older term, which is lost.
func (g *Registry) activate(s *shard, n int, epoch uint64, key chat.ConversationKey) (a *activation, lost []*activation, err error) {
	if epoch <= s.closed || s.term != nil && epoch < s.term.epoch {
		return nil, nil, notOwner(key)
	}
	if s.term != nil && s.term.epoch < epoch {
		lost = g.abandon(s)
	}
	if a = s.m[key]; a != nil {
		a.inbox.Add(1)
		return a, lost, nil
	}
	if g.closing.Load() {
		return nil, lost, chat.ErrShutdown
	}
	if g.live.Load() >= int64(2*g.cfg.Cap) {
		g.cfg.Observer.Rejected()
		return nil, lost, chat.ErrOverloaded
	}
	if s.term == nil {
		s.term = &term{shard: n, epoch: epoch, store: g.cfg.Store}
		if g.cfg.Under != nil {
			s.term.fences = g.cfg.Under(epoch)
			s.term.store = s.term.fences
		}
		s.term.ctx, s.term.cancel = context.WithCancel(g.ctx)
	}
	a = &activation{reg: g, key: key, term: s.term}
	for _, old := range s.fading[key] {
		a.after = append(a.after, old.ended)
	}
	a.state = a.fresh()
	a.pid = g.cfg.System.Root.Spawn(g.props)
	a.inbox.Store(1)
	a.used.Store(g.cfg.Now().UnixNano())
	g.cfg.System.Root.Send(a.pid, a)
	if s.m == nil {
		s.m = make(map[chat.ConversationKey]*activation)
	}
	s.stamp(key).Add(1)
	s.m[key] = a
	g.live.Add(1)
	g.cfg.Observer.Activated()
	return a, lost, nil
}

// leave removes an activation unless a message is on its way to it, or its dirty mark can go since a moment ago.
func (g *Registry) leave(a *activation) bool {
	s := &g.shards[a.term.shard]
	s.mu.Lock()
	if a.inbox.Load() > 0 || a.term.ctx.Err() == nil && a.clearable() {
		s.mu.Unlock()
		return false
	}
	s.stamp(a.key).Add(1)
	if s.m[a.key] == a {
		delete(s.m, a.key)
	} else {
		close(a.ended)
		s.unfade(a)
	}
	left := g.live.Add(-1)
	s.vacate()
	s.mu.Unlock()
	g.cfg.Observer.Passivated()
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

// abandon ends the term of a shard and returns its activations, to be told. mu is held.
func (g *Registry) abandon(s *shard) []*activation {
	if s.term == nil {
		return nil
	}
	s.closed = max(s.closed, s.term.epoch)
	s.term.lost.Store(true)
	s.term.cancel()
	all := make([]*activation, 0, len(s.m))
	for key, a := range s.m {
		a.ended = make(chan struct{})
		if s.fading == nil {
			s.fading = make(map[chat.ConversationKey][]*activation)
		}
		s.fading[key] = append(s.fading[key], a)
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

// Release hands shards over. From now on commands of theirs are answered chat.ErrMoved; those accepted are finished,
// what is derived is saved, and the dirty marks go where they may. It returns when nothing of the shards is in memory
// or, with an error, when ctx ends: then the rest is given up as by Drop. A later term, under a higher epoch, opens a
// shard again.
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
			return fmt.Errorf("release conversations: up to %d of the shards still busy: %w", len(vacant)-i, ctx.Err())
		}
	}
	return nil
}

// Drop takes in that the terms of shards are lost: nothing of theirs is acknowledged or published any more, and writes
// under way are given up. Commands whose commit may be under way are answered chat.ErrUnknown, all others
// chat.ErrMoved. It does not wait for that. A later term, under a higher epoch, opens a shard again.
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

// deposed ends a term that the store says is over: a later owner has fenced its logs off, whatever the lease says. refused
// is the batch that was turned away, if it was one. It reports whether the activation has ended.
func (a *activation) deposed(refused *Batch) bool {
	a.reg.cfg.Log.Warn("a later owner has fenced this node off a shard", slog.Int("shard", a.term.shard), slog.Uint64("epoch", a.term.epoch),
		slog.String("tenant", string(a.key.Tenant)), slog.String("conversation", a.key.ID.String()))
	a.abort(refused)
	s := &a.reg.shards[a.term.shard]
	s.mu.Lock()
	var lost []*activation
	if s.term == a.term {
		lost = a.reg.abandon(s)
	}
	s.mu.Unlock()
	a.reg.tell(lost)
	return a.out == 0 && a.reg.leave(a)
}

// abort tells everybody who waits that the term is over.
func (a *activation) abort(refused *Batch) {
	if a.aborted {
		return
	}
	a.aborted, a.delayed, a.loadNext = true, nil, false
	a.step(Abort{Err: notOwner(a.key), Refused: refused})
	a.answerAll(notOwner(a.key))
	a.failRepairs(chat.ErrMoved)
}

// dropped is the message of a term that is lost: a handler that runs sees it at the next message.
type dropped struct{}

// IgnoreDeadLetterLogging implements actor.IgnoreDeadLetterLogging.
func (dropped) IgnoreDeadLetterLogging() {}

// receiveLost handles messages once the term is lost, and reports whether the activation has ended.
func (a *activation) receiveLost(m any) bool {
	a.abort(nil)
	switch m := m.(type) {
	case *Request:
		a.handled(m)
		a.link(m)
		a.answer(&Reply{Request: m, Err: notOwner(a.key)}, a.reg.cfg.Now())
	case *Batch, *Read, *Write, *Loaded, cleared:
		a.out--
	case repair:
		a.inbox.Add(-1)
		m.done <- repaired{err: chat.ErrMoved}
	}
	return a.out == 0 && a.reg.leave(a)
}

// lostError is what a command is told whose write may have happened when the term was lost. It is no chat.ErrMoved:
// that one says that nothing happened.
func lostError(err error) error {
	if errors.Is(err, chat.ErrMoved) {
		return fmt.Errorf("%w: the shard moved", chat.ErrUnknown)
	}
	return fmt.Errorf("%w: %w", chat.ErrUnknown, err)
}

// forsake ends what a barrier held back when the term was lost: it is in the log, and nobody was told.
func (s *State) forsake() {
	for i := range s.held {
		if r := &s.held[i].Reply; s.held[i].Delivery == nil {
			err := r.Err
			if err == nil {
				err = lostError(chat.ErrMoved)
			}
			s.fail(r.Request, err)
		}
	}
	s.held, s.barrier = nil, 0
}
