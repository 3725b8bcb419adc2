package scheduled

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// Store keeps the messages; storage.Store is one.
type Store interface {
	CreateScheduled(ctx context.Context, m chat.Scheduled) (chat.Scheduled, bool, error)
	GetScheduled(ctx context.Context, k chat.UserKey, id chat.ScheduledID) (chat.Scheduled, error)
	ListScheduled(ctx context.Context, k chat.UserKey) ([]chat.Scheduled, error)
	ChangeScheduled(ctx context.Context, k chat.UserKey, id chat.ScheduledID, change func(*chat.Scheduled) error) (chat.Scheduled, error)
	RemoveScheduled(ctx context.Context, d chat.ScheduledDue) error
	VoidScheduled(ctx context.Context, d chat.ScheduledDue) (bool, error)
	DueScheduled(ctx context.Context, slot int, from, to time.Time, yield func(chat.ScheduledDue) bool) error
	GetDueScheduled(ctx context.Context, list []chat.ScheduledDue) ([]chat.Scheduled, error)
}

// Hub carries out commands; actors.Hub is one.
type Hub interface {
	Do(ctx context.Context, p chat.Principal, cmd chat.Command) (chat.Result, error)
	// Serves reports whether this node owns a shard.
	Serves(shard int) bool
	// TellScheduled tells the sockets of one user. It does not block.
	TellScheduled(k chat.ConversationKey, user chat.UserID, n *chat.ScheduledNotice)
}

// Config of a Scheduler. Store and Hub are required.
type Config struct {
	Store Store
	Hub   Hub
	// Admit answers whether a user is let in now (chat.ErrSuspended, …); nil: everybody is. It must not block.
	Admit func(chat.UserKey) error
	// Allow takes what one message costs from the rate of a user, or says how long until there is enough; nil: no limit.
	Allow func(chat.UserKey) (ok bool, retryAfter time.Duration)
	// Observer, if not nil, is told of every message; its methods must not block.
	Observer Observer

	Every      time.Duration // looks at the calendar; default 1 s
	Batch      int           // messages that one look takes from each part of it; default 256
	Parallel   int           // conversations that are sent to at once; default 16
	Timeout    time.Duration // of sending one; default 30 s
	MaxBackoff time.Duration // before one is tried again; default 1 min. The first pause is 1 s
	Memory     time.Duration // how long after the first attempt one may be sent; default 6 days, below storage.DedupTTL
	// Grace is how long an entry of the calendar is kept that no message says, and a message that has been sent;
	// default 1 min: longer than any request runs.
	Grace time.Duration
	Now   func() time.Time // default time.Now
	Log   *slog.Logger     // default: none
}

// Observer of a Scheduler.
type Observer interface {
	Sent(late time.Duration)
	Failed(reason string)
	Retried()
}

// Stats of a Scheduler.
type Stats struct {
	Due    int       // messages of this node's shards that were due at the last look and are not sent
	Oldest time.Time // the time of the first of them; zero: there is none
}

// maxRows bounds a user's rows: those that wait, failed, and were cancelled a moment ago.
const maxRows = 4 * chat.MaxPendingScheduled

// Scheduler is safe for concurrent use. Errors are those of package chat.
type Scheduler struct {
	cfg   Config
	seed  maphash.Seed
	users [64]sync.Mutex // so that a user's requests to this node are counted one after the other

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	stats Stats

	pass pass // of the goroutine, or of Pass
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// New returns a Scheduler that sends nothing before Start.
func New(c Config) *Scheduler {
	def(&c.Every, time.Second)
	def(&c.Batch, 256)
	def(&c.Parallel, 16)
	def(&c.Timeout, 30*time.Second)
	def(&c.MaxBackoff, time.Minute)
	def(&c.Memory, 6*24*time.Hour)
	def(&c.Grace, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Admit == nil {
		c.Admit = func(chat.UserKey) error { return nil }
	}
	if c.Allow == nil {
		c.Allow = func(chat.UserKey) (bool, time.Duration) { return true, 0 }
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	s := &Scheduler{cfg: c, seed: maphash.MakeSeed(), pass: pass{waits: make(map[chat.ScheduledDue]wait)}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

type nobody struct{}

func (nobody) Sent(time.Duration) {}
func (nobody) Failed(string)      {}
func (nobody) Retried()           {}

// Start begins to send. It is called at most once.
func (s *Scheduler) Start() {
	s.done = make(chan struct{})
	go s.run()
}

// Close stops sending and waits for what is under way, which is cut short: the next owner goes on with it.
func (s *Scheduler) Close() {
	s.cancel()
	if s.done != nil {
		<-s.done
	}
}

// Stats returns what the last look at the calendar found.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// now has the precision that is stored.
func (s *Scheduler) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Microsecond) }

// Schedule keeps a message that p wants to be sent at a time. The same client id, if there is one, answers the one that it
// made before. Who may not send it now is refused at once.
func (s *Scheduler) Schedule(ctx context.Context, p chat.Principal, c chat.Send, at time.Time) (chat.Scheduled, error) {
	now, content := s.now(), c.Content
	at = at.UTC().Truncate(time.Microsecond)
	m := chat.Scheduled{ID: chat.NewScheduledID(p.Key(), c.ClientID), By: p, ClientID: c.ClientID,
		Key: chat.ConversationKey{Tenant: p.Tenant, ID: c.Conversation}, ReplyTo: c.ReplyTo, Mentions: slices.Clone(c.Mentions),
		MentionAll: c.MentionAll, SendAt: at, State: chat.ScheduledPending, CreatedAt: now, ChangedAt: now, Due: at}
	if c.File != nil || c.IsVoice {
		return m, &chat.FieldError{Field: "upload_id", Text: "A scheduled message cannot have a file."}
	}
	if err := (&chat.ScheduledChange{Content: &content, SendAt: &at}).Check(now); err != nil {
		return m, err
	}
	m.Content, _ = chat.NormalizeContent(content)
	if err := s.joined(ctx, p, c.Conversation); err != nil {
		return m, err
	}
	defer s.lock(p.Key())()
	list, err := s.cfg.Store.ListScheduled(ctx, p.Key())
	if err != nil {
		return m, err
	}
	pending := 0
	for i := range list {
		if list[i].ID == m.ID {
			return list[i], nil
		}
		if list[i].State == chat.ScheduledPending || list[i].State == chat.ScheduledSending {
			pending++
		}
	}
	switch {
	case pending >= chat.MaxPendingScheduled:
		return m, chat.ErrTooManyScheduled
	case len(list) >= maxRows: // most of them failed, or were cancelled
		if err := s.forgetOldest(ctx, list); err != nil {
			return m, err
		}
	}
	m, _, err = s.cfg.Store.CreateScheduled(ctx, m)
	return m, err
}

// joined checks that p may take part in a conversation.
func (s *Scheduler) joined(ctx context.Context, p chat.Principal, c chat.ConversationID) error {
	_, err := s.cfg.Hub.Do(ctx, p, chat.Attach{Conversation: c, Join: true})
	if errors.Is(err, chat.ErrUnknown) { // nothing was to be changed
		err = fmt.Errorf("%w: %s", chat.ErrUnavailable, err.Error())
	}
	return err
}

// forgetOldest makes room among the rows of a user who has very many that failed.
func (s *Scheduler) forgetOldest(ctx context.Context, list []chat.Scheduled) error {
	list = slices.DeleteFunc(list, func(m chat.Scheduled) bool { return m.State != chat.ScheduledFailed })
	if len(list) == 0 {
		return &chat.RateLimitError{RetryAfter: s.cfg.Grace}
	}
	oldest := slices.MinFunc(list, func(a, b chat.Scheduled) int { return a.ChangedAt.Compare(b.ChangedAt) })
	_, err := s.forget(ctx, oldest.By.Key(), oldest.ID)
	return err
}

func (s *Scheduler) lock(k chat.UserKey) (unlock func()) {
	mu := &s.users[maphash.Comparable(s.seed, k)%uint64(len(s.users))]
	mu.Lock()
	return mu.Unlock
}

// List answers what waits, is being sent, or failed, of the caller's: of one conversation, or of all if it is zero. It is
// sorted by the time of sending.
func (s *Scheduler) List(ctx context.Context, p chat.Principal, c chat.ConversationID) ([]chat.Scheduled, error) {
	list, err := s.cfg.Store.ListScheduled(ctx, p.Key())
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(m chat.Scheduled) bool { return !m.Listed() || !c.IsZero() && m.Key.ID != c })
	slices.SortFunc(list, func(a, b chat.Scheduled) int {
		return cmp.Or(a.SendAt.Compare(b.SendAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	return list, nil
}

// Get answers one of the caller's that List would.
func (s *Scheduler) Get(ctx context.Context, p chat.Principal, id chat.ScheduledID) (chat.Scheduled, error) {
	m, err := s.cfg.Store.GetScheduled(ctx, p.Key(), id)
	if err == nil && !m.Listed() {
		err = missing(id)
	}
	return m, err
}

func missing(id chat.ScheduledID) error {
	return fmt.Errorf("scheduled message %s: %w", id, chat.ErrNotFound)
}

// Change gives one that waits another content or time, and one that failed another try. What is being sent is
// chat.ErrConflict.
func (s *Scheduler) Change(ctx context.Context, p chat.Principal, id chat.ScheduledID, c chat.ScheduledChange) (chat.Scheduled, error) {
	now := s.now()
	if c.SendAt != nil {
		at := c.SendAt.UTC().Truncate(time.Microsecond)
		c.SendAt = &at
	}
	if err := c.Check(now); err != nil {
		return chat.Scheduled{}, err
	}
	defer s.lock(p.Key())()
	if c.SendAt != nil {
		if err := s.roomFor(ctx, p.Key(), id); err != nil {
			return chat.Scheduled{}, err
		}
	}
	return s.cfg.Store.ChangeScheduled(ctx, p.Key(), id, func(m *chat.Scheduled) error {
		switch m.State {
		case chat.ScheduledPending:
		case chat.ScheduledSending:
			return chat.ErrConflict
		case chat.ScheduledFailed:
			if c.SendAt == nil {
				return &chat.FieldError{Field: "send_at", Text: "This field is required for a message that failed."}
			}
			if m.Reason == unsure {
				return chat.ErrConflict // its client id is not remembered any more, and it may be there
			}
			m.State, m.Reason, m.ChangedAt = chat.ScheduledPending, "", now
		default:
			return missing(id)
		}
		if c.Content != nil {
			m.Content, _ = chat.NormalizeContent(*c.Content)
			m.Mentions, m.MentionAll = slices.Clone(c.Mentions), c.MentionAll
		}
		if c.SendAt != nil {
			m.SendAt, m.Due = *c.SendAt, *c.SendAt
		}
		return nil
	})
}

// roomFor refuses to bring back one that failed where as many wait as may.
func (s *Scheduler) roomFor(ctx context.Context, k chat.UserKey, id chat.ScheduledID) error {
	list, err := s.cfg.Store.ListScheduled(ctx, k)
	pending := 0
	for i := range list {
		if list[i].ID != id && (list[i].State == chat.ScheduledPending || list[i].State == chat.ScheduledSending) {
			pending++
		}
	}
	if err == nil && pending >= chat.MaxPendingScheduled {
		err = chat.ErrTooManyScheduled
	}
	return err
}

// Cancel takes one back that waits or failed. What is being sent is chat.ErrConflict.
func (s *Scheduler) Cancel(ctx context.Context, p chat.Principal, id chat.ScheduledID) error {
	_, err := s.forget(ctx, p.Key(), id)
	return err
}

func (s *Scheduler) forget(ctx context.Context, k chat.UserKey, id chat.ScheduledID) (chat.Scheduled, error) {
	now := s.now()
	return s.cfg.Store.ChangeScheduled(ctx, k, id, func(m *chat.Scheduled) error {
		switch m.State {
		case chat.ScheduledPending, chat.ScheduledFailed:
		case chat.ScheduledSending:
			return chat.ErrConflict
		default:
			return missing(id)
		}
		m.State, m.ChangedAt, m.Due = chat.ScheduledCancelled, now, now.Add(s.cfg.Grace)
		return nil
	})
}
