package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/storage"
)

func storeTenancyTenants(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	got, err := s.GetTenant(ctx, "a")
	must(t, err)
	equal(t, got, chat.Tenant{ID: "a"})
	a := chat.Tenant{ID: "a", Name: "A & co", Settings: `{"k":[1]}`, Limits: chat.Limits{Users: 5, MessageRate: 0.5, UploadBytes: 1 << 40},
		Version: 1, CreatedAt: At(1), UpdatedAt: At(1)}
	must(t, s.SaveTenant(ctx, a, 0))
	if err := s.SaveTenant(ctx, a, 0); !errors.Is(err, chat.ErrConflict) {
		t.Fatalf("created twice: %v", err)
	}
	got, err = s.GetTenant(ctx, "a")
	must(t, err)
	equal(t, got, a)
	next := a
	next.Version, next.State, next.Reason, next.Limits, next.Name, next.Settings = 2, chat.TenantSuspended, "unpaid", chat.Limits{}, "", ""
	must(t, s.SaveTenant(ctx, next, 1))
	if err := s.SaveTenant(ctx, next, 1); !errors.Is(err, chat.ErrConflict) && !errors.Is(err, chat.ErrInvalid) {
		t.Fatalf("a lost update: %v", err)
	}
	for _, id := range []chat.TenantID{"c", "b", "a.1"} {
		must(t, s.SaveTenant(ctx, chat.Tenant{ID: id, Version: 1, CreatedAt: At(2)}, 0))
	}
	var ids []chat.TenantID
	for after := chat.TenantID(""); ; {
		page, err := s.ListTenants(ctx, after, 2)
		must(t, err)
		for _, x := range page {
			ids = append(ids, x.ID)
		}
		if len(page) < 2 {
			break
		}
		after = page[1].ID
	}
	equal(t, ids, []chat.TenantID{"a", "a.1", "b", "c"})
	got, err = s.GetTenant(ctx, "a")
	must(t, err)
	equal(t, got, next)
	settled(t, s)
}

func storeTenancyKeys(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	if _, err := s.GetKey(ctx, "k1"); !errors.Is(err, chat.ErrNotFound) {
		t.Fatalf("a key that is not there: %v", err)
	}
	k := chat.APIKey{ID: "k1", Tenant: "a", Name: "server", Scopes: []chat.Scope{chat.ScopeSend, chat.ScopeUsersRead}, Hash: chat.KeyHash{1, 2, 3},
		CreatedBy: "operator", CreatedAt: At(1), Version: 1}
	must(t, s.SaveKey(ctx, k, 0))
	got, err := s.GetKey(ctx, "k1")
	must(t, err)
	equal(t, got, k)
	turned := k
	turned.Version, turned.Hash, turned.Old, turned.OldUntil, turned.ExpiresAt = 2, chat.KeyHash{9}, k.Hash, At(5), At(9)
	must(t, s.SaveKey(ctx, turned, 1))
	if err := s.SaveKey(ctx, turned, 1); !errors.Is(err, chat.ErrConflict) && !errors.Is(err, chat.ErrInvalid) {
		t.Fatalf("a lost update: %v", err)
	}
	other := chat.APIKey{ID: "k2", Tenant: "b", Version: 1}
	must(t, s.SaveKey(ctx, other, 0))
	list, err := s.ListKeys(ctx, "a")
	must(t, err)
	equal(t, list, []chat.APIKey{turned})
	list, err = s.ListKeys(ctx, "none")
	must(t, err)
	equal(t, len(list), 0)
	settled(t, s)
}

func storeTenancyRestrictions(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	user := chat.Restriction{Tenant: "a", User: "al\x00ice"}
	var wg sync.WaitGroup
	for i := range uint64(8) { // at once: none of the changes gets lost
		wg.Go(func() {
			_, err := s.Restrict(ctx, user, func(r *chat.Restriction) {
				if i == 0 {
					r.Suspended, r.SuspendedAt, r.Reason = true, At(1), "spam"
				} else if before := At(i); before.After(r.RevokedBefore) {
					r.RevokedBefore = before
				}
			})
			for errors.Is(err, chat.ErrUnknown) { // contention on a cluster
				_, err = s.Restrict(ctx, user, func(r *chat.Restriction) {
					if i == 0 {
						r.Suspended, r.SuspendedAt, r.Reason = true, At(1), "spam"
					} else if before := At(i); before.After(r.RevokedBefore) {
						r.RevokedBefore = before
					}
				})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := user
	want.Suspended, want.SuspendedAt, want.Reason, want.RevokedBefore = true, At(1), "spam", At(7)
	got, err := s.GetRestriction(ctx, user)
	must(t, err)
	equal(t, got, want)
	token := chat.Restriction{Tenant: "a", Token: "alice", Until: At(10)}
	_, err = s.Restrict(ctx, token, func(r *chat.Restriction) { r.Until = At(10) })
	must(t, err)
	list := func(now time.Time) (all []chat.Restriction) {
		t.Helper()
		must(t, s.Restrictions(ctx, now, func(r chat.Restriction) bool { all = append(all, r); return true }))
		slices.SortFunc(all, func(a, b chat.Restriction) int { return len(a.Token) - len(b.Token) })
		return all
	}
	equal(t, list(At(11)), []chat.Restriction{want, token})
	equal(t, list(At(10).Add(2*time.Hour)), []chat.Restriction{want})
	equal(t, list(At(11)), []chat.Restriction{want}) // the token's is gone
	got, err = s.Restrict(ctx, user, func(r *chat.Restriction) { *r = user })
	must(t, err)
	equal(t, got, user)
	settled(t, s)
}

func storeAnnouncements(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	n, changes, missed, err := s.Announced(ctx, 0)
	must(t, err)
	equal(t, fmt.Sprint(n, changes, missed), "0 [] false")
	for i := range 3 {
		must(t, s.Announce(ctx, chat.TenancyChange{Tenant: "a", User: chat.UserID(fmt.Sprint(i))}))
	}
	n, changes, missed, err = s.Announced(ctx, 1)
	must(t, err)
	equal(t, fmt.Sprint(n, changes, missed), "3 [{a 1 } {a 2 }] false")
	n, changes, missed, err = s.Announced(ctx, 3)
	must(t, err)
	equal(t, fmt.Sprint(n, changes, missed), "3 [] false")
	for range 70 {
		must(t, s.Announce(ctx, chat.TenancyChange{Tenant: "b", Token: "x"}))
	}
	n, changes, missed, err = s.Announced(ctx, 3)
	must(t, err)
	equal(t, fmt.Sprint(n, changes, missed), "73 [] true")
	n, changes, missed, err = s.Announced(ctx, 9)
	must(t, err)
	equal(t, fmt.Sprint(n, len(changes), missed), "73 64 false")
	_, _, missed, err = s.Announced(ctx, 99) // of another store
	must(t, err)
	equal(t, missed, true)
}

func storeAudit(t *testing.T, s *storage.Store, _ storage.Engine) {
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Microsecond)
	var want []chat.AuditEntry // the newest first
	add := func(tenant chat.TenantID, ago time.Duration, a chat.Action, objects ...string) {
		e := chat.NewAuditEntry(now.Add(-ago), tenant, chat.Actor{Kind: chat.ActorUser, ID: "alice"}, a, objects...)
		e.Address, e.Outcome = "192.0.2.1", "ok"
		must(t, s.AppendAudit(ctx, e))
		must(t, s.AppendAudit(ctx, e)) // again
		if tenant == "a" {
			want = slices.Insert(want, 0, e)
		}
	}
	day := 24 * time.Hour
	add("a", 200*day, chat.ActionExport)
	add("a", 70*day, chat.ActionBlock, "bob")
	add("b", 70*day, chat.ActionBlock, "bob")
	for i := range 7 {
		add("a", 2*day-time.Duration(i)*time.Second, chat.ActionRemove, "c1", fmt.Sprint("u", i%2))
	}
	add("a", 0, chat.ActionBlock, "carol")
	walk := func(q chat.AuditQuery) (all []chat.AuditEntry) {
		t.Helper()
		q.Tenant = "a"
		for {
			page, err := s.ListAudit(ctx, q, now)
			must(t, err)
			all = append(all, page.Entries...)
			if !page.More {
				return all
			}
			q.Before = page.Last
		}
	}
	equal(t, walk(chat.AuditQuery{Limit: 3}), want)
	equal(t, walk(chat.AuditQuery{Limit: 100}), want)
	equal(t, len(walk(chat.AuditQuery{Limit: 2, Action: chat.ActionBlock})), 2)
	equal(t, len(walk(chat.AuditQuery{Limit: 2, Object: "u1"})), 3)
	equal(t, len(walk(chat.AuditQuery{Limit: 2, Actor: "bob"})), 0)
	equal(t, len(walk(chat.AuditQuery{Limit: 2, From: now.Add(-3 * day), To: now.Add(-day)})), 7)
	if err := s.AppendAudit(ctx, chat.AuditEntry{Tenant: "a"}); !errors.Is(err, chat.ErrInvalid) {
		t.Errorf("an empty entry: %v", err)
	}
	settled(t, s)
}

func storeTenantUsers(t *testing.T, s *storage.Store, e storage.Engine) {
	ctx := t.Context()
	want := make(map[chat.UserID]bool)
	for i := range 60 {
		u := chat.User{Tenant: "a", ID: chat.UserID(fmt.Sprint("user", i)), Username: "x", CreatedAt: At(1), UpdatedAt: At(1)}
		want[u.ID] = true
		if i%2 == 0 {
			must(t, s.PutUser(ctx, u))
		} else if _, _, err := s.CreateUser(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	must(t, s.PutUser(ctx, chat.User{Tenant: "b", ID: "other", CreatedAt: At(1), UpdatedAt: At(1)}))
	walk := func(limit int) map[chat.UserID]bool {
		t.Helper()
		got := make(map[chat.UserID]bool)
		var at chat.UserCursor
		for {
			users, next, done, err := s.WalkUsers(ctx, "a", at, limit)
			must(t, err)
			for _, u := range users {
				if got[u.ID] {
					t.Errorf("%s twice", u.ID)
				}
				got[u.ID] = true
			}
			if done {
				return got
			}
			at = next
		}
	}
	equal(t, walk(7), want)
	equal(t, walk(1000), want)
	n, err := s.CountUsers(ctx, "a", 1000)
	must(t, err)
	equal(t, n, 60)
	n, err = s.CountUsers(ctx, "a", 5)
	must(t, err)
	equal(t, n, 5)
	// A store from before the list.
	for slot := range int64(chat.UserSlots) {
		must(t, e.Apply(ctx, storage.Batch{Table: storage.TableTenantUsers, Partition: storage.Key{txt("a"), num(slot)},
			Mutations: []storage.Mutation{{Delete: true}}}))
	}
	equal(t, len(walk(1000)), 0)
	settled(t, s) // nothing says that the list is complete
	must(t, s.IndexUsers(ctx))
	equal(t, walk(1000), want)
	settled(t, s)
}
