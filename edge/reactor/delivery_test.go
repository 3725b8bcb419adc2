package reactor_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zumodra/hub/edge/reactor"
)

// dialAll opens n connections and returns them with their handles in the same order.
func dialAll(t testing.TB, s *reactor.Server, h *hooks, n int) ([]*client, []reactor.Handle) {
	t.Helper()
	var cs []*client
	for i := range n {
		cs = append(cs, dial(t, s.Addr().String(), "/", ""))
		eventually(t, "open callback", func() bool { return len(h.handles()) == i+1 })
	}
	return cs, h.handles()
}

// TestOrder checks the contract of the package comment: frames that one goroutine gives to Send, Broadcast and
// CloseConn for one connection leave in the order of the calls.
func TestOrder(t *testing.T) {
	for _, cfg := range []reactor.Config{
		{Reactors: 1},
		{Reactors: 2, QueueBytes: 16 << 20, QueueFrames: 1 << 16},
		{Reactors: 2, BatchDelay: 2 * time.Millisecond, Compress: true, CompressThreshold: 16},
	} {
		t.Run(fmt.Sprintf("reactors=%d,delay=%v,deflate=%v", cfg.Reactors, cfg.BatchDelay, cfg.Compress), func(t *testing.T) {
			const conns, writers, rounds = 8, 3, 400
			h := &hooks{}
			s := start(t, cfg, h)
			cs, hs := dialAll(t, s, h, conns)
			all := reactor.NewSet(append([]reactor.Handle(nil), hs...))
			some := reactor.NewSet(append([]reactor.Handle(nil), hs[:conns/2]...))

			want := make([][writers][]string, conns)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range rounds {
						msg := fmt.Sprintf("%d %d %s", w, i, strings.Repeat("pad ", i%50))
						f := reactor.NewFrame(true, []byte(msg))
						target := (i * 7) % conns
						switch (i + w) % 4 {
						case 0, 1:
							for c := range conns {
								want[c][w] = append(want[c][w], msg)
							}
							s.Broadcast(all, f, reactor.Durable, 0)
						case 2:
							for c := range conns / 2 {
								if c != target {
									want[c][w] = append(want[c][w], msg)
								}
							}
							s.Broadcast(some, f, reactor.Durable, hs[target])
						case 3:
							want[target][w] = append(want[target][w], msg)
							if err := s.Send(hs[target], f, reactor.Durable); err != nil {
								t.Errorf("Send: %v", err)
							}
						}
					}
				})
			}
			wg.Wait()
			for _, h := range hs {
				if err := s.CloseConn(h, 1000, ""); err != nil {
					t.Errorf("CloseConn: %v", err)
				}
			}
			for i, c := range cs {
				var got [writers][]string
				for {
					f := c.read()
					if f.op() == 8 {
						break
					}
					var w, n int
					if _, err := fmt.Sscanf(string(f.payload), "%d %d", &w, &n); err != nil {
						t.Fatalf("frame %q", f.payload)
					}
					got[w] = append(got[w], string(f.payload))
				}
				for w := range writers {
					if len(got[w]) != len(want[i][w]) {
						for k := range got[w] {
							if got[w][k] != want[i][w][k] {
								t.Logf("first difference at %d: %.10q, want %.10q", k, got[w][k], want[i][w][k])
								break
							}
						}
						t.Fatalf("connection %d, writer %d: %d frames, want %d", i, w, len(got[w]), len(want[i][w]))
					}
					for k := range got[w] {
						if got[w][k] != want[i][w][k] {
							t.Fatalf("connection %d, writer %d, frame %d: %.20q, want %.20q", i, w, k, got[w][k], want[i][w][k])
						}
					}
				}
			}
		})
	}
}

func TestBroadcastLeavesAsOneSend(t *testing.T) {
	if portable {
		t.Skip("no batching across calls")
	}
	const n = 20
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1, BatchDelay: 10 * time.Millisecond}, h)
	cs, hs := dialAll(t, s, h, n)
	set := reactor.NewSet(append([]reactor.Handle(nil), hs...))
	before := s.Stats()
	for i := range 16 {
		s.Broadcast(set, reactor.NewFrame(true, []byte(fmt.Sprint(i))), reactor.Durable, 0)
	}
	for _, c := range cs {
		for i := range 16 {
			c.expectText(fmt.Sprint(i))
		}
	}
	eventually(t, "counters", func() bool { return s.Stats().FramesOut-before.FramesOut == 16*n })
	// A slow machine may split the burst over several delays, never into single sends.
	if sends := s.Stats().Sends - before.Sends; sends > 16*n/4 {
		t.Errorf("%d sends for %d frames", sends, 16*n)
	}
}

// What many small sets bring for one connection leaves together, in the order of the calls.
func TestSmallSetsLeaveTogether(t *testing.T) {
	if portable {
		t.Skip("no batching across calls")
	}
	const n, sets, rounds = 3, 20, 16
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1, BatchDelay: 10 * time.Millisecond, QueueFrames: 1 << 16}, h)
	cs, hs := dialAll(t, s, h, n)
	var of [sets]*reactor.Set
	for i := range of { // of one, or two connections
		of[i] = reactor.NewSet(append([]reactor.Handle(nil), hs[i%n:min(i%n+1+i%2, n)]...))
	}
	before := s.Stats()
	var want [n][]string
	for i := range rounds * sets {
		msg := fmt.Sprint(i)
		s.Broadcast(of[i%sets], reactor.NewFrame(true, []byte(msg)), reactor.Durable, hs[i%n/2])
		for c := i % sets % n; c < min(i%sets%n+1+i%sets%2, n); c++ {
			if c != i%n/2 {
				want[c] = append(want[c], msg)
			}
		}
	}
	frames := 0
	for i, c := range cs {
		for _, msg := range want[i] {
			c.expectText(msg)
		}
		frames += len(want[i])
	}
	eventually(t, "counters", func() bool { return s.Stats().FramesOut-before.FramesOut == uint64(frames) })
	if sends := s.Stats().Sends - before.Sends; sends > uint64(frames)/4 {
		t.Errorf("%d sends for %d frames", sends, frames)
	}
}

// stall opens a connection whose receive buffer is small and that reads nothing until told.
func stall(t *testing.T, addr string) *client {
	t.Helper()
	d := net.Dialer{Control: smallBuffer}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cl := &client{Conn: c, t: t, br: bufio.NewReaderSize(c, 512)}
	cl.upgrade("/", "")
	return cl
}

func TestSlowConsumerIsCutAndDelaysNobody(t *testing.T) {
	for _, by := range []string{"bytes", "frames", "age", "total"} {
		t.Run(by, func(t *testing.T) {
			cfg := reactor.Config{Reactors: 1, QueueBytes: 64 << 10, CloseTimeout: 30 * time.Second}
			switch by {
			case "frames":
				cfg.QueueBytes, cfg.QueueFrames = 1<<30, 20
			case "age":
				cfg.QueueBytes, cfg.QueueAge, cfg.QueueFrames = 1<<30, 100*time.Millisecond, 1<<30
			case "total":
				cfg.QueueBytes, cfg.QueueTotal, cfg.QueueFrames = 1<<30, 100<<10, 1<<30
			}
			h := &hooks{}
			s := start(t, cfg, h)
			slow := stall(t, s.Addr().String())
			eventually(t, "slow one open", func() bool { return len(h.handles()) == 1 })
			fast := dial(t, s.Addr().String(), "/", "")
			eventually(t, "fast one open", func() bool { return len(h.handles()) == 2 })
			set := reactor.NewSet(h.handles())

			pad := strings.Repeat("x", 4000)
			most := int64(0)
			sent := 0
			for ; len(h.endings()) == 0; sent++ {
				if by == "age" && sent > 1000 {
					eventually(t, "cut by age", func() bool { return len(h.endings()) > 0 })
					break
				}
				s.Broadcast(set, reactor.NewFrame(true, []byte(fmt.Sprintf("%d %s", sent, pad))), reactor.Durable, 0)
				fast.expectText(fmt.Sprintf("%d %s", sent, pad))
				most = max(most, s.Stats().QueuedBytes)
			}
			if e := h.endings()[0]; e.code != reactor.CloseSlowConsumer || e.conn.Handle != h.handles()[0] {
				t.Fatalf("closed %+v", e)
			}
			if by == "bytes" && most > 64<<10 || by == "total" && most > 110<<10 {
				t.Errorf("%d bytes were queued", most)
			}
			if err := s.Send(h.handles()[0], reactor.NewFrame(true, nil), reactor.Durable); !errors.Is(err, reactor.ErrClosed) {
				t.Errorf("Send to the closed one: %v", err)
			}
			// What it got is a prefix, then the reason.
			for i := 0; ; i++ {
				f := slow.read()
				if f.op() == 8 {
					if f.code() != reactor.CloseSlowConsumer {
						t.Fatalf("close code %d", f.code())
					}
					break
				}
				if !strings.HasPrefix(string(f.payload), fmt.Sprintf("%d ", i)) {
					t.Fatalf("frame %d is %.20q", i, f.payload)
				}
			}
			eventually(t, "queues empty", func() bool { st := s.Stats(); return st.QueuedBytes == 0 && st.QueuedConnections == 0 })
			if n := s.Stats().SlowClosed; n != 1 {
				t.Errorf("%d closed as slow", n)
			}
		})
	}
}

// TestFrameInPlace compares what arrives of frames made either way, at the lengths where the header changes.
func TestFrameInPlace(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1}, h)
	cs, hs := dialAll(t, s, h, 1)
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		payload := bytes.Repeat([]byte{'a', 'b', 'c'}, n/3+1)[:n]
		for _, text := range []bool{true, false} {
			b := append(bytes.Repeat([]byte{0xFF}, reactor.FrameRoom), payload...)
			inPlace, copied := reactor.NewFrameInPlace(text, b), reactor.NewFrame(text, payload)
			if !bytes.Equal(inPlace.Payload(), payload) {
				t.Fatalf("%d bytes: payload has %d", n, len(inPlace.Payload()))
			}
			var got [2]frame
			for i, f := range []*reactor.Frame{inPlace, copied} {
				if err := s.Send(hs[0], f, reactor.Durable); err != nil {
					t.Fatal(err)
				}
				got[i] = cs[0].read()
			}
			if !reflect.DeepEqual(got[0], got[1]) {
				t.Fatalf("%d bytes: first byte %x, %d bytes; want %x, %d", n, got[0].b0, len(got[0].payload), got[1].b0, len(got[1].payload))
			}
		}
	}
}

func TestStuckPeerIsResetAtTheDeadline(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1, QueueBytes: 64 << 10, CloseTimeout: 100 * time.Millisecond}, h)
	stall(t, s.Addr().String())
	eventually(t, "open", func() bool { return len(h.handles()) == 1 })
	f := reactor.NewFrame(false, make([]byte, 32<<10))
	for s.Send(h.handles()[0], f, reactor.Durable) == nil {
	}
	eventually(t, "gone", func() bool { st := s.Stats(); return st.Connections == 0 && st.QueuedBytes == 0 })
}

func TestEphemeralIsShedFirst(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1, QueueBytes: 1 << 20, QueueFrames: 1 << 20}, h)
	c := stall(t, s.Addr().String())
	eventually(t, "open", func() bool { return len(h.handles()) == 1 })
	to := h.handles()[0]
	pad := strings.Repeat("x", 4000)
	n := 0
	for ; s.Stats().EphemeralShed == 0; n++ {
		if err := s.Send(to, reactor.NewFrame(true, []byte("e"+pad)), reactor.Ephemeral); err != nil {
			t.Fatal(err)
		}
	}
	// Durable ones go on to be taken, the shed ephemerals making room.
	for i := range 200 {
		if err := s.Send(to, reactor.NewFrame(true, []byte(fmt.Sprintf("d%d %s", i, pad))), reactor.Durable); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CloseConn(to, 1000, ""); err != nil {
		t.Fatal(err)
	}
	next := 0
	for {
		f := c.read()
		if f.op() == 8 {
			break
		}
		if f.payload[0] == 'd' {
			if want := fmt.Sprintf("d%d ", next); !strings.HasPrefix(string(f.payload), want) {
				t.Fatalf("got %.10q, want %s", f.payload, want)
			}
			next++
		}
	}
	if next != 200 {
		t.Errorf("%d durable frames arrived", next)
	}
}

// TestInboxOverflow holds the reactor in a callback until its inbox is full.
func TestInboxOverflow(t *testing.T) {
	if portable {
		t.Skip("there is no inbox")
	}
	h := &hooks{}
	hold, held := make(chan struct{}), make(chan struct{})
	h.message = func(reactor.Conn, bool, []byte) { held <- struct{}{}; <-hold }
	s := start(t, reactor.Config{Reactors: 1, InboxBytes: 64 << 10}, h)
	cs, hs := dialAll(t, s, h, 2)
	cs[0].text("hold")
	<-held
	sent := 0
	for ; s.Send(hs[1], reactor.NewFrame(true, []byte(fmt.Sprintf("%d %s", sent, strings.Repeat("x", 1000)))), reactor.Durable) == nil; sent++ {
		if sent > 64 {
			t.Fatal("the inbox has no bound")
		}
	}
	close(hold)
	// Whatever arrives is a prefix, and the end says so.
	for i := 0; ; i++ {
		f := cs[1].read()
		if f.op() == 8 {
			if f.code() != reactor.CloseSlowConsumer {
				t.Fatalf("code %d", f.code())
			}
			break
		}
		if !strings.HasPrefix(string(f.payload), fmt.Sprintf("%d ", i)) {
			t.Fatalf("frame %d is %.10q", i, f.payload)
		}
	}
	// The other one is unharmed.
	if err := s.Send(hs[0], reactor.NewFrame(true, []byte("fine")), reactor.Durable); err != nil {
		t.Fatal(err)
	}
	cs[0].expectText("fine")
	eventually(t, "inbox empty", func() bool { return s.Stats().InboxBytes == 0 })
	if n := s.Stats().InboxOverflows; n != 1 {
		t.Errorf("%d overflows", n)
	}
}

func TestHandlesAreNotReused(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1}, h)
	seen := map[reactor.Handle]bool{}
	var old []reactor.Handle
	for i := range 50 {
		c := dial(t, s.Addr().String(), "/", "")
		eventually(t, "open", func() bool { return len(h.handles()) == i+1 })
		now := h.handles()[i]
		if seen[now] {
			t.Fatalf("handle %x again", now)
		}
		seen[now] = true
		stale := reactor.NewFrame(true, []byte("not for you"))
		for _, o := range old {
			if err := s.Send(o, stale, reactor.Durable); !errors.Is(err, reactor.ErrClosed) {
				t.Fatalf("Send to a closed connection: %v", err)
			}
		}
		s.Broadcast(reactor.NewSet(append([]reactor.Handle(nil), old...)), stale, reactor.Durable, 0)
		if err := s.Send(now, reactor.NewFrame(true, []byte("for you")), reactor.Durable); err != nil {
			t.Fatal(err)
		}
		c.expectText("for you")
		c.Close()
		eventually(t, "gone", func() bool { return s.Stats().Connections == 0 })
		old = append(old, now)
	}
}

// TestManyReadersAndAFanOut checks that reads are answered while broadcasts to many connections are walked.
func TestFanOutDoesNotStarveReads(t *testing.T) {
	h := &hooks{}
	s := start(t, reactor.Config{Reactors: 1, InboxBytes: 1 << 20, QueueBytes: 1 << 30, QueueFrames: 1 << 20, PingInterval: -1}, h)
	const n = 600
	cs, hs := dialAll(t, s, h, n)
	set := reactor.NewSet(append([]reactor.Handle(nil), hs[1:]...))
	for _, c := range cs[1:] {
		go func() {
			for {
				if _, err := c.tryRead(); err != nil {
					return
				}
			}
		}()
	}
	f := reactor.NewFrame(true, []byte(strings.Repeat("x", 100)))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if s.Stats().InboxBytes < 100<<10 {
					s.Broadcast(set, f, reactor.Durable, 0)
				} else {
					time.Sleep(time.Millisecond)
				}
			}
		}
	}()
	for i := 0; i < 20 || s.Stats().FramesOut < 2*n; i++ { // until a fan-out went on meanwhile
		cs[0].text(fmt.Sprint(i))
		cs[0].expectText(fmt.Sprint(i))
	}
	close(stop)
	<-done
}

func smallBuffer(_, _ string, rc syscall.RawConn) error {
	return rc.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
}
