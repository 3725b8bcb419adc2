package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/frame"
	"github.com/zumodra/hub/edge/reactor"
)

// caller is a session in the middle of a frame.
type caller struct {
	link
	u            *user
	conversation chat.ConversationID
	single       bool
	owned        bool // the frame is the session's to keep, and on a goroutine of its own
}

// request is what the answer to a frame needs.
type request struct {
	caller
	typ    frame.Type
	ref    string
	target chat.ConversationID
	begin  time.Time
}

// reply sends a frame to the session, unless it is closing. b must not be used afterwards.
func (m *Manager) reply(s link, b []byte) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.r.handle == s.h && (s.r.state == stateOpen || s.r.state == stateDraining) {
		_ = m.tr.Send(s.h, reactor.NewFrame(true, b), reactor.Durable) // Closed follows if it is gone
	}
}

// fail answers a request with an error.
func (m *Manager) fail(q *request, err error) {
	if q.typ == frame.CreateGroup && errors.Is(err, chat.ErrBlocked) {
		err = &frame.Error{Code: frame.CodeBlocked, Text: frame.TextBlockedMember}
	}
	e := frame.ErrorOf(err, q.ref)
	if e.RetryAfter == 0 && (e.Code == frame.CodeOverloaded || e.Code == frame.CodeUnavailable) {
		e.RetryAfter = m.retryAfter()
	}
	m.obs.Command(q.typ, e.Code, m.cfg.Now().Sub(q.begin))
	m.reply(q.caller.link, frame.AppendError(nil, e, q.target))
	if !q.single {
		return
	}
	switch e.Code { // the session has nothing left to be for
	case frame.CodeNotParticipant:
		m.end(q.caller.link, frame.CloseForbidden, "not a participant")
	case frame.CodeGone:
		m.end(q.caller.link, frame.CloseGone, "conversation is gone")
	case frame.CodeBlocked:
		if q.typ.InConversation() {
			m.end(q.caller.link, frame.CloseForbidden, "not a participant")
		}
	}
}

// frame carries out one message of the client.
func (m *Manager) frame(c caller, text bool, payload []byte) {
	q := request{caller: c, begin: m.cfg.Now()}
	var f frame.ClientFrame
	var err error
	if !text {
		err = &frame.Error{Code: frame.CodeNotSupported, Text: "Binary frames are not supported"}
	} else {
		err = frame.Decode(payload, &f) // sets what it could read, ref above all, also when it fails
	}
	q.typ, q.ref, q.target = f.Type, f.Ref, f.Conversation
	m.obs.FrameIn(f.Type)
	v := m.limiter.Allow(c.u.key(), costOf(f.Type, err))
	if !v.OK {
		m.fail(&q, &chat.RateLimitError{RetryAfter: v.RetryAfter})
		if v.Offender {
			m.end(c.link, frame.CloseRateLimited, string(frame.CodeRateLimited))
		}
		return
	}
	if err == nil {
		err = q.aim(&f)
	}
	if err != nil {
		m.fail(&q, err)
		return
	}
	switch f.Type {
	case frame.Ping:
		m.reply(c.link, frame.AppendPong(nil, q.ref))
		m.done(&q)
	case frame.Auth:
		m.reauthenticate(q, f.Token)
	case frame.AddContact:
		m.addContact(q, f.Email, f.Name)
	case frame.Search:
		m.search(q, *f.Search)
	case frame.SendMessage:
		if f.File != nil || !f.Upload.IsZero() {
			m.sendFile(q, &f)
			return
		}
		m.carryOut(q, &f)
	case frame.Resume:
		m.resumeAll(q, f.Resumes)
	default:
		m.carryOut(q, &f)
	}
}

// carryOut hands the frame's command to the dispatcher.
func (m *Manager) carryOut(q request, f *frame.ClientFrame) {
	if f.Type == frame.Typing {
		m.noteTyping(q.caller.link, q.target, f.IsTyping)
	}
	cmd, err := command(&q, f)
	if err != nil {
		m.fail(&q, err)
		return
	}
	kept := q // never changed: the closure holds it by value, which keeps q off the heap
	m.cfg.Dispatcher.Submit(q.u.principal(), chat.Origin{Node: m.cfg.Self, Session: chat.SessionID(q.h), Ref: q.ref}, cmd,
		func(res chat.Result, err error) {
			q := kept
			m.finish(&q, cmd, res, err)
		})
}

func costOf(t frame.Type, err error) Cost {
	switch t {
	case frame.Typing, frame.Read, frame.Delivered, frame.Ping, frame.Resume, frame.Auth:
		return Signal
	}
	if err != nil {
		return Signal // refused without having cost anybody else anything
	}
	return Change
}

// aim finds the conversation that the frame is about.
func (q *request) aim(f *frame.ClientFrame) error {
	if q.single {
		if !f.Conversation.IsZero() && f.Conversation != q.conversation {
			return &frame.Error{Code: frame.CodeInvalid, Text: "conversation_id: is not that of the connection"}
		}
		if f.Type.InConversation() {
			q.target = q.conversation
		}
		for i := range f.Resumes {
			if p := &f.Resumes[i]; p.Conversation.IsZero() {
				p.Conversation = q.conversation
			} else if p.Conversation != q.conversation {
				return &frame.Error{Code: frame.CodeInvalid, Text: "conversation_id: is not that of the connection"}
			}
		}
		return nil
	}
	missing := f.Type.InConversation() && q.target.IsZero()
	if f.Type == frame.Resume {
		missing = slices.ContainsFunc(f.Resumes, func(p frame.ResumePoint) bool { return p.Conversation.IsZero() })
	}
	if missing {
		return &frame.Error{Code: frame.CodeMissingField, Text: "conversation_id: required"}
	}
	return nil
}

// sendOf is the message of a frame, without its file.
func sendOf(q *request, f *frame.ClientFrame) chat.Send {
	return chat.Send{Conversation: q.target, ClientID: f.ClientID, Content: f.Content, IsVoice: f.IsVoice,
		ReplyTo: f.ReplyTo, Mentions: f.Mentions, MentionAll: f.MentionAll}
}

func command(q *request, f *frame.ClientFrame) (chat.Command, error) {
	c := q.target
	switch f.Type {
	case frame.SendMessage:
		return sendOf(q, f), nil
	case frame.Typing:
		return chat.Typing{Conversation: c, On: f.IsTyping}, nil
	case frame.Read:
		if f.MessageID.IsZero() && f.Seq == 0 { // the nil UUID, or up_to_seq 0: would mean everything
			return nil, chat.ErrNotFound
		}
		return chat.MarkRead{Conversation: c, Message: f.MessageID, Seq: f.Seq}, nil
	case frame.Delivered:
		return chat.MarkDelivered{Conversation: c, Seq: f.Seq}, nil
	case frame.React:
		return chat.React{Conversation: c, Message: f.MessageID, Emoji: f.Emoji, Remove: f.Remove}, nil
	case frame.Edit:
		return chat.Edit{Conversation: c, Message: f.MessageID, Content: f.Content, Mentions: f.Mentions, MentionAll: f.MentionAll}, nil
	case frame.Delete:
		if f.ForMe {
			return chat.Hide{Conversation: c, Message: f.MessageID}, nil
		}
		return chat.Delete{Conversation: c, Message: f.MessageID}, nil
	case frame.Rename:
		return chat.Rename{Conversation: c, Title: f.Name}, nil
	case frame.AddParticipants:
		return chat.AddMembers{Conversation: c, Users: f.Users}, nil
	case frame.RemoveParticipants:
		return chat.RemoveMembers{Conversation: c, Users: f.Users}, nil
	case frame.Pin:
		return chat.Pin{Conversation: c, Message: f.MessageID, Remove: f.Remove}, nil
	case frame.Forward:
		return chat.Forward{Conversation: c, Message: f.MessageID, ClientID: f.ClientID}, nil
	case frame.SetRole:
		return chat.SetRole{Conversation: c, User: f.User, Role: f.Role}, nil
	case frame.SetPermissions:
		return chat.SetPermissions{Conversation: c, Permissions: f.Permissions}, nil
	case frame.Leave:
		return chat.Leave{Conversation: c}, nil
	case frame.CreateGroup:
		members := slices.DeleteFunc(f.Users, func(u chat.UserID) bool { return u == q.u.id })
		slices.Sort(members)
		if members = slices.Compact(members); len(members) == 0 {
			return nil, &frame.Error{Code: frame.CodeMissingField, Text: frame.TextNoMembers}
		}
		return chat.Create{Conversation: chat.NewConversationID(), Kind: chat.Group, Title: f.Name, Members: members}, nil
	}
	return nil, &frame.Error{Code: frame.CodeNotSupported, Text: frame.TextNotSupported}
}

// finish answers a command. One that appended an event is answered by that event's delivery (Deliver).
func (m *Manager) finish(q *request, cmd chat.Command, res chat.Result, err error) {
	if err != nil {
		m.fail(q, err)
		return
	}
	m.done(q)
	switch create, ok := cmd.(chat.Create); {
	case ok:
		name, n := create.Title, len(create.Members)+1
		if res.View != nil {
			name, n = res.View.Head.Name, res.View.Head.MemberCount
		}
		m.reply(q.caller.link, frame.AppendGroupCreated(nil, create.Conversation, name, n, q.ref))
	case res.Duplicate && res.Event != nil:
		isRead := res.View != nil && res.View.ReadByOther(res.Event.Actor, res.Event.Seq)
		m.reply(q.caller.link, frame.AppendEvent(nil, q.target, res.Event, isRead, q.ref))
	case res.Event == nil && q.ref != "":
		m.reply(q.caller.link, frame.AppendOK(nil, q.ref))
	}
}

// addContact answers contact_added.
func (m *Manager) addContact(q request, email, name string) {
	if m.cfg.Contacts == nil {
		m.fail(&q, &frame.Error{Code: frame.CodeNotSupported, Text: frame.TextNotSupported})
		return
	}
	m.cfg.Contacts.AddByEmail(q.u.principal(), email, name, func(username string, err error) {
		if err != nil {
			m.fail(&q, err)
			return
		}
		m.done(&q)
		m.reply(q.caller.link, frame.AppendContactAdded(nil, username, q.ref))
	})
}

func (m *Manager) done(q *request) { m.obs.Command(q.typ, "", m.cfg.Now().Sub(q.begin)) }

// reauthenticate replaces the token of the session by a newer one of the same user.
func (m *Manager) reauthenticate(q request, token string) {
	claims, err := m.cfg.Verifier.Verify(token)
	if err != nil && errors.Is(err, chat.ErrUnavailable) && !errors.Is(err, chat.ErrUnauthorized) {
		ok := m.submit(func(ctx context.Context) {
			claims, err := m.cfg.Verifier.VerifyContext(ctx, token)
			m.reauthenticated(&q, claims, err)
		})
		if !ok {
			m.fail(&q, chat.ErrOverloaded)
		}
		return
	}
	m.reauthenticated(&q, claims, err)
}

func (m *Manager) reauthenticated(q *request, claims auth.Claims, err error) {
	if err == nil && claims.Principal.Key() != q.u.key() {
		err = &frame.Error{Code: frame.CodeForbidden, Text: "The token is of another user."}
	}
	if err != nil {
		m.fail(q, err)
		return
	}
	r := q.r
	r.mu.Lock()
	alive := r.handle == q.h && r.state != stateClosing && r.state != stateFree
	if alive {
		m.expiry.put(q.i, claims.Expires)
		q.u.rename(claims.Principal.Username)
		pass := claims.Pass()
		r.issued, r.token = pass.Issued, pass.Token
	}
	r.mu.Unlock()
	if !alive {
		return
	}
	m.recheck(q.i, q.u.key()) // it may have been revoked since it was verified
	if m.cfg.Users != nil && !m.seen.has(&claims.User) {
		// A newer profile is not worth refusing anything for: it comes with the next token, too.
		m.submit(func(ctx context.Context) {
			if _, err := m.cfg.Users.Seen(ctx, claims.User); err == nil {
				m.seen.add(&claims.User)
			}
		})
	}
	m.done(q)
	m.reply(q.caller.link, frame.AppendAuth(nil, claims.Expires, q.ref))
}

func (m *Manager) noteTyping(s link, c chat.ConversationID, on bool) {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.handle != s.h:
	case on:
		if r.typing == nil {
			r.typing = new(typingSet)
		}
		r.typing.add(c)
	case r.typing != nil:
		if r.typing.remove(c); r.typing.n == 0 {
			r.typing = nil
		}
	}
}
