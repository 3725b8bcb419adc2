//go:build !reactor_portable

package reactor

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Server is a WebSocket endpoint on one TCP port. See the package comment for its contract.
type Server struct {
	cfg      Config
	addr     net.Addr
	table    table
	reactors []*reactor
	web      *webServer
	limiter  *rate.Limiter // nil: no limit

	total    atomic.Int64 // connections of any kind, for MaxConnections
	queued   atomic.Int64 // bytes in all queues, for QueueTotal
	room     atomic.Int64 // left of LargeTotal
	draining atomic.Bool  // refuse upgrades
	deflate  atomic.Int64 // connections that negotiated deflate
	tlsSlots chan struct{}

	mu      sync.Mutex
	serving bool
	stopped bool
	quit    chan struct{} // closed by Close
	gone    chan struct{} // closed when Serve has ended
}

// New validates cfg and binds one listener per reactor; nothing runs before Serve. A server that is never
// served must be closed.
func New(cfg Config) (*Server, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, quit: make(chan struct{}), gone: make(chan struct{}),
		tlsSlots: make(chan struct{}, maxHandshakes),
	}
	s.room.Store(cfg.LargeTotal)
	if cfg.AcceptRate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptRate)
	}
	if cfg.TLS != nil {
		// The protocol of a connection is decided by its first request, and HTTP/2 has no Upgrade.
		s.cfg.TLS = cfg.TLS.Clone()
		s.cfg.TLS.NextProtos = []string{"http/1.1"}
	}
	s.table.init()
	fds, addr, err := listen(cfg.Addr, cfg.Reactors)
	if err != nil {
		return nil, err
	}
	s.addr = addr
	for i, lfd := range fds {
		r, err := newReactor(s, i, lfd)
		if err != nil {
			for _, fd := range fds[i:] {
				unix.Close(fd)
			}
			for _, r := range s.reactors {
				r.release()
			}
			return nil, err
		}
		s.reactors = append(s.reactors, r)
	}
	s.web = newWebServer(&s.cfg, addr)
	return s, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.addr }

// Serve runs the reactors until Shutdown has finished, Close is called or ctx is done. It owns all goroutines of the
// server and has waited for them when it returns, but for HTTP handlers that ignore the end of their connection. It may
// be called once. An orderly end returns ErrServerClosed.
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
	webDone := make(chan struct{})
	go func() {
		defer close(webDone)
		s.web.serve()
	}()
	errs := make(chan error, len(s.reactors))
	for _, r := range s.reactors {
		go func() { errs <- r.run() }()
	}
	var first error
	for range s.reactors {
		if err := <-errs; err != nil && first == nil {
			first = err
			s.stop()
		}
	}
	s.web.close()
	<-webDone
	for _, r := range s.reactors {
		r.release()
	}
	if first != nil {
		return first
	}
	return ErrServerClosed
}

// stop tells everything to end and does not wait. It reports whether Serve was running.
func (s *Server) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.quit)
		for _, r := range s.reactors {
			r.inbox.wakeLocked()
		}
	}
	return s.serving
}

// Close ends the server at once: connections are cut without a closing handshake, their Closed callbacks report
// CloseAbnormal. It returns when Serve has ended.
func (s *Server) Close() error {
	s.mu.Lock()
	unserved := !s.serving && !s.stopped
	s.mu.Unlock()
	if s.stop() {
		<-s.gone
	} else if unserved {
		for _, r := range s.reactors {
			r.release()
		}
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
	for _, r := range s.reactors {
		r.inbox.force(op{kind: opStopAccept})
	}
	defer s.Close()

	webErr := make(chan error, 1)
	go func() { webErr <- s.web.shutdown(ctx) }() // waited for below

	err := s.drain(ctx, code, reason, over)
	if werr := <-webErr; err == nil {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("reactor: shutdown: %w", err)
	}
	return nil
}

// drain closes all connections at a steady pace and waits until they are gone.
func (s *Server) drain(ctx context.Context, code uint16, reason string, over time.Duration) error {
	handles := s.table.live()
	frame := newCloseFrame(code, reason)
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
			_ = s.closeWith(handles[sent], code, frame) // it may have gone by itself
		}
		if sent == len(handles) {
			// Upgrades that were decided before draining was set are found by looking again.
			if handles, sent = s.table.live(), 0; len(handles) == 0 && s.open() == 0 {
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

// open counts the connections that reactors hold.
func (s *Server) open() (n int64) {
	for _, r := range s.reactors {
		n += r.stats.conns.Load() + r.stats.handshaking.Load()
	}
	return n
}

// Stats sums the counters. Each counter is exact, the snapshot as a whole is not atomic.
func (s *Server) Stats() Stats {
	st := Stats{ClosedByCode: make(map[uint16]uint64)}
	for _, r := range s.reactors {
		r.stats.add(&st)
		st.InboxBytes += r.inbox.bytes.Load()
	}
	st.QueuedBytes = s.queued.Load()
	st.LargeBytes = s.cfg.LargeTotal - s.room.Load()
	return st
}

// Send stages f for one connection and returns at once. It reports ErrClosed if the connection is known to be closed or
// closing; nil does not mean delivered. Safe for any goroutine, callbacks included.
func (s *Server) Send(h Handle, f *Frame, class Class) error {
	c := s.lookup(h)
	if c == nil {
		return ErrClosed
	}
	r := s.reactors[h.owner()]
	if !r.inbox.push(op{kind: opSend, class: class, h: h, f: f}, int64(f.size()), int64(s.cfg.InboxBytes)) {
		if class == Ephemeral {
			r.stats.shed.Add(1)
			return nil
		}
		r.stats.inboxOverflows.Add(1)
		r.inbox.condemn(c, h)
		return ErrClosed
	}
	return nil
}

// fewHandles is the size of a part of a set up to which a broadcast is staged as sends: those for one connection leave
// together whatever sets they come from.
const fewHandles = 4

// Broadcast stages f for every connection of set but except (0: none) and returns at once. Consecutive
// broadcasts to the same *Set leave together where possible. Safe for any goroutine, callbacks included.
func (s *Server) Broadcast(set *Set, f *Frame, class Class, except Handle) {
	if set == nil {
		return
	}
	if s.deflate.Load() > 0 { // here, rather than on an event loop
		f.bytes(true, s.cfg.CompressThreshold)
	}
	for i := range set.parts {
		p := &set.parts[i]
		if p.owner >= len(s.reactors) {
			continue
		}
		if len(p.handles) <= fewHandles {
			for _, h := range p.handles {
				if h != except {
					_ = s.Send(h, f, class) // gone is as good
				}
			}
			continue
		}
		r := s.reactors[p.owner]
		if r.inbox.push(op{kind: opCast, class: class, h: except, f: f, part: p}, int64(f.size()), int64(s.cfg.InboxBytes)) {
			continue
		}
		if class == Ephemeral {
			r.stats.shed.Add(uint64(len(p.handles)))
			continue
		}
		r.stats.inboxOverflows.Add(1)
		for _, h := range p.handles {
			if c := s.lookup(h); c != nil && h != except {
				r.inbox.condemn(c, h)
			}
		}
	}
}

// CloseConn starts the closing handshake after what was given to the connection before. From now on sends to it
// report ErrClosed. The reason is cut to 123 bytes; code 0 sends none. Safe for any goroutine, callbacks included.
func (s *Server) CloseConn(h Handle, code uint16, reason string) error {
	return s.closeWith(h, code, newCloseFrame(code, reason))
}

func (s *Server) closeWith(h Handle, code uint16, f *Frame) error {
	c := s.lookup(h)
	if c == nil || !c.live.CompareAndSwap(h.gen(), 0) {
		return ErrClosed
	}
	// Not subject to the inbox's bound: there is at most one per connection.
	s.reactors[h.owner()].inbox.force(op{kind: opCloseConn, h: h, code: code, f: f})
	return nil
}

// lookup returns the record of an open connection, nil if the handle is stale.
func (s *Server) lookup(h Handle) *conn {
	if h.gen() == 0 || h.owner() >= len(s.reactors) {
		return nil
	}
	c := s.table.get(h.fd())
	if c == nil || c.live.Load() != h.gen() || c.doomed.Load() == h.gen() {
		return nil
	}
	return c
}
