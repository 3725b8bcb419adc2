package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// session is one run of a case: it opens connections and closes them at the end.
type session struct {
	ctx    context.Context
	target Target
	conns  []*conn
}

func (s *session) close() {
	for _, c := range s.conns {
		c.close()
	}
}

// dial connects, without a handshake.
func (s *session) dial() (*conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(s.ctx, "tcp", s.target.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if s.target.TLS != nil {
		tc := tls.Client(nc, s.target.TLS)
		if err := tc.HandshakeContext(s.ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		nc = tc
	}
	if deadline, ok := s.ctx.Deadline(); ok {
		if err := nc.SetDeadline(deadline); err != nil {
			nc.Close()
			return nil, fmt.Errorf("set deadline: %w", err)
		}
	}
	c := &conn{nc: nc, br: bufio.NewReaderSize(nc, 64<<10), out: make(chan write, 64), done: make(chan struct{}), stop: make(chan struct{})}
	// A cancelled case must not wait for its deadline.
	c.unwatch = context.AfterFunc(s.ctx, func() {
		if errors.Is(s.ctx.Err(), context.Canceled) {
			_ = nc.SetDeadline(time.Unix(1, 0))
		}
	})
	go c.writeLoop()
	s.conns = append(s.conns, c)
	return c, nil
}

// write is something to send, in pieces of at most chop bytes; zero: in one piece.
type write struct {
	data []byte
	chop int
}

// conn is a client connection. What is sent goes through a goroutine, so that a case can read what the server
// answers although the server has stopped to read.
type conn struct {
	nc   net.Conn
	br   *bufio.Reader
	out  chan write
	stop chan struct{} // closed by close
	done chan struct{} // closed when writeLoop has returned
	once sync.Once
	// unwatch ends the watch over the case's context.
	unwatch func() bool

	ext      extension
	inflate  inflater // of the server's messages
	compress compressor
	message  assembly
	closed   bool // a close frame was received
}

// pacedPieces is how many pieces of one write are sent with a pause after each. Those hit the frame header and
// the first bytes of the payload, where being read one by one matters.
const pacedPieces = 160

// pause is just long enough to let another thread read a piece before the next follows.
const pause = 20 * time.Microsecond

func (c *conn) writeLoop() {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			return
		case w := <-c.out:
			size := w.chop
			if size <= 0 {
				size = max(len(w.data), 1)
			}
			for i := 0; len(w.data) > 0; i++ {
				n := min(size, len(w.data))
				// The server may have closed already, legally. What it sent before decides.
				if _, err := c.nc.Write(w.data[:n]); err != nil {
					c.drain()
					return
				}
				w.data = w.data[n:]
				if w.chop > 0 && i < pacedPieces {
					time.Sleep(pause)
				}
			}
		}
	}
}

// drain discards what is sent to a connection that cannot be written to any more.
func (c *conn) drain() {
	for {
		select {
		case <-c.stop:
			return
		case <-c.out:
		}
	}
}

// close ends the connection abruptly, and its goroutine.
func (c *conn) close() {
	c.once.Do(func() {
		c.unwatch()
		close(c.stop)
		c.nc.Close()
		<-c.done
	})
}

// send queues bytes to be written in pieces of at most chop bytes; zero: in one piece.
func (c *conn) send(data []byte, chop int) {
	c.out <- write{data: data, chop: chop}
}

// kind of an event.
type kind uint8

const (
	evMessage kind = iota
	evPing
	evPong
	evClose
	evEnd // of the TCP stream
)

// event is something whole that the server did.
type event struct {
	kind       kind
	op         byte // of a message
	payload    []byte
	code       uint16 // of a close frame; 0: none
	compressed bool
	reset      bool // the stream ended by a reset
}

func (e event) String() string {
	switch e.kind {
	case evMessage:
		return fmt.Sprintf("a %s message of %d bytes %s", opName(e.op), len(e.payload), excerpt(e.payload))
	case evPing:
		return fmt.Sprintf("a ping %s", excerpt(e.payload))
	case evPong:
		return fmt.Sprintf("a pong %s", excerpt(e.payload))
	case evClose:
		if e.code == 0 {
			return "a close frame without a code"
		}
		return fmt.Sprintf("a close frame %d %q", e.code, e.payload)
	}
	if e.reset {
		return "a reset of the TCP connection"
	}
	return "the end of the TCP connection"
}

func excerpt(p []byte) string {
	if len(p) > 32 {
		return fmt.Sprintf("%q…", p[:32])
	}
	return fmt.Sprintf("%q", p)
}

// assembly is a message of which frames are missing.
type assembly struct {
	active     bool
	op         byte
	compressed bool
	data       []byte
}

// protocolError is something that the server must not send.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return "the server violates the protocol: " + e.what }

func violation(format string, args ...any) error { return &protocolError{fmt.Sprintf(format, args...)} }

// next returns what the server does next. Anything that a server must not send is an error.
func (c *conn) next() (event, error) {
	for {
		e, ok, err := c.frame()
		if err != nil || ok {
			return e, err
		}
	}
}

// frame reads one frame; ok says that an event is complete.
func (c *conn) frame() (e event, ok bool, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c.br, head[:1]); err != nil {
		return ended(err)
	}
	if c.closed {
		return e, false, violation("data after its close frame (first byte %#02x)", head[0])
	}
	if _, err := io.ReadFull(c.br, head[1:]); err != nil {
		return e, false, truncated(err)
	}
	fin, rsv, op := head[0]&0x80 != 0, head[0]&0x70, head[0]&0x0F
	if head[1]&0x80 != 0 {
		return e, false, violation("a masked frame")
	}
	n := uint64(head[1] & 0x7F)
	switch n {
	case 126:
		var l [2]byte
		if _, err := io.ReadFull(c.br, l[:]); err != nil {
			return e, false, truncated(err)
		}
		if n = uint64(binary.BigEndian.Uint16(l[:])); n < 126 {
			return e, false, violation("length %d in 16 bits", n)
		}
	case 127:
		var l [8]byte
		if _, err := io.ReadFull(c.br, l[:]); err != nil {
			return e, false, truncated(err)
		}
		if n = binary.BigEndian.Uint64(l[:]); n < 1<<16 {
			return e, false, violation("length %d in 64 bits", n)
		}
	}
	if n > 1<<26 {
		return e, false, violation("a frame of %d bytes", n)
	}
	control := op >= opClose
	switch {
	case op > opBinary && op < opClose, op > opPong:
		return e, false, violation("reserved opcode %d", op)
	case control && !fin:
		return e, false, violation("a fragmented %s", opName(op))
	case control && n > 125:
		return e, false, violation("a %s of %d bytes", opName(op), n)
	case rsv&^rsv1 != 0, rsv != 0 && (!c.ext.on || control || op == opCont):
		return e, false, violation("reserved bits %#02x on a %s frame", rsv, opName(op))
	case op == opCont && !c.message.active:
		return e, false, violation("a continuation of nothing")
	case (op == opText || op == opBinary) && c.message.active:
		return e, false, violation("a %s frame inside a message", opName(op))
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(c.br, payload); err != nil {
		return e, false, truncated(err)
	}
	if control {
		return c.control(op, payload)
	}
	if op != opCont {
		c.message = assembly{active: true, op: op, compressed: rsv&rsv1 != 0}
	}
	c.message.data = append(c.message.data, payload...)
	if !fin {
		return e, false, nil
	}
	m := c.message
	c.message = assembly{}
	if m.compressed {
		if m.data, err = c.inflate.message(m.data); err != nil {
			return e, false, violation("a compressed message: %v", err)
		}
	}
	if m.op == opText && !utf8.Valid(m.data) {
		return e, false, violation("text that is not UTF-8")
	}
	return event{kind: evMessage, op: m.op, payload: m.data, compressed: m.compressed}, true, nil
}

func (c *conn) control(op byte, payload []byte) (e event, ok bool, err error) {
	switch op {
	case opPing:
		c.send(encode(frame{op: opPong, payload: payload}), 0)
		return event{kind: evPing, payload: payload}, true, nil
	case opPong:
		return event{kind: evPong, payload: payload}, true, nil
	}
	c.closed = true
	e = event{kind: evClose}
	if len(payload) == 1 {
		return e, false, violation("a close frame with one byte")
	}
	if len(payload) > 1 {
		e.code, e.payload = binary.BigEndian.Uint16(payload), payload[2:]
		if !legalCloseCode(e.code) {
			return e, false, violation("close code %d", e.code)
		}
		if !utf8.Valid(e.payload) {
			return e, false, violation("a close reason that is not UTF-8")
		}
	}
	return e, true, nil
}

// ended turns the error of a read between two frames into an event if the stream is over.
func ended(err error) (event, bool, error) {
	switch {
	case errors.Is(err, io.EOF):
		return event{kind: evEnd}, true, nil
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return event{kind: evEnd, reset: true}, true, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		// crypto/tls: the stream ended without close_notify.
		return event{kind: evEnd}, true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return event{}, false, errors.New("nothing arrived within the time limit")
	}
	return event{}, false, fmt.Errorf("read: %w", err)
}

func truncated(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the rest of a frame did not arrive within the time limit")
	}
	return fmt.Errorf("the stream ended inside a frame: %w", err)
}

// expect reads the next event, over pings of the server, and compares it.
func (c *conn) expect(want event) error {
	got, err := c.nextButPing()
	if err != nil {
		return fmt.Errorf("expected %v: %w", want, err)
	}
	if got.kind != want.kind || got.op != want.op || !bytes.Equal(got.payload, want.payload) {
		return fmt.Errorf("expected %v, got %v%s", want, got, firstDifference(want.payload, got.payload))
	}
	return nil
}

func firstDifference(want, got []byte) string {
	if len(want) != len(got) || len(want) <= 32 {
		return ""
	}
	for i := range want {
		if want[i] != got[i] {
			return fmt.Sprintf(" (they differ at byte %d: %#02x, %#02x)", i, want[i], got[i])
		}
	}
	return ""
}

func (c *conn) nextButPing() (event, error) {
	for {
		e, err := c.next()
		if err != nil || e.kind != evPing {
			return e, err
		}
	}
}

func (c *conn) expectMessage(op byte, payload []byte) error {
	return c.expect(event{kind: evMessage, op: op, payload: payload})
}

func (c *conn) expectPong(payload string) error {
	return c.expect(event{kind: evPong, payload: []byte(payload)})
}

// expectClose wants a close frame with one of the codes (0: no code), answers it unless answered is set, and
// wants the end of the connection.
func (c *conn) expectClose(answered bool, codes ...uint16) error {
	got, err := c.nextButPing()
	if err != nil {
		return fmt.Errorf("expected a close frame %v: %w", codes, err)
	}
	found := false
	for _, code := range codes {
		found = found || got.kind == evClose && got.code == code
	}
	if !found {
		return fmt.Errorf("expected a close frame %v, got %v", codes, got)
	}
	if !answered {
		c.send(encode(closeFrame(got.code, "")), 0)
	}
	return c.expectEnd()
}

func (c *conn) expectEnd() error {
	got, err := c.next()
	if err != nil {
		return fmt.Errorf("expected the end of the connection: %w", err)
	}
	if got.kind != evEnd {
		return fmt.Errorf("expected the end of the connection, got %v", got)
	}
	return nil
}

// closeNormally closes with 1000 and wants the same code back and the end of the connection.
func (c *conn) closeNormally() error {
	c.send(encode(closeFrame(1000, "")), 0)
	if err := c.expectClose(true, 1000); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}
