//go:build !reactor_portable

package reactor

import (
	"golang.org/x/sys/unix"
)

// leave takes c out of the open state and tells the handler, once.
func (r *reactor) leave(c *conn, code uint16, reason string) {
	if c.state != stOpen {
		return
	}
	c.live.Store(0)
	c.state = stClose
	r.stats.closed(code)
	r.s.cfg.Handler.Closed(Conn{Handle: r.handle(c), Session: c.session}, code, reason)
}

// closeWith starts the closing handshake behind what is queued (RFC 6455 §7.1.2).
func (r *reactor) closeWith(c *conn, code uint16, f *Frame) {
	reason := ""
	if p := f.Payload(); len(p) > 2 {
		reason = string(p[2:])
	}
	if code == 0 {
		code = CloseNormal
	}
	r.leave(c, code, reason)
	c.deadline = r.after(r.s.cfg.CloseTimeout)
	if c.out != 0 { // what is queued has its own time
		c.deadline += r.ticks(r.s.cfg.QueueAge)
	}
	r.schedule(c, c.deadline)
	r.final(c, f.wire, stClose)
}

// fail sends a close frame for an error of the peer and hangs up (RFC 6455 §7.1.7).
func (r *reactor) fail(c *conn, f failure) {
	if f.code == CloseTooBig {
		r.stats.tooBig.Add(1)
	} else {
		r.stats.protocol.Add(1)
	}
	if c.state != stOpen { // our close frame is under way already
		r.final(c, nil, stFlush)
		return
	}
	r.leave(c, f.code, f.reason)
	c.deadline = r.after(r.s.cfg.CloseTimeout)
	r.schedule(c, c.deadline)
	r.final(c, newCloseFrame(f.code, f.reason).wire, stFlush)
}

// peerClosed answers the peer's close frame, or completes our own handshake.
func (r *reactor) peerClosed(c *conn, code uint16, reason string) {
	if c.state == stClose {
		r.final(c, nil, stFlush)
		return
	}
	reported := code
	if code == 0 {
		reported = 1005 // RFC 6455 §7.1.5
	}
	r.leave(c, reported, reason)
	c.deadline = r.after(r.s.cfg.CloseTimeout)
	r.schedule(c, c.deadline)
	r.final(c, newCloseFrame(code, "").wire, stFlush)
}

// slow closes a connection that does not keep up. What was not begun is discarded: the peer has a prefix and resumes.
// The close frame goes out if the peer reads on before the deadline, which then resets the connection.
func (r *reactor) slow(c *conn) {
	if c.state != stOpen {
		return
	}
	r.stats.slow.Add(1)
	const reason = "slow consumer"
	r.leave(c, CloseSlowConsumer, reason)
	if c.out != 0 {
		q := r.queues[c.out-1]
		before := q.bytes
		q.cut()
		r.s.queued.Add(int64(q.bytes - before))
	}
	c.flags |= flHard
	c.deadline = r.after(r.s.cfg.CloseTimeout)
	r.schedule(c, c.deadline)
	r.final(c, newCloseFrame(CloseSlowConsumer, reason).wire, stClose)
}

// final writes or queues the last bytes of a connection and goes to the given state.
func (r *reactor) final(c *conn, b []byte, next connState) {
	gen := c.gen
	c.state = next
	if len(b) > 0 {
		r.put(c, b, false)
		if !r.holds(c, gen) {
			return
		}
	}
	if c.out == 0 {
		r.flushed(c)
	}
}

// flushed is called when the queue of a connection has become empty.
func (r *reactor) flushed(c *conn) {
	switch c.state {
	case stClose:
		c.deadline = r.after(r.s.cfg.CloseTimeout)
		r.schedule(c, c.deadline)
	case stFlush:
		if c.flags&flEOF != 0 {
			r.lost(c)
			return
		}
		if !r.closeNotify(c) {
			return // called again when it has left
		}
		_ = unix.Shutdown(int(c.fd), unix.SHUT_WR)
		c.state = stDrain
		c.deadline = r.after(r.s.cfg.CloseTimeout)
		r.schedule(c, c.deadline)
	}
}

// lost ends a connection at once, whatever its state.
func (r *reactor) lost(c *conn) {
	r.leave(c, CloseAbnormal, "")
	r.drop(c)
}

// drop frees the record and closes the descriptor. The generation is taken out of use first.
func (r *reactor) drop(c *conn) {
	fd := r.forget(c)
	unix.Close(fd)
	r.s.total.Add(-1)
}

// forget frees the record and returns the descriptor, which is the caller's from then on.
func (r *reactor) forget(c *conn) int {
	switch c.state {
	case stFree:
		panic("reactor: connection dropped twice")
	case stTLS, stHead:
		r.stats.handshaking.Add(-1)
	default:
		if c.flags&flUpgraded != 0 {
			r.stats.conns.Add(-1)
			if c.flags&flDeflate != 0 {
				r.s.deflate.Add(-1)
			}
		} else {
			r.stats.handshaking.Add(-1)
		}
	}
	r.unlink(c)
	r.freeQueue(c)
	r.freeInbound(c)
	r.freeTLSState(c)
	fd := int(c.fd)
	c.live.Store(0)
	c.state = stFree
	c.owner.Store(0) // last: publishes the record to the next owner
	return fd
}

// expire is called by the wheel when a connection is due.
func (r *reactor) expire(c *conn) {
	switch c.state {
	case stOpen:
		r.expireOpen(c)
		return
	case stFree:
		return
	}
	if int32(c.deadline-r.now) > 0 {
		r.schedule(c, c.deadline)
		return
	}
	switch c.state {
	case stTLS:
		if c.tls != 0 { // the goroutine has its own deadline and reports back
			r.schedule(c, r.after(r.s.cfg.HandshakeTimeout))
			return
		}
		r.stats.timeouts.Add(1)
		r.drop(c)
	case stHead:
		r.stats.timeouts.Add(1)
		r.refuseUpgrade(c, &refusal{status: 408, body: "request head not complete in time"})
	default:
		if c.flags&flHard != 0 {
			// Frees what the kernel holds for a peer that will not read it.
			_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		r.drop(c)
	}
}

// expireOpen closes a peer that is slow or silent, pings one that may be, and schedules the next look.
func (r *reactor) expireOpen(c *conn) {
	cfg := &r.s.cfg
	never := r.now + 1<<30
	due := never
	if c.out != 0 {
		q := r.queues[c.out-1]
		if at := q.oldest() + r.ticks(cfg.QueueAge) + 1; int32(at-r.now) <= 0 {
			r.slow(c)
			return
		} else if int32(at-due) < 0 {
			due = at
		}
	}
	if cfg.PingInterval > 0 {
		at := c.lastRx + r.ticks(cfg.PingInterval)
		if c.flags&flPinged == 0 && int32(at-r.now) <= 0 {
			c.flags |= flPinged
			c.pingAt = r.now
			r.stats.pings.Add(1)
			gen := c.gen
			if r.control(c, opPing, nil); !r.holds(c, gen) || c.state != stOpen {
				return
			}
		}
		if c.flags&flPinged != 0 {
			at = c.pingAt + r.ticks(cfg.PongTimeout) + 1
			if int32(at-r.now) <= 0 {
				r.stats.halfOpen.Add(1)
				c.flags |= flHard
				r.lost(c)
				return
			}
		}
		if int32(at-due) < 0 {
			due = at
		}
	}
	if due == never {
		due = r.now + wheelSlots
	}
	if c.linked && int32(due-c.due) > 0 {
		return // a queue attached meanwhile is due earlier
	}
	r.schedule(c, due)
}
