package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const statusFrame = `{"type":"status","message":"Connected","is_online":true}`

// frame is one frame of the hub.
type frame struct {
	object
	raw string
}

// socket is a raw WebSocket client. A goroutine reads all that comes; tests look at it in order.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
	resp *http.Response

	mu     sync.Mutex
	come   []frame
	count  int
	err    error // of the read that failed
	signal chan struct{}
}

// open connects and leaves everything that comes, the status frame included, to the test.
func (h *hub) open(path string, header http.Header) (*socket, error) {
	return h.openURL(h.ws+path, header)
}

func (h *hub) openURL(url string, header http.Header) (*socket, error) {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	o := &websocket.DialOptions{HTTPHeader: header}
	if header != nil {
		o.Subprotocols, header = header["Subprotocols"], header.Clone()
		header.Del("Subprotocols")
		o.HTTPHeader = header
	}
	c, resp, err := websocket.Dial(ctx, url, o)
	s := &socket{t: h.t, conn: c, resp: resp, signal: make(chan struct{}, 1)}
	if err != nil {
		return s, err
	}
	c.SetReadLimit(-1)
	done := make(chan struct{})
	go func() { defer close(done); s.receive() }()
	h.t.Cleanup(func() { _ = c.CloseNow(); <-done })
	return s, nil
}

func (s *socket) receive() {
	for {
		_, b, err := s.conn.Read(context.Background())
		f := frame{raw: string(b)}
		if err == nil {
			err = json.Unmarshal(b, &f.object)
		}
		s.mu.Lock()
		if err == nil {
			s.come = append(s.come, f)
			s.count++
		} else {
			s.err = err
		}
		s.mu.Unlock()
		select {
		case s.signal <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// dial opens a socket as the user, to all conversations or to the one given, and takes the status frame.
func (u *user) dial(conversation ...string) *socket {
	u.h.t.Helper()
	path := "/ws/"
	if len(conversation) > 0 {
		path = "/ws/chat/" + conversation[0] + "/"
	}
	s, err := u.h.open(path, http.Header{"Authorization": {"Bearer " + u.token}})
	if err != nil {
		u.h.t.Fatal(err)
	}
	if f := s.next(); f.raw != statusFrame {
		u.h.t.Fatalf("first frame %s", f.raw)
	}
	return s
}

// take waits for the next frame, or for the end.
func (s *socket) take() (frame, error) {
	end := time.After(patience)
	for {
		s.mu.Lock()
		if len(s.come) > 0 {
			f := s.come[0]
			s.come = s.come[1:]
			s.mu.Unlock()
			return f, nil
		}
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return frame{}, err
		}
		select {
		case <-s.signal:
		case <-end:
			return frame{}, errors.New("nothing came")
		}
	}
}

// reached waits until n frames have come in all; false when the end came first.
func (s *socket) reached(n int) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(time.Millisecond) {
		s.mu.Lock()
		count, err := s.count, s.err
		s.mu.Unlock()
		if count >= n || err != nil {
			return err == nil
		}
	}
	return false
}

// next is the next frame, whatever it is but for head.
func (s *socket) next() frame {
	s.t.Helper()
	for {
		f, err := s.take()
		if err != nil {
			s.t.Fatalf("waiting for a frame: %v", err)
		}
		// A hub that takes over what one before it left says how far logs reach, whenever it gets there: after a restart
		// on a cluster, sockets may be there first.
		if f.str("type") != "head" {
			return f
		}
	}
}

// expect skips frames until one of the type comes.
func (s *socket) expect(typ string) frame {
	s.t.Helper()
	var seen []string
	for {
		f, err := s.take()
		if err != nil {
			s.t.Fatalf("waiting for %s: %v; what came: %s", typ, err, strings.Join(seen, "\n"))
		}
		if f.str("type") == typ {
			return f
		}
		seen = append(seen, f.raw)
	}
}

// message skips frames until the message with the content comes.
func (s *socket) message(content string) frame {
	s.t.Helper()
	for {
		if f := s.expect("message"); f.str("content") == content {
			return f
		}
	}
}

// until is everything up to and including the message with the content.
func (s *socket) until(content string) (all []frame) {
	s.t.Helper()
	for {
		f := s.next()
		all = append(all, f)
		if f.str("type") == "message" && f.str("content") == content {
			return all
		}
	}
}

// refused expects an error frame with the code next.
func (s *socket) refused(code string) frame {
	s.t.Helper()
	f := s.expect("error")
	if f.str("code") != code {
		s.t.Fatalf("%s, want code %s", f.raw, code)
	}
	return f
}

// alive makes sure that the socket is answered, and returns what came before the answer.
func (s *socket) alive() (before []frame) {
	s.t.Helper()
	ref := nextRef()
	s.send(object{"type": "ping", "ref": ref})
	for {
		f := s.next()
		if f.str("type") == "pong" && f.str("ref") == ref {
			return before
		}
		before = append(before, f)
	}
}

// closed waits for the end and returns its code and what came before.
func (s *socket) closed() (code int, reason string, before []frame) {
	s.t.Helper()
	for {
		f, err := s.take()
		if err == nil {
			before = append(before, f)
			continue
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) {
			s.t.Fatalf("no close frame: %v", err)
		}
		return int(ce.Code), ce.Reason, before
	}
}

// wantClose waits for the end with the code.
func (s *socket) wantClose(code int) (before []frame) {
	s.t.Helper()
	got, reason, before := s.closed()
	if got != code {
		s.t.Fatalf("closed with %d %q, want %d", got, reason, code)
	}
	return before
}

// send writes a JSON frame.
func (s *socket) send(v any) {
	s.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(string(b))
}

// write writes a text frame as it is.
func (s *socket) write(text string) {
	s.t.Helper()
	if err := s.put(text); err != nil {
		s.t.Fatalf("writing: %v", err)
	}
}

func (s *socket) put(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, []byte(text))
}

// say sends a message into a conversation and returns its own echo.
func (s *socket) say(conversation, content string) frame {
	s.t.Helper()
	ref := nextRef()
	s.send(object{"type": "send_message", "conversation_id": conversation, "content": content, "ref": ref})
	for {
		f := s.next()
		if f.str("ref") == ref {
			if f.str("type") != "message" {
				s.t.Fatalf("saying %q: %s", content, f.raw)
			}
			return f
		}
	}
}

var refs atomic.Int64

func nextRef() string { return fmt.Sprint("ref ", refs.Add(1)) }
