package session_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/session"
)

type blocking struct{ release chan struct{} }

func (b blocking) Seen(ctx context.Context, u chat.User) (chat.User, error) {
	select {
	case <-b.release:
	case <-ctx.Done():
	}
	return u, nil
}

var (
	at      = time.Date(2026, 11, 22, 20, 46, 5, 773005000, time.UTC)
	message = chat.NewMessageID(convKey, 3, at)
)

func event(seq uint64, by chat.UserID, content string) *chat.Event {
	return &chat.Event{Seq: seq, Type: chat.EventMessage, At: at, Actor: by, ActorName: "name of " + string(by),
		Message: chat.NewMessageID(convKey, seq, at), Content: content}
}

func messageFrame(e *chat.Event, rest string) string {
	return fmt.Sprintf(`{"type":"message","id":"%s","sender":"%s","content":"%s","timestamp":"2026-11-22T20:46:05.773005+00:00",`+
		`"file":"","is_voice":false,"is_read":false,"conversation_id":"%s","sender_id":"%s","seq":%d%s}`,
		e.Message, e.ActorName, e.Content, conv, e.Actor, e.Seq, rest)
}

// TestCommands: every frame becomes its command, on both paths.
func TestCommands(t *testing.T) {
	b := newBed(t, nil)
	one, all := b.dial(chatPath, "alice"), b.dial("/ws/", "alice")
	b.frames(one)
	b.frames(all)
	for fields, cmd := range map[string]chat.Command{
		`"type":"send_message","content":" hi ","client_id":"c"`:              chat.Send{Conversation: conv, Content: "hi", ClientID: "c"},
		`"type":"typing","is_typing":true`:                                    chat.Typing{Conversation: conv, On: true},
		`"type":"read","message_id":"` + message.String() + `"`:               chat.MarkRead{Conversation: conv, Message: message},
		`"type":"read","up_to_seq":4`:                                         chat.MarkRead{Conversation: conv, Seq: 4},
		`"type":"delivered","seq":4`:                                          chat.MarkDelivered{Conversation: conv, Seq: 4},
		`"type":"react","emoji":"x","message_id":"` + message.String() + `"`:  chat.React{Conversation: conv, Message: message, Emoji: "x"},
		`"type":"edit","content":"y","message_id":"` + message.String() + `"`: chat.Edit{Conversation: conv, Message: message, Content: "y"},
		`"type":"delete","message_id":"` + message.String() + `"`:             chat.Delete{Conversation: conv, Message: message},
		`"type":"rename","name":"N"`:                                          chat.Rename{Conversation: conv, Title: "N"},
		`"type":"add_participants","user_ids":[1,"b"]`:                        chat.AddMembers{Conversation: conv, Users: []chat.UserID{"1", "b"}},
		`"type":"remove_participants","user_ids":[1]`:                         chat.RemoveMembers{Conversation: conv, Users: []chat.UserID{"1"}},
		`"type":"leave"`: chat.Leave{Conversation: conv},
	} {
		for c, frame := range map[*conn]string{
			one: `{` + fields + `,"ref":"r"}`,
			all: `{` + fields + `,"ref":"r","conversation_id":"` + conv.String() + `"}`,
		} {
			b.send(c, frame)
			got := b.hub.last()
			if !reflect.DeepEqual(got.cmd, cmd) || got.p.User != "alice" || got.p.Username != "name of alice" ||
				got.o != (chat.Origin{Session: chat.SessionID(c.Handle), Ref: `"r"`}) {
				t.Errorf("%s: %+v", frame, got)
			}
			want(t, b.frames(c), `{"type":"ok","ref":"r"}`) // nothing else answers: there was no event
		}
		n := len(b.hub.commands)
		b.send(all, `{`+fields+`}`)
		b.send(one, `{`+fields+`,"conversation_id":"`+chat.ConversationID{9}.String()+`"}`)
		if len(b.hub.commands) != n {
			t.Errorf("%s: carried out without, or with another, conversation", fields)
		}
		want(t, b.frames(all), `{"type":"error","message":"conversation_id: required","code":"missing_field"}`)
		want(t, b.frames(one), `{"type":"error","message":"conversation_id: is not that of the connection","code":"invalid","conversation_id":"`+chat.ConversationID{9}.String()+`"}`)
	}
}

func TestReq031_MessagesReachAllIncludingTheSender(t *testing.T) {
	b := newBed(t, nil)
	alice, alice2, bob := b.dial(chatPath, "alice"), b.dial("/ws/", "alice"), b.dial(chatPath, "bob")
	for _, c := range []*conn{alice, alice2, bob} {
		b.frames(c)
	}
	e := event(3, "alice", "hi")
	d := &chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: e, Origin: chat.Origin{Session: chat.SessionID(alice.Handle), Ref: "7"}}}}
	b.deliver(d, alice, alice2, bob)
	want(t, b.frames(alice), messageFrame(e, `,"ref":7`))
	want(t, b.frames(alice2), messageFrame(e, ""))
	want(t, b.frames(bob), messageFrame(e, ""))

	// One delivery comes once per directory shard: the origin is answered in its own set only.
	b.deliver(d, bob)
	want(t, b.frames(alice))
	want(t, b.frames(bob), messageFrame(e, ""))

	// A session of another node may have the number of one of ours.
	d = &chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: event(4, "carol", "x"), Origin: chat.Origin{Session: chat.SessionID(bob.Handle), Ref: "7"}}}}
	b.deliver(d, bob)
	want(t, b.frames(bob), messageFrame(event(4, "carol", "x"), ""))
}

func TestReq035_TypingIsRelayedAndMayBeShed(t *testing.T) {
	b := newBed(t, nil)
	bob := b.dial(chatPath, "bob")
	b.frames(bob)
	b.deliver(&chat.Delivery{Key: convKey, Notices: []chat.Notice{{Typing: &chat.TypingNotice{User: "alice", Username: "al", On: true}}}}, bob)
	want(t, b.frames(bob), `{"type":"typing","typing_user":"al","is_typing":true,"conversation_id":"`+conv.String()+`","user_id":"alice"}`)
	if bob.shed != 1 {
		t.Fatal("typing is not ephemeral")
	}
	n := len(b.hub.commands)
	b.send(bob, `{"type":"typing","is_typing":"yes"}`)
	want(t, b.frames(bob), `{"type":"error","message":"is_typing: must be true or false","code":"invalid_type"}`)
	if len(b.hub.commands) != n {
		t.Fatal("relayed")
	}
}

func TestReq036_DisconnectEndsTyping(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial("/ws/", "alice")
	other := chat.ConversationID{7}
	for _, id := range []chat.ConversationID{conv, other} {
		b.send(c, `{"type":"typing","is_typing":true,"conversation_id":"`+id.String()+`"}`)
	}
	b.send(c, `{"type":"typing","is_typing":false,"conversation_id":"`+other.String()+`"}`)
	n := len(b.hub.commands)
	b.close(c)
	if len(b.hub.commands) != n+1 || b.hub.last().cmd != (chat.Typing{Conversation: conv}) || b.hub.last().o != (chat.Origin{}) {
		t.Fatalf("%+v", b.hub.commands[n:])
	}
}

func TestReq037_ReadOfUnknownMessages(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(chatPath, "alice")
	b.frames(c)
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{}, chat.ErrNotFound }
	b.send(c, `{"type":"read","message_id":"`+message.String()+`"}`)
	want(t, b.frames(c), `{"type":"error","message":"Not found.","code":"not_found","conversation_id":"`+conv.String()+`"}`)
	if code, _ := b.closed(c); code != 0 {
		t.Fatal("closed")
	}
}

// contacts answers add_contact.
type contacts func(p chat.Principal, email, name string) (string, error)

func (c contacts) AddByEmail(p chat.Principal, email, name string, done func(string, error)) {
	done(c(p, email, name))
}

func TestReq038_AddContact(t *testing.T) {
	var asked string
	var err error
	b := newBed(t, func(c *session.Config, _ *hub) {
		c.Contacts = contacts(func(p chat.Principal, email, name string) (string, error) {
			asked = string(p.User) + " " + email + " " + name
			return "bobby", err
		})
	})
	alice := b.dial(chatPath, "alice")
	b.frames(alice)
	const add = `{"type":"add_contact","email":" b@example.org","name":"Bob ","invitation_message":["ignored"],"ref":5}`
	b.send(alice, add)
	want(t, b.frames(alice), `{"type":"contact_added","contact":{"username":"bobby"},"ref":5}`)
	if asked != "alice b@example.org Bob" {
		t.Fatalf("asked %q", asked)
	}
	for e, text := range map[error]string{
		chat.ErrUnknownUser: `"User not found","code":"not_found"`, chat.ErrContactExists: `"Contact already exists.","code":"invalid"`,
		chat.ErrCannotRequest: `"Cannot send request to this user.","code":"invalid"`,
	} {
		err = e
		b.send(alice, add)
		want(t, b.frames(alice), `{"type":"error","message":`+text+`,"ref":5}`)
	}
	if code, _ := b.closed(alice); code != 0 {
		t.Fatal("closed")
	}
	b = newBed(t, nil) // where nobody keeps contacts
	alice = b.dial("/ws/", "alice")
	b.frames(alice)
	b.send(alice, add)
	want(t, b.frames(alice), `{"type":"error","message":"Not supported","code":"not_supported","ref":5}`)
}

func TestReq029_BlockedOnASingleConversation(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(chatPath, "alice")
	b.frames(c)
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{}, chat.ErrBlocked }
	// A group that cannot be created is no reason to end a connection.
	b.send(c, `{"type":"create_group","group_name":"G","members":["bob"],"ref":1}`)
	want(t, b.frames(c), `{"type":"error","message":"Cannot create conversation with blocked user.","code":"blocked","ref":1}`)
	if code, _ := b.closed(c); code != 0 {
		t.Fatal("closed")
	}
	b.send(c, `{"type":"send_message","content":"x","ref":2}`)
	want(t, b.frames(c), `{"type":"error","message":"Cannot message this user.","code":"blocked","conversation_id":"`+conv.String()+`","ref":2}`)
	if code, _ := b.closed(c); code != 4003 {
		t.Fatalf("closed with %d", code)
	}
}

func TestReq039_GroupCreatedHasTheTrueCount(t *testing.T) {
	b := newBed(t, nil)
	alice, bob := b.dial(chatPath, "alice"), b.dial("/ws/", "bob")
	b.frames(alice)
	b.frames(bob)
	var created chat.Create
	b.hub.answer = func(_ chat.Principal, cmd chat.Command) (chat.Result, error) {
		created, _ = cmd.(chat.Create)
		return chat.Result{Event: &chat.Event{}, Created: true, View: &chat.View{Head: chat.Head{Name: "G", MemberCount: 2}}}, nil
	}
	b.send(alice, `{"type":"create_group","group_name":"G","members":["bob","alice","bob","nobody"],"ref":1}`)
	if !reflect.DeepEqual(created.Members, []chat.UserID{"bob", "nobody"}) || created.Kind != chat.Group || created.Conversation.IsZero() {
		t.Fatalf("%+v", created)
	}
	group := `{"type":"group_created","group":{"name":"G","id":"` + created.Conversation.String() + `","participant_count":2}`
	want(t, b.frames(alice), group+`,"ref":1}`)

	// The others hear of it (requirement 25), with the first event of the log.
	e := &chat.Event{Seq: 1, Type: chat.EventConversation, Change: chat.ChangeCreated, Kind: chat.Group, Name: "G", At: at,
		Actor: "alice", ActorName: "alice", Users: []chat.UserID{"alice", "bob"}}
	b.deliver(&chat.Delivery{Key: chat.ConversationKey{Tenant: chat.DefaultTenant, ID: created.Conversation}, Notices: []chat.Notice{{Event: e}}}, bob)
	f := b.frames(bob)
	if len(f) != 2 || !strings.HasPrefix(f[0], `{"type":"conversation_updated","change":"created"`) || f[1] != group+"}" {
		t.Fatal(f)
	}
	b.send(alice, `{"type":"create_group","group_name":"G","members":["alice"]}`)
	want(t, b.frames(alice), `{"type":"error","message":"At least one member required","code":"missing_field"}`)
}

func TestReq040_BadFramesKeepTheSessionOpen(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(chatPath, "alice")
	b.frames(c)
	for _, bad := range []string{"", "{", "[]", `{"type":"dance"}`, `{"type":7}`, `{"type":"read","message_id":"x"}`, `{"type":"send_message","content":[]}`} {
		b.send(c, bad)
		if f := b.frames(c); len(f) != 1 || !strings.HasPrefix(f[0], `{"type":"error","message":"`) {
			t.Errorf("%s: %v", bad, f)
		}
	}
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{}, errBug }
	b.send(c, `{"type":"leave","ref":1}`)
	want(t, b.frames(c), `{"type":"error","message":"Internal error.","code":"internal","conversation_id":"`+conv.String()+`","ref":1}`)
	if code, _ := b.closed(c); code != 0 {
		t.Fatalf("closed with %d", code)
	}
}

func TestReq047_Resume(t *testing.T) {
	b := newBed(t, nil)
	one, all := b.dial(chatPath, "alice"), b.dial("/ws/", "alice")
	b.frames(one)
	b.frames(all)
	var asked chat.Resume
	missed := []chat.Event{*event(4, "bob", "four"), *event(5, "alice", "five")}
	b.hub.answer = func(_ chat.Principal, cmd chat.Command) (chat.Result, error) {
		asked, _ = cmd.(chat.Resume)
		return chat.Result{Events: missed, View: &chat.View{Head: chat.Head{Seq: 5}}}, nil
	}
	resumed := `{"type":"resumed","conversation_id":"` + conv.String() + `","last_seq":3,"head_seq":5`
	b.send(one, `{"type":"resume","last_seq":3,"ref":"r"}`)
	want(t, b.frames(one), messageFrame(&missed[0], ""), messageFrame(&missed[1], ""), resumed+`,"ref":"r"}`)
	if asked != (chat.Resume{Conversation: conv, LastSeq: 3}) {
		t.Fatalf("%+v", asked)
	}
	b.send(all, `{"type":"resume","conversations":[{"conversation_id":"`+conv.String()+`","last_seq":3}]}`)
	want(t, b.frames(all), messageFrame(&missed[0], ""), messageFrame(&missed[1], ""), resumed+`}`)
	b.send(all, `{"type":"resume","last_seq":3}`)
	want(t, b.frames(all), `{"type":"error","message":"conversation_id: required","code":"missing_field"}`)

	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) {
		return chat.Result{Gap: true, View: &chat.View{Head: chat.Head{Seq: 5000}}}, nil
	}
	gap := func(head int) string {
		return fmt.Sprintf(`{"type":"gap","conversation_id":"%s","last_seq":3,"head_seq":%d}`, conv, head)
	}
	b.send(one, `{"type":"resume","last_seq":3}`)
	want(t, b.frames(one), gap(5000))

	// What would not fit into the connection's queue is a gap, too: never a part.
	long := make([]chat.Event, 100)
	for i := range long {
		long[i] = *event(uint64(4+i), "bob", strings.Repeat("x", 5000))
	}
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) {
		return chat.Result{Events: long, View: &chat.View{Head: chat.Head{Seq: 103}}}, nil
	}
	b.send(one, `{"type":"resume","last_seq":3}`)
	want(t, b.frames(one), gap(103))
}

// TestResumesOfManyConversationsArePaced: together they must not overflow the connection's queue.
func TestResumesOfManyConversationsArePaced(t *testing.T) {
	now := at
	b := newBed(t, func(c *session.Config, _ *hub) { c.ReplayBytes, c.Now = 10_000, func() time.Time { return now } })
	c := b.dial("/ws/", "alice")
	b.frames(c)
	events := []chat.Event{*event(1, "bob", strings.Repeat("x", 4000))}
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) {
		return chat.Result{Events: events, View: &chat.View{Head: chat.Head{Seq: 1}}}, nil
	}
	resume := func() string {
		b.send(c, `{"type":"resume","last_seq":0,"conversation_id":"`+conv.String()+`","ref":1}`)
		f := b.frames(c)
		return f[len(f)-1]
	}
	const resumed = `{"type":"resumed"`
	if f := resume() + resume(); strings.Count(f, resumed) != 2 {
		t.Fatal(f)
	}
	if f := resume(); !strings.Contains(f, `"code":"rate_limited"`) || !strings.Contains(f, `"ref":1,"retry_after_ms":227}`) {
		t.Fatal(f)
	}
	now = now.Add(227 * time.Millisecond)
	if f := resume(); !strings.Contains(f, resumed) {
		t.Fatal(f)
	}
}

func TestReq048_DuplicatesAreAnsweredWithTheFirst(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(chatPath, "alice")
	b.frames(c)
	first := event(3, "alice", "hi")
	first.ClientID = "c1"
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) {
		return chat.Result{Event: first, Duplicate: true}, nil
	}
	b.send(c, `{"type":"send_message","content":"hi","client_id":"c1","ref":2}`)
	want(t, b.frames(c), messageFrame(first, `,"client_id":"c1","ref":2`))
	b.hub.answer = func(chat.Principal, chat.Command) (chat.Result, error) { return chat.Result{Event: first}, nil }
	b.send(c, `{"type":"send_message","content":"hi","client_id":"c1","ref":2}`)
	want(t, b.frames(c)) // the delivery answers
}

func TestReq049_BinaryFrames(t *testing.T) {
	b := newBed(t, nil)
	c := b.dial(chatPath, "alice")
	b.frames(c)
	b.m.Message(c.Conn, false, []byte(`{"type":"ping"}`))
	want(t, b.frames(c), `{"type":"error","message":"Binary frames are not supported","code":"not_supported"}`)
}

func TestReq118_RateLimitSpansTheSessionsOfAUser(t *testing.T) {
	now := at
	limiter := session.NewLimiter(session.LimiterConfig{Rate: 10, Burst: 10, Now: func() time.Time { return now }})
	b := newBed(t, func(c *session.Config, _ *hub) { c.Limiter = limiter })
	one, two, bob := b.dial(chatPath, "alice"), b.dial(chatPath, "alice"), b.dial(chatPath, "bob")
	for _, c := range []*conn{one, two, bob} {
		b.frames(c)
	}
	const send = `{"type":"send_message","content":"x","ref":1}`
	for i := range 10 {
		b.send([]*conn{one, two}[i%2], send)
	}
	for _, f := range append(b.frames(one), b.frames(two)...) {
		if f != `{"type":"ok","ref":1}` {
			t.Fatal(f)
		}
	}
	b.send(two, send)
	want(t, b.frames(two), `{"type":"error","message":"Too many messages, slow down.","code":"rate_limited","ref":1,"retry_after_ms":100}`)
	b.send(two, `{"type":"typing","is_typing":true,"ref":2}`) // has a budget of its own
	b.send(bob, send)
	want(t, b.frames(two), `{"type":"ok","ref":2}`)
	want(t, b.frames(bob), `{"type":"ok","ref":1}`)
	if v := limiter.Allow(chat.UserKey{Tenant: chat.DefaultTenant, User: "alice"}, session.Change); v.OK || v.RetryAfter != 100*time.Millisecond {
		t.Fatalf("REST has other buckets: %+v", v)
	}
	now = now.Add(100 * time.Millisecond)
	b.send(one, send)
	want(t, b.frames(one), `{"type":"ok","ref":1}`)
	b.send(one, send)
	if f := b.frames(one); !strings.Contains(f[0], "rate_limited") {
		t.Fatal(f)
	}
}

// TestReq042_TenantsAreApart: the same ids in another tenant are somebody else's.
func TestReq042_TenantsAreApart(t *testing.T) {
	b := newBed(t, nil)
	ours, theirs := b.dial(chatPath, "alice"), b.dial(chatPath, "acme/alice")
	b.frames(theirs)
	if p := b.hub.last().p; p.Tenant != "acme" {
		t.Fatalf("%+v", p)
	}
	b.send(theirs, `{"type":"leave"}`)
	if p := b.hub.last().p; p.Tenant != "acme" {
		t.Fatalf("%+v", p)
	}
	b.send(theirs, `{"type":"auth","token":"alice"}`)
	if f := b.frames(theirs); len(f) != 1 || !strings.Contains(f[0], `"code":"forbidden"`) {
		t.Fatal(f)
	}
	// Even if both were put into one set, leaving here does not end the session there.
	b.deliver(&chat.Delivery{Key: convKey, Detached: []chat.UserID{"alice"}}, ours, theirs)
	for c, code := range map[*conn]uint16{ours: 4003, theirs: 0} {
		if got, _ := b.closed(c); got != code {
			t.Errorf("%d, want %d", got, code)
		}
	}
	l := session.NewLimiter(session.LimiterConfig{Rate: 1, Burst: 1, Now: func() time.Time { return at }})
	if !l.Allow(chat.UserKey{Tenant: "a", User: "u"}, session.Change).OK || !l.Allow(chat.UserKey{Tenant: "b", User: "u"}, session.Change).OK {
		t.Error("the tenants share a rate limit")
	}
}

func TestDetachedSessionsGetTheirLastFrames(t *testing.T) {
	b := newBed(t, nil)
	one, all, other := b.dial(chatPath, "alice"), b.dial("/ws/", "alice"), b.dial("/ws/chat/"+chat.ConversationID{9}.String(), "alice")
	for _, c := range []*conn{one, all, other} {
		b.frames(c)
	}
	e := &chat.Event{Seq: 9, Type: chat.EventParticipants, Change: chat.ChangeRemoved, Users: []chat.UserID{"alice"}, At: at, Actor: "bob"}
	d := &chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: e}}, Detached: []chat.UserID{"alice"}}
	b.deliver(d, all) // another shard's part of the delivery must not cut off this one's
	if code, _ := b.closed(one); code != 0 {
		t.Fatal("closed before its frame")
	}
	b.deliver(d, one)
	if f := b.frames(one); len(f) != 1 || !strings.HasPrefix(f[0], `{"type":"participants_changed","change":"removed"`) {
		t.Fatal(f)
	}
	for c, code := range map[*conn]uint16{one: 4003, all: 0, other: 0} {
		if got, _ := b.closed(c); got != code {
			t.Errorf("%d, want %d", got, code)
		}
	}
}

func TestOverflowMakesClientsResume(t *testing.T) {
	b := newBed(t, nil)
	one, all, other := b.dial(chatPath, "alice"), b.dial("/ws/", "bob"), b.dial("/ws/", "carol")
	b.m.Overflow(b.set(one, all), convKey)
	for c, code := range map[*conn]uint16{one: 1013, all: 1013, other: 0} {
		if got, _ := b.closed(c); got != code {
			t.Errorf("%d, want %d", got, code)
		}
		b.close(c)
	}
}

func TestDeliverAllocatesNothingPerSession(t *testing.T) {
	allocs := func(n int) float64 {
		b := newBed(t, nil)
		m, s := b.m, &chat.SessionSet{}
		m.Bind(nowhere{})
		for i := range n {
			s.Sessions = append(s.Sessions, chat.SessionID(i+1))
		}
		e := event(3, "alice", "hi")
		return testing.AllocsPerRun(50, func() {
			m.Deliver(s, &chat.Delivery{Key: convKey, Notices: []chat.Notice{{Event: e, Origin: chat.Origin{Session: 1, Ref: "1"}}}})
		})
	}
	if few, many := allocs(2), allocs(2000); many > few {
		t.Fatalf("%v allocations for 2 sessions, %v for 2,000", few, many)
	}
}
