package auth

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/zumodra/hub/chat"
)

// Pass is what remains of a token once a session is open: enough to find out later that it was revoked.
type Pass struct {
	User   chat.UserKey
	Issued uint32 // Unix seconds; 0 if the token does not say
	Token  uint64 // TokenHash of its jti; 0 if it has none
}

// Pass of the token that the claims are from.
func (c *Claims) Pass() Pass {
	p := Pass{User: c.Principal.Key()}
	if !c.IssuedAt.IsZero() {
		p.Issued = uint32(min(max(c.IssuedAt.Unix(), 0), 1<<32-1))
	}
	if c.ID != "" {
		p.Token = TokenHash(c.Principal.Tenant, c.ID)
	}
	return p
}

// TokenHash stands for a token's jti in memory. It is never 0.
func TokenHash(tenant chat.TenantID, id string) uint64 {
	sum := sha256.Sum256([]byte(string(tenant) + "\x00" + id))
	return binary.BigEndian.Uint64(sum[:]) | 1
}
