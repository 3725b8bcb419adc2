package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
)

// issuer is an identity provider whose key set changes and fails on demand.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	body    []byte
	status  int
	fetches int
}

func newIssuer(t *testing.T, keys ...jose.JSONWebKey) *issuer {
	i := &issuer{status: http.StatusOK}
	i.publish(t, keys...)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		w.WriteHeader(i.status)
		_, _ = w.Write(i.body)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) publish(t *testing.T, keys ...jose.JSONWebKey) {
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	i.set(http.StatusOK, b)
}

func (i *issuer) set(status int, body []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body = status, body
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

func ecKey(t *testing.T, kid string) (*ecdsa.PrivateKey, jose.JSONWebKey) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k, jose.JSONWebKey{Key: k.Public(), KeyID: kid, Use: "sig", Algorithm: "ES256"}
}

func TestJWKSRotation(t *testing.T) {
	oldKey, oldPub := ecKey(t, "old")
	newKey, newPub := ecKey(t, "new")
	i := newIssuer(t, oldPub)
	v := verifier(t, auth.Config{JWKSURL: i.URL, JWKSMinInterval: time.Nanosecond})
	oldTok, newTok := sign(t, jose.ES256, oldKey, "old", claims(nil)), sign(t, jose.ES256, newKey, "new", claims(nil))
	ctx := t.Context()

	if _, err := v.VerifyContext(ctx, oldTok); err != nil { // waits for the very first fetch
		t.Fatal(err)
	}
	if _, err := v.Verify(oldTok); err != nil { // now without waiting
		t.Fatal(err)
	}
	i.publish(t, oldPub, newPub)
	if _, err := v.Verify(newTok); !errors.Is(err, chat.ErrUnavailable) || errors.Is(err, chat.ErrUnauthorized) {
		t.Fatalf("unknown key without waiting: %v", err)
	}
	if _, err := v.VerifyContext(ctx, newTok); err != nil {
		t.Fatalf("first token after the rotation: %v", err)
	}
	i.publish(t, newPub)
	if _, err := v.VerifyContext(ctx, sign(t, jose.ES256, oldKey, "third", claims(nil))); !errors.Is(err, chat.ErrUnauthorized) && !errors.Is(err, chat.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := v.VerifyContext(ctx, oldTok); err == nil {
		t.Fatal("a key that was withdrawn is still trusted")
	}
	// The provider fails: the keys at hand go on working, an unknown one is not called invalid.
	i.set(http.StatusInternalServerError, nil)
	if _, err := v.VerifyContext(ctx, sign(t, jose.ES256, oldKey, "fourth", claims(nil))); !errors.Is(err, chat.ErrUnavailable) {
		t.Fatalf("unknown key while the provider fails: %v", err)
	}
	if _, err := v.Verify(newTok); err != nil {
		t.Fatalf("known key while the provider fails: %v", err)
	}
}

func TestJWKSForgedKeyIDsDoNotFloodTheIssuer(t *testing.T) {
	k, pub := ecKey(t, "k")
	i := newIssuer(t, pub)
	v := verifier(t, auth.Config{JWKSURL: i.URL, JWKSMinInterval: time.Hour})
	if _, err := v.VerifyContext(t.Context(), sign(t, jose.ES256, k, "k", claims(nil))); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := v.VerifyContext(t.Context(), sign(t, jose.ES256, k, "forged", claims(nil))); !errors.Is(err, chat.ErrUnauthorized) {
			t.Fatal(err)
		}
	}
	if n := i.count(); n != 1 {
		t.Fatalf("%d fetches", n)
	}
}

// TestJWKSNeverTrustsSymmetricKeys: whoever can read the published set must not be able to sign.
func TestJWKSNeverTrustsSymmetricKeys(t *testing.T) {
	k, pub := ecKey(t, "k")
	i := newIssuer(t, pub, jose.JSONWebKey{Key: secret, KeyID: "oct", Algorithm: "HS256"},
		jose.JSONWebKey{Key: k.Public(), KeyID: "enc", Use: "enc"})
	v := verifier(t, auth.Config{JWKSURL: i.URL, JWKSMinInterval: time.Hour})
	if _, err := v.VerifyContext(t.Context(), sign(t, jose.ES256, k, "k", claims(nil))); err != nil {
		t.Fatal(err)
	}
	for _, tok := range []string{sign(t, jose.HS256, secret, "oct", claims(nil)), sign(t, jose.ES256, k, "enc", claims(nil))} {
		if _, err := v.VerifyContext(t.Context(), tok); !errors.Is(err, chat.ErrUnauthorized) {
			t.Fatal(err)
		}
	}
}

func TestJWKSBounds(t *testing.T) {
	k, pub := ecKey(t, "k")
	tok := sign(t, jose.ES256, k, "k", claims(nil))
	good, _ := json.Marshal(pub)
	for name, body := range map[string]string{
		"too large":     `{"keys":[` + string(good) + `],"x":"` + strings.Repeat("x", 1<<20) + `"}`,
		"too many keys": `{"keys":[` + strings.Repeat(string(good)+",", 100) + string(good) + `]}`,
		"not JSON":      `<html>`,
		"empty":         `{"keys":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.set(http.StatusOK, []byte(body))
			v := verifier(t, auth.Config{JWKSURL: i.URL, JWKSMinInterval: time.Hour})
			if _, err := v.VerifyContext(t.Context(), tok); !errors.Is(err, chat.ErrUnavailable) {
				t.Fatal(err)
			}
		})
	}
}

// TestJWKSHangingIssuer: nobody waits longer than the context, nor Close for the issuer.
func TestJWKSHangingIssuer(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	defer s.Close()
	defer close(release)
	k, _ := ecKey(t, "k")
	v, err := auth.New(auth.Config{JWKSURL: s.URL, Now: fixed})
	if err != nil {
		t.Fatal(err)
	}
	tok := sign(t, jose.ES256, k, "k", claims(nil))
	if _, err := v.Verify(tok); !errors.Is(err, chat.ErrUnavailable) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.VerifyContext(ctx, tok); !errors.Is(err, chat.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	v.Close()
	if _, err := v.VerifyContext(t.Context(), tok); !errors.Is(err, chat.ErrUnavailable) {
		t.Fatal(err)
	}
}
