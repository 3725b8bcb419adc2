package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")
	now    = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
)

func fixed() time.Time { return now }

// sign makes a token of any claims, with the real thing or with a forger's choice of key and algorithm.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if kid != "" {
		o = o.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func claims(more map[string]any) map[string]any {
	m := map[string]any{"user_id": 7, "exp": now.Add(time.Hour).Unix(), "token_type": "access"}
	for k, v := range more {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

func pemFile(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func verifier(t testing.TB, cfg auth.Config) *auth.Verifier {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = fixed
	}
	v, err := auth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestReq027_OnlyValidTokensOpen(t *testing.T) {
	v := verifier(t, auth.Config{Secrets: [][]byte{secret}})
	hs := func(m map[string]any) string { return sign(t, jose.HS256, secret, "", claims(m)) }
	other := []byte("another secret of sufficient len")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"user_id":1,"exp":99999999999}`)) + "."
	for _, c := range []struct {
		name, token string
		want        error // nil: accepted
		expired     bool
	}{
		{name: "good", token: hs(nil)},
		{name: "no token_type is access", token: hs(map[string]any{"token_type": nil})},
		{name: "sub instead of user_id", token: hs(map[string]any{"user_id": nil, "sub": "alice"})},
		{name: "nbf within leeway", token: hs(map[string]any{"nbf": now.Add(29 * time.Second).Unix()})},
		{name: "iat within leeway", token: hs(map[string]any{"iat": now.Add(29 * time.Second).Unix()})},
		{name: "fractional dates", token: hs(map[string]any{"exp": float64(now.Unix()) + 10.5})},
		{name: "empty", token: "", want: chat.ErrUnauthorized},
		{name: "garbage", token: "a.b.c", want: chat.ErrUnauthorized},
		{name: "none", token: unsigned, want: chat.ErrUnauthorized},
		{name: "expired", token: hs(map[string]any{"exp": now.Unix()}), want: chat.ErrUnauthorized, expired: true},
		{name: "no exp", token: hs(map[string]any{"exp": nil}), want: chat.ErrUnauthorized},
		{name: "exp is a string", token: hs(map[string]any{"exp": "tomorrow"}), want: chat.ErrUnauthorized},
		{name: "exp overflows", token: hs(map[string]any{"exp": -1e30}), want: chat.ErrUnauthorized},
		{name: "not yet", token: hs(map[string]any{"nbf": now.Add(31 * time.Second).Unix()}), want: chat.ErrUnauthorized},
		{name: "from the future", token: hs(map[string]any{"iat": now.Add(31 * time.Second).Unix()}), want: chat.ErrUnauthorized},
		{name: "refresh token", token: hs(map[string]any{"token_type": "refresh"}), want: chat.ErrUnauthorized},
		{name: "other secret", token: sign(t, jose.HS256, other, "", claims(nil)), want: chat.ErrUnauthorized},
		{name: "HS512 with the same secret", token: sign(t, jose.HS512, append(secret, secret...), "", claims(nil)), want: chat.ErrUnauthorized},
		{name: "nobody", token: hs(map[string]any{"user_id": nil}), want: chat.ErrUnauthorized},
		{name: "user_id is an object", token: hs(map[string]any{"user_id": map[string]any{}}), want: chat.ErrUnauthorized},
		{name: "user_id is negative", token: hs(map[string]any{"user_id": -1}), want: chat.ErrUnauthorized},
		{name: "bad tenant", token: hs(map[string]any{"tenant": "a/b"}), want: chat.ErrUnauthorized},
		{name: "too long", token: hs(map[string]any{"x": strings.Repeat("x", auth.MaxToken)}), want: chat.ErrUnauthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := v.Verify(c.token)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if got := errors.Is(err, chat.ErrTokenExpired); got != c.expired {
				t.Fatalf("expired: got %v (%v)", got, err)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	v := verifier(t, auth.Config{Secrets: [][]byte{secret}, Issuer: "https://id.example", Audience: "hub"})
	base := map[string]any{"iss": "https://id.example", "aud": []string{"x", "hub"}}
	with := func(m map[string]any) string {
		for k, x := range base {
			if _, ok := m[k]; !ok {
				m[k] = x
			}
		}
		return sign(t, jose.HS256, secret, "", claims(m))
	}
	c, err := v.Verify(with(map[string]any{"user_id": "42", "tenant": "acme", "jti": "j", "preferred_username": "al\u202eice\n",
		"email": "a@example.com", "given_name": "Al", "family_name": "Ice", "iat": now.Unix()}))
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Claims{
		Principal: chat.Principal{Tenant: "acme", User: "42", Username: "alice"},
		Expires:   now.Add(time.Hour), IssuedAt: now, ID: "j",
		User: chat.User{Tenant: "acme", ID: "42", Username: "alice", Email: "a@example.com", FirstName: "Al", LastName: "Ice"},
	}
	if c != want {
		t.Fatalf("got  %+v\nwant %+v", c, want)
	}
	if c, err = v.Verify(with(map[string]any{"name": "Al Ice", "aud": "hub"})); err != nil || c.User.FirstName != "Al Ice" ||
		c.Principal.Username != "7" || c.Principal.Tenant != chat.DefaultTenant {
		t.Fatalf("%+v %v", c, err)
	}
	for _, m := range []map[string]any{{"iss": "https://evil.example"}, {"aud": "other"}, {"aud": 7}} {
		if _, err := v.Verify(with(m)); !errors.Is(err, chat.ErrUnauthorized) {
			t.Errorf("%v: %v", m, err)
		}
	}
}

// TestAlgorithmConfusion: a forger who knows the public key must not be able to use it as a secret, in any of
// the forms that it is published in, nor to choose another algorithm for it.
func TestAlgorithmConfusion(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPub, edKey, _ := ed25519.GenerateKey(rand.Reader)
	rsaPEM := pemFile(t, rsaKey.Public())
	v := verifier(t, auth.Config{PublicKeyFiles: []string{rsaPEM, pemFile(t, ecKey.Public()), pemFile(t, edPub)}})
	for alg, key := range map[jose.SignatureAlgorithm]any{jose.RS256: rsaKey, jose.ES256: ecKey, jose.EdDSA: edKey} {
		if _, err := v.Verify(sign(t, alg, key, "any", claims(nil))); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	pemBytes, _ := os.ReadFile(rsaPEM)
	block, _ := pem.Decode(pemBytes)
	for name, tok := range map[string]string{
		"PEM as secret":     sign(t, jose.HS256, pemBytes, "", claims(nil)),
		"DER as secret":     sign(t, jose.HS256, block.Bytes, "", claims(nil)),
		"Ed25519 as secret": sign(t, jose.HS256, []byte(edPub), "", claims(nil)),
		"RSA with PS256":    sign(t, jose.PS256, rsaKey, "", claims(nil)),
		"RSA with RS512":    sign(t, jose.RS512, rsaKey, "", claims(nil)),
	} {
		if _, err := v.Verify(tok); !errors.Is(err, chat.ErrUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewRefusesUnsafeConfigurations(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	private, _ := x509.MarshalPKCS8PrivateKey(p384)
	for name, c := range map[string]struct {
		cfg  auth.Config
		text string
	}{
		"nothing":          {auth.Config{}, "no key"},
		"short secret":     {auth.Config{SecretFiles: []string{file("s", strings.Repeat("x", 31)+"\n")}}, "at least 32 bytes"},
		"missing file":     {auth.Config{SecretFiles: []string{filepath.Join(dir, "none")}}, "reading the secret"},
		"not PEM":          {auth.Config{PublicKeyFiles: []string{file("p", "hello")}}, "no PEM block"},
		"private key":      {auth.Config{PublicKeyFiles: []string{file("k", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))}}, "not a public key"},
		"small RSA":        {auth.Config{PublicKeyFiles: []string{pemFile(t, small.Public())}}, "2048 bits"},
		"other curve":      {auth.Config{PublicKeyFiles: []string{pemFile(t, p384.Public())}}, "P-256"},
		"JWKS over http":   {auth.Config{JWKSURL: "http://id.example/jwks"}, "https"},
		"JWKS is no URL":   {auth.Config{JWKSURL: "id.example"}, "URL"},
		"JWKS of a scheme": {auth.Config{JWKSURL: "file:///etc/passwd"}, "URL"},
	} {
		v, err := auth.New(c.cfg)
		if err == nil {
			v.Close()
			t.Errorf("%s: accepted", name)
		} else if !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignerAndVerifierAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := auth.EnsureSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := auth.EnsureSecret(path); err != nil || string(again) != string(made) {
		t.Fatalf("second start: %v", err)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", fi.Mode())
	}
	s, err := auth.NewSigner(made)
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, auth.Config{SecretFiles: []string{path}})
	for _, id := range []chat.UserID{"7", "u-7"} {
		in := auth.Claims{Principal: chat.Principal{Tenant: "acme", User: id, Username: "al"}, Expires: now.Add(time.Minute), IssuedAt: now, ID: "x"}
		in.User = chat.User{Tenant: "acme", ID: id, Username: "al", Email: "a@b.c", FirstName: "A", LastName: "L"}
		tok, err := s.Sign(in, auth.Access)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Verify(tok); err != nil || got != in {
			t.Fatalf("got %+v, %v", got, err)
		}
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(tok, ".")[1])
		if number := strings.Contains(string(payload), `"user_id":7,`); number != (id == "7") {
			t.Fatalf("user_id in %s", payload)
		}
		ref, err := s.Sign(in, auth.Refresh)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(ref); !errors.Is(err, chat.ErrUnauthorized) {
			t.Fatalf("refresh token used for access: %v", err)
		}
		if _, err := v.VerifyRefresh(context.Background(), ref); err != nil {
			t.Fatal(err)
		}
		if _, err := v.VerifyRefresh(context.Background(), tok); !errors.Is(err, chat.ErrUnauthorized) {
			t.Fatalf("access token used for refresh: %v", err)
		}
	}
	if _, err := auth.NewSigner([]byte("short")); err == nil {
		t.Fatal("short secret accepted")
	}
}

// TestErrorsHoldNoSecrets: whatever a token is, no part of it shows up in the error.
func TestErrorsHoldNoSecrets(t *testing.T) {
	v := verifier(t, auth.Config{Secrets: [][]byte{secret}})
	const mark = "HIDE-ME"
	for _, m := range []map[string]any{
		{"exp": mark}, {"user_id": mark + " "}, {"tenant": mark + "/"}, {"token_type": mark}, {"aud": map[string]any{mark: 1}},
	} {
		tok := sign(t, jose.HS256, secret, mark, claims(m))
		_, err := v.Verify(tok)
		if err == nil {
			t.Fatalf("%v accepted", m)
		}
		if strings.Contains(err.Error(), mark) || strings.Contains(err.Error(), tok[:20]) {
			t.Errorf("%v", err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := verifier(f, auth.Config{Secrets: [][]byte{secret}})
	good := sign(f, jose.HS256, secret, "", claims(nil))
	parts := strings.Split(good, ".")
	f.Add(good)
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, tok string) {
		c, err := v.Verify(tok)
		if err == nil {
			// One token alone is signed, and it has one spelling.
			if c.Principal.User != "7" || tok != good {
				t.Fatalf("forged: %q", tok)
			}
		} else if !errors.Is(err, chat.ErrUnauthorized) {
			t.Fatal(err)
		}
	})
}

// FuzzClaims signs what the fuzzer says: a trusted issuer's strange payload must not panic or pass unbounded.
func FuzzClaims(f *testing.F) {
	v := verifier(f, auth.Config{Secrets: [][]byte{secret}})
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"user_id":7,"exp":99999999999,"name":"x"}`))
	f.Add([]byte(`{"sub":"00000000-0000-0000-0000-000000000002","exp":1e18,"aud":[]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		sig, err := s.Sign(payload)
		if err != nil {
			return
		}
		tok, err := sig.CompactSerialize()
		if err != nil {
			return
		}
		c, err := v.Verify(tok)
		if err != nil {
			return
		}
		if id, err := chat.ParseUserID(string(c.Principal.User)); err != nil || id != c.Principal.User {
			t.Fatalf("user %q", c.Principal.User)
		}
		if len([]rune(c.Principal.Username)) > auth.MaxUsername || c.Expires.Year() > 9999 || !c.Expires.After(now) {
			t.Fatalf("%+v", c)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	for _, c := range []struct {
		alg jose.SignatureAlgorithm
		key any
		cfg auth.Config
	}{
		{jose.HS256, secret, auth.Config{Secrets: [][]byte{secret}}},
		{jose.RS256, rsaKey, auth.Config{PublicKeyFiles: []string{pemFile(b, rsaKey.Public())}}},
		{jose.ES256, ecKey, auth.Config{PublicKeyFiles: []string{pemFile(b, ecKey.Public())}}},
		{jose.EdDSA, edKey, auth.Config{PublicKeyFiles: []string{pemFile(b, edKey.Public())}}},
	} {
		b.Run(string(c.alg), func(b *testing.B) {
			v := verifier(b, c.cfg)
			tok := sign(b, c.alg, c.key, "", claims(nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(tok); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
