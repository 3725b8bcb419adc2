package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
)

// peer is a node that is sent to: what waits for it, what is under way, and the goroutine that keeps a stream to it.
type peer struct {
	t      *Transport
	id     chat.NodeID
	ctx    context.Context // ends when the peer is not one any more
	cancel context.CancelFunc
	traffic
	before *peer         // of the same node, not through yet
	ended  chan struct{} // run is through

	mu     sync.Mutex
	closed bool
	name   string
	addr   string
	stream *stream // nil: none

	// Requests: those under way, and of these the ids that are not written yet, with ids of some that ended meanwhile.
	calls     ledger[*call]
	callBytes int
	asking    []uint64

	// Deliveries: those under way, of which the ids from unsent on are not written; and their frames.
	parcels     ledger[parcel]
	unsent      uint64
	chunks      []*chunk
	queued      int // not written
	queuedBytes int
	windowed    int // written and not confirmed
	windowBytes int

	connects, dialFailures, overflows uint64
	down                              time.Time // since when there is no stream
	lastErr                           string
}

type call struct {
	done     func([]byte, error)
	deadline time.Time
	stop     func() bool // of what waits for the end of its context
	payload  []byte
	written  bool
}

var calls = sync.Pool{New: func() any { return new(call) }}

func (c *call) free() {
	if cap(c.payload) > 4096 {
		c.payload = nil
	}
	*c = call{payload: c.payload[:0]}
	calls.Put(c)
}

type parcel struct {
	done func(error)
	size int
}

// request queues one.
func (p *peer) request(ctx context.Context, payload []byte, done func([]byte, error)) {
	c := calls.Get().(*call)
	c.done = done
	c.deadline, _ = ctx.Deadline()
	c.payload = append(c.payload, payload...)
	p.mu.Lock()
	var why error
	switch {
	case p.closed:
		why = ErrClosed
	case p.calls.live >= p.t.cfg.MaxRequests, p.calls.live > 0 && p.callBytes+len(payload) > p.t.cfg.MaxQueueBytes:
		why = ErrFull
	}
	if why != nil {
		p.mu.Unlock()
		c.free()
		done(nil, outcome(ErrNotSent, why))
		return
	}
	id := p.calls.add(c)
	p.callBytes += len(payload)
	p.asking = append(p.asking, id)
	if ctx.Done() != nil {
		c.stop = context.AfterFunc(ctx, func() { p.expire(ctx, id) })
	}
	s := p.stream
	p.mu.Unlock()
	if s != nil {
		s.wake()
	}
}

// settle takes a call that is under way, nil if it is none any more; mu is held. The caller stops and frees it.
func (p *peer) settle(id uint64) *call {
	c, ok := p.calls.take(id)
	if !ok {
		return nil
	}
	p.callBytes -= len(c.payload)
	if p.calls.live == 0 {
		p.asking = p.asking[:0]
	}
	return c
}

// expire ends a request whose context ended.
func (p *peer) expire(ctx context.Context, id uint64) {
	p.mu.Lock()
	c := p.settle(id)
	// Ids of requests that ended must not pile up while there is no stream.
	if len(p.asking) > 64 && len(p.asking) > 2*p.calls.live {
		live := p.asking[:0]
		for _, id := range p.asking {
			if _, ok := p.calls.get(id); ok {
				live = append(live, id)
			}
		}
		p.asking = live
	}
	p.mu.Unlock()
	if c != nil {
		c.end(nil, context.Cause(ctx))
	}
}

// end reports a settled call: with an answer if err is nil, else with what is known of it.
func (c *call) end(answer []byte, err error) {
	if c.stop != nil {
		c.stop()
	}
	done, written := c.done, c.written
	c.free()
	switch {
	case err == nil, errors.Is(err, ErrFailed):
	case written:
		err = outcome(ErrUnknown, err)
	default:
		err = outcome(ErrNotSent, err)
	}
	done(answer, err)
}

// deliver queues one.
func (p *peer) deliver(payload []byte, done func(error)) {
	size := headerSize + len(payload)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		done(outcome(ErrNotSent, ErrClosed))
		return
	}
	if p.queued >= p.t.cfg.MaxQueue || p.queued > 0 && p.queuedBytes+size > p.t.cfg.MaxQueueBytes {
		p.overflow(done)
		return
	}
	c := p.last(size)
	id := p.parcels.add(parcel{done, size})
	c.buf = appendFrame(c.buf, header{kind: frameDeliver, id: id}, payload)
	c.frames++
	p.queued++
	p.queuedBytes += size
	s := p.stream
	p.mu.Unlock()
	if s != nil {
		s.wake()
	}
}

// last is the chunk that the next n bytes go into.
func (p *peer) last(n int) *chunk {
	if i := len(p.chunks) - 1; i >= 0 && p.chunks[i].fits(n) {
		return p.chunks[i]
	}
	c := newChunk(n)
	p.chunks = append(p.chunks, c)
	return c
}

// take adds to b what is to be written to s.
func (p *peer) take(s *stream, b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream != s {
		return // it was given up
	}
	if len(p.asking) > 0 {
		p.takeCalls(b)
	}
	n := 0
	for ; n < len(p.chunks) && !b.full() && p.windowed < p.t.cfg.Window && p.windowBytes < p.t.cfg.WindowBytes; n++ {
		c := p.chunks[n]
		p.unsent += uint64(c.frames)
		p.queued -= c.frames
		p.queuedBytes -= len(c.buf)
		p.windowed += c.frames
		p.windowBytes += len(c.buf)
		b.add(c.buf, c.frames)
		b.chunks = append(b.chunks, c)
	}
	m := copy(p.chunks, p.chunks[n:])
	clear(p.chunks[m:])
	p.chunks = p.chunks[:m]
}

func (p *peer) takeCalls(b *batch) {
	now := time.Now()
	n, frames := 0, 0
	for n < len(p.asking) && frames < flushFrames && len(b.own) < flushBytes {
		id := p.asking[n]
		n++
		c, ok := p.calls.get(id)
		if !ok {
			continue // its context ended
		}
		c.written = true
		b.own = appendHeader(b.own, header{kind: frameRequest, id: id, length: 4 + len(c.payload)})
		b.own = binary.LittleEndian.AppendUint32(b.own, budget(c.deadline, now))
		b.own = append(b.own, c.payload...)
		frames++
	}
	p.asking = p.asking[:copy(p.asking, p.asking[n:])]
	if frames > 0 {
		b.add(b.own, frames)
	}
}

// handle takes a frame that the peer sent on our stream.
func (p *peer) handle(s *stream, h header, payload []byte) error {
	switch h.kind {
	case frameAnswer:
		p.mu.Lock()
		c := p.settle(h.id)
		p.mu.Unlock()
		switch {
		case c == nil: // its context ended
		case h.status == statusOK:
			c.end(payload, nil)
		default:
			c.end(nil, failed(payload))
		}
		return nil
	case frameConfirm:
		return parseRuns(payload, func(first, n uint64) error { return p.confirmed(s, first, n, nil) })
	case frameFailed:
		return p.confirmed(s, h.id, 1, failed(payload))
	default:
		return errSkip
	}
}

func (p *peer) confirmed(s *stream, first, n uint64, err error) error {
	var some [64]func(error)
	for n > 0 {
		m := min(n, uint64(len(some)))
		k := 0
		p.mu.Lock()
		if p.stream != s {
			p.mu.Unlock()
			return ErrFull // it was given up
		}
		if first+m > p.unsent {
			p.mu.Unlock()
			return fmt.Errorf("%w: a confirmation of what was not sent", ErrCorrupt)
		}
		closed := p.windowed >= p.t.cfg.Window || p.windowBytes >= p.t.cfg.WindowBytes
		for id := first; id < first+m; id++ {
			if v, ok := p.parcels.take(id); ok {
				p.windowed--
				p.windowBytes -= v.size
				some[k] = v.done
				k++
			}
		}
		p.mu.Unlock()
		if closed {
			s.wake()
		}
		for _, done := range some[:k] {
			done(err)
		}
		first, n = first+m, n-m
	}
	return nil
}

// run keeps a stream to the peer until it is closed.
func (p *peer) run() {
	log := p.t.cfg.Logger.With("node", p.id)
	backoff := p.t.cfg.MinBackoff
	other := false
	defer p.t.forget(p)
	if p.before != nil {
		<-p.before.ended // so that its Down comes before our Up
		p.before = nil
	}
	for p.ctx.Err() == nil {
		s, err := p.connect()
		if err == nil {
			other = false
			err = p.serve(s)
			if p.ctx.Err() != nil {
				break
			}
			log.Warn("transport: stream to a node broke", "name", p.name, "err", err)
			if time.Since(s.since) > p.t.cfg.MaxBackoff {
				backoff = p.t.cfg.MinBackoff
			}
		} else if p.ctx.Err() == nil {
			p.failed(log, err, &other)
			if permanent(err) {
				backoff = p.t.cfg.MaxBackoff
			}
		}
		wait := time.NewTimer(backoff/2 + rand.N(backoff/2+1))
		select {
		case <-wait.C:
		case <-p.ctx.Done():
		}
		wait.Stop()
		backoff = min(2*backoff, p.t.cfg.MaxBackoff)
	}
	p.mu.Lock()
	parcels, calls := p.failParcels(ErrClosed), p.failCalls(ErrClosed, true)
	p.mu.Unlock()
	parcels()
	calls()
}

// permanent: trying again soon helps nobody.
func permanent(err error) bool {
	return errors.Is(err, ErrOtherNode) || errors.Is(err, ErrVersion) || errors.Is(err, ErrCluster)
}

// failed notes that there is no stream, and gives up what waits for one if that is hopeless or takes too long.
func (p *peer) failed(log *slog.Logger, err error, other *bool) {
	level := slog.LevelDebug
	p.mu.Lock()
	p.dialFailures++
	if p.lastErr != err.Error() {
		p.lastErr = err.Error()
		level = slog.LevelWarn
	}
	parcels, calls := func() {}, func() {}
	if time.Since(p.down) >= p.t.cfg.PeerTimeout || permanent(err) {
		parcels = p.failParcels(err)
	}
	if permanent(err) {
		calls = p.failCalls(err, true)
	}
	name, addr := p.name, p.addr
	p.mu.Unlock()
	log.Log(p.ctx, level, "transport: cannot reach a node", "name", name, "addr", addr, "err", err)
	parcels()
	calls()
	if is := errors.Is(err, ErrOtherNode); is != *other {
		*other = is
		if is {
			p.t.cfg.Handler.Down(p.id, err)
		}
	}
}

func (p *peer) connect() (*stream, error) {
	p.mu.Lock()
	addr := p.addr
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(p.ctx, p.t.cfg.PeerTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	s, err := p.t.greet(ctx, conn, addr, p)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// serve uses a stream until it breaks.
func (p *peer) serve(s *stream) error {
	p.mu.Lock()
	p.stream = s
	p.connects++
	p.down, p.lastErr = time.Time{}, ""
	p.mu.Unlock()
	if !p.t.watch(s) {
		s.close(ErrClosed)
	}
	unhook := context.AfterFunc(p.ctx, func() { s.close(ErrClosed) })
	p.t.cfg.Logger.Info("transport: stream to a node stands", "node", p.id, "name", p.name, "version", s.version)
	p.t.cfg.Handler.Up(p.id)
	var writer sync.WaitGroup
	writer.Go(func() { s.write(func(b *batch) { p.take(s, b) }) })
	s.wake()
	s.read(func(h header, payload []byte) error { return p.handle(s, h, payload) })
	writer.Wait()
	unhook()
	p.t.unwatch(s)

	err := s.reason()
	p.mu.Lock()
	parcels := func() {}
	if p.stream == s { // else an overflow has failed them, and those there are now wait for the next stream
		p.stream, p.down = nil, time.Now()
		parcels = p.failParcels(err)
	}
	calls := p.failCalls(err, false)
	p.mu.Unlock()
	parcels()
	calls()
	p.t.cfg.Handler.Down(p.id, err)
	return err
}
