package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/edge/auth"
	"github.com/zumodra/hub/edge/reactor"
	"github.com/zumodra/hub/edge/session"
)

// room is one conversation in memory behind the Dispatcher interface: one goroutine decides, in order.
type room struct {
	edge    *session.Manager
	members []chat.UserID
	work    chan func()
	done    sync.WaitGroup

	log []chat.Event // of the goroutine
	ids map[string]int

	mu       sync.Mutex
	sessions map[chat.SessionID]chat.UserKey
	set      *chat.SessionSet
}

func newRoom(members ...chat.UserID) *room {
	r := &room{members: members, work: make(chan func(), 1024), ids: map[string]int{}, sessions: map[chat.SessionID]chat.UserKey{}}
	r.done.Go(func() {
		for f := range r.work {
			f()
		}
	})
	return r
}

func (r *room) Register(k chat.UserKey, _ chat.ConversationID, s chat.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[s], r.set = k, nil
}

func (r *room) Unregister(_ chat.UserKey, _ chat.ConversationID, s chat.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s)
	r.set = nil
}

func (r *room) Enter(chat.UserKey, func(error)) bool { return true }

func (r *room) Exit(chat.UserKey) {}

func (r *room) deliver(n chat.Notice) {
	r.mu.Lock()
	if r.set == nil {
		r.set = &chat.SessionSet{}
		for s := range r.sessions {
			r.set.Sessions = append(r.set.Sessions, s)
		}
	}
	set := r.set
	r.mu.Unlock()
	r.edge.Deliver(set, &chat.Delivery{Key: convKey, Notices: []chat.Notice{n}})
}

func (r *room) Submit(p chat.Principal, o chat.Origin, cmd chat.Command, done func(chat.Result, error)) {
	r.work <- func() {
		if !(&chat.MemberSet{Users: r.members}).Contains(p.User) || cmd.Target() != conv {
			done(chat.Result{}, chat.ErrNotMember)
			return
		}
		view := &chat.View{Head: chat.Head{Key: convKey, Seq: uint64(len(r.log))}}
		switch c := cmd.(type) {
		case chat.Send:
			if i, ok := r.ids[string(p.User)+" "+c.ClientID]; ok && c.ClientID != "" {
				done(chat.Result{Event: &r.log[i], Duplicate: true}, nil)
				return
			}
			seq := uint64(len(r.log) + 1)
			now := time.Now().UTC()
			e := chat.Event{Seq: seq, Type: chat.EventMessage, At: now, Actor: p.User, ActorName: p.Username,
				Message: chat.NewMessageID(convKey, seq, now), Content: c.Content, ClientID: c.ClientID}
			r.ids[string(p.User)+" "+c.ClientID] = len(r.log)
			r.log = append(r.log, e)
			done(chat.Result{Event: &e}, nil)
			r.deliver(chat.Notice{Event: &e, Origin: o})
		case chat.Typing:
			done(chat.Result{}, nil)
			r.deliver(chat.Notice{Typing: &chat.TypingNotice{User: p.User, Username: p.Username, On: c.On}})
		case chat.Resume:
			done(chat.Result{Events: r.log[min(c.LastSeq, view.Head.Seq):], View: view}, nil)
		default:
			done(chat.Result{View: view}, nil)
		}
	}
}

// client is one connection of a real WebSocket client.
type client struct {
	t *testing.T
	*websocket.Conn
}

type received struct {
	Type, Content, Code, Message string
	Ref                          json.RawMessage
	Seq                          int
	ClientID                     string `json:"client_id"`
	IsTyping                     bool   `json:"is_typing"`
	HeadSeq                      int    `json:"head_seq"`
	raw                          string
}

func (c client) write(format string, args ...any) {
	c.t.Helper()
	if err := c.Write(c.t.Context(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) next() received {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	v := received{raw: string(b)}
	if err := json.Unmarshal(b, &v); err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c client) closed() (websocket.StatusCode, string) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		if _, b, err := c.Read(ctx); err != nil {
			var ce websocket.CloseError
			errors.As(err, &ce)
			return ce.Code, ce.Reason
		} else if c.t.Failed() {
			return 0, string(b)
		}
	}
}

func TestEndToEnd(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	verifier, err := auth.New(auth.Config{Secrets: [][]byte{secret}})
	if err != nil {
		t.Fatal(err)
	}
	defer verifier.Close()
	signer, err := auth.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	room := newRoom("1", "2", "3")
	m := session.New(session.Config{Dispatcher: room, Verifier: verifier, Limiter: session.NewLimiter(session.LimiterConfig{Rate: -1})})
	room.edge = m
	server, err := reactor.New(reactor.Config{Addr: "127.0.0.1:0", Reactors: 2, Handler: m})
	if err != nil {
		t.Fatal(err)
	}
	m.Bind(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background()) }()
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, reactor.ErrServerClosed) {
			t.Error(err)
		}
		m.Close()
		close(room.work)
		room.done.Wait()
	}()

	token := func(u chat.UserID) string {
		tok, err := signer.Sign(auth.Claims{Principal: chat.Principal{User: u, Username: "u" + string(u)}, Expires: time.Now().Add(time.Hour)}, auth.Access)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	dial := func(path string, opt *websocket.DialOptions) (client, *http.Response, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, resp, err := websocket.Dial(ctx, "ws://"+server.Addr().String()+path, opt)
		if c != nil {
			t.Cleanup(func() { _ = c.CloseNow() })
		}
		return client{t, c}, resp, err
	}
	connect := func(path string, u chat.UserID) client {
		c, _, err := dial(path, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token(u)}}})
		if err != nil {
			t.Fatal(err)
		}
		if f := c.next(); f.raw != status {
			t.Fatal(f.raw)
		}
		return c
	}

	alice := connect(chatPath, "1")
	bob := connect("/ws/chat/"+strings.ReplaceAll(conv.String(), "-", ""), "2")
	carol, resp, err := dial("/ws/?x=1", &websocket.DialOptions{Subprotocols: []string{"bearer", token("3")}})
	if err != nil || resp.Header.Get("Sec-WebSocket-Protocol") != "bearer" {
		t.Fatal(err)
	}
	if f := carol.next(); f.raw != status {
		t.Fatal(f.raw)
	}

	// Requirement 34: everybody sees one order; only the sender's connection hears its refs.
	const n = 200
	for i := range n {
		alice.write(`{"type":"send_message","content":"a%d","ref":%d,"client_id":"a%d"}`, i, i, i)
		bob.write(`{"type":"send_message","content":"b%d"}`, i)
	}
	logs := make([][]string, 3)
	for i, c := range []client{alice, bob, carol} {
		refs := 0
		for seq := 1; seq <= 2*n; seq++ {
			f := c.next()
			if f.Type != "message" || f.Seq != seq {
				t.Fatalf("connection %d: %s, want seq %d", i, f.raw, seq)
			}
			if f.Ref != nil {
				if i != 0 || string(f.Ref) != fmt.Sprint(refs) || f.Content != fmt.Sprint("a", refs) {
					t.Fatalf("connection %d: %s", i, f.raw)
				}
				refs++
			}
			logs[i] = append(logs[i], f.Content)
		}
		if i == 0 && refs != n {
			t.Fatalf("%d refs", refs)
		}
	}
	if a := strings.Join(logs[0], " "); a != strings.Join(logs[1], " ") || a != strings.Join(logs[2], " ") {
		t.Fatal("orders differ")
	}

	// Requirement 48, and 47 on a new connection.
	alice.write(`{"type":"send_message","content":"again","client_id":"a5","ref":"dup"}`)
	if f := alice.next(); f.Content != "a5" || string(f.Ref) != `"dup"` {
		t.Fatal(f.raw)
	}
	_ = carol.CloseNow()
	carol = connect("/ws/", "3")
	carol.write(`{"type":"resume","conversations":[{"conversation_id":"%s","last_seq":%d}],"ref":1}`, conv, 2*n-3)
	for seq := 2*n - 2; seq <= 2*n; seq++ {
		if f := carol.next(); f.Seq != seq {
			t.Fatal(f.raw)
		}
	}
	if f := carol.next(); f.Type != "resumed" || f.HeadSeq != 2*n || string(f.Ref) != "1" {
		t.Fatal(f.raw)
	}

	// Requirement 36: a client that vanishes types no more.
	bob.write(`{"type":"typing","is_typing":true}`)
	if f := alice.next(); f.Type != "typing" || !f.IsTyping {
		t.Fatal(f.raw)
	}
	_ = bob.CloseNow()
	if f := alice.next(); f.Type != "typing" || f.IsTyping {
		t.Fatal(f.raw)
	}

	// Requirements 40 and 49: errors leave the connection open.
	alice.write(`[1,2`)
	if f := alice.next(); f.Code != "invalid_json" {
		t.Fatal(f.raw)
	}
	if err := alice.Write(t.Context(), websocket.MessageBinary, []byte{0}); err != nil {
		t.Fatal(err)
	}
	if f := alice.next(); f.Code != "not_supported" {
		t.Fatal(f.raw)
	}
	alice.write(`{"type":"ping"}`)
	if f := alice.next(); f.raw != `{"type":"pong"}` {
		t.Fatal(f.raw)
	}

	// Requirements 27, 28 and 44: who may not come in.
	for _, c := range []struct {
		path, token string
		code        websocket.StatusCode
	}{
		{chatPath, "forged", 4001},
		{"/ws/", "", 4001},
		{chatPath, token("4"), 4003},
		{"/ws/chat/" + chat.ConversationID{9}.String() + "/", token("1"), 4003},
	} {
		cl, _, err := dial(c.path+"?token="+c.token, nil)
		if err != nil {
			t.Fatal(err)
		}
		if code, reason := cl.closed(); code != c.code || reason == "" {
			t.Errorf("%s: %d %q, want %d", c.path, code, reason, c.code)
		}
	}
	_, resp, err = dial("/ws/", &websocket.DialOptions{HTTPHeader: http.Header{
		"Authorization": {"Bearer " + token("1")}, "Origin": {"https://evil.example"}}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("foreign origin: %v", err)
	}

	if err := m.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := alice.next(); f.Type != "goaway" {
		t.Fatal(f.raw)
	}
	if _, resp, err = dial("/ws/?token="+token("1"), nil); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while draining: %v", err)
	}
}
