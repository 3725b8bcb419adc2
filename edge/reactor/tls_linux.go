//go:build !reactor_portable

package reactor

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// TLS is stock crypto/tls over a net.Conn that never blocks once the handshake is over. It relies on one property
// of crypto/tls: a read error that is a net.Error with Temporary() == true is not remembered, and a partial record is
// kept for the next Read. A test pins it by splitting records at every byte. Writes never fail for want of space:
// the rest of the ciphertext is kept and flushed like a queue.
//
// Only the handshake borrows a goroutine. While it runs (stTLS with a TLS state), the goroutine alone uses the descriptor
// and the reactor only passes edges on; the reactor closes it after the goroutine has reported back.

// maxHandshakes bounds the TLS handshakes that run at a time.
const maxHandshakes = 1024

// tlsState is what a TLS connection has beyond its record.
type tlsState struct {
	conn *tls.Conn
	shim *shim
	err  error // of the handshake
}

// startTLS makes c wait for its first bytes; a handshake begins with the client's.
func (r *reactor) startTLS(c *conn) { c.state = stTLS }

// tlsReady handles an edge during the handshake.
func (r *reactor) tlsReady(c *conn) {
	if c.tls != 0 {
		r.tls[c.tls-1].shim.edge()
		return
	}
	sh := &shim{fd: c.fd, r: r, ready: make(chan struct{}, 1), dead: make(chan struct{})}
	t := &tlsState{shim: sh, conn: tls.Server(sh, r.s.cfg.TLS)}
	if n := len(r.freeTLS); n > 0 {
		c.tls, r.freeTLS = r.freeTLS[n-1], r.freeTLS[:n-1]
		r.tls[c.tls-1] = t
	} else {
		r.tls = append(r.tls, t)
		c.tls = uint32(len(r.tls))
	}
	h, timeout := r.handle(c), r.s.cfg.HandshakeTimeout
	r.handshakes.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, timeout)
		defer cancel()
		select {
		case r.s.tlsSlots <- struct{}{}:
			t.err = t.conn.HandshakeContext(ctx)
			<-r.s.tlsSlots
		case <-ctx.Done():
			t.err = ctx.Err()
		}
		r.inbox.force(op{kind: opTLSReady, h: h})
	})
}

// tlsDone takes the connection back from the handshake's goroutine.
func (r *reactor) tlsDone(h Handle) {
	c := r.find(h)
	if c == nil || c.state != stTLS || c.tls == 0 {
		return
	}
	t := r.tls[c.tls-1]
	if t.err != nil {
		if errors.Is(t.err, context.DeadlineExceeded) {
			r.stats.timeouts.Add(1)
		}
		r.stats.rejected.Add(1)
		r.drop(c)
		return
	}
	c.state = stHead
	t.shim.park()
	if r.blocked(c, t) {
		return
	}
	r.read(c)
}

// receiveTLS reads decrypted bytes. There is always more until crypto/tls has asked the socket in vain.
func (r *reactor) receiveTLS(c *conn) (n int, more, ok bool) {
	t := r.tls[c.tls-1]
	n, err := t.conn.Read(r.buf)
	if r.blocked(c, t) {
		return 0, false, false
	}
	switch {
	case n > 0:
		return n, true, true
	case err == nil:
		return 0, true, true
	case errors.Is(err, errAgain):
		releaseBuffers(t.conn)
		return 0, false, false
	case errors.Is(err, io.EOF):
		r.eof(c)
	default:
		r.lost(c)
	}
	return 0, false, false
}

// blocked is called after any use of crypto/tls, which may have written. It attaches a queue when ciphertext is
// left, so that EPOLLOUT and the queue's age apply; it reports true if the connection broke and is gone.
func (r *reactor) blocked(c *conn, t *tlsState) (gone bool) {
	if t.shim.broken {
		r.lost(c)
		return true
	}
	if len(t.shim.pending) > 0 && c.out == 0 {
		r.queueOf(c)
	}
	return false
}

// writeTLS encrypts b as a whole. What the socket does not take is kept as ciphertext.
func (r *reactor) writeTLS(c *conn, b []byte) (n int, ok bool) {
	t := r.tls[c.tls-1]
	if _, err := t.conn.Write(b); err != nil {
		r.lost(c)
		return 0, false
	}
	if r.blocked(c, t) {
		return 0, false
	}
	return len(b), true
}

// flushTLS sends what is left of ciphertext, then encrypts what is queued.
func (r *reactor) flushTLS(c *conn) {
	t, q := r.tls[c.tls-1], r.queues[c.out-1]
	t.shim.flush()
	for !t.shim.broken && len(t.shim.pending) == 0 && q.len() > 0 {
		b := q.first().b
		r.s.queued.Add(-int64(len(b)))
		_, err := t.conn.Write(b)
		q.written(len(b))
		if err != nil {
			t.shim.broken = true
		}
	}
	if t.shim.broken {
		r.lost(c)
		return
	}
	if len(t.shim.pending) > 0 {
		return
	}
	r.freeQueue(c)
	r.flushed(c)
}

// closeNotify ends the TLS stream; it reports whether the alert has left.
func (r *reactor) closeNotify(c *conn) bool {
	if c.tls == 0 {
		return true
	}
	t := r.tls[c.tls-1]
	_ = t.conn.CloseWrite() // says so itself when called again
	if t.shim.broken {
		return true
	}
	if len(t.shim.pending) > 0 && c.out == 0 {
		r.queueOf(c)
	}
	return c.out == 0
}

func (r *reactor) freeTLSState(c *conn) {
	if c.tls != 0 {
		r.tls[c.tls-1] = nil
		r.freeTLS = append(r.freeTLS, c.tls)
		c.tls = 0
	}
}

// handOverTLS gives an established TLS connection to net/http.
func (r *reactor) handOverTLS(c *conn, data []byte) {
	t := r.tls[c.tls-1]
	inner, err := r.detach(c)
	if err != nil {
		r.s.cfg.Logger.Warn("connection not handed to net/http", "err", err)
		r.s.total.Add(-1)
		return
	}
	t.shim.inner = inner
	state := t.conn.ConnectionState()
	r.stats.http.Add(1)
	r.s.web.give(&webConn{Conn: t.conn, replay: data, tlsState: &state, done: func() { r.s.total.Add(-1) }})
}

// shim is the net.Conn under a tls.Conn. It blocks during the handshake, on edges passed on by the reactor; after that
// it is parked: reads report errAgain, writes keep what the socket does not take. Handed to net/http, it is
// an ordinary connection.
type shim struct {
	fd      int32
	r       *reactor
	ready   chan struct{}
	dead    chan struct{}
	closed  bool
	parked  bool
	broken  bool
	pending []byte
	inner   net.Conn
}

// againError is what a parked shim answers when the socket is drained.
type againError struct{}

var errAgain error = againError{}

func (againError) Error() string   { return "reactor: try again" }
func (againError) Timeout() bool   { return true }
func (againError) Temporary() bool { return true }

// park ends the time of the handshake's goroutine.
func (s *shim) park() {
	s.parked = true
	s.ready, s.dead = nil, nil
}

// edge wakes the handshake's goroutine.
func (s *shim) edge() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *shim) wait() error {
	select {
	case <-s.ready:
		return nil
	case <-s.dead:
		return net.ErrClosed
	}
}

// Read implements net.Conn.
func (s *shim) Read(b []byte) (int, error) {
	if s.inner != nil {
		return s.inner.Read(b)
	}
	for {
		n, errno := recv(s.fd, b)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && s.parked:
			return 0, errAgain
		case errno == unix.EAGAIN:
			if err := s.wait(); err != nil {
				return 0, err
			}
		case errno != 0:
			return 0, os.NewSyscallError("recv", errno)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write implements net.Conn.
func (s *shim) Write(b []byte) (int, error) {
	if s.inner != nil {
		if len(s.pending) > 0 {
			p := s.pending
			s.pending = nil
			if _, err := s.inner.Write(p); err != nil {
				return 0, err
			}
		}
		return s.inner.Write(b)
	}
	if s.parked {
		s.pending = append(s.pending, b...)
		if len(s.pending) == len(b) {
			s.flush()
		}
		if s.broken {
			return 0, net.ErrClosed
		}
		return len(b), nil
	}
	total := len(b)
	for len(b) > 0 {
		n, errno := send(s.fd, b)
		switch errno {
		case 0:
			b = b[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			if err := s.wait(); err != nil {
				return total - len(b), err
			}
		default:
			return total - len(b), os.NewSyscallError("send", errno)
		}
	}
	return total, nil
}

// flush sends pending ciphertext as far as the socket takes it.
func (s *shim) flush() {
	p := s.pending
	for len(p) > 0 {
		n, errno := send(s.fd, p)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			s.broken = errno != unix.EAGAIN
			break
		}
		s.r.stats.sends.Add(1)
		s.r.stats.bytesOut.Add(uint64(n))
		p = p[n:]
	}
	switch {
	case len(p) == 0:
		s.pending = nil
	case len(p) < len(s.pending):
		s.pending = append(s.pending[:0], p...)
	}
}

// Close implements net.Conn. The descriptor is the reactor's, or inner's.
func (s *shim) Close() error {
	if s.inner != nil {
		return s.inner.Close()
	}
	if !s.closed { // by one goroutine: HandshakeContext's, or the reactor's
		if s.closed = true; s.dead != nil {
			close(s.dead)
		}
	}
	return nil
}

// LocalAddr implements net.Conn.
func (s *shim) LocalAddr() net.Addr { return s.r.s.addr }

// RemoteAddr implements net.Conn.
func (s *shim) RemoteAddr() net.Addr {
	if s.inner != nil {
		return s.inner.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(peerName(s.fd))
}

// SetDeadline implements net.Conn. Off net/http, deadlines are the wheel's.
func (s *shim) SetDeadline(t time.Time) error {
	if s.inner != nil {
		return s.inner.SetDeadline(t)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *shim) SetReadDeadline(t time.Time) error {
	if s.inner != nil {
		return s.inner.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *shim) SetWriteDeadline(t time.Time) error {
	if s.inner != nil {
		return s.inner.SetWriteDeadline(t)
	}
	return nil
}
