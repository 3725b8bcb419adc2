package transport_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/transport"
)

func sent(err error) bool { return err == nil || errors.Is(err, transport.ErrUnknown) }

func known(err error) bool {
	return err == nil || errors.Is(err, transport.ErrUnknown) || errors.Is(err, transport.ErrNotSent)
}

// Whatever breaks: one outcome each, what was confirmed arrived once, what was not sent did not, and the order holds.
func TestCutLinkLosesNothingSilently(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	k := newLink(t, b.Addr())
	a.SetPeers([]transport.Peer{{ID: 2, Addr: k.addr()}})
	const n = 20000
	var o, asked outcomes
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		a.Transport.Deliver(2, []byte(strconv.Itoa(i)), o.done(i))
		if i%10 == 0 {
			done := asked.done(i)
			a.Transport.Request(t.Context(), 2, []byte("q"), func(_ []byte, err error) { done(err) })
		}
		if rnd.IntN(1000) == 0 {
			k.cut()
		}
		if rnd.IntN(500) == 0 {
			eventually(t, "a stream", func() bool { return a.stats(2).Connected })
		}
	}
	errs := o.wait(t, n)
	last := -1
	seen := make(map[int]bool)
	for _, g := range b.received(1) {
		i, _ := strconv.Atoi(g)
		if i <= last {
			t.Fatalf("%d after %d", i, last)
		}
		last, seen[i] = i, true
	}
	lost := 0
	for i, err := range errs {
		switch {
		case !known(err):
			t.Fatal(i, err)
		case err == nil && !seen[i]:
			t.Fatalf("%d was confirmed and did not arrive", i)
		case !sent(err) && seen[i]:
			t.Fatalf("%d was not sent and arrived", i)
		case err != nil:
			lost++
		}
	}
	for i, err := range asked.wait(t, n/10) {
		if !known(err) {
			t.Fatal("request", i, err)
		}
	}
	t.Logf("%d of %d lost or unknown in %d connections", lost, n, a.stats(2).Connects)
	if a.stats(2).Connects < 2 {
		t.Error("the link was never cut")
	}
	// Up and Down alternate.
	for i, e := range a.happened() {
		if want := []string{"up 2", "down 2"}[i%2]; e != want {
			t.Fatalf("event %d is %q", i, e)
		}
	}
}

func TestRestartedNodeIsAnother(t *testing.T) {
	a := start(t, 1)
	b := start(t, 2)
	addr := b.Addr()
	a.SetPeers([]transport.Peer{b.peer()})
	var o outcomes
	a.Transport.Deliver(2, []byte("x"), o.done(0))
	o.wait(t, 1)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "down", func() bool { return len(a.happened()) == 2 })

	again := start(t, 3, func(c *transport.Config) { c.Listen = addr })
	eventually(t, "another node is noticed", func() bool { return a.sawDown(transport.ErrOtherNode) })
	a.Transport.Deliver(2, []byte("for the dead"), o.done(1))
	if err := o.wait(t, 2)[1]; !errors.Is(err, transport.ErrNotSent) {
		t.Fatal(err)
	}
	if _, err := ask(t, a, t.Context(), 2, "for the dead"); !errors.Is(err, transport.ErrNotSent) {
		t.Fatal(err)
	}
	a.SetPeers([]transport.Peer{again.peer()})
	a.Transport.Deliver(3, []byte("hello"), o.done(2))
	if err := o.wait(t, 3)[2]; err != nil {
		t.Fatal(err)
	}
	if got := again.received(1); !slices.Equal(got, []string{"hello"}) {
		t.Fatal(got)
	}
}

func TestPeerThatVanishesFailsWhatIsPending(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	b.onDeliver = func(chat.NodeID, []byte, func(error)) {} // never confirms
	var asked atomic.Bool
	b.onRequest = func(chat.NodeID, time.Duration, []byte, func([]byte, error)) { asked.Store(true) }
	peers := []transport.Peer{b.peer(), {ID: 3, Addr: "127.0.0.1:1"}}
	a.SetPeers(peers)
	var o outcomes
	a.Transport.Deliver(2, []byte("x"), o.done(0))
	eventually(t, "it arrived", func() bool { return len(b.received(1)) == 1 })
	done := o.done(1)
	a.Transport.Request(t.Context(), 2, []byte("x"), func(_ []byte, err error) { done(err) })
	a.Transport.Deliver(3, []byte("x"), o.done(2))
	eventually(t, "it is written", asked.Load)
	a.SetPeers(nil)
	errs := o.wait(t, 3)
	if !errors.Is(errs[0], transport.ErrUnknown) || !errors.Is(errs[1], transport.ErrUnknown) || !errors.Is(errs[2], transport.ErrNotSent) {
		t.Fatal(errs)
	}
	a.Transport.Deliver(2, []byte("x"), o.done(3))
	if err := o.wait(t, 4)[3]; !errors.Is(err, transport.ErrNoPeer) {
		t.Fatal(err)
	}
	// It may come back, and its Down comes before its Up.
	b.onDeliver = nil
	a.SetPeers(peers)
	a.Transport.Deliver(2, []byte("y"), o.done(4))
	if err := o.wait(t, 5)[4]; err != nil {
		t.Fatal(err)
	}
	if got := a.happened(); !slices.Equal(got, []string{"up 2", "down 2", "up 2"}) {
		t.Fatal(got)
	}
}

func TestCloseFailsWhatIsPending(t *testing.T) {
	a, b := start(t, 1), start(t, 2)
	b.onDeliver = func(chat.NodeID, []byte, func(error)) {}
	a.SetPeers([]transport.Peer{b.peer()})
	var o outcomes
	for i := range 100 {
		a.Transport.Deliver(2, []byte("x"), o.done(i))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if o.n() != 100 {
		t.Fatalf("%d outcomes after Close", o.n())
	}
	a.Transport.Deliver(2, []byte("x"), o.done(100))
	for i, err := range o.wait(t, 101) {
		if err == nil || !known(err) {
			t.Fatal(i, err)
		}
	}
}

func TestOverflowFailsAllDeliveriesOfThePeer(t *testing.T) {
	for name, bound := range map[string]func(*transport.Config){
		"count": func(c *transport.Config) { c.MaxQueue = 10 },
		"bytes": func(c *transport.Config) { c.MaxQueueBytes = 10 * (16 + 5) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := start(t, 1, bound, func(c *transport.Config) { c.Window = 1 }), start(t, 2)
			var confirms []func(error)
			b.onDeliver = func(_ chat.NodeID, p []byte, confirm func(error)) {
				if string(p) == "first" {
					confirms = append(confirms, confirm)
					return
				}
				confirm(nil)
			}
			a.SetPeers([]transport.Peer{b.peer()})
			var o outcomes
			a.Transport.Deliver(2, []byte("first"), o.done(0))
			eventually(t, "it is written", func() bool { return a.stats(2).Unconfirmed == 1 })
			for i := 1; i <= 11; i++ {
				a.Transport.Deliver(2, []byte("later"), o.done(i))
			}
			for i, err := range o.wait(t, 12) {
				want := transport.ErrNotSent
				if i == 0 {
					want = transport.ErrUnknown
				}
				if !errors.Is(err, want) || !errors.Is(err, transport.ErrFull) {
					t.Fatal(i, err)
				}
			}
			if n := a.stats(2).Overflows; n != 1 {
				t.Fatal(n, "overflows")
			}
			a.Transport.Deliver(2, []byte("again"), o.done(12))
			if err := o.wait(t, 13)[12]; err != nil {
				t.Fatal(err)
			}
			if got := b.received(1); !slices.Equal(got, []string{"first", "again"}) {
				t.Fatal(got)
			}
		})
	}
}

func TestWindowStopsTheWriterNotTheCaller(t *testing.T) {
	a, b := start(t, 1, func(c *transport.Config) { c.Window = 1 }), start(t, 2)
	confirms := make(chan func(error), 2000)
	b.onDeliver = func(_ chat.NodeID, _ []byte, confirm func(error)) { confirms <- confirm }
	a.SetPeers([]transport.Peer{b.peer()})
	const n = 2000
	var o outcomes
	for i := range n {
		a.Transport.Deliver(2, []byte("x"), o.done(i))
	}
	// A window is used up to the end of a write.
	eventually(t, "a full window", func() bool { s := a.stats(2); return s.Unconfirmed > 0 })
	if s := a.stats(2); s.Unconfirmed > 256 || s.Queued+s.Unconfirmed != n {
		t.Fatalf("%+v", s)
	}
	if _, err := ask(t, a, t.Context(), 2, "requests pass"); err != nil {
		t.Fatal(err)
	}
	for range n {
		(<-confirms)(nil)
	}
	o.wait(t, n)
}

func TestRequestsAreBounded(t *testing.T) {
	a, b := start(t, 1, func(c *transport.Config) { c.MaxRequests = 3 }), start(t, 2)
	replies := make(chan func([]byte, error), 3)
	b.onRequest = func(_ chat.NodeID, _ time.Duration, _ []byte, reply func([]byte, error)) { replies <- reply }
	a.SetPeers([]transport.Peer{b.peer()})
	var o outcomes
	for i := range 4 {
		done := o.done(i)
		a.Transport.Request(t.Context(), 2, []byte("q"), func(_ []byte, err error) { done(err) })
	}
	if err := o.wait(t, 1)[3]; !errors.Is(err, transport.ErrNotSent) || !errors.Is(err, transport.ErrFull) {
		t.Fatal(err)
	}
	for range 3 {
		(<-replies)(nil, nil)
	}
	o.wait(t, 4)
}

func TestStalledPeerDelaysNobodyAndIsCutOff(t *testing.T) {
	timeout := func(c *transport.Config) { c.PeerTimeout = 2 * time.Second }
	a, b, c := start(t, 1, timeout), start(t, 2), start(t, 3)
	k := newLink(t, b.Addr())
	a.SetPeers([]transport.Peer{{ID: 2, Addr: k.addr()}, c.peer()})
	eventually(t, "streams", func() bool { return a.stats(2).Connected && a.stats(3).Connected })
	k.stall(true)
	var stalled, o outcomes
	big := make([]byte, 1<<20)
	for i := range 20 {
		a.Transport.Deliver(2, big, stalled.done(i))
	}
	for i := range 1000 {
		a.Transport.Deliver(3, []byte("x"), o.done(i))
	}
	for i, err := range o.wait(t, 1000) {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	for i, err := range stalled.wait(t, 20) {
		if err == nil || !known(err) {
			t.Fatal(i, err)
		}
	}
	eventually(t, "down", func() bool { return slices.Contains(a.happened(), "down 2") })
	k.stall(false)
	a.Transport.Deliver(2, []byte("x"), stalled.done(20))
	stalled.wait(t, 21)
	eventually(t, "a new stream", func() bool { return a.stats(2).Connected })
}

func TestSilentPeerIsCutOff(t *testing.T) {
	a, b := start(t, 1, func(c *transport.Config) { c.PeerTimeout = 200 * time.Millisecond }), start(t, 2)
	k := newLink(t, b.Addr())
	a.SetPeers([]transport.Peer{{ID: 2, Addr: k.addr()}})
	eventually(t, "a ping", func() bool { return a.stats(2).RTT > 0 })
	k.stall(true)
	eventually(t, "down", func() bool { return a.sawDown(transport.ErrPeerTimeout) })
}

func TestUnreachablePeerFailsDeliveriesAfterAWhile(t *testing.T) {
	a := start(t, 1, func(c *transport.Config) { c.PeerTimeout = 50 * time.Millisecond })
	a.SetPeers([]transport.Peer{{ID: 2, Addr: "127.0.0.1:1"}})
	var o outcomes
	a.Transport.Deliver(2, []byte("x"), o.done(0))
	if err := o.wait(t, 1)[0]; !errors.Is(err, transport.ErrNotSent) {
		t.Fatal(err)
	}
	if s := a.stats(2); s.LastError == "" || s.DialFailures == 0 {
		t.Errorf("%+v", s)
	}
}
