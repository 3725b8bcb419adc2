package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
)

const status = `{"type":"status","message":"Connected","is_online":true}`

var (
	conv    = chat.ConversationID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80}
	convKey = chat.ConversationKey{Tenant: chat.DefaultTenant, ID: conv}
)

// verifier takes "user" or "tenant/user" for a token, with words for what may go wrong.
type verifier struct {
	now     func() time.Time
	mu      sync.Mutex
	fetched bool // tokens "late…" need a fetch first
}

func (v *verifier) Verify(token string) (auth.Claims, error) {
	switch {
	case token == "" || token == "forged":
		return auth.Claims{}, chat.ErrUnauthorized
	case token == "expired":
		return auth.Claims{}, fmt.Errorf("%w: %w", chat.ErrUnauthorized, chat.ErrTokenExpired)
	case strings.HasPrefix(token, "late"):
		v.mu.Lock()
		defer v.mu.Unlock()
		if !v.fetched {
			return auth.Claims{}, chat.ErrUnavailable
		}
	}
	tenant, user, ok := strings.Cut(token, "/")
	if !ok {
		tenant, user = string(chat.DefaultTenant), token
	}
	name, life, _ := strings.Cut(user, "@") // "user@5s": lives 5 s
	d, err := time.ParseDuration(life)
	if err != nil {
		d = time.Hour
	}
	p := chat.Principal{Tenant: chat.TenantID(tenant), User: chat.UserID(name), Username: "name of " + name}
	return auth.Claims{Principal: p, Expires: v.now().Add(d),
		User: chat.User{Tenant: p.Tenant, ID: p.User, Username: p.Username}}, nil
}

func (v *verifier) VerifyContext(_ context.Context, token string) (auth.Claims, error) {
	v.mu.Lock()
	v.fetched = true
	v.mu.Unlock()
	return v.Verify(token)
}

// hub is a Dispatcher. Without an answer function it keeps the commands until the test answers them.
type hub struct {
	mu         sync.Mutex
	answer     func(chat.Principal, chat.Command) (chat.Result, error)
	waiting    []*submitted
	commands   []submitted
	registered map[chat.SessionID]int
	seen       []chat.User
	seenErr    error
	hold       bool // Enter waits
	entering   []func(error)
	entered    map[chat.UserKey]int
}

type submitted struct {
	p    chat.Principal
	o    chat.Origin
	cmd  chat.Command
	done func(chat.Result, error)
}

func (h *hub) Submit(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	s := &submitted{p, o, cmd, done}
	h.mu.Lock()
	h.commands = append(h.commands, *s)
	answer := h.answer
	if answer == nil {
		h.waiting = append(h.waiting, s)
	}
	h.mu.Unlock()
	if answer != nil {
		done(answer(p, cmd))
	}
}

func (h *hub) Register(_ chat.UserKey, _ chat.ConversationID, s chat.SessionID) { h.count(s, 1) }

func (h *hub) Unregister(_ chat.UserKey, _ chat.ConversationID, s chat.SessionID) { h.count(s, -1) }

// Enter is at once unless the test holds it.
func (h *hub) Enter(k chat.UserKey, done func(error)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entered == nil {
		h.entered = map[chat.UserKey]int{}
	}
	h.entered[k]++
	if !h.hold {
		return true
	}
	h.entering = append(h.entering, done)
	return false
}

func (h *hub) Exit(k chat.UserKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.entered[k]--; h.entered[k] < 0 {
		panic("a session exits that did not enter")
	}
}

func (h *hub) count(s chat.SessionID, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.registered[s] += n; h.registered[s] != 0 && h.registered[s] != 1 {
		panic(fmt.Sprintf("session %d registered %d times", s, h.registered[s]))
	}
}

func (h *hub) Seen(_ context.Context, u chat.User) (chat.User, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, u)
	return u, h.seenErr
}

// last is the newest command of a session's user.
func (h *hub) last() submitted {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.commands) == 0 {
		return submitted{}
	}
	return h.commands[len(h.commands)-1]
}

func (h *hub) isRegistered(s chat.SessionID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registered[s] == 1
}

// wire is a Transport that keeps what every connection was sent.
type wire struct {
	t     testing.TB
	mu    sync.Mutex
	conns map[reactor.Handle]*conn
	sets  map[*reactor.Set][]reactor.Handle
}

type conn struct {
	reactor.Conn
	frames []string
	code   uint16 // of the close
	reason string
	gone   bool // Closed was called
	shed   int  // frames that could have been shed
}

func (w *wire) Send(h reactor.Handle, f *reactor.Frame, class reactor.Class) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.conns[h]; c != nil && (c.gone || c.code != 0) {
		w.t.Errorf("%s was sent to a connection that is closed", f.Payload())
	}
	return w.put(h, f, class)
}

func (w *wire) put(h reactor.Handle, f *reactor.Frame, class reactor.Class) error {
	c := w.conns[h]
	switch {
	case c == nil:
		w.t.Errorf("a frame for %d, which never opened", h)
		return reactor.ErrClosed
	case c.gone || c.code != 0:
		return reactor.ErrClosed
	}
	c.frames = append(c.frames, string(f.Payload()))
	if class == reactor.Ephemeral {
		c.shed++
	}
	return nil
}

// Broadcast finds the handles by the set's length: a fake cannot look into a reactor.Set, so that tests
// register what they deliver to with bed.set.
func (w *wire) Broadcast(set *reactor.Set, f *reactor.Frame, class reactor.Class, except reactor.Handle) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to, ok := w.sets[set]
	if !ok {
		w.t.Errorf("broadcast to an unknown set")
	}
	for _, h := range to {
		if h != except && w.conns[h] != nil {
			_ = w.put(h, f, class)
		}
	}
}

func (w *wire) CloseConn(h reactor.Handle, code uint16, reason string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.conns[h]
	if c == nil || c.gone || c.code != 0 {
		return reactor.ErrClosed
	}
	c.code, c.reason = code, reason
	return nil
}

// bed is a Manager between fakes.
type bed struct {
	t    testing.TB
	m    *session.Manager
	hub  *hub
	wire *wire
	next reactor.Handle
}

func newBed(t testing.TB, change func(*session.Config, *hub)) *bed {
	b := &bed{t: t, hub: &hub{registered: map[chat.SessionID]int{}}, wire: &wire{t: t, conns: map[reactor.Handle]*conn{}, sets: map[*reactor.Set][]reactor.Handle{}}}
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{}, nil }
	cfg := session.Config{Dispatcher: b.hub, Verifier: &verifier{now: time.Now}, Workers: 2,
		Limiter: session.NewLimiter(session.LimiterConfig{Rate: -1})}
	if change != nil {
		change(&cfg, b.hub)
	}
	b.m = session.New(cfg)
	b.m.Bind(b.wire)
	t.Cleanup(b.m.Close)
	return b
}

func request(path, token string) *reactor.Request {
	r := &reactor.Request{Path: path, Host: "hub.example", Remote: netip.MustParseAddrPort("127.0.0.1:1"), Header: http.Header{}}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// dial opens a connection and returns once everything synchronous has happened.
func (b *bed) dial(path, token string) *conn {
	b.t.Helper()
	d := b.m.Upgrade(request(path, token))
	if d.Status != 0 {
		b.t.Fatalf("%s: HTTP %d", path, d.Status)
	}
	return b.open(d)
}

func (b *bed) open(d reactor.Decision) *conn {
	b.next++
	c := &conn{Conn: reactor.Conn{Handle: b.next<<32 | reactor.Handle(d.Session), Session: d.Session}}
	b.wire.mu.Lock()
	b.wire.conns[c.Handle] = c
	b.wire.mu.Unlock()
	b.m.Open(c.Conn)
	return c
}

func (b *bed) send(c *conn, frame string) { b.m.Message(c.Conn, true, []byte(frame)) }

func (b *bed) close(c *conn) {
	b.wire.mu.Lock()
	c.gone = true
	code := c.code
	b.wire.mu.Unlock()
	if code == 0 {
		code = reactor.CloseAbnormal
	}
	b.m.Closed(c.Conn, code, "")
}

// frames returns what the connection has been sent since the last call.
func (b *bed) frames(c *conn) []string {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	f := c.frames
	c.frames = nil
	return f
}

func (b *bed) closed(c *conn) (uint16, string) {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	return c.code, c.reason
}

// deliver sends notices to the connections as one set of the directory.
func (b *bed) deliver(d *chat.Delivery, to ...*conn) {
	b.m.Deliver(b.set(to...), d)
}

func (b *bed) set(to ...*conn) *chat.SessionSet {
	s := &chat.SessionSet{}
	var handles []reactor.Handle
	for _, c := range to {
		s.Sessions = append(s.Sessions, chat.SessionID(c.Handle))
		handles = append(handles, c.Handle)
	}
	// An empty delivery makes the Manager prepare the set, which the fake then knows.
	b.m.Deliver(s, &chat.Delivery{Key: convKey})
	set, ok := s.Prepare(nil).(*reactor.Set)
	if !ok || set.Len() != len(to) {
		b.t.Fatal("the prepared set is not one of the reactor, or not of these sessions")
	}
	b.wire.mu.Lock()
	b.wire.sets[set] = handles
	b.wire.mu.Unlock()
	return s
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in a minute", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func want(t testing.TB, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var errBug = errors.New("row of secret@example.com")

// nowhere is a Transport that forgets.
type nowhere struct{}

func (nowhere) Send(reactor.Handle, *reactor.Frame, reactor.Class) error { return nil }

func (nowhere) Broadcast(*reactor.Set, *reactor.Frame, reactor.Class, reactor.Handle) {}

func (nowhere) CloseConn(reactor.Handle, uint16, string) error { return nil }
