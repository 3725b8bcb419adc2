package vclient

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// gone closes a connection and tells of it.
func (l *Loop) gone(id int32, err error) {
	l.Drop(id)
	l.cfg.Handler.Closed(id, err)
}

// Write sends a message. It does not block; an error says that it will not arrive, and Closed follows if it was not told yet.
func (l *Loop) Write(id int32, payload []byte, binary bool) error {
	c := l.conn(id)
	if c == nil || c.state != open {
		return ErrNoConn
	}
	if c.tcp {
		return l.write(id, c, payload)
	}
	op := byte(opText)
	if binary {
		op = opBinary
	}
	return l.control(id, c, op, payload)
}

// WriteFrames sends messages that are encoded already, see AppendText, as Write does: what they cost was paid once.
func (l *Loop) WriteFrames(id int32, frames []byte) error {
	c := l.conn(id)
	if c == nil || c.state != open {
		return ErrNoConn
	}
	return l.write(id, c, frames)
}

func (l *Loop) control(id int32, c *conn, op byte, payload []byte) error {
	l.mask = l.mask*1664525 + 1013904223 // unpredictable enough for what the target is: the operator's own
	b := appendFrame(l.out[:0], op, l.mask, payload)
	l.out = b[:0]
	return l.write(id, c, b)
}

// write gives b to the kernel, and keeps what it does not take.
func (l *Loop) write(id int32, c *conn, b []byte) error {
	if c.more == nil || len(c.more.out) == 0 {
		n, err := unix.Write(int(c.fd), b)
		switch {
		case err == nil:
			b = b[n:]
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		default:
			l.fail(id, c.gen, fmt.Errorf("vclient: write: %w", err))
			return ErrNoConn
		}
		if len(b) == 0 {
			return nil
		}
	}
	if c.more == nil {
		c.more = new(buffers)
	}
	if len(c.more.out)+len(b) > l.cfg.Pending {
		l.fail(id, c.gen, ErrStuck)
		return ErrStuck
	}
	c.more.out = append(c.more.out, b...)
	if !c.want {
		c.want = true
		l.interest(id, c)
	}
	return nil
}

// fail closes a connection a moment later: whoever writes may be in the middle of something.
func (l *Loop) fail(id, gen int32, err error) {
	l.At(time.Now(), func() {
		if c := l.conn(id); c != nil && c.gen == gen {
			l.gone(id, err)
		}
	})
}

// flush writes what waits. False: the connection is gone.
func (l *Loop) flush(id int32, c *conn) bool {
	if c.more == nil || len(c.more.out) == 0 {
		c.want = false
		l.interest(id, c)
		return true
	}
	n, err := unix.Write(int(c.fd), c.more.out)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		l.gone(id, fmt.Errorf("vclient: write: %w", err))
		return false
	}
	c.more.out = c.more.out[max(n, 0):]
	if len(c.more.out) == 0 {
		c.more.out = nil
		c.tidy()
		c.want = false
		l.interest(id, c)
	}
	return true
}
