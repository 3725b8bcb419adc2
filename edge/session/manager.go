package session

import (
	"context"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/reactor"
)

// Dispatcher carries commands to whoever decides on them and keeps the directory of sessions.
type Dispatcher interface {
	// Submit never blocks. It calls done exactly once, from any goroutine, this one included.
	Submit(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error))
	// Register adds a session to the directory: of one conversation, or with the zero id of all. Made inside
	// the callback of an Attach it precedes every delivery of later commits.
	Register(k chat.UserKey, conversation chat.ConversationID, s chat.SessionID)
	Unregister(k chat.UserKey, conversation chat.ConversationID, s chat.SessionID)
	// Enter says that a session of the user is about to open on this node. It reports true if it may at once; if not,
	// done is called once, later and from another goroutine: the session may open then unless there is an error.
	Enter(k chat.UserKey, done func(error)) bool
	// Exit takes one Enter back, whatever became of it.
	Exit(k chat.UserKey)
}

// Verifier checks access tokens; auth.Verifier is one.
type Verifier interface {
	Verify(token string) (auth.Claims, error)
	VerifyContext(ctx context.Context, token string) (auth.Claims, error)
}

// Users learns of the users that tokens introduce.
type Users interface {
	// Seen stores the user unless it is there already, and answers what is stored. It is called from a few
	// workers at a time, before the user's first command.
	Seen(ctx context.Context, u chat.User) (chat.User, error)
}

// Contacts makes contacts by e-mail address.
type Contacts interface {
	// AddByEmail never blocks. It calls done exactly once, from any goroutine, with the name to show of the contact.
	AddByEmail(p chat.Principal, email, name string, done func(username string, err error))
}

// Transport sends frames; reactor.Server is one. Its methods do not block.
type Transport interface {
	Send(h reactor.Handle, f *reactor.Frame, class reactor.Class) error
	Broadcast(set *reactor.Set, f *reactor.Frame, class reactor.Class, except reactor.Handle)
	CloseConn(h reactor.Handle, code uint16, reason string) error
}

// Config of a Manager. Dispatcher and Verifier are required; other zero values mean the default.
type Config struct {
	Dispatcher Dispatcher
	Verifier   Verifier
	// Self is this node, where sessions of others may have the same numbers as its own; 0: there are no others.
	Self     chat.NodeID
	Users    Users    // nil: nobody wants to know
	Contacts Contacts // nil: add_contact is not supported
	Searcher Searcher // nil: there is no search
	Files    Files    // nil: files are not taken
	// MaxFile is the largest file that is taken within a frame; 0: none, only files that were uploaded before.
	MaxFile int64
	// FileBytes bounds the frames with files that are being handled, of all sessions together; default 256 MiB.
	FileBytes  int64
	Limiter    *Limiter
	Origins    *auth.Origins // default: the hub's own host only
	CookieName string        // cookie that may hold the token; empty: none

	// PreAcceptReject answers an upgrade without a valid token with HTTP 401 instead of accepting it and
	// closing with 4001, which is all that a browser's script can see. Whether the user may see the
	// conversation is known only after accepting, so that 4003 is always a close code.
	PreAcceptReject bool
	// MaxPerUser bounds the sessions of one user on this node; more are closed with 4029. 0: no limit.
	MaxPerUser int
	// Limits are those of a tenant, which may change at any time; nil: MaxPerUser for all. Sessions that are open stay.
	Limits func(chat.TenantID) Limits
	// Admit is asked whether somebody with a valid token is let in, before a session opens and at every Recheck;
	// chat.ErrSuspended or chat.ErrTokenRevoked if not. It must not block. nil: everybody.
	Admit func(auth.Pass) error
	// Proxies in front of the hub; nil: none.
	Proxies *auth.Proxies
	// PendingBytes and PendingFrames bound what a client may send before its session is open; more closes
	// with 1008. Default 64 KiB and 64.
	PendingBytes  int
	PendingFrames int
	// ReplayBytes bounds the frames that resumes put on one connection within a second: a single conversation
	// that needs more is answered by gap, the next one in that second by rate_limited. It should stay below
	// what the transport queues for a connection. Default 192 KiB.
	ReplayBytes int
	// Workers is the number of goroutines for what may wait; default 8. WorkQueue bounds what waits for them;
	// when it is full new sessions are closed with 1013. Default 8192.
	Workers   int
	WorkQueue int
	// WorkTimeout bounds one key fetch or introduction; default 10 s.
	WorkTimeout time.Duration
	// RetryAfter is the middle of the times that clients are asked to wait when the node is draining or
	// overloaded; each gets a random one between half and one and a half of it. Default 2 s.
	RetryAfter time.Duration

	Now      func() time.Time // default time.Now
	Observer Observer         // default: none
	Logger   *slog.Logger     // default: discard
}

// Manager keeps the sessions of one node. It is a reactor.Handler, and what the directory delivers to.
type Manager struct {
	cfg     Config
	obs     Observer
	log     *slog.Logger
	tr      Transport
	slab    slab
	users   registry
	seen    seenCache
	expiry  expiryHeap
	frames  frameCache
	limiter *Limiter
	quota   quota

	draining atomic.Bool
	states   [numStates]atomic.Int64

	jobs chan func(context.Context)
	life context.Context // of the goroutines; stop ends it
	stop context.CancelFunc

	searches atomic.Int32 // running
	files    atomic.Int64 // bytes of frames with files that are being handled
	wg       sync.WaitGroup
}

// New starts the workers of a Manager. Bind must be called before it handles connections, Close at the end.
func New(cfg Config) *Manager {
	if cfg.Origins == nil {
		cfg.Origins = new(auth.Origins)
	}
	def(&cfg.PendingBytes, 64<<10)
	def(&cfg.PendingFrames, 64)
	def(&cfg.ReplayBytes, 192<<10)
	if cfg.FileBytes <= 0 {
		cfg.FileBytes = 256 << 20
	}
	def(&cfg.Workers, 8)
	def(&cfg.WorkQueue, 8192)
	def(&cfg.WorkTimeout, 10*time.Second)
	def(&cfg.RetryAfter, 2*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Observer == nil {
		cfg.Observer = nobody{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Limiter == nil {
		cfg.Limiter = NewLimiter(LimiterConfig{Now: cfg.Now})
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Manager{
		cfg: cfg, obs: cfg.Observer, log: cfg.Logger, limiter: cfg.Limiter,
		users: registry{seed: maphash.MakeSeed(), users: make(map[uint64]*user)},
		seen:  seenCache{seed: maphash.MakeSeed()},
		jobs:  make(chan func(context.Context), cfg.WorkQueue),
		life:  ctx,
		stop:  stop,
	}
	m.users.slab, m.expiry.slab = &m.slab, &m.slab
	for range cfg.Workers {
		m.wg.Go(func() { m.work(ctx) })
	}
	m.wg.Go(func() { m.sweep(ctx) })
	return m
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Bind sets the transport, whose construction needs the Manager as its handler.
func (m *Manager) Bind(t Transport) { m.tr = t }

// Limiter is the one that sessions use: the REST API charges the same buckets.
func (m *Manager) Limiter() *Limiter { return m.limiter }

// Close stops the goroutines and waits for them. Connections must have been closed before.
func (m *Manager) Close() {
	m.stop()
	m.wg.Wait()
}

// Drain refuses new sessions from now on (503 with Retry-After) and tells every open one when to come back,
// spread over Config.RetryAfter. The transport's shutdown follows, which closes them at its own pace.
func (m *Manager) Drain(ctx context.Context) error {
	m.draining.Store(true)
	var b []byte
	for i := uint32(1); i < m.slab.limit(); i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r := m.slab.get(i)
		r.mu.Lock()
		if r.state == stateOpen || r.state == stateDraining { // both have had their first frame
			b = frame.AppendGoaway(b[:0], m.retryAfter())
			_ = m.tr.Send(r.handle, reactor.NewFrame(true, b), reactor.Durable) // gone is as good
		}
		r.mu.Unlock()
	}
	return nil
}

func (m *Manager) retryAfter() time.Duration {
	return m.cfg.RetryAfter/2 + rand.N(m.cfg.RetryAfter)
}

// submit hands f to the workers; false when too much waits for them already.
func (m *Manager) submit(f func(context.Context)) bool {
	select {
	case m.jobs <- f:
		return true
	default:
		return false
	}
}

func (m *Manager) work(ctx context.Context) {
	for {
		select {
		case f := <-m.jobs:
			jctx, cancel := context.WithTimeout(ctx, m.cfg.WorkTimeout)
			f(jctx)
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// sweep ends sessions whose token has expired, to the second, and forgets rate limits that are full again.
func (m *Manager) sweep(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.expireUntil(m.cfg.Now())
			m.limiter.sweep()
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) expireUntil(now time.Time) {
	for {
		i := m.expiry.pop(now)
		if i == 0 {
			return
		}
		r := m.slab.get(i)
		r.mu.Lock()
		s := link{r, r.handle, i}
		due := m.expiry.due(i)
		r.mu.Unlock()
		if due {
			m.end(s, frame.CloseUnauthorized, "token expired")
		}
	}
}

// Stats are gauges of one moment.
type Stats struct {
	Verifying, Introducing, Attaching, Open, Closing int64 // sessions by state
	Users                                            int64 // with at least one session
	WorkQueue                                        int   // jobs that wait for a worker
}

// Stats returns the gauges.
func (m *Manager) Stats() Stats {
	return Stats{
		Verifying: m.states[stateVerifying].Load(), Introducing: m.states[stateIntroducing].Load(),
		Attaching: m.states[stateAttaching].Load(), Open: m.states[stateDraining].Load() + m.states[stateOpen].Load(),
		Closing: m.states[stateClosing].Load() + m.states[stateRejected].Load(),
		Users:   int64(m.users.len()), WorkQueue: len(m.jobs),
	}
}
