package rest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// Bounds of what API keys ask for.
const (
	defaultGrace = 24 * time.Hour // of the secret before a rotation
	maxGrace     = 30 * 24 * time.Hour
	defaultMint  = time.Hour // life of a token
	maxMint      = 30 * 24 * time.Hour
	// revokeFor is how long a token is remembered whose end is not known.
	revokeFor    = 400 * 24 * time.Hour
	maxRevokeFor = 10 * 365 * 24 * time.Hour
)

type keyView struct {
	ID        string        `json:"id"`
	Tenant    chat.TenantID `json:"tenant"`
	Name      string        `json:"name"`
	Scopes    []chat.Scope  `json:"scopes"`
	CreatedBy string        `json:"created_by"`
	CreatedAt stamp         `json:"created_at"`
	ExpiresAt stamp         `json:"expires_at"`
	RevokedAt stamp         `json:"revoked_at"`
	OldUntil  stamp         `json:"old_secret_until"`
	UsedAt    stamp         `json:"last_used_at"`
	Key       string        `json:"key,omitempty"` // what is to be presented: in the answer that made it alone
}

func (a *API) viewKey(k *chat.APIKey, secret string) keyView {
	v := keyView{ID: k.ID, Tenant: k.Tenant, Name: k.Name, Scopes: k.Scopes, CreatedBy: k.CreatedBy, CreatedAt: stamp(k.CreatedAt),
		ExpiresAt: stamp(k.ExpiresAt), RevokedAt: stamp(k.RevokedAt), UsedAt: stamp(k.UsedAt), Key: secret}
	if k.OldUntil.After(a.cfg.Now()) {
		v.OldUntil = stamp(k.OldUntil)
	}
	return v
}

// GET admin/keys/
func (a *API) listKeys(ctx context.Context, c *call) response {
	list, err := a.cfg.Tenancy.Keys(ctx, c.admin.tenant)
	if err != nil {
		return a.failure(err, texts{name: "list_keys"})
	}
	views := make([]keyView, len(list))
	for i := range list {
		views[i] = a.viewKey(&list[i], "")
	}
	return ok(cursorPage{nil, views})
}

// scopes reads a list of scopes that the caller has.
func (b *body) scopes(d *admin) (list []chat.Scope) {
	raw := b.get("scopes")
	if raw == nil {
		b.missing("scopes")
		return nil
	}
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		b.fault("scopes", "Not a list of scopes.")
		return nil
	}
	known := chat.Scopes()
	for _, s := range list {
		switch {
		case !slices.Contains(known, s):
			b.fault("scopes", `"`+printable(string(s))+`" is not a valid choice.`)
		case !d.allows(s):
			b.fault("scopes", "The API key lacks the scope "+string(s)+" itself.")
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// duration reads a number of seconds.
func (b *body) duration(name string, usual, most time.Duration) time.Duration {
	raw := b.get(name)
	if raw == nil {
		return usual
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > int64(most/time.Second) {
		b.fault(name, "Ensure this value is between 0 and "+strconv.FormatInt(int64(most/time.Second), 10)+".")
		return usual
	}
	return time.Duration(n) * time.Second
}

// moment reads a time.
func (b *body) moment(name string) (t time.Time) {
	s, given := b.text(name)
	if !given {
		return t
	}
	t, valid := parseTime(s)
	if !valid {
		b.fault(name, "Datetime has wrong format.")
	}
	return t
}

// POST admin/keys/
func (a *API) createKey(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	k := chat.APIKey{Tenant: b.tenant(string(c.admin.tenant)), Name: b.short("name", 255), Scopes: b.scopes(&c.admin), ExpiresAt: b.moment("expires_at")}
	if !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(a.cfg.Now()) {
		b.fault("expires_at", "Ensure this time is in the future.")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := c.admin.use(k.Tenant); res != nil {
		return *res
	}
	k, secret, err := a.cfg.Tenancy.CreateKey(ctx, c.admin.actor, k)
	if err != nil {
		return a.failure(err, texts{name: "create_key", write: true})
	}
	return response{status: http.StatusCreated, body: a.viewKey(&k, secret)}
}

// GET admin/keys/{id}/
func (a *API) getKey(ctx context.Context, c *call) response {
	k, err := a.cfg.Tenancy.FindKey(ctx, c.admin.tenant, c.r.PathValue("id"))
	if err != nil {
		return a.failure(err, texts{name: "get_key"})
	}
	return ok(a.viewKey(&k, ""))
}

// DELETE admin/keys/{id}/ revokes it.
func (a *API) revokeKey(ctx context.Context, c *call) response {
	if res := a.mayChange(ctx, c); res != nil {
		return *res
	}
	if err := a.cfg.Tenancy.RevokeKey(ctx, c.admin.actor, c.admin.tenant, c.r.PathValue("id")); err != nil {
		return a.failure(err, texts{name: "revoke_key", write: true})
	}
	return response{status: http.StatusNoContent}
}

// mayChange refuses a caller who lacks a scope of the key in the path: who rotates a key gets what it may do.
func (a *API) mayChange(ctx context.Context, c *call) *response {
	k, err := a.cfg.Tenancy.FindKey(ctx, c.admin.tenant, c.r.PathValue("id"))
	if err != nil {
		res := a.failure(err, texts{name: "get_key"})
		return &res
	}
	for _, s := range k.Scopes {
		if !c.admin.allows(s) {
			res := fail(http.StatusForbidden, "The API key lacks the scope "+string(s)+" itself.")
			return &res
		}
	}
	return nil
}

// POST admin/keys/{id}/rotate/
func (a *API) rotateKey(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	grace := b.duration("grace_seconds", defaultGrace, maxGrace)
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.mayChange(ctx, c); res != nil {
		return *res
	}
	k, secret, err := a.cfg.Tenancy.RotateKey(ctx, c.admin.actor, c.admin.tenant, c.r.PathValue("id"), grace)
	if err != nil {
		return a.failure(err, texts{name: "rotate_key", write: true})
	}
	return ok(a.viewKey(&k, secret))
}

// pathUser is the user in the path, who must be there.
func (a *API) pathUser(ctx context.Context, c *call) (chat.User, *response) {
	id, err := chat.ParseUserID(c.r.PathValue("id"))
	if err != nil {
		return chat.User{}, &notFound
	}
	u, found, err := a.stored(ctx, c.admin.tenant, id)
	if err != nil {
		res := a.failure(err, texts{name: "get_user"})
		return u, &res
	}
	if !found {
		return u, &notFound
	}
	return u, nil
}

type restrictionView struct {
	User          chat.UserID   `json:"user"`
	Tenant        chat.TenantID `json:"tenant"`
	Suspended     bool          `json:"suspended"`
	SuspendedAt   stamp         `json:"suspended_at"`
	Reason        *string       `json:"reason"`
	RevokedBefore stamp         `json:"tokens_revoked_before"`
}

func (a *API) restricted(x chat.Restriction, err error, name string) response {
	if err != nil {
		return a.failure(err, texts{name: name, write: true})
	}
	return ok(restrictionView{User: x.User, Tenant: x.Tenant, Suspended: x.Suspended, SuspendedAt: stamp(x.SuspendedAt), Reason: orNull(x.Reason),
		RevokedBefore: stamp(x.RevokedBefore)})
}

// pathKey is the key of the user in the path, who need not be there yet.
func pathKey(c *call) (chat.UserKey, *response) {
	id, err := chat.ParseUserID(c.r.PathValue("id"))
	if err != nil {
		return chat.UserKey{}, &notFound
	}
	return chat.UserKey{Tenant: c.admin.tenant, User: id}, nil
}

// POST admin/users/{id}/suspend/
func (a *API) suspendUser(ctx context.Context, c *call) response {
	k, bad := pathKey(c)
	if bad != nil {
		return *bad
	}
	why, bad := a.reason(c)
	if bad != nil {
		return *bad
	}
	x, err := a.cfg.Tenancy.SuspendUser(ctx, c.admin.actor, k, why)
	return a.restricted(x, err, "suspend_user")
}

// POST admin/users/{id}/resume/
func (a *API) resumeUser(ctx context.Context, c *call) response {
	k, bad := pathKey(c)
	if bad != nil {
		return *bad
	}
	x, err := a.cfg.Tenancy.ResumeUser(ctx, c.admin.actor, k)
	return a.restricted(x, err, "resume_user")
}

// POST admin/users/{id}/revoke_tokens/
func (a *API) revokeUserTokens(ctx context.Context, c *call) response {
	k, bad := pathKey(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	before := b.moment("before")
	now := a.cfg.Now()
	if before.IsZero() {
		before = now
	}
	if before.After(now.Add(time.Minute)) { // the clocks of two machines
		b.fault("before", "Ensure this time is not in the future.")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	x, err := a.cfg.Tenancy.RevokeUserTokens(ctx, c.admin.actor, k, before)
	return a.restricted(x, err, "revoke_tokens")
}

// POST admin/tokens/revoke/ takes a token, or its jti and, if known, its end.
func (a *API) revokeToken(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	now := a.cfg.Now()
	jti, byID := b.text("jti")
	until := b.moment("expires_at")
	token, given := b.text("token")
	switch {
	case len(b.errs) > 0:
	case given && !byID:
		claims, err := a.cfg.Verifier.VerifyContext(ctx, token)
		if errors.Is(err, chat.ErrSuspended) || errors.Is(err, chat.ErrTokenRevoked) {
			err = nil // a valid one all the same, and its user may be let in again
		}
		switch {
		case errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, chat.ErrUnauthorized):
			return a.failure(err, texts{name: "verify_token"})
		case err != nil || claims.ID == "":
			b.fault("token", "Not a valid access token with a jti.")
		case claims.Principal.Tenant != c.admin.tenant:
			if res := c.admin.use(claims.Principal.Tenant); res != nil {
				return *res
			}
		}
		jti, until = claims.ID, claims.Expires
		if most := now.Add(maxRevokeFor); until.After(most) {
			until = most
		}
	case !byID:
		b.missing("jti")
	case jti == "" || len(jti) > 256 || strings.ContainsRune(jti, 0):
		b.fault("jti", "A token id has 1 to 256 bytes.")
	}
	if until.IsZero() {
		until = now.Add(revokeFor)
	}
	if until.After(now.Add(maxRevokeFor)) {
		b.fault("expires_at", "Ensure this time is within ten years.")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if _, err := a.cfg.Tenancy.RevokeToken(ctx, c.admin.actor, c.admin.tenant, jti, until); err != nil {
		return a.failure(err, texts{name: "revoke_token", write: true})
	}
	return response{status: http.StatusNoContent}
}

type mintedView struct {
	Access    string `json:"access"`
	JTI       string `json:"jti"`
	ExpiresAt stamp  `json:"expires_at"`
}

// POST admin/tokens/ makes an access token for a user.
func (a *API) mintToken(ctx context.Context, c *call) response {
	if a.cfg.Mint == nil {
		return fail(http.StatusNotImplemented, "This server has no secret to sign tokens with.")
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	id, life := b.user("user_id"), b.duration("lifetime_seconds", defaultMint, maxMint)
	if res, bad := b.invalid(); bad {
		return res
	}
	u, found, err := a.stored(ctx, c.admin.tenant, id)
	if err != nil {
		return a.failure(err, texts{name: "get_user"})
	}
	if !found {
		return invalid("user_id", "User not found.")
	}
	now := a.cfg.Now()
	claims := auth.Claims{Principal: chat.Principal{Tenant: u.Tenant, User: u.ID, Username: u.Username}, User: u, IssuedAt: now,
		Expires: now.Add(life), ID: rand.Text()}
	err = a.cfg.Tenancy.Admit(claims.Pass())
	if errors.Is(err, chat.ErrTokenRevoked) {
		// All tokens up to now were revoked in this second, which is as exactly as a token says when it was issued.
		claims.IssuedAt = now.Truncate(time.Second).Add(time.Second)
		err = a.cfg.Tenancy.Admit(claims.Pass())
	}
	if errors.Is(err, chat.ErrTokenRevoked) {
		return fail(http.StatusConflict, "The tokens of the user are revoked up to a time that has not come yet.")
	}
	if err != nil {
		return a.failure(err, texts{name: "mint_token"})
	}
	token, err := a.cfg.Mint.Sign(claims, auth.Access)
	if err != nil {
		return a.failure(err, texts{name: "sign_token"})
	}
	a.audit(ctx, c, chat.ActionTokenMint, "ok", string(u.ID), claims.ID)
	return response{status: http.StatusCreated, body: mintedView{token, claims.ID, stamp(claims.Expires)}}
}

// POST admin/users/{id}/messages/ sends on behalf of a user: as POST messages/ does.
func (a *API) sendAs(ctx context.Context, c *call) response {
	u, bad := a.pathUser(ctx, c)
	if bad != nil {
		return *bad
	}
	c.p = chat.Principal{Tenant: u.Tenant, User: u.ID, Username: u.Username}
	c.user = u
	if err := a.cfg.Tenancy.Admit(auth.Pass{User: c.p.Key(), Issued: 1<<32 - 1}); err != nil {
		return a.failure(err, texts{name: "send"})
	}
	return a.sendMessage(ctx, c)
}
