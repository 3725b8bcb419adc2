package actors

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/actors/conversation"
	"github.com/zumodra/hub/chat"
)

const (
	// listMembers is how many members an item of a list carries.
	listMembers = 100
	// maxPage bounds Limit of a query, and maxOffset its Offset over several conversations.
	maxPage   = 500
	maxOffset = 100_000
)

// MembersLister may be implemented by a Store: the members of several conversations in one read, in the order
// of joining, at most limit of each. Without it a page of a list reads each inactive conversation by itself.
type MembersLister interface {
	ListMembers(ctx context.Context, keys []chat.ConversationKey, limit int) ([][]chat.Member, error)
}

// Conversations lists the caller's conversations: those that are pinned, then the newest activity first. It reads the store a constant number
// of times, however many there are.
func (h *Hub) Conversations(ctx context.Context, p chat.Principal, q chat.ListQuery) (chat.ConversationPage, error) {
	all, err := h.standings(ctx, p.Key())
	if err != nil {
		return chat.ConversationPage{}, err
	}
	all = slices.DeleteFunc(all, func(s standing) bool {
		return q.Kind != 0 && s.head.Kind != q.Kind || s.me.Archived(s.head.MsgNo) != q.Archived
	})
	slices.SortFunc(all, byActivity)
	page := chat.ConversationPage{Total: len(all)}
	from, to := window(q.Offset, q.Limit, len(all))
	items, err := h.items(ctx, p, all[from:to], listMembers)
	if err != nil {
		return chat.ConversationPage{}, err
	}
	page.Items = items
	return page, nil
}

// Conversation is one conversation of the caller, with all its members.
func (h *Hub) Conversation(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.ConversationItem, error) {
	v, err := h.attach(ctx, p, id)
	if err != nil {
		return chat.ConversationItem{}, err
	}
	items, err := h.items(ctx, p, []standing{{v.Head, v.Me}}, len(v.Members.Users))
	if err != nil {
		return chat.ConversationItem{}, err
	}
	return items[0], nil
}

func window(offset, limit, n int) (from, to int) {
	from = min(max(offset, 0), n)
	return from, min(from+min(max(limit, 0), maxPage), n)
}

// items fills in members and users.
func (h *Hub) items(ctx context.Context, p chat.Principal, page []standing, limit int) ([]chat.ConversationItem, error) {
	members := make([][]chat.Member, len(page))
	all := make([]chat.ConversationKey, len(page))
	for i := range page {
		all[i] = page[i].head.Key
	}
	var keys []chat.ConversationKey
	var at []int
	err := h.peek(ctx, chat.Peek{User: p.User, Keys: all, Members: limit}, func(i int, s *chat.Snapshot) {
		if s.Exists {
			members[i] = s.Members
		} else {
			keys, at = append(keys, all[i]), append(at, i)
		}
	})
	if err != nil {
		return nil, err
	}
	rest, err := h.listMembers(ctx, keys, limit)
	if err != nil {
		return nil, err
	}
	for i := range rest {
		members[at[i]] = rest[i]
	}
	users := newUserSet(p.Tenant)
	for _, ms := range members {
		for i := range ms {
			users.want(ms[i].User)
		}
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, err
	}
	if err := h.lastVisible(ctx, p, page); err != nil {
		return nil, err
	}
	out := make([]chat.ConversationItem, len(page))
	for i, s := range page {
		it := chat.ConversationItem{Head: s.head, Me: s.me, Unread: s.me.Unread(s.head.MsgNo),
			CanAdd:  chat.ActAddMembers.Allowed(s.head.Kind, s.me.Role, s.head.Permissions) == nil,
			Members: make([]chat.User, len(members[i])), Roles: make([]chat.Role, len(members[i]))}
		for j := range members[i] {
			it.Members[j], it.Roles[j] = users.get(members[i][j].User, ""), members[i][j].Role
			if s.head.Kind == chat.Direct && members[i][j].User != p.User {
				it.Other = &it.Members[j]
			}
		}
		out[i] = it
	}
	return out, h.drafts(ctx, p, out)
}

// listMembers reads the members of conversations that are not in memory.
func (h *Hub) listMembers(ctx context.Context, keys []chat.ConversationKey, limit int) ([][]chat.Member, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	if l, ok := h.store.(MembersLister); ok {
		out, err := l.ListMembers(ctx, keys, limit)
		if err != nil {
			return nil, fmt.Errorf("list members: %w", err)
		}
		return out, nil
	}
	out := make([][]chat.Member, len(keys))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, k := range keys {
		g.Go(func() error {
			_, ms, err := h.store.LoadConversation(ctx, k)
			if err != nil {
				return fmt.Errorf("list members of %s: %w", k, err)
			}
			conversation.SortByJoining(ms)
			out[i] = ms[:min(limit, len(ms))]
			return nil
		})
	}
	return out, g.Wait()
}

// userSet collects the users that an answer names, to read them at once.
type userSet struct {
	tenant chat.TenantID
	users  map[chat.UserID]chat.User
}

func newUserSet(t chat.TenantID) *userSet {
	return &userSet{tenant: t, users: make(map[chat.UserID]chat.User)}
}

func (s *userSet) want(u chat.UserID) { s.users[u] = chat.User{} }

func (s *userSet) fetch(ctx context.Context, store Store) error {
	if len(s.users) == 0 {
		return nil
	}
	ids := make([]chat.UserID, 0, len(s.users))
	for id := range s.users {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	got, err := store.GetUsers(ctx, s.tenant, ids)
	if err != nil {
		return fmt.Errorf("read users: %w", err)
	}
	for i := range got {
		if got[i].ID != "" {
			s.users[got[i].ID] = got[i]
		}
	}
	return nil
}

// get is the user, or what can be said of one that the store does not know.
func (s *userSet) get(id chat.UserID, name string) chat.User {
	u := s.users[id]
	if u.ID == "" {
		u = chat.User{Tenant: s.tenant, ID: id, Username: name}
	}
	if u.Username == "" {
		u.Username = string(id)
	}
	return u
}
