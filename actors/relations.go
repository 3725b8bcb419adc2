package actors

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/zumodra/hub/chat"
)

// errNoPeople answers where Config.People is not set.
var errNoPeople = fmt.Errorf("%w: this hub keeps nothing between users", chat.ErrUnavailable)

// Relate carries out a command about another user and answers the pair as it is then. When ctx ends first, the
// command may still be carried out: the error then wraps chat.ErrUnknown and that of ctx.
func (h *Hub) Relate(ctx context.Context, p chat.Principal, cmd chat.PeopleCommand) (chat.Pair, error) {
	if err := h.mayRelate(ctx, p, cmd); err != nil {
		return chat.Pair{}, err
	}
	a, err := decide[chat.Related](ctx, h, homeShard(p, cmd), chat.Relate{Caller: p, Command: cmd})
	return a.Pair, err
}

// home is the shard of the user who decides about the pair that a command is about.
func homeShard(p chat.Principal, cmd chat.PeopleCommand) int {
	return chat.PairOf(p.Tenant, p.User, cmd.About()).Home().Shard()
}

// mayRelate checks what the pair itself cannot know: that it is one, that the other user exists, and the bounds of
// both users' lists. The bounds are not exact: commands at one time may each find room for the last entry.
func (h *Hub) mayRelate(ctx context.Context, p chat.Principal, cmd chat.PeopleCommand) error {
	if h.people == nil {
		return errNoPeople
	}
	other := cmd.About()
	if other == p.User {
		switch cmd.(type) {
		case chat.AddContact:
			return chat.ErrSelfContact
		case chat.RequestFriend:
			return chat.ErrSelfRequest
		case chat.Block:
			return chat.ErrSelfBlock
		}
		return fmt.Errorf("%s: %w", cmd.Name(), chat.ErrNotFound)
	}
	switch c := cmd.(type) {
	case chat.AddContact:
		return firstError(
			func() error { return h.known(ctx, p.Tenant, []chat.UserID{other}) },
			func() error { return h.roomForContact(ctx, p.Key()) },
			func() error {
				if !c.Ask {
					return nil
				}
				return h.roomForRequest(ctx, p, other, false)
			})
	case chat.RequestFriend:
		return firstError(
			func() error { return h.known(ctx, p.Tenant, []chat.UserID{other}) },
			func() error { return h.roomForRequest(ctx, p, other, c.Quiet) })
	case chat.AnswerRequest:
		if c.Accept {
			return firstError(
				func() error { return h.roomForContact(ctx, p.Key()) },
				func() error { return h.roomForContact(ctx, chat.UserKey{Tenant: p.Tenant, User: other}) })
		}
	case chat.Block:
		return firstError(
			func() error { return h.known(ctx, p.Tenant, []chat.UserID{other}) },
			func() error {
				rows, err := h.cfg.People.ListBlocks(ctx, p.Key())
				if err == nil && len(rows) >= chat.MaxBlocks {
					err = chat.ErrTooManyBlocks
				}
				return err
			})
	}
	return nil
}

func firstError(checks ...func() error) error {
	for _, f := range checks {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hub) roomForContact(ctx context.Context, k chat.UserKey) error {
	rows, err := h.cfg.People.ListContacts(ctx, k)
	if err == nil && len(rows) >= chat.MaxContacts {
		err = chat.ErrTooManyContacts
	}
	return err
}

// roomForRequest bounds the requests that wait for an answer, of the sender and at the receiver. Quiet ones are counted
// apart: their number must not tell the sender how many of them found somebody.
func (h *Hub) roomForRequest(ctx context.Context, p chat.Principal, to chat.UserID, quiet bool) error {
	for _, u := range [...]chat.UserID{p.User, to} {
		rows, err := h.cfg.People.ListRequests(ctx, chat.UserKey{Tenant: p.Tenant, User: u})
		if err != nil {
			return err
		}
		n := 0
		for i := range rows {
			r := &rows[i]
			counts := r.Receiver == u
			if u == p.User {
				counts = r.Sender == u && r.Quiet == quiet
			}
			if counts && r.State == chat.RequestPending {
				n++
			}
		}
		if n >= chat.MaxPendingRequests {
			return chat.ErrTooManyRequests
		}
	}
	return nil
}

// Pair is what is between the caller and another user, who exists.
func (h *Hub) Pair(ctx context.Context, p chat.Principal, other chat.UserID) (chat.Pair, error) {
	if h.people == nil {
		return chat.Pair{}, errNoPeople
	}
	if err := h.known(ctx, p.Tenant, []chat.UserID{other}); err != nil {
		return chat.Pair{}, err
	}
	ps, err := h.cfg.People.GetPairs(ctx, []chat.PairKey{chat.PairOf(p.Tenant, p.User, other)})
	if err != nil {
		return chat.Pair{}, err
	}
	return ps[0], nil
}

// Blocks lists the users whom the caller blocked, the newest first.
func (h *Hub) Blocks(ctx context.Context, p chat.Principal) ([]chat.BlockItem, error) {
	if h.people == nil {
		return nil, errNoPeople
	}
	rows, err := h.cfg.People.ListBlocks(ctx, p.Key())
	if err != nil {
		return nil, err
	}
	users := newUserSet(p.Tenant)
	for i := range rows {
		users.want(rows[i].User)
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, err
	}
	out := make([]chat.BlockItem, len(rows))
	for i, r := range rows {
		out[i] = chat.BlockItem{BlockRow: r, Profile: users.get(r.User, "")}
	}
	slices.SortFunc(out, func(a, b chat.BlockItem) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.User, b.User)) })
	return out, nil
}

// Requests lists the friend requests that the caller sent or received, the newest first.
func (h *Hub) Requests(ctx context.Context, p chat.Principal) ([]chat.RequestItem, error) {
	if h.people == nil {
		return nil, errNoPeople
	}
	rows, err := h.cfg.People.ListRequests(ctx, p.Key())
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r chat.RequestRow) bool {
		return r.Quiet && r.Sender == p.User && r.State != chat.RequestAccepted
	})
	users := newUserSet(p.Tenant)
	for i := range rows {
		users.want(rows[i].Sender)
		users.want(rows[i].Receiver)
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, err
	}
	out := make([]chat.RequestItem, len(rows))
	for i, r := range rows {
		out[i] = chat.RequestItem{RequestRow: r, From: users.get(r.Sender, ""), To: users.get(r.Receiver, "")}
	}
	slices.SortFunc(out, func(a, b chat.RequestItem) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(string(b.ID[:]), string(a.ID[:])))
	})
	return out, nil
}

// Contacts lists the caller's contacts: favourites first, then by first name. It reads the store a constant number of
// times, however many there are.
func (h *Hub) Contacts(ctx context.Context, p chat.Principal) ([]chat.ContactItem, error) {
	if h.people == nil {
		return nil, errNoPeople
	}
	rows, err := h.cfg.People.ListContacts(ctx, p.Key())
	if err != nil {
		return nil, err
	}
	users, ids, keys := newUserSet(p.Tenant), make([]chat.UserID, len(rows)), make([]chat.PairKey, len(rows))
	for i := range rows {
		users.want(rows[i].User)
		ids[i], keys[i] = rows[i].User, chat.PairOf(p.Tenant, p.User, rows[i].User)
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, err
	}
	pairs, err := h.cfg.People.GetPairs(ctx, keys)
	if err != nil {
		return nil, err
	}
	there, err := h.standingOf(ctx, p.Tenant, ids)
	if err != nil {
		return nil, err
	}
	out := make([]chat.ContactItem, len(rows))
	for i, r := range rows {
		out[i] = chat.ContactItem{Contact: r, Profile: users.get(r.User, ""), Standing: there[i],
			Blocked: pairs[i].Blocked(), Mutual: !pairs[i].Of(r.User).ContactSince.IsZero()}
		if out[i].Blocked {
			out[i].Standing = chat.Standing{}
		}
	}
	slices.SortFunc(out, func(a, b chat.ContactItem) int {
		first := func(c *chat.ContactItem) int {
			if c.Favorite {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(first(&a), first(&b)), strings.Compare(a.Profile.FirstName, b.Profile.FirstName),
			strings.Compare(a.Profile.Username, b.Profile.Username), cmp.Compare(a.User, b.User))
	})
	return out, nil
}

// Preferences are the caller's.
func (h *Hub) Preferences(ctx context.Context, p chat.Principal) (chat.Preferences, error) {
	return h.preferences(ctx, p, chat.PreferencesChange{})
}

// ChangePreferences alters the caller's preferences. They are in force, for the very next command on any node, when it
// returns.
func (h *Hub) ChangePreferences(ctx context.Context, p chat.Principal, change chat.PreferencesChange) (chat.Preferences, error) {
	before, err := h.Preferences(ctx, p)
	if err != nil {
		return before, err
	}
	wanted := before
	change.Apply(&wanted)
	if wanted.Invisible && !before.Invisible {
		if err := h.leaveSight(ctx, p); err != nil {
			return before, err
		}
	}
	return h.preferences(ctx, p, change)
}

func (h *Hub) preferences(ctx context.Context, p chat.Principal, change chat.PreferencesChange) (chat.Preferences, error) {
	if h.people == nil {
		return chat.Preferences{}, errNoPeople
	}
	a, err := decide[chat.Preferred](ctx, h, p.Key().Shard(), chat.Prefer{User: p.Key(), Change: change})
	return a.Preferences, err
}
