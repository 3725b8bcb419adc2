package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/zumodra/hub/chat"
)

// People keeps what is between users, and what each of them prefers. Errors are those of package chat, possibly
// wrapped; a *chat.RuleError holds a text for the client. All methods may be called concurrently and return soon
// after ctx ends.
type People interface {
	// Relate carries out a command about another user and answers what is between the two then.
	Relate(ctx context.Context, p chat.Principal, cmd chat.PeopleCommand) (chat.Pair, error)
	// Pair answers what is between the caller and another user; chat.ErrUnknownUser if there is no such user.
	Pair(ctx context.Context, p chat.Principal, other chat.UserID) (chat.Pair, error)
	// Blocks are the users whom the caller blocked, the newest first.
	Blocks(ctx context.Context, p chat.Principal) ([]chat.BlockItem, error)
	// Contacts are the caller's: favourites first, then by first name.
	Contacts(ctx context.Context, p chat.Principal) ([]chat.ContactItem, error)
	// Suggestions are users whom the caller may want as contacts, the best first, at most chat.MaxSuggestions.
	Suggestions(ctx context.Context, p chat.Principal) ([]chat.SuggestionItem, error)
	// Requests are the friend requests that the caller sent or received, the newest first.
	Requests(ctx context.Context, p chat.Principal) ([]chat.RequestItem, error)
	// DirectConversation is the id of the direct conversation with another user; zero if there is none.
	DirectConversation(ctx context.Context, p chat.Principal, other chat.UserID) (chat.ConversationID, error)
	// Status is the caller's own, as others see it.
	Status(ctx context.Context, p chat.Principal) (chat.Standing, error)
	// SetOnline makes the caller visible, and online for a while even without a socket, or invisible from now on.
	SetOnline(ctx context.Context, p chat.Principal, on bool) (chat.Standing, error)
	Preferences(ctx context.Context, p chat.Principal) (chat.Preferences, error)
	// ChangePreferences alters them. They are in force when it returns.
	ChangePreferences(ctx context.Context, p chat.Principal, change chat.PreferencesChange) (chat.Preferences, error)
}

// peopleTable are the routes that need Config.People.
func peopleTable() []route {
	const m = prefix + "/messages"
	type methods = map[string]handler
	post := func(h handler) methods { return methods{http.MethodPost: h} }
	return []route{
		{m + "/blocked", signedIn, methods{"GET": (*API).listBlocks, "POST": charged((*API).block)}},
		{m + "/blocked/{id}", signedIn, methods{"DELETE": charged((*API).unblock)}},
		{m + "/blocked/check", signedIn, post((*API).checkBlock)},
		{m + "/contacts", signedIn, methods{"GET": (*API).listContacts, "POST": (*API).addContact}},
		{m + "/contacts/favorites", signedIn, methods{"GET": (*API).favoriteContacts}},
		{m + "/contacts/online", signedIn, methods{"GET": (*API).onlineContacts}},
		{m + "/contacts/suggestions", signedIn, methods{"GET": (*API).suggestContacts}},
		{m + "/contacts/{id}", signedIn, methods{"GET": (*API).getContact, "DELETE": (*API).deleteContact}},
		{m + "/contacts/{id}/add_favorite", signedIn, post((*API).addFavorite)},
		{m + "/contacts/{id}/remove_favorite", signedIn, post((*API).removeFavorite)},
		{m + "/friend-requests", signedIn, methods{"GET": (*API).listRequests, "POST": (*API).createRequest}},
		{m + "/friend-requests/received", signedIn, methods{"GET": (*API).receivedRequests}},
		{m + "/friend-requests/sent", signedIn, methods{"GET": (*API).sentRequests}},
		{m + "/friend-requests/{id}", signedIn, methods{"GET": (*API).getRequest}},
		{m + "/friend-requests/{id}/accept", signedIn, post((*API).acceptRequest)},
		{m + "/friend-requests/{id}/reject", signedIn, post((*API).rejectRequest)},
		{m + "/friend-requests/{id}/cancel", signedIn, post((*API).cancelRequest)},
		{m + "/status/me", signedIn, methods{"GET": (*API).myStatus}},
		{m + "/status/update_status", signedIn, methods{"PUT": (*API).updateStatus, "PATCH": (*API).updateStatus}},
		{m + "/status/contact_statuses", signedIn, methods{"GET": (*API).contactStatuses}},
		{m + "/preferences", signedIn, methods{"GET": (*API).getPreferences, "PATCH": (*API).patchPreferences}},
	}
}

// relateFailure is failure for commands about another user, whom field names; "" where the request names none.
func (a *API) relateFailure(err error, name, field string) response {
	var rule *chat.RuleError
	switch {
	case errors.As(err, &rule):
		return invalid(orElse(field, nonField), rule.Text)
	case errors.Is(err, chat.ErrUnknownUser):
		return invalid(orElse(field, nonField), "User not found.")
	}
	return a.failure(err, texts{name: name, write: true})
}

// listed is one page of a list that is in memory as a whole.
func listed[T, V any](a *API, c *call, all []T, view func(*T) V) response {
	n, valid := pageNumber(c.r.URL.Query().Get("page"))
	if !valid {
		return invalidPage
	}
	if n == 0 {
		n = lastPage(len(all))
	}
	from := min((n-1)*pageSize, len(all))
	to := min(from+pageSize, len(all))
	return a.page(c.r, n, len(all), to-from, n < lastPage(len(all)), views(all[from:to], view))
}

func views[T, V any](items []T, view func(*T) V) []V {
	out := make([]V, len(items))
	for i := range items {
		out[i] = view(&items[i])
	}
	return out
}

// number is the integer id of the path; what is none names nothing.
func number(c *call) (int64, bool) {
	n, err := strconv.ParseInt(c.r.PathValue("id"), 10, 64)
	return n, err == nil && n > 0
}

type blockView struct {
	ID        int64    `json:"id"`
	Blocked   userView `json:"blocked"`
	CreatedAt stamp    `json:"created_at"`
}

func viewBlock(p chat.Principal) func(*chat.BlockItem) blockView {
	return func(b *chat.BlockItem) blockView {
		return blockView{p.Key().Number("block", b.User), viewUser(b.Profile, p.User), stamp(b.At)}
	}
}

// GET blocked/
func (a *API) listBlocks(ctx context.Context, c *call) response {
	all, err := a.cfg.People.Blocks(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_blocks"})
	}
	return listed(a, c, all, viewBlock(c.p))
}

// POST blocked/
func (a *API) block(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	field := b.first("user_id", "blocked_user_id")
	other := b.user(field)
	if res, bad := b.invalid(); bad {
		return res
	}
	pair, err := a.cfg.People.Relate(ctx, c.p, chat.Block{User: other})
	if err != nil {
		return a.relateFailure(err, "block", field)
	}
	profile, err := a.profile(ctx, c.p, other)
	if err != nil {
		return a.failure(err, texts{name: "get_user"})
	}
	item := chat.BlockItem{BlockRow: chat.BlockRow{User: other, At: pair.Of(c.p.User).BlockedAt}, Profile: profile}
	return response{status: http.StatusCreated, body: viewBlock(c.p)(&item)}
}

// profile is what is stored of another user; where nothing is, their id.
func (a *API) profile(ctx context.Context, p chat.Principal, other chat.UserID) (chat.User, error) {
	u, found, err := a.stored(ctx, p.Tenant, other)
	if !found {
		u = chat.User{Tenant: p.Tenant, ID: other, Username: string(other)}
	}
	return u, err
}

// DELETE blocked/{id}/
func (a *API) unblock(ctx context.Context, c *call) response {
	n, ok := number(c)
	if !ok {
		return notFound
	}
	all, err := a.cfg.People.Blocks(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "list_blocks"})
	}
	for _, b := range all {
		if c.p.Key().Number("block", b.User) != n {
			continue
		}
		if _, err := a.cfg.People.Relate(ctx, c.p, chat.Unblock{User: b.User}); err != nil {
			return a.relateFailure(err, "unblock", "")
		}
		return response{status: http.StatusNoContent}
	}
	return notFound
}

type checkView struct {
	IsBlocked   bool `json:"is_blocked"`    // by the caller
	IsBlockedBy bool `json:"is_blocked_by"` // the caller, by the other
	AnyBlock    bool `json:"any_block"`
}

// POST blocked/check/
func (a *API) checkBlock(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	if raw := string(b.get("user_id")); raw == "" || raw == `""` {
		return a.refuse(http.StatusBadRequest, "", "user_id is required")
	}
	other := b.user("user_id")
	if res, bad := b.invalid(); bad {
		return res
	}
	pair, err := a.cfg.People.Pair(ctx, c.p, other)
	if errors.Is(err, chat.ErrUnknownUser) {
		return a.refuse(http.StatusNotFound, "NOT_FOUND", "User not found")
	}
	if err != nil {
		return a.failure(err, texts{name: "check_block"})
	}
	mine, theirs := pair.Of(c.p.User), pair.Of(other)
	v := checkView{IsBlocked: !mine.BlockedAt.IsZero(), IsBlockedBy: !theirs.BlockedAt.IsZero(), AnyBlock: pair.Blocked()}
	if other == c.p.User {
		v = checkView{}
	}
	return ok(success{Success: true, Data: v, Meta: a.meta()})
}

type preferencesView struct {
	ReadReceipts bool `json:"read_receipts"`
	Invisible    bool `json:"invisible"`
}

func viewPreferences(p chat.Preferences) preferencesView {
	return preferencesView{ReadReceipts: !p.HideReceipts, Invisible: p.Invisible}
}

// GET preferences/
func (a *API) getPreferences(ctx context.Context, c *call) response {
	p, err := a.cfg.People.Preferences(ctx, c.p)
	if err != nil {
		return a.failure(err, texts{name: "get_preferences"})
	}
	return ok(viewPreferences(p))
}

// PATCH preferences/: what the body names changes.
func (a *API) patchPreferences(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	receipts, invisible := b.optionalFlag("read_receipts"), b.optionalFlag("invisible")
	if res, bad := b.invalid(); bad {
		return res
	}
	change := chat.PreferencesChange{Invisible: invisible}
	if receipts != nil {
		hide := !*receipts
		change.HideReceipts = &hide
	}
	p, err := a.cfg.People.ChangePreferences(ctx, c.p, change)
	if err != nil {
		return a.failure(err, texts{name: "change_preferences", write: true})
	}
	return ok(viewPreferences(p))
}

// optionalFlag is flag, or nil where the body does not name it.
func (b *body) optionalFlag(name string) *bool {
	if b.get(name) == nil {
		return nil
	}
	v := b.flag(name)
	return &v
}
