package rest

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/zumodra/hub/chat"
)

// conversationID is the conversation of the path. What is not an id names nothing.
func conversationID(c *call) (chat.ConversationID, *response) {
	id, err := chat.ParseConversationID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return id, &notFound
	}
	return id, nil
}

// GET conversations/
func (a *API) listConversations(ctx context.Context, c *call) response {
	q := c.r.URL.Query()
	query := chat.ListQuery{Limit: pageSize}
	switch t := q.Get("type"); t {
	case "":
	case "direct":
		query.Kind = chat.Direct
	case "group":
		query.Kind = chat.Group
	default:
		return invalid("type", `"`+printable(t)+`" is not a valid choice.`)
	}
	switch v := q.Get("archived"); strings.ToLower(v) {
	case "", "false", "0":
	case "true", "1":
		query.Archived = true
	default:
		return invalid("archived", "Must be a valid boolean.")
	}
	n, valid := pageNumber(q.Get("page"))
	if !valid {
		return invalidPage
	}
	t := texts{name: "list_conversations"}
	if n == 0 {
		first, err := a.cfg.Hub.Conversations(ctx, c.p, chat.ListQuery{Kind: query.Kind, Archived: query.Archived, Limit: 1})
		if err != nil {
			return a.failure(err, t)
		}
		n = lastPage(first.Total)
	}
	query.Offset = (n - 1) * pageSize
	found, err := a.cfg.Hub.Conversations(ctx, c.p, query)
	if err != nil {
		return a.failure(err, t)
	}
	results := make([]conversationView, len(found.Items))
	for i := range found.Items {
		results[i] = a.listConversation(&found.Items[i])
	}
	return a.page(c.r, n, found.Total, len(results), n < lastPage(found.Total), results)
}

var invalidPage = fail(http.StatusNotFound, "Invalid page.")

// page is one page of a list; an empty one is valid only if it is the first.
func (a *API) page(r *http.Request, n, total, length int, more bool, results any) response {
	if n > 1 && length == 0 {
		return invalidPage
	}
	p := page{Count: total, Results: results}
	if more {
		p.Next = orNull(a.link(r, "page", strconv.Itoa(n+1)))
	}
	if n == 2 { // as DRF does: the first page has no number
		p.Previous = orNull(a.link(r, "page", ""))
	} else if n > 2 {
		p.Previous = orNull(a.link(r, "page", strconv.Itoa(n-1)))
	}
	return ok(p)
}

// printable is what a message may repeat of a client's value.
func printable(s string) string {
	return chat.Truncate(strings.ToValidUTF8(s, "\ufffd"), 50)
}

// POST conversations/: one other user gets or creates the direct conversation, more create a group.
func (a *API) createConversation(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	field := b.first("participant_ids", "participants")
	ids := b.users(field)
	name, given := b.text("name")
	if given && len(b.errs["name"]) == 0 {
		name = b.checkName(name)
	}
	message, _ := b.text("message")
	message = strings.TrimSpace(message)
	if _, err := chat.NormalizeContent(message); message != "" && err != nil {
		b.fault("message", tooLong)
	}
	clientID := b.clientID()
	if res, bad := b.invalid(); bad {
		return res
	}
	others := make([]chat.UserID, 0, len(ids))
	for _, id := range ids {
		if id != c.p.User {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return invalid(field, "Cannot create conversation with yourself.")
	}
	if message != "" || len(others) > 1 { // to look for a direct conversation tells nobody anything
		if res := a.limit(c); res != nil {
			return *res
		}
	}
	create := chat.Create{Conversation: chat.NewConversationID(), Kind: chat.Group, Title: name, Members: others}
	if len(others) == 1 {
		create = chat.Create{Conversation: chat.DirectID(c.p.Tenant, c.p.User, others[0]), Kind: chat.Direct, Members: others}
	}
	t := texts{name: "create", users: field, write: true}
	if _, err := a.cfg.Hub.Do(ctx, c.p, create); err != nil {
		return a.failure(err, t)
	}
	if message != "" {
		send := chat.Send{Conversation: create.Conversation, ClientID: clientID, Content: message}
		if _, err := a.cfg.Hub.Do(ctx, c.p, send); err != nil {
			return a.failure(err, texts{name: "send", write: true})
		}
	}
	it, err := a.cfg.Hub.Conversation(ctx, c.p, create.Conversation)
	if err != nil {
		return a.failure(err, texts{name: "get_conversation"})
	}
	return response{status: http.StatusCreated, body: a.detailConversation(&it)}
}

func (b *body) checkName(s string) string {
	name, err := chat.NormalizeName(s)
	switch {
	case strings.ContainsRune(s, 0):
		b.fault("name", "Null characters are not allowed.")
	case err != nil:
		b.fault("name", "Ensure this field has no more than 255 characters.")
	}
	return name
}

// clientID is the optional client_id of a body.
func (b *body) clientID() string {
	s, given := b.text("client_id")
	if !given {
		return ""
	}
	if _, err := chat.NormalizeClientID(s); err != nil {
		b.fault("client_id", "Ensure this field has no more than 128 bytes.")
	}
	return s
}

// GET conversations/{id}/
func (a *API) getConversation(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	it, err := a.cfg.Hub.Conversation(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "get_conversation"})
	}
	return ok(a.detailConversation(&it))
}

// PATCH conversations/{id}/: the name, and who may do what.
func (a *API) changeConversation(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	name, _ := b.text("name")
	if len(b.errs["name"]) == 0 {
		name = b.checkName(name)
	}
	var may chat.Permissions
	b.role("who_can_add", &may.Add)
	b.role("who_can_pin", &may.Pin)
	b.role("who_can_mention_all", &may.MentionAll)
	if res, bad := b.invalid(); bad {
		return res
	}
	if may != (chat.Permissions{}) {
		t := texts{name: "set_permissions", direct: "A direct conversation has no permissions.", write: true}
		if _, err := a.cfg.Hub.Do(ctx, c.p, chat.SetPermissions{Conversation: id, Permissions: may}); err != nil {
			return a.failure(err, t)
		}
	}
	if _, given := b.fields["name"]; given {
		t := texts{name: "rename", direct: "Cannot rename a direct conversation.", write: true}
		if _, err := a.cfg.Hub.Do(ctx, c.p, chat.Rename{Conversation: id, Title: name}); err != nil {
			return a.failure(err, t)
		}
	}
	return a.getConversation(ctx, c)
}

// POST conversations/{id}/mark_read/
func (a *API) markRead(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	res, err := a.cfg.Hub.Do(ctx, c.p, chat.MarkRead{Conversation: id})
	if err != nil {
		return a.failure(err, texts{name: "mark_read", write: true})
	}
	return a.envelope(map[string]uint64{"messages_marked_read": res.Marked},
		strconv.FormatUint(res.Marked, 10)+" messages marked as read")
}

// POST conversations/{id}/add_participants/
func (a *API) addParticipants(ctx context.Context, c *call) response {
	t := texts{
		name: "add_members", users: "user_ids", write: true,
		direct: "Cannot add participants to direct conversation. Create a group instead.",
	}
	return a.changeMembers(ctx, c, t, "Participants added", func(id chat.ConversationID, users []chat.UserID) chat.Command {
		return chat.AddMembers{Conversation: id, Users: users}
	})
}

// POST conversations/{id}/remove_participants/
func (a *API) removeParticipants(ctx context.Context, c *call) response {
	t := texts{
		name: "remove_members", users: "user_ids", write: true,
		direct: "Cannot remove participants from direct conversation.",
	}
	return a.changeMembers(ctx, c, t, "Participants removed", func(id chat.ConversationID, users []chat.UserID) chat.Command {
		return chat.RemoveMembers{Conversation: id, Users: users}
	})
}

func (a *API) changeMembers(ctx context.Context, c *call, t texts, done string,
	command func(chat.ConversationID, []chat.UserID) chat.Command,
) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	users := b.users("user_ids")
	if res, bad := b.invalid(); bad {
		return res
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, command(id, users)); err != nil {
		return a.failure(err, t)
	}
	it, err := a.cfg.Hub.Conversation(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "get_conversation"})
	}
	return a.envelope(a.detailConversation(&it), done)
}

// POST conversations/{id}/set_role/: the owner makes a member an admin, a plain member, or the owner.
func (a *API) setRole(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	user := b.user("user_id")
	var role chat.Role
	if b.get("role") == nil {
		b.missing("role")
	}
	b.role("role", &role)
	if res, bad := b.invalid(); bad {
		return res
	}
	t := texts{name: "set_role", users: "user_id", direct: "A direct conversation has no roles.", write: true}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.SetRole{Conversation: id, User: user, Role: role}); err != nil {
		return a.failure(err, t)
	}
	return a.envelope(nil, "Role changed")
}

// role reads a role, if it is given.
func (b *body) role(field string, to *chat.Role) {
	name, given := b.text(field)
	if !given {
		return
	}
	var known bool
	if *to, known = chat.ParseRole(name); !known {
		b.fault(field, "Must be one of owner, admin, member.")
	}
}

// POST conversations/{id}/transfer_ownership/: the owner makes another member the owner, and is an admin then.
func (a *API) transferOwnership(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	user := b.user("user_id")
	if res, bad := b.invalid(); bad {
		return res
	}
	t := texts{name: "set_role", users: "user_id", direct: "A direct conversation has no roles.", write: true}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.SetRole{Conversation: id, User: user, Role: chat.RoleOwner}); err != nil {
		return a.failure(err, t)
	}
	return a.envelope(nil, "Ownership transferred")
}

// POST conversations/{id}/leave/
func (a *API) leave(ctx context.Context, c *call) response {
	t := texts{name: "leave", direct: "Cannot leave a direct conversation.", write: true}
	return a.act(ctx, c, t, "Left conversation", func(id chat.ConversationID) chat.Command { return chat.Leave{Conversation: id} })
}

// POST conversations/{id}/archive/
func (a *API) archive(ctx context.Context, c *call) response {
	return a.act(ctx, c, texts{name: "archive", write: true}, "Conversation archived", func(id chat.ConversationID) chat.Command {
		return chat.Archive{Conversation: id, On: true}
	})
}

// POST conversations/{id}/unarchive/
func (a *API) unarchive(ctx context.Context, c *call) response {
	return a.act(ctx, c, texts{name: "unarchive", write: true}, "Conversation unarchived", func(id chat.ConversationID) chat.Command {
		return chat.Archive{Conversation: id}
	})
}

// act is an action without a body and without data to answer.
func (a *API) act(ctx context.Context, c *call, t texts, done string, command func(chat.ConversationID) chat.Command) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, command(id)); err != nil {
		return a.failure(err, t)
	}
	return a.envelope(nil, done)
}
