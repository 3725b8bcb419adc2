package testcluster_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/zumodra/hub/internal/testcluster"
)

// echo answers what it gets.
func echo(t *testing.T) string {
	l := listen(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func gate(t *testing.T) (*testcluster.Gate, func() net.Conn) {
	g := testcluster.NewGate(listen(t), echo(t))
	t.Cleanup(g.Close)
	return g, func() net.Conn {
		c, err := net.Dial("tcp4", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func say(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, s string) {
	t.Helper()
	b := make([]byte, len(s))
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("heard %q, %v; want %q", b, err, s)
	}
}

// silent checks that nothing comes, for a moment.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !os.IsTimeout(err) {
		t.Fatalf("%d bytes, %v through a gate that is shut", n, err)
	}
}

// TestShutGateLosesNothing: what was under way when the gate was shut, in old and new connections, arrives when it is opened.
func TestShutGateLosesNothing(t *testing.T) {
	g, dial := gate(t)
	a := dial()
	say(t, a, "one")
	hear(t, a, "one")
	g.Shut()
	g.Shut()
	say(t, a, "two")
	silent(t, a)
	b := dial()
	say(t, b, "three")
	silent(t, b)
	g.Open()
	g.Open()
	hear(t, a, "two")
	hear(t, b, "three")
	g.Shut()
	say(t, a, "four")
	_ = a.(*net.TCPConn).CloseWrite()
	silent(t, a)
	g.Open()
	_ = a.SetReadDeadline(time.Now().Add(time.Minute))
	rest, err := io.ReadAll(a)
	if err != nil || !bytes.Equal(rest, []byte("four")) {
		t.Fatalf("%q, %v", rest, err)
	}
}

func TestClosedGateEndsConnections(t *testing.T) {
	g, dial := gate(t)
	a := dial()
	say(t, a, "one")
	hear(t, a, "one")
	g.Shut()
	say(t, a, "two")
	g.Close()
	g.Close()
	_ = a.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := a.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if c, err := net.Dial("tcp4", g.Addr().String()); err == nil {
		_ = c.Close()
		t.Fatal("a closed gate accepts")
	}
}
