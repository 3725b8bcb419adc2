//go:build !linux || reactor_portable

package reactor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Server is a WebSocket endpoint on one TCP port. See the package comment for its contract.
//
// This is the portable implementation: two goroutines per connection over net.Conn, one queue per connection as
// the only stage. BatchDelay and InboxBytes have no effect, and the bytes that a writer has taken off a queue do not count.
type Server struct {
	cfg     Config
	ln      net.Listener
	web     *webServer
	limiter *rate.Limiter
	stats   counters
	total   atomic.Int64
	queued  atomic.Int64
	room    atomic.Int64

	draining atomic.Bool
	quit     chan struct{}
	gone     chan struct{}
	wg       sync.WaitGroup

	mu      sync.RWMutex
	serving bool
	stopped bool
	slots   []slot
	free    []int
}

// slot is a place in the table of connections.
type slot struct {
	gen  uint32
	conn *pconn
}

// New validates cfg and binds the listener; nothing runs before Serve. A server that is never served must be closed.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, quit: make(chan struct{}), gone: make(chan struct{})}
	s.room.Store(cfg.LargeTotal)
	if cfg.AcceptRate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptRate)
	}
	if cfg.TLS != nil {
		s.cfg.TLS = cfg.TLS.Clone()
		s.cfg.TLS.NextProtos = []string{"http/1.1"}
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("reactor: listen: %w", err)
	}
	s.ln = ln
	s.web = newWebServer(&s.cfg, ln.Addr())
	return s, nil
}

// defaultMaxConnections fits the default descriptor limits of desktop systems.
func defaultMaxConnections() int { return 8192 }

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Serve runs until Shutdown has finished, Close is called or ctx is done. It owns all goroutines of the server and has
// waited for them when it returns, but for HTTP handlers that ignore the end of their connection. It may be called once. An orderly end returns ErrServerClosed.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	if s.stopped || s.serving {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.serving = true
	s.mu.Unlock()
	defer close(s.gone)

	stop := context.AfterFunc(ctx, func() { s.stop() })
	defer stop()
	s.wg.Go(s.web.serve)
	s.wg.Go(s.watch)
	err := s.acceptLoop()
	<-s.quit
	s.web.close()
	s.wg.Wait()
	return err
}

func (s *Server) acceptLoop() error {
	for {
		nc, err := s.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return ErrServerClosed
			}
			s.stats.acceptErrors.Add(1)
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-s.quit:
				return ErrServerClosed
			}
		}
		s.stats.accepted.Add(1)
		if s.total.Add(1) > int64(s.cfg.MaxConnections) {
			s.stats.refused.Add(1)
			s.wg.Go(func() {
				defer s.total.Add(-1)
				refuseConn(nc, s.cfg.TLS != nil)
			})
			continue
		}
		c := s.add(nc)
		s.wg.Go(c.run)
	}
}

// refuseConn answers 503 and closes.
func refuseConn(nc net.Conn, silently bool) {
	defer nc.Close()
	if silently {
		return
	}
	_ = nc.SetDeadline(time.Now().Add(time.Second))
	var buf [1024]byte
	_, _ = nc.Read(buf[:])
	_, _ = nc.Write(overloaded)
}

// add gives a connection a slot and a generation.
func (s *Server) add(nc net.Conn) *pconn {
	s.stats.handshaking.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(s.slots)
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.slots = append(s.slots, slot{})
	}
	sl := &s.slots[i]
	if sl.gen++; sl.gen == 0 {
		sl.gen = 1
	}
	c := &pconn{s: s, slot: i, handle: makeHandle(sl.gen, 0, i), raw: nc, nc: nc, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if s.cfg.TLS != nil {
		c.nc = tls.Server(nc, s.cfg.TLS)
	}
	sl.conn = c
	if s.stopped {
		nc.Close()
	}
	return c
}

// remove takes the connection out of the table; the generation is used up.
func (s *Server) remove(c *pconn) {
	s.mu.Lock()
	s.slots[c.slot].conn = nil
	s.free = append(s.free, c.slot)
	s.mu.Unlock()
}

// lookup returns a connection, nil if the handle is stale.
func (s *Server) lookup(h Handle) *pconn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i := h.fd(); h.gen() != 0 && h.owner() == 0 && i < len(s.slots) && s.slots[i].gen == h.gen() {
		return s.slots[i].conn
	}
	return nil
}

// conns lists all connections.
func (s *Server) conns() (cs []*pconn) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.slots {
		if c := s.slots[i].conn; c != nil {
			cs = append(cs, c)
		}
	}
	return cs
}

// closeLargest closes the connection with the largest queue.
func (s *Server) closeLargest() {
	var largest *pconn
	most := 0
	for _, c := range s.conns() {
		c.mu.Lock()
		if c.q.bytes > most && c.open && !c.closing {
			largest, most = c, c.q.bytes
		}
		c.mu.Unlock()
	}
	if largest == nil {
		return
	}
	largest.mu.Lock()
	if !largest.closing {
		largest.slowLocked()
	}
	largest.mu.Unlock()
}

// watch looks at every connection once per tick, for pings and deadlines.
func (s *Server) watch() {
	t := time.NewTicker(s.cfg.tick())
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			for _, c := range s.conns() {
				c.expire(now)
			}
		case <-s.quit:
			return
		}
	}
}

// stop tells everything to end and reports whether Serve was running.
func (s *Server) stop() bool {
	s.mu.Lock()
	first := !s.stopped
	s.stopped = true
	serving := s.serving
	s.mu.Unlock()
	if first {
		close(s.quit)
		s.ln.Close()
		for _, c := range s.conns() {
			c.raw.Close()
		}
	}
	return serving
}

// Close ends the server at once: connections are cut without a closing handshake, their Closed callbacks report
// CloseAbnormal. It returns when Serve has ended.
func (s *Server) Close() error {
	if s.stop() {
		<-s.gone
	}
	return nil
}

// Shutdown stops accepting, sends every connection a close frame with code and reason, evenly spread over the
// duration `over`, each after what was queued for it, and lets net/http finish its requests. It returns nil when all
// connections are gone; when ctx ends first, they are cut and its error is returned. Serve returns in both cases.
func (s *Server) Shutdown(ctx context.Context, code uint16, reason string, over time.Duration) error {
	s.mu.Lock()
	serving := s.serving
	s.mu.Unlock()
	if !serving {
		return s.Close()
	}
	s.draining.Store(true)
	s.ln.Close()
	defer s.Close()
	webErr := make(chan error, 1)
	go func() { webErr <- s.web.shutdown(ctx) }()
	err := s.drain(ctx, code, reason, over)
	if werr := <-webErr; err == nil {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("reactor: shutdown: %w", err)
	}
	return nil
}

func (s *Server) drain(ctx context.Context, code uint16, reason string, over time.Duration) error {
	handles := s.liveHandles()
	start := time.Now()
	tick := time.NewTicker(min(max(over/200, 10*time.Millisecond), 100*time.Millisecond))
	defer tick.Stop()
	sent := 0
	for {
		due := len(handles)
		if elapsed := time.Since(start); elapsed < over {
			due = int(float64(len(handles)) * float64(elapsed) / float64(over))
		}
		for ; sent < due; sent++ {
			_ = s.CloseConn(handles[sent], code, reason)
		}
		if sent == len(handles) {
			if handles, sent = s.liveHandles(), 0; len(handles) == 0 && s.stats.conns.Load()+s.stats.handshaking.Load() == 0 {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.quit:
			return ErrServerClosed
		}
	}
}

func (s *Server) liveHandles() (hs []Handle) {
	for _, c := range s.conns() {
		c.mu.Lock()
		if c.open && !c.closing {
			hs = append(hs, c.handle)
		}
		c.mu.Unlock()
	}
	return hs
}

// Stats sums the counters. Each counter is exact, the snapshot as a whole is not atomic.
func (s *Server) Stats() Stats {
	st := Stats{ClosedByCode: make(map[uint16]uint64)}
	s.stats.add(&st)
	st.QueuedBytes = s.queued.Load()
	st.LargeBytes = s.cfg.LargeTotal - s.room.Load()
	return st
}

// Send queues f for one connection and returns at once. It reports ErrClosed if the connection is closed or
// closing; nil does not mean delivered. Safe for any goroutine, callbacks included.
func (s *Server) Send(h Handle, f *Frame, class Class) error {
	c := s.lookup(h)
	if c == nil {
		return ErrClosed
	}
	return c.send(f, class)
}

// Broadcast queues f for every connection of set but except (0: none) and returns at once. Safe for any goroutine,
// callbacks included.
func (s *Server) Broadcast(set *Set, f *Frame, class Class, except Handle) {
	if set == nil {
		return
	}
	for _, p := range set.parts {
		for _, h := range p.handles {
			if h == except {
				continue
			}
			if c := s.lookup(h); c != nil {
				_ = c.send(f, class) // it may have closed meanwhile
			}
		}
	}
}

// CloseConn starts the closing handshake after what was given to the connection before. From now on sends to it
// report ErrClosed. The reason is cut to 123 bytes; code 0 sends none. Safe for any goroutine, callbacks included.
func (s *Server) CloseConn(h Handle, code uint16, reason string) error {
	c := s.lookup(h)
	if c == nil {
		return ErrClosed
	}
	reported := code
	if code == 0 {
		reported = CloseNormal
	}
	if !c.close(reported, cutReason(reason), newCloseFrame(code, reason), true) {
		return ErrClosed
	}
	return nil
}
