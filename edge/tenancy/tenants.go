package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
)

// record writes an entry of the audit log about something that has been carried out. What was done stays done when the
// entry cannot be written: that is logged and counted.
func (r *Registry) record(ctx context.Context, by chat.Actor, t chat.TenantID, a chat.Action, objects ...string) {
	e := chat.NewAuditEntry(r.cfg.Now(), t, by, a, objects...)
	e.Address = chat.AddressOf(ctx)
	r.Record(ctx, e)
}

// Record durably writes an entry of the audit log, trying for some seconds. What cannot be written is logged, and counted
// in Stats: the action that it is about has happened.
func (r *Registry) Record(ctx context.Context, e chat.AuditEntry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // the caller may be gone: the action is not undone
	defer cancel()
	err := r.store.AppendAudit(ctx, e)
	for pause := 50 * time.Millisecond; err != nil && !errors.Is(err, chat.ErrInvalid); pause *= 2 {
		t := time.NewTimer(pause)
		select {
		case <-t.C:
			err = r.store.AppendAudit(ctx, e) // under the same id: never twice
			continue
		case <-ctx.Done():
			t.Stop()
		}
		break
	}
	if err != nil {
		r.stats.auditFailed.Add(1)
		r.log.Error("an entry of the audit log is lost", "tenant", e.Tenant, "action", e.Action, "actor_kind", e.Actor.Kind, "actor", e.Actor.ID,
			"objects", e.Objects, "error", err)
	}
}

// Audit returns a page of a tenant's audit log, the newest first.
func (r *Registry) Audit(ctx context.Context, q chat.AuditQuery) (chat.AuditPage, error) {
	return r.store.ListAudit(ctx, q, r.cfg.Now())
}

func (r *Registry) now() time.Time { return r.cfg.Now().UTC().Truncate(time.Microsecond) }

// Tenant returns a tenant that was created; chat.ErrNotFound.
func (r *Registry) Tenant(ctx context.Context, id chat.TenantID) (chat.Tenant, error) {
	t, err := r.store.GetTenant(ctx, id)
	if err == nil && t.Version == 0 {
		err = fmt.Errorf("tenant %s: %w", id, chat.ErrNotFound)
	}
	return t, err
}

// Tenants returns at most limit of those that were created, by id, after one.
func (r *Registry) Tenants(ctx context.Context, after chat.TenantID, limit int) ([]chat.Tenant, error) {
	return r.store.ListTenants(ctx, after, limit)
}

// CreateTenant makes a tenant known; chat.ErrConflict if there is one with that id, or was one that was not erased
// chat.EraseRest ago.
func (r *Registry) CreateTenant(ctx context.Context, by chat.Actor, t chat.Tenant) (chat.Tenant, error) {
	if len(*r.tenants.Load()) >= chat.MaxTenants {
		return t, &chat.QuotaError{Limit: "tenants", Text: "There are as many tenants as a hub can have."}
	}
	t.Version, t.State, t.Reason, t.CreatedAt = 1, chat.TenantActive, "", r.now()
	t.UpdatedAt = t.CreatedAt
	err := r.store.SaveTenant(ctx, t, 0)
	if errors.Is(err, chat.ErrConflict) {
		t, err = r.again(ctx, t)
	}
	if err != nil {
		return t, err
	}
	r.record(ctx, by, t.ID, chat.ActionTenantCreate)
	return t, r.changed(ctx, chat.TenancyChange{Tenant: t.ID})
}

// TenantChange is a change of a tenant; nil leaves a field as it is.
type TenantChange struct {
	Name     *string
	Settings *string // a JSON object
	Limits   *chat.Limits
}

// UpdateTenant changes a tenant that has the version given, 0: any; chat.ErrNotFound, chat.ErrConflict.
func (r *Registry) UpdateTenant(ctx context.Context, by chat.Actor, id chat.TenantID, version uint64, c TenantChange) (chat.Tenant, error) {
	return r.update(ctx, by, id, version, chat.ActionTenantUpdate, func(t *chat.Tenant) bool {
		if c.Name != nil {
			t.Name = *c.Name
		}
		if c.Settings != nil {
			t.Settings = *c.Settings
		}
		if c.Limits != nil {
			t.Limits = *c.Limits
		}
		return true
	})
}

// SuspendTenant keeps all users and keys of a tenant out and closes their sessions, on every node within a second.
func (r *Registry) SuspendTenant(ctx context.Context, by chat.Actor, id chat.TenantID, reason string) (chat.Tenant, error) {
	return r.update(ctx, by, id, 0, chat.ActionTenantSuspend, func(t *chat.Tenant) bool {
		if t.State == chat.TenantSuspended && t.Reason == reason {
			return false
		}
		t.State, t.Reason = chat.TenantSuspended, reason
		return true
	})
}

// ResumeTenant takes the suspension back.
func (r *Registry) ResumeTenant(ctx context.Context, by chat.Actor, id chat.TenantID) (chat.Tenant, error) {
	return r.update(ctx, by, id, 0, chat.ActionTenantResume, func(t *chat.Tenant) bool {
		if t.State == chat.TenantActive {
			return false
		}
		t.State, t.Reason = chat.TenantActive, ""
		return true
	})
}

// DeleteTenant keeps a tenant out for ever. Its data stay where they are.
func (r *Registry) DeleteTenant(ctx context.Context, by chat.Actor, id chat.TenantID, version uint64) (chat.Tenant, error) {
	return r.update(ctx, by, id, version, chat.ActionTenantDelete, func(t *chat.Tenant) bool {
		t.State, t.Reason = chat.TenantDeleted, ""
		return true
	})
}

// update changes a tenant, again when somebody else changed it meanwhile and no version is given. change reports whether
// there is anything to do.
func (r *Registry) update(ctx context.Context, by chat.Actor, id chat.TenantID, version uint64, a chat.Action, change func(*chat.Tenant) bool) (chat.Tenant, error) {
	for {
		t, err := r.Tenant(ctx, id)
		if err == nil && t.State >= chat.TenantDeleted && a != chat.ActionTenantErase {
			err = fmt.Errorf("tenant %s: %w", id, chat.ErrNotFound)
		}
		if err != nil {
			return t, err
		}
		if version != 0 && t.Version != version {
			return t, fmt.Errorf("tenant %s has version %d: %w", id, t.Version, chat.ErrConflict)
		}
		before := t.Version
		if !change(&t) {
			return t, r.changed(ctx, chat.TenancyChange{Tenant: id}) // an announcement may have got lost
		}
		t.Version, t.UpdatedAt = before+1, r.now()
		err = r.store.SaveTenant(ctx, t, before)
		if errors.Is(err, chat.ErrConflict) && version == 0 && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return t, err
		}
		r.record(ctx, by, id, a)
		return t, r.changed(ctx, chat.TenancyChange{Tenant: id})
	}
}

// SuspendUser keeps a user out and closes the user's sessions, on every node within a second. Repeating it changes
// nothing but the reason.
func (r *Registry) SuspendUser(ctx context.Context, by chat.Actor, k chat.UserKey, reason string) (chat.Restriction, error) {
	return r.restrict(ctx, by, chat.Restriction{Tenant: k.Tenant, User: k.User}, chat.ActionUserSuspend, func(x *chat.Restriction) bool {
		same := x.Suspended && x.Reason == reason
		if !x.Suspended {
			x.SuspendedAt = r.now()
		}
		x.Suspended, x.Reason = true, reason
		return !same
	})
}

// ResumeUser takes the suspension back.
func (r *Registry) ResumeUser(ctx context.Context, by chat.Actor, k chat.UserKey) (chat.Restriction, error) {
	return r.restrict(ctx, by, chat.Restriction{Tenant: k.Tenant, User: k.User}, chat.ActionUserResume, func(x *chat.Restriction) bool {
		was := x.Suspended
		x.Suspended, x.SuspendedAt, x.Reason = false, time.Time{}, ""
		return was
	})
}

// RevokeUserTokens refuses the user's tokens that were issued before a time, which never goes back, and closes the
// sessions that they opened. Tokens say to the second when they were issued: one of the same second is refused, too.
func (r *Registry) RevokeUserTokens(ctx context.Context, by chat.Actor, k chat.UserKey, before time.Time) (chat.Restriction, error) {
	before = before.UTC().Truncate(time.Microsecond)
	return r.restrict(ctx, by, chat.Restriction{Tenant: k.Tenant, User: k.User}, chat.ActionTokensRevoke, func(x *chat.Restriction) bool {
		if !before.After(x.RevokedBefore) {
			return false
		}
		x.RevokedBefore = before
		return true
	})
}

// RevokeToken refuses one token, by its jti, until it has expired anyhow, and closes its sessions.
func (r *Registry) RevokeToken(ctx context.Context, by chat.Actor, t chat.TenantID, jti string, expires time.Time) (chat.Restriction, error) {
	if jti == "" || len(jti) > 256 {
		return chat.Restriction{}, &chat.FieldError{Field: "jti", Text: "A token id has 1 to 256 bytes."}
	}
	expires = expires.UTC().Truncate(time.Microsecond)
	return r.restrict(ctx, by, chat.Restriction{Tenant: t, Token: jti}, chat.ActionTokenRevoke, func(x *chat.Restriction) bool {
		if !expires.After(x.Until) {
			return false
		}
		x.Until = expires
		return true
	})
}

// Restriction is what keeps a user out, nothing if there is nothing.
func (r *Registry) Restriction(ctx context.Context, k chat.UserKey) (chat.Restriction, error) {
	return r.store.GetRestriction(ctx, chat.Restriction{Tenant: k.Tenant, User: k.User})
}

func (r *Registry) restrict(ctx context.Context, by chat.Actor, x chat.Restriction, a chat.Action, change func(*chat.Restriction) bool) (chat.Restriction, error) {
	if err := r.open(x.Tenant); err != nil {
		return x, err
	}
	if s := r.Stats(); s.Restrictions >= chat.MaxRestrictions && a != chat.ActionUserResume {
		return x, &chat.QuotaError{Limit: "restrictions", Text: "As many users are suspended and tokens revoked as a hub can remember."}
	}
	news := false
	x, err := r.store.Restrict(ctx, x, func(x *chat.Restriction) { news = change(x) })
	if err != nil {
		return x, err
	}
	if news {
		object := string(x.User)
		if x.Token != "" {
			object = x.Token
		}
		r.record(ctx, by, x.Tenant, a, object)
	}
	// Also when there is nothing new: an announcement may have got lost.
	return x, r.changed(ctx, chat.TenancyChange{Tenant: x.Tenant, User: x.User, Token: x.Token})
}

// CheckReason checks the reason of a suspension.
func CheckReason(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len([]rune(s)) > chat.MaxReason {
		return "", &chat.FieldError{Field: "reason", Text: fmt.Sprintf("Ensure this field has no more than %d characters.", chat.MaxReason)}
	}
	return s, nil
}
