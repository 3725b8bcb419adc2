package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/actors/directory"
	"github.com/zumodra/hub/actors/directory/enrol"
	"github.com/zumodra/hub/actors/directory/fanout"
	"github.com/zumodra/hub/actors/directory/home"
	"github.com/zumodra/hub/actors/projection"
	"github.com/zumodra/hub/actors/user"
	"github.com/zumodra/hub/chat"
)

// Store is what the Hub needs of storage.
type Store interface {
	conversation.Store
	projection.Store
	AreHidden(ctx context.Context, user chat.UserID, refs []chat.EventRef) ([]bool, error)
	GetDrafts(ctx context.Context, k chat.UserKey, ids []chat.ConversationID) ([]chat.Draft, error)
	GetEvents(ctx context.Context, refs []chat.EventRef) ([]chat.Event, error)
	GetHead(ctx context.Context, key chat.ConversationKey) (chat.Head, error)
	ReadReplies(ctx context.Context, key chat.ConversationKey, to, before uint64, limit int) ([]uint64, error)
	GetHeads(ctx context.Context, keys []chat.ConversationKey) ([]chat.Head, error)
	GetMembers(ctx context.Context, keys []chat.ConversationKey, user chat.UserID) ([]chat.Member, error)
	ListReceipts(ctx context.Context, key chat.ConversationKey, q chat.ReceiptQuery) (chat.ReceiptPage, error)
	CountReaders(ctx context.Context, key chat.ConversationKey, sender chat.UserID, seq uint64) (n int, late []chat.UserID, err error)
	DirtyShard(ctx context.Context, shard int, after chat.ConversationKey, limit int) ([]chat.ConversationKey, error)
	DirtyConversations(ctx context.Context, yield func(chat.ConversationKey) bool) error
	ListMemberships(ctx context.Context, k chat.UserKey) ([]chat.Membership, error)
	GetUsers(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.User, error)
}

// Edge is what holds the sessions; see directory.Edge and directory.Overflower.
type Edge = directory.Edge

// Observer is told what the conversations do; see conversation.Observer.
type Observer = conversation.Observer

// Config of a Hub. Store and Edge are required.
type Config struct {
	Store Store
	// Under is as in conversation.RegistryConfig: strict fencing.
	Under    func(epoch uint64) conversation.FencedStore
	People   People // what is between users; nil: users have neither contacts nor blocks nor preferences
	Edge     Edge
	Cluster  Cluster            // nil: this node is alone and owns everything, or what Owner says
	Owner    conversation.Owner // default: this node owns every conversation
	Observer Observer           // default: none
	// Consumers follow the logs.
	Consumers []projection.Consumer
	Search    Searcher // default: there is no search
	Rules     chat.Rules
	// Limits are those of a tenant, which may change at any time; nil: there are none but Rules. It must not block.
	Limits func(chat.TenantID) chat.Limits
	Epoch  uint64           // of this owner; default 1
	Now    func() time.Time // default time.Now
	Log    *slog.Logger     // default: none

	// Charged, if not nil, is told what users spent of their rate limit on other nodes, in commands. It must not block.
	Charged func(user chat.UserKey, amount float64)

	// ForwardFile sends a message with a copy of a file that the caller may read; nil: messages with files cannot be forwarded.
	ForwardFile func(context.Context, chat.Principal, chat.Origin, chat.Send, chat.FileID) (chat.Result, error)

	// EmailPrivacy makes AddByEmail answer the same for known and unknown addresses, and Suggestions name nobody who shares
	// no group with the caller.
	EmailPrivacy bool

	Workers int           // of the actor system; default 4 x GOMAXPROCS
	Groups  int           // of the directory; default 2 x GOMAXPROCS
	Queue   int           // deliveries in front of a group; default 65,536
	Idle    time.Duration // until a conversation leaves memory; default 2 min
	Cap     int           // live conversations; default 200,000
	Commits int           // commits at once; default 4096
	Repairs int           // conversations checked at once at the start; default 64
	// Patience is how long a command or a question may look for the node that decides about it; default 10 s.
	Patience time.Duration

	// Previews, if not nil, is asked for what messages link to.
	Previews Previewer

	Searches      int           // at once; default 64
	SearchTimeout time.Duration // of the index; default 5 s
	// Searched, if not nil, is told of every search: how it ended, how many messages it found and how many of the
	// index's hits were stale. It must not block.
	Searched func(err error, found, stale int, took time.Duration)
}

// lookups is how many commands may wait for their users to be looked up.
const lookups = 4096

// Hub is safe for concurrent use.
type Hub struct {
	cfg      Config
	rules    chat.Rules
	store    Store
	system   *actor.ActorSystem
	workers  *workers
	convs    *conversation.Registry
	dir      *directory.Directory
	delivery atomic.Pointer[delivery] // to other nodes; nil without Config.Cluster
	directs  directs
	kept     standingCache
	// suggested are whom users may know.
	suggested suggestions
	people    *user.Registry // nil without Config.People, as is presence
	presence  *presence
	follow    *projection.Runner // nil: nothing follows the logs
	search    searches
	previews  *previews // nil: there are none
	terms     terms

	asking     [chat.Shards]atomic.Int32 // questions to other nodes under way
	unrepaired [chat.Shards]atomic.Bool  // see repaired

	ctx     context.Context // of look-ups, and of questions
	cancel  context.CancelFunc
	io      sync.WaitGroup
	ioMu    sync.RWMutex // orders io.Add before Close's Wait
	lookups atomic.Int64
	closed  atomic.Bool
}

// New starts the actor system; Close stops it. Start must have returned before the first command.
func New(c Config) *Hub {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Repairs <= 0 {
		c.Repairs = 64
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	h := &Hub{cfg: c, rules: c.Rules.WithDefaults(), store: c.Store, workers: newWorkers(c.Workers)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.system = actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterRequestLogging(false), actor.WithDeadLetterThrottleCount(0))
	h.dir = directory.New(directory.Config{System: h.system, Dispatcher: h.workers, Edge: c.Edge,
		Groups: c.Groups, Queue: c.Queue, Presence: func(k chat.UserKey, online bool) {
			if h.presence != nil && h.cfg.Cluster == nil { // else a home decides
				h.presence.changed(k, online)
			}
		}})
	var follower conversation.Follower
	if len(c.Consumers) > 0 {
		h.follow = projection.New(projection.Config{Conversations: followed{h}, Store: c.Store, Consumers: c.Consumers,
			Owns: h.serves(), Now: c.Now, Log: c.Log})
		follower = h.follow
	}
	h.search = newSearches(&c)
	if c.Previews != nil {
		h.previews = newPreviews(c.Previews)
	}
	publish, delivered := h.dir.Publish, (func(chat.ConversationKey) bool)(nil)
	if c.Cluster != nil {
		publish, delivered = h.publish, h.delivered
	}
	h.convs = conversation.NewRegistry(conversation.RegistryConfig{
		System: h.system, Dispatcher: h.workers, Store: c.Store, Publish: publish, Delivered: delivered, Owner: h.owner(), Under: c.Under,
		Observer: c.Observer, Follower: follower, Rules: c.Rules, Epoch: c.Epoch, Now: c.Now, Idle: c.Idle, Cap: c.Cap,
		Commits: c.Commits, Log: c.Log, Barred: h.barred()})
	h.startPeople()
	h.directs.now, h.suggested.now = c.Now, c.Now
	h.terms.init(h)
	h.startDelivery()
	return h
}

// Start brings the derived rows of conversations that were busy when the process ended up to their logs, and begins to
// feed the consumers, for which it does not wait.
// progress, if not nil, is called after each with how many are done; it may be called from many goroutines.
func (h *Hub) Start(ctx context.Context, progress func(done int)) error {
	if err := h.prepare(ctx); err != nil {
		return err
	}
	if h.cfg.Cluster != nil { // shards come one by one
		if h.follow != nil {
			h.follow.Start()
		}
		return nil
	}
	var keys []chat.ConversationKey
	err := h.store.DirtyConversations(ctx, func(k chat.ConversationKey) bool {
		keys = append(keys, k)
		return true
	})
	if err != nil {
		return fmt.Errorf("list conversations to repair: %w", err)
	}
	if err := h.repairPeople(ctx); err != nil {
		return err
	}
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(h.cfg.Repairs)
	for _, k := range keys {
		g.Go(func() error {
			if err := h.convs.Repair(ctx, k); err != nil {
				return err
			}
			if n := done.Add(1); progress != nil {
				progress(int(n))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if h.follow != nil {
		h.follow.Start()
	}
	return nil
}

// Close refuses new commands with chat.ErrShutdown, answers those accepted, saves derived state and stops
// everything. When ctx ends first, what is still under way is answered with chat.ErrUnknown.
func (h *Hub) Close(ctx context.Context) error {
	h.ioMu.Lock()
	again := h.closed.Swap(true)
	h.ioMu.Unlock()
	if again {
		return nil
	}
	if h.previews != nil {
		h.previews.close()
	}
	h.terms.close()
	stop := context.AfterFunc(ctx, h.cancel)
	h.io.Wait()
	stop()
	h.cancel()
	h.unfollow(ctx)
	err := errors.Join(h.closePeople(ctx), h.convs.Close(ctx))
	h.closeDelivery(ctx)
	h.dir.Close()
	if h.presence != nil { // which the directory told of the last sessions
		h.presence.close()
	}
	h.workers.close()
	h.system.Shutdown()
	return err
}

// Submit hands a command to its conversation, on whichever node that is. It never blocks. done is called exactly once, from any
// goroutine, the caller's included, and must not block. A message is judged in the caller's goroutine when its
// conversation is at rest.
func (h *Hub) Submit(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	if h.closed.Load() {
		done(chat.Result{}, chat.ErrShutdown)
		return
	}
	if h.cfg.Cluster != nil && o.Session != 0 {
		o.Node = h.cfg.Cluster.Self()
	}
	// Whether one of the two of a direct conversation blocked the other, the conversation itself knows (package user).
	switch c := cmd.(type) {
	case chat.Create:
		h.create(p, o, c, done)
	case chat.Forward:
		h.forward(p, o, c, done)
	case chat.AddMembers:
		h.addMembers(p, o, c, done)
	case chat.PinConversation:
		h.pinConversation(p, o, c, done)
	case chat.MarkRead:
		h.mark(p, o, cmd, c.Private, done)
	case chat.MarkDelivered:
		h.mark(p, o, cmd, c.Private, done)
	default:
		h.send(p, o, cmd, done)
	}
}

// send hands a command to its conversation, on whichever node.
func (h *Hub) send(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	if h.previews != nil {
		done = h.previewed(p, cmd, done)
	}
	if h.cfg.Cluster != nil {
		h.carry(p, o, cmd, done)
		return
	}
	h.sendHere(p, o, cmd, done)
}

func (h *Hub) sendHere(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	r := &conversation.Request{Principal: p, Origin: o, Command: cmd, At: h.cfg.Now(), Done: done}
	switch cmd.(type) {
	case chat.Create, chat.AddMembers:
		r.MaxMembers = h.groupSize(p.Tenant)
	}
	h.convs.Submit(chat.ConversationKey{Tenant: p.Tenant, ID: cmd.Target()}, r)
}

// limits of a tenant, none if there are none.
func (h *Hub) limits(t chat.TenantID) chat.Limits {
	if h.cfg.Limits == nil {
		return chat.Limits{}
	}
	return h.cfg.Limits(t)
}

// groupSize is how many members a group of the tenant may have.
func (h *Hub) groupSize(t chat.TenantID) int {
	if n := h.limits(t).GroupSize; n > 0 {
		return min(n, h.rules.MaxGroupSize)
	}
	return h.rules.MaxGroupSize
}

// Do is the blocking form of Submit. When ctx ends first, the command may still be carried out: the error then
// wraps chat.ErrUnknown and that of ctx.
func (h *Hub) Do(ctx context.Context, p chat.Principal, cmd chat.Command) (chat.Result, error) {
	type answer struct {
		res chat.Result
		err error
	}
	ch := make(chan answer, 1)
	h.Submit(p, chat.Origin{}, cmd, func(res chat.Result, err error) { ch <- answer{res, err} })
	select {
	case a := <-ch:
		return a.res, a.err
	case <-ctx.Done():
		return chat.Result{}, fmt.Errorf("%w: %s: %w", chat.ErrUnknown, cmd.Name(), ctx.Err())
	}
}

// lookup runs check, which may do I/O, on a goroutine of its own and goes on with then if it succeeds.
func (h *Hub) lookup(done func(chat.Result, error), check func(context.Context) error, then func()) {
	h.ioMu.RLock()
	defer h.ioMu.RUnlock()
	if h.closed.Load() {
		done(chat.Result{}, chat.ErrShutdown)
		return
	}
	if h.lookups.Add(1) > lookups {
		h.lookups.Add(-1)
		done(chat.Result{}, chat.ErrOverloaded)
		return
	}
	h.io.Go(func() {
		defer h.lookups.Add(-1)
		if err := check(h.ctx); err != nil {
			done(chat.Result{}, err)
			return
		}
		then()
	})
}

// known checks that all the users exist.
func (h *Hub) known(ctx context.Context, t chat.TenantID, ids []chat.UserID) error {
	if len(ids) == 0 {
		return nil
	}
	users, err := h.store.GetUsers(ctx, t, ids)
	if err != nil {
		return fmt.Errorf("look up users: %w", err)
	}
	for i := range users {
		if users[i].ID == "" {
			return fmt.Errorf("%w: %q", chat.ErrUnknownUser, ids[i])
		}
	}
	return nil
}

func (h *Hub) create(p chat.Principal, o chat.Origin, c chat.Create, done func(chat.Result, error)) {
	c.Members = slices.DeleteFunc(slices.Clone(c.Members), func(u chat.UserID) bool { return u == p.User })
	if len(c.Members) == 0 {
		done(chat.Result{}, &chat.FieldError{Field: "participant_ids", Text: "Name at least one other user."})
		return
	}
	if len(c.Members) >= h.groupSize(p.Tenant) {
		done(chat.Result{}, chat.ErrGroupFull)
		return
	}
	switch c.Kind {
	case chat.Direct:
		if len(c.Members) != 1 {
			done(chat.Result{}, &chat.FieldError{Field: "participant_ids", Text: "A direct conversation has one other participant."})
			return
		}
		c.Conversation = chat.DirectID(p.Tenant, p.User, c.Members[0])
		key := chat.ConversationKey{Tenant: p.Tenant, ID: c.Conversation}
		if h.directs.has(key) {
			h.send(p, o, c, done)
			return
		}
		answer := done
		done = func(res chat.Result, err error) {
			if err == nil {
				h.directs.put(key)
			}
			answer(res, err)
		}
	case chat.Group:
		if c.Conversation.IsZero() {
			c.Conversation = chat.NewConversationID()
		}
	default:
		done(chat.Result{}, fmt.Errorf("%w: kind of conversation", chat.ErrInvalid))
		return
	}
	h.lookup(done, func(ctx context.Context) error { return h.mayCreate(ctx, p, &c) }, func() { h.looked(p, o, c, done) })
}

// Register makes a session get the deliveries of one conversation of the user, or of all if it is zero. Called
// inside the callback of an Attach or Resume it precedes every delivery of later commits.
func (h *Hub) Register(k chat.UserKey, c chat.ConversationID, s chat.SessionID) {
	h.dir.Register(k, c, s)
}

// Unregister is the inverse of Register.
func (h *Hub) Unregister(k chat.UserKey, c chat.ConversationID, s chat.SessionID) {
	h.dir.Unregister(k, c, s)
}

// Stats of the hub since the start.
type Stats struct {
	Live                         int    // conversations in memory
	Waiting                      int    // commits that wait for the next group
	SeenBytes                    int64  // of the filters of client ids of those
	DirectHits                   uint64 // direct conversations found without asking whether the other user exists
	StandingHits, StandingMisses uint64 // conversations of a list that were, or were not, known from an earlier one
	DirectMisses                 uint64
	Users                        int    // actors of users in memory
	SeenPending                  int    // last-seen times that wait to be written
	SeenDropped                  uint64 // that were not
	// Contact suggestions that were, or were not, remembered.
	SuggestionHits, SuggestionMisses uint64
	PreviewsDropped                  uint64 // messages whose link was not looked at because too many waited
	Directory                        directory.Stats
	Home                             home.Stats // the rest is zero without Config.Cluster
	Enrolment                        enrol.Stats
	Fanout                           fanout.Stats
	Charges                          ChargeStats
}

// Stats returns a snapshot for metrics.
func (h *Hub) Stats() Stats {
	s := Stats{Live: h.convs.Live(), Waiting: h.convs.Waiting(), SeenBytes: h.convs.SeenBytes(), DirectHits: h.directs.hits.Load(), DirectMisses: h.directs.misses.Load(),
		StandingHits: h.kept.hits.Load(), StandingMisses: h.kept.misses.Load(),
		SuggestionHits: h.suggested.hits.Load(), SuggestionMisses: h.suggested.misses.Load(), PreviewsDropped: h.previews.lost(),
		Directory: h.dir.Stats()}
	if d := h.delivery.Load(); d != nil {
		s.Home, s.Enrolment, s.Fanout = d.home.Stats(), d.enrol.Stats(), d.pub.Stats()
		s.Charges = d.charges.snapshot()
	}
	if h.people != nil {
		s.Users = h.people.Live()
		s.SeenPending, s.SeenDropped = h.presence.pending(), h.presence.dropped.Load()
	}
	return s
}

// attach asks the conversation whether the caller may read it, and how far. Who is no member is told that
// there is nothing.
func (h *Hub) attach(ctx context.Context, p chat.Principal, id chat.ConversationID) (*chat.View, error) {
	res, err := h.Do(ctx, p, chat.Attach{Conversation: id})
	return res.View, unattached(id, err)
}

func unattached(id chat.ConversationID, err error) error {
	switch {
	case errors.Is(err, chat.ErrNotMember):
		return fmt.Errorf("conversation %s: %w", id, chat.ErrNotFound)
	case err != nil:
		return fmt.Errorf("conversation %s: %w", id, err)
	}
	return nil
}
