package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/zumodra/hub/chat"
)

type contactView struct {
	ID         int64    `json:"id"`
	Contact    userView `json:"contact"`
	IsFavorite bool     `json:"is_favorite"`
	IsOnline   bool     `json:"is_online"`
	CreatedAt  stamp    `json:"created_at"`
}

type contactDetailView struct {
	contactView
	LastSeen       stamp   `json:"last_seen"`
	ConversationID *string `json:"conversation_id"`
}

func viewContact(p chat.Principal) func(*chat.ContactItem) contactView {
	return func(c *chat.ContactItem) contactView {
		return contactView{ID: p.Key().Number("contact", c.User), Contact: viewContactUser(c, p), IsFavorite: c.Favorite,
			IsOnline: c.Online, CreatedAt: stamp(c.Since)}
	}
}

// viewContactUser shows the address of a contact who has made the caller a contact, too: of nobody else (D-20).
func viewContactUser(c *chat.ContactItem, p chat.Principal) userView {
	v := viewUser(c.Profile, p.User)
	if c.Mutual && !c.Blocked {
		v.Email = c.Profile.Email
	}
	return v
}

// contact finds the contact of the path among the caller's.
func (a *API) contact(ctx context.Context, c *call) (chat.ContactItem, *response) {
	n, ok := number(c)
	if !ok {
		return chat.ContactItem{}, &notFound
	}
	all, err := a.cfg.People.Contacts(ctx, c.p)
	if err != nil {
		res := a.failure(err, texts{name: "list_contacts"})
		return chat.ContactItem{}, &res
	}
	i := slices.IndexFunc(all, func(x chat.ContactItem) bool { return c.p.Key().Number("contact", x.User) == n })
	if i < 0 {
		return chat.ContactItem{}, &notFound
	}
	return all[i], nil
}

// GET contacts/
func (a *API) listContacts(ctx context.Context, c *call) response {
	all, err := a.cfg.People.Contacts(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_contacts"})
	}
	return listed(a, c, all, viewContact(c.p))
}

// GET contacts/favorites/
func (a *API) favoriteContacts(ctx context.Context, c *call) response {
	return a.someContacts(ctx, c, func(x *chat.ContactItem) bool { return x.Favorite })
}

// GET contacts/online/
func (a *API) onlineContacts(ctx context.Context, c *call) response {
	return a.someContacts(ctx, c, func(x *chat.ContactItem) bool { return x.Online })
}

func (a *API) someContacts(ctx context.Context, c *call, want func(*chat.ContactItem) bool) response {
	all, err := a.cfg.People.Contacts(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_contacts"})
	}
	all = slices.DeleteFunc(all, func(x chat.ContactItem) bool { return !want(&x) })
	return ok(views(all, viewContact(c.p)))
}

type suggestionView struct {
	User         userView `json:"user"`
	SharedGroups int      `json:"shared_groups"`
	Score        float64  `json:"score"`
}

// GET contacts/suggestions/
func (a *API) suggestContacts(ctx context.Context, c *call) response {
	all, err := a.cfg.People.Suggestions(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "suggest_contacts"})
	}
	return ok(views(all, func(s *chat.SuggestionItem) suggestionView {
		return suggestionView{viewUser(s.Profile, c.p.User), s.SharedGroups, s.Score()}
	}))
}

// POST contacts/
func (a *API) addContact(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	field := b.first("contact_id", "contact")
	other, favorite := b.user(field), b.flag("is_favorite")
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	if _, err := a.cfg.People.Relate(ctx, c.p, chat.AddContact{User: other, Favorite: favorite}); err != nil {
		return a.relateFailure(err, "add_contact", field)
	}
	item, found, err := a.contactOf(ctx, c.p, other)
	switch {
	case err != nil:
		return a.failure(err, texts{name: "list_contacts"})
	case !found: // removed since
		return notFound
	}
	return response{status: http.StatusCreated, body: viewContact(c.p)(&item)}
}

func (a *API) contactOf(ctx context.Context, p chat.Principal, other chat.UserID) (chat.ContactItem, bool, error) {
	all, err := a.cfg.People.Contacts(ctx, p)
	for i := range all {
		if all[i].User == other {
			return all[i], true, err
		}
	}
	return chat.ContactItem{}, false, err
}

// GET contacts/{id}/ creates nothing (D-26): conversation_id is null until there is a conversation.
func (a *API) getContact(ctx context.Context, c *call) response {
	item, bad := a.contact(ctx, c)
	if bad != nil {
		return *bad
	}
	id, err := a.cfg.People.DirectConversation(ctx, c.p, item.User)
	if err != nil {
		return a.failure(err, texts{name: "get_contact"})
	}
	v := contactDetailView{contactView: viewContact(c.p)(&item), LastSeen: stamp(item.LastSeen)}
	if !id.IsZero() {
		s := id.String()
		v.ConversationID = &s
	}
	return ok(v)
}

// DELETE contacts/{id}/
func (a *API) deleteContact(ctx context.Context, c *call) response {
	item, bad := a.contact(ctx, c)
	if bad != nil {
		return *bad
	}
	if _, err := a.cfg.People.Relate(ctx, c.p, chat.RemoveContact{User: item.User}); err != nil {
		return a.relateFailure(err, "remove_contact", "")
	}
	return response{status: http.StatusNoContent}
}

// POST contacts/{id}/add_favorite/
func (a *API) addFavorite(ctx context.Context, c *call) response {
	return a.setFavorite(ctx, c, true, "Contact added to favorites")
}

// POST contacts/{id}/remove_favorite/
func (a *API) removeFavorite(ctx context.Context, c *call) response {
	return a.setFavorite(ctx, c, false, "Contact removed from favorites")
}

func (a *API) setFavorite(ctx context.Context, c *call, on bool, done string) response {
	item, bad := a.contact(ctx, c)
	if bad != nil {
		return *bad
	}
	if _, err := a.cfg.People.Relate(ctx, c.p, chat.SetFavorite{User: item.User, On: on}); err != nil {
		return a.relateFailure(err, "set_favorite", "")
	}
	item.Favorite = on
	return a.envelope(viewContact(c.p)(&item), done)
}

type requestView struct {
	ID            string   `json:"id"`
	Sender        userView `json:"sender"`
	Receiver      userView `json:"receiver"`
	Accepted      bool     `json:"accepted"`
	Rejected      bool     `json:"rejected"`
	StatusDisplay string   `json:"status_display"`
	CreatedAt     stamp    `json:"created_at"`
}

type requestDetailView struct {
	requestView
	CanAccept bool `json:"can_accept"`
	CanReject bool `json:"can_reject"`
	CanCancel bool `json:"can_cancel"`
}

// newRequestView is the answer to POST friend-requests/: the original's one key and what it lacked.
type newRequestView struct {
	ReceiverID string `json:"receiver_id"` // a string even where ids are integers, as in the original
	requestDetailView
}

func viewRequest(p chat.Principal) func(*chat.RequestItem) requestView {
	return func(r *chat.RequestItem) requestView {
		return requestView{ID: r.ID.String(), Sender: viewUser(r.From, p.User), Receiver: viewUser(r.To, p.User),
			Accepted: r.State == chat.RequestAccepted, Rejected: r.State == chat.RequestRejected,
			StatusDisplay: r.State.String(), CreatedAt: stamp(r.CreatedAt)}
	}
}

func viewRequestDetail(p chat.Principal, r *chat.RequestItem) requestDetailView {
	pending := r.State == chat.RequestPending
	return requestDetailView{viewRequest(p)(r), pending && r.Receiver == p.User, pending && r.Receiver == p.User,
		pending && r.Sender == p.User}
}

// GET friend-requests/
func (a *API) listRequests(ctx context.Context, c *call) response {
	all, err := a.cfg.People.Requests(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_requests"})
	}
	return listed(a, c, all, viewRequest(c.p))
}

// GET friend-requests/received/
func (a *API) receivedRequests(ctx context.Context, c *call) response {
	return a.someRequests(ctx, c, func(r *chat.RequestItem) bool { return r.Receiver == c.p.User })
}

// GET friend-requests/sent/
func (a *API) sentRequests(ctx context.Context, c *call) response {
	return a.someRequests(ctx, c, func(r *chat.RequestItem) bool { return r.Sender == c.p.User })
}

func (a *API) someRequests(ctx context.Context, c *call, want func(*chat.RequestItem) bool) response {
	all, err := a.cfg.People.Requests(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_requests"})
	}
	all = slices.DeleteFunc(all, func(r chat.RequestItem) bool { return r.State != chat.RequestPending || !want(&r) })
	return ok(views(all, viewRequest(c.p)))
}

// POST friend-requests/
func (a *API) createRequest(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	field := b.first("receiver_id", "receiver")
	other := b.user(field)
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	pair, err := a.cfg.People.Relate(ctx, c.p, chat.RequestFriend{User: other})
	if err != nil {
		return a.relateFailure(err, "request_friend", field)
	}
	profile, err := a.profile(ctx, c.p, other)
	if err != nil {
		return a.failure(err, texts{name: "get_user"})
	}
	item := chat.RequestItem{RequestRow: chat.RequestRow{FriendRequest: pair.Of(c.p.User).Request, Sender: c.p.User, Receiver: other},
		From: c.user, To: profile}
	return response{status: http.StatusCreated, body: newRequestView{string(other), viewRequestDetail(c.p, &item)}}
}

// request finds the friend request of the path among those of the caller.
func (a *API) request(ctx context.Context, c *call) (chat.RequestItem, *response) {
	id, err := chat.ParseRequestID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return chat.RequestItem{}, &notFound
	}
	all, err := a.cfg.People.Requests(ctx, c.p)
	if err != nil {
		res := a.failure(err, texts{name: "list_requests"})
		return chat.RequestItem{}, &res
	}
	i := slices.IndexFunc(all, func(r chat.RequestItem) bool { return r.ID == id })
	if i < 0 {
		return chat.RequestItem{}, &notFound
	}
	return all[i], nil
}

// GET friend-requests/{id}/
func (a *API) getRequest(ctx context.Context, c *call) response {
	r, bad := a.request(ctx, c)
	if bad != nil {
		return *bad
	}
	return ok(viewRequestDetail(c.p, &r))
}

// POST friend-requests/{id}/accept/
func (a *API) acceptRequest(ctx context.Context, c *call) response {
	return a.decideRequest(ctx, c, false, "Only the receiver can accept this request", "Friend request accepted",
		func(r *chat.RequestItem) chat.PeopleCommand {
			return chat.AnswerRequest{User: r.Sender, ID: r.ID, Accept: true}
		})
}

// POST friend-requests/{id}/reject/
func (a *API) rejectRequest(ctx context.Context, c *call) response {
	return a.decideRequest(ctx, c, false, "Only the receiver can reject this request", "Friend request rejected",
		func(r *chat.RequestItem) chat.PeopleCommand { return chat.AnswerRequest{User: r.Sender, ID: r.ID} })
}

// POST friend-requests/{id}/cancel/
func (a *API) cancelRequest(ctx context.Context, c *call) response {
	return a.decideRequest(ctx, c, true, "Only the sender can cancel this request", "Friend request cancelled",
		func(r *chat.RequestItem) chat.PeopleCommand { return chat.CancelRequest{User: r.Receiver, ID: r.ID} })
}

func (a *API) decideRequest(ctx context.Context, c *call, bySender bool, wrongParty, done string,
	command func(*chat.RequestItem) chat.PeopleCommand,
) response {
	r, bad := a.request(ctx, c)
	if bad != nil {
		return *bad
	}
	if (r.Sender == c.p.User) != bySender {
		return a.refuse(http.StatusForbidden, "FORBIDDEN", wrongParty)
	}
	pair, err := a.cfg.People.Relate(ctx, c.p, command(&r))
	var rule *chat.RuleError
	switch {
	case errors.As(err, &rule):
		// The original shows its list of errors as Python writes one.
		return a.refuse(http.StatusBadRequest, "", "['"+rule.Text+"']")
	case err != nil:
		return a.relateFailure(err, "decide_request", "")
	}
	if r.FriendRequest = pair.Of(r.Sender).Request; r.State == chat.RequestNone {
		return a.envelope(nil, done)
	}
	return a.envelope(viewRequestDetail(c.p, &r), done)
}

type statusView struct {
	ID              int64    `json:"id"`
	User            userView `json:"user"`
	IsOnline        bool     `json:"is_online"`
	LastSeen        stamp    `json:"last_seen"`
	LastSeenDisplay string   `json:"last_seen_display"`
}

func (a *API) viewStatus(p chat.Principal, user userView, id chat.UserID, s chat.Standing) statusView {
	return statusView{ID: chat.UserKey{Tenant: p.Tenant, User: id}.Number("status", id), User: user, IsOnline: s.Online,
		LastSeen: stamp(s.LastSeen), LastSeenDisplay: lastSeenDisplay(s, a.cfg.Now())}
}

// lastSeenDisplay is the original's wording (contract §3.2).
func lastSeenDisplay(s chat.Standing, now time.Time) string {
	ago := max(now.Sub(s.LastSeen), 0)
	switch {
	case s.Online:
		return "Online"
	case s.LastSeen.IsZero():
		return "Unknown"
	case ago < time.Minute:
		return "Just now"
	case ago < time.Hour:
		return strconv.Itoa(int(ago/time.Minute)) + "m ago"
	case ago < 24*time.Hour:
		return strconv.Itoa(int(ago/time.Hour)) + "h ago"
	}
	return s.LastSeen.UTC().Format("Jan 02")
}

// GET status/me/
func (a *API) myStatus(ctx context.Context, c *call) response {
	s, err := a.cfg.People.Status(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "status"})
	}
	return ok(a.viewStatus(c.p, viewUser(c.user, c.p.User), c.p.User, s))
}

// PUT or PATCH status/update_status/
func (a *API) updateStatus(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	on := b.optionalFlag("is_online")
	if on == nil {
		b.missing("is_online")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	s, err := a.cfg.People.SetOnline(ctx, c.p, *on)
	if err != nil {
		return a.failure(err, texts{name: "update_status", write: true})
	}
	return a.envelope(a.viewStatus(c.p, viewUser(c.user, c.p.User), c.p.User, s), "Status updated")
}

// GET status/contact_statuses/: of the caller's contacts, but for those with a block.
func (a *API) contactStatuses(ctx context.Context, c *call) response {
	all, err := a.cfg.People.Contacts(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_contacts"})
	}
	out := []statusView{}
	for i := range all {
		if x := &all[i]; !x.Blocked {
			out = append(out, a.viewStatus(c.p, viewContactUser(x, c.p), x.User, x.Standing))
		}
	}
	return ok(success{Success: true, Data: out, Meta: a.meta()})
}
