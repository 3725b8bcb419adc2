package actors

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
)

// connected reports whether the user, whose home is here, is there: with a session, or by their own word.
func (h *Hub) connected(k chat.UserKey) bool { return h.there(k) || h.presence.isDeclared(k) }

// standing answers of users whether they are there, as others may know it. Who is invisible is not, and was last seen
// when that began.
func (h *Hub) standingOf(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.Standing, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	prefs, err := h.cfg.People.GetPreferences(ctx, t, ids)
	if err != nil {
		return nil, fmt.Errorf("read preferences: %w", err)
	}
	var visible []chat.UserID
	for i, id := range ids {
		if !prefs[i].Invisible {
			visible = append(visible, id)
		}
	}
	there, err := h.presences(ctx, t, visible)
	if err != nil {
		return nil, err
	}
	stored, err := h.cfg.People.GetLastSeen(ctx, t, ids) // after the homes were asked: what they wrote meanwhile is here
	if err != nil {
		return nil, fmt.Errorf("read last seen: %w", err)
	}
	out := make([]chat.Standing, len(ids))
	for i := range ids {
		out[i].LastSeen = stored[i]
		if prefs[i].Invisible {
			continue
		}
		if at := there[0].Seen; at.After(stored[i]) {
			out[i].LastSeen = at
		}
		out[i].Online = there[0].Connected
		there = there[1:]
	}
	return out, nil
}

// Status is the caller's own, as others see it.
func (h *Hub) Status(ctx context.Context, p chat.Principal) (chat.Standing, error) {
	if h.people == nil {
		return chat.Standing{}, errNoPeople
	}
	s, err := h.standingOf(ctx, p.Tenant, []chat.UserID{p.User})
	if err != nil {
		return chat.Standing{}, err
	}
	return s[0], nil
}

// SetOnline makes the caller visible, and online for a while even without a session, or invisible from now on.
func (h *Hub) SetOnline(ctx context.Context, p chat.Principal, on bool) (chat.Standing, error) {
	if h.people == nil {
		return chat.Standing{}, errNoPeople
	}
	off := !on
	if _, err := h.ChangePreferences(ctx, p, chat.PreferencesChange{Invisible: &off}); err != nil {
		return chat.Standing{}, err
	}
	if _, err := decide[chat.Noted](ctx, h, p.Key().Shard(), chat.Declare{User: p.Key(), On: on}); err != nil {
		return chat.Standing{}, err
	}
	return h.Status(ctx, p)
}

// leaveSight writes when a user who becomes invisible was last seen: now, if they were there.
func (h *Hub) leaveSight(ctx context.Context, p chat.Principal) error {
	now := h.cfg.Now().UTC().Truncate(time.Microsecond)
	if err := h.cfg.People.PutLastSeen(ctx, []chat.Seen{{User: p.Key(), At: now}}); err != nil {
		return fmt.Errorf("write last seen: %w", err)
	}
	return nil
}

// DirectConversation is the id of the caller's direct conversation with another user; zero if there is none.
func (h *Hub) DirectConversation(ctx context.Context, p chat.Principal, other chat.UserID) (chat.ConversationID, error) {
	key := chat.PairOf(p.Tenant, p.User, other).Direct()
	var live chat.Snapshot
	err := h.peek(ctx, chat.Peek{User: p.User, Keys: []chat.ConversationKey{key}}, func(_ int, s *chat.Snapshot) { live = *s })
	switch {
	case err != nil:
		return chat.ConversationID{}, err
	case live.Exists:
		return key.ID, nil
	case live.Known:
		return chat.ConversationID{}, nil
	}
	heads, err := h.store.GetHeads(ctx, []chat.ConversationKey{key})
	switch {
	case err != nil:
		return chat.ConversationID{}, fmt.Errorf("read head: %w", err)
	case heads[0].Seq == 0:
		return chat.ConversationID{}, nil
	}
	return key.ID, nil
}

// AddByEmail makes the user with an address a contact of the caller and asks them for friendship; it answers done, once
// and from any goroutine, with the name to show of them. With Config.EmailPrivacy the answer is always name, and comes
// before anybody looks whether there is such a user, who is then only asked for friendship: what the caller sees does
// not tell known addresses from unknown ones (requirement 121).
func (h *Hub) AddByEmail(p chat.Principal, email, name string, done func(string, error)) {
	if h.people == nil {
		done("", errNoPeople)
		return
	}
	if h.cfg.EmailPrivacy {
		h.lookup(func(_ chat.Result, err error) { done("", err) }, func(context.Context) error { return nil }, func() {
			done(name, nil)
			// On the same goroutine, bounded as all look-ups are. What becomes of it nobody is told.
			if u, err := h.byEmail(h.ctx, p, email); err == nil {
				_, _ = h.Relate(h.ctx, p, chat.RequestFriend{User: u.ID, Quiet: true})
			}
		})
		return
	}
	var u chat.User
	h.lookup(func(_ chat.Result, err error) { done("", err) }, func(ctx context.Context) (err error) {
		if u, err = h.byEmail(ctx, p, email); err != nil {
			return err
		}
		return h.mayRelate(ctx, p, chat.AddContact{User: u.ID, Ask: true})
	}, func() {
		cmd := chat.AddContact{User: u.ID, Ask: true}
		h.put(h.ctx, homeShard(p, cmd), chat.Relate{Caller: p, Command: cmd}, func(_ chat.Answer, err error) {
			if err != nil {
				done("", err)
				return
			}
			done(u.Username, nil)
		})
	})
}

// byEmail is the user who has an address. Of several the caller is chosen last: one's own address is no mistake only
// where nobody else has it.
func (h *Hub) byEmail(ctx context.Context, p chat.Principal, email string) (chat.User, error) {
	users, err := h.cfg.People.FindByEmail(ctx, p.Tenant, email)
	if err != nil {
		return chat.User{}, fmt.Errorf("find a user: %w", err)
	}
	if len(users) == 0 {
		return chat.User{}, fmt.Errorf("an address: %w", chat.ErrUnknownUser)
	}
	if i := slices.IndexFunc(users, func(u chat.User) bool { return u.ID != p.User }); i >= 0 {
		return users[i], nil
	}
	return users[0], nil
}
