package auth

import (
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/zumodra/hub/chat"
)

// Signer makes HS256 tokens that a Verifier with the same secret accepts. It is safe for concurrent use.
type Signer struct{ signer jose.Signer }

// NewSigner returns a Signer for a secret of at least MinSecret bytes.
func NewSigner(secret []byte) (*Signer, error) {
	if err := checkSecret(secret); err != nil {
		return nil, err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("auth: making a signer: %w", err)
	}
	return &Signer{s}, nil
}

type signedClaims struct {
	TokenType string           `json:"token_type"`
	Expiry    *jwt.NumericDate `json:"exp"`
	IssuedAt  *jwt.NumericDate `json:"iat"`
	ID        string           `json:"jti,omitempty"`
	UserID    chat.UserID      `json:"user_id"`
	Tenant    chat.TenantID    `json:"tenant,omitempty"`
	Username  string           `json:"username,omitempty"`
	Email     string           `json:"email,omitempty"`
	FirstName string           `json:"first_name,omitempty"`
	LastName  string           `json:"last_name,omitempty"`
}

// Sign makes a token of type Access or Refresh. Expires and Principal.User are needed; a zero IssuedAt is now.
// user_id is a number if the id is an integer, as the system that the hub replaces writes it.
func (s *Signer) Sign(c Claims, typ string) (string, error) {
	if typ != Access && typ != Refresh {
		return "", fmt.Errorf("auth: signing: %w: unknown token type", chat.ErrInvalid)
	}
	if c.Principal.User == "" || c.Expires.IsZero() {
		return "", fmt.Errorf("auth: signing: %w: a token needs a user and an expiry", chat.ErrInvalid)
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = time.Now()
	}
	tok, err := jwt.Signed(s.signer).Claims(signedClaims{
		TokenType: typ,
		Expiry:    jwt.NewNumericDate(c.Expires),
		IssuedAt:  jwt.NewNumericDate(c.IssuedAt),
		ID:        c.ID,
		UserID:    c.Principal.User,
		Tenant:    c.Principal.Tenant,
		Username:  first(c.Principal.Username, c.User.Username),
		Email:     c.User.Email,
		FirstName: c.User.FirstName,
		LastName:  c.User.LastName,
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("auth: signing: %w", err)
	}
	return tok, nil
}
