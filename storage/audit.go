package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

func auditDay(at time.Time) uint64 {
	return uint64(at.UnixMilli()) / uint64(24*time.Hour/time.Millisecond)
}

// dayOf is the day of an entry, which its id carries.
func dayOf(id *chat.AuditID) uint64 {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return auditDay(time.UnixMilli(ms))
}

// dayStart sorts before every entry of a day.
func dayStart(day uint64) (id chat.AuditID) {
	ms := day * uint64(24*time.Hour/time.Millisecond)
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id
}

// auditDays is the day of the partition that names the days of which there are entries: so that who reads the log need
// not look at each.
const auditDays = -1

func auditDaysPartition(t chat.TenantID) Key { return Key{text(t), {Set: true, I: auditDays}} }

// dayMarks remembers which days this process has named. The zero value is ready.
type dayMarks struct {
	mu   sync.Mutex
	seen map[tenantDay]bool
}

type tenantDay struct {
	tenant chat.TenantID
	day    uint64
}

const maxDayMarks = 1 << 14

func (m *dayMarks) has(d tenantDay) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen[d]
}

func (m *dayMarks) put(d tenantDay) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil || len(m.seen) >= maxDayMarks {
		m.seen = make(map[tenantDay]bool)
	}
	m.seen[d] = true
}

// forget forgets the days of a tenant.
func (m *dayMarks) forget(t chat.TenantID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range m.seen {
		if d.tenant == t {
			delete(m.seen, d)
		}
	}
}

// AppendAudit durably writes an entry. Doing it again is safe.
func (s *Store) AppendAudit(ctx context.Context, e chat.AuditEntry) error {
	what := chat.UserKey{Tenant: e.Tenant}
	if e.Tenant == "" || e.Action == "" || e.At.Unix() <= 0 {
		return fmt.Errorf("append to the audit log of %s: %w: a tenant, an action and a time are needed", what, chat.ErrInvalid)
	}
	objects, err := json.Marshal(e.Objects)
	if err != nil {
		return fmt.Errorf("append to the audit log of %s: %w", what, err)
	}
	day := tenantDay{e.Tenant, dayOf(&e.ID)}
	if !s.days.has(day) {
		id := dayStart(day.day)
		if err := s.engine.Apply(ctx, Batch{Table: TableAudit, Partition: auditDaysPartition(e.Tenant),
			Mutations: []Mutation{{Clustering: Key{blob(id[:])}, Whole: true, TTL: AuditTTL + 48*time.Hour}}}); err != nil {
			return fail(err, "append to the audit log of", what)
		}
		s.days.put(day)
	}
	return fail(s.engine.Apply(ctx, Batch{Table: TableAudit, Partition: Key{text(e.Tenant), number(dayOf(&e.ID))},
		Mutations: []Mutation{{Clustering: Key{blob(e.ID[:])}, Whole: true, Columns: []Value{moment(e.At), text(e.Actor.Kind), text(e.Actor.ID),
			text(e.Action), blob(objects), text(e.Address), text(e.Outcome)}}}}), "append to the audit log of", what)
}

func decodeAudit(tenant chat.TenantID, r Row) (e chat.AuditEntry, err error) {
	c := r.Columns
	e = chat.AuditEntry{Tenant: tenant, At: c[auditAt].time(), Actor: chat.Actor{Kind: chat.ActorKind(c[auditActorKind].string()), ID: c[auditActor].string()},
		Action: chat.Action(c[auditAction].string()), Address: c[auditAddress].string(), Outcome: c[auditOutcome].string()}
	id, err := r.Clustering[0].uuid("id")
	e.ID = id
	if err == nil {
		if err = json.Unmarshal(c[auditObjects].B, &e.Objects); err != nil {
			err = fmt.Errorf("%w: objects of an audit entry: %w", ErrCorrupt, err)
		}
	}
	return e, err
}

// ListAudit returns a page of a tenant's audit log, the newest first. It looks at days back to From or to the oldest that
// may be kept, until it has Limit entries, but at no more than 10,000 entries: a page may have fewer than
// Limit, or none, and More.
func (s *Store) ListAudit(ctx context.Context, q chat.AuditQuery, now time.Time) (chat.AuditPage, error) {
	const most = 10_000
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	from, to := now.Add(-AuditTTL), now.Add(24*time.Hour) // entries of nodes whose clocks are ahead
	if q.From.After(from) {
		from = q.From
	}
	if !q.To.IsZero() && q.To.Before(to) {
		to = q.To
	}
	var page chat.AuditPage
	if !from.Before(to) || from.Unix() < 0 {
		return page, nil
	}
	last, first := auditDay(to), auditDay(from)
	if q.Before != (chat.AuditID{}) {
		last = min(last, dayOf(&q.Before))
	}
	days, err := s.auditedDays(ctx, q.Tenant, first, last)
	if err != nil {
		return page, fail(err, "read the audit log of", chat.UserKey{Tenant: q.Tenant})
	}
	seen := 0
	for _, day := range days {
		if page.More {
			break
		}
		r := Range{Table: TableAudit, Partition: Key{text(q.Tenant), number(day)}, Reverse: true, Hint: limit}
		if q.Before != (chat.AuditID{}) {
			r.To = Key{blob(q.Before[:])}
		}
		var failed error
		err := s.engine.Scan(ctx, r, func(row Row) bool {
			if len(page.Entries) >= limit || seen >= most {
				page.More = true
				return false
			}
			seen++
			var e chat.AuditEntry
			if e, failed = decodeAudit(q.Tenant, row); failed != nil {
				return false
			}
			page.Last = e.ID
			if !e.At.Before(from) && e.At.Before(to) && q.Match(&e) {
				page.Entries = append(page.Entries, e)
			}
			return true
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return page, fail(err, "read the audit log of", chat.UserKey{Tenant: q.Tenant})
		}
	}
	return page, nil
}

// auditedDays are the days from first to last of which there are entries, the last one first.
func (s *Store) auditedDays(ctx context.Context, t chat.TenantID, first, last uint64) (days []uint64, err error) {
	from, to := dayStart(first), dayStart(last)
	err = s.engine.Scan(ctx, Range{Table: TableAudit, Partition: auditDaysPartition(t), From: Key{blob(from[:])}, To: Key{blob(to[:])}, ToInclusive: true,
		Reverse: true}, func(r Row) bool {
		var id chat.AuditID
		copy(id[:], r.Clustering[0].B)
		days = append(days, dayOf(&id))
		return true
	})
	return days, err
}

func userSlot(u chat.UserID) uint64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(u)) // never fails
	return uint64(h.Sum32() % chat.UserSlots)
}

func tenantUserRow(u *chat.User) (partition, clustering Key) {
	return Key{text(u.Tenant), number(userSlot(u.ID))}, Key{text(u.ID)}
}

// listUser puts a user into the list of the tenant's users, before the user is written: the list may name users who are
// not there, but lacks none.
func (s *Store) listUser(ctx context.Context, u *chat.User) error {
	partition, row := tenantUserRow(u)
	return fail(s.engine.Apply(ctx, Batch{Table: TableTenantUsers, Partition: partition,
		Mutations: []Mutation{{Clustering: row, Whole: true}}, Durability: Relaxed}), "list", chat.UserKey{Tenant: u.Tenant, User: u.ID})
}

// WalkUsers returns at most limit users of a tenant after a cursor, and where to go on; done at the end. The order is
// stable and means nothing.
func (s *Store) WalkUsers(ctx context.Context, tenant chat.TenantID, after chat.UserCursor, limit int) (users []chat.User, next chat.UserCursor, done bool, err error) {
	what := chat.UserKey{Tenant: tenant}
	var ids []chat.UserID
	next = after
	for next.Slot < chat.UserSlots && len(ids) < limit {
		r := Range{Table: TableTenantUsers, Partition: Key{text(tenant), number(uint64(next.Slot))}, Limit: limit - len(ids)}
		if next.After != "" {
			r.From = Key{text(next.After + "\x00")}
		}
		n := 0
		if err := s.engine.Scan(ctx, r, func(row Row) bool {
			next.After = chat.UserID(row.Clustering[0].string())
			ids = append(ids, next.After)
			n++
			return true
		}); err != nil {
			return nil, after, false, fail(err, "list users of", what)
		}
		if n < r.Limit {
			next = chat.UserCursor{Slot: next.Slot + 1}
		}
	}
	if len(ids) > 0 {
		if users, err = s.GetUsers(ctx, tenant, ids); err != nil {
			return nil, after, false, err
		}
		users = slices.DeleteFunc(users, func(u chat.User) bool { return u.ID == "" })
	}
	return users, next, next.Slot >= chat.UserSlots, nil
}

// CountUsers counts the users of a tenant, to most at most. It counts names in the list: a few may be of users who were
// not written after all.
func (s *Store) CountUsers(ctx context.Context, tenant chat.TenantID, most int) (int, error) {
	n := 0
	for slot := uint64(0); slot < chat.UserSlots && n < most; slot++ {
		if err := s.engine.Scan(ctx, Range{Table: TableTenantUsers, Partition: Key{text(tenant), number(slot)}, Limit: most - n}, func(Row) bool {
			n++
			return true
		}); err != nil {
			return n, fail(err, "count users of", chat.UserKey{Tenant: tenant})
		}
	}
	return n, nil
}
