package tenancy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
)

// KeyPrefix begins every API key, so that a key is told from a token, and found where it should not be.
const KeyPrefix = "hub_"

// used is how exactly it is known when a key was last used.
const used = time.Hour

var base32text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func randomText(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return base32text.EncodeToString(b)
}

func hashOf(secret string) chat.KeyHash { return sha256.Sum256([]byte(secret)) }

// newSecret is 256 random bits.
func newSecret() (string, chat.KeyHash) {
	s := randomText(32)
	return s, hashOf(s)
}

func presented(id, secret string) string { return KeyPrefix + id + "_" + secret }

// Key finds the API key that somebody presents: chat.ErrUnauthorized if it is none, or not valid any more,
// chat.ErrSuspended if its tenant is.
func (r *Registry) Key(ctx context.Context, key string) (chat.APIKey, error) {
	rest, ok := strings.CutPrefix(key, KeyPrefix)
	id, secret, two := strings.Cut(rest, "_")
	if !ok || !two || len(id) != 16 || len(secret) != 52 {
		return chat.APIKey{}, fmt.Errorf("%w: not an API key", chat.ErrUnauthorized)
	}
	k, err := r.store.GetKey(ctx, id)
	if errors.Is(err, chat.ErrNotFound) {
		return k, fmt.Errorf("%w: no such API key", chat.ErrUnauthorized)
	}
	if err != nil {
		return k, err
	}
	now, h := r.cfg.Now(), hashOf(secret)
	match := subtle.ConstantTimeCompare(h[:], k.Hash[:])
	if now.Before(k.OldUntil) {
		match |= subtle.ConstantTimeCompare(h[:], k.Old[:])
	}
	if match != 1 || !k.Live(now) {
		return chat.APIKey{}, fmt.Errorf("%w: API key is not valid", chat.ErrUnauthorized)
	}
	switch t := (*r.tenants.Load())[k.Tenant]; t.State {
	case chat.TenantSuspended, chat.TenantDeleted, chat.TenantErasing, chat.TenantErased:
		return chat.APIKey{}, &chat.SuspendedError{Tenant: true, Reason: t.Reason}
	}
	if now.Sub(k.UsedAt) >= used {
		touched := k
		touched.UsedAt, touched.Version = now.UTC().Truncate(used), k.Version+1
		if err := r.store.SaveKey(ctx, touched, k.Version); err != nil && !errors.Is(err, chat.ErrConflict) {
			r.log.Warn("the use of an API key was not noted", "tenant", k.Tenant, "key", k.ID, "error", err)
		}
	}
	return k, nil
}

// Keys lists the API keys of a tenant, by their age; not those that ended long ago.
func (r *Registry) Keys(ctx context.Context, t chat.TenantID) ([]chat.APIKey, error) {
	list, err := r.store.ListKeys(ctx, t)
	list = slices.DeleteFunc(list, func(k chat.APIKey) bool { return forgotten(&k, r.cfg.Now()) })
	slices.SortFunc(list, func(a, b chat.APIKey) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, err
}

func forgotten(k *chat.APIKey, now time.Time) bool {
	old := now.Add(-chat.KeyMemory)
	return !k.RevokedAt.IsZero() && k.RevokedAt.Before(old) || !k.ExpiresAt.IsZero() && k.ExpiresAt.Before(old)
}

// CreateKey makes an API key and returns it with what is to be presented, which is told here alone.
func (r *Registry) CreateKey(ctx context.Context, by chat.Actor, k chat.APIKey) (chat.APIKey, string, error) {
	if err := r.open(k.Tenant); err != nil {
		return k, "", err
	}
	all, err := r.Keys(ctx, k.Tenant)
	if err != nil {
		return k, "", err
	}
	if len(all) >= chat.MaxKeys {
		return k, "", &chat.QuotaError{Limit: "keys", Text: "The tenant has as many API keys as it can have."}
	}
	var secret string
	secret, k.Hash = newSecret()
	k.ID, k.Version, k.CreatedAt = randomText(10), 1, r.now()
	k.CreatedBy = string(by.Kind)
	if by.ID != "" {
		k.CreatedBy += " " + by.ID
	}
	if err := r.store.SaveKey(ctx, k, 0); err != nil {
		return k, "", err
	}
	r.record(ctx, by, k.Tenant, chat.ActionKeyCreate, k.ID)
	return k, presented(k.ID, secret), nil
}

// FindKey returns a key of a tenant's by its id; chat.ErrNotFound.
func (r *Registry) FindKey(ctx context.Context, t chat.TenantID, id string) (chat.APIKey, error) {
	k, err := r.store.GetKey(ctx, id)
	if err == nil && (k.Tenant != t || forgotten(&k, r.cfg.Now())) {
		err = fmt.Errorf("API key %s: %w", id, chat.ErrNotFound)
	}
	return k, err
}

// RotateKey gives a key another secret. The one before is accepted for grace longer, those before that one not at all.
func (r *Registry) RotateKey(ctx context.Context, by chat.Actor, t chat.TenantID, id string, grace time.Duration) (chat.APIKey, string, error) {
	secret, hash := newSecret()
	k, err := r.changeKey(ctx, t, id, func(k *chat.APIKey) error {
		if !k.Live(r.cfg.Now()) {
			return &chat.RuleError{Text: "The key is revoked or has expired."}
		}
		k.Old, k.OldUntil, k.Hash = k.Hash, r.now().Add(grace), hash
		return nil
	})
	if err != nil {
		return k, "", err
	}
	r.record(ctx, by, t, chat.ActionKeyRotate, id)
	return k, presented(id, secret), nil
}

// RevokeKey ends a key at once. Repeating it changes nothing.
func (r *Registry) RevokeKey(ctx context.Context, by chat.Actor, t chat.TenantID, id string) error {
	news := false
	_, err := r.changeKey(ctx, t, id, func(k *chat.APIKey) error {
		if news = k.RevokedAt.IsZero(); news {
			k.RevokedAt = r.now()
		}
		return nil
	})
	if err == nil && news {
		r.record(ctx, by, t, chat.ActionKeyRevoke, id)
	}
	return err
}

func (r *Registry) changeKey(ctx context.Context, t chat.TenantID, id string, change func(*chat.APIKey) error) (chat.APIKey, error) {
	for {
		k, err := r.FindKey(ctx, t, id)
		if err != nil {
			return k, err
		}
		before := k.Version
		if err := change(&k); err != nil {
			return k, err
		}
		k.Version++
		err = r.store.SaveKey(ctx, k, before)
		if errors.Is(err, chat.ErrConflict) && ctx.Err() == nil {
			continue // somebody else's change, or use, came in between
		}
		return k, err
	}
}
