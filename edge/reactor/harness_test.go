package reactor_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zumodra/hub/edge/reactor"
)

// patience is how long a test waits for something that must happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hooks is a Handler made of optional functions. Unset, it accepts and echoes.
type hooks struct {
	srv     *reactor.Server
	upgrade func(*reactor.Request) reactor.Decision
	open    func(reactor.Conn)
	message func(reactor.Conn, bool, []byte)
	closed  func(reactor.Conn, uint16, string)

	mu     sync.Mutex
	opened []reactor.Handle
	ends   []end
}

type end struct {
	conn   reactor.Conn
	code   uint16
	reason string
}

func (h *hooks) Upgrade(r *reactor.Request) reactor.Decision {
	if h.upgrade != nil {
		return h.upgrade(r)
	}
	return reactor.Decision{}
}

func (h *hooks) Open(c reactor.Conn) {
	h.mu.Lock()
	h.opened = append(h.opened, c.Handle)
	h.mu.Unlock()
	if h.open != nil {
		h.open(c)
	}
}

func (h *hooks) Message(c reactor.Conn, text bool, p []byte) {
	if h.message != nil {
		h.message(c, text, p)
		return
	}
	_ = h.srv.Send(c.Handle, reactor.NewFrame(text, bytes.Clone(p)), reactor.Durable)
}

func (h *hooks) Closed(c reactor.Conn, code uint16, reason string) {
	h.mu.Lock()
	h.ends = append(h.ends, end{c, code, reason})
	h.mu.Unlock()
	if h.closed != nil {
		h.closed(c, code, reason)
	}
}

func (h *hooks) handles() []reactor.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]reactor.Handle(nil), h.opened...)
}

func (h *hooks) endings() []end {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]end(nil), h.ends...)
}

// start serves cfg on a loopback port until the test ends.
func start(t testing.TB, cfg reactor.Config, h *hooks) *reactor.Server {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	cfg.Handler = h
	s, err := reactor.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.srv = s
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		s.Close()
		select {
		case err := <-done:
			if !errors.Is(err, reactor.ErrServerClosed) {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve did not return after Close")
		}
	})
	return s
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// client is a WebSocket client that does exactly what it is told.
type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

type frame struct {
	b0      byte
	payload []byte
}

func (f frame) op() byte { return f.b0 & 0xF }

func (f frame) code() uint16 {
	if len(f.payload) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(f.payload)
}

const upgradeHead = "GET %s HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func dialRaw(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{Conn: c, t: t, br: bufio.NewReaderSize(c, 512)}
}

func dialTLS(t testing.TB, addr string, cfg *tls.Config) *client {
	t.Helper()
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{Conn: c, t: t, br: bufio.NewReaderSize(c, 512)}
}

// dial opens a WebSocket; extra are header lines with CRLF.
func dial(t testing.TB, addr, path, extra string) *client {
	t.Helper()
	c := dialRaw(t, addr)
	c.upgrade(path, extra)
	return c
}

func (c *client) upgrade(path, extra string) http.Header {
	c.t.Helper()
	c.write([]byte(fmt.Sprintf(upgradeHead+extra+"\r\n", path)))
	resp := c.response()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		c.t.Fatalf("upgrade answered %s", resp.Status)
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		c.t.Fatalf("accept key %q", got)
	}
	return resp.Header
}

func (c *client) response() *http.Response {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	return resp
}

func maskedFrame(b0 byte, payload []byte) []byte {
	b := []byte{b0}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, x := range payload {
		b = append(b, x^mask[i%4])
	}
	return b
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) send(b0 byte, payload []byte) {
	c.t.Helper()
	c.write(maskedFrame(b0, payload))
}

func (c *client) text(s string) { c.t.Helper(); c.send(0x81, []byte(s)) }

func (c *client) tryRead() (frame, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var h [8]byte
	if _, err := io.ReadFull(c.br, h[:2]); err != nil {
		return frame{}, err
	}
	f := frame{b0: h[0]}
	n := int(h[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(c.br, h[:2]); err != nil {
			return f, err
		}
		n = int(binary.BigEndian.Uint16(h[:]))
	case 127:
		if _, err := io.ReadFull(c.br, h[:8]); err != nil {
			return f, err
		}
		n = int(binary.BigEndian.Uint64(h[:]))
	}
	f.payload = make([]byte, n)
	_, err := io.ReadFull(c.br, f.payload)
	return f, err
}

func (c *client) read() frame {
	c.t.Helper()
	f, err := c.tryRead()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return f
}

func (c *client) expectText(want string) {
	c.t.Helper()
	f := c.read()
	if f.b0 != 0x81 || string(f.payload) != want {
		c.t.Fatalf("got frame %#x %.80q, want text %.80q", f.b0, f.payload, want)
	}
}

// expectClose reads up to the close frame, wants its code, and answers it if told to.
func (c *client) expectClose(code uint16, answer bool) {
	c.t.Helper()
	for {
		f := c.read()
		if f.op() != 0x8 {
			continue
		}
		if f.code() != code {
			c.t.Fatalf("close code %d %q, want %d", f.code(), f.payload[min(2, len(f.payload)):], code)
		}
		break
	}
	if answer {
		c.send(0x88, binary.BigEndian.AppendUint16(nil, code))
	}
}

// expectEOF wants an orderly end of the stream.
func (c *client) expectEOF() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("read %#x, %v; want EOF", b, err)
	}
}
