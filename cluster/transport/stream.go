package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zumodra/hub/chat"
)

// What is written at once is bounded so that a ping never waits for more.
const (
	flushFrames = 256
	flushBytes  = 256 << 10
	chunkBytes  = 64 << 10
	// maxSpare is how large a buffer is kept for the next time.
	maxSpare = 1 << 20
)

// traffic counts a peer's bytes and frames, over all its streams.
type traffic struct {
	bytesIn, bytesOut   atomic.Uint64
	framesIn, framesOut atomic.Uint64
	unknown             atomic.Uint64 // frames of a type that is not known
	rtt                 atomic.Int64  // of the last ping, ns
}

// stream is an established connection, in either direction: a reader, which is the goroutine that calls read, a
// writer, and frames that are ready to be written.
type stream struct {
	t       *Transport
	conn    net.Conn
	node    chat.NodeID
	name    string
	traffic *traffic
	parser  *parser // has what came behind the hello
	since   time.Time
	version uint16 // of the protocol, that both speak

	kick   chan struct{} // the writer has something to do
	closed chan struct{}

	reads atomic.Uint64 // of the socket; the watch compares
	// corked: the reader is handing out frames, and wakes the writer once when it is through.
	corked atomic.Bool

	mu        sync.Mutex
	err       error    // why it is closed
	ready     []byte   // frames
	frames    int      // of ready
	spare     []byte   // the other buffer
	confirmed []uint64 // ids of deliveries, not yet in ready

	// of the watch alone, but for those that say mu
	seen   uint64
	silent int
	ticks  int
	pinged time.Time // mu: when
	ping   uint64    // mu: the id of the ping under way
}

func (t *Transport) newStream(conn net.Conn, p *parser, h hello, tr *traffic) *stream {
	version, _ := common(t.ours(0), h) // it was checked
	p.max = t.cfg.MaxFrame + 4         // the time left of a request is not the caller's
	p.grow(readBuffer)
	return &stream{
		t: t, conn: conn, node: h.node, name: h.name, traffic: tr, parser: p, since: time.Now(), version: version,
		kick: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// close cuts the connection; the first reason counts. Reader and writer end by themselves.
func (s *stream) close(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
		close(s.closed)
	}
	s.mu.Unlock()
	if !first {
		return
	}
	conn := s.conn
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn() // TLS would say goodbye, and wait for a peer that does not read
	}
	_ = conn.Close()
}

func (s *stream) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *stream) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// send makes a frame ready. It is refused, and the stream closed, if the peer left too much unread.
func (s *stream) send(h header, payload []byte) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	if n := len(s.ready); n > 0 && n+len(payload) > s.t.cfg.MaxQueueBytes {
		s.mu.Unlock()
		s.close(fmt.Errorf("transport: the peer left %d bytes of answers unread: %w", n, ErrFull))
		return
	}
	s.ready = appendFrame(s.ready, h, payload)
	s.frames++
	s.mu.Unlock()
	if !s.corked.Load() {
		s.wake()
	}
}

func (s *stream) confirm(id uint64) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.confirmed = append(s.confirmed, id)
	s.mu.Unlock()
	if !s.corked.Load() {
		s.wake()
	}
}

// batch is what is written at once.
type batch struct {
	bufs   net.Buffers
	chunks []*chunk // of bufs, to be used again
	ready  []byte   // of bufs, too
	own    []byte   // requests are encoded here
	frames int
	bytes  int
}

func (b *batch) add(p []byte, frames int) {
	b.bufs = append(b.bufs, p)
	b.bytes += len(p)
	b.frames += frames
}

func (b *batch) full() bool { return b.frames >= flushFrames || b.bytes >= flushBytes }

func (s *stream) takeReady(b *batch) {
	s.mu.Lock()
	if len(s.confirmed) > 0 {
		i := len(s.ready)
		s.ready = appendHeader(s.ready, header{kind: frameConfirm})
		s.ready = appendRuns(s.ready, s.confirmed)
		putLength(s.ready[i:])
		s.confirmed = s.confirmed[:0]
		if cap(s.confirmed) > maxSpare/8 {
			s.confirmed = nil
		}
		s.frames++
	}
	ready, frames := s.ready, s.frames
	s.ready, s.spare, s.frames = s.spare[:0], nil, 0
	s.mu.Unlock()
	b.ready = ready
	if len(ready) > 0 {
		b.add(ready, frames)
	}
}

// write writes until the stream is closed. more adds what else is to be sent.
func (s *stream) write(more func(*batch)) {
	var b batch
	var bufs [8][]byte
	for {
		select {
		case <-s.kick:
		case <-s.closed:
			return
		}
		for {
			b.bufs, b.frames, b.bytes, b.own = bufs[:0], 0, 0, b.own[:0]
			s.takeReady(&b)
			if more != nil {
				more(&b)
			}
			s.later(&b)
			var err error
			if b.bytes > 0 {
				err = s.flush(&b)
			}
			s.recycle(&b)
			if err != nil {
				s.close(err)
				return
			}
			if b.bytes == 0 {
				break
			}
		}
	}
}

func (s *stream) flush(b *batch) error {
	// Without a deadline a peer that does not read would hold the writer for ever.
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.t.cfg.PeerTimeout)); err != nil {
		return fmt.Errorf("transport: write: %w", err)
	}
	var n int64
	var err error
	if len(b.bufs) == 1 {
		var m int
		m, err = s.conn.Write(b.bufs[0])
		n = int64(m)
	} else {
		bufs := b.bufs // WriteTo consumes it
		n, err = bufs.WriteTo(s.conn)
	}
	s.traffic.bytesOut.Add(uint64(n))
	if err != nil {
		return fmt.Errorf("transport: write: %w", err)
	}
	s.traffic.framesOut.Add(uint64(b.frames))
	return nil
}

func (s *stream) recycle(b *batch) {
	for i, c := range b.chunks {
		c.free()
		b.chunks[i] = nil
	}
	b.chunks = b.chunks[:0]
	if cap(b.own) > maxSpare {
		b.own = nil
	}
	if cap(b.ready) <= maxSpare {
		s.mu.Lock()
		s.spare = b.ready[:0]
		s.mu.Unlock()
	}
	b.ready = nil
}

// read hands every frame to handle until the stream ends.
func (s *stream) read(handle func(h header, payload []byte) error) {
	for {
		s.corked.Store(true)
		for {
			h, payload, ok, err := s.parser.next()
			if err == nil && ok {
				s.traffic.framesIn.Add(1)
				err = s.frame(h, payload, handle)
			}
			if err != nil {
				s.close(err)
				return
			}
			if !ok {
				break
			}
		}
		s.uncork()
		n, err := s.conn.Read(s.parser.space())
		if n > 0 {
			s.reads.Add(1)
			s.traffic.bytesIn.Add(uint64(n))
			s.parser.added(n)
			continue
		}
		if err != nil {
			s.close(fmt.Errorf("transport: read: %w", err))
			return
		}
	}
}

func (s *stream) uncork() {
	s.corked.Store(false)
	s.mu.Lock()
	waiting := len(s.ready) > 0 || len(s.confirmed) > 0
	s.mu.Unlock()
	if waiting {
		s.wake()
	}
}

func (s *stream) frame(h header, payload []byte, handle func(h header, payload []byte) error) error {
	switch h.kind {
	case framePing:
		s.send(header{kind: framePong, id: h.id}, nil)
		return nil
	case framePong:
		s.mu.Lock()
		if h.id == s.ping && !s.pinged.IsZero() {
			s.traffic.rtt.Store(int64(time.Since(s.pinged)))
			s.pinged = time.Time{}
		}
		s.mu.Unlock()
		return nil
	}
	err := handle(h, payload)
	if errors.Is(err, errSkip) {
		s.traffic.unknown.Add(1)
		return nil
	}
	return err
}

// errSkip is a frame of a type that this version does not know.
var errSkip = errors.New("transport: unknown type of frame")

// ticksPerTimeout is how often the watch looks in a PeerTimeout; it pings every other time.
const ticksPerTimeout = 8

// tick looks whether the peer is alive. It counts looks and not time, so that a process that was stopped for a while
// does not take its peers for dead.
func (s *stream) tick() {
	if n := s.reads.Load(); n != s.seen {
		s.seen, s.silent = n, 0
	} else if s.silent++; s.silent > ticksPerTimeout {
		s.close(ErrPeerTimeout)
		return
	}
	if s.ticks++; s.ticks%2 != 0 {
		return
	}
	s.mu.Lock()
	s.ping++
	id := s.ping
	s.pinged = time.Now()
	s.mu.Unlock()
	s.send(header{kind: framePing, id: id}, nil)
}

// chunk is a buffer of frames that are written together.
type chunk struct {
	buf    []byte
	frames int
}

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkBytes)} }}

func newChunk(n int) *chunk {
	if n > chunkBytes {
		return &chunk{buf: make([]byte, 0, n)}
	}
	return chunks.Get().(*chunk)
}

func (c *chunk) fits(n int) bool {
	return c.frames < flushFrames && len(c.buf)+n <= cap(c.buf)
}

func (c *chunk) free() {
	if cap(c.buf) != chunkBytes {
		return
	}
	c.buf, c.frames = c.buf[:0], 0
	chunks.Put(c)
}
