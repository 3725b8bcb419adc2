package session_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
)

var chatPath = "/ws/chat/" + conv.String() + "/"

func TestReq026_Endpoints(t *testing.T) {
	b := newBed(t, nil)
	plain := strings.ReplaceAll(conv.String(), "-", "")
	for _, path := range []string{chatPath, "/ws/chat/" + conv.String(), "/ws/chat/" + plain + "/", "/ws/chat/" + plain, "/ws/", "/ws"} {
		c := b.dial(path, "alice")
		want(t, b.frames(c), status)
		if strings.Contains(path, "chat") {
			if got := b.hub.last(); got.cmd != (chat.Attach{Conversation: conv, Join: true}) {
				t.Errorf("%s asked %v", path, got.cmd)
			}
		}
	}
	for _, path := range []string{"/", "/ws/chat/", "/ws/other/", chatPath + "x", "/wss", "/ws/notifications/"} {
		if d := b.m.Upgrade(request(path, "alice")); d.Status != http.StatusNotFound {
			t.Errorf("%s: %d", path, d.Status)
		}
	}
}

func TestReq027_NoCredentialNoSession(t *testing.T) {
	b := newBed(t, nil)
	for token, reason := range map[string]string{"": "authentication required", "forged": "authentication required", "expired": "token expired"} {
		for _, path := range []string{chatPath, "/ws/"} {
			c := b.dial(path, token)
			b.send(c, `{"type":"send_message","content":"x"}`)
			if code, why := b.closed(c); code != 4001 || why != reason {
				t.Errorf("%q: %d %q", token, code, why)
			}
			want(t, b.frames(c))
			b.close(c)
		}
	}
	if n := len(b.hub.commands); n != 0 {
		t.Fatalf("%d commands of nobody", n)
	}
	pre := newBed(t, func(c *session.Config, _ *hub) { c.PreAcceptReject = true })
	if d := pre.m.Upgrade(request(chatPath, "forged")); d.Status != http.StatusUnauthorized {
		t.Fatalf("HTTP %d", d.Status)
	}
	if d := pre.m.Upgrade(request(chatPath, "alice")); d.Status != 0 {
		t.Fatalf("HTTP %d", d.Status)
	}
}

func TestTokensInEveryPlace(t *testing.T) {
	b := newBed(t, func(c *session.Config, _ *hub) { c.CookieName = "sessionid" })
	for name, change := range map[string]func(*reactor.Request){
		"query":       func(r *reactor.Request) { r.RawQuery = "token=alice" },
		"subprotocol": func(r *reactor.Request) { r.Header.Set("Sec-WebSocket-Protocol", "bearer, alice") },
		"cookie": func(r *reactor.Request) {
			r.Header.Set("Cookie", "sessionid=alice")
			r.Header.Set("Origin", "https://hub.example")
		},
	} {
		r := request("/ws/", "")
		change(r)
		d := b.m.Upgrade(r)
		if d.Status != 0 || (d.Subprotocol == "bearer") != (name == "subprotocol") {
			t.Errorf("%s: %+v", name, d)
			continue
		}
		want(t, b.frames(b.open(d)), status)
	}
}

func TestReq028_OnlyMembersAttach(t *testing.T) {
	var err error
	b := newBed(t, func(_ *session.Config, h *hub) {
		h.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{}, err }
	})
	for _, err = range []error{chat.ErrNotMember, chat.ErrNotFound, chat.ErrBlocked} {
		c := b.dial(chatPath, "alice")
		b.send(c, `{"type":"typing"}`)
		if code, why := b.closed(c); code != 4003 || why != "not a participant" {
			t.Errorf("%v: %d %q", err, code, why)
		}
		want(t, b.frames(c))
		b.close(c)
	}
	c := b.dial("/ws/chat/not-a-uuid/", "alice")
	if code, _ := b.closed(c); code != 4003 {
		t.Errorf("no UUID: %d", code)
	}

	// Once open, every command is checked again by who decides; the session ends with the membership.
	err = nil
	c = b.dial(chatPath, "alice")
	want(t, b.frames(c), status)
	err = fmt.Errorf("sending: %w", chat.ErrNotMember)
	b.send(c, `{"type":"send_message","content":"x","ref":1}`)
	want(t, b.frames(c), `{"type":"error","message":"You are not a participant.","code":"not_participant","conversation_id":"`+conv.String()+`","ref":1}`)
	if code, _ := b.closed(c); code != 4003 {
		t.Errorf("after removal: %d", code)
	}
}

func TestReq030_StatusIsFirst(t *testing.T) {
	b := newBed(t, func(_ *session.Config, h *hub) { h.answer = nil })
	c := b.dial(chatPath, "alice")
	b.send(c, `{"type":"ping","ref":1}`)
	b.m.Message(c.Conn, false, []byte{1})
	want(t, b.frames(c))
	if b.hub.isRegistered(chat.SessionID(c.Handle)) {
		t.Fatal("registered before attached")
	}
	b.hub.waiting[0].done(chat.Result{}, nil)
	want(t, b.frames(c), status, `{"type":"pong","ref":1}`, `{"type":"error","message":"Binary frames are not supported","code":"not_supported"}`)
	if !b.hub.isRegistered(chat.SessionID(c.Handle)) {
		t.Fatal("not registered")
	}
	b.close(c)
	if b.hub.isRegistered(chat.SessionID(c.Handle)) {
		t.Fatal("still registered")
	}
}

func TestReq041_CloseCodes(t *testing.T) {
	attach := func(err error) func(*testing.T) (*bed, *conn) {
		return func(t *testing.T) (*bed, *conn) {
			b := newBed(t, func(_ *session.Config, h *hub) {
				h.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{}, err }
			})
			return b, b.dial(chatPath, "alice")
		}
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T) (*bed, *conn)
		code uint16
	}{
		{"bug", attach(errBug), 1011},
		{"overload", attach(chat.ErrOverloaded), 1013},
		{"unavailable", attach(chat.ErrUnavailable), 1013},
		{"not a member", attach(chat.ErrNotMember), 4003},
		{"gone", attach(chat.ErrGone), 4004},
		{"no token", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, nil)
			return b, b.dial(chatPath, "")
		}, 4001},
		{"too much before open", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, func(c *session.Config, h *hub) { c.PendingFrames, h.answer = 2, nil })
			c := b.dial(chatPath, "alice")
			for range 3 {
				b.send(c, `{}`)
			}
			return b, c
		}, 1008},
		{"too many bytes before open", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, func(c *session.Config, h *hub) { c.PendingBytes, h.answer = 10, nil })
			c := b.dial(chatPath, "alice")
			b.send(c, `{"type":"ping"}`)
			return b, c
		}, 1008},
		{"too many connections", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, func(c *session.Config, _ *hub) { c.MaxPerUser = 1 })
			b.dial(chatPath, "alice")
			return b, b.dial(chatPath, "alice")
		}, 4029},
		{"repeat offender", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, func(c *session.Config, _ *hub) {
				c.Limiter = session.NewLimiter(session.LimiterConfig{Rate: 0.001, Burst: 1, Offences: 5})
			})
			c := b.dial(chatPath, "alice")
			for range 7 {
				b.send(c, `{"type":"leave"}`)
			}
			return b, c
		}, 4029},
		{"gone while open", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, nil)
			c := b.dial(chatPath, "alice")
			b.deliver(&chat.Delivery{Key: convKey, Detached: []chat.UserID{"alice"}, Gone: true}, c)
			return b, c
		}, 4004},
		{"removed while open", func(t *testing.T) (*bed, *conn) {
			b := newBed(t, nil)
			c := b.dial(chatPath, "alice")
			b.deliver(&chat.Delivery{Key: convKey, Detached: []chat.UserID{"alice"}}, c)
			return b, c
		}, 4003},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, conn := c.run(t)
			code, reason := b.closed(conn)
			if code != c.code || reason == "" || strings.Contains(reason, "secret") {
				t.Fatalf("%d %q, want %d", code, reason, c.code)
			}
			b.close(conn)
			if b.hub.isRegistered(chat.SessionID(conn.Handle)) {
				t.Fatal("still registered")
			}
		})
	}
}

func TestReq044_ForeignOriginsAreRefused(t *testing.T) {
	origins, err := auth.ParseOrigins([]string{"https://*.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, func(c *session.Config, _ *hub) { c.Origins, c.CookieName = origins, "sessionid" })
	for origin, status := range map[string]int{"": 0, "https://hub.example": 0, "https://a.example.com": 0, "https://evil.example": 403} {
		r := request("/ws/", "alice")
		r.Header.Set("Origin", origin)
		if d := b.m.Upgrade(r); d.Status != status {
			t.Errorf("%q: %d", origin, d.Status)
		}
	}
	r := request("/ws/", "")
	r.Header.Set("Cookie", "sessionid=alice")
	if d := b.m.Upgrade(r); d.Status != 403 {
		t.Errorf("a cookie without Origin: %d", d.Status)
	}
}

func TestReq046_SessionsPerUser(t *testing.T) {
	b := newBed(t, func(c *session.Config, _ *hub) { c.MaxPerUser = 2 })
	one, two, three := b.dial("/ws/", "alice"), b.dial("/ws/", "alice"), b.dial("/ws/", "alice")
	other, tenant := b.dial("/ws/", "bob"), b.dial("/ws/", "acme/alice")
	for c, code := range map[*conn]uint16{one: 0, two: 0, three: 4029, other: 0, tenant: 0} {
		if got, _ := b.closed(c); got != code {
			t.Errorf("%d, want %d", got, code)
		}
	}
	b.close(three)
	b.close(one)
	if c := b.dial("/ws/", "alice"); c.code != 0 {
		t.Errorf("after one left: %d", c.code)
	}
	if n := b.m.Stats().Users; n != 3 {
		t.Errorf("%d users", n)
	}
}

// TestSlowVerification: a token that only the network can judge is verified by a worker, frames wait.
func TestSlowVerification(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(chatPath, "late-alice")
	b.send(c, `{"type":"ping"}`)
	eventually(t, "open", func() bool { return b.m.Stats().Open == 1 })
	want(t, b.frames(c), status, `{"type":"pong"}`)
}

func TestUsersAreIntroducedOnce(t *testing.T) {
	b := newBed(t, func(c *session.Config, h *hub) { c.Users = h })
	for i := range 3 {
		c := b.dial("/ws/", "alice")
		eventually(t, "open", func() bool { return b.m.Stats().Open == 1 })
		if got := b.hub.seen; len(got) != 1 || got[0].ID != "alice" || got[0].Username != "name of alice" {
			t.Fatalf("session %d: %v", i, got)
		}
		b.close(c)
	}
	b.hub.seenErr = chat.ErrUnavailable
	c := b.dial("/ws/", "bob")
	eventually(t, "closed", func() bool { code, _ := b.closed(c); return code == 1013 })
	want(t, b.frames(c))
}

func TestWorkersAreBounded(t *testing.T) {
	release := make(chan struct{})
	b := newBed(t, func(c *session.Config, _ *hub) {
		c.Users, c.Workers, c.WorkQueue = blocking{release}, 1, 2
	})
	defer close(release)
	var refused int
	for i := range 10 {
		if c := b.dial("/ws/", fmt.Sprint("u", i)); c.code == 1013 {
			refused++
		}
	}
	if refused < 7 {
		t.Fatalf("%d refused of 10 with room for 3", refused)
	}
}

func TestTokenExpiryEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, nil)
		defer b.m.Close()
		c, renewed, other := b.dial(chatPath, "alice@10s"), b.dial(chatPath, "alice@10s"), b.dial(chatPath, "bob@20s")
		time.Sleep(8 * time.Second)
		b.send(renewed, `{"type":"auth","token":"alice@30s","ref":"a"}`)
		f := b.frames(renewed)
		if len(f) != 2 || !strings.HasPrefix(f[1], `{"type":"auth","expires_at":"`) || !strings.HasSuffix(f[1], `,"ref":"a"}`) {
			t.Fatal(f)
		}
		b.send(renewed, `{"type":"auth","token":"bob"}`)
		b.send(renewed, `{"type":"auth","token":"expired"}`)
		want(t, b.frames(renewed), `{"type":"error","message":"The token is of another user.","code":"forbidden"}`,
			`{"type":"error","message":"Token expired","code":"token_expired"}`)
		closed := func(c *conn) uint16 { code, _ := b.closed(c); return code }
		time.Sleep(1 * time.Second)
		if closed(c) != 0 {
			t.Fatal("ended before its token")
		}
		time.Sleep(3 * time.Second)
		if closed(c) != 4001 || closed(renewed) != 0 || closed(other) != 0 {
			t.Fatal(closed(c), closed(renewed), closed(other))
		}
		b.close(c)
		b.close(other) // before its time: nothing may be left of it
		time.Sleep(30 * time.Second)
		if closed(renewed) != 4001 || closed(other) != 0 {
			t.Fatal(closed(renewed), closed(other))
		}
	})
}

func TestDrain(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial("/ws/", "alice")
	b.frames(c)
	if err := b.m.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := b.frames(c); len(f) != 1 || !strings.HasPrefix(f[0], `{"type":"goaway","retry_after_ms":`) {
		t.Fatal(f)
	}
	if d := b.m.Upgrade(request("/ws/", "alice")); d.Status != 503 || d.RetryAfter <= 0 {
		t.Fatalf("%+v", d)
	}
}
