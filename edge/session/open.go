package session

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/reactor"
)

// route tells the two paths apart. known is false for every other path; a conversation that cannot exist,
// because its id is no UUID, is zero with single set.
func route(path string) (conversation chat.ConversationID, single, known bool) {
	path = strings.TrimSuffix(path, "/")
	if path == "/ws" {
		return conversation, false, true
	}
	id, ok := strings.CutPrefix(path, "/ws/chat/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return conversation, false, false
	}
	conversation, _ = chat.ParseConversationID(id)
	return conversation, true, true
}

// Upgrade implements reactor.Handler.
func (m *Manager) Upgrade(r *reactor.Request) reactor.Decision {
	refuse := func(status int, retry time.Duration) reactor.Decision {
		m.obs.Refused(uint16(status))
		return reactor.Decision{Status: status, Body: http.StatusText(status) + "\n", RetryAfter: retry}
	}
	if m.draining.Load() {
		return refuse(http.StatusServiceUnavailable, m.retryAfter())
	}
	conversation, single, known := route(r.Path)
	if !known {
		return refuse(http.StatusNotFound, 0)
	}
	token, source := auth.FromRequest(r.Header, r.RawQuery, m.cfg.CookieName)
	if !m.cfg.Origins.Allowed(r.Header.Get("Origin"), r.Host, source) {
		return refuse(http.StatusForbidden, 0)
	}
	p := &pending{since: m.cfg.Now()}
	st := stateIntroducing
	claims, err := m.cfg.Verifier.Verify(token)
	switch {
	case err == nil && single && conversation.IsZero():
		if m.cfg.PreAcceptReject {
			return refuse(http.StatusForbidden, 0)
		}
		st, p.code, p.reason = stateRejected, frame.CloseForbidden, "not a participant"
	case err == nil:
		p.claims = claims
	case errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, chat.ErrUnauthorized):
		st, p.token = stateVerifying, token
	case m.cfg.PreAcceptReject && errors.Is(err, chat.ErrSuspended):
		return refuse(http.StatusForbidden, 0)
	case m.cfg.PreAcceptReject:
		return refuse(http.StatusUnauthorized, 0)
	default:
		st = stateRejected
		p.code, p.reason = closeFor(err)
	}
	i, rec := m.slab.alloc()
	rec.mu.Lock()
	rec.conversation, rec.single, rec.pending = conversation, single, p
	rec.net = network(m.cfg.Proxies.Client(r.Remote.Addr(), r.Header))
	m.set(rec, st)
	rec.mu.Unlock()
	d := reactor.Decision{Session: i}
	if auth.OffersBearer(r.Header) {
		d.Subprotocol = auth.Subprotocol
	}
	return d
}

// closeFor is how an error that keeps a session from opening is told: never more than its kind.
func closeFor(err error) (code uint16, reason string) {
	o := frame.OutcomeOf(err)
	if o.Code == frame.CodeSuspended {
		return o.Close, "suspended"
	}
	switch o.Close {
	case frame.CloseForbidden:
		return o.Close, "not a participant" // also when the conversation does not exist: ids must not be probed
	case frame.CloseUnauthorized:
		return o.Close, strings.ToLower(o.Text)
	}
	return o.Close, string(o.Code)
}

// Open implements reactor.Handler.
func (m *Manager) Open(c reactor.Conn) {
	r := m.slab.get(c.Session)
	s := link{r, c.Handle, c.Session}
	r.mu.Lock()
	r.handle = c.Handle
	st, p := r.state, r.pending
	r.mu.Unlock()
	switch st {
	case stateRejected:
		m.end(s, p.code, p.reason)
	case stateIntroducing:
		m.introduce(s)
	case stateVerifying:
		ok := m.submit(func(ctx context.Context) {
			claims, err := m.cfg.Verifier.VerifyContext(ctx, p.token)
			m.verified(s, claims, err)
		})
		if !ok {
			m.end(s, frame.CloseOverload, string(frame.CodeOverloaded))
		}
	}
}

func (m *Manager) verified(s link, claims auth.Claims, err error) {
	if err != nil {
		code, reason := closeFor(err)
		m.end(s, code, reason)
		return
	}
	s.r.mu.Lock()
	ok := s.r.handle == s.h && s.r.state == stateVerifying
	if ok {
		s.r.pending.token, s.r.pending.claims = "", claims
		m.set(s.r, stateIntroducing)
	}
	impossible := s.r.single && s.r.conversation.IsZero()
	s.r.mu.Unlock()
	switch {
	case ok && impossible:
		m.end(s, frame.CloseForbidden, "not a participant")
	case ok:
		m.introduce(s)
	}
}

// introduce binds the session to its user and makes sure that the user is known.
func (m *Manager) introduce(s link) {
	r := s.r
	r.mu.Lock()
	if r.handle != s.h || r.state != stateIntroducing {
		r.mu.Unlock()
		return
	}
	claims := &r.pending.claims
	profile := claims.User
	limits := Limits{User: m.cfg.MaxPerUser}
	if m.cfg.Limits != nil {
		limits = m.cfg.Limits(profile.Tenant)
	}
	pass := claims.Pass()
	var u *user
	placed, room := m.quota.take(profile.Tenant, r.net, limits)
	if room {
		if u = m.users.join(claims.Principal, s.i, limits.User); u == nil {
			m.quota.give(profile.Tenant, r.net, placed)
		}
	}
	if u != nil {
		r.user, r.taken, r.placed = u, true, placed
		r.issued, r.token = pass.Issued, pass.Token
		m.expiry.put(s.i, claims.Expires)
		r.pending.claims = auth.Claims{}
	}
	r.mu.Unlock()
	if u != nil && m.cfg.Admit != nil {
		// Again, now that Recheck finds the session: it may have passed since the token was verified.
		if err := m.cfg.Admit(pass); err != nil {
			code, reason := closeFor(err)
			m.end(s, code, reason)
			return
		}
	}
	switch {
	case u == nil:
		m.crowded(s)
	case m.cfg.Users == nil || named(&profile) && m.seen.has(&profile):
		m.attach(s)
	default:
		ok := m.submit(func(ctx context.Context) {
			stored, err := m.cfg.Users.Seen(ctx, profile)
			if errors.Is(err, chat.ErrQuota) { // time alone does not help
				m.sendLast(s, frame.AppendError(nil, frame.ErrorOf(err, ""), chat.ConversationID{}))
				code, reason := closeFor(err)
				m.end(s, code, reason)
				return
			}
			if err != nil {
				m.log.Warn("user not introduced", slog.String("tenant", string(profile.Tenant)), slog.Any("error", err))
				m.end(s, frame.CloseOverload, string(frame.CodeUnavailable))
				return
			}
			m.seen.add(&profile)
			if !named(&profile) {
				u.rename(stored.Username)
			}
			m.attach(s)
		})
		if !ok {
			m.end(s, frame.CloseOverload, string(frame.CodeOverloaded))
		}
	}
}

// named reports whether a token names its user: where it does not, the name that is stored is the sender that
// others see, as it is in REST.
func named(u *chat.User) bool { return u.Username != string(u.ID) }

// attach sees to it that deliveries to the user come to this node, and asks the conversation whether the user is a
// member.
func (m *Manager) attach(s link) {
	r := s.r
	r.mu.Lock()
	if r.handle != s.h || r.state != stateIntroducing {
		r.mu.Unlock()
		return
	}
	m.set(r, stateAttaching)
	r.entered = true
	at := m.cfg.Dispatcher.Enter(r.user.key(), func(err error) {
		if err != nil {
			code, reason := closeFor(err)
			m.end(s, code, reason)
			return
		}
		m.join(s)
	})
	r.mu.Unlock()
	if at {
		m.join(s)
	}
}

func (m *Manager) join(s link) {
	r := s.r
	r.mu.Lock()
	if r.handle != s.h || r.state != stateAttaching {
		r.mu.Unlock()
		return
	}
	u, conversation, single := r.user, r.conversation, r.single
	r.mu.Unlock()
	if !single {
		m.opened(s)
		return
	}
	m.cfg.Dispatcher.Submit(u.principal(), chat.Origin{}, chat.Attach{Conversation: conversation, Join: true}, func(_ chat.Result, err error) {
		if err != nil {
			code, reason := closeFor(err)
			m.end(s, code, reason)
			return
		}
		m.opened(s)
	})
}

// opened greets the client and registers the session, in this order: from Register on, deliveries may come
// from another goroutine, and none may overtake the status frame. In the callback of an Attach both precede
// every later commit.
func (m *Manager) opened(s link) {
	r := s.r
	r.mu.Lock()
	if r.handle != s.h || r.state != stateAttaching {
		r.mu.Unlock()
		return
	}
	_ = m.tr.Send(s.h, statusFrame, reactor.Durable) // Closed follows if it is gone
	m.cfg.Dispatcher.Register(r.user.key(), r.conversation, chat.SessionID(s.h))
	r.registered = true
	m.set(r, stateDraining)
	single, since := r.single, r.pending.since
	r.mu.Unlock()
	m.obs.Opened(single, m.cfg.Now().Sub(since))
	m.drainPending(s)
}

var statusFrame = reactor.NewFrame(true, frame.AppendStatus(nil))

// drainPending carries out what came before the session was open; what comes meanwhile queues up behind it.
func (m *Manager) drainPending(s link) {
	r := s.r
	for {
		r.mu.Lock()
		if r.handle != s.h || r.state != stateDraining {
			r.mu.Unlock()
			return
		}
		p := r.pending
		if len(p.frames) == 0 {
			r.pending = nil
			m.set(r, stateOpen)
			r.mu.Unlock()
			return
		}
		q := p.frames[0]
		p.frames = p.frames[1:]
		p.bytes -= len(q.payload)
		c := caller{link: s, u: r.user, conversation: r.conversation, single: r.single}
		r.mu.Unlock()
		m.frame(c, q.text, q.payload)
	}
}

// Message implements reactor.Handler.
func (m *Manager) Message(c reactor.Conn, text bool, payload []byte) {
	r := m.slab.get(c.Session)
	s := link{r, c.Handle, c.Session}
	r.mu.Lock()
	switch {
	case r.handle != c.Handle || r.state == stateFree || r.state == stateClosing || r.state == stateRejected:
		r.mu.Unlock()
	case r.state == stateOpen:
		who := caller{link: s, u: r.user, conversation: r.conversation, single: r.single}
		r.mu.Unlock()
		if len(payload) > largeFrame {
			m.large(who, text, payload)
			return
		}
		m.frame(who, text, payload)
	default:
		p := r.pending
		if len(p.frames) >= m.cfg.PendingFrames || p.bytes+len(payload) > m.cfg.PendingBytes {
			r.mu.Unlock()
			m.end(s, frame.ClosePolicy, "too much was sent before the session was open")
			return
		}
		p.frames = append(p.frames, queued{text, bytes.Clone(payload)})
		p.bytes += len(payload)
		r.mu.Unlock()
	}
}

// sendLast sends a frame to a session that is about to be closed without ever having opened.
func (m *Manager) sendLast(s link, b []byte) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.r.handle == s.h && s.r.state != stateFree && s.r.state != stateClosing {
		_ = m.tr.Send(s.h, reactor.NewFrame(true, b), reactor.Durable) // Closed follows if it is gone
	}
}

// end begins to close a session, once.
func (m *Manager) end(s link, code uint16, reason string) {
	r := s.r
	r.mu.Lock()
	if r.handle != s.h || r.state == stateFree || r.state == stateClosing {
		r.mu.Unlock()
		return
	}
	refused := r.state < stateDraining
	m.set(r, stateClosing)
	r.pending = nil
	_ = m.tr.CloseConn(s.h, code, reason)
	u := r.user
	r.mu.Unlock()
	if refused {
		m.obs.Refused(code)
	}
	if m.log.Enabled(context.Background(), slog.LevelDebug) {
		attrs := []any{slog.Uint64("session", uint64(s.h)), slog.Int("code", int(code)), slog.String("reason", reason)}
		if u != nil {
			attrs = append(attrs, slog.String("tenant", string(u.tenant)), slog.String("user", string(u.id)))
		}
		m.log.Debug("session closed by the hub", attrs...)
	}
}

// Closed implements reactor.Handler.
func (m *Manager) Closed(c reactor.Conn, code uint16, _ string) {
	r := m.slab.get(c.Session)
	r.mu.Lock()
	st, u, typing, registered := r.state, r.user, r.typing, r.registered
	if registered {
		m.cfg.Dispatcher.Unregister(u.key(), r.conversation, chat.SessionID(c.Handle))
	}
	if r.entered {
		m.cfg.Dispatcher.Exit(u.key())
	}
	if u != nil {
		m.users.leave(u, c.Session)
	}
	if r.taken {
		m.quota.give(u.tenant, r.net, r.placed)
	}
	m.expiry.remove(c.Session)
	m.set(r, stateFree)
	r.handle, r.user, r.pending, r.typing, r.replays = 0, nil, nil, nil, nil
	r.entered, r.registered, r.single, r.taken, r.placed = false, false, false, false, false
	r.issued, r.token, r.net = 0, 0, 0
	r.replayed, r.replayAt = 0, 0
	r.conversation = chat.ConversationID{}
	r.mu.Unlock()
	m.slab.release(c.Session)

	if typing != nil {
		for _, id := range typing.conversations[:typing.n] {
			m.cfg.Dispatcher.Submit(u.principal(), chat.Origin{}, chat.Typing{Conversation: id}, func(chat.Result, error) {})
		}
	}
	switch {
	case registered:
		m.obs.Closed(code)
	case st != stateClosing:
		m.obs.Refused(code)
	}
}
