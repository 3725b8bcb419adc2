package conversation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/zumodra/hub/actors/internal/mailbox"
	"github.com/zumodra/hub/chat"
)

// Store is what a conversation needs of storage. A write that may have happened must not come back with an
// error that Refused takes for a refusal. SaveDerived must not show a newer head without its member rows.
type Store interface {
	LoadConversation(ctx context.Context, key chat.ConversationKey) (chat.Head, []chat.Member, error)
	ReadEvents(ctx context.Context, key chat.ConversationKey, from, to uint64, limit int) ([]chat.Event, error)
	ReadEventsReverse(ctx context.Context, key chat.ConversationKey, from uint64, limit int, yield func(chat.Event) bool) error
	GetEvent(ctx context.Context, key chat.ConversationKey, seq uint64) (chat.Event, error)
	AppendEvents(ctx context.Context, key chat.ConversationKey, events []chat.Event) error
	SaveDerived(ctx context.Context, key chat.ConversationKey, d chat.Derived) error
	SaveWatermarks(ctx context.Context, key chat.ConversationKey, members []chat.Member, receipts []chat.Receipt) error
	// SavePersonal may be relaxed: SaveWatermarks of the same members follows.
	SavePersonal(ctx context.Context, key chat.ConversationKey, p chat.Personal) error
	ListHidden(ctx context.Context, key chat.ConversationKey, user chat.UserID) ([]chat.HiddenMessage, error)
	FindDuplicates(ctx context.Context, key chat.ConversationKey, ids []chat.SenderClientID) ([]uint64, error)
	DeleteConversation(ctx context.Context, key chat.ConversationKey, members []chat.UserID) error
	MarkDirty(ctx context.Context, key chat.ConversationKey) error
	ClearDirty(ctx context.Context, key chat.ConversationKey) error
}

// FencedStore is a Store as the owner of an epoch writes to it. Once a later owner has called Fence, what it writes to the
// log is refused with chat.ErrFenced, whatever this node takes itself for.
type FencedStore interface {
	Store
	// Fence keeps owners of lower epochs from writing to the part of the log that event seq is or will be in; last is that
	// part's last seq. chat.ErrFenced: a later owner was there before.
	Fence(ctx context.Context, key chat.ConversationKey, seq uint64) (last uint64, err error)
}

// Observer is told what the conversations do. Its methods must not block and may be called at once from many
// goroutines.
type Observer interface {
	Activated()
	Passivated()
	Restarted()                                       // after a panic in the core
	Rejected()                                        // a bound was hit
	Committed(events int, took time.Duration)         // one group commit
	CommitRetried()                                   // its outcome was unknown
	Answered(name string, err error, d time.Duration) // one command, since the Hub accepted it
	Published(recipients int, since time.Duration)    // one delivery, since its oldest command was accepted
	Duplicates(n int)
}

// RegistryConfig of a Registry. System, Dispatcher, Store and Publish are required.
type RegistryConfig struct {
	System     *actor.ActorSystem
	Dispatcher actor.Dispatcher
	Store      Store
	// Under returns Store as the owner of an epoch writes to it: strict fencing. Default: Store itself, for any epoch.
	Under   func(epoch uint64) FencedStore
	Publish func(*chat.Delivery) // must not block
	// Delivered reports whether all that a conversation published has arrived: its dirty mark stays until then. It must
	// not block. Default: always.
	Delivered func(chat.ConversationKey) bool
	Owner     Owner // default: everything, always
	// Barred answers whether one of two users blocked the other, and the version of what is between them; nil: nobody
	// blocks anybody. It may do I/O.
	Barred   func(ctx context.Context, pair chat.PairKey) (barred bool, version uint64, err error)
	Observer Observer // default: none
	Follower Follower // default: nothing follows the logs
	Rules    chat.Rules
	Epoch    uint64           // of the default Owner; default 1
	Now      func() time.Time // default time.Now
	Idle     time.Duration    // passivation; default 2 min
	Cap      int              // live conversations; default 200,000
	Commits  int              // commits at once; default 4096
	Replay   int              // newest events that an activation reads; default 128
	Log      *slog.Logger
}

// Registry holds the live conversations of this node. Its methods are safe for concurrent use.
type Registry struct {
	cfg        RegistryConfig
	rules      chat.Rules
	seen       *SeenBudget
	props      *actor.Props
	commits    chan struct{}
	committers committers
	unfollowed bool // there is no Follower

	ctx     context.Context // of all I/O; cancelled when Close runs out of time
	cancel  context.CancelFunc
	io      sync.WaitGroup
	closing atomic.Bool
	live    atomic.Int64
	empty   chan struct{} // signalled when the last activation went while closing
	stop    chan struct{} // ends the sweeper
	swept   chan struct{}

	shards [chat.Shards]shard
}

// NewRegistry starts the sweeper; Close stops it.
func NewRegistry(c RegistryConfig) *Registry {
	if c.Epoch == 0 {
		c.Epoch = 1
	}
	if c.Owner == nil {
		c.Owner = always{c.Epoch}
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Idle == 0 {
		c.Idle = 2 * time.Minute
	}
	if c.Cap == 0 {
		c.Cap = 200_000
	}
	if c.Commits == 0 {
		c.Commits = 4096
	}
	if c.Replay == 0 {
		c.Replay = 128
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	unfollowed := c.Follower == nil
	if unfollowed {
		c.Follower = noFollower{}
	}
	g := &Registry{cfg: c, unfollowed: unfollowed, rules: c.Rules.WithDefaults(), commits: make(chan struct{}, c.Commits),
		empty: make(chan struct{}, 1), stop: make(chan struct{}), swept: make(chan struct{})}
	g.seen = NewSeenBudget(DefaultSeenBytes)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.props = actor.PropsFromProducer(func() actor.Actor { return new(shell) },
		actor.WithMailbox(mailbox.New), actor.WithDispatcher(c.Dispatcher))
	g.committers.init(g)
	go g.sweep()
	return g
}

// admit counts a request that enter has counted, and reports whether there is room for it in front of the handler: for
// MaxPending, and apart from them for MaxMarks positions.
func (a *activation) admit(r *Request) bool {
	if isMark(r.Command) {
		return a.marks.Add(1) <= MaxMarks
	}
	return a.inbox.Load()-a.marks.Load() <= MaxPending
}

// handled takes a request from the inbox.
func (a *activation) handled(r *Request) {
	if isMark(r.Command) {
		a.marks.Add(-1)
	}
	a.inbox.Add(-1)
}

// Submit hands a request to its conversation. It never blocks; Done is called exactly once, with chat.ErrMoved if the
// conversation is not this node's and nothing was done.
func (g *Registry) Submit(key chat.ConversationKey, r *Request) {
	if g.closing.Load() {
		r.Done(chat.Result{}, chat.ErrShutdown)
		return
	}
	a, err := g.enter(key)
	if err != nil {
		r.Done(chat.Result{}, err)
		return
	}
	if !a.admit(r) {
		a.handled(r)
		g.cfg.Observer.Rejected()
		r.Done(chat.Result{}, chat.ErrOverloaded)
		return
	}
	a.used.Store(r.At.UnixNano())
	g.cfg.System.Root.Send(a.pid, r)
	if run := r.run; run != nil { // this call woke the actor up: it runs here, which spares a hand-over
		run()
	}
}

// Live is how many conversations are in memory.
func (g *Registry) Live() int { return int(g.live.Load()) }

// Waiting is how many commits are ready and not under way.
func (g *Registry) Waiting() int { return g.committers.waiting() }

// SeenBytes is the memory that the filters of client ids use.
func (g *Registry) SeenBytes() int64 { return g.seen.Used() }

// Snapshot is what a live conversation shows without being asked by message.
type Snapshot = chat.Snapshot

// Peek looks at a live conversation. known is false if it is not in memory, and then only Version is set; exists is
// false if it is, and there is no such conversation.
func (g *Registry) Peek(key chat.ConversationKey, user chat.UserID, members int) (snap Snapshot, exists, known bool) {
	a, version := g.peek(key)
	snap.Version = version
	if a == nil {
		return snap, false, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.state.Known() {
		return snap, false, false
	}
	snap.Version = 0
	snap.Head, snap.Me, snap.Set, exists = a.state.Peek(user)
	snap.Gone = a.state.Gone()
	if exists && members > 0 {
		snap.Members = a.state.Members(members)
	}
	return snap, exists, true
}

// Rewritten are message rows that the store does not show yet: who reads history must take them before it
// reads, and prefer them.
func (g *Registry) Rewritten(key chat.ConversationKey) []*chat.Event {
	a, _ := g.peek(key)
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.Rewritten()
}

// peek returns the activation, if there is one, and the version of what is stored as long as there is none: when it is
// the same later, none has been meanwhile. It is 0 if this node cannot tell.
func (g *Registry) peek(key chat.ConversationKey) (a *activation, version uint64) {
	n := key.Shard()
	s := &g.shards[n]
	stamp := s.stamp(key).Load() // before the look, so that what is put there after it has another one
	s.mu.RLock()
	a = s.m[key]
	s.mu.RUnlock()
	epoch, ok := g.cfg.Owner.Term(n)
	if ok && epoch < 1<<32 {
		version = epoch<<32 | uint64(stamp)
	}
	if a != nil && (!ok || epoch != a.term.epoch) {
		return nil, version // its successor may have gone on
	}
	return a, version
}

func (g *Registry) each(f func(*activation)) {
	for i := range g.shards {
		s := &g.shards[i]
		s.mu.RLock()
		all := make([]*activation, 0, len(s.m))
		for _, a := range s.m {
			all = append(all, a)
		}
		s.mu.RUnlock()
		for _, a := range all {
			f(a)
		}
	}
}

// sweep asks idle conversations to go, and the least recently used ones when there are too many.
func (g *Registry) sweep() {
	defer close(g.swept)
	every := min(max(g.cfg.Idle/8, 10*time.Millisecond), 5*time.Second)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-t.C:
		}
		limit := g.cfg.Now().Add(-g.cfg.Idle).UnixNano()
		if over := g.Live() - g.cfg.Cap; over > 0 {
			limit = max(limit, g.oldest(over+g.cfg.Cap/20))
		}
		g.each(func(a *activation) {
			if a.used.Load() <= limit {
				g.cfg.System.Root.Send(a.pid, passivate{})
			}
		})
	}
}

// Close refuses new commands with chat.ErrShutdown, waits for those accepted, saves what is derived and clears
// the dirty marks. When ctx ends first, commits under way are given up: their commands get chat.ErrUnknown.
func (g *Registry) Close(ctx context.Context) error {
	if g.closing.Swap(true) {
		return nil
	}
	close(g.stop)
	<-g.swept
	g.disown()
	g.each(func(a *activation) { g.cfg.System.Root.Send(a.pid, passivate{}) })
	var err error
	if g.live.Load() > 0 {
		select {
		case <-g.empty:
		case <-ctx.Done():
			err = fmt.Errorf("close conversations: %d still busy: %w", g.live.Load(), ctx.Err())
			g.cancel()
			g.each(func(a *activation) { g.cfg.System.Root.Send(a.pid, kill{}) })
			if g.live.Load() > 0 {
				<-g.empty
			}
		}
	}
	g.cancel()
	g.io.Wait()
	g.committers.close()
	return err
}

type nobody struct{}

func (nobody) Activated()                            {}
func (nobody) Passivated()                           {}
func (nobody) Restarted()                            {}
func (nobody) Rejected()                             {}
func (nobody) Committed(int, time.Duration)          {}
func (nobody) CommitRetried()                        {}
func (nobody) Answered(string, error, time.Duration) {}
func (nobody) Published(int, time.Duration)          {}
func (nobody) Duplicates(int)                        {}
