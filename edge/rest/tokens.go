package rest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/mail"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// DevTokens make the tokens of the development mode, in which any password is right.
type DevTokens struct {
	Signer   Signer          // required
	Refresh  RefreshVerifier // required
	Refused  RefusedTokens   // required
	Access   time.Duration   // life of an access token; default 1 h
	Lifetime time.Duration   // life of a refresh token; default 7 days
}

// Signer makes tokens. *auth.Signer is one.
type Signer interface {
	Sign(c auth.Claims, typ string) (string, error)
}

// RefreshVerifier checks refresh tokens. *auth.Verifier is one.
type RefreshVerifier interface {
	VerifyRefresh(ctx context.Context, token string) (auth.Claims, error)
}

// RefusedTokens is the list of refresh tokens that are refused before they expire: used up, or revoked. It is
// durable and keeps a token at least as long as one lives.
type RefusedTokens interface {
	// RefuseToken puts a token's jti on the list and reports whether it is new there: of several calls at once,
	// one is told so.
	RefuseToken(ctx context.Context, tenant chat.TenantID, id string, at time.Time) (fresh bool, err error)
	TokenRefused(ctx context.Context, tenant chat.TenantID, id string) (bool, error)
}

type tokenPair struct {
	Refresh string `json:"refresh"`
	Access  string `json:"access"`
}

// POST auth/token/: username is the user's id.
func (a *API) obtainToken(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	name := b.required("username")
	b.required("password") // whatever it is
	var u chat.User
	var err error
	if len(b.errs["username"]) == 0 {
		if u.ID, err = chat.ParseUserID(name); err != nil {
			b.fault("username", "A user id has 1 to 128 bytes, without spaces and control characters.")
		}
	}
	u.Tenant = b.tenant("")
	b.profile(&u)
	if res, bad := b.invalid(); bad {
		return res
	}
	u.Username = string(u.ID)
	now := a.cfg.Now().UTC().Truncate(time.Microsecond)
	u.CreatedAt, u.UpdatedAt = now, now
	stored, created, err := a.cfg.Users.CreateUser(ctx, u)
	if err != nil {
		return a.failure(err, texts{name: "create_user", write: true})
	}
	if !created && overlay(&stored, u) {
		stored.UpdatedAt = now
		if err := a.cfg.Users.PutUser(ctx, stored); err != nil {
			return a.failure(err, texts{name: "put_user", write: true})
		}
	}
	a.profiles.forget(chat.UserKey{Tenant: u.Tenant, User: u.ID})
	return a.pair(stored)
}

// overlay puts the fields that u names over those stored, and reports whether that changed anything.
func overlay(stored *chat.User, u chat.User) (changed bool) {
	for _, f := range []struct {
		to   *string
		from string
	}{{&stored.Email, u.Email}, {&stored.FirstName, u.FirstName}, {&stored.LastName, u.LastName}} {
		if f.from != "" && *f.to != f.from {
			*f.to, changed = f.from, true
		}
	}
	return changed
}

func (a *API) pair(u chat.User) response {
	d := a.cfg.Dev
	now := a.cfg.Now()
	claims := auth.Claims{
		Principal: chat.Principal{Tenant: u.Tenant, User: u.ID, Username: u.Username},
		IssuedAt:  now,
		User:      u,
	}
	var pair tokenPair
	for _, t := range []struct {
		typ  string
		life time.Duration
		to   *string
	}{
		{auth.Refresh, orDefault(d.Lifetime, 7*24*time.Hour), &pair.Refresh},
		{auth.Access, orDefault(d.Access, time.Hour), &pair.Access},
	} {
		claims.ID, claims.Expires = rand.Text(), now.Add(t.life)
		token, err := d.Signer.Sign(claims, t.typ)
		if err != nil {
			return a.failure(err, texts{name: "sign_token"})
		}
		*t.to = token
	}
	return ok(pair)
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

var expiredToken = response{
	status: http.StatusUnauthorized,
	body:   codeDetail{"Token is invalid or expired", "token_not_valid"},
	header: map[string]string{"WWW-Authenticate": challenge},
}

const blacklisted = "Token is blacklisted"

// useUp uses a refresh token up, or answers why it cannot be: it is none, or it was used up before.
func (a *API) useUp(ctx context.Context, token string) (auth.Claims, *response) {
	claims, err := a.cfg.Dev.Refresh.VerifyRefresh(ctx, token)
	if errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, chat.ErrUnauthorized) {
		res := a.failure(err, texts{name: "verify_token"})
		return claims, &res
	}
	if err != nil || !listable(claims) {
		return claims, &expiredToken
	}
	fresh, err := a.cfg.Dev.Refused.RefuseToken(ctx, claims.Principal.Tenant, claims.ID, a.cfg.Now().UTC().Truncate(time.Microsecond))
	switch {
	case err != nil:
		res := a.failure(err, texts{name: "refuse_token", write: true})
		return claims, &res
	case !fresh:
		return claims, &response{status: http.StatusUnauthorized, body: codeDetail{blacklisted, "token_not_valid"},
			header: map[string]string{"WWW-Authenticate": challenge}}
	}
	return claims, nil
}

// listable reports whether a refresh token has an id that the list can hold: one without could not be revoked.
func listable(c auth.Claims) bool { return c.ID != "" && len(c.ID) <= 256 }

// POST auth/token/blacklist/: the refresh token is not accepted any more.
func (a *API) blacklistToken(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	token := b.required("refresh")
	if res, bad := b.invalid(); bad {
		return res
	}
	if _, res := a.useUp(ctx, token); res != nil {
		return *res
	}
	return ok(struct{}{})
}

// POST auth/token/refresh/: a new pair for a refresh token, which is used up.
func (a *API) refreshToken(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	token := b.required("refresh")
	if res, bad := b.invalid(); bad {
		return res
	}
	claims, refused := a.useUp(ctx, token)
	if refused != nil {
		return *refused
	}
	return a.pair(claims.User)
}

// POST auth/token/verify/: is this token, of either type, valid?
func (a *API) verifyToken(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	token := b.required("token")
	if res, bad := b.invalid(); bad {
		return res
	}
	if _, err := a.cfg.Verifier.VerifyContext(ctx, token); err != nil {
		claims, err := a.cfg.Dev.Refresh.VerifyRefresh(ctx, token)
		if err != nil || !listable(claims) {
			return expiredToken
		}
		refused, err := a.cfg.Dev.Refused.TokenRefused(ctx, claims.Principal.Tenant, claims.ID)
		switch {
		case err != nil:
			return a.failure(err, texts{name: "verify_token"})
		case refused:
			return invalid(nonField, blacklisted)
		}
	}
	return ok(struct{}{})
}

// tenant is the optional field, or what the query named.
func (b *body) tenant(query string) chat.TenantID {
	s, given := b.text("tenant")
	if !given {
		s = query
	}
	t, err := chat.ParseTenantID(s)
	if err != nil {
		b.fault("tenant", badTenant)
	}
	return t
}

const badTenant = "A tenant has 1 to 64 letters, digits, '.', '_' or '-'."

// profile reads the optional fields that describe a user.
func (b *body) profile(u *chat.User) {
	u.Email = b.short("email", 254)
	u.FirstName = b.short("first_name", auth.MaxUsername)
	u.LastName = b.short("last_name", auth.MaxUsername)
	if u.Email != "" && len(b.errs["email"]) == 0 {
		if m, err := mail.ParseAddress(u.Email); err != nil || m.Address != u.Email {
			b.fault("email", "Enter a valid email address.")
		}
	}
}
