package reactor_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/zumodra/hub/edge/reactor"
)

// TestChurn opens, uses, closes and resets connections from several goroutines while others broadcast, send and
// close by handles that may be stale, and checks that every connection is reported exactly once and nothing is left.
func TestChurn(t *testing.T) {
	const workers, rounds = 8, 60
	h := &hooks{}
	h.message = func(c reactor.Conn, text bool, p []byte) {
		_ = h.srv.Send(c.Handle, reactor.NewFrame(text, append([]byte(nil), p...)), reactor.Durable)
	}
	s := start(t, reactor.Config{Reactors: 3, CloseTimeout: 100 * time.Millisecond, QueueBytes: 32 << 10, PingInterval: 50 * time.Millisecond, Compress: true}, h)
	stop := make(chan struct{})
	var noise, work sync.WaitGroup
	for i := range 2 {
		noise.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			f := reactor.NewFrame(true, make([]byte, 600))
			for {
				select {
				case <-stop:
					return
				default:
				}
				hs := h.handles()
				if len(hs) > 100 {
					hs = hs[len(hs)-100:]
				}
				s.Broadcast(reactor.NewSet(hs), f, reactor.Class(rng.IntN(2)), 0)
				if len(hs) > 0 && rng.IntN(3) == 0 {
					x := hs[rng.IntN(len(hs))]
					_ = s.Send(x, f, reactor.Durable)
					_ = s.CloseConn(x, 4000, "noise")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for w := range workers {
		work.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for range rounds {
				extra := ""
				if rng.IntN(2) == 0 {
					extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
				}
				c := dial(t, s.Addr().String(), "/", extra)
				for range rng.IntN(4) {
					_, _ = c.Write(maskedFrame(0x81, []byte("hello")))
					_, _ = c.tryRead()
				}
				switch rng.IntN(4) {
				case 0:
					_, _ = c.Write(maskedFrame(0x88, []byte{0x03, 0xe8}))
				case 1:
					_, _ = c.Write([]byte{0x81, 0xfe})
				case 2:
					_, _ = c.Write([]byte{0x83, 0x00})
				}
				c.Close()
			}
		})
	}
	work.Wait()
	close(stop)
	noise.Wait()
	eventually(t, "nothing left", func() bool {
		st := s.Stats()
		return st.Connections == 0 && st.Handshaking == 0 && st.QueuedBytes == 0 && st.QueuedConnections == 0 && st.InboxBytes == 0
	})
	ends := map[reactor.Handle]int{}
	for _, e := range h.endings() {
		ends[e.conn.Handle]++
	}
	if len(h.handles()) != workers*rounds || len(ends) != workers*rounds {
		t.Fatalf("%d opened, %d ended, want %d", len(h.handles()), len(ends), workers*rounds)
	}
	for h, n := range ends {
		if n != 1 {
			t.Errorf("%x ended %d times", h, n)
		}
	}
}
