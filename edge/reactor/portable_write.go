//go:build !linux || reactor_portable

package reactor

import (
	"errors"
	"net"
	"os"
	"time"
)

// send queues a frame within the limits.
func (c *pconn) send(f *Frame, class Class) error {
	total, err := c.offer(f, class)
	if total > c.s.cfg.QueueTotal {
		c.s.closeLargest()
	}
	return err
}

// offer queues a frame and returns the bytes in all queues.
func (c *pconn) offer(f *Frame, class Class) (total int64, err error) {
	cfg := &c.s.cfg
	b := f.bytes(c.deflate, cfg.CompressThreshold)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || !c.open {
		return 0, ErrClosed
	}
	before, n := c.q.bytes, c.q.len()
	v, dropped := c.q.offer(queueLimits{cfg.QueueBytes, cfg.QueueFrames}, item{b: b, class: class})
	c.s.stats.shed.Add(uint64(dropped))
	total = c.s.queued.Add(int64(c.q.bytes - before))
	switch v {
	case shed:
		c.s.stats.shed.Add(1)
		return total, nil
	case overflow:
		c.slowLocked()
		return total, ErrClosed
	}
	if n == 0 {
		c.s.stats.queuedConns.Add(1)
	}
	c.s.stats.framesOut.Add(1)
	c.nudge()
	return total, nil
}

func (c *pconn) control(op byte, payload []byte) {
	b := append(appendHeader(nil, bitFin|op, len(payload)), payload...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.q.len() >= 2*c.s.cfg.QueueFrames {
		c.slowLocked()
		return
	}
	if !c.closing {
		c.push(b, Durable)
	}
}

// push queues past the limits.
func (c *pconn) push(b []byte, class Class) {
	if c.q.len() == 0 {
		c.s.stats.queuedConns.Add(1)
	}
	c.q.push(item{b: b, class: class})
	c.s.queued.Add(int64(len(b)))
	c.nudge()
}

func (c *pconn) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// writeLoop is the writer goroutine: it sends what is queued, joined up to a batch.
func (c *pconn) writeLoop() {
	var batch []byte
	for {
		batch = batch[:0]
		c.mu.Lock()
		for c.q.len() > 0 && (len(batch) == 0 || len(batch)+len(c.q.first().b) <= 16<<10) {
			b := c.q.first().b
			batch = append(batch, b...)
			c.q.written(len(b))
		}
		c.s.queued.Add(-int64(len(batch)))
		if len(batch) > 0 && c.q.len() == 0 {
			c.s.stats.queuedConns.Add(-1)
		}
		last := c.last && c.q.len() == 0
		c.mu.Unlock()
		if len(batch) > 0 {
			_ = c.nc.SetWriteDeadline(time.Now().Add(c.s.cfg.QueueAge))
			n, err := c.nc.Write(batch)
			c.s.stats.sends.Add(1)
			c.s.stats.bytesOut.Add(uint64(n))
			if err != nil {
				c.broken(batch[n:], err)
				return
			}
		}
		if last {
			c.closeWrite()
			return
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
	}
}

// broken ends the connection after a failed write, of which rest is left. One that failed by its deadline is
// a slow consumer's: it is told so if it reads on before the next deadline.
func (c *pconn) broken(rest []byte, err error) {
	defer c.raw.Close()
	c.mu.Lock()
	slow := errors.Is(err, os.ErrDeadlineExceeded) && !c.closing
	if slow {
		c.slowLocked()
		c.last = true
		for c.q.len() > 0 { // the close frame
			b := c.q.first().b
			rest = append(rest, b...)
			c.q.written(len(b))
			c.s.queued.Add(-int64(len(b)))
		}
		c.s.stats.queuedConns.Add(-1)
	}
	c.mu.Unlock()
	tc, ok := c.nc.(*net.TCPConn)
	if !slow || !ok { // crypto/tls does not go on after a failed write
		return
	}
	_ = tc.SetWriteDeadline(time.Now().Add(c.s.cfg.CloseTimeout))
	if _, err := tc.Write(rest); err != nil {
		_ = tc.SetLinger(0)
		return
	}
	c.closeWrite()
	<-c.done // the peer's end, or the deadline of expire
}

// expire pings a silent peer, and ends one that stays silent or does not close in time.
func (c *pconn) expire(now time.Time) {
	cfg := &c.s.cfg
	c.mu.Lock()
	ping := false
	switch {
	case !c.open:
	case c.closing:
		if now.After(c.deadline) && !c.deadline.IsZero() {
			c.raw.Close()
		}
	case cfg.PingInterval <= 0:
	case c.pingAt.IsZero():
		if ping = now.Sub(c.lastRx) >= cfg.PingInterval; ping {
			c.pingAt = now
		}
	case now.Sub(c.pingAt) >= cfg.PongTimeout:
		c.s.stats.halfOpen.Add(1)
		c.raw.Close()
	}
	c.mu.Unlock()
	if ping {
		c.s.stats.pings.Add(1)
		c.control(opPing, nil)
	}
}
