package rest

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/tenancy"
)

const (
	csrfCookie = "csrftoken"
	csrfHeader = "X-CSRFToken"
	challenge  = `Bearer realm="api"`
)

// authenticate finds and checks the caller's access token, which is a header's or a cookie's, and knows the
// caller from then on. It answers the response of a refusal, else nil.
func (a *API) authenticate(ctx context.Context, c *call) *response {
	// No ?token= here: URLs end up in logs and histories, and whoever speaks HTTP can set a header.
	token, source := auth.FromRequest(c.r.Header, "", a.cfg.SessionCookie)
	if source != auth.SourceHeader && source != auth.SourceCookie {
		res := fail(http.StatusUnauthorized, "Authentication credentials were not provided.")
		res.header = map[string]string{"WWW-Authenticate": challenge}
		return &res
	}
	claims, err := a.cfg.Verifier.VerifyContext(ctx, token)
	if err != nil {
		res := a.failure(err, texts{name: "authenticate"})
		return &res
	}
	c.p, c.source = claims.Principal, source
	if c.user, err = a.introduce(ctx, claims.User); err != nil {
		res := a.failure(err, texts{name: "introduce_user"})
		return &res
	}
	// A token that names no user name leaves the one that an operator may have written.
	if c.p.Username == string(c.p.User) && c.user.Username != "" {
		c.p.Username = c.user.Username
	}
	if source.Ambient() {
		a.offerCSRF(c)
	}
	return nil
}

func badToken() response {
	return response{
		status: http.StatusUnauthorized,
		body:   codeDetail{"Given token not valid for any token type", "token_not_valid"},
		header: map[string]string{"WWW-Authenticate": challenge},
	}
}

// introduce stores a user whom only the token knows so far. What is stored already stays.
func (a *API) introduce(ctx context.Context, u chat.User) (chat.User, error) {
	k := chat.UserKey{Tenant: u.Tenant, User: u.ID}
	now := a.cfg.Now()
	if known, ok := a.profiles.get(k, now); ok {
		return known, nil
	}
	u.CreatedAt = now.UTC().Truncate(time.Microsecond)
	u.UpdatedAt = u.CreatedAt
	stored, _, err := a.cfg.Users.CreateUser(ctx, u)
	if err != nil {
		return chat.User{}, err
	}
	a.profiles.put(k, stored, now)
	return stored, nil
}

// offerCSRF gives a page that works with a cookie the token to echo, if it has none.
func (a *API) offerCSRF(c *call) {
	if _, err := c.r.Cookie(csrfCookie); !errors.Is(err, http.ErrNoCookie) {
		return
	}
	http.SetCookie(c.w, &http.Cookie{
		Name: csrfCookie, Value: rand.Text(), Path: "/", SameSite: http.SameSiteLaxMode,
		Secure: a.secure(c.r), MaxAge: 365 * 24 * 3600,
	})
}

// crossSite refuses an unsafe request that came with nothing but a cookie, which a browser sends along with
// requests that a foreign page made (requirement 116). It passes if the page is of this host or an allowed
// one, which the browser says in Origin or Sec-Fetch-Site, or if it could read the csrftoken cookie, which a
// foreign page cannot.
func (a *API) crossSite(r *http.Request) *response {
	if a.cfg.Origins.Allowed(r.Header.Get("Origin"), r.Host, auth.SourceCookie) {
		return nil
	}
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		return nil
	}
	sent := r.Header.Get(csrfHeader)
	cookie, err := r.Cookie(csrfCookie)
	switch {
	case err != nil || cookie.Value == "":
		res := fail(http.StatusForbidden, "CSRF Failed: CSRF cookie not set.")
		return &res
	case sent == "":
		res := fail(http.StatusForbidden, "CSRF Failed: CSRF token missing.")
		return &res
	case subtle.ConstantTimeCompare([]byte(sent), []byte(cookie.Value)) != 1:
		res := fail(http.StatusForbidden, "CSRF Failed: CSRF token incorrect.")
		return &res
	}
	return nil
}

// exposed are the headers of responses that pages of other hosts may read.
const exposed = "Retry-After, Location, Content-Disposition, Content-Range, Upload-Offset, Upload-Length, Upload-Expires, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size"

// cors lets the pages of the allowed origins read responses, and answers their preflight.
func (a *API) cors(w http.ResponseWriter, r *http.Request, allow string) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	switch {
	case origin == "":
		return
	case a.cfg.Origins.Allowed(origin, r.Host, auth.SourceCookie):
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	case a.cfg.Origins.Allowed(origin, r.Host, auth.SourceHeader):
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		return
	}
	h.Set("Access-Control-Expose-Headers", exposed)
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", allow)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-CSRFToken, "+tusHeaders)
		h.Set("Access-Control-Max-Age", "600")
	}
}

// admin is who calls the administrative API.
type admin struct {
	actor  chat.Actor
	key    *chat.APIKey // nil: a key of the operator's file, which may do everything
	tenant chat.TenantID
}

// allows reports whether the caller has a scope.
func (d *admin) allows(s chat.Scope) bool { return d.key == nil || d.key.Allows(s) }

// operator reports whether the caller may do everything, of every tenant.
func (d *admin) operator() bool { return d.allows(chat.ScopeTenants) }

// authenticateOperator checks the API key: one of the operator's file, or of a tenant's.
func (a *API) authenticateOperator(ctx context.Context, c *call) *response {
	key := c.r.Header.Get("X-API-Key")
	if scheme, rest, ok := strings.Cut(c.r.Header.Get("Authorization"), " "); ok {
		rest = strings.TrimSpace(rest)
		if strings.EqualFold(scheme, "Api-Key") || strings.EqualFold(scheme, "Bearer") && strings.HasPrefix(rest, tenancy.KeyPrefix) {
			key = rest
		}
	}
	text := "Invalid API key."
	switch {
	case key == "":
		text = "Authentication credentials were not provided."
	case a.cfg.APIKeys != nil && a.cfg.APIKeys.Valid(key):
		c.admin = admin{actor: chat.Actor{Kind: chat.ActorOperator}, tenant: chat.DefaultTenant}
		return nil
	case a.cfg.Tenancy != nil && strings.HasPrefix(key, tenancy.KeyPrefix):
		k, err := a.cfg.Tenancy.Key(ctx, key)
		if err == nil {
			c.admin = admin{actor: chat.Actor{Kind: chat.ActorKey, ID: k.ID}, key: &k, tenant: k.Tenant}
			return nil
		}
		if !errors.Is(err, chat.ErrUnauthorized) {
			res := a.failure(err, texts{name: "authenticate"})
			return &res
		}
	}
	res := fail(http.StatusUnauthorized, text)
	res.header = map[string]string{"WWW-Authenticate": `Api-Key realm="admin"`}
	return &res
}

// scoped is a handler for callers with a scope. It knows the tenant that the query names, by default the key's own.
func scoped(s chat.Scope, h handler) handler {
	return func(a *API, ctx context.Context, c *call) response {
		if !c.admin.allows(s) {
			return fail(http.StatusForbidden, "The API key lacks the scope "+string(s)+".")
		}
		if name := c.r.URL.Query().Get("tenant"); name != "" {
			t, err := chat.ParseTenantID(name)
			if err != nil {
				return invalid("tenant", badTenant)
			}
			if res := c.admin.use(t); res != nil {
				return *res
			}
		}
		return h(a, ctx, c)
	}
}

// use makes a tenant the one that the request is about.
func (d *admin) use(t chat.TenantID) *response {
	if t != d.tenant && !d.operator() {
		res := fail(http.StatusForbidden, "The API key is of another tenant.")
		return &res
	}
	d.tenant = t
	return nil
}

// profiles remembers for a short while how callers are stored, so that a request does not cost a read. It
// holds at most two generations of profileGeneration entries. The zero value is ready.
type profiles struct {
	mu       sync.Mutex
	cur, old map[chat.UserKey]profile
}

type profile struct {
	user  chat.User
	until time.Time
}

const (
	profileGeneration = 4096
	profileTTL        = time.Minute
)

func (c *profiles) get(k chat.UserKey, now time.Time) (chat.User, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.cur[k]
	if !ok {
		p, ok = c.old[k]
	}
	return p.user, ok && now.Before(p.until)
}

func (c *profiles) put(k chat.UserKey, u chat.User, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil || len(c.cur) >= profileGeneration {
		c.old, c.cur = c.cur, make(map[chat.UserKey]profile)
	}
	c.cur[k] = profile{u, now.Add(profileTTL)}
}

func (c *profiles) forget(k chat.UserKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cur, k)
	delete(c.old, k)
}
