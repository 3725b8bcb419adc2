package rest_test

import (
	"context"
	"fmt"
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
	mine, now := pair.Of(p.User), h.now().UTC().Truncate(time.Microsecond)
	switch cmd.(type) {
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
	}
	return *pair, nil
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
	return h.ChangePreferences(ctx, p, func(*chat.Preferences) {})
}

func (h *fakeHub) ChangePreferences(ctx context.Context, p chat.Principal, change func(*chat.Preferences)) (chat.Preferences, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "preferences"); err != nil {
		return chat.Preferences{}, err
	}
	if h.prefs == nil {
		h.prefs = map[chat.UserKey]chat.Preferences{}
	}
	prefs := h.prefs[p.Key()]
	change(&prefs)
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
