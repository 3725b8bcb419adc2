package rest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// A signed URL lets whoever has it do what one user may do with one file, for a while: a browser's <img> sends no header.
// It says for whom it was signed, so that the user's membership still decides (invariant I5): who was removed from the
// conversation has no use of it any more, nor has who was suspended, or whose tokens were revoked since.

// signature is over everything that the URL grants, each part behind its length.
func (a *API) signature(p chat.Principal, id chat.FileID, expires int64) []byte {
	h := hmac.New(sha256.New, a.cfg.FileKey)
	var n [8]byte
	for _, s := range [...]string{"hub file url 1", string(p.Tenant), string(p.User), string(id[:])} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		_, _ = h.Write(n[:]) // a hash takes everything
		_, _ = h.Write([]byte(s))
	}
	binary.BigEndian.PutUint64(n[:], uint64(expires))
	_, _ = h.Write(n[:])
	return h.Sum(nil)
}

// signed is the absolute URL of a path of the file, for this caller and no longer than FileURLTTL.
func (a *API) signed(c *call, path string, id chat.FileID) string {
	expires := a.cfg.Now().Add(a.cfg.FileURLTTL).Unix()
	q := url.Values{"tenant": {string(c.p.Tenant)}, "user": {string(c.p.User)}, "expires": {strconv.FormatInt(expires, 10)},
		"signature": {base64.RawURLEncoding.EncodeToString(a.signature(c.p, id, expires))}}
	return a.base(c.r) + path + "?" + q.Encode()
}

// authenticateLink is authenticate for a request that may carry a signature in its URL instead of a token.
func (a *API) authenticateLink(ctx context.Context, c *call) *response {
	q := c.r.URL.Query()
	if !q.Has("signature") {
		return a.authenticate(ctx, c)
	}
	refused := fail(http.StatusForbidden, "The link is not valid or has expired.")
	given, err := base64.RawURLEncoding.Strict().DecodeString(q.Get("signature"))
	if err != nil {
		return &refused
	}
	tenant, terr := chat.ParseTenantID(q.Get("tenant"))
	user, uerr := chat.ParseUserID(q.Get("user"))
	expires, eerr := strconv.ParseInt(q.Get("expires"), 10, 64)
	id, ierr := chat.ParseFileID(c.r.PathValue("id"))
	if terr != nil || uerr != nil || eerr != nil || ierr != nil {
		return &refused
	}
	p := chat.Principal{Tenant: tenant, User: user, Username: string(user)}
	if !hmac.Equal(given, a.signature(p, id, expires)) || !a.cfg.Now().Before(time.Unix(expires, 0)) {
		return &refused
	}
	if a.cfg.Tenancy != nil {
		// Whoever has the link need not be the user, and is not told why.
		signed := time.Unix(expires, 0).Add(-a.cfg.FileURLTTL).Unix()
		if a.cfg.Tenancy.Admit(auth.Pass{User: p.Key(), Issued: uint32(min(max(signed, 0), 1<<32-1))}) != nil {
			return &refused
		}
	}
	c.p = p
	return nil
}
