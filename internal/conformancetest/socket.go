package conformancetest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// socket is one WebSocket of a vector. A goroutine reads it until it ends; drop waits for that.
type socket struct {
	c       *websocket.Conn
	frames  chan any
	done    chan struct{} // closed when the reader has ended, with err set
	err     error
	stop    context.CancelFunc
	closing bool
	closer  sync.WaitGroup
}

const maxFrames = 1 << 12 // that wait to be expected; more end the socket

// open connects. What is expected is a first frame, a close code, or an HTTP status.
func (x *run) open(ctx context.Context, s *Step) error {
	path, err := x.vars.text(s.Path)
	if err != nil {
		return err
	}
	header, err := x.headers(s)
	if err != nil {
		return err
	}
	o := &websocket.DialOptions{HTTPHeader: header, CompressionMode: websocket.CompressionDisabled}
	if p := header.Get("Sec-WebSocket-Protocol"); p != "" {
		o.Subprotocols = strings.Split(p, ", ")
		header.Del("Sec-WebSocket-Protocol")
	}
	//nolint:bodyclose // "You never need to close resp.Body yourself": the library has read it
	c, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(x.URL, "http")+path, o)
	if resp != nil && s.Status != 0 {
		if err == nil {
			_ = c.CloseNow()
		}
		if resp.StatusCode != s.Status {
			return fmt.Errorf("status: want %d, got %d", s.Status, resp.StatusCode)
		}
		return nil
	}
	if err != nil {
		return err
	}
	c.SetReadLimit(maxAnswer)
	read, stop := context.WithCancel(context.WithoutCancel(ctx))
	sock := &socket{c: c, frames: make(chan any, maxFrames), done: make(chan struct{}), stop: stop}
	go sock.read(read)
	if s.Code != 0 {
		defer sock.drop()
		return x.closed(ctx, sock, s)
	}
	if old := x.sockets[s.Open]; old != nil {
		old.drop()
	}
	x.sockets[s.Open] = sock
	if s.Frames == nil { // what every connection begins with
		s = &Step{Frames: []json.RawMessage{json.RawMessage(`{"type":"status","message":"Connected","is_online":true}`)}}
	}
	return x.receive(ctx, sock, s)
}

func (s *socket) read(ctx context.Context) {
	defer close(s.done)
	for {
		typ, b, err := s.c.Read(ctx)
		if err != nil {
			s.err = err
			return
		}
		v, err := decode(b)
		if err != nil || typ != websocket.MessageText {
			s.err = fmt.Errorf("a frame that is not JSON text: %.200q", b)
			return
		}
		select {
		case s.frames <- v:
		default:
			s.err = fmt.Errorf("more than %d frames that no step waits for", maxFrames)
			return
		}
	}
}

// next is the next frame; an error says that the socket ended, or that none came in time.
func (s *socket) next(ctx context.Context) (any, error) {
	select {
	case f := <-s.frames:
		return f, nil
	default:
	}
	select {
	case f := <-s.frames:
		return f, nil
	case <-s.done:
		select {
		case f := <-s.frames:
			return f, nil
		default:
			return nil, fmt.Errorf("the socket ended: %w", s.err)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("no frame came: %w", ctx.Err())
	}
}

// silence collects frames until none has come for a while: for recording alone.
func (s *socket) silence(d time.Duration) (all []any) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		f, err := s.next(ctx)
		cancel()
		if err != nil {
			return all
		}
		all = append(all, f)
	}
}

func (s *socket) write(ctx context.Context, binary bool, b []byte) error {
	typ := websocket.MessageText
	if binary {
		typ = websocket.MessageBinary
	}
	return s.c.Write(ctx, typ, b)
}

func (x *run) send(ctx context.Context, sock *socket, s *Step) error {
	var b []byte
	switch {
	case s.JSON != nil:
		v, err := x.vars.raw(s.JSON)
		if err != nil {
			return err
		}
		b = []byte(quoted(v))
	case s.Text != nil:
		t, err := x.vars.text(*s.Text)
		if err != nil {
			return err
		}
		b = []byte(t)
	case s.Binary != nil:
		var err error
		if b, err = hex.DecodeString(*s.Binary); err != nil {
			return err
		}
	}
	if s.Fragments > 1 {
		return sock.fragments(ctx, b, s.Fragments)
	}
	for range max(s.Times, 1) {
		if err := sock.write(ctx, s.Binary != nil, b); err != nil {
			return err
		}
	}
	return nil
}

// fragments sends a text in n frames: each Write of the library makes one, and Close an empty last one. What the server does
// not want to hear to the end it closes, which the next step sees.
func (s *socket) fragments(ctx context.Context, b []byte, n int) error {
	w, err := s.c.Writer(ctx, websocket.MessageText)
	if err != nil {
		return err
	}
	for i := range n - 1 {
		at, to := len(b)*i/(n-1), len(b)*(i+1)/(n-1)
		if _, err := w.Write(b[at:to]); err != nil {
			return nil
		}
	}
	_ = w.Close()
	return nil
}

// closed waits for the end of a socket. Frames before it must be ignorable.
func (x *run) closed(ctx context.Context, sock *socket, s *Step) error {
	defer sock.drop()
	for {
		got, err := sock.next(ctx)
		if err == nil {
			if x.ignorable(got) {
				continue
			}
			return fmt.Errorf("a frame that no step names: %s", quoted(x.vars.general(got)))
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) {
			return fmt.Errorf("want close code %d: %w", s.Code, err)
		}
		if x.Record && s.Code == 0 {
			s.Code = int(ce.Code)
		}
		if int(ce.Code) != s.Code || s.Reason != nil && *s.Reason != ce.Reason {
			want := ""
			if s.Reason != nil {
				want = *s.Reason
			}
			return fmt.Errorf("close: want %d %q, got %d %q", s.Code, want, ce.Code, ce.Reason)
		}
		return nil
	}
}

// close sends a close frame; the answer is expected by a step of its own.
func (s *socket) close(code int) error {
	if code == 0 {
		code = int(websocket.StatusNormalClosure)
	}
	s.closing = true
	// It waits for the answer, which the reader gets: drop ends both.
	s.closer.Go(func() { _ = s.c.Close(websocket.StatusCode(code), "") })
	return nil
}

func (s *socket) drop() {
	s.stop()
	_ = s.c.CloseNow()
	<-s.done
	s.closer.Wait()
}
