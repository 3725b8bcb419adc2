package rest_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// The other half of fakeHub: what is between users, with just the rules that statuses and shapes depend on. The
// rules themselves are tested where they are.

func (h *fakeHub) pair(p chat.Principal, other chat.UserID) *chat.Pair {
	k := chat.PairOf(p.Tenant, p.User, other)
	if h.pairs == nil {
		h.pairs = map[chat.PairKey]*chat.Pair{}
	}
	if h.pairs[k] == nil {
		h.pairs[k] = &chat.Pair{Key: k}
	}
	return h.pairs[k]
}

func (h *fakeHub) knows(p chat.Principal, other chat.UserID) error {
	if _, ok := h.users[chat.UserKey{Tenant: p.Tenant, User: other}]; !ok {
		return fmt.Errorf("%w: %q", chat.ErrUnknownUser, other)
	}
	return nil
}

func (h *fakeHub) Relate(ctx context.Context, p chat.Principal, cmd chat.PeopleCommand) (chat.Pair, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, cmd.Name()); err != nil {
		return chat.Pair{}, err
	}
	other := cmd.About()
	if err := h.knows(p, other); err != nil {
		return chat.Pair{}, err
	}
	pair := h.pair(p, other)
	mine, theirs, now := pair.Of(p.User), pair.Of(other), h.now().UTC().Truncate(time.Microsecond)
	switch c := cmd.(type) {
	case chat.Block:
		switch {
		case other == p.User:
			return *pair, chat.ErrSelfBlock
		case !mine.BlockedAt.IsZero():
			return *pair, chat.ErrAlreadyBlocked
		}
		mine.BlockedAt = now
	case chat.Unblock:
		mine.BlockedAt = time.Time{}
	case chat.AddContact:
		switch {
		case other == p.User:
			return *pair, chat.ErrSelfContact
		case !mine.ContactSince.IsZero():
			return *pair, chat.ErrContactExists
		}
		mine.ContactSince, mine.Favorite = now, c.Favorite
	case chat.RemoveContact:
		mine.ContactSince, mine.Favorite = time.Time{}, false
	case chat.SetFavorite:
		mine.Favorite = c.On
	case chat.RequestFriend:
		switch {
		case other == p.User:
			return *pair, chat.ErrSelfRequest
		case mine.Request.State == chat.RequestPending:
			return *pair, chat.ErrRequestSent
		}
		mine.Request = chat.FriendRequest{ID: chat.NewRequestID(), State: chat.RequestPending, CreatedAt: now}
	case chat.AnswerRequest:
		switch {
		case theirs.Request.State == chat.RequestAccepted:
			return *pair, chat.ErrAlreadyAccepted
		case c.Accept:
			mine.ContactSince, theirs.ContactSince, theirs.Request.State = now, now, chat.RequestAccepted
		default:
			theirs.Request.State = chat.RequestRejected
		}
	case chat.CancelRequest:
		if mine.Request.State != chat.RequestPending {
			return *pair, chat.ErrCancelCompleted
		}
		mine.Request = chat.FriendRequest{}
	}
	return *pair, nil
}

// eachPair visits the caller's pairs in the order of the other users.
func (h *fakeHub) eachPair(p chat.Principal, f func(other chat.User, mine, theirs *chat.Side)) {
	var others []chat.UserID
	for k := range h.pairs {
		if k.Tenant == p.Tenant && k.Lo != k.Hi && (k.Lo == p.User || k.Hi == p.User) {
			others = append(others, k.Other(p.User))
		}
	}
	slices.Sort(others)
	for _, o := range others {
		pair := h.pair(p, o)
		f(h.users[chat.UserKey{Tenant: p.Tenant, User: o}], pair.Of(p.User), pair.Of(o))
	}
}

func (h *fakeHub) Contacts(ctx context.Context, p chat.Principal) (out []chat.ContactItem, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "contacts"); err != nil {
		return nil, err
	}
	h.eachPair(p, func(o chat.User, mine, theirs *chat.Side) {
		if !mine.ContactSince.IsZero() {
			out = append(out, chat.ContactItem{Contact: chat.Contact{User: o.ID, Since: mine.ContactSince, Favorite: mine.Favorite},
				Profile: o, Mutual: !theirs.ContactSince.IsZero(), Standing: h.standing[o.ID]})
		}
	})
	return out, nil
}

func (h *fakeHub) Requests(ctx context.Context, p chat.Principal) (out []chat.RequestItem, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "requests"); err != nil {
		return nil, err
	}
	me := h.users[p.Key()]
	h.eachPair(p, func(o chat.User, mine, theirs *chat.Side) {
		if r := mine.Request; r.State != chat.RequestNone {
			out = append(out, chat.RequestItem{RequestRow: chat.RequestRow{FriendRequest: r, Sender: p.User, Receiver: o.ID}, From: me, To: o})
		}
		if r := theirs.Request; r.State != chat.RequestNone {
			out = append(out, chat.RequestItem{RequestRow: chat.RequestRow{FriendRequest: r, Sender: o.ID, Receiver: p.User}, From: o, To: me})
		}
	})
	return out, nil
}

func (h *fakeHub) DirectConversation(ctx context.Context, p chat.Principal, other chat.UserID) (id chat.ConversationID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := chat.PairOf(p.Tenant, p.User, other).Direct()
	if h.convs[key] != nil {
		id = key.ID
	}
	return id, h.check(ctx, "direct_conversation")
}

func (h *fakeHub) Status(ctx context.Context, p chat.Principal) (chat.Standing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.standing[p.User], h.check(ctx, "status")
}

func (h *fakeHub) SetOnline(ctx context.Context, p chat.Principal, on bool) (chat.Standing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.standing == nil {
		h.standing = map[chat.UserID]chat.Standing{}
	}
	h.standing[p.User] = chat.Standing{Online: on, LastSeen: h.now()}
	return h.standing[p.User], h.check(ctx, "set_online")
}

func (h *fakeHub) Pair(ctx context.Context, p chat.Principal, other chat.UserID) (chat.Pair, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "pair"); err != nil {
		return chat.Pair{}, err
	}
	if err := h.knows(p, other); err != nil {
		return chat.Pair{}, err
	}
	return *h.pair(p, other), nil
}

func (h *fakeHub) Blocks(ctx context.Context, p chat.Principal) (out []chat.BlockItem, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "blocks"); err != nil {
		return nil, err
	}
	for k, pair := range h.pairs {
		if (k.Lo == p.User || k.Hi == p.User) && !pair.Of(p.User).BlockedAt.IsZero() {
			other := k.Other(p.User)
			out = append(out, chat.BlockItem{BlockRow: chat.BlockRow{User: other, At: pair.Of(p.User).BlockedAt},
				Profile: h.users[chat.UserKey{Tenant: p.Tenant, User: other}]})
		}
	}
	return out, nil
}

func (h *fakeHub) Preferences(ctx context.Context, p chat.Principal) (chat.Preferences, error) {
	return h.ChangePreferences(ctx, p, chat.PreferencesChange{})
}

func (h *fakeHub) ChangePreferences(ctx context.Context, p chat.Principal, change chat.PreferencesChange) (chat.Preferences, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "preferences"); err != nil {
		return chat.Preferences{}, err
	}
	if h.prefs == nil {
		h.prefs = map[chat.UserKey]chat.Preferences{}
	}
	prefs := h.prefs[p.Key()]
	change.Apply(&prefs)
	h.prefs[p.Key()] = prefs
	return prefs, nil
}

func (h *fakeHub) RefuseToken(ctx context.Context, t chat.TenantID, id string, _ time.Time) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "refuse_token"); err != nil {
		return false, err
	}
	if h.tokens == nil {
		h.tokens = map[string]bool{}
	}
	k := string(t) + "/" + id
	fresh := !h.tokens[k]
	h.tokens[k] = true
	return fresh, nil
}

func (h *fakeHub) TokenRefused(ctx context.Context, t chat.TenantID, id string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tokens[string(t)+"/"+id], h.check(ctx, "token_refused")
}

// WalkUsers and CountUsers implement tenancytest.Users; the whole is one page.
func (h *fakeHub) Suggestions(ctx context.Context, p chat.Principal) (list []chat.SuggestionItem, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, u := range h.users {
		if k.Tenant == p.Tenant && u.ID != p.User && len(list) < chat.MaxSuggestions {
			list = append(list, chat.SuggestionItem{Profile: u})
		}
	}
	return list, h.check(ctx, "suggest_contacts")
}

func (h *fakeHub) WalkUsers(ctx context.Context, t chat.TenantID, _ chat.UserCursor, _ int) (list []chat.User, _ chat.UserCursor, done bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, u := range h.users {
		if k.Tenant == t {
			list = append(list, u)
		}
	}
	return list, chat.UserCursor{}, true, ctx.Err()
}

func (h *fakeHub) CountUsers(ctx context.Context, t chat.TenantID, _ int) (int, error) {
	list, _, _, err := h.WalkUsers(ctx, t, chat.UserCursor{}, 0)
	return len(list), err
}
