package tenancytest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// Memory is a tenancy.Store. It keeps no users: they are Users'. It is safe for concurrent use.
type Memory struct {
	Users // may be nil where users do not matter

	mu       sync.Mutex
	fail     error
	tenants  map[chat.TenantID]chat.Tenant
	keys     map[string]chat.APIKey
	out      map[chat.Restriction]chat.Restriction // by their keys
	announce []chat.TenancyChange
	audit    []chat.AuditEntry
	looks    int
}

// Users are those of a tenancy.Store.
type Users interface {
	GetUsers(ctx context.Context, t chat.TenantID, ids []chat.UserID) ([]chat.User, error)
	PutUser(ctx context.Context, u chat.User) error
	CreateUser(ctx context.Context, u chat.User) (chat.User, bool, error)
	WalkUsers(ctx context.Context, t chat.TenantID, after chat.UserCursor, limit int) ([]chat.User, chat.UserCursor, bool, error)
	CountUsers(ctx context.Context, t chat.TenantID, most int) (int, error)
}

// New returns an empty store.
func New(u Users) *Memory {
	return &Memory{Users: u, tenants: make(map[chat.TenantID]chat.Tenant), keys: make(map[string]chat.APIKey),
		out: make(map[chat.Restriction]chat.Restriction)}
}

// Fail makes everything fail from now on; nil: no more.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Looks is how often announcements were looked for.
func (m *Memory) Looks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.looks
}

// Entries is the audit log, the oldest first.
func (m *Memory) Entries() []chat.AuditEntry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.audit)
}

func (m *Memory) lock() error {
	m.mu.Lock()
	return m.fail
}

// GetTenant implements tenancy.Store, as do the methods below.
func (m *Memory) GetTenant(_ context.Context, id chat.TenantID) (chat.Tenant, error) {
	err := m.lock()
	defer m.mu.Unlock()
	t := m.tenants[id]
	t.ID = id
	return t, err
}

func (m *Memory) EraseAudit(_ context.Context, t chat.TenantID) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil {
		m.audit = slices.DeleteFunc(m.audit, func(e chat.AuditEntry) bool { return e.Tenant == t })
	}
	return err
}

func (m *Memory) ListTenants(_ context.Context, after chat.TenantID, limit int) ([]chat.Tenant, error) {
	err := m.lock()
	defer m.mu.Unlock()
	var list []chat.Tenant
	for _, id := range slices.Sorted(maps.Keys(m.tenants)) {
		if id > after && len(list) < limit {
			list = append(list, m.tenants[id])
		}
	}
	return list, err
}

func (m *Memory) SaveTenant(_ context.Context, t chat.Tenant, before uint64) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil && m.tenants[t.ID].Version != before {
		err = fmt.Errorf("tenant: %w", chat.ErrConflict)
	}
	if err == nil {
		m.tenants[t.ID] = t
	}
	return err
}

func (m *Memory) GetKey(_ context.Context, id string) (chat.APIKey, error) {
	err := m.lock()
	defer m.mu.Unlock()
	k, ok := m.keys[id]
	if err == nil && !ok {
		err = fmt.Errorf("key: %w", chat.ErrNotFound)
	}
	return k, err
}

func (m *Memory) ListKeys(_ context.Context, t chat.TenantID) (list []chat.APIKey, err error) {
	err = m.lock()
	defer m.mu.Unlock()
	for _, k := range m.keys {
		if k.Tenant == t {
			list = append(list, k)
		}
	}
	return list, err
}

func (m *Memory) SaveKey(_ context.Context, k chat.APIKey, before uint64) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil && m.keys[k.ID].Version != before {
		err = fmt.Errorf("key: %w", chat.ErrConflict)
	}
	if err == nil {
		m.keys[k.ID] = k
	}
	return err
}

func key(r chat.Restriction) chat.Restriction {
	return chat.Restriction{Tenant: r.Tenant, User: r.User, Token: r.Token}
}

func (m *Memory) Restrict(_ context.Context, r chat.Restriction, change func(*chat.Restriction)) (chat.Restriction, error) {
	err := m.lock()
	defer m.mu.Unlock()
	next, ok := m.out[key(r)]
	if !ok {
		next = key(r)
	}
	if err == nil {
		change(&next)
		m.out[key(r)] = next
	}
	return next, err
}

func (m *Memory) GetRestriction(_ context.Context, r chat.Restriction) (chat.Restriction, error) {
	err := m.lock()
	defer m.mu.Unlock()
	if x, ok := m.out[key(r)]; ok {
		return x, err
	}
	return key(r), err
}

func (m *Memory) Restrictions(_ context.Context, _ time.Time, yield func(chat.Restriction) bool) error {
	err := m.lock()
	defer m.mu.Unlock()
	for _, r := range m.out {
		if err != nil || !yield(r) {
			break
		}
	}
	return err
}

func (m *Memory) Announce(_ context.Context, c chat.TenancyChange) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil {
		m.announce = append(m.announce, c)
	}
	return err
}

// Announced remembers the last eight.
func (m *Memory) Announced(_ context.Context, since uint64) (n uint64, changes []chat.TenancyChange, missed bool, err error) {
	err = m.lock()
	defer m.mu.Unlock()
	m.looks++
	n = uint64(len(m.announce))
	if err != nil || since > n || n-since > 8 {
		return n, nil, true, err
	}
	return n, slices.Clone(m.announce[since:]), false, nil
}

func (m *Memory) AppendAudit(_ context.Context, e chat.AuditEntry) error {
	err := m.lock()
	defer m.mu.Unlock()
	if err == nil {
		m.audit = append(m.audit, e)
	}
	return err
}

func (m *Memory) ListAudit(_ context.Context, q chat.AuditQuery, _ time.Time) (chat.AuditPage, error) {
	err := m.lock()
	defer m.mu.Unlock()
	var page chat.AuditPage
	for _, e := range slices.Backward(m.audit) {
		if e.Tenant != q.Tenant || !q.Match(&e) || q.Before != (chat.AuditID{}) && e.ID.String() >= q.Before.String() {
			continue
		}
		if len(page.Entries) >= q.Limit {
			page.More = true
			break
		}
		page.Entries, page.Last = append(page.Entries, e), e.ID
	}
	return page, err
}
