package router

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire"
)

// Request answers another node's question; it is the transport's handler of requests. timeout is what the asker has left;
// 0: Config.Patience. reply is called once with the encoded answer, which it must copy; never with an error.
func (r *Router) Request(from chat.NodeID, timeout time.Duration, payload []byte, reply func([]byte, error)) {
	r.count.inbound.Add(1)
	shard, place, q, err := wire.DecodeQuestion(payload)
	if err != nil {
		r.count.inboundRefused.Add(1)
		r.cfg.Logger.Error("router: question not understood", "node", from, "err", err)
		r.reply(reply, nil, fmt.Errorf("%w: node %v: %w", chat.ErrNotSupported, r.cfg.Self, err))
		return
	}
	key, ordered := lineOf(shard, q)
	var line uint64
	if ordered {
		line = maphash.Comparable(r.seed, inboundLine{from, key})
	}
	h := r.handler.Load()
	epoch, ok := r.cfg.Shards.Term(shard)
	if !ok || h == nil {
		if ordered {
			r.turns.end(line)
		}
		r.count.inboundMoved.Add(1)
		r.reply(reply, nil, chat.ErrMoved)
		return
	}
	if r.count.inboundUnderWay.Add(1) > int64(r.cfg.Inbound) {
		r.count.inboundUnderWay.Add(-1)
		if ordered {
			r.turns.end(line)
		}
		r.count.inboundRefused.Add(1)
		r.reply(reply, nil, fmt.Errorf("%w: node %v", chat.ErrOverloaded, r.cfg.Self))
		return
	}
	if ordered && !r.turns.take(line, place, epoch) {
		r.count.inboundUnderWay.Add(-1)
		r.count.inboundOutOfTurn.Add(1)
		r.reply(reply, nil, chat.ErrMoved)
		return
	}
	if timeout <= 0 {
		timeout = r.cfg.Patience
	}
	ctx, cancel := context.WithTimeout(r.base, timeout)
	(*h).Answer(ctx, shard, q, func(answer chat.Answer, err error) {
		cancel()
		if ordered && refused(err) {
			r.turns.end(line)
		}
		r.count.inboundUnderWay.Add(-1)
		r.reply(reply, answer, err)
	})
}

func (r *Router) reply(reply func([]byte, error), answer chat.Answer, failure error) {
	buf := r.buffers.Get().(*[]byte)
	defer r.buffers.Put(buf)
	b, err := wire.AppendAnswer((*buf)[:0], answer, failure)
	if err != nil {
		r.cfg.Logger.Error("router: answer not encoded", "err", err)
		b, _ = wire.AppendAnswer((*buf)[:0], nil, fmt.Errorf("%w: %w", chat.ErrUnknown, err)) // errors always can be
	}
	keepSmall(buf, b)
	reply(b, nil)
}

// Deliver handles another node's parcel; it is the transport's handler of deliveries.
func (r *Router) Deliver(from chat.NodeID, payload []byte, confirm func(error)) {
	r.count.parcelsReceived.Add(1)
	p, err := wire.DecodeParcel(payload)
	if err != nil {
		r.cfg.Logger.Error("router: parcel not understood", "node", from, "err", err)
		confirm(err)
		return
	}
	h := r.handler.Load()
	if h == nil {
		confirm(errNotServing)
		return
	}
	(*h).Receive(from, p, confirm)
}

// Up is told that a node is connected.
func (r *Router) Up(chat.NodeID) {}

// Down is told that a node is not connected any more: its shards may be going elsewhere.
func (r *Router) Down(chat.NodeID, error) { r.cfg.Shards.Refresh() }

// Parcel hands something of the directory's to a node. Parcels to one node are handled there in the order in which one
// goroutine handed them over. done is called once: with nil when the node has handled it; else it is lost, or it is not
// known whether it arrived.
func (r *Router) Parcel(node chat.NodeID, p chat.Parcel, done func(error)) {
	if node == r.cfg.Self {
		r.count.parcelsHere.Add(1)
		r.here.put(r, p, done)
		return
	}
	r.count.parcelsSent.Add(1)
	buf := r.buffers.Get().(*[]byte)
	defer r.buffers.Put(buf)
	payload, err := wire.AppendParcel((*buf)[:0], p)
	if err != nil {
		r.count.parcelsFailed.Add(1)
		done(fmt.Errorf("router: %w", err))
		return
	}
	keepSmall(buf, payload)
	r.cfg.Peers.Deliver(node, payload, func(err error) {
		if err != nil {
			r.count.parcelsFailed.Add(1)
		}
		done(err)
	})
}

// here are the parcels from this node to itself. Whoever comes first hands over those of the others, so that one at a time
// is handled also when the handler sends another while it handles one. It is as long as there are callers.
type here struct {
	mu      sync.Mutex
	list    []parcelHere
	working bool
}

type parcelHere struct {
	parcel chat.Parcel
	done   func(error)
}

func (q *here) put(r *Router, p chat.Parcel, done func(error)) {
	q.mu.Lock()
	q.list = append(q.list, parcelHere{p, done})
	if q.working {
		q.mu.Unlock()
		return
	}
	q.working = true
	for len(q.list) > 0 {
		list := q.list
		q.list = nil
		q.mu.Unlock()
		for _, p := range list {
			if h := r.handler.Load(); h != nil {
				(*h).Receive(r.cfg.Self, p.parcel, p.done)
			} else {
				p.done(errNotServing)
			}
		}
		q.mu.Lock()
	}
	q.working = false
	q.mu.Unlock()
}

// inboundLine is a line of another node's.
type inboundLine struct {
	from chat.NodeID
	key  lineKey
}

// turns remembers which place of each line is to come next, in a table of fixed size: what belongs to a line that another
// one pushed out is refused, and the line starts a new burst. Lines are named by hashes.
type turns [64]struct {
	mu    sync.Mutex
	slots [256]struct {
		line  uint64
		next  uint64
		epoch uint64 // under which the one before was accepted
	}
}

// take reports whether it is that question's turn, and goes on to the next then. The first of a burst may always, unless a
// later burst was seen: then it comes from a connection that was given up. The others only in the term of the first: what
// was accepted in an earlier one may yet turn out not to be carried out.
func (t *turns) take(line, place, epoch uint64) bool {
	part := &t[line%64]
	slot := &part.slots[line/64%256]
	part.mu.Lock()
	defer part.mu.Unlock()
	first := place%(1<<burstShift) == 0
	switch {
	case slot.line != line && !first:
		return false
	case slot.line == line && place < slot.next:
		return false
	case slot.line == line && !first && (place > slot.next || epoch != slot.epoch):
		slot.next = (place>>burstShift + 1) << burstShift
		return false
	}
	slot.line, slot.next, slot.epoch = line, place+1, epoch
	return true
}

// end refuses what follows in the line's burst.
func (t *turns) end(line uint64) {
	part := &t[line%64]
	slot := &part.slots[line/64%256]
	part.mu.Lock()
	if slot.line == line {
		slot.next = (slot.next>>burstShift + 1) << burstShift
	}
	part.mu.Unlock()
}
