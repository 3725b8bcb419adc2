package reactor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/reactor"
)

func TestHalfOpenPeersAreClosed(t *testing.T) {
	// A machine that stands still for as long as the time-out cuts off who would have answered: then with a longer one.
	for timeout := 60 * time.Millisecond; !halfOpenPeersAreClosed(t, timeout); timeout *= 4 {
		if timeout > patience/4 {
			t.Fatalf("who answers pings is cut off even with a time-out of %v", timeout)
		}
	}
}

// halfOpenPeersAreClosed is the test with that time-out for pongs; false: the one that answers did not live.
func halfOpenPeersAreClosed(t *testing.T, timeout time.Duration) bool {
	h := &hooks{}
	s := start(t, reactor.Config{PingInterval: 60 * time.Millisecond, PongTimeout: timeout}, h)
	cs, hs := dialAll(t, s, h, 2)
	silent, lively := cs[0], cs[1]
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			f, err := lively.tryRead()
			if err != nil {
				return
			}
			if f.op() == 9 {
				_, _ = lively.Write(maskedFrame(0x8A, f.payload))
			}
		}
	})
	defer wg.Wait()
	defer lively.Close()
	if f := silent.read(); f.b0 != 0x89 {
		t.Fatalf("frame %#x, want a ping", f.b0)
	}
	ended := func(c reactor.Handle) bool {
		return slices.ContainsFunc(h.endings(), func(e end) bool { return e.conn.Handle == c })
	}
	eventually(t, "silent one closed", func() bool { return ended(hs[0]) })
	pings := s.Stats().PingsSent
	eventually(t, "more pings", func() bool { return s.Stats().PingsSent > pings+3 || ended(hs[1]) })
	for _, e := range h.endings() {
		if e.code != reactor.CloseAbnormal {
			t.Errorf("closed %+v", e)
		}
	}
	if ended(hs[1]) {
		return false
	}
	if st := s.Stats(); st.HalfOpenClosed != 1 || st.Connections != 1 {
		t.Logf("stats %+v", st)
		return false
	}
	return true
}

func TestSlowHandshakesTimeOut(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{HandshakeTimeout: 100 * time.Millisecond, CloseTimeout: 100 * time.Millisecond}, h)
	var cs []*client
	for range 20 {
		c := dialRaw(t, s.Addr().String())
		c.write([]byte("GET / HTTP/1.1\r\nHost: hub\r\n"))
		cs = append(cs, c)
	}
	for _, c := range cs {
		if resp := c.response(); resp.StatusCode != 408 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	// They do not hang up; the server does.
	eventually(t, "all gone", func() bool {
		st := s.Stats()
		return st.Handshaking == 0 && st.HandshakeTimeouts == 20
	})
}

func TestPeerThatNeverAnswersTheClose(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{CloseTimeout: 50 * time.Millisecond}, h)
	c := dial(t, s.Addr().String(), "/", "")
	eventually(t, "open", func() bool { return len(h.handles()) == 1 })
	if err := s.CloseConn(h.handles()[0], 4000, "x"); err != nil {
		t.Fatal(err)
	}
	c.expectClose(4000, false)
	eventually(t, "gone", func() bool { return s.Stats().Connections == 0 })
	if n := s.Stats().ClosedByCode[4000]; n != 1 {
		t.Errorf("%d closed with 4000", n)
	}
}

func TestPeerVanishes(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{}, h)
	for _, reset := range []bool{false, true} {
		c := dial(t, s.Addr().String(), "/", "")
		c.write([]byte{0x81}) // in the middle of a frame
		if reset {
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
	eventually(t, "both reported", func() bool { return len(h.endings()) == 2 })
	for _, e := range h.endings() {
		if e.code != reactor.CloseAbnormal {
			t.Errorf("code %d", e.code)
		}
	}
}

func TestMaxConnectionsAndAcceptRate(t *testing.T) {
	s := start(t, reactor.Config{MaxConnections: 2}, &hooks{})
	a := dial(t, s.Addr().String(), "/", "")
	dial(t, s.Addr().String(), "/", "")
	c := dialRaw(t, s.Addr().String())
	c.write([]byte(fmt.Sprintf(upgradeHead, "/") + "\r\n"))
	if resp := c.response(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("third connection: %v", resp)
	}
	a.Close()
	eventually(t, "room", func() bool { // a connection counts until its descriptor is closed, which the gauges do not say
		c := dialRaw(t, s.Addr().String())
		c.write([]byte(fmt.Sprintf(upgradeHead, "/") + "\r\n"))
		return c.response().StatusCode == 101
	})

	s = start(t, reactor.Config{AcceptRate: 1}, &hooks{})
	dial(t, s.Addr().String(), "/", "")
	refused := 0
	for range 20 {
		c := dialRaw(t, s.Addr().String())
		c.write([]byte(fmt.Sprintf(upgradeHead, "/") + "\r\n"))
		if resp := c.response(); resp.StatusCode == 503 && resp.Header.Get("Retry-After") != "" {
			refused++
		}
	}
	if refused == 0 {
		t.Error("20 more upgrades at once were all taken at 1 per second")
	}
}

// TestOutOfDescriptors runs a server in a child process with a low limit of descriptors.
func TestOutOfDescriptors(t *testing.T) {
	if portable {
		t.Skip("no reserve descriptor")
	}
	if addr := os.Getenv("REACTOR_TEST_CHILD"); addr != "" {
		childServer()
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -n 64; exec "$0" -test.run '^TestOutOfDescriptors$'`, exe)
	cmd.Env = append(os.Environ(), "REACTOR_TEST_CHILD=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(string(buf[:n]))

	var open []*client
	refused := 0
	for range 150 {
		c := dialRaw(t, addr)
		c.write([]byte(fmt.Sprintf(upgradeHead, "/") + "\r\n"))
		b, err := c.br.Peek(12)
		switch {
		case err == nil && string(b) == "HTTP/1.1 101":
			c.response()
			open = append(open, c)
		case err == nil && string(b) == "HTTP/1.1 503":
			refused++
		default:
			t.Fatalf("neither taken nor refused: %q, %v", b, err)
		}
	}
	if len(open) < 10 || refused < 50 {
		t.Fatalf("%d open, %d refused", len(open), refused)
	}
	// The open ones live, and room that is made is used.
	open[0].text("still here")
	open[0].expectText("still here")
	for _, c := range open[1:] {
		c.Close()
	}
	eventually(t, "room", func() bool {
		c := dialRaw(t, addr)
		c.write([]byte(fmt.Sprintf(upgradeHead, "/") + "\r\n"))
		b, _ := c.br.Peek(12)
		return string(b) == "HTTP/1.1 101"
	})
}

func childServer() {
	h := &hooks{}
	s, err := reactor.New(reactor.Config{Addr: "127.0.0.1:0", Handler: h, Reactors: 1, MaxConnections: 1000})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	h.srv = s
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(context.Background()) }()
	fmt.Println(s.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Close()
	<-done
}

func TestServeEndsWithItsContext(t *testing.T) {
	s, err := reactor.New(reactor.Config{Addr: "127.0.0.1:0", Handler: &hooks{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	dial(t, s.Addr().String(), "/", "")
	cancel()
	if err := <-done; !errors.Is(err, reactor.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	if err := s.Serve(context.Background()); !errors.Is(err, reactor.ErrServerClosed) {
		t.Errorf("second Serve: %v", err)
	}
}

func TestCloseUnserved(t *testing.T) {
	s, err := reactor.New(reactor.Config{Addr: "127.0.0.1:0", Handler: &hooks{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Serve(context.Background()); !errors.Is(err, reactor.ErrServerClosed) {
		t.Errorf("Serve: %v", err)
	}
	if _, err := reactor.New(reactor.Config{Addr: "127.0.0.1:0"}); err == nil {
		t.Error("a config without handler was accepted")
	}
	if _, err := reactor.New(reactor.Config{Addr: "nonsense", Handler: &hooks{}}); err == nil {
		t.Error("a bad address was accepted")
	}
}

func TestShutdownDeadlineCutsTheRest(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{CloseTimeout: time.Hour}, h)
	c := dial(t, s.Addr().String(), "/", "")
	eventually(t, "open", func() bool { return len(h.handles()) == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx, 1001, "", 0) }()
	c.expectClose(1001, false) // and the peer stays
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if n := s.Stats().Connections; n != 0 {
		t.Errorf("%d connections left", n)
	}
}

// TestManySilentConnections opens as many as fit beside their clients in one process and reaches all of them.
func TestManySilentConnections(t *testing.T) {
	n := 9000
	if testing.Short() {
		n = 500
	}
	if v, err := strconv.Atoi(os.Getenv("REACTOR_TEST_CONNS")); err == nil {
		n = v
	}
	h := &hooks{}
	s := start(t, reactor.Config{MaxConnections: n + 10, PingInterval: -1}, h)
	cs := make([]net.Conn, n)
	defer func() {
		for _, c := range cs {
			if c != nil {
				c.Close()
			}
		}
	}()
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				c, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				cs[i] = c
				fmt.Fprintf(c, upgradeHead+"\r\n", "/")
				buf := make([]byte, 129)
				if _, err := io.ReadFull(c, buf); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all open", func() bool { return len(h.handles()) == n })
	set := reactor.NewSet(h.handles())
	for range 3 {
		s.Broadcast(set, reactor.NewFrame(true, []byte("hello")), reactor.Durable, 0)
	}
	want := strings.Repeat("\x81\x05hello", 3)
	for i, c := range cs {
		buf := make([]byte, len(want))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
			t.Fatalf("connection %d: %q, %v", i, buf, err)
		}
	}
}
