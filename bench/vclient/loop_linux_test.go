package vclient_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/zumodra/hub/bench/target"
	"github.com/zumodra/hub/bench/vclient"
	"github.com/zumodra/hub/internal/freeport"
)

// recorder is a Handler that tells a test what happened.
type recorder struct {
	events chan string
	frame  func(id int32, payload []byte)
}

func (r *recorder) Opened(id int32) { r.events <- fmt.Sprintf("%d opened", id) }
func (r *recorder) Frame(id int32, payload []byte, _ time.Time) {
	if r.frame != nil {
		r.frame(id, payload)
		return
	}
	if len(payload) > 100 {
		payload = fmt.Appendf(nil, "%d bytes of %c", len(payload), payload[0])
	}
	r.events <- fmt.Sprintf("%d got %s", id, payload)
}
func (r *recorder) Closed(id int32, err error) {
	var c *vclient.CloseError
	if errors.As(err, &c) {
		r.events <- fmt.Sprintf("%d closed %d %s", id, c.Code, c.Reason)
		return
	}
	r.events <- fmt.Sprintf("%d closed: %v", id, err)
}

func (r *recorder) want(t *testing.T, prefix string) {
	t.Helper()
	select {
	case got := <-r.events:
		if !strings.HasPrefix(got, prefix) {
			t.Fatalf("%q, want %q", got, prefix)
		}
	case <-time.After(time.Minute):
		t.Fatalf("nothing came, want %q", prefix)
	}
}

// begin runs a loop until the test ends.
func begin(t *testing.T, cfg vclient.Config) (*vclient.Loop, *recorder) {
	t.Helper()
	r := &recorder{events: make(chan string, 1000)}
	if cfg.Handler == nil {
		cfg.Handler = r
	}
	l, err := vclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return l, r
}

func on(l *vclient.Loop, f func()) {
	done := make(chan struct{})
	l.Do(func() { f(); close(done) })
	<-done
}

// open runs a loop with one connection, 0, which is open.
func open(t *testing.T, cfg vclient.Config, e target.Endpoint) (*vclient.Loop, *recorder) {
	t.Helper()
	l, r := begin(t, cfg)
	on(l, func() {
		if err := l.Open(0, e); err != nil {
			t.Error(err)
		}
	})
	r.want(t, "0 opened")
	return l, r
}

func endpoint(t *testing.T, url string) target.Endpoint {
	t.Helper()
	a, err := netip.ParseAddrPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return target.Endpoint{Addr: a, Host: a.String(), Path: "/ws/", Header: "Authorization: Bearer x\r\n"}
}

// serve is a server of WebSockets by another library.
func serve(t *testing.T, f func(ctx context.Context, c *websocket.Conn)) target.Endpoint {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(1 << 24)
		f(r.Context(), c)
	}))
	t.Cleanup(s.Close)
	return endpoint(t, s.URL)
}

func echo(ctx context.Context, c *websocket.Conn) {
	for {
		kind, b, err := c.Read(ctx)
		if err != nil || c.Write(ctx, kind, b) != nil {
			return
		}
	}
}

func TestEcho(t *testing.T) {
	e := serve(t, echo)
	l, r := begin(t, vclient.Config{})
	sizes := []int{1, 125, 126, 4096, 65535, 65536, 1 << 20}
	on(l, func() {
		for id := range int32(3) {
			if err := l.Open(id, e); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		r.want(t, "")
	}
	for _, n := range sizes {
		on(l, func() {
			if err := l.Write(1, bytes.Repeat([]byte{'a'}, n), n%2 == 0); err != nil {
				t.Error(err)
			}
		})
		want := fmt.Sprintf("1 got %d bytes of a", n)
		if n == 1 {
			want = "1 got a"
		}
		r.want(t, want)
	}
	// Closed without a word, and opened again: what was under way for the one before does not come.
	on(l, func() {
		if err := l.Write(1, []byte("late"), false); err != nil {
			t.Error(err)
		}
		l.Drop(1)
		if err := l.Write(1, []byte("x"), false); !errors.Is(err, vclient.ErrNoConn) {
			t.Error(err)
		}
		if err := l.Open(1, e); err != nil {
			t.Error(err)
		}
		if err := l.Open(1, e); err == nil {
			t.Error("opened twice")
		}
	})
	r.want(t, "1 opened")
	on(l, func() { _ = l.Write(1, []byte("new"), false) })
	r.want(t, "1 got new")
}

// The server pings, closes with a code, refuses, or is not there.
func TestEnds(t *testing.T) {
	e := serve(t, func(ctx context.Context, c *websocket.Conn) {
		go func() { _, _, _ = c.Read(ctx) }() // sees the pong
		if err := c.Ping(ctx); err != nil {
			t.Error(err)
		}
		_ = c.Close(4008, "too slow")
	})
	l, r := open(t, vclient.Config{}, e)
	r.want(t, "0 closed 4008 too slow")
	on(l, func() {
		bad := e
		bad.Header = ""
		_ = l.Open(0, bad)
	})
	r.want(t, "0 closed: vclient: the upgrade was refused: \"HTTP/1.1 401 Unauthorized\"")
	gone, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	on(l, func() { _ = l.Open(0, endpoint(t, "http://"+gone)) })
	r.want(t, "0 closed: vclient: connect to")
}

// raw is a server that says what a test says, after the upgrade.
func raw(t *testing.T, say ...[]byte) target.Endpoint {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Sec-WebSocket-Key")
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept(key))
		for _, b := range say {
			for i := range b { // in the smallest of pieces
				_ = rw.WriteByte(b[i])
				_ = rw.Flush()
			}
		}
		_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
	}))
	t.Cleanup(s.Close)
	return endpoint(t, s.URL)
}

func TestFragmentsAndBrokenFrames(t *testing.T) {
	for name, c := range map[string]struct {
		say  []byte
		want []string
	}{
		"fragments": {[]byte("\x01\x02ab\x89\x01p\x00\x01c\x80\x01d\x81\x01e"), []string{"0 got abcd", "0 got e"}},
		"empty":     {[]byte("\x81\x00\x82\x01x"), []string{"0 got ", "0 got x"}},
		"masked":    {[]byte("\x81\x81aaaab"), []string{"0 closed: vclient: the target broke the protocol: a masked frame"}},
		"reserved":  {[]byte("\xc1\x01a"), []string{"0 closed: vclient: the target broke the protocol: reserved"}},
		"opcode":    {[]byte("\x83\x01a"), []string{"0 closed: vclient: the target broke the protocol: opcode 3"}},
		"long ping": {[]byte("\x89\x7e\x00\x80"), []string{"0 closed: vclient: the target broke the protocol: a control frame"}},
		"alone":     {[]byte("\x80\x01a"), []string{"0 closed: vclient: the target broke the protocol: a continuation"}},
		"within":    {[]byte("\x01\x01a\x81\x01b"), []string{"0 closed: vclient: the target broke the protocol: a message within"}},
		"too long":  {[]byte("\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00"), []string{"0 closed: vclient: the target broke the protocol: a frame of 4294967296"}},
		"no code":   {[]byte("\x88\x00"), []string{"0 closed 1005"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := open(t, vclient.Config{}, raw(t, c.say))
			for _, w := range c.want {
				r.want(t, w)
			}
		})
	}
}

// Who does not read is given up when too much waits, and others go on.
func TestStuck(t *testing.T) {
	hold := make(chan struct{})
	e := serve(t, func(context.Context, *websocket.Conn) { <-hold })
	defer close(hold)
	l, r := open(t, vclient.Config{Pending: 1 << 20}, e)
	on(l, func() {
		for {
			if err := l.Write(0, make([]byte, 1<<16), true); err != nil {
				if !errors.Is(err, vclient.ErrStuck) {
					t.Error(err)
				}
				return
			}
		}
	})
	r.want(t, "0 closed: vclient: the target does not read")
}

// A slow reader gets everything, in pieces; the kernel's buffers hold up who writes to it.
func TestSlowDown(t *testing.T) {
	slowly(t, func(l *vclient.Loop) { l.SlowDown(0, 400<<10) })
}

// At a byte each tick the message would take two hours.
func TestSlowDownIsLifted(t *testing.T) {
	slowly(t, func(l *vclient.Loop) { l.SlowDown(0, 1) }, func(l *vclient.Loop) { l.SlowDown(0, 0) })
}

// slowly has a connection read a long message: something is done before it is asked for, and something after.
func slowly(t *testing.T, before func(*vclient.Loop), after ...func(*vclient.Loop)) {
	t.Helper()
	const total = 64 << 10
	e := serve(t, func(ctx context.Context, c *websocket.Conn) {
		_, _, _ = c.Read(ctx)
		_ = c.Write(ctx, websocket.MessageText, bytes.Repeat([]byte{'s'}, total))
		_, _, _ = c.Read(ctx)
	})
	l, r := open(t, vclient.Config{}, e)
	on(l, func() {
		before(l)
		_ = l.Write(0, []byte("go"), false)
		for _, f := range after {
			f(l)
		}
	})
	r.want(t, fmt.Sprintf("0 got %d bytes of s", total))
}

// gateway is a Handler that answers what one read brought with one write.
type gateway struct {
	recorder
	l       *vclient.Loop
	frames  int
	answers []byte
}

func (g *gateway) Frame(_ int32, payload []byte, _ time.Time) {
	g.frames++
	g.answers = vclient.AppendText(g.answers, 0x01020304, payload)
}

func (g *gateway) Gathered(id int32) {
	if len(g.answers) == 0 {
		return
	}
	if err := g.l.WriteFrames(id, g.answers); err != nil {
		g.events <- err.Error()
	}
	g.answers = nil
}

// What came with one read is answered with one write, of frames that were encoded before; by a loop that is stepped.
func TestGatherer(t *testing.T) {
	got := make(chan string, 3)
	e := serve(t, func(ctx context.Context, c *websocket.Conn) {
		for _, s := range []string{"one", "two", strings.Repeat("3", 1<<19)} { // the last comes in several reads
			_ = c.Write(ctx, websocket.MessageText, []byte(s))
		}
		for range 3 {
			_, b, err := c.Read(ctx)
			if err != nil {
				t.Error(err)
			}
			got <- string(b)
		}
		_, _, _ = c.Read(ctx)
	})
	g := &gateway{recorder: recorder{events: make(chan string, 10)}}
	var err error
	if g.l, err = vclient.New(vclient.Config{Handler: g}); err != nil {
		t.Fatal(err)
	}
	if err := g.l.Open(0, e); err != nil {
		t.Fatal(err)
	}
	if err := g.l.WriteFrames(0, []byte("x")); !errors.Is(err, vclient.ErrNoConn) {
		t.Errorf("before the upgrade: %v", err)
	}
	for end := time.Now().Add(time.Minute); len(got) < 3 && time.Now().Before(end); {
		if err := g.l.Step(10 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := g.l.Run(ended); err != nil { // frees what it holds
		t.Error(err)
	}
	if len(got) != 3 || <-got != "one" || <-got != "two" || len(<-got) != 1<<19 || g.frames != 3 {
		t.Errorf("%d frames came, %d went", g.frames, len(got))
	}
}

// A server without an upgrade speaks frames.
func TestCut(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		for _, b := range []byte("\x81\x02ab\x81\x00\x81\x01c\x81\x81") {
			_, _ = c.Write([]byte{b})
		}
	}()
	e := endpoint(t, l.Addr().String())
	e.TCP = true
	_, r := open(t, vclient.Config{Split: vclient.Cut}, e)
	for _, want := range []string{"0 got ab", "0 got ", "0 got c", "0 closed: vclient: the target broke the protocol: a masked frame"} {
		r.want(t, want)
	}
}

func TestTimers(t *testing.T) {
	l, _ := begin(t, vclient.Config{})
	got := make(chan int, 10)
	on(l, func() {
		now := time.Now()
		for i, ms := range []int{30, 10, 20, 10, 0} {
			l.At(now.Add(time.Duration(ms)*time.Millisecond), func() { got <- i })
		}
	})
	for _, want := range []int{4, 1, 3, 2, 0} {
		if i := <-got; i != want {
			t.Fatalf("timer %d, want %d", i, want)
		}
	}
}
