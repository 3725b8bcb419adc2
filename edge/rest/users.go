package rest

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// accountView is a user as an operator sees it.
type accountView struct {
	ID        chat.UserID   `json:"id"`
	Tenant    chat.TenantID `json:"tenant"`
	Username  string        `json:"username"`
	Email     string        `json:"email"`
	FirstName string        `json:"first_name"`
	LastName  string        `json:"last_name"`
	FullName  string        `json:"full_name"`
	AvatarURL *string       `json:"avatar_url"`
	CreatedAt stamp         `json:"created_at"`
	UpdatedAt stamp         `json:"updated_at"`
}

func viewAccount(u chat.User) accountView {
	return accountView{
		ID: u.ID, Tenant: u.Tenant, Username: u.Username, Email: u.Email,
		FirstName: u.FirstName, LastName: u.LastName, FullName: u.Name(),
		AvatarURL: orNull(u.AvatarURL), CreatedAt: stamp(u.CreatedAt), UpdatedAt: stamp(u.UpdatedAt),
	}
}

// GET admin/users/{id}/
func (a *API) getUser(ctx context.Context, c *call) response {
	id, err := chat.ParseUserID(c.r.PathValue("id"))
	if err != nil {
		return notFound
	}
	u, found, err := a.stored(ctx, c.admin.tenant, id)
	if err != nil {
		return a.failure(err, texts{name: "get_user"})
	}
	if !found {
		return notFound
	}
	return ok(viewAccount(u))
}

func (a *API) stored(ctx context.Context, tenant chat.TenantID, id chat.UserID) (chat.User, bool, error) {
	users, err := a.cfg.Users.GetUsers(ctx, tenant, []chat.UserID{id})
	if err != nil || len(users) == 0 || users[0].ID == "" {
		return chat.User{}, false, err
	}
	return users[0], true, nil
}

// PUT admin/users/{id}/ writes a user, new or not. It replaces: fields that the body leaves out are empty, and
// the username is the id.
func (a *API) putUser(ctx context.Context, c *call) response {
	k, bad := pathKey(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	u := b.account(string(k.User))
	u.Tenant = b.tenant(string(c.admin.tenant))
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := c.admin.use(u.Tenant); res != nil {
		return *res
	}
	before, found, err := a.stored(ctx, u.Tenant, u.ID)
	if err != nil {
		return a.failure(err, texts{name: "get_user"})
	}
	if err := a.writeUser(ctx, &u, before, found); err != nil {
		return a.failure(err, texts{name: "put_user", write: true})
	}
	a.cfg.Logger.Info("rest: user written by operator", "tenant", u.Tenant, "user", u.ID, "new", !found)
	a.audit(ctx, c, chat.ActionUserWrite, "ok", string(u.ID))
	return ok(viewAccount(u))
}

// account is the user that a body describes.
func (b *body) account(id string) (u chat.User) {
	var err error
	if u.ID, err = chat.ParseUserID(id); err != nil {
		b.fault("id", "A user id has 1 to 128 bytes, without spaces and control characters.")
	}
	u.Username = b.short("username", auth.MaxUsername)
	b.profile(&u)
	if u.AvatarURL = b.short("avatar_url", 2048); u.AvatarURL != "" && !webURL(u.AvatarURL) {
		b.fault("avatar_url", "Enter a valid URL.")
	}
	if u.Username == "" {
		u.Username = string(u.ID)
	}
	return u
}

// writeUser writes a user over the one that is stored, if there is one.
func (a *API) writeUser(ctx context.Context, u *chat.User, before chat.User, found bool) error {
	u.UpdatedAt = a.cfg.Now().UTC().Truncate(time.Microsecond)
	u.CreatedAt = u.UpdatedAt
	if found {
		u.CreatedAt = before.CreatedAt
	}
	err := a.cfg.Users.PutUser(ctx, *u)
	if err == nil {
		a.profiles.forget(chat.UserKey{Tenant: u.Tenant, User: u.ID})
	}
	return err
}

// audit notes what the caller of the administrative API did, if anything keeps that.
func (a *API) audit(ctx context.Context, c *call, action chat.Action, outcome string, objects ...string) {
	if a.cfg.Tenancy == nil {
		return
	}
	e := chat.NewAuditEntry(a.cfg.Now(), c.admin.tenant, c.admin.actor, action, objects...)
	e.Address, e.Outcome = chat.AddressOf(ctx), outcome
	a.cfg.Tenancy.Record(ctx, e)
}

// short is an optional text of at most n code points without control characters.
func (b *body) short(name string, n int) string {
	s, given := b.text(name)
	s = strings.TrimSpace(s)
	switch {
	case !given:
	case utf8.RuneCountInString(s) > n:
		b.fault(name, "Ensure this field has no more than "+strconv.Itoa(n)+" characters.")
	case strings.ContainsFunc(s, unicode.IsControl):
		b.fault(name, "Control characters are not allowed.")
	}
	return s
}

// webURL keeps javascript: and the like out of what pages put into src and href.
func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
