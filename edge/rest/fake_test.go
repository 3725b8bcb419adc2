package rest_test

import (
	"cmp"
	"context"
	"html"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// fakeHub keeps everything in maps, with just the rules that the statuses of the API depend on.
type fakeHub struct {
	mu       sync.Mutex
	now      func() time.Time
	convs    map[chat.ConversationKey]*fakeConv
	users    map[chat.UserKey]chat.User
	blocks   map[[2]chat.UserID]bool
	max      int             // members of a group
	tokens   map[string]bool // refused
	standing map[chat.UserID]chat.Standing
	pairs    map[chat.PairKey]*chat.Pair
	prefs    map[chat.UserKey]chat.Preferences

	fail  func(name string) error // an error for a command or query, by name
	calls []string

	searched chat.SearchQuery
}

type fakeConv struct {
	head    chat.Head
	members []chat.Member
	events  []chat.Event
	drafts  map[chat.UserID]chat.Draft
}

func newFakeHub(now func() time.Time) *fakeHub {
	return &fakeHub{
		now: now, convs: map[chat.ConversationKey]*fakeConv{}, users: map[chat.UserKey]chat.User{},
		blocks: map[[2]chat.UserID]bool{}, max: 10,
	}
}

func (c *fakeConv) member(u chat.UserID) *chat.Member {
	for i := range c.members {
		if c.members[i].User == u {
			return &c.members[i]
		}
	}
	return nil
}

func (c *fakeConv) append(e chat.Event) *chat.Event {
	c.head.Seq++
	if e.Type == chat.EventMessage {
		c.head.MsgNo++
	}
	e.Seq, e.MsgNo = c.head.Seq, c.head.MsgNo
	c.head.UpdatedAt = e.At
	c.events = append(c.events, e)
	return &c.events[len(c.events)-1]
}

func (h *fakeHub) check(ctx context.Context, name string) error {
	h.calls = append(h.calls, name)
	if h.fail != nil {
		if err := h.fail(name); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (h *fakeHub) find(p chat.Principal, id chat.ConversationID) (*fakeConv, *chat.Member, error) {
	c := h.convs[chat.ConversationKey{Tenant: p.Tenant, ID: id}]
	if c == nil {
		return nil, nil, chat.ErrNotFound
	}
	m := c.member(p.User)
	if m == nil {
		return nil, nil, chat.ErrNotMember
	}
	return c, m, nil
}

func (h *fakeHub) Do(ctx context.Context, p chat.Principal, cmd chat.Command) (chat.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, cmd.Name()); err != nil {
		return chat.Result{}, err
	}
	now := h.now().UTC().Truncate(time.Microsecond)
	if create, ok := cmd.(chat.Create); ok {
		return h.create(p, create, now)
	}
	c, me, err := h.find(p, cmd.Target())
	if err != nil {
		return chat.Result{}, err
	}
	direct := c.head.Kind == chat.Direct
	switch cmd := cmd.(type) {
	case chat.Attach:
		return chat.Result{}, nil
	case chat.Send:
		return h.send(p, c, me, cmd, now)
	case chat.Pin:
		return chat.Result{}, nil
	case chat.Forward:
		return h.send(p, c, me, chat.Send{Conversation: cmd.Conversation, ClientID: cmd.ClientID, Content: "copy"}, now)
	case chat.Edit:
		e := c.message(cmd.Message)
		if e.Actor != p.User {
			return chat.Result{}, chat.ErrForbidden
		}
		if now.Sub(e.At) > 15*time.Minute {
			return chat.Result{}, chat.ErrEditWindow
		}
		e.Content, e.EditedAt = cmd.Content, now
		return chat.Result{Event: e}, nil
	case chat.Delete:
		e := c.message(cmd.Message)
		if e.Actor != p.User && me.Role < chat.RoleAdmin {
			return chat.Result{}, chat.ErrForbidden
		}
		e.Content, e.DeletedAt = "", now
		return chat.Result{Event: e}, nil
	case chat.MarkRead:
		n := me.Unread(c.head.MsgNo)
		me.Read = chat.Watermark{Seq: c.head.Seq, MsgNo: c.head.MsgNo, At: now}
		me.OwnAfterRead = 0
		return chat.Result{Marked: n}, nil
	case chat.AddMembers:
		if direct {
			return chat.Result{}, chat.ErrDirect
		}
		return chat.Result{}, h.add(p, c, cmd.Users, now)
	case chat.RemoveMembers:
		if direct {
			return chat.Result{}, chat.ErrDirect
		}
		if me.Role < chat.RoleAdmin {
			return chat.Result{}, chat.ErrForbidden
		}
		c.members = slices.DeleteFunc(c.members, func(m chat.Member) bool {
			return m.User != p.User && slices.Contains(cmd.Users, m.User)
		})
		return chat.Result{}, nil
	case chat.Leave:
		if direct {
			return chat.Result{}, chat.ErrDirect
		}
		c.members = slices.DeleteFunc(c.members, func(m chat.Member) bool { return m.User == p.User })
		return chat.Result{}, nil
	case chat.Rename:
		if direct {
			return chat.Result{}, chat.ErrDirect
		}
		if me.Role < chat.RoleAdmin {
			return chat.Result{}, chat.ErrForbidden
		}
		c.head.Name = cmd.Title
		return chat.Result{}, nil
	case chat.SetRole:
		switch t := c.member(cmd.User); {
		case direct:
			return chat.Result{}, chat.ErrDirect
		case me.Role < chat.RoleOwner:
			return chat.Result{}, chat.ErrForbidden
		case t == nil:
			return chat.Result{}, chat.ErrNotFound
		default:
			t.Role = cmd.Role
		}
		return chat.Result{}, nil
	case chat.SetPermissions:
		switch {
		case direct:
			return chat.Result{}, chat.ErrDirect
		case me.Role < chat.RoleAdmin:
			return chat.Result{}, chat.ErrForbidden
		}
		c.head.Permissions = cmd.Permissions.Over(c.head.Permissions)
		return chat.Result{}, nil
	case chat.Archive:
		me.ArchivedAt = 0
		if cmd.On {
			me.ArchivedAt = c.head.MsgNo + 1
		}
		return chat.Result{}, nil
	}
	if err, is := c.own(me, cmd, h.now()); is {
		return chat.Result{}, err
	}
	panic("fake: " + cmd.Name())
}

func (h *fakeHub) Pins(ctx context.Context, p chat.Principal, id chat.ConversationID) ([]chat.MessageItem, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "list_pins"); err != nil {
		return nil, err
	}
	if _, _, err := h.find(p, id); err != nil {
		return nil, chat.ErrNotFound
	}
	return nil, nil
}

func (h *fakeHub) Readers(ctx context.Context, p chat.Principal, id chat.MessageID, q chat.ReceiptQuery) (chat.ReaderPage, error) {
	it, err := h.Message(ctx, p, id)
	if err != nil {
		return chat.ReaderPage{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "list_readers"); err != nil {
		return chat.ReaderPage{}, err
	}
	page := chat.ReaderPage{Total: len(it.ReadBy)}
	for _, r := range it.ReadBy {
		if r.Seq > q.After || r.Seq == q.After && r.User > q.AfterUser {
			page.Receipts = append(page.Receipts, r)
		}
	}
	return page, nil
}

func (h *fakeHub) Events(ctx context.Context, p chat.Principal, q chat.EventQuery) (chat.EventPage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "list_events"); err != nil {
		return chat.EventPage{}, err
	}
	c, _, err := h.find(p, q.Conversation)
	if err != nil {
		return chat.EventPage{}, chat.ErrNotFound
	}
	page := chat.EventPage{Head: c.head.Seq}
	for _, e := range c.events {
		if q.After == nil && (q.Before == 0 || e.Seq < q.Before) {
			page.Items = slices.Insert(page.Items, 0, chat.EventItem{Event: e})
		} else if q.After != nil && e.Seq > *q.After {
			page.Items = append(page.Items, chat.EventItem{Event: e})
		}
	}
	page.More = len(page.Items) > q.Limit
	page.Items = page.Items[:min(len(page.Items), q.Limit)]
	return page, nil
}

func (c *fakeConv) message(id chat.MessageID) *chat.Event {
	for i := range c.events {
		if c.events[i].IsMessage() && c.events[i].Message == id {
			return &c.events[i]
		}
	}
	panic("fake: the message was there a moment ago")
}

func (h *fakeHub) create(p chat.Principal, cmd chat.Create, now time.Time) (chat.Result, error) {
	key := chat.ConversationKey{Tenant: p.Tenant, ID: cmd.Conversation}
	if h.convs[key] != nil {
		return chat.Result{}, nil
	}
	for _, u := range cmd.Members {
		if h.users[chat.UserKey{Tenant: p.Tenant, User: u}].ID == "" {
			return chat.Result{}, chat.ErrUnknownUser
		}
		if h.blocks[[2]chat.UserID{p.User, u}] {
			return chat.Result{}, chat.ErrBlocked
		}
	}
	if len(cmd.Members)+1 > h.max {
		return chat.Result{}, chat.ErrGroupFull
	}
	c := &fakeConv{head: chat.Head{
		Key: key, Kind: cmd.Kind, Name: cmd.Title, CreatedBy: p.User, CreatedAt: now, MemberCount: len(cmd.Members) + 1,
	}}
	role := chat.RoleOwner
	if cmd.Kind == chat.Direct {
		role = chat.RoleMember
	}
	c.members = append(c.members, chat.Member{User: p.User, Role: role, JoinedAt: now})
	for _, u := range cmd.Members {
		c.members = append(c.members, chat.Member{User: u, Role: chat.RoleMember, JoinedAt: now})
	}
	h.convs[key] = c
	c.append(chat.Event{Type: chat.EventConversation, Change: chat.ChangeCreated, At: now, Actor: p.User})
	return chat.Result{Created: true}, nil
}

func (h *fakeHub) add(p chat.Principal, c *fakeConv, users []chat.UserID, now time.Time) error {
	for _, u := range users {
		if h.users[chat.UserKey{Tenant: p.Tenant, User: u}].ID == "" {
			return chat.ErrUnknownUser
		}
	}
	for _, u := range users {
		if c.member(u) != nil || h.blocks[[2]chat.UserID{p.User, u}] {
			continue
		}
		if len(c.members) >= h.max {
			return chat.ErrGroupFull
		}
		c.members = append(c.members, chat.Member{User: u, Role: chat.RoleMember, JoinedAt: now})
	}
	return nil
}

func (h *fakeHub) send(p chat.Principal, c *fakeConv, me *chat.Member, cmd chat.Send, now time.Time) (chat.Result, error) {
	if cmd.ClientID != "" {
		for i := range c.events {
			if e := &c.events[i]; e.IsMessage() && e.Actor == p.User && e.ClientID == cmd.ClientID {
				return chat.Result{Event: e, Duplicate: true}, nil
			}
		}
	}
	text, err := chat.NormalizeContent(cmd.Content)
	if err != nil && cmd.File == nil {
		return chat.Result{}, err
	}
	e := c.append(chat.Event{
		File: cmd.File, Type: chat.EventMessage, At: now, Actor: p.User, ActorName: p.Username, ClientID: cmd.ClientID,
		Message: chat.NewMessageID(c.head.Key, c.head.Seq+1, now), Content: text, IsVoice: cmd.IsVoice,
	})
	e.MessageSeq = e.Seq
	c.head.Last = chat.LastMessage{
		Seq: e.Seq, ID: e.Message, Sender: p.User, Text: chat.Truncate(text, chat.LastMessageText), At: now,
	}
	me.OwnAfterRead++
	return chat.Result{Event: e}, nil
}

func (h *fakeHub) item(p chat.Principal, c *fakeConv) chat.ConversationItem {
	me := c.member(p.User)
	it := chat.ConversationItem{Head: c.head, Me: *me, Unread: me.Unread(c.head.MsgNo), CanAdd: c.head.Kind == chat.Group}
	for _, m := range c.members {
		u := h.users[chat.UserKey{Tenant: p.Tenant, User: m.User}]
		it.Members = append(it.Members, u)
		if c.head.Kind == chat.Direct && m.User != p.User {
			it.Other = &u
		}
	}
	return it
}

func (h *fakeHub) Conversations(ctx context.Context, p chat.Principal, q chat.ListQuery) (chat.ConversationPage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "conversations"); err != nil {
		return chat.ConversationPage{}, err
	}
	var all []chat.ConversationItem
	for k, c := range h.convs {
		m := c.member(p.User)
		if k.Tenant != p.Tenant || m == nil || (q.Kind != 0 && q.Kind != c.head.Kind) || m.Archived(c.head.MsgNo) != q.Archived {
			continue
		}
		all = append(all, h.item(p, c))
	}
	slices.SortFunc(all, func(a, b chat.ConversationItem) int {
		return cmp.Or(b.Head.UpdatedAt.Compare(a.Head.UpdatedAt), slices.Compare(a.Head.Key.ID[:], b.Head.Key.ID[:]))
	})
	return chat.ConversationPage{Total: len(all), Items: slice(all, q.Offset, q.Limit)}, nil
}

func slice[T any](all []T, offset, limit int) []T {
	from := min(offset, len(all))
	return all[from:min(from+limit, len(all))]
}

func (h *fakeHub) Conversation(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.ConversationItem, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "conversation"); err != nil {
		return chat.ConversationItem{}, err
	}
	c, _, err := h.find(p, id)
	if err != nil {
		return chat.ConversationItem{}, err
	}
	return h.item(p, c), nil
}

func (h *fakeHub) messageItem(p chat.Principal, c *fakeConv, e chat.Event) chat.MessageItem {
	it := chat.MessageItem{
		Conversation: c.head.Key.ID, Event: e, IsOwn: e.Actor == p.User,
		Sender: h.users[chat.UserKey{Tenant: p.Tenant, User: e.Actor}],
	}
	for _, m := range c.members {
		if m.User != e.Actor && m.Read.Seq >= e.Seq {
			it.IsRead = true
			it.ReadBy = append(it.ReadBy, chat.Receipt{User: m.User, Kind: chat.ReceiptRead, Seq: m.Read.Seq, At: m.Read.At})
			it.Readers++
		}
	}
	return it
}

func (h *fakeHub) Messages(ctx context.Context, p chat.Principal, q chat.MessageQuery) (chat.MessagePage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "messages"); err != nil {
		return chat.MessagePage{}, err
	}
	var all []chat.MessageItem
	if !q.Conversation.IsZero() {
		if _, _, err := h.find(p, q.Conversation); err != nil {
			return chat.MessagePage{}, err
		}
	}
	for k, c := range h.convs {
		if k.Tenant != p.Tenant || c.member(p.User) == nil || (!q.Conversation.IsZero() && q.Conversation != k.ID) {
			continue
		}
		for _, e := range c.events {
			if !e.IsMessage() || (!q.Before.IsZero() && e.Seq >= q.Before.Seq()) || (!q.BeforeTime.IsZero() && !e.At.Before(q.BeforeTime)) {
				continue
			}
			all = append(all, h.messageItem(p, c, e))
		}
	}
	slices.SortFunc(all, func(a, b chat.MessageItem) int {
		return cmp.Or(b.Event.At.Compare(a.Event.At), cmp.Compare(b.Event.Seq, a.Event.Seq))
	})
	items := slice(all, q.Offset, q.Limit)
	return chat.MessagePage{Total: len(all), Items: items, More: q.Offset+len(items) < len(all)}, nil
}

// Search looks for the text as it is.
func (h *fakeHub) Search(ctx context.Context, p chat.Principal, q chat.SearchQuery) ([]chat.SearchItem, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.searched = q
	if err := h.check(ctx, "search"); err != nil {
		return nil, err
	}
	var found []chat.SearchItem
	for k, c := range h.convs {
		if k.Tenant != p.Tenant || c.member(p.User) == nil || (!q.Conversation.IsZero() && q.Conversation != k.ID) {
			continue
		}
		for _, e := range c.events {
			if e.IsMessage() && strings.Contains(e.Content, q.Text) && q.Admits(&e) {
				found = append(found, chat.SearchItem{MessageItem: h.messageItem(p, c, e), ConversationName: c.head.Name,
					Highlight: strings.ReplaceAll(html.EscapeString(e.Content), q.Text, "<mark>"+q.Text+"</mark>")})
			}
		}
	}
	slices.SortFunc(found, func(a, b chat.SearchItem) int { return b.Event.At.Compare(a.Event.At) })
	return found[:min(len(found), q.Limit)], nil
}

func (h *fakeHub) Message(ctx context.Context, p chat.Principal, id chat.MessageID) (chat.MessageItem, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "message"); err != nil {
		return chat.MessageItem{}, err
	}
	for k, c := range h.convs {
		if k.Tenant != p.Tenant || c.member(p.User) == nil {
			continue
		}
		for _, e := range c.events {
			if e.IsMessage() && e.Message == id {
				return h.messageItem(p, c, e), nil
			}
		}
	}
	return chat.MessageItem{}, chat.ErrNotFound
}

func (h *fakeHub) GetUsers(_ context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.User, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	users := make([]chat.User, len(ids))
	for i, id := range ids {
		users[i] = h.users[chat.UserKey{Tenant: t, User: id}]
	}
	return users, nil
}

func (h *fakeHub) PutUser(_ context.Context, u chat.User) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users[chat.UserKey{Tenant: u.Tenant, User: u.ID}] = u
	return nil
}

func (h *fakeHub) CreateUser(_ context.Context, u chat.User) (chat.User, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := chat.UserKey{Tenant: u.Tenant, User: u.ID}
	if known, ok := h.users[k]; ok {
		return known, false, nil
	}
	h.users[k] = u
	return u, true, nil
}
