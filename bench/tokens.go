package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// signToken makes what an identity provider would: an access token for user n of the tenant "bench".
func signToken(secret []byte, n int) (string, error) {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	return jwt.Signed(s).Claims(map[string]any{
		"user_id": userID(n), "username": "user" + strconv.Itoa(n), "tenant": "bench", "token_type": "access",
		"exp": time.Now().Add(12 * time.Hour).Unix(),
	}).Serialize()
}

func userID(n int) int { return 1000 + n }

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}
