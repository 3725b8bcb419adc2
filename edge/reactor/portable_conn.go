//go:build !linux || reactor_portable

package reactor

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// pconn is one connection of the portable implementation. Its reader goroutine makes all callbacks; its
// writer goroutine is the only one that writes frames.
type pconn struct {
	s       *Server
	slot    int
	handle  Handle
	raw, nc net.Conn
	wake    chan struct{} // for the writer: something was queued
	done    chan struct{} // for the writer: the reader has ended
	session uint32
	deflate bool
	parser  parser

	mu       sync.Mutex
	q        queue
	open     bool
	closing  bool // refuses sends; code and reason are what Closed reports
	left     bool // Closed was called
	last     bool // after the queue, shut down the write side
	code     uint16
	reason   string
	deadline time.Time // while closing
	lastRx   time.Time
	pingAt   time.Time // zero: none out
}

// run is the reader goroutine.
func (c *pconn) run() {
	s := c.s
	upgraded, keep := c.handshake()
	if keep {
		return // net/http has it, and counts it
	}
	if upgraded {
		var writer sync.WaitGroup
		writer.Go(c.writeLoop)
		c.readLoop()
		close(c.done)
		c.raw.Close()
		writer.Wait()
		c.leave(CloseAbnormal, "")
		c.mu.Lock()
		s.queued.Add(-int64(c.q.bytes))
		if c.q.len() > 0 {
			s.stats.queuedConns.Add(-1)
		}
		c.q.reset()
		c.mu.Unlock()
		s.stats.conns.Add(-1)
	} else {
		s.stats.handshaking.Add(-1)
		c.raw.Close()
	}
	s.remove(c)
	s.total.Add(-1)
}

// handshake reads the request head and answers it. keep says that net/http has taken the connection.
func (c *pconn) handshake() (upgraded, keep bool) {
	s := c.s
	_ = c.nc.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	var head []byte
	buf := make([]byte, 4096)
	n := 0
	for n == 0 {
		m, err := c.nc.Read(buf)
		from := len(head)
		head = append(head, buf[:m]...)
		n = headEnd(head, from)
		switch {
		case n > s.cfg.MaxHandshakeBytes || n == 0 && len(head) > s.cfg.MaxHandshakeBytes:
			c.refuse(&refusal{status: http.StatusRequestHeaderFieldsTooLarge, body: "request head too big"})
			return false, false
		case n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.stats.timeouts.Add(1)
			c.refuse(&refusal{status: http.StatusRequestTimeout, body: "request head not complete in time"})
			return false, false
		case err != nil:
			return false, false
		}
	}
	req, ok := parseHead(head[:n])
	switch {
	case !ok:
		c.refuse(&refusal{status: http.StatusBadRequest, body: "malformed request"})
		return false, false
	case !req.isUpgrade():
		c.handOver(head)
		return false, true
	}
	return c.upgrade(req, head[n:]), false
}

func (c *pconn) handOver(head []byte) {
	s := c.s
	_ = c.nc.SetDeadline(time.Time{})
	s.stats.handshaking.Add(-1)
	s.stats.http.Add(1)
	s.remove(c)
	w := &webConn{Conn: c.nc, replay: head, done: func() { s.total.Add(-1) }}
	if tc, ok := c.nc.(*tls.Conn); ok {
		st := tc.ConnectionState()
		w.tlsState = &st
	}
	s.web.give(w)
}

func (c *pconn) upgrade(req *request, rest []byte) bool {
	s := c.s
	f := req.checkUpgrade()
	switch {
	case f != nil:
	case s.draining.Load():
		f = &refusal{status: http.StatusServiceUnavailable, body: "shutting down", retryAfter: retryJitter()}
	case s.limiter != nil && !s.limiter.Allow():
		s.stats.refused.Add(1)
		f = &refusal{status: http.StatusServiceUnavailable, body: "too many upgrades", retryAfter: retryJitter()}
	}
	if f != nil {
		c.refuse(f)
		return false
	}
	extension := ""
	if s.cfg.Compress {
		var ok bool
		if extension, ok = negotiateDeflate(req.header["Sec-Websocket-Extensions"]); !ok {
			c.refuse(malformedExtensions)
			return false
		}
	}
	pub := req.public()
	if a, ok := c.raw.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		pub.Remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	_, pub.TLS = c.nc.(*tls.Conn)
	d := s.cfg.Handler.Upgrade(pub)
	if f := d.refusal(req); f != nil {
		c.refuse(f)
		return false
	}
	c.deflate = extension != ""
	c.session = d.Session
	s.stats.handshaking.Add(-1)
	s.stats.conns.Add(1)
	s.stats.upgraded.Add(1)
	_, err := c.nc.Write(appendSwitching(nil, req.header["Sec-Websocket-Key"][0], d.Subprotocol, extension))
	_ = c.nc.SetDeadline(time.Time{})
	c.mu.Lock()
	c.open, c.lastRx = true, time.Now()
	c.mu.Unlock()
	if err != nil {
		c.raw.Close()
		return true // the read loop ends at once
	}
	s.cfg.Handler.Open(c.name())
	c.received(rest)
	return true
}

// refuse answers with an HTTP error and hangs up gracefully.
func (c *pconn) refuse(f *refusal) {
	c.s.stats.rejected.Add(1)
	_ = c.nc.SetDeadline(time.Now().Add(c.s.cfg.CloseTimeout))
	if _, err := c.nc.Write(f.append(nil)); err != nil {
		return
	}
	c.closeWrite()
	buf := make([]byte, 4096)
	for {
		if _, err := c.nc.Read(buf); err != nil {
			return
		}
	}
}

func (c *pconn) closeWrite() {
	if tc, ok := c.nc.(*tls.Conn); ok {
		_ = tc.CloseWrite()
	}
	if tc, ok := c.raw.(*net.TCPConn); ok {
		_ = tc.CloseWrite()
	}
}

func (c *pconn) name() Conn { return Conn{Handle: c.handle, Session: c.session} }

// readLoop reads until the connection ends. When another goroutine starts a close, it interrupts the read by a deadline
// in the past, so that Closed is called here.
func (c *pconn) readLoop() {
	buf := make([]byte, 16<<10)
	defer func() { c.parser.release() }()
	for {
		n, err := c.nc.Read(buf)
		c.mu.Lock()
		closing, code, reason, deadline, now := c.closing, c.code, c.reason, c.deadline, time.Now()
		c.lastRx, c.pingAt = now, time.Time{}
		left := c.left
		c.mu.Unlock()
		if closing && !left {
			c.leave(code, reason)
			_ = c.nc.SetReadDeadline(time.Time{}) // expire closes it
			if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && now.Before(deadline) {
				err = nil
			}
		}
		if n > 0 {
			c.s.stats.bytesIn.Add(uint64(n))
			c.received(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// received runs the parser.
func (c *pconn) received(data []byte) {
	lim := c.s.cfg.limits(c.deflate)
	lim.room = &c.s.room
	for len(data) > 0 {
		c.mu.Lock()
		last := c.last
		c.mu.Unlock()
		if last {
			return // discarded until the peer closes
		}
		ev, n, fail := c.parser.next(&lim, data)
		data = data[n:]
		if fail.code != 0 {
			c.fail(fail)
			return
		}
		if ev.kind == evNone {
			break
		}
		c.s.stats.framesIn.Add(1)
		c.event(&ev)
	}
	if c.parser.idle() {
		c.parser.reset(4 << 10)
	}
}

func (c *pconn) event(ev *event) {
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	switch {
	case ev.kind == evClose && closing:
		c.finish()
	case ev.kind == evClose:
		code := ev.code
		if code == 0 {
			code = 1005
		}
		reason := string(ev.payload)
		c.close(code, reason, newCloseFrame(ev.code, ""), false)
		c.leave(code, reason)
	case closing:
	case ev.kind == evPing:
		c.control(opPong, ev.payload)
	case ev.kind == evMessage:
		c.message(ev)
	}
}

func (c *pconn) message(ev *event) {
	h := c.s.cfg.Handler
	if !ev.deflated {
		h.Message(c.name(), ev.text, ev.payload)
		return
	}
	valid := true
	err := inflate(ev.payload, c.s.cfg.inflated(len(ev.payload)), func(p []byte) {
		if valid = !ev.text || validText(p); valid {
			h.Message(c.name(), ev.text, p)
		}
	})
	switch {
	case err == errInflateTooBig:
		c.fail(failure{CloseTooBig, "message too big"})
	case err != nil:
		c.fail(failure{CloseInvalidData, "corrupt compressed message"})
	case !valid:
		c.fail(failure{CloseInvalidData, "invalid UTF-8"})
	}
}

// fail closes the connection for an error of the peer.
func (c *pconn) fail(f failure) {
	if f.code == CloseTooBig {
		c.s.stats.tooBig.Add(1)
	} else {
		c.s.stats.protocol.Add(1)
	}
	if c.close(f.code, f.reason, newCloseFrame(f.code, f.reason), false) {
		c.leave(f.code, f.reason)
		return
	}
	c.finish()
}

// leave calls Closed once.
func (c *pconn) leave(code uint16, reason string) {
	c.mu.Lock()
	if c.left || !c.open {
		c.mu.Unlock()
		return
	}
	if c.closing {
		code, reason = c.code, c.reason
	}
	c.left, c.closing = true, true
	c.mu.Unlock()
	c.s.stats.closed(code)
	c.s.cfg.Handler.Closed(c.name(), code, reason)
}

// close queues the close frame and refuses sends from now on. If wait, the peer's close frame is waited for; if not,
// the write side is shut down behind ours. It reports false if the connection is closing already.
func (c *pconn) close(code uint16, reason string, f *Frame, wait bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closeLocked(code, reason, f, wait)
}

func (c *pconn) closeLocked(code uint16, reason string, f *Frame, wait bool) bool {
	if c.closing || !c.open {
		return false
	}
	c.closing, c.code, c.reason, c.last = true, code, reason, !wait
	c.deadline = time.Now().Add(c.s.cfg.CloseTimeout)
	if c.q.len() > 0 && wait {
		c.deadline = c.deadline.Add(c.s.cfg.QueueAge)
	}
	c.push(f.wire, Durable)
	if wait {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
	return true
}

// finish shuts down the write side behind what is queued.
func (c *pconn) finish() {
	c.mu.Lock()
	c.last = true
	c.mu.Unlock()
	c.nudge()
}

// slowLocked closes a connection that does not keep up.
func (c *pconn) slowLocked() {
	c.s.stats.slow.Add(1)
	before := c.q.bytes
	if c.q.len() > 0 {
		c.s.stats.queuedConns.Add(-1)
	}
	c.q.cut()
	c.s.queued.Add(int64(c.q.bytes - before))
	const reason = "slow consumer"
	c.closeLocked(CloseSlowConsumer, reason, newCloseFrame(CloseSlowConsumer, reason), true)
}
