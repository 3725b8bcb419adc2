package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zumodra/hub/client"
)

// server is a scripted hub: the test accepts the client's connections, reads its frames and answers them. It
// lives inside a synctest bubble, so all waiting is on the fake clock.
type server struct {
	t     *testing.T
	dials chan *conn
	// refuse, if set, answers a handshake itself.
	refuse func() error
	// dialled, if set, is told where to; otherwise it is ws://hub.test/ws/.
	dialled func(url string)
}

func newServer(t *testing.T) *server { return &server{t: t, dials: make(chan *conn, 16)} }

func (s *server) dial(ctx context.Context, url string, h http.Header) (client.Conn, error) {
	if s.dialled != nil {
		s.dialled(url)
	} else if url != "ws://hub.test/ws/" {
		s.t.Errorf("dialled %q", url)
	}
	if s.refuse != nil {
		if err := s.refuse(); err != nil {
			return nil, err
		}
	}
	c := &conn{
		t: s.t, auth: h.Get("Authorization"), at: time.Now(),
		toClient: make(chan []byte, 4096), toServer: make(chan []byte, 4096), closed: make(chan struct{}),
	}
	select {
	case s.dials <- c:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// accept waits for the next connection.
func (s *server) accept() *conn {
	s.t.Helper()
	select {
	case c := <-s.dials:
		return c
	case <-time.After(10 * time.Minute):
		s.t.Fatal("the client does not connect")
		return nil
	}
}

// greet accepts the next connection and sends the status frame.
func (s *server) greet() *conn {
	s.t.Helper()
	c := s.accept()
	c.send(`{"type":"status","message":"Connected","is_online":true}`)
	return c
}

type conn struct {
	t                  *testing.T
	auth               string
	at                 time.Time
	toClient, toServer chan []byte
	once               sync.Once
	closed             chan struct{}
	err                error
}

func (c *conn) Read(ctx context.Context) ([]byte, error) {
	select {
	case b := <-c.toClient:
		return b, nil
	default:
	}
	select {
	case b := <-c.toClient:
		return b, nil
	case <-c.closed:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conn) Write(ctx context.Context, b []byte) error {
	select {
	case <-c.closed:
		return errors.New("broken pipe")
	default:
	}
	select {
	case c.toServer <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn) Close(code int, _ string) error {
	c.drop(code)
	return nil
}

// drop ends the connection as the server would.
func (c *conn) drop(code int) {
	c.once.Do(func() {
		c.err = &client.CloseError{Code: code}
		close(c.closed)
	})
}

func (c *conn) send(format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	c.toClient <- []byte(format)
}

type frame struct {
	Type         string `json:"type"`
	Conversation string `json:"conversation_id"`
	Ref          string `json:"ref"`
	ClientID     string `json:"client_id"`
	Content      string `json:"content"`
	LastSeq      uint64 `json:"last_seq"`
	UpToSeq      uint64 `json:"up_to_seq"`
	MessageID    string `json:"message_id"`
	Emoji        string `json:"emoji"`
	IsTyping     bool   `json:"is_typing"`

	Conversations []struct {
		ID      string `json:"conversation_id"`
		LastSeq uint64 `json:"last_seq"`
	} `json:"conversations"`
}

// expect reads the client's next frame, which must be of that type.
func (c *conn) expect(typ string) frame {
	c.t.Helper()
	select {
	case b := <-c.toServer:
		var f frame
		if err := json.Unmarshal(b, &f); err != nil {
			c.t.Fatalf("the client sent %q: %v", b, err)
		}
		if f.Type != typ {
			c.t.Fatalf("the client sent %s, want %s", b, typ)
		}
		return f
	case <-time.After(10 * time.Minute):
		c.t.Fatalf("the client sent nothing, want %s", typ)
		return frame{}
	}
}

// quiet checks that the client has nothing to say for now.
func (c *conn) quiet() {
	c.t.Helper()
	synctest.Wait()
	select {
	case b := <-c.toServer:
		c.t.Fatalf("the client sent %s, want nothing", b)
	default:
	}
}

// message sends a message of user 1 at seq.
func (c *conn) message(conversation string, seq uint64) {
	c.send(`{"type":"message","id":"m%d","sender":"bob","sender_id":1,"content":"text %d","conversation_id":%q,"seq":%d,"timestamp":"2026-11-22T20:46:05.773005+00:00"}`, seq, seq, conversation, seq)
}

// ack answers a send as stored at seq; the sender is user 7.
func (c *conn) ack(f frame, seq uint64) {
	c.send(`{"type":"message","id":"m%d","sender":"me","sender_id":7,"content":%q,"conversation_id":%q,"seq":%d,"client_id":%q,"ref":%q}`,
		seq, f.Content, f.Conversation, seq, f.ClientID, f.Ref)
}

// running is a client under test with the events that its handler got.
type running struct {
	*client.Client
	t    *testing.T
	done chan struct{}
	err  error // of Run, valid once done is closed

	mu     sync.Mutex
	events []client.Event
}

func config(s *server) client.Config {
	return client.Config{
		URL: "http://hub.test", TokenSource: client.StaticToken("t"), Dial: s.dial,
		Rand: func() float64 { return 0.5 },
		HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("unexpected request %s", r.URL)
		})},
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.WriteHeader(status)
	_, _ = w.WriteString(body)
	return w.Result(), nil
}

func start(t *testing.T, cfg client.Config) *running {
	t.Helper()
	r := &running{t: t, done: make(chan struct{})}
	inner := cfg.Handler
	cfg.Handler = func(e client.Event) {
		r.mu.Lock()
		r.events = append(r.events, e)
		r.mu.Unlock()
		if inner != nil {
			inner(e)
		}
	}
	var err error
	if r.Client, err = client.New(cfg); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.err = r.Run(context.Background())
		close(r.done)
	}()
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// log lists what the handler got of logs, as "seq" or "gap from-to".
func (r *running) log() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []string{}
	for _, e := range r.events {
		switch e := e.(type) {
		case *client.MessageEvent:
			out = append(out, fmt.Sprint(e.Seq))
		case *client.EditedEvent:
			out = append(out, fmt.Sprint(e.Seq))
		case *client.ReactionEvent:
			out = append(out, fmt.Sprint(e.Seq))
		case *client.DeletedEvent:
			out = append(out, fmt.Sprint(e.Seq))
		case *client.ChangeEvent:
			out = append(out, fmt.Sprint(e.Seq))
		case *client.UnknownEvent:
			if e.Seq > 0 {
				out = append(out, fmt.Sprint(e.Seq))
			}
		case *client.GapEvent:
			out = append(out, fmt.Sprintf("gap %d-%d", e.From, e.To))
		}
	}
	return out
}

func eventsOf[T client.Event](r *running) []T {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []T
	for _, e := range r.events {
		if e, ok := e.(T); ok {
			out = append(out, e)
		}
	}
	return out
}

func (r *running) wantLog(want ...string) {
	r.t.Helper()
	if got := r.log(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Fatalf("the handler got %v, want %v", got, want)
	}
}

func (r *running) wantState(want client.State) {
	r.t.Helper()
	synctest.Wait()
	if got := r.State(); got != want {
		r.t.Fatalf("state %v, want %v", got, want)
	}
}

func (r *running) send(conversation, content string) *client.Outgoing {
	r.t.Helper()
	o, err := r.SendAsync(conversation, content)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// settled returns the result of a send whose outcome must be known by now.
func settled(t *testing.T, o *client.Outgoing) (*client.Message, error) {
	t.Helper()
	synctest.Wait()
	select {
	case <-o.Done():
		return o.Result()
	default:
		t.Fatal("the send is not settled")
		return nil, nil
	}
}

func unsettled(t *testing.T, o *client.Outgoing) {
	t.Helper()
	synctest.Wait()
	select {
	case <-o.Done():
		m, err := o.Result()
		t.Fatalf("the send is settled: %v, %v", m, err)
	default:
	}
}
