//go:build !reactor_portable

package reactor

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cast is a broadcast under way: consecutive publications to one part of a set, concatenated.
type cast struct {
	part     *part
	pos      int
	ops      []op
	plain    []byte   // all frames, as sent to a connection without deflate
	deflated []byte   // made when the first connection wants it
	skip     []Handle // the connections that do not get all of it, by slot
	skipPos  int
}

func (b *cast) active() bool { return b.part != nil }

// deliver executes what is staged, at most about budget deliveries, so that polls come in between.
func (r *reactor) deliver(budget int) {
	for budget > 0 {
		if r.cast.active() {
			budget -= r.walk(budget)
			continue
		}
		if r.opsPos == len(r.ops) {
			clear(r.ops)
			if cap(r.ops) > 1<<14 {
				r.ops = nil
			}
			empty := r.ops[:0]
			var wait time.Duration
			r.ops, wait = r.inbox.take(empty, r.s.cfg.BatchDelay)
			r.opsPos, r.grouped = 0, 0
			if len(r.ops) == 0 {
				if wait > 0 {
					r.armHold(wait)
				}
				return
			}
		}
		switch r.ops[r.opsPos].kind {
		case opSend:
			budget -= r.sendRun()
			continue
		case opCast:
			r.startCast()
			continue
		}
		o := r.ops[r.opsPos]
		r.opsPos++ // before it is executed: what tlsDone reads may settle a connection
		switch o.kind {
		case opCloseConn:
			if c := r.target(o.h); c != nil {
				r.closeWith(c, o.code, o.f)
			}
		case opTLSReady:
			if r.settling { // it reads, and the buffers are in use
				r.inbox.force(o)
			} else {
				r.tlsDone(o.h)
			}
		case opStopAccept:
			r.stopAccepting()
		}
		r.executed(&o)
		budget--
	}
}

// settle delivers what is staged for c before the reactor itself writes to it: the answers that a handler gave to
// earlier messages leave before the pong or close that a later frame of the same read asks for. It reports whether the
// connection is still there. Nothing is delivered that would not be delivered in this round or the next anyway.
func (r *reactor) settle(c *conn) bool {
	if c.state != stOpen {
		return true
	}
	gen, h := c.gen, r.handle(c)
	if r.opsPos == len(r.ops) && !r.cast.active() {
		clear(r.ops)
		r.ops, r.opsPos, r.grouped = r.ops[:0], 0, 0
	}
	r.ops = r.inbox.appendTo(r.ops)
	last := -1
	for i := len(r.ops) - 1; i >= r.opsPos; i-- {
		if o := &r.ops[i]; o.h == h && o.kind != opCast {
			last = i
			break
		}
	}
	r.settling = true
	for r.opsPos <= last {
		r.deliver(1)
	}
	r.settling = false
	return r.holds(c, gen)
}

// executed takes a finished operation off the inbox's account.
func (r *reactor) executed(o *op) {
	n := opOverhead
	if o.f != nil {
		n += int64(o.f.size())
	}
	r.inbox.bytes.Add(-n)
}

// armHold wakes the reactor when the batch delay of what is staged has passed.
func (r *reactor) armHold(wait time.Duration) {
	_ = unix.TimerfdSettime(r.hold, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
}

// holding reports whether all that is staged waits for the batch delay, whose timer is armed.
func (r *reactor) holding() bool {
	if r.s.cfg.BatchDelay == 0 {
		return false
	}
	r.inbox.mu.Lock()
	defer r.inbox.mu.Unlock()
	if len(r.inbox.doomed) > 0 || len(r.inbox.ops) == 0 {
		return false
	}
	wait := r.s.cfg.BatchDelay - time.Since(r.inbox.since)
	if wait <= 0 {
		return false
	}
	r.armHold(wait)
	r.inbox.asleep = len(r.inbox.doomed) == 0
	return true
}

// target returns the connection that a delivery goes to, nil if it is closed, closing, or missed a frame before.
func (r *reactor) target(h Handle) *conn {
	c := r.s.table.get(h.fd())
	if c == nil || c.owner.Load() != uint32(r.index)+1 || c.gen != h.gen() || c.state != stOpen || c.doomed.Load() == h.gen() {
		return nil
	}
	return c
}

// groupSends brings the next sends that no broadcast comes between into the order of their connections, each one's own
// order kept, so that what several conversations have for one connection leaves together.
func (r *reactor) groupSends() {
	end := r.opsPos
	for end < len(r.ops) && end-r.opsPos < groupWindow && r.ops[end].kind == opSend {
		end++
	}
	r.grouped = end
	ops := r.ops[r.opsPos:end]
	order := r.order[:0]
	sorted := true
	for i := range ops {
		order = append(order, placed{ops[i].h, int32(i)})
		sorted = sorted && (i == 0 || ops[i-1].h <= ops[i].h)
	}
	r.order = order
	if sorted {
		return
	}
	slices.SortFunc(order, func(a, b placed) int {
		if c := cmp.Compare(a.h.slot(), b.h.slot()); c != 0 {
			return c
		}
		if c := cmp.Compare(a.h, b.h); c != 0 {
			return c
		}
		return cmp.Compare(a.i, b.i)
	})
	r.shuffled = append(r.shuffled[:0], ops...)
	for i := range order {
		ops[i] = r.shuffled[order[i].i]
	}
	clear(r.shuffled)
}

// groupWindow is how many sends are looked at for those that belong together.
const groupWindow = 1024

// placed is the connection of a staged send, and the place of the send.
type placed struct {
	h Handle
	i int32
}

// sendRun delivers consecutive frames for one connection, with one system call where the queue's limits allow.
func (r *reactor) sendRun() int {
	if r.opsPos >= r.grouped && !r.settling { // settle counts on the order that it found
		r.groupSends()
	}
	first := &r.ops[r.opsPos]
	end, size := r.opsPos, 0
	for end < len(r.ops) && end-r.opsPos < slice && r.ops[end].kind == opSend && r.ops[end].h == first.h {
		size += r.ops[end].f.size()
		if end > r.opsPos && size > maxBatch {
			break
		}
		end++
	}
	ops := r.ops[r.opsPos:end]
	r.opsPos = end
	if c := r.target(first.h); c != nil {
		r.deliverAll(c, ops, nil)
	}
	for i := range ops {
		r.executed(&ops[i])
	}
	return len(ops)
}

// deliverAll gives the frames of ops to c, but those of broadcasts that leave it out. joined, if not nil, is all
// of them as one buffer.
func (r *reactor) deliverAll(c *conn, ops []op, joined []byte) {
	took := 0
	if c.out == 0 {
		if joined == nil {
			joined = r.join(joinOne, ops, c.flags&flDeflate != 0, r.handle(c))
		}
		if len(joined) == 0 {
			return
		}
		n, ok := r.write(c, joined)
		if !ok {
			return
		}
		if n == len(joined) {
			r.stats.framesOut.Add(uint64(framesFor(ops, r.handle(c))))
			return
		}
		took = n
	}
	r.queueRest(c, ops, took)
}

// framesFor counts the frames of ops that the connection gets.
func framesFor(ops []op, self Handle) (n int) {
	for i := range ops {
		if ops[i].kind != opCast || ops[i].h != self {
			n++
		}
	}
	return n
}

// queueRest queues the frames of ops for c, of which took bytes are written, each by its own class.
func (r *reactor) queueRest(c *conn, ops []op, took int) {
	deflate, self := c.flags&flDeflate != 0, r.handle(c)
	for i := range ops {
		o := &ops[i]
		if o.kind == opCast && o.h == self {
			continue
		}
		b := o.f.bytes(deflate, r.s.cfg.CompressThreshold)
		if took >= len(b) {
			took -= len(b)
			r.stats.framesOut.Add(1)
			continue
		}
		if !r.enqueue(c, b, took, o.class) {
			return
		}
		took = 0
	}
}

// The buffers that join writes to.
const (
	joinOne      = iota // for one connection
	joinPlain           // the broadcast under way
	joinDeflated        // the same for connections with deflate
	joinBuffers
)

// join concatenates the frames that the connection self gets, or all of them if self is 0. A single one is not copied.
func (r *reactor) join(which int, ops []op, deflate bool, self Handle) []byte {
	if len(ops) == 1 {
		if ops[0].kind == opCast && self != 0 && ops[0].h == self {
			return nil
		}
		return ops[0].f.bytes(deflate, r.s.cfg.CompressThreshold)
	}
	buf := r.joinBuf[which][:0]
	for i := range ops {
		if ops[i].kind == opCast && self != 0 && ops[i].h == self {
			continue
		}
		buf = append(buf, ops[i].f.bytes(deflate, r.s.cfg.CompressThreshold)...)
	}
	r.joinBuf[which] = buf
	if cap(buf) > 4*maxBatch {
		r.joinBuf[which] = nil
	}
	return buf
}

// enqueue offers a frame, of which took bytes are written, to c's queue and closes c if a durable one does not fit.
// It returns false when c is no longer open.
func (r *reactor) enqueue(c *conn, b []byte, took int, class Class) bool {
	q := r.queueOf(c)
	it := item{b: b, since: r.now, class: class}
	before := q.bytes
	if took > 0 {
		q.push(it)
		q.written(took)
	} else {
		v, dropped := q.offer(queueLimits{r.s.cfg.QueueBytes, r.s.cfg.QueueFrames}, it)
		r.stats.shed.Add(uint64(dropped))
		switch v {
		case shed:
			r.stats.shed.Add(1)
			r.s.queued.Add(int64(q.bytes - before))
			return true
		case overflow:
			r.s.queued.Add(int64(q.bytes - before))
			r.slow(c)
			return false
		}
	}
	r.stats.framesOut.Add(1)
	if r.s.queued.Add(int64(q.bytes-before)) > r.s.cfg.QueueTotal {
		gen := c.gen
		r.closeLargest()
		return r.holds(c, gen) && c.state == stOpen
	}
	return true
}

// closeLargest closes the open connection with the largest queue of this reactor.
func (r *reactor) closeLargest() {
	var largest *conn
	most := 0
	for _, q := range r.queues {
		if q.fd < 0 || q.bytes <= most {
			continue
		}
		if c := r.s.table.get(int(q.fd)); c.state == stOpen {
			largest, most = c, q.bytes
		}
	}
	if largest != nil {
		r.slow(largest)
	}
}

// startCast gathers consecutive broadcasts to the same part of a set.
func (r *reactor) startCast() {
	b := &r.cast
	first := &r.ops[r.opsPos]
	end, size := r.opsPos, 0
	for end < len(r.ops) && r.ops[end].kind == opCast && r.ops[end].part == first.part {
		size += r.ops[end].f.size()
		if end > r.opsPos && size > maxBatch {
			break
		}
		end++
	}
	b.ops = r.ops[r.opsPos:end]
	r.opsPos = end
	b.part, b.pos = first.part, 0
	b.plain = r.join(joinPlain, b.ops, false, 0)
	b.deflated = nil
	b.skip, b.skipPos = b.skip[:0], 0
	for i := range b.ops {
		if h := b.ops[i].h; h != 0 {
			b.skip = append(b.skip, h)
		}
	}
	slices.SortFunc(b.skip, func(x, y Handle) int { return cmp.Compare(x.slot(), y.slot()) })
}

// walk delivers the broadcast to the next n connections of the part and returns how many it visited.
func (r *reactor) walk(n int) int {
	b := &r.cast
	handles := b.part.handles[b.pos:min(b.pos+n, len(b.part.handles))]
	b.pos += len(handles)
	frames := uint64(len(b.ops))
	var sent, bytes, delivered uint64
	for _, h := range handles {
		c := r.target(h)
		if c == nil {
			continue
		}
		for b.skipPos < len(b.skip) && b.skip[b.skipPos].slot() < h.slot() {
			b.skipPos++
		}
		if b.skipPos < len(b.skip) && b.skip[b.skipPos].slot() == h.slot() {
			r.deliverAll(c, b.ops, nil)
			continue
		}
		wire := b.plain
		if c.flags&flDeflate != 0 {
			if b.deflated == nil {
				b.deflated = r.join(joinDeflated, b.ops, true, 0)
			}
			wire = b.deflated
		}
		if c.out == 0 && c.tls == 0 {
			if m, errno := send(c.fd, wire); errno == 0 && m == len(wire) {
				sent++
				bytes += uint64(m)
				delivered += frames
				continue
			} else if errno == 0 {
				sent++
				bytes += uint64(m)
				r.queueRest(c, b.ops, m)
				continue
			}
		}
		r.deliverAll(c, b.ops, wire)
	}
	r.stats.sends.Add(sent)
	r.stats.bytesOut.Add(bytes)
	r.stats.framesOut.Add(delivered)
	if b.pos == len(b.part.handles) {
		for i := range b.ops {
			r.executed(&b.ops[i])
		}
		b.part, b.ops, b.plain, b.deflated = nil, nil, nil, nil
	}
	return max(len(handles), 1)
}
