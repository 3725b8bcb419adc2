package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/zumodra/hub/chat"
)

// Bounds of what a token may say about its user, in code points. Longer values are cut.
const (
	MaxUsername = 150
	MaxProfile  = 254
)

// Claims are what a verified token says.
type Claims struct {
	Principal chat.Principal
	Expires   time.Time
	IssuedAt  time.Time // zero if the token does not say
	ID        string    // jti
	// User is the principal with its profile, as the token introduces it. Fields that the token does not name
	// are empty; CreatedAt and UpdatedAt are.
	User chat.User
}

// rawClaims is the payload of a token as it came. Values of a wrong type fail the token: an issuer that says
// something else than it means should be noticed.
type rawClaims struct {
	UserID    json.RawMessage  `json:"user_id"`
	Subject   string           `json:"sub"`
	Tenant    string           `json:"tenant"`
	Issuer    string           `json:"iss"`
	Audience  jwt.Audience     `json:"aud"`
	Expiry    *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	ID        string           `json:"jti"`
	TokenType string           `json:"token_type"`

	Username          string `json:"username"`
	PreferredUsername string `json:"preferred_username"`
	Email             string `json:"email"`
	FirstName         string `json:"first_name"`
	GivenName         string `json:"given_name"`
	LastName          string `json:"last_name"`
	FamilyName        string `json:"family_name"`
	Name              string `json:"name"`
}

// date keeps dates inside what RFC 3339 can write, so that no arithmetic on them can overflow.
func date(d jwt.NumericDate) time.Time {
	return time.Unix(int64(min(max(d, 0), 253402300799)), 0).UTC()
}

func (v *Verifier) check(raw *rawClaims, typ string) (Claims, error) {
	now := v.cfg.Now()
	if raw.Expiry == nil {
		return Claims{}, unauthorized("token has no exp")
	}
	expires := date(*raw.Expiry)
	if !now.Before(expires) {
		return Claims{}, fmt.Errorf("%w: %w", chat.ErrUnauthorized, chat.ErrTokenExpired)
	}
	if d := raw.NotBefore; d != nil && now.Add(v.cfg.Leeway).Before(date(*d)) {
		return Claims{}, unauthorized("token is not valid yet")
	}
	if d := raw.IssuedAt; d != nil && now.Add(v.cfg.Leeway).Before(date(*d)) {
		return Claims{}, unauthorized("token was issued in the future")
	}
	if got := raw.TokenType; got != typ && !(got == "" && typ == Access) {
		return Claims{}, unauthorized("token is not of the type " + typ)
	}
	if v.cfg.Issuer != "" && raw.Issuer != v.cfg.Issuer {
		return Claims{}, unauthorized("token is of another issuer")
	}
	if v.cfg.Audience != "" && !slices.Contains(raw.Audience, v.cfg.Audience) {
		return Claims{}, unauthorized("token is for another audience")
	}
	var user chat.UserID
	if len(raw.UserID) > 0 && string(raw.UserID) != "null" {
		if user.UnmarshalJSON(raw.UserID) != nil {
			return Claims{}, unauthorized("token has an unusable user_id")
		}
	} else {
		var err error
		if user, err = chat.ParseUserID(raw.Subject); err != nil {
			return Claims{}, unauthorized("token has neither user_id nor a usable sub")
		}
	}
	tenant, err := chat.ParseTenantID(raw.Tenant)
	if err != nil {
		return Claims{}, unauthorized("token has an unusable tenant")
	}
	u := chat.User{
		Tenant:    tenant,
		ID:        user,
		Username:  clean(first(raw.Username, raw.PreferredUsername), MaxUsername),
		Email:     clean(raw.Email, MaxProfile),
		FirstName: clean(first(raw.FirstName, raw.GivenName), MaxUsername),
		LastName:  clean(first(raw.LastName, raw.FamilyName), MaxUsername),
	}
	if u.FirstName == "" && u.LastName == "" {
		u.FirstName = clean(raw.Name, MaxUsername)
	}
	if u.Username == "" {
		u.Username = string(user)
	}
	c := Claims{
		Principal: chat.Principal{Tenant: tenant, User: user, Username: u.Username},
		Expires:   expires,
		ID:        raw.ID,
		User:      u,
	}
	if d := raw.IssuedAt; d != nil {
		c.IssuedAt = date(*d)
	}
	return c, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// clean drops what cannot be shown (control characters, directional overrides) and cuts to n code points.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return strings.TrimSpace(chat.Truncate(strings.TrimSpace(s), n))
}
