package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/tenancy"
	"github.com/zumodra/hub/edge/tenancy/tenancytest"
)

var operator = chat.Actor{Kind: chat.ActorOperator}

// node is one node's registry, with the sessions that it was told to look at.
type node struct {
	*tenancy.Registry
	mu     sync.Mutex
	looked []chat.UserKey
}

func open(t *testing.T, m *tenancytest.Memory, change ...func(*tenancy.Config)) *node {
	t.Helper()
	n := &node{}
	c := tenancy.Config{Store: m, Poll: 250 * time.Millisecond, Changed: func(k chat.UserKey) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.looked = append(n.looked, k)
	}}
	for _, f := range change {
		f(&c)
	}
	var err error
	if n.Registry, err = tenancy.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) told(k chat.UserKey) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, x := range n.looked {
		if x == k {
			return true
		}
	}
	return false
}

func pass(tenant, user string, issued time.Time) auth.Pass {
	return auth.Pass{User: chat.UserKey{Tenant: chat.TenantID(tenant), User: chat.UserID(user)}, Issued: uint32(issued.Unix())}
}

func check(t *testing.T, what string, got, want error) {
	t.Helper()
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What is decided on one node holds on the other within a second.
func TestChangesReachEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := tenancytest.New(nil)
		a, b := open(t, m), open(t, m)
		defer a.Close()
		defer b.Close()
		ann := chat.UserKey{Tenant: "t", User: "ann"}
		now := time.Now()
		soon := func() { time.Sleep(time.Second); synctest.Wait() }
		both := func(what string, p auth.Pass, want error) {
			t.Helper()
			check(t, what+", here", a.Admit(p), want)
			soon()
			check(t, what+", there", b.Admit(p), want)
			check(t, what+", still here", a.Admit(p), want)
		}
		_, err := a.SuspendUser(ctx, operator, ann, "spam")
		check(t, "suspend", err, nil)
		both("suspended", pass("t", "ann", now), chat.ErrSuspended)
		if !a.told(ann) || !b.told(ann) {
			t.Error("the sessions were not looked at")
		}
		check(t, "another user", b.Admit(pass("t", "bob", now)), nil)
		check(t, "the same of another tenant", b.Admit(pass("u", "ann", now)), nil)
		_, err = b.ResumeUser(ctx, operator, ann)
		check(t, "resume", err, nil)
		soon()
		check(t, "resumed", a.Admit(pass("t", "ann", now)), nil)

		_, err = b.RevokeUserTokens(ctx, operator, ann, now.Add(10*time.Second))
		check(t, "revoke", err, nil)
		soon()
		check(t, "an old token", a.Admit(pass("t", "ann", now)), chat.ErrTokenRevoked)
		check(t, "a token without a time", a.Admit(auth.Pass{User: ann}), chat.ErrTokenRevoked)
		check(t, "a new token", a.Admit(pass("t", "ann", now.Add(11*time.Second))), nil)
		_, err = b.RevokeUserTokens(ctx, operator, ann, now)
		check(t, "revoke less", err, nil)
		soon()
		check(t, "it does not go back", a.Admit(pass("t", "ann", now.Add(5*time.Second))), chat.ErrTokenRevoked)

		p := pass("t", "bob", now)
		p.Token = auth.TokenHash("t", "jti 1")
		_, err = a.RevokeToken(ctx, operator, "t", "jti 1", now.Add(time.Hour))
		check(t, "revoke a token", err, nil)
		both("a revoked token", p, chat.ErrTokenRevoked)
		p.Token = auth.TokenHash("u", "jti 1")
		both("that of another tenant", p, nil)

		_, err = a.CreateTenant(ctx, operator, chat.Tenant{ID: "t", Limits: chat.Limits{Users: 3}})
		check(t, "create", err, nil)
		soon()
		if got := b.Limits("t").Users; got != 3 {
			t.Errorf("limit of users: %d", got)
		}
		_, err = a.SuspendTenant(ctx, operator, "t", "")
		check(t, "suspend the tenant", err, nil)
		both("of a suspended tenant", pass("t", "eve", now), chat.ErrSuspended)
		_, err = a.ResumeTenant(ctx, operator, "t")
		check(t, "resume the tenant", err, nil)
		both("of a resumed tenant", pass("t", "eve", now), nil)
	})
}

// A node that could not look for a long time, and missed announcements, or that starts later, knows the same.
func TestMissedChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := tenancytest.New(nil)
		a := open(t, m, func(c *tenancy.Config) { c.Poll = 0 })
		defer a.Close()
		b := open(t, m)
		defer b.Close()
		m.Fail(chat.ErrUnavailable)
		time.Sleep(time.Minute)
		synctest.Wait()
		m.Fail(nil)
		now := time.Now()
		for i := range 20 { // more than the store remembers
			_, err := a.SuspendUser(ctx, operator, chat.UserKey{Tenant: "t", User: chat.UserID(fmt.Sprint(i))}, "")
			check(t, "suspend", err, nil)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c := open(t, m)
		defer c.Close()
		for name, n := range map[string]*node{"missed": b, "late": c} {
			for i := range 20 {
				check(t, name, n.Admit(pass("t", fmt.Sprint(i), now)), chat.ErrSuspended)
			}
		}
		if !b.told(chat.UserKey{}) {
			t.Error("not all sessions were looked at")
		}
		if b.Stats().PollFailed == 0 {
			t.Error("failures are not counted")
		}
	})
}

// A change whose announcement got lost holds after the next time that everything is read.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := tenancytest.New(nil)
		b := open(t, m)
		defer b.Close()
		_, err := m.Restrict(t.Context(), chat.Restriction{Tenant: "t", User: "ann"}, func(r *chat.Restriction) { r.Suspended = true })
		check(t, "store", err, nil)
		now := time.Now()
		time.Sleep(time.Minute)
		check(t, "before", b.Admit(pass("t", "ann", now)), nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		check(t, "after", b.Admit(pass("t", "ann", now)), chat.ErrSuspended)
	})
}

func TestListedTenants(t *testing.T) {
	m := tenancytest.New(nil)
	r := open(t, m, func(c *tenancy.Config) { c.Listed, c.Poll = true, 0 })
	defer r.Close()
	now := time.Now()
	check(t, "unknown", r.Admit(pass("t", "ann", now)), chat.ErrUnauthorized)
	check(t, "default", r.Admit(pass("default", "ann", now)), nil)
	_, err := r.CreateTenant(t.Context(), operator, chat.Tenant{ID: "t"})
	check(t, "create", err, nil)
	check(t, "known", r.Admit(pass("t", "ann", now)), nil)
}

// Each change writes one entry, a repetition none, and an entry that cannot be written at first is written later.
func TestReq120_AdministrationIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := chat.WithAddress(t.Context(), "192.0.2.1")
		m := tenancytest.New(nil)
		r := open(t, m, func(c *tenancy.Config) { c.Poll = 0 })
		defer r.Close()
		ann := chat.UserKey{Tenant: "t", User: "ann"}
		var key chat.APIKey
		for _, step := range []struct {
			do   func() error
			want chat.Action
		}{
			{func() error { _, err := r.CreateTenant(ctx, operator, chat.Tenant{ID: "t"}); return err }, chat.ActionTenantCreate},
			{func() error { _, err := r.UpdateTenant(ctx, operator, "t", 0, tenancy.TenantChange{}); return err }, chat.ActionTenantUpdate},
			{func() error { _, err := r.SuspendTenant(ctx, operator, "t", "x"); return err }, chat.ActionTenantSuspend},
			{func() error { _, err := r.SuspendTenant(ctx, operator, "t", "x"); return err }, ""},
			{func() error { _, err := r.ResumeTenant(ctx, operator, "t"); return err }, chat.ActionTenantResume},
			{func() error { _, err := r.ResumeTenant(ctx, operator, "t"); return err }, ""},
			{func() error { _, err := r.SuspendUser(ctx, operator, ann, ""); return err }, chat.ActionUserSuspend},
			{func() error { _, err := r.SuspendUser(ctx, operator, ann, ""); return err }, ""},
			{func() error { _, err := r.ResumeUser(ctx, operator, ann); return err }, chat.ActionUserResume},
			{func() error { _, err := r.ResumeUser(ctx, operator, ann); return err }, ""},
			{func() error { _, err := r.RevokeUserTokens(ctx, operator, ann, time.Now()); return err }, chat.ActionTokensRevoke},
			{func() error { _, err := r.RevokeUserTokens(ctx, operator, ann, time.Now()); return err }, ""},
			{func() error { _, err := r.RevokeToken(ctx, operator, "t", "j", time.Now().Add(time.Hour)); return err }, chat.ActionTokenRevoke},
			{func() error { _, err := r.RevokeToken(ctx, operator, "t", "j", time.Now()); return err }, ""},
			{func() (err error) { key, _, err = r.CreateKey(ctx, operator, chat.APIKey{Tenant: "t"}); return err }, chat.ActionKeyCreate},
			{func() error { _, _, err := r.RotateKey(ctx, operator, "t", key.ID, 0); return err }, chat.ActionKeyRotate},
			{func() error { return r.RevokeKey(ctx, operator, "t", key.ID) }, chat.ActionKeyRevoke},
			{func() error { return r.RevokeKey(ctx, operator, "t", key.ID) }, ""},
			{func() error { _, err := r.DeleteTenant(ctx, operator, "t", 0); return err }, chat.ActionTenantDelete},
		} {
			before := len(m.Entries())
			check(t, string(step.want), step.do(), nil)
			got := m.Entries()[before:]
			if step.want == "" {
				if len(got) > 0 {
					t.Errorf("a repetition wrote %v", got)
				}
				continue
			}
			if len(got) != 1 || got[0].Action != step.want || got[0].Tenant != "t" || got[0].Actor != operator || got[0].Address != "192.0.2.1" {
				t.Errorf("%s wrote %+v", step.want, got)
			}
		}
		before := len(m.Entries())
		m.Fail(chat.ErrUnavailable)
		go func() { time.Sleep(time.Second); m.Fail(nil) }()
		gone, cancel := context.WithCancel(ctx)
		cancel()
		r.Record(gone, chat.NewAuditEntry(time.Now(), "t", operator, chat.ActionExport))
		if got := m.Entries()[before:]; len(got) != 1 {
			t.Errorf("written late: %v", got)
		}
		m.Fail(chat.ErrUnavailable)
		r.Record(ctx, chat.NewAuditEntry(time.Now(), "t", operator, chat.ActionExport))
		if r.Stats().AuditFailed != 1 {
			t.Error("a lost entry is not counted")
		}
	})
}

// A node that is alone forgets tokens that have expired.
func TestExpiredTokensAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := tenancytest.New(nil)
		r := open(t, m, func(c *tenancy.Config) { c.Poll = 0 })
		defer r.Close()
		for i := range 5 {
			_, err := r.RevokeToken(t.Context(), operator, "t", fmt.Sprint(i), time.Now().Add(time.Minute))
			check(t, "revoke", err, nil)
		}
		if n := r.Stats().Restrictions; n != 5 {
			t.Errorf("%d restrictions", n)
		}
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		if n := r.Stats().Restrictions; n != 0 {
			t.Errorf("%d restrictions after they expired", n)
		}
	})
}
