package testcluster

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestCutsHaveADirection: packets are dropped from one node to another and not the other way; the router reaches both.
func TestCutsHaveADirection(t *testing.T) {
	n, hosts := star(t, 2)
	socks := []net.PacketConn{listen(t, n, 0, hosts[0]), listen(t, n, 1, hosts[1])}
	// passes: of packets that are repeated for a second, one arrives. If it should, there is more time: links come up when they do.
	passes := func(from, to int, should bool) bool {
		if should {
			return reaches(t, socks[from], socks[to], 400)
		}
		return reaches(t, socks[from], socks[to], 20)
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

// TestLinksAreMendedOneByOne: of two cuts one ends, the other stays.
func TestLinksAreMendedOneByOne(t *testing.T) {
	n, hosts := star(t, 3)
	from := listen(t, n, 0, hosts[0])
	others := []net.PacketConn{listen(t, n, 1, hosts[1]), listen(t, n, 2, hosts[2])}
	if !reaches(t, from, others[0], 400) || !reaches(t, from, others[1], 400) {
		t.Fatal("the links do not come up")
	}
	for _, to := range hosts[1:] {
		if err := n.cut(hosts[0], to); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.mend(hosts[0], hosts[2]); err != nil {
		t.Fatal(err)
	}
	if reaches(t, from, others[0], 20) {
		t.Error("the first cut ended with the second")
	}
	if !reaches(t, from, others[1], 400) {
		t.Error("the second cut did not end")
	}
	if err := n.mend(hosts[0], hosts[2]); err != nil {
		t.Errorf("there is no cut any more: %v", err)
	}
}

// TestASlowLinkTakesItsTime: 256 KiB at 1 Mbit/s take two seconds, less the burst, in both directions.
func TestASlowLinkTakesItsTime(t *testing.T) {
	n, hosts := star(t, 2)
	var l net.Listener
	if err := n.inside(1, func() (err error) { l, err = net.Listen("tcp4", hosts[1]+":7001"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 256 << 10
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = c.Write(make([]byte, size)) }()
		}
	}()
	fetch := func() time.Duration {
		start := time.Now()
		c, err := n.dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := io.Copy(io.Discard, c); err != nil || got != size {
			t.Fatalf("%d bytes, %v", got, err)
		}
		return time.Since(start)
	}
	if err := n.slow(1, 0, 1_000_000); err != nil {
		t.Fatal(err)
	}
	if d := fetch(); d < 1500*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	if err := n.delays(); err == nil {
		if err := n.slow(1, 300*time.Millisecond, 0); err != nil {
			t.Fatal(err)
		}
		if d := fetch(); d < 600*time.Millisecond {
			t.Errorf("with a delay of 300ms each way it took %v", d)
		}
	}
	if err := n.slow(1, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.slow(1, 0, 0); err != nil {
		t.Errorf("it is fast already: %v", err)
	}
	_ = within(n.nodes[1], func() error {
		out, err := exec.Command("tc", "qdisc", "show", "dev", "e0").CombinedOutput()
		if err != nil || strings.Contains(string(out), "tbf") || strings.Contains(string(out), "netem") {
			t.Errorf("what shapes the link afterwards: %s %v", out, err)
		}
		return nil
	})
}

// star is a network with nodes in it.
func star(t *testing.T, nodes int) (*network, []string) {
	t.Helper()
	n, err := newNetwork()
	if errors.Is(err, ErrNoNetwork) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	var hosts []string
	for i := range nodes {
		host, err := n.add(i)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, host)
	}
	return n, hosts
}

func listen(t *testing.T, n *network, i int, host string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	if err := n.inside(i, func() (err error) { c, err = net.ListenPacket("udp4", host+":7000"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var packets atomic.Int64

// reaches: of so many packets that are sent until one arrives, one does.
func reaches(t *testing.T, from, to net.PacketConn, tries int) bool {
	t.Helper()
	b := make([]byte, 30)
	packet := strconv.FormatInt(packets.Add(1), 10) // unlike those of a call before, which may come late
	for range tries {
		if _, err := from.WriteTo([]byte(packet), to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		_ = to.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			n, _, err := to.ReadFrom(b)
			if err == nil && string(b[:n]) == packet {
				return true
			}
			if os.IsTimeout(err) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return false
}
