package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
)

// Tenants, keys and restrictions are changed by compare-and-set on their version or their row. A change of what nodes
// keep in memory is announced afterwards (Announce), so that they read it again; who finds no announcement because its
// writer died sees the change when it next reads everything.

var tenantsPartition = Key{number(0)}

func tenantValues(t *chat.Tenant) ([]Value, error) {
	limits, err := json.Marshal(t.Limits)
	if err != nil {
		return nil, err
	}
	var erasure []byte
	if t.State == chat.TenantErasing {
		if erasure, err = json.Marshal(t.Erasure); err != nil {
			return nil, err
		}
	}
	return []Value{number(t.Version), text(t.Name), number(uint64(t.State)), text(t.Reason), text(t.Settings), blob(limits),
		settable(t.CreatedAt), settable(t.UpdatedAt), blob(erasure)}, nil
}

func decodeTenant(id chat.TenantID, c []Value) (t chat.Tenant, err error) {
	t = chat.Tenant{ID: id, Version: c[tenantVersion].uint(), Name: c[tenantName].string(), Reason: c[tenantReason].string(),
		Settings: c[tenantSettings].string(), CreatedAt: c[tenantCreatedAt].settable(), UpdatedAt: c[tenantUpdatedAt].settable()}
	if t.State, err = small(c[tenantState], chat.TenantErased, "state"); err != nil {
		return t, err
	}
	if t.Version == 0 || id == "" {
		return t, fmt.Errorf("%w: a tenant without id or version", ErrCorrupt)
	}
	if err := json.Unmarshal(c[tenantLimits].B, &t.Limits); err != nil {
		return t, fmt.Errorf("%w: limits: %w", ErrCorrupt, err)
	}
	if t.State == chat.TenantErasing {
		if err := json.Unmarshal(c[tenantErasure].B, &t.Erasure); err != nil {
			return t, fmt.Errorf("%w: erasure: %w", ErrCorrupt, err)
		}
	}
	return t, nil
}

// swap writes a row over the one with the version before, 0: over none. chat.ErrConflict if there is another.
func (s *Store) swap(ctx context.Context, t *Table, partition, clustering Key, before uint64, set []Value, what fmt.Stringer) error {
	var expect []Value
	row, err := s.engine.Get(ctx, t, partition, clustering)
	switch {
	case err == nil:
		expect = row.Columns
	case !errors.Is(err, ErrNoRow):
		return fail(err, "save", what)
	}
	if (expect == nil) != (before == 0) || expect != nil && expect[0].uint() != before {
		return fmt.Errorf("save %s: %w", what, chat.ErrConflict)
	}
	applied, _, err := s.engine.CompareAndSet(ctx, t, partition, clustering, expect, set)
	if err == nil && !applied {
		return fmt.Errorf("save %s: %w", what, chat.ErrConflict)
	}
	return fail(err, "save", what)
}

// GetTenant returns a tenant, version 0 if it was not created.
func (s *Store) GetTenant(ctx context.Context, id chat.TenantID) (chat.Tenant, error) {
	row, err := s.engine.Get(ctx, TableTenants, tenantsPartition, Key{text(id)})
	if errors.Is(err, ErrNoRow) {
		return chat.Tenant{ID: id}, nil
	}
	var t chat.Tenant
	if err == nil {
		t, err = decodeTenant(id, row.Columns)
	}
	return t, fail(err, "read tenant", chat.UserKey{Tenant: id})
}

// ListTenants returns at most limit of the tenants that were created, by id, after one.
func (s *Store) ListTenants(ctx context.Context, after chat.TenantID, limit int) ([]chat.Tenant, error) {
	var list []chat.Tenant
	var failed error
	r := Range{Table: TableTenants, Partition: tenantsPartition, Limit: limit}
	if after != "" {
		r.From = Key{text(after + "\x00")} // the next id in order
	}
	err := s.engine.Scan(ctx, r, func(row Row) bool {
		var t chat.Tenant
		t, failed = decodeTenant(chat.TenantID(row.Clustering[0].string()), row.Columns)
		list = append(list, t)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return list, fail(err, "list", tenantList{})
}

type tenantList struct{}

func (tenantList) String() string { return "tenants" }

// SaveTenant durably writes a tenant over the one with the version before, 0: over none. chat.ErrConflict if there is
// another.
func (s *Store) SaveTenant(ctx context.Context, t chat.Tenant, before uint64) error {
	key := chat.UserKey{Tenant: t.ID}
	if t.ID == "" || t.Version <= before {
		return fmt.Errorf("save tenant %s: %w: an id and a higher version are needed", key, chat.ErrInvalid)
	}
	set, err := tenantValues(&t)
	if err != nil {
		return fmt.Errorf("save tenant %s: %w", key, err)
	}
	return s.swap(ctx, TableTenants, tenantsPartition, Key{text(t.ID)}, before, set, key)
}

type keyText string

func (k keyText) String() string { return "API key " + string(k) }

func keyValues(k *chat.APIKey) []Value {
	scopes := make([]string, len(k.Scopes))
	for i, s := range k.Scopes {
		scopes[i] = string(s)
	}
	return []Value{number(k.Version), text(k.Tenant), text(k.Name), text(strings.Join(scopes, " ")), blob(k.Hash[:]), blob(k.Old[:]),
		settable(k.OldUntil), text(k.CreatedBy), settable(k.CreatedAt), settable(k.ExpiresAt), settable(k.RevokedAt), settable(k.UsedAt)}
}

func decodeKey(id string, c []Value) (k chat.APIKey, err error) {
	k = chat.APIKey{ID: id, Version: c[keyVersion].uint(), Tenant: chat.TenantID(c[keyTenant].string()), Name: c[keyName].string(),
		OldUntil: c[keyOldUntil].settable(), CreatedBy: c[keyCreatedBy].string(), CreatedAt: c[keyCreatedAt].settable(),
		ExpiresAt: c[keyExpiresAt].settable(), RevokedAt: c[keyRevokedAt].settable(), UsedAt: c[keyUsedAt].settable()}
	for s := range strings.FieldsSeq(c[keyScopes].string()) {
		k.Scopes = append(k.Scopes, chat.Scope(s))
	}
	if len(c[keyHash].B) != len(k.Hash) || len(c[keyOld].B) != len(k.Old) || k.Version == 0 || k.Tenant == "" {
		return k, fmt.Errorf("%w: an API key without hash, tenant or version", ErrCorrupt)
	}
	copy(k.Hash[:], c[keyHash].B)
	copy(k.Old[:], c[keyOld].B)
	return k, nil
}

// GetKey returns an API key by its id; chat.ErrNotFound.
func (s *Store) GetKey(ctx context.Context, id string) (chat.APIKey, error) {
	row, err := s.engine.Get(ctx, TableKeys, Key{text(id)}, nil)
	var k chat.APIKey
	if err == nil {
		k, err = decodeKey(id, row.Columns)
	}
	return k, fail(err, "read", keyText(id))
}

// ListKeys returns the API keys of a tenant, by id.
func (s *Store) ListKeys(ctx context.Context, tenant chat.TenantID) ([]chat.APIKey, error) {
	what := chat.UserKey{Tenant: tenant}
	var ids []string
	var keys []FullKey
	err := s.engine.Scan(ctx, Range{Table: TableTenantKeys, Partition: Key{text(tenant)}}, func(r Row) bool {
		id := r.Clustering[0].string()
		ids, keys = append(ids, id), append(keys, FullKey{Partition: Key{text(id)}})
		return true
	})
	if err != nil || len(ids) == 0 {
		return nil, fail(err, "list API keys of", what)
	}
	rows, err := s.engine.GetMany(ctx, TableKeys, keys)
	if err != nil {
		return nil, fail(err, "list API keys of", what)
	}
	var list []chat.APIKey
	for i := range rows {
		if rows[i].Columns == nil {
			continue
		}
		k, err := decodeKey(ids[i], rows[i].Columns)
		if err != nil {
			return nil, fail(err, "read", keyText(ids[i]))
		}
		list = append(list, k)
	}
	return list, nil
}

// SaveKey durably writes an API key over the one with the version before, 0: over none. chat.ErrConflict if there is
// another.
func (s *Store) SaveKey(ctx context.Context, k chat.APIKey, before uint64) error {
	if k.ID == "" || k.Tenant == "" || k.Version <= before {
		return fmt.Errorf("save %s: %w: an id, a tenant and a higher version are needed", keyText(k.ID), chat.ErrInvalid)
	}
	if before == 0 {
		if err := s.engine.Apply(ctx, Batch{Table: TableTenantKeys, Partition: Key{text(k.Tenant)},
			Mutations: []Mutation{{Clustering: Key{text(k.ID)}, Whole: true}}}); err != nil {
			return fail(err, "list", keyText(k.ID))
		}
	}
	return s.swap(ctx, TableKeys, Key{text(k.ID)}, nil, before, keyValues(&k), keyText(k.ID))
}

func restrictionKey(r *chat.Restriction) (partition, clustering Key) {
	kind, name := uint64(restrictsUser), string(r.User)
	if r.Token != "" {
		kind, name = restrictsToken, r.Token
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(string(r.Tenant) + "\x00" + name)) // never fails
	return Key{number(uint64(h.Sum32() % RestrictionSlots))}, Key{text(r.Tenant), number(kind), text(name)}
}

func decodeRestriction(clustering Key, c []Value) (r chat.Restriction, err error) {
	r = chat.Restriction{Tenant: chat.TenantID(clustering[0].string()), Suspended: c[restrictionSuspended].bool(),
		SuspendedAt: c[restrictionSuspendedAt].settable(), Reason: c[restrictionReason].string(),
		RevokedBefore: c[restrictionBefore].settable(), Until: c[restrictionUntil].settable()}
	name := clustering[2].string()
	switch clustering[1].I {
	case restrictsUser:
		r.User = chat.UserID(name)
	case restrictsToken:
		r.Token = name
	default:
		return r, fmt.Errorf("%w: restriction of kind %d", ErrCorrupt, clustering[1].I)
	}
	return r, nil
}

// Restrict durably changes what keeps a user, or a token, out: change gets what is stored, with the key of r, and may
// be called several times. It returns what is stored then.
func (s *Store) Restrict(ctx context.Context, r chat.Restriction, change func(*chat.Restriction)) (chat.Restriction, error) {
	what := chat.UserKey{Tenant: r.Tenant, User: r.User}
	if r.Tenant == "" || (r.User == "") == (r.Token == "") {
		return r, fmt.Errorf("restrict %s: %w: a tenant and either a user or a token are needed", what, chat.ErrInvalid)
	}
	partition, clustering := restrictionKey(&r)
	row, err := s.engine.Get(ctx, TableRestrictions, partition, clustering)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return r, fail(err, "restrict", what)
	}
	for columns := row.Columns; ; {
		next := chat.Restriction{Tenant: r.Tenant, User: r.User, Token: r.Token}
		if columns != nil {
			if next, err = decodeRestriction(clustering, columns); err != nil {
				return r, fail(err, "restrict", what)
			}
		}
		change(&next)
		applied, found, err := s.engine.CompareAndSet(ctx, TableRestrictions, partition, clustering, columns, []Value{boolean(next.Suspended),
			settable(next.SuspendedAt), text(next.Reason), settable(next.RevokedBefore), settable(next.Until)})
		if err != nil || applied {
			return next, fail(err, "restrict", what)
		}
		columns = found.Columns
	}
}

// GetRestriction returns what keeps the user or the token that r names out, nothing if there is nothing.
func (s *Store) GetRestriction(ctx context.Context, r chat.Restriction) (chat.Restriction, error) {
	r = chat.Restriction{Tenant: r.Tenant, User: r.User, Token: r.Token}
	partition, clustering := restrictionKey(&r)
	row, err := s.engine.Get(ctx, TableRestrictions, partition, clustering)
	if errors.Is(err, ErrNoRow) {
		return r, nil
	}
	if err == nil {
		r, err = decodeRestriction(clustering, row.Columns)
	}
	return r, fail(err, "read restriction of", chat.UserKey{Tenant: r.Tenant, User: r.User})
}

// Restrictions calls yield for everybody who is kept out until it returns false, and deletes the rows of tokens that
// expired an hour before now.
func (s *Store) Restrictions(ctx context.Context, now time.Time, yield func(chat.Restriction) bool) error {
	for slot := range uint64(RestrictionSlots) {
		var failed error
		var over []Mutation
		more := true
		err := s.engine.Scan(ctx, Range{Table: TableRestrictions, Partition: Key{number(slot)}}, func(row Row) bool {
			var r chat.Restriction
			if r, failed = decodeRestriction(row.Clustering, row.Columns); failed != nil {
				return false
			}
			if r.Token != "" && r.Until.Add(time.Hour).Before(now) {
				if len(over) < 1000 {
					over = append(over, Mutation{Clustering: Key{text(r.Tenant), number(restrictsToken), text(r.Token)}, Delete: true})
				}
				return true
			}
			more = yield(r)
			return more
		})
		if err == nil {
			err = failed
		}
		if err == nil && len(over) > 0 {
			err = s.engine.Apply(ctx, Batch{Table: TableRestrictions, Partition: Key{number(slot)}, Mutations: over, Durability: Relaxed})
		}
		if err != nil || !more {
			return fail(err, "list", restrictionList{})
		}
	}
	return nil
}

type restrictionList struct{}

func (restrictionList) String() string { return "restrictions" }

// announced is how many changes the row of announcements holds: who missed more reads everything again.
const announced = 64

var tenancyRow = Key{text("tenancy")}

// announcement is the body of the row of announcements, whose number is that of the last; they are numbered from 1.
type announcement struct {
	Changes []chat.TenancyChange `json:"changes"` // the last ones, up to the number of the row
}

func decodeAnnouncements(c []Value) (n uint64, a announcement, err error) {
	n = c[0].uint()
	if err := json.Unmarshal(c[1].B, &a); err != nil {
		return n, a, fmt.Errorf("%w: announcements of changes: %w", ErrCorrupt, err)
	}
	if uint64(len(a.Changes)) > n {
		return n, a, fmt.Errorf("%w: %d announcements of %d changes", ErrCorrupt, len(a.Changes), n)
	}
	return n, a, nil
}

// Announce durably tells all nodes that something has changed. Doing it again is harmless.
func (s *Store) Announce(ctx context.Context, c chat.TenancyChange) error {
	row, err := s.engine.Get(ctx, TableMeta, tenancyRow, nil)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return fail(err, "announce a change of", chat.UserKey{Tenant: c.Tenant})
	}
	for columns := row.Columns; ; {
		var n uint64
		var a announcement
		if columns != nil {
			if n, a, err = decodeAnnouncements(columns); err != nil {
				return fail(err, "announce a change of", chat.UserKey{Tenant: c.Tenant})
			}
		}
		a.Changes = append(a.Changes, c)
		a.Changes = a.Changes[max(0, len(a.Changes)-announced):]
		body, err := json.Marshal(a)
		if err != nil {
			return err
		}
		applied, found, err := s.engine.CompareAndSet(ctx, TableMeta, tenancyRow, nil, columns, []Value{number(n + 1), blob(body)})
		if err != nil || applied {
			return fail(err, "announce a change of", chat.UserKey{Tenant: c.Tenant})
		}
		columns = found.Columns
	}
}

// Announced returns the number of the last change and those after the number since, the oldest first. missed reports
// that there were more of them than are still known. It is one read of one row.
func (s *Store) Announced(ctx context.Context, since uint64) (n uint64, changes []chat.TenancyChange, missed bool, err error) {
	row, err := s.engine.Get(ctx, TableMeta, tenancyRow, nil)
	if errors.Is(err, ErrNoRow) {
		return 0, nil, since != 0, nil
	}
	if err != nil {
		return 0, nil, false, fail(err, "read announcements of", tenantList{})
	}
	if row.Columns[0].uint() == since {
		return since, nil, false, nil
	}
	n, a, err := decodeAnnouncements(row.Columns)
	if err != nil {
		return 0, nil, false, fail(err, "read announcements of", tenantList{})
	}
	first := n - uint64(len(a.Changes)) // number of the change before those
	if since > n || since < first {
		return n, nil, true, nil
	}
	return n, slices.Clone(a.Changes[since-first:]), false, nil
}
