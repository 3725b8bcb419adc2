package transport_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/transport"
)

func TestStrangersAreRefused(t *testing.T) {
	a := start(t, 1)
	other := start(t, 2, func(c *transport.Config) { c.Cluster = "other" })
	a.SetPeers([]transport.Peer{other.peer()})
	if _, err := ask(t, a, t.Context(), 2, "x"); !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrCluster) {
		t.Fatal(err)
	}
	h := &node{}
	tr, err := transport.NewVersions(config(3, h), 7, 9)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	a.SetPeers([]transport.Peer{{ID: 3, Addr: tr.Addr()}})
	if _, err := ask(t, a, t.Context(), 3, "x"); !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrVersion) {
		t.Fatal(err)
	}
	eventually(t, "both are counted", func() bool { return other.Stats().Refused > 0 && tr.Stats().Refused > 0 })
}

func TestHighestCommonVersion(t *testing.T) {
	b := &node{id: 2, got: make(map[chat.NodeID][]string)}
	tr, err := transport.NewVersions(config(2, b), 1, 9)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	a := start(t, 1)
	a.SetPeers([]transport.Peer{{ID: 2, Addr: tr.Addr()}})
	if _, err := ask(t, a, t.Context(), 2, "x"); err != nil {
		t.Fatal(err)
	}
	_, highest := transport.Versions()
	if v := a.stats(2).Version; v != highest {
		t.Errorf("they speak version %d", v)
	}
	if in := tr.Stats().Inbound; len(in) != 1 || in[0].Version != highest || !tr.Inbound(1) || tr.Inbound(7) {
		t.Errorf("the other says %+v", in)
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// closedByPeer reads until the peer closes.
func closedByPeer(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 4096)
	for {
		if _, err := c.Read(b); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("the connection stays open")
			}
			return
		}
	}
}

func TestGarbageOnThePort(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 50 {
		c := dial(t, b.Addr())
		g := make([]byte, 8192)
		for j := range g {
			g[j] = byte(rnd.Uint32())
		}
		if i%2 == 0 { // a hello, and garbage behind it
			hello := transport.HelloFrame(9, 2, "test")
			hello[len(hello)-1-rnd.IntN(40)] ^= 0xff
			g = append(hello, g...)
		}
		_, _ = c.Write(g)
		closedByPeer(t, c)
	}
	write(t, dial(t, b.Addr()), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	dial(t, b.Addr()) // and one that says nothing
	a.SetPeers([]transport.Peer{b.peer()})
	if _, err := ask(t, a, t.Context(), 2, "x"); err != nil {
		t.Fatal(err)
	}
	if b.Stats().Refused == 0 {
		t.Error("not counted")
	}
}

func TestSilentConnectionsAreBounded(t *testing.T) {
	b := start(t, 2, func(c *transport.Config) { c.MaxHandshakes, c.PeerTimeout = 4, 300*time.Millisecond })
	var conns []net.Conn
	for range 10 {
		conns = append(conns, dial(t, b.Addr()))
	}
	for _, c := range conns {
		closedByPeer(t, c)
	}
	eventually(t, "all refused", func() bool { return b.Stats().Refused == 10 })
}

func TestUnknownFramesAreSkippedAndBrokenOnesEndTheStream(t *testing.T) {
	b := start(t, 2)
	c := dial(t, b.Addr())
	write(t, c, transport.HelloFrame(9, 2, "test"))
	write(t, c, transport.Frame(200, 1, []byte("from the future")))
	write(t, c, transport.Frame(transport.FrameConfirm, 1, []byte("on the wrong side")))
	write(t, c, transport.Frame(transport.FrameDeliver, 1, []byte("x")))
	eventually(t, "it arrived", func() bool { return len(b.received(9)) == 1 })
	if n := b.Stats().Inbound[0].Unknown; n != 2 {
		t.Fatal(n, "unknown frames")
	}
	broken := transport.Frame(transport.FrameDeliver, 2, []byte("x"))
	broken[6] ^= 1
	write(t, c, broken)
	closedByPeer(t, c)

	for name, f := range map[string][]byte{
		"oversized":     binary.LittleEndian.AppendUint32(nil, 1<<31),
		"short request": transport.Frame(transport.FrameRequest, 1, []byte{1}),
	} {
		c = dial(t, b.Addr())
		write(t, c, transport.HelloFrame(9, 2, "test"))
		if name == "oversized" {
			f = append(f, transport.Frame(transport.FrameDeliver, 2, nil)[4:]...)
		}
		write(t, c, f)
		closedByPeer(t, c)
	}
	if got := b.received(9); len(got) != 1 {
		t.Fatal(got)
	}
}

// A peer that confirms what was never sent is not to be believed.
func TestForgedConfirmationEndsTheStream(t *testing.T) {
	a := start(t, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a.SetPeers([]transport.Peer{{ID: 2, Addr: l.Addr().String()}})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	write(t, c, transport.HelloFrame(2, 1, "test"))
	eventually(t, "a stream", func() bool { return a.stats(2).Connected })
	write(t, c, transport.Frame(transport.FrameAnswer, 77, []byte("to no question")))
	write(t, c, transport.Frame(transport.FrameConfirm, 0, []byte{5, 1}))
	eventually(t, "down", func() bool { return a.sawDown(transport.ErrCorrupt) })
}

// The stream before is handled to its end before that which replaces it.
func TestPeerThatConnectsAgainReplacesItsStream(t *testing.T) {
	b := start(t, 2)
	gate := make(chan struct{})
	b.onDeliver = func(_ chat.NodeID, p []byte, confirm func(error)) {
		if string(p) == "1" {
			<-gate // must not block; here it stands for a reader that is slow
		}
		confirm(nil)
	}
	first, second := dial(t, b.Addr()), dial(t, b.Addr())
	write(t, first, transport.HelloFrame(9, 2, "test"))
	for i := range 3 {
		write(t, first, transport.Frame(transport.FrameDeliver, uint64(i), fmt.Append(nil, i)))
	}
	eventually(t, "the reader is busy", func() bool { return len(b.received(9)) == 2 })
	write(t, second, transport.HelloFrame(9, 2, "test"))
	write(t, second, transport.Frame(transport.FrameDeliver, 9, []byte("9")))
	closedByPeer(t, first)
	if got := b.received(9); len(got) != 2 {
		t.Fatal("the second stream did not wait:", got)
	}
	close(gate)
	eventually(t, "the second is handled", func() bool { return slices.Contains(b.received(9), "9") })
	got := b.received(9)
	if !slices.IsSorted(got) {
		t.Fatal(got)
	}
}
