package testcluster

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestCutsHaveADirection: packets are dropped from one node to another and not the other way; the router reaches both.
func TestCutsHaveADirection(t *testing.T) {
	n, err := newNetwork()
	if errors.Is(err, ErrNoNetwork) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	var socks [2]net.PacketConn
	for i := range socks {
		host, err := n.add(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.inside(i, func() (err error) { socks[i], err = net.ListenPacket("udp4", host+":7000"); return err }); err != nil {
			t.Fatal(err)
		}
		defer socks[i].Close()
	}
	// passes: within a second of repeating it, a packet arrives. If it should, there is more time: links come up when they do.
	passes := func(from, to int, should bool) bool {
		b := make([]byte, 10)
		_ = socks[to].SetReadDeadline(time.Now().Add(time.Millisecond))
		for { // nothing old is left
			if _, _, err := socks[to].ReadFrom(b); err != nil {
				break
			}
		}
		tries := 20
		if should {
			tries = 400
		}
		for range tries {
			if _, err := socks[from].WriteTo([]byte("x"), socks[to].LocalAddr()); err != nil {
				t.Fatal(err)
			}
			_ = socks[to].SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, _, err := socks[to].ReadFrom(b); err == nil {
				return true
			} else if !os.IsTimeout(err) {
				t.Fatal(err)
			}
		}
		return false
	}
	check := func(when string, ab, ba bool) {
		t.Helper()
		if a, b := passes(0, 1, ab), passes(1, 0, ba); a != ab || b != ba {
			t.Fatalf("%s: %v %v, want %v %v", when, a, b, ab, ba)
		}
	}
	check("at first", true, true)
	if err := n.cut(n.host(0), n.host(1)); err != nil {
		t.Fatal(err)
	}
	check("one way cut", false, true)
	if err := n.cut(n.host(1), n.host(0)); err != nil {
		t.Fatal(err)
	}
	check("both ways cut", false, false)
	if err := n.heal(); err != nil {
		t.Fatal(err)
	}
	check("healed", true, true)

	var l net.Listener
	if err := n.inside(1, func() (err error) { l, err = net.Listen("tcp4", n.host(1)+":7001"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := n.dial(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
