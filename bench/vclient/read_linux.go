package vclient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// read takes what arrived.
func (l *Loop) read(id int32, buf []byte) {
	c := l.conn(id)
	n, err := unix.Read(int(c.fd), buf)
	switch {
	case err != nil && (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)):
		return
	case err != nil:
		l.gone(id, fmt.Errorf("vclient: read: %w", err))
		return
	case n == 0:
		l.gone(id, fmt.Errorf("vclient: %w", errEnd))
		return
	}
	b := buf[:n]
	if c.more != nil && len(c.more.in) > 0 {
		c.more.in = append(c.more.in, b...)
		b = c.more.in
	}
	gen := c.gen
	rest, err := l.input(id, gen, b)
	if c = l.conn(id); c == nil || c.gen != gen {
		return
	}
	if err != nil {
		l.gone(id, err)
		return
	}
	switch {
	case len(rest) > 0:
		if c.more == nil {
			c.more = new(buffers)
		}
		if n := len(l.spare); c.more.in == nil && n > 0 {
			c.more.in, l.spare = l.spare[n-1], l.spare[:n-1]
		}
		c.more.in = append(c.more.in[:0], rest...) // it may lie in there already: copied forward
	case c.more != nil:
		if n := cap(c.more.in); n > 0 && n <= 4*readBuf && len(l.spare) < maxSpare {
			l.spare = append(l.spare, c.more.in)
		}
		c.more.in = nil
		c.tidy()
	}
	if l.gather != nil && c.state == open {
		l.gather.Gathered(id)
	}
}

// maxSpare is how many buffers are kept for the begins of frames to come.
const maxSpare = 8

var errEnd = errors.New("the target closed the connection")

func (c *conn) tidy() {
	if m := c.more; m != nil && len(m.in) == 0 && len(m.frag) == 0 && len(m.out) == 0 {
		c.more = nil
	}
}

// input takes whole units off b and returns the rest. Handlers may close the connection meanwhile.
func (l *Loop) input(id, gen int32, b []byte) (rest []byte, err error) {
	at := time.Now()
	alive := func() *conn {
		if c := l.conn(id); c != nil && c.gen == gen {
			return c
		}
		return nil
	}
	c := alive()
	if c.state == upgrading {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			if len(b) > 16<<10 {
				return nil, fmt.Errorf("%w: its header is too long", ErrRefused)
			}
			return b, nil
		}
		head := b[:end+2]
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(": "+l.accept(id, gen)+"\r\n")) {
			line, _, _ := bytes.Cut(head, []byte("\r\n"))
			return nil, fmt.Errorf("%w: %.100q", ErrRefused, line)
		}
		c.state, c.req = open, nil
		b = b[end+4:]
		l.cfg.Handler.Opened(id)
	}
	for len(b) > 0 {
		if c = alive(); c == nil {
			return nil, nil
		}
		if c.tcp {
			unit, size, err := l.cfg.Split(b)
			if err != nil || size == 0 {
				return b, err
			}
			l.cfg.Handler.Frame(id, unit, at)
			b = b[size:]
			continue
		}
		h, err := parseHeader(b, l.cfg.Message)
		if err != nil {
			return nil, err
		}
		if h.head == 0 || len(b) < h.head+h.size {
			return b, nil
		}
		payload := b[h.head : h.head+h.size]
		b = b[h.head+h.size:]
		if err := l.frame(id, c, h, payload, at); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (l *Loop) frame(id int32, c *conn, h header, payload []byte, at time.Time) error {
	switch h.op {
	case opPing:
		return ignoreStuck(l.control(id, c, opPong, payload))
	case opPong:
		return nil
	case opClose:
		e := &CloseError{Code: 1005}
		if len(payload) >= 2 {
			e.Code, e.Reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		return e
	case opContinuation:
		if c.fragOp == 0 {
			return fmt.Errorf("%w: a continuation of nothing", ErrProtocol)
		}
		if len(c.more.frag)+len(payload) > l.cfg.Message {
			return fmt.Errorf("%w: a message of more than %d bytes", ErrProtocol, l.cfg.Message)
		}
		c.more.frag = append(c.more.frag, payload...)
		if h.fin {
			whole := c.more.frag
			c.more.frag, c.fragOp = nil, 0
			l.cfg.Handler.Frame(id, whole, at)
		}
		return nil
	}
	switch {
	case c.fragOp != 0:
		return fmt.Errorf("%w: a message within another", ErrProtocol)
	case h.fin:
		l.cfg.Handler.Frame(id, payload, at)
	default:
		if c.more == nil {
			c.more = new(buffers)
		}
		c.fragOp, c.more.frag = h.op, append([]byte(nil), payload...)
	}
	return nil
}

func ignoreStuck(err error) error {
	if errors.Is(err, ErrNoConn) {
		return nil
	}
	return err
}

// slowTick is how often a slow reader reads.
const slowTick = 100 * time.Millisecond

// SlowDown has a connection read so many bytes a second and no more, from now on; 0: as fast as it can again.
func (l *Loop) SlowDown(id int32, bytesPerSecond int) {
	c := l.conn(id)
	if c == nil {
		return
	}
	if bytesPerSecond <= 0 {
		c.slow = 0
		l.interest(id, c)
		return
	}
	c.slow = int32(max(bytesPerSecond*int(slowTick)/int(time.Second), 1))
	_ = unix.SetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) // the least that the kernel gives
	l.interest(id, c)
	l.sip(id, c.gen)
}

func (l *Loop) sip(id, gen int32) {
	l.At(time.Now().Add(slowTick), func() {
		c := l.conn(id)
		if c == nil || c.gen != gen || c.slow == 0 {
			return
		}
		l.read(id, l.buf[:min(int(c.slow), len(l.buf))])
		if c = l.conn(id); c != nil && c.gen == gen && c.slow > 0 {
			l.sip(id, gen)
		}
	})
}
