package session_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/session"
)

// door is a Config.Admit whose mind a test changes.
type door struct {
	mu  sync.Mutex
	out map[chat.UserKey]error
	ask func(auth.Pass) // called before the answer
}

func (d *door) admit(p auth.Pass) error {
	if d.ask != nil {
		d.ask(p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out[p.User]
}

func (d *door) shut(k chat.UserKey, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out == nil {
		d.out = map[chat.UserKey]error{}
	}
	d.out[k] = err
}

func key(tenant, user string) chat.UserKey {
	return chat.UserKey{Tenant: chat.TenantID(tenant), User: chat.UserID(user)}
}

func TestRecheckClosesWhoIsKeptOut(t *testing.T) {
	var d door
	b := newBed(t, func(c *session.Config, _ *hub) { c.Admit = d.admit })
	a1, a2, bob, other := b.dial("/ws/", "alice"), b.dial(chatPath, "alice"), b.dial("/ws/", "bob"), b.dial("/ws/", "acme/alice")
	d.shut(key("default", "alice"), &chat.SuspendedError{})
	d.shut(key("acme", "alice"), chat.ErrTokenRevoked)
	closed := func(what string, c *conn, code uint16, reason string) {
		t.Helper()
		if got, why := b.closed(c); got != code || why != reason {
			t.Errorf("%s: closed with %d %q", what, got, why)
		}
	}
	b.m.Recheck(key("default", "bob"))
	closed("not looked at", a1, 0, "")
	b.m.Recheck(key("default", "alice"))
	closed("one", a1, 4003, "suspended")
	closed("two", a2, 4003, "suspended")
	closed("another user", bob, 0, "")
	closed("the same of another tenant", other, 0, "")
	b.m.Recheck(chat.UserKey{Tenant: "acme"})
	closed("of a tenant", other, 4001, "token revoked")
	closed("a new one", b.dial("/ws/", "alice"), 4003, "suspended")
	d.shut(key("default", "bob"), &chat.SuspendedError{Tenant: true})
	b.m.Recheck(chat.UserKey{})
	closed("everybody", bob, 4003, "suspended")
	d.shut(key("default", "alice"), nil)
	if c := b.dial("/ws/", "alice"); c.code != 0 {
		t.Errorf("let in again: %d", c.code)
	}
}

// A tenant that was erased, and made anew, has users that are stored again when they come back.
func TestUsersOfAnErasedTenantAreIntroducedAgain(t *testing.T) {
	b := newBed(t, func(c *session.Config, h *hub) { c.Users = h })
	introduced := func() int {
		b.hub.mu.Lock()
		defer b.hub.mu.Unlock()
		return len(b.hub.seen)
	}
	dial := func(want int) {
		t.Helper()
		c := b.dial("/ws/", "acme/ann")
		eventually(t, "the session opens", func() bool { return b.hub.isRegistered(chat.SessionID(c.Handle)) })
		if n := introduced(); n != want {
			t.Errorf("introduced %d times, want %d", n, want)
		}
		b.close(c)
	}
	dial(1)
	dial(1)
	b.m.Recheck(key("acme", "ann"))
	b.m.Recheck(chat.UserKey{})
	dial(1)
	b.m.Recheck(chat.UserKey{Tenant: "acme"})
	dial(2)
}

// A session that opens while its user is suspended does not slip through: either it sees the suspension, or the walk
// over the sessions sees it.
func TestSuspensionWhileOpening(t *testing.T) {
	var d door
	var b *bed
	k := key("default", "alice")
	walked := false
	d.ask = func(p auth.Pass) {
		if p.User != k || walked {
			return
		}
		walked = true // the latest moment at which the walk can come: the session has asked, and heard yes
		d.shut(k, &chat.SuspendedError{})
		defer d.shut(k, nil) // what the session hears
		d.ask = nil
		b.m.Recheck(k)
	}
	b = newBed(t, func(c *session.Config, _ *hub) { c.Admit = d.admit })
	c := b.dial("/ws/", "alice")
	if code, reason := b.closed(c); !walked || code != 4003 || reason != "suspended" {
		t.Errorf("walked %v, closed with %d %q", walked, code, reason)
	}
}

func TestReq119_SessionLimits(t *testing.T) {
	limits := session.Limits{Tenant: 3, User: 2}
	b := newBed(t, func(c *session.Config, _ *hub) { c.Limits = func(chat.TenantID) session.Limits { return limits } })
	b.dial("/ws/", "alice")
	two := b.dial("/ws/", "alice")
	crowded := func(token string) {
		t.Helper()
		c := b.dial("/ws/", token)
		code, _ := b.closed(c)
		frames := b.frames(c)
		if code != 4029 || len(frames) != 1 || !strings.Contains(frames[0], `"code":"rate_limited"`) || !strings.Contains(frames[0], `"retry_after_ms":`) {
			t.Errorf("%s: %d after %v", token, code, frames)
		}
		b.close(c)
	}
	crowded("alice")
	b.dial("/ws/", "bob")
	crowded("cid")
	if c := b.dial("/ws/", "acme/cid"); c.code != 0 {
		t.Error("another tenant is limited, too")
	}
	b.close(two)
	if c := b.dial("/ws/", "cid"); c.code != 0 {
		t.Error("no room after one left")
	}
	limits.Tenant = 5
	if c := b.dial("/ws/", "dan"); c.code != 0 {
		t.Error("no room after the limit was raised")
	}
}
