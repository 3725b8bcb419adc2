package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors/user"
	"github.com/zumodra/hub/chat"
)

// People is what the Hub needs of storage to keep what is between users.
type People interface {
	user.Store
	GetPairs(ctx context.Context, keys []chat.PairKey) ([]chat.Pair, error)
	UnsettledPairs(ctx context.Context, yield func(chat.PairKey) bool) error
	UnsettledShard(ctx context.Context, shard int) ([]chat.PairKey, error)
	ListContacts(ctx context.Context, k chat.UserKey) ([]chat.Contact, error)
	ListBlocks(ctx context.Context, k chat.UserKey) ([]chat.BlockRow, error)
	ListRequests(ctx context.Context, k chat.UserKey) ([]chat.RequestRow, error)
	FindByEmail(ctx context.Context, t chat.TenantID, email string) ([]chat.User, error)
	WalkUsers(ctx context.Context, t chat.TenantID, after chat.UserCursor, limit int) ([]chat.User, chat.UserCursor, bool, error)
	GetLastSeen(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]time.Time, error)
	PutLastSeen(ctx context.Context, seen []chat.Seen) error
}

// startPeople makes the registry of users, which conversations ask about blocks and which tells them of blocks.
func (h *Hub) startPeople() {
	c := &h.cfg
	if c.People == nil {
		return
	}
	uc := user.Config{System: h.system, Dispatcher: h.workers, Store: c.People, Bar: h.bar,
		Rules: c.Rules, Now: c.Now, Idle: c.Idle, Log: c.Log}
	if c.Observer != nil {
		uc.Answered = c.Observer.Answered
	}
	if o := h.owner(); o != nil {
		uc.Owner = o
	}
	h.people = user.NewRegistry(uc)
	h.presence = newPresence(c.People, c.Now, c.Log)
}

// repairPeople carries out what follows from changes that a crash came behind.
func (h *Hub) repairPeople(ctx context.Context) error {
	if h.people == nil {
		return nil
	}
	var pairs []chat.PairKey
	err := h.cfg.People.UnsettledPairs(ctx, func(k chat.PairKey) bool {
		pairs = append(pairs, k)
		return true
	})
	if err != nil {
		return fmt.Errorf("list pairs of users to repair: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(h.cfg.Repairs)
	for _, k := range pairs {
		g.Go(func() error { return h.people.Repair(ctx, k) })
	}
	return g.Wait()
}

func (h *Hub) closePeople(ctx context.Context) error {
	if h.people == nil {
		return nil
	}
	return h.people.Close(ctx)
}

// barred is what a conversation asks when it is loaded.
func (h *Hub) barred() func(context.Context, chat.PairKey) (bool, uint64, error) {
	store := h.cfg.People
	if store == nil {
		return nil
	}
	return func(ctx context.Context, k chat.PairKey) (bool, uint64, error) {
		ps, err := store.GetPairs(ctx, []chat.PairKey{k})
		if err != nil {
			return false, 0, fmt.Errorf("read pair: %w", err)
		}
		return ps[0].Blocked(), ps[0].Version, nil
	}
}

// bar tells the direct conversation of a pair, if there is one, on whichever node.
func (h *Hub) bar(ctx context.Context, p *chat.Pair, by chat.Principal) error {
	_, err := decide[chat.Done](ctx, h, p.Key.Direct().Shard(), chat.Bar{Pair: *p, By: by})
	if errors.Is(err, chat.ErrNotFound) || errors.Is(err, chat.ErrNotMember) {
		return nil // there is none
	}
	return err
}

// mayCreate checks that the members exist and that none of them and the caller blocked one another. For a direct
// conversation the pair's home asks once more, when no block can come between.
func (h *Hub) mayCreate(ctx context.Context, p chat.Principal, c *chat.Create) error {
	if err := h.known(ctx, p.Tenant, c.Members); err != nil {
		return err
	}
	if err := h.roomFor(ctx, p, c.Conversation); err != nil {
		return err
	}
	blocked, err := h.blocked(ctx, p, c.Members)
	if err == nil && slices.Contains(blocked, true) {
		err = chat.ErrBlocked
	}
	return err
}

// roomFor checks that the caller is in fewer conversations than the tenant allows, or in that one already.
func (h *Hub) roomFor(ctx context.Context, p chat.Principal, id chat.ConversationID) error {
	most := h.limits(p.Tenant).Conversations
	if most == 0 {
		return nil
	}
	list, err := h.store.ListMemberships(ctx, p.Key())
	if err != nil {
		return fmt.Errorf("count conversations: %w", err)
	}
	if len(list) < most || slices.ContainsFunc(list, func(m chat.Membership) bool { return m.Key.ID == id }) {
		return nil
	}
	return &chat.QuotaError{Limit: "conversations_per_user", Text: fmt.Sprintf("You can be in no more than %d conversations.", most)}
}

// blocked reports, for each of the users, whether one of them and the caller blocked the other.
func (h *Hub) blocked(ctx context.Context, p chat.Principal, users []chat.UserID) ([]bool, error) {
	out := make([]bool, len(users))
	if h.people == nil {
		return out, nil
	}
	keys := make([]chat.PairKey, len(users))
	for i, u := range users {
		keys[i] = chat.PairOf(p.Tenant, p.User, u)
	}
	pairs, err := h.cfg.People.GetPairs(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("read pairs: %w", err)
	}
	for i := range pairs {
		out[i] = pairs[i].Blocked()
	}
	return out, nil
}

// looked sends a Create on, whose users have been looked up. That of a direct conversation goes by way of the pair's home.
func (h *Hub) looked(p chat.Principal, o chat.Origin, c chat.Create, done func(chat.Result, error)) {
	if h.people == nil || c.Kind != chat.Direct {
		h.send(p, o, c, done)
		return
	}
	h.put(h.ctx, pairOf(p, c).Home().Shard(), chat.FoundDirect{Principal: p, Origin: o, Create: c}, resultOf(done))
}

// found sends the Create of a direct conversation on and holds the pair, whose home is here, until it is answered: a
// block that comes meanwhile waits, and then finds the conversation.
func (h *Hub) found(t term, q chat.FoundDirect, done func(chat.Result, error)) {
	h.people.Guard(pairOf(q.Principal, q.Create), func(err error, release func()) {
		if err != nil {
			done(chat.Result{}, err)
			return
		}
		done := func(res chat.Result, err error) {
			release()
			done(res, err)
		}
		h.send(q.Principal, q.Origin, q.Create, func(res chat.Result, err error) {
			if err == nil && !t.lasts() {
				h.foundLate(q, res, done)
				return
			}
			done(res, err)
		})
	})
}

// foundLate is the end of a Create whose pair was not held until it was answered: the next home did not wait for it. A
// block that came meanwhile may not have found the conversation, and is told to it now.
func (h *Hub) foundLate(q chat.FoundDirect, res chat.Result, done func(chat.Result, error)) {
	h.lookup(func(_ chat.Result, err error) {
		if !errors.Is(err, chat.ErrBlocked) {
			err = fmt.Errorf("%w: %w", chat.ErrUnknown, err)
		}
		done(chat.Result{}, err)
	}, func(ctx context.Context) error {
		ps, err := h.cfg.People.GetPairs(ctx, []chat.PairKey{pairOf(q.Principal, q.Create)})
		if err != nil || !ps[0].Blocked() {
			return err
		}
		if err := h.bar(ctx, &ps[0], q.Principal); err != nil {
			return err
		}
		return chat.ErrBlocked
	}, func() { done(res, nil) })
}

// addMembers leaves out those with whom the caller has a block (requirement 16).
func (h *Hub) addMembers(p chat.Principal, o chat.Origin, c chat.AddMembers, done func(chat.Result, error)) {
	h.lookup(done, func(ctx context.Context) error {
		if err := h.known(ctx, p.Tenant, c.Users); err != nil {
			return err
		}
		blocked, err := h.blocked(ctx, p, c.Users)
		if err != nil || !slices.Contains(blocked, true) {
			return err
		}
		var users []chat.UserID
		for i, u := range c.Users {
			if !blocked[i] {
				users = append(users, u)
			}
		}
		c.Users = users
		return nil
	}, func() { h.send(p, o, c, done) })
}

// mark sends a change of position on, privately if the caller prefers that (requirement 59).
func (h *Hub) mark(p chat.Principal, o chat.Origin, cmd chat.Command, private bool, done func(chat.Result, error)) {
	if h.people == nil || private {
		h.send(p, o, cmd, done)
		return
	}
	// Whether the node owns the user is looked at after the preferences: those in memory were in force then.
	if prefs, ok := h.people.Preferences(p.Key()); ok && h.near(p.Key().Shard()) {
		h.send(p, o, as(cmd, prefs), done)
		return
	}
	h.put(h.ctx, p.Key().Shard(), chat.Prefer{User: p.Key()}, func(a chat.Answer, err error) {
		got, err := expect[chat.Preferred](a, err)
		if err != nil {
			if !errors.Is(err, chat.ErrShutdown) {
				err = fmt.Errorf("%w: %w", chat.ErrUnavailable, unwrapped{err})
			}
			done(chat.Result{}, err)
			return
		}
		h.send(p, o, as(cmd, got.Preferences), done)
	})
}

// as is the command as who has these preferences gives it.
func as(cmd chat.Command, prefs chat.Preferences) chat.Command {
	if !prefs.HideReceipts {
		return cmd
	}
	switch c := cmd.(type) {
	case chat.MarkRead:
		c.Private = true
		return c
	case chat.MarkDelivered:
		c.Private = true
		return c
	}
	return cmd
}
