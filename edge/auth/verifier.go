package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/zumodra/hub/chat"
)

// MaxToken is the longest token that is looked at, in bytes.
const MaxToken = 8192

// DefaultLeeway is how far the clocks of the issuer and of the hub may differ for nbf and iat.
const DefaultLeeway = 30 * time.Second

// Token types, the claim token_type. A token that names none is an access token.
const (
	Access  = "access"
	Refresh = "refresh"
)

// Config says which tokens to trust. At least one kind of key is needed.
type Config struct {
	// SecretFiles hold HS256 secrets of at least MinSecret bytes, one per file; a final newline is not part of
	// it. Several make a rotation possible: all of them verify.
	SecretFiles []string
	// Secrets are HS256 secrets already in memory.
	Secrets [][]byte
	// PublicKeyFiles hold PEM blocks: PKIX public keys, PKCS #1 RSA public keys or certificates.
	PublicKeyFiles []string

	// JWKSURL serves a JSON Web Key Set (RFC 7517). It is https, or http to a loopback address, unless
	// AllowInsecureJWKS is set.
	JWKSURL           string
	AllowInsecureJWKS bool
	// JWKSRefresh is how often the set is fetched anew; default 10 min.
	JWKSRefresh time.Duration
	// JWKSMinInterval is the least time between two fetches that unknown key ids ask for; default 10 s.
	JWKSMinInterval time.Duration
	// JWKSTimeout bounds one fetch; default 10 s.
	JWKSTimeout time.Duration
	// HTTPClient fetches the set; default: a client of its own. Timeouts and sizes are bounded in any case.
	HTTPClient *http.Client

	// Issuer and Audience are required of every token if not empty.
	Issuer   string
	Audience string
	// Leeway for nbf and iat; default DefaultLeeway, negative: none. exp has none: a session ends at exp.
	Leeway time.Duration

	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	cfg    Config
	static []key
	jwks   *keySet // nil without a URL
}

// New loads the keys of cfg and, with a JWKS URL, starts the goroutine that fetches that set: New does not wait
// for it. The caller closes the Verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Leeway == 0:
		cfg.Leeway = DefaultLeeway
	case cfg.Leeway < 0:
		cfg.Leeway = 0
	}
	v := &Verifier{cfg: cfg}
	for _, s := range cfg.Secrets {
		if err := checkSecret(s); err != nil {
			return nil, err
		}
		v.static = append(v.static, key{alg: jose.HS256, material: s})
	}
	for _, path := range cfg.SecretFiles {
		s, err := LoadSecret(path)
		if err != nil {
			return nil, err
		}
		v.static = append(v.static, key{alg: jose.HS256, material: s})
	}
	for _, path := range cfg.PublicKeyFiles {
		keys, err := loadPublicKeys(path)
		if err != nil {
			return nil, err
		}
		v.static = append(v.static, keys...)
	}
	if cfg.JWKSURL != "" {
		s, err := newKeySet(cfg)
		if err != nil {
			return nil, err
		}
		v.jwks = s
	}
	if len(v.static) == 0 && v.jwks == nil {
		return nil, errors.New("auth: no key is configured: give a secret file, a public key file or a JWKS URL")
	}
	return v, nil
}

// Close stops fetching keys and waits until that has ended. Verify goes on working with the keys at hand.
func (v *Verifier) Close() {
	if v.jwks != nil {
		v.jwks.close()
	}
}

// Verify checks an access token without ever waiting for the network. The error is chat.ErrUnauthorized, of
// which chat.ErrTokenExpired is a kind, or chat.ErrUnavailable: the token names a key that is not known yet and
// a fetch is under way. VerifyContext waits for it.
func (v *Verifier) Verify(token string) (Claims, error) {
	c, _, err := v.verify(token, Access)
	return c, err
}

// VerifyContext is Verify, but waits for one fetch of the key set if the token names an unknown key: so the
// first token after a rotation of keys works.
func (v *Verifier) VerifyContext(ctx context.Context, token string) (Claims, error) {
	return v.verifyContext(ctx, token, Access)
}

// VerifyRefresh is VerifyContext for a refresh token.
func (v *Verifier) VerifyRefresh(ctx context.Context, token string) (Claims, error) {
	return v.verifyContext(ctx, token, Refresh)
}

func (v *Verifier) verifyContext(ctx context.Context, token, typ string) (Claims, error) {
	c, fetched, err := v.verify(token, typ)
	if fetched == nil {
		return c, err
	}
	select {
	case <-fetched:
	case <-ctx.Done():
		return Claims{}, fmt.Errorf("waiting for the key set: %w: %w", chat.ErrUnavailable, ctx.Err())
	}
	c, _, err = v.verify(token, typ)
	return c, err
}

var allAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA}

// canonical reports whether the parts of a token are base64url in its one spelling (RFC 7515 §2, RFC 4648 §3.5). Go's decoder
// skips line breaks and the bits of a last digit that stand for nothing, and one token would have many spellings.
func canonical(token string) bool {
	if strings.ContainsAny(token, "\r\n") {
		return false
	}
	var buf [3]byte
	for part := range strings.SplitSeq(token, ".") {
		// Whole groups of four digits have one spelling each.
		tail := part[len(part)/4*4:]
		if _, err := base64.RawURLEncoding.Strict().Decode(buf[:], []byte(tail)); err != nil {
			return false
		}
	}
	return true
}

// verify returns a channel that is closed when a fetch ends, if that fetch may change the answer.
func (v *Verifier) verify(token, typ string) (Claims, <-chan struct{}, error) {
	if token == "" || len(token) > MaxToken {
		return Claims{}, nil, unauthorized("token is missing or too long")
	}
	if !canonical(token) {
		return Claims{}, nil, unauthorized("token is malformed or its algorithm is not accepted")
	}
	// The list only keeps exotic algorithms out; what protects is that candidates below match by algorithm.
	tok, err := jwt.ParseSigned(token, allAlgorithms)
	if err != nil || len(tok.Headers) != 1 {
		return Claims{}, nil, unauthorized("token is malformed or its algorithm is not accepted")
	}
	h := tok.Headers[0]
	alg := jose.SignatureAlgorithm(h.Algorithm)
	for i := range v.static {
		if k := &v.static[i]; k.alg == alg {
			var raw rawClaims
			if tok.Claims(k.material, &raw) == nil {
				c, err := v.check(&raw, typ)
				return c, nil, err
			}
		}
	}
	if v.jwks == nil || alg == jose.HS256 {
		return Claims{}, nil, unauthorized("signature does not verify")
	}
	known := false
	for _, k := range v.jwks.load() {
		if k.alg != alg || (h.KeyID != "" && k.id != "" && k.id != h.KeyID) {
			continue
		}
		known = true
		var raw rawClaims
		if tok.Claims(k.material, &raw) == nil {
			c, err := v.check(&raw, typ)
			return c, nil, err
		}
	}
	if known {
		return Claims{}, nil, unauthorized("signature does not verify")
	}
	if fetched := v.jwks.want(); fetched != nil {
		return Claims{}, fetched, fmt.Errorf("%w: the key of the token is being fetched", chat.ErrUnavailable)
	}
	if !v.jwks.fresh() {
		return Claims{}, nil, fmt.Errorf("%w: the key set cannot be fetched", chat.ErrUnavailable)
	}
	return Claims{}, nil, unauthorized("key of the token is unknown")
}

func unauthorized(why string) error { return fmt.Errorf("%w: %s", chat.ErrUnauthorized, why) }
