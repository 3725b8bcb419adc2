package worker

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/target"
)

const (
	// resumeBatch is how many conversations one frame may ask for.
	resumeBatch = 256
	// grace is how long after resumed the end of what was replayed may still come twice.
	grace = 2 * time.Second
	// The wait before another attempt, doubled each time, and random up to it.
	firstWait, longestWait = 200 * time.Millisecond, 5 * time.Second
	// maxAttempts at the first connection; a session that was there is tried for as long as the run lasts.
	maxAttempts = 20
)

// open opens the socket of a connection.
func (w *Worker) open(i int32) {
	c := &w.conns[i]
	c.opened = w.cfg.Now()
	if err := w.loop.Open(i, w.tgt.Endpoint(int(c.user), int(c.socket), int(c.attempt))); err != nil {
		w.why = err
		w.again(i)
	}
}

// again opens it later.
func (w *Worker) again(i int32) {
	c := &w.conns[i]
	if w.closing {
		return
	}
	if !c.was && c.attempt >= maxAttempts {
		w.failed++
		return
	}
	first := firstWait
	if d := time.Duration(w.sc.Connections.Reconnect); d > 0 {
		first = d
	}
	wait := min(first<<min(c.attempt, 8), max(first, longestWait))
	c.attempt++
	w.loop.At(time.Now().Add(time.Duration(w.rng.Int64N(int64(wait)))), func() {
		if !w.closing {
			w.open(i)
		}
	})
}

// Opened is called by the loop: the upgrade is through.
func (w *Worker) Opened(i int32) {
	c := &w.conns[i]
	if c.slow {
		w.loop.SlowDown(i, w.sc.Connections.SlowRate)
	}
	if b := w.tgt.Open(w.buf[:0], int(c.user)); len(b) > 0 {
		w.write(i, b)
	}
}

func (w *Worker) write(i int32, b []byte) bool {
	w.buf = b[:0]
	return w.loop.Write(i, b, w.tgt.Binary()) == nil
}

// Closed is called by the loop: the connection is gone, whoever closed it.
func (w *Worker) Closed(i int32, err error) {
	c := &w.conns[i]
	if c.ready {
		c.ready = false
		w.ready--
		c.lost = w.cfg.Now()
		w.rec.Add(measure.CountClosed, 1)
	}
	w.why = err
	w.forget(i)
	w.again(i)
}

// lose closes a connection as a client that loses its network does, and comes back.
func (w *Worker) lose(i int32) {
	c := &w.conns[i]
	if !c.ready {
		return
	}
	c.ready = false
	w.ready--
	c.lost = w.cfg.Now()
	w.forget(i)
	w.loop.Drop(i)
	w.open(i)
}

// forget what a connection that is gone was waiting for.
func (w *Worker) forget(i int32) {
	c := &w.conns[i]
	c.asked, c.awaiting, c.joining = nil, 0, false
	for _, ci := range c.convs { // the confirmation of a mark may have been lost with it
		delete(w.marks, place{i, ci})
	}
}

// Frame is called by the loop for each frame that came.
func (w *Worker) Frame(i int32, payload []byte, at time.Time) {
	w.rec.Add(measure.CountFrames, 1)
	w.rec.Add(measure.CountBytes, int64(len(payload)))
	if err := w.tgt.Parse(payload, func(e *target.Event) { w.event(i, e) }); err != nil {
		w.rec.Add(measure.CountErrors, 1)
	}
}

func (w *Worker) event(i int32, e *target.Event) {
	c := &w.conns[i]
	switch e.Kind {
	case target.Ready:
		w.isReady(i)
	case target.Msg, target.Logged:
		w.touched = time.Now()
		w.saw(i, e)
	case target.Ack:
		w.touched = time.Now()
		w.acked(i, e)
	case target.Refused:
		w.refused(i, e)
	case target.Resumed:
		w.resumed(i, e)
	case target.Gap:
		w.gap(i, e)
	case target.Head:
		if ci, ok := w.byID[string(e.Conversation)]; ok && w.lastSeq(c, ci) < e.Seq && !c.asks(ci) {
			w.resume(i, ci)
		}
	case target.Receipt:
		w.receipt(i, e)
	}
	if a, ok := w.tgt.(target.Answerer); ok {
		if b := a.Answer(w.buf[:0], e); len(b) > 0 {
			w.write(i, b)
		}
	}
}

// isReady begins the use of a connection, where the protocol wants it after the client has subscribed.
func (w *Worker) isReady(i int32) {
	c := &w.conns[i]
	if c.ready || c.joining {
		return
	}
	if _, ok := w.tgt.(target.Subscriber); ok && !c.was && len(c.convs) > 0 {
		c.joining, c.awaiting = true, len(c.convs)
		w.resume(i, c.convs...)
		return
	}
	w.use(i)
}

// use begins the use of a connection. One that was there before asks for what it missed.
func (w *Worker) use(i int32) {
	c := &w.conns[i]
	now := w.cfg.Now()
	c.ready = true
	w.ready++
	w.rec.Add(measure.CountOpened, 1)
	w.rec.Record(measure.NameConnect, now.Sub(c.opened))
	c.attempt = 0
	if !c.was {
		c.was = true
		return
	}
	c.gap = false
	c.awaiting = len(c.convs)
	if c.awaiting == 0 {
		w.isBack(i)
		return
	}
	w.resume(i, c.convs...)
}

// saw takes an event of a conversation's log as a client should: in order, and none twice.
func (w *Worker) saw(i int32, e *target.Event) {
	c := &w.conns[i]
	ci, ok := w.byID[string(e.Conversation)]
	if !ok {
		if c.obs != nil && w.chk != nil && e.Seq > 0 { // not of this run, or not for this user: the checker knows
			c.obs.Saw(string(e.Conversation), check.Entry{Seq: e.Seq, ID: string(e.ID), Key: string(e.Key)})
		}
		return
	}
	if e.Seq == 0 || w.unordered { // the target numbers nothing, or delivers as it comes
		w.message(i, ci, e, false)
		return
	}
	last, k := w.lastSeq(c, ci), c.find(ci)
	replay := k != nil && (k.done.IsZero() || time.Since(k.done) < grace)
	switch {
	case e.Seq == last+1:
		if c.obs != nil {
			c.obs.Saw(w.convs[ci].id, check.Entry{Seq: e.Seq, ID: view(e.ID), Key: view(e.Key)})
		} else if j := slices.Index(c.convs, ci); j >= 0 {
			c.seqs[j] = e.Seq
		}
		w.message(i, ci, e, replay)
	case e.Seq <= last && replay:
		w.rec.Add("repeated", 1)
		w.acknowledge(i, ci, e) // the answer to a send that was repeated
	case e.Seq <= last:
		if w.acknowledge(i, ci, e) {
			break
		}
		if c.obs != nil {
			c.obs.Saw(w.convs[ci].id, check.Entry{Seq: e.Seq, ID: string(e.ID), Key: string(e.Key)})
		}
	case k != nil && k.done.IsZero():
		// It comes again, in its place.
	default:
		w.rec.Add("holes", 1)
		w.resume(i, ci)
	}
}

// view is b as a string that is used during the call alone.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// message takes note of what arrived in order.
func (w *Worker) message(i, ci int32, e *target.Event, replay bool) {
	if e.Kind != target.Msg {
		return
	}
	v := &w.convs[ci]
	if e.Seq >= v.lastSeq && len(e.ID) <= len(v.last) {
		v.lastSeq, v.lastLen = e.Seq, uint8(copy(v.last[:], e.ID))
	}
	if w.acknowledge(i, ci, e) {
		return
	}
	_, _, intended, ok := parseKey(w.cfg.Plan.Run, e.Key)
	if !ok {
		return
	}
	w.rec.Add(measure.CountDelivered, 1)
	name := measure.NameDelivery
	if replay {
		name = "replay"
	}
	w.rec.Record(name, time.Duration(w.cfg.Now().UnixMicro()-intended)*time.Microsecond)
}

// acknowledge takes a message for the answer to the send that its connection waits for.
func (w *Worker) acknowledge(i, ci int32, e *target.Event) bool {
	part, n, _, ok := parseKey(w.cfg.Plan.Run, e.Key)
	if !ok || part != w.cfg.Plan.Part {
		return false
	}
	p := w.pending[n]
	if p == nil || p.conn != i || p.conv != ci {
		return false
	}
	w.settle(n, p, e)
	return true
}

func (w *Worker) acked(i int32, e *target.Event) {
	part, n, _, ok := parseKey(w.cfg.Plan.Run, e.Key)
	if p := w.pending[n]; ok && part == w.cfg.Plan.Part && p != nil && p.conn == i {
		w.settle(n, p, e)
	}
}

func (w *Worker) settle(n uint64, p *pending, e *target.Event) {
	now := w.cfg.Now()
	delete(w.pending, n)
	w.rec.Add(measure.CountAcked, 1)
	w.rec.Record(measure.NameAck, now.Sub(p.intended))
	w.rec.Record(measure.NameService, now.Sub(p.sent))
	v := &w.convs[p.conv]
	if len(e.ID) <= len(v.own) {
		v.ownConn, v.ownKey, v.ownLen = p.conn, p.key, uint8(copy(v.own[:], e.ID))
	}
	if w.chk != nil {
		w.chk.Acked(v.id, p.key, string(e.ID), e.Seq)
	}
}

// refused ends a send that was answered by an error; unless the error says that nobody knows.
func (w *Worker) refused(i int32, e *target.Event) {
	if ci, ok := w.byID[string(e.Conversation)]; ok && w.conns[i].asks(ci) && !bytes.HasPrefix(e.Key, []byte(w.cfg.Plan.Run)) {
		w.askAgain(i, ci)
		return
	}
	part, n, _, ok := parseKey(w.cfg.Plan.Run, e.Key)
	if !ok || part != w.cfg.Plan.Part || w.pending[n] == nil {
		w.rec.Add("errors."+string(e.Code), 1)
		return
	}
	p := w.pending[n]
	delete(w.pending, n)
	w.touched = time.Now()
	w.rec.Add(measure.CountRefused, 1)
	w.rec.Add("refused."+string(e.Code), 1)
	if w.chk != nil && !unknown(e.Code) {
		w.chk.Refused(w.convs[p.conv].id, p.key)
	}
}

// unknown reports whether a send with this answer may have taken place.
func unknown(code []byte) bool {
	switch string(code) {
	case "outcome_unknown", "internal", "":
		return true
	}
	return false
}

func (w *Worker) receipt(i int32, e *target.Event) {
	c := &w.conns[i]
	if c.obs == nil || e.Seq == 0 {
		return
	}
	ci, ok := w.byID[string(e.Conversation)]
	if !ok {
		return
	}
	user := string(e.User)
	c.obs.Receipt(w.convs[ci].id, user, "read", e.Seq)
	if user == w.name(c.user) {
		w.chk.Marked(w.convs[ci].id, user, e.Seq)
		if m, ok := w.marks[place{i, ci}]; ok {
			m.confirmed = max(m.confirmed, e.Seq)
			w.marks[place{i, ci}] = m
		}
	}
}

// marking notes a mark that is about to be sent. Users with several sockets are left out: each of them may have marked more.
func (w *Worker) marking(i, ci int32, seq uint64) {
	at := place{i, ci}
	m, ok := w.marks[at]
	if w.conns[i].obs == nil || w.sc.Connections.PerUser > 1 || !ok && len(w.marks) >= maxMarks {
		return
	}
	m.sent = max(m.sent, seq)
	w.marks[at] = m
}

var errNotReady = errors.New("not all connections are ready")

func (w *Worker) progress() Progress {
	return Progress{Ready: w.ready, Failed: w.failed, Of: len(w.conns)}
}

func (p Progress) String() string {
	return fmt.Sprintf("%d of %d connections, %d failed", p.Ready, p.Of, p.Failed)
}
