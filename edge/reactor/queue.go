package reactor

// item is one frame waiting in a connection's queue.
type item struct {
	b     []byte
	since uint32 // tick
	class Class
}

// queue holds what a connection could not take yet. It exists only while there is something to wait for; its
// storage is pooled. It is not safe for concurrent use.
type queue struct {
	items []item
	head  int
	since uint32 // tick at which it was attached
	off   int    // bytes of the first item already written
	bytes int    // unwritten
	free  uint32
	fd    int32 // of its connection, -1 when free
}

type queueLimits struct{ bytes, frames int }

type verdict uint8

const (
	admitted verdict = iota
	shed
	overflow
)

func (q *queue) len() int     { return len(q.items) - q.head }
func (q *queue) first() *item { return &q.items[q.head] }

// oldest is the tick at which the first item was queued; without items, ciphertext waits since the queue was attached.
func (q *queue) oldest() uint32 {
	if q.len() == 0 {
		return q.since
	}
	return q.first().since
}

// push appends without asking: the rest of a frame that is partly written, and control frames.
func (q *queue) push(it item) {
	if q.head > 32 && q.head*2 > len(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
	q.bytes += len(it.b)
}

// offer appends it within the limits. Ephemeral items are shed when the queue is half full, and shed
// from the queue before a durable one is refused. An empty queue takes any one item.
func (q *queue) offer(lim queueLimits, it item) (v verdict, dropped int) {
	if q.len() == 0 {
		q.push(it)
		return admitted, 0
	}
	if it.class == Ephemeral {
		if (q.bytes+len(it.b))*2 > lim.bytes || (q.len()+1)*2 > lim.frames {
			return shed, 0
		}
		q.push(it)
		return admitted, 0
	}
	if !q.fits(lim, it) {
		dropped = q.dropEphemeral()
		if !q.fits(lim, it) {
			return overflow, dropped
		}
	}
	q.push(it)
	return admitted, dropped
}

func (q *queue) fits(lim queueLimits, it item) bool {
	return q.len() == 0 || q.bytes+len(it.b) <= lim.bytes && q.len()+1 <= lim.frames
}

// dropEphemeral removes ephemeral items that were not begun and returns how many.
func (q *queue) dropEphemeral() int {
	keep := q.head
	for i := q.head; i < len(q.items); i++ {
		it := q.items[i]
		if it.class == Ephemeral && (i > q.head || q.off == 0) {
			q.bytes -= len(it.b)
			continue
		}
		q.items[keep] = it
		keep++
	}
	n := len(q.items) - keep
	clear(q.items[keep:])
	q.items = q.items[:keep]
	return n
}

// cut removes all that was not begun, so that a close frame can follow at a frame boundary.
func (q *queue) cut() {
	keep := q.head
	if q.len() > 0 && q.off > 0 {
		keep++
	}
	for _, it := range q.items[keep:] {
		q.bytes -= len(it.b)
	}
	clear(q.items[keep:])
	q.items = q.items[:keep]
}

// written removes n bytes from the front.
func (q *queue) written(n int) {
	q.bytes -= n
	for n > 0 {
		rest := len(q.items[q.head].b) - q.off
		if n < rest {
			q.off += n
			return
		}
		n -= rest
		q.items[q.head] = item{}
		q.head, q.off = q.head+1, 0
	}
}

// reset empties the queue for the pool.
func (q *queue) reset() {
	clear(q.items)
	q.items = q.items[:0]
	if cap(q.items) > 64 {
		q.items = nil
	}
	q.head, q.off, q.bytes = 0, 0, 0
}
