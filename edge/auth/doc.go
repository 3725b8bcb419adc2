// Package auth turns credentials into principals: JSON Web Tokens (RFC 7519) into a chat.Principal, API keys
// into a yes or no, the Origin header into permission to use a cookie.
//
// Invariants:
//   - A key is used with the one algorithm of its kind (HS256, RS256, ES256, EdDSA) and no other, so that no
//     public key is ever a secret, and "none" is never an algorithm.
//   - A token without exp is refused; an expired one is told apart (chat.ErrTokenExpired).
//   - No error and no log line holds a token, a key, or anything that a token claims.
//
// The package must not know frames, routes, sessions or storage.
//
// Goroutines: a Verifier with a JWKS URL owns one, which is the only one that talks to the network; Close stops
// it and waits.
package auth
