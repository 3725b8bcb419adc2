//go:build !reactor_portable

package reactor

import (
	"errors"

	"golang.org/x/sys/unix"
)

// inboundBuffer is what a connection needs while a request head or a message is partial.
type inboundBuffer struct {
	parser parser
	head   []byte
	free   uint32
}

// read takes what the socket has, a bounded number of turns of it.
func (r *reactor) read(c *conn) {
	gen := c.gen
	for range readTurns {
		n, more, ok := r.receive(c)
		if !ok {
			return
		}
		if n > 0 {
			r.stats.bytesIn.Add(uint64(n))
			c.lastRx = r.now
			c.flags &^= flPinged
			r.received(c, r.buf[:n])
			if !r.holds(c, gen) {
				return
			}
		}
		if !more {
			return
		}
	}
	if c.flags&flAgain == 0 {
		c.flags |= flAgain
		r.again = append(r.again, r.handle(c))
	}
}

// receive reads into r.buf. more says that another read is worth trying; ok is false when the connection ended or
// there is nothing.
func (r *reactor) receive(c *conn) (n int, more, ok bool) {
	if c.tls != 0 {
		return r.receiveTLS(c)
	}
	n, errno := recv(c.fd, r.buf)
	switch {
	case errno == unix.EAGAIN:
		return 0, false, false
	case errno == unix.EINTR:
		return 0, true, true
	case errno != 0:
		r.lost(c)
		return 0, false, false
	case n == 0:
		r.eof(c)
		return 0, false, false
	}
	// A short read has drained the socket; only an end of stream may be behind it.
	return n, n == len(r.buf) || c.flags&flEOF != 0, true
}

// eof handles the end of the peer's stream.
func (r *reactor) eof(c *conn) {
	c.flags |= flEOF
	if c.state == stFlush && c.out != 0 {
		return // it may still read what is queued; the deadline runs
	}
	r.lost(c)
}

// received hands bytes to the state that the connection is in.
func (r *reactor) received(c *conn, data []byte) {
	switch c.state {
	case stHead:
		r.readHead(c, data)
	case stOpen, stClose:
		r.readFrames(c, data)
	}
}

// readFrames runs the parser over data. The scratch parser is lent to connections that hold nothing partial, and given
// to them when they end in the middle of something.
func (r *reactor) readFrames(c *conn, data []byte) {
	gen := c.gen
	in := r.scratch
	if c.in != 0 {
		in = r.inbound[c.in-1]
	}
	lim := r.s.cfg.limits(c.flags&flDeflate != 0)
	lim.room = &r.s.room
	for {
		ev, n, fail := in.parser.next(&lim, data)
		data = data[n:]
		if fail.code != 0 {
			if c.in == 0 {
				in.parser.reset(maxPooled)
			}
			if r.settle(c) {
				r.fail(c, fail)
			}
			return
		}
		if ev.kind == evNone {
			break
		}
		r.stats.framesIn.Add(1)
		r.event(c, &ev)
		if !r.holds(c, gen) || c.state != stOpen && c.state != stClose {
			if in == r.scratch {
				in.parser.reset(maxPooled)
			}
			return
		}
	}
	switch {
	case in.parser.idle():
		in.parser.reset(maxPooled)
		if c.in != 0 {
			r.freeInbound(c)
		}
	case c.in == 0:
		r.lendScratch(c)
	}
}

// event acts on one message or control frame.
func (r *reactor) event(c *conn, ev *event) {
	switch ev.kind {
	case evClose:
		if r.settle(c) {
			r.peerClosed(c, ev.code, string(ev.payload))
		}
	case evPing:
		if r.settle(c) && c.state == stOpen {
			r.control(c, opPong, ev.payload)
		}
	case evMessage:
		if c.state == stOpen {
			r.message(c, ev)
		}
	}
}

func (r *reactor) message(c *conn, ev *event) {
	name := Conn{Handle: r.handle(c), Session: c.session}
	if !ev.deflated {
		r.s.cfg.Handler.Message(name, ev.text, ev.payload)
		return
	}
	valid := true
	err := inflate(ev.payload, r.s.cfg.inflated(len(ev.payload)), func(p []byte) {
		if valid = !ev.text || validText(p); valid {
			r.s.cfg.Handler.Message(name, ev.text, p)
		}
	})
	switch {
	case err == nil && valid:
	case !r.settle(c): // nothing is left to fail
	case errors.Is(err, errInflateTooBig):
		r.fail(c, failure{CloseTooBig, "message too big"})
	case err != nil:
		r.fail(c, failure{CloseInvalidData, "corrupt compressed message"})
	case !valid:
		r.fail(c, failure{CloseInvalidData, "invalid UTF-8"})
	}
}

// control writes a control frame, past the queue's limits but not without any.
func (r *reactor) control(c *conn, op byte, payload []byte) {
	if c.out != 0 && r.queues[c.out-1].len() >= 2*r.s.cfg.QueueFrames {
		r.slow(c) // it sends pings and does not read the answers
		return
	}
	b := append(appendHeader(r.out[:0], bitFin|op, len(payload)), payload...)
	r.out = b[:0]
	r.put(c, b, true)
}

// put writes b or queues a copy of what is left, without asking the limits.
func (r *reactor) put(c *conn, b []byte, copied bool) {
	n := 0
	if c.out == 0 {
		var ok bool
		if n, ok = r.write(c, b); !ok || n == len(b) {
			return
		}
	}
	if copied {
		b = append([]byte(nil), b...)
	}
	q := r.queueOf(c)
	it := item{b: b, since: r.now}
	q.push(it)
	r.s.queued.Add(int64(len(b)))
	if n > 0 {
		q.written(n)
		r.s.queued.Add(-int64(n))
	}
}

// write hands bytes to the socket and returns how many it took. If the connection broke, it is gone and ok is false.
func (r *reactor) write(c *conn, b []byte) (n int, ok bool) {
	if c.tls != 0 {
		return r.writeTLS(c, b)
	}
	n, errno := send(c.fd, b)
	switch errno {
	case 0:
		r.stats.sends.Add(1)
		r.stats.bytesOut.Add(uint64(n))
		return n, true
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return 0, true
	}
	r.lost(c)
	return 0, false
}

// flush writes as much of the queue as the socket takes.
func (r *reactor) flush(c *conn) {
	if c.tls != 0 {
		r.flushTLS(c)
		return
	}
	q := r.queues[c.out-1]
	for q.len() > 0 {
		n, want, errno := r.flushOnce(c, q)
		switch errno {
		case 0:
			r.stats.sends.Add(1)
			r.stats.bytesOut.Add(uint64(n))
			r.s.queued.Add(-int64(n))
			q.written(n)
			if n < want {
				return // the socket is full; EPOLLOUT follows
			}
		case unix.EINTR:
		case unix.EAGAIN:
			return
		default:
			r.lost(c)
			return
		}
	}
	r.freeQueue(c)
	r.flushed(c)
}

func (r *reactor) flushOnce(c *conn, q *queue) (n, want int, errno unix.Errno) {
	k := 0
	for i := q.head; i < len(q.items) && k < len(r.iov); i++ {
		b := q.items[i].b
		if i == q.head {
			b = b[q.off:]
		}
		want += len(b)
		r.iov[k].Base = &b[0]
		r.iov[k].SetLen(len(b))
		k++
	}
	n, errno = sendmsg(c.fd, r.iov[:k])
	clear(r.iov[:k])
	return n, want, errno
}

// queueOf returns the connection's queue, a new one if it has none.
func (r *reactor) queueOf(c *conn) *queue {
	if c.out != 0 {
		return r.queues[c.out-1]
	}
	if r.freeQ == 0 {
		r.queues = append(r.queues, &queue{})
		r.freeQ = uint32(len(r.queues))
	}
	c.out = r.freeQ
	q := r.queues[c.out-1]
	r.freeQ, q.free = q.free, 0
	q.fd, q.since = c.fd, r.now
	r.stats.queuedConns.Add(1)
	if c.state == stOpen {
		if due := r.after(r.s.cfg.QueueAge); !c.linked || int32(due-c.due) < 0 {
			r.schedule(c, due)
		}
	}
	return q
}

func (r *reactor) freeQueue(c *conn) {
	if c.out == 0 {
		return
	}
	q := r.queues[c.out-1]
	r.s.queued.Add(-int64(q.bytes))
	q.reset()
	q.fd = -1
	q.free, r.freeQ = r.freeQ, c.out
	c.out = 0
	r.stats.queuedConns.Add(-1)
}

// lendScratch gives the scratch buffer to c and takes a pooled one as the new scratch.
func (r *reactor) lendScratch(c *conn) {
	if r.freeIn == 0 {
		r.inbound = append(r.inbound, &inboundBuffer{})
		r.freeIn = uint32(len(r.inbound))
	}
	c.in = r.freeIn
	fresh := r.inbound[c.in-1]
	r.freeIn, fresh.free = fresh.free, 0
	r.inbound[c.in-1], r.scratch = r.scratch, fresh
}

func (r *reactor) freeInbound(c *conn) {
	if c.in == 0 {
		return
	}
	in := r.inbound[c.in-1]
	in.parser.reset(4 << 10)
	in.head = in.head[:0]
	if cap(in.head) > 4<<10 {
		in.head = nil
	}
	in.free, r.freeIn = r.freeIn, c.in
	c.in = 0
}
