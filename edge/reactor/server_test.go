package reactor_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/reactor"
)

func TestEcho(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{MaxMessage: 1 << 20}, h)
	c := dial(t, s.Addr().String(), "/ws/", "")
	for _, n := range []int{0, 1, 125, 126, 127, 1000, 65535, 65536, 70000, 1 << 20} {
		p := bytes.Repeat([]byte("x"), n)
		c.send(0x82, p)
		f := c.read()
		if f.b0 != 0x82 || !bytes.Equal(f.payload, p) {
			t.Fatalf("echo of %d bytes: %#x, %d bytes", n, f.b0, len(f.payload))
		}
	}
	c.send(0x88, []byte{0x03, 0xe8})
	c.expectClose(1000, false)
	c.expectEOF()
	c.Close()
	eventually(t, "closed callback", func() bool {
		e := h.endings()
		return len(e) == 1 && e[0].code == 1000
	})
	eventually(t, "connection gone", func() bool { return s.Stats().Connections == 0 })
}

func TestBytewiseAndFragmentedWithInterleavedPing(t *testing.T) {
	s := start(t, reactor.Config{}, &hooks{})
	c := dial(t, s.Addr().String(), "/", "")
	var stream []byte
	stream = append(stream, maskedFrame(0x01, []byte("h\xc3"))...)
	stream = append(stream, maskedFrame(0x89, []byte("ping"))...)
	stream = append(stream, maskedFrame(0x00, []byte("\xa9l"))...)
	stream = append(stream, maskedFrame(0x80, []byte("lo"))...)
	for i := range stream {
		c.write(stream[i : i+1])
	}
	if f := c.read(); f.b0 != 0x8A || string(f.payload) != "ping" {
		t.Fatalf("pong: %#x %q", f.b0, f.payload)
	}
	c.expectText("h\u00e9llo")
	for range 50 {
		c.write(stream)
	}
	for range 50 {
		if f := c.read(); f.op() == 0xA {
			continue
		}
	}
}

func TestProtocolFailures(t *testing.T) {
	s := start(t, reactor.Config{MaxMessage: 1000, MaxFragments: 3}, &hooks{})
	unmasked := []byte{0x81, 1, 'a'}
	for _, tc := range []struct {
		name string
		in   []byte
		code uint16
	}{
		{"unmasked", unmasked, 1002},
		{"reserved opcode", maskedFrame(0x83, nil), 1002},
		{"RSV1 without extension", maskedFrame(0xC1, nil), 1002},
		{"RSV2", maskedFrame(0xA1, nil), 1002},
		{"fragmented ping", maskedFrame(0x09, nil), 1002},
		{"long ping", maskedFrame(0x89, make([]byte, 126)), 1002},
		{"continuation without start", maskedFrame(0x80, nil), 1002},
		{"start within message", append(maskedFrame(0x01, nil), maskedFrame(0x81, nil)...), 1002},
		{"length not minimal", []byte{0x81, 0x80 | 126, 0, 5}, 1002},
		{"64-bit length not minimal", []byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 0}, 1002},
		{"close with one byte", maskedFrame(0x88, []byte{3}), 1002},
		{"close 1005", maskedFrame(0x88, []byte{0x03, 0xed}), 1002},
		{"close with bad reason", maskedFrame(0x88, []byte{0x03, 0xe8, 0xff}), 1007},
		{"bad UTF-8", maskedFrame(0x81, []byte("a\xffb")), 1007},
		{"UTF-8 cut short", maskedFrame(0x81, []byte("\xc3")), 1007},
		{"bad UTF-8 in partial frame", maskedFrame(0x81, append([]byte("ok\xf4\x90"), make([]byte, 500)...))[:6+2+4+2], 1007},
		{"too big by its header", []byte{0x82, 0x80 | 126, 0xff, 0xff, 1, 2, 3, 4}, 1009},
		{"too big in fragments", append(maskedFrame(0x02, make([]byte, 600)), maskedFrame(0x80, make([]byte, 600))...), 1009},
		{"too many fragments", bytes.Join([][]byte{
			maskedFrame(0x02, nil), maskedFrame(0x00, nil), maskedFrame(0x00, nil), maskedFrame(0x00, nil),
		}, nil), 1008},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := tc.in
			// Headers cut before the mask are not completed: pad those that judge by length alone.
			if len(in) >= 2 && in[1]&0x80 != 0 && len(in) < 8 {
				in = append(bytes.Clone(in), 0, 0, 0, 0)
			}
			if strings.HasPrefix(tc.name, "64-bit") {
				in = append(bytes.Clone(in), 0, 0, 0, 0)
			}
			c := dial(t, s.Addr().String(), "/", "")
			c.write(in)
			c.expectClose(tc.code, true)
			c.expectEOF()
		})
	}
}

func TestUpgradeErrors(t *testing.T) {
	h := &hooks{upgrade: func(r *reactor.Request) reactor.Decision {
		if r.Path == "/no" {
			return reactor.Decision{Status: 401, Body: "who are you", RetryAfter: 1500 * time.Millisecond}
		}
		return reactor.Decision{}
	}}
	s := start(t, reactor.Config{}, h)
	good := fmt.Sprintf(upgradeHead, "/") + "\r\n"
	for _, tc := range []struct {
		name, request string
		status        int
		header, value string
	}{
		{"version", strings.Replace(good, ": 13", ": 12", 1), 426, "Sec-WebSocket-Version", "13"},
		{"no version", strings.Replace(good, "Sec-WebSocket-Version: 13\r\n", "", 1), 426, "Sec-WebSocket-Version", "13"},
		{"no key", strings.Replace(good, "Sec-WebSocket-Key", "X-Key", 1), 400, "", ""},
		{"short key", strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 1), 400, "", ""},
		{"method", strings.Replace(good, "GET", "POST", 1), 405, "Allow", "GET"},
		{"HTTP/1.0", strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), 505, "", ""},
		{"no host", strings.Replace(good, "Host: hub\r\n", "", 1), 400, "", ""},
		{"malformed", "GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "", ""},
		{"too big", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n", 431, "", ""},
		{"endless", "GET /" + strings.Repeat("x", 9000), 431, "", ""},
		{"handler", strings.Replace(good, "GET /", "GET /no", 1), 401, "Retry-After", "2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, s.Addr().String())
			c.write([]byte(tc.request))
			resp := c.response()
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, tc.status)
			}
			if tc.header != "" && resp.Header.Get(tc.header) != tc.value {
				t.Fatalf("%s: %q, want %q", tc.header, resp.Header.Get(tc.header), tc.value)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			c.expectEOF()
		})
	}
}

func TestUpgradeRequestAndSubprotocol(t *testing.T) {
	got := make(chan *reactor.Request, 1)
	h := &hooks{upgrade: func(r *reactor.Request) reactor.Decision {
		got <- r
		return reactor.Decision{Session: 7, Subprotocol: "hub.v1"}
	}}
	sessions := make(chan uint32, 1)
	h.open = func(c reactor.Conn) { sessions <- c.Session }
	s := start(t, reactor.Config{}, h)
	c := dialRaw(t, s.Addr().String())
	// A first message that arrives together with the request is not lost.
	c.write(append([]byte(fmt.Sprintf(upgradeHead, "/ws/a%20b?x=1&y=2")+"Sec-WebSocket-Protocol: other, hub.v1\r\nCookie: a=b\r\n\r\n"),
		maskedFrame(0x81, []byte("early"))...))
	resp := c.response()
	if p := resp.Header.Get("Sec-WebSocket-Protocol"); p != "hub.v1" {
		t.Errorf("subprotocol %q", p)
	}
	c.expectText("early")
	r := <-got
	if r.Path != "/ws/a%20b" || r.RawQuery != "x=1&y=2" || r.Host != "hub" || r.TLS || r.Header.Get("cookie") != "a=b" ||
		r.Remote.String() != c.LocalAddr().String() {
		t.Errorf("request %+v", r)
	}
	if v := <-sessions; v != 7 {
		t.Errorf("session %d", v)
	}
}

func TestHTTPOnTheSamePort(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	s := start(t, reactor.Config{HTTP: mux}, &hooks{})
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	cl := &http.Client{Transport: tr, Timeout: patience}
	for range 3 {
		body := strings.Repeat("body", 50_000)
		resp, err := cl.Post("http://"+s.Addr().String()+"/echo", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != body {
			t.Fatalf("echo of %d bytes: %d, %v", len(body), len(b), err)
		}
	}
	if n := s.Stats().HTTPConns; n != 1 {
		t.Errorf("%d HTTP connections, want one that was kept alive", n)
	}
}

func TestUpgradeOnAnHTTPConnectionIsMisdirected(t *testing.T) {
	s := start(t, reactor.Config{}, &hooks{})
	c := dialRaw(t, s.Addr().String())
	c.write([]byte("GET / HTTP/1.1\r\nHost: hub\r\n\r\n"))
	resp := c.response()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != 404 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	c.write([]byte(fmt.Sprintf(upgradeHead, "/") + "\r\n"))
	if resp := c.response(); resp.StatusCode != 421 || !resp.Close {
		t.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
}

func TestCloseConnBehindWhatWasSent(t *testing.T) {
	h := &hooks{}
	h.message = func(c reactor.Conn, _ bool, _ []byte) {
		for i := range 10 {
			_ = h.srv.Send(c.Handle, reactor.NewFrame(true, []byte(fmt.Sprint(i))), reactor.Durable)
		}
		if err := h.srv.CloseConn(c.Handle, 4001, "bye"); err != nil {
			t.Errorf("CloseConn: %v", err)
		}
		if err := h.srv.Send(c.Handle, reactor.NewFrame(true, nil), reactor.Durable); !errors.Is(err, reactor.ErrClosed) {
			t.Errorf("Send after CloseConn: %v", err)
		}
	}
	s := start(t, reactor.Config{}, h)
	c := dial(t, s.Addr().String(), "/", "")
	c.text("go")
	for i := range 10 {
		c.expectText(fmt.Sprint(i))
	}
	c.expectClose(4001, true)
	c.expectEOF()
	if e := h.endings(); len(e) != 1 || e[0].code != 4001 || e[0].reason != "bye" {
		t.Errorf("closed callbacks %v", e)
	}
}

func TestShutdownPacedAndComplete(t *testing.T) {
	const n, over = 50, 400 * time.Millisecond
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 2}, h)
	ends := make(chan time.Time, n)
	for range n {
		c := dial(t, s.Addr().String(), "/", "")
		go func() {
			defer func() { c.Close(); ends <- time.Now() }()
			for {
				f, err := c.tryRead()
				if err != nil {
					return
				}
				if f.op() == 8 {
					_, _ = c.Write(maskedFrame(0x88, binary.BigEndian.AppendUint16(nil, 1001)))
				}
			}
		}()
	}
	begin := time.Now()
	if err := s.Shutdown(context.Background(), reactor.CloseGoingAway, "retry later", over); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < over {
		t.Errorf("took %v, paced over %v", d, over)
	}
	for range n {
		<-ends
	}
	e := h.endings()
	if len(e) != n {
		t.Fatalf("%d closed callbacks, want %d", len(e), n)
	}
	for _, e := range e {
		if e.code != reactor.CloseGoingAway {
			t.Fatalf("closed with %d", e.code)
		}
	}
}
