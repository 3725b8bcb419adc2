package user

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

// Store is what the users' actors need of storage. SavePair writes a pair and both users' lists and marks it
// unsettled first, which SettlePair takes back.
type Store interface {
	GetPair(ctx context.Context, k chat.PairKey) (chat.Pair, error)
	SavePair(ctx context.Context, p, before chat.Pair) error
	RederivePair(ctx context.Context, p chat.Pair) error
	SettlePair(ctx context.Context, k chat.PairKey) error
	GetPreferences(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.Preferences, error)
	PutPreferences(ctx context.Context, k chat.UserKey, p chat.Preferences) error
}

// Config of a Registry. System, Dispatcher, Store and Bar are required.
type Config struct {
	System     *actor.ActorSystem
	Dispatcher actor.Dispatcher
	Store      Store
	// Bar tells the direct conversation of two users whether one of them blocked the other; by is one of the two. It
	// returns once the conversation goes by it, or does not exist. It may block until ctx ends.
	Bar   func(ctx context.Context, pair *chat.Pair, by chat.Principal) error
	Owner Owner // default: everything, always
	// Answered is told of every command; default: nobody is.
	Answered func(name string, err error, d time.Duration)
	Rules    chat.Rules
	Now      func() time.Time // default time.Now
	Idle     time.Duration    // passivation; default 2 min
	Cap      int              // live actors; more are refused; default 400,000
	// Operations is how many may be under way at once; more are answered chat.ErrOverloaded. Default 4096.
	Operations int
	Log        *slog.Logger // default: none
}

// Registry holds the live actors of this node's users. Its methods are safe for concurrent use and, but for Repair
// and Close, do not block.
type Registry struct {
	cfg   Config
	rules chat.Rules
	props *actor.Props
	slots chan struct{}

	ctx     context.Context // of all I/O
	cancel  context.CancelFunc
	io      sync.WaitGroup
	closing atomic.Bool
	live    atomic.Int64
	empty   chan struct{} // signalled when the last actor went while closing
	stop    chan struct{}
	swept   chan struct{}

	shards [chat.Shards]shard
}

// NewRegistry starts the sweeper; Close stops it.
func NewRegistry(c Config) *Registry {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Idle == 0 {
		c.Idle = 2 * time.Minute
	}
	if c.Cap == 0 {
		c.Cap = 400_000
	}
	if c.Operations == 0 {
		c.Operations = 4096
	}
	if c.Owner == nil {
		c.Owner = always{}
	}
	if c.Answered == nil {
		c.Answered = func(string, error, time.Duration) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Registry{cfg: c, rules: c.Rules.WithDefaults(), slots: make(chan struct{}, c.Operations),
		empty: make(chan struct{}, 1), stop: make(chan struct{}), swept: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.props = actor.PropsFromProducer(func() actor.Actor { return new(shell) },
		actor.WithMailbox(mailbox.New), actor.WithDispatcher(c.Dispatcher))
	go g.sweep()
	return g
}

// Do carries out a command of the caller's about another user of the tenant, who exists.
func (g *Registry) Do(p chat.Principal, cmd chat.PeopleCommand, done func(chat.Pair, error)) {
	pair, start := chat.PairOf(p.Tenant, p.User, cmd.About()), g.cfg.Now()
	g.submit(pair.Home(), &Request{Caller: p, Command: cmd, Pair: pair, Done: func(res Result, err error) {
		g.cfg.Answered(cmd.Name(), err, g.cfg.Now().Sub(start))
		done(res.Pair, err)
	}})
}

// Guard calls then, once, with leave to do something that a block of the pair forbids: chat.ErrBlocked if there is
// one; else nothing is decided about the pair until release is called, once.
func (g *Registry) Guard(pair chat.PairKey, then func(err error, release func())) {
	var once sync.Once
	guard := func(err error, release func()) { once.Do(func() { then(err, release) }) }
	g.submit(pair.Home(), &Request{Pair: pair, Guard: guard, Done: func(_ Result, err error) {
		if err != nil {
			guard(err, func() {})
		}
	}})
}

// Preferences are those of a user in memory; false if the user's actor does not live, or has not read them.
func (g *Registry) Preferences(k chat.UserKey) (chat.Preferences, bool) {
	n := k.Shard()
	s := &g.shards[n]
	s.mu.RLock()
	a := s.m[k]
	s.mu.RUnlock()
	if a == nil || !g.cfg.Owner.MayAck(n, a.term.epoch) {
		return chat.Preferences{}, false
	}
	p, ok := a.preferences()
	if ok {
		a.used.Store(g.cfg.Now().UnixNano())
	}
	return p, ok
}

// AskPreferences answers a user's preferences, read if they must be.
func (g *Registry) AskPreferences(k chat.UserKey, done func(chat.Preferences, error)) {
	g.submit(k, &Request{Done: func(res Result, err error) { done(res.Preferences, err) }})
}

// ChangePreferences lets change alter them and answers them as they are in force then.
func (g *Registry) ChangePreferences(k chat.UserKey, change func(*chat.Preferences), done func(chat.Preferences, error)) {
	g.submit(k, &Request{Change: change, Done: func(res Result, err error) { done(res.Preferences, err) }})
}

// Repair carries out again what follows from a stored pair.
func (g *Registry) Repair(ctx context.Context, pair chat.PairKey) error {
	done := make(chan error, 1)
	g.submit(pair.Home(), &Request{Pair: pair, Repair: true, Done: func(_ Result, err error) { done <- err }})
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("repair pair %s: %w", pair, err)
	}
	return nil
}

// Live is how many actors are in memory.
func (g *Registry) Live() int { return int(g.live.Load()) }

// submit hands a request to an actor; Done is called exactly once, with chat.ErrMoved if the user is not this node's and
// nothing was done.
func (g *Registry) submit(k chat.UserKey, r *Request) {
	a, err := g.enter(k)
	if err != nil {
		r.Done(Result{}, err)
		return
	}
	if a.inbox.Load() > MaxWaiting {
		a.inbox.Add(-1)
		r.Done(Result{}, chat.ErrOverloaded)
		return
	}
	a.used.Store(g.cfg.Now().UnixNano())
	g.cfg.System.Root.Send(a.pid, r)
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

// sweep asks idle actors to go; when half of Cap live, those of the last few seconds stay.
func (g *Registry) sweep() {
	defer close(g.swept)
	t := time.NewTicker(min(max(g.cfg.Idle/8, 10*time.Millisecond), 5*time.Second))
	defer t.Stop()
	for {
		select {
		case <-g.stop:
			return
		case <-t.C:
		}
		idle := g.cfg.Idle
		if g.Live() > g.cfg.Cap/2 {
			idle = min(idle, 5*time.Second)
		}
		limit := g.cfg.Now().Add(-idle).UnixNano()
		g.each(func(a *activation) {
			if a.used.Load() <= limit {
				g.cfg.System.Root.Send(a.pid, passivate{})
			}
		})
	}
}

// Close refuses new requests with chat.ErrShutdown and waits for those accepted. When ctx ends first they are given
// up: a pair that was stored stays unsettled, and its command is answered chat.ErrUnknown.
func (g *Registry) Close(ctx context.Context) error {
	if g.closing.Swap(true) {
		return nil
	}
	close(g.stop)
	<-g.swept
	// Whoever saw closing unset has entered before the shard can be read.
	g.disown()
	g.each(func(a *activation) { g.cfg.System.Root.Send(a.pid, passivate{}) })
	var err error
	if g.live.Load() > 0 {
		select {
		case <-g.empty:
		case <-ctx.Done():
			err = fmt.Errorf("close users: %d still busy: %w", g.live.Load(), ctx.Err())
			g.cancel()
			if g.live.Load() > 0 {
				<-g.empty
			}
		}
	}
	g.cancel()
	g.io.Wait()
	return err
}
