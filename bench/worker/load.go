package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/zumodra/hub/bench/arrival"
	"github.com/zumodra/hub/bench/check"
	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/scenario"
	"github.com/zumodra/hub/bench/target"
)

// stream is one Load of the scenario: what is due when, and who does it.
type stream struct {
	load  scenario.Load
	sched arrival.Schedule
	next  time.Duration
	from  int32 // conversations of the set
	to    int32
	pick  *scenario.Picker
}

// streams are the loads in which this worker has a part.
func (w *Worker) streams() (list []*stream, err error) {
	p := w.cfg.Plan
	_, sets := w.sc.World(p.Seed)
	length := time.Duration(w.sc.Warmup + w.sc.Duration)
	for i, l := range w.sc.Load {
		s := &stream{load: l, to: int32(len(w.convs))}
		if l.Of != "" {
			for j, set := range w.sc.Conversations {
				if set.Name == l.Of {
					s.from, s.to = int32(sets[j].From), int32(sets[j].To)
				}
			}
		}
		part, parts := w.share(s)
		if parts == 0 || part < 0 {
			continue
		}
		if l.Storm > 0 { // at all workers at the same time
			part, parts = 0, 1
		}
		if s.sched, err = arrival.New(l.Arrival, length, p.Seed+uint64(i)*0x9e3779b97f4a7c15, part, parts); err != nil {
			return nil, fmt.Errorf("load %d: %w", i, err)
		}
		if s.to > s.from {
			s.pick = scenario.NewPicker(int(s.to-s.from), l.Skew)
		}
		list = append(list, s)
	}
	return list, nil
}

// share is the place of this worker among those that have somebody who can act in the stream; -1: it has nobody.
func (w *Worker) share(s *stream) (part, parts int) {
	p := w.cfg.Plan
	online := int32(float64(w.sc.Users)*w.sc.Connections.Online + 0.5)
	has := make([]bool, p.Parts)
	if s.load.Op == scenario.Reconnect || s.to == s.from && s.load.Of == "" {
		for u := range min(online, int32(p.Parts)) {
			has[u] = true
		}
	}
	for ci := s.from; ci < s.to; ci++ {
		for _, u := range w.actors(&w.convs[ci], s.load.Senders) {
			if u < online {
				has[int(u)%p.Parts] = true
			}
		}
	}
	part = -1
	for i, yes := range has {
		if yes {
			if i == p.Part {
				part = parts
			}
			parts++
		}
	}
	return part, parts
}

// actors are the members of a conversation who may act in it.
func (w *Worker) actors(v *conv, senders int) []int32 {
	if senders > 0 && senders < len(v.members) {
		return v.members[:senders]
	}
	return v.members
}

// begin lets the load start at a time by the controller's clock.
func (w *Worker) begin(at time.Time) error {
	list, err := w.streams()
	if err != nil {
		return err
	}
	w.began = at.Add(time.Duration(w.sc.Warmup))
	w.rec.Begin()
	for _, s := range list {
		w.follow(s, at)
	}
	w.tick(-int(time.Duration(w.sc.Warmup) / time.Second))
	w.every(at, time.Duration(w.sc.Connections.Ping)/pingTurns, w.pings)
	w.every(at, time.Second, w.sample)
	w.mark(at.Add(time.Duration(w.sc.Warmup)), 0)
	w.mark(at.Add(time.Duration(w.sc.Warmup+w.sc.Duration)), 1)
	return nil
}

// follow does what is due, and comes back for what follows. start is the time of the stream's zero.
func (w *Worker) follow(s *stream, start time.Time) {
	var ok bool
	if s.next, ok = s.sched.Next(); !ok {
		return
	}
	var due func()
	due = func() {
		for !w.over {
			now, at := w.cfg.Now(), start.Add(s.next) // the clock each time: those behind many others are later than the first
			if at.After(now) {
				w.loop.At(w.local(at), due)
				return
			}
			w.rec.Add(measure.CountIntended, 1)
			w.do(s, at, now)
			if s.next, ok = s.sched.Next(); !ok {
				return
			}
		}
	}
	w.loop.At(w.local(start.Add(s.next)), due)
}

// local is a time of the controller's clock by this machine's.
func (w *Worker) local(at time.Time) time.Time { return time.Now().Add(at.Sub(w.cfg.Now())) }

// every calls f until the load is over.
func (w *Worker) every(at time.Time, d time.Duration, f func()) {
	if d <= 0 {
		return
	}
	var again func()
	again = func() {
		if w.over {
			return
		}
		f()
		at = at.Add(d)
		w.loop.At(w.local(at), again)
	}
	w.loop.At(w.local(at.Add(d)), again)
}

// tick ships what was measured, a second after the other.
func (w *Worker) tick(second int) {
	w.loop.At(w.local(w.began.Add(time.Duration(second+1)*time.Second)), func() {
		w.cut(second)
		if !w.closing {
			w.tick(second + 1)
		}
	})
}

func (w *Worker) cut(second int) {
	select {
	case w.parts <- w.rec.Cut(second, int64(w.ready)): // to be encoded elsewhere: that takes milliseconds
	case <-w.ctx.Done():
	}
}

// mark notes the processor time used so far.
func (w *Worker) mark(at time.Time, i int) {
	w.loop.At(w.local(at), func() { w.used[i] = processorTime() })
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pingTurns is in how many turns the clients ping, one after the other: all at once would be a storm.
const pingTurns = 200

// pings has the clients ping whose turn it is.
func (w *Worker) pings() {
	w.turn = (w.turn + 1) % pingTurns
	for i := w.turn; i < len(w.conns); i += pingTurns {
		if w.conns[i].ready {
			if b := w.tgt.Ping(w.buf[:0]); len(b) > 0 {
				w.write(int32(i), b)
			}
		}
	}
}

// tries is how many conversations are drawn for one that somebody here can act in.
const tries = 64

// actor draws a conversation of the stream, and a ready connection here of somebody who acts in it.
func (w *Worker) actor(s *stream) (ci, i int32, ok bool) {
	if s.pick == nil {
		if len(w.conns) == 0 {
			return -1, 0, false
		}
		i = int32(w.rng.IntN(len(w.conns)))
		return -1, i, w.conns[i].ready
	}
	for range tries {
		ci = s.from + int32(s.pick.Pick(w.rng))
		v := &w.convs[ci]
		local := v.local
		if s.load.Senders > 0 {
			who := w.actors(v, s.load.Senders)
			n := 0
			for n < len(local) && slices.Contains(who, w.conns[local[n]].user) {
				n++
			}
			local = local[:n]
		}
		if len(local) == 0 {
			continue
		}
		return ci, local[w.rng.IntN(len(local))], true
	}
	return 0, 0, false
}

// do is one operation that was due at a time.
func (w *Worker) do(s *stream, due, now time.Time) {
	w.rec.Record(measure.NameLateness, now.Sub(due))
	if s.load.Op == scenario.Reconnect {
		w.reconnect(s)
		return
	}
	ci, i, ok := w.actor(s)
	if !ok {
		w.rec.Add("skipped", 1)
		return
	}
	c := &w.conns[i]
	var b []byte
	switch s.load.Op {
	case scenario.Send:
		w.send(s, ci, i, due, now)
		return
	case scenario.Typing:
		b = w.tgt.Typing(w.buf[:0], w.convs[ci].id)
	case scenario.Read:
		if seq := min(w.convs[ci].lastSeq, w.lastSeq(c, ci)); seq > 0 && c.ready {
			w.marking(i, ci, seq)
			b = w.tgt.Read(w.buf[:0], w.convs[ci].id, seq)
		}
	case scenario.React:
		if v := &w.convs[ci]; v.lastLen > 0 {
			b = w.tgt.React(w.buf[:0], v.id, view(v.last[:v.lastLen]), "👍")
		}
	case scenario.Edit:
		if v := &w.convs[ci]; v.ownLen > 0 && w.conns[v.ownConn].ready {
			i = v.ownConn
			b = w.tgt.Edit(w.buf[:0], v.id, view(v.own[:v.ownLen]), v.ownKey+" edited")
		}
	default:
		w.call(string(s.load.Op), int(c.user), ci, due)
		return
	}
	if !w.conns[i].ready || len(b) == 0 || !w.write(i, b) {
		w.rec.Add("skipped", 1)
		return
	}
	w.rec.Add(string(s.load.Op), 1)
}

// send sends a message; while the connection is away it waits there, as at a client.
func (w *Worker) send(s *stream, ci, i int32, due, now time.Time) {
	w.sends++
	v := &w.convs[ci]
	p := &pending{conv: ci, conn: i, intended: due, sent: now, key: key(w.cfg.Plan.Run, w.cfg.Plan.Part, w.sends, due), size: s.load.Size.Draw(w.rng)}
	if w.chk != nil {
		c := &w.conns[i]
		w.chk.Sent(check.Send{Conversation: v.id, Sender: fmt.Sprintf("%s.%d", w.name(c.user), c.socket), User: w.name(c.user), Key: p.key, Intended: due})
	}
	w.pending[w.sends] = p
	w.rec.Add(measure.CountSent, 1)
	// Before it is caught up, earlier ones that were not answered have to be repeated first.
	if c := &w.conns[i]; c.ready && !c.asks(ci) {
		w.transmit(p)
	}
}

func (w *Worker) transmit(p *pending) {
	w.write(p.conn, w.tgt.Send(w.buf[:0], target.Message{Conversation: w.convs[p.conv].id, Key: p.key, Size: p.size, User: int(w.conns[p.conn].user)}))
}

// call asks over REST.
func (w *Worker) call(op string, user int, ci int32, due time.Time) {
	id := ""
	if ci >= 0 {
		id = w.convs[ci].id
	}
	if !w.ask(func(ctx context.Context) {
		err := w.tgt.Call(ctx, op, user, id)
		ended := w.cfg.Now()
		w.loop.Do(func() {
			w.waiting--
			switch {
			case errors.Is(err, target.ErrNotSupported):
				w.rec.Add("not supported: "+op, 1)
			case err != nil:
				w.rec.Add(measure.CountErrors, 1)
			default:
				w.rec.Record(op, ended.Sub(due))
			}
		})
	}) {
		w.rec.Add(measure.CountErrors, 1)
		w.rec.Add("queue full", 1)
	}
}

// reconnect has one connection lost, or a share of them all.
func (w *Worker) reconnect(s *stream) {
	if len(w.conns) == 0 {
		return
	}
	if s.load.Storm == 0 {
		w.lose(int32(w.rng.IntN(len(w.conns))))
		return
	}
	for i := range w.conns {
		if w.rng.Float64() < s.load.Storm {
			w.lose(int32(i))
		}
	}
}

// sample reads the conversations whose reads are checked with their sends. Each belongs to one worker.
func (w *Worker) sample() {
	p := w.cfg.Plan
	for ci := range w.convs {
		v := &w.convs[ci]
		if !v.sampled || ci%p.Parts != p.Part || len(v.members) == 0 {
			continue
		}
		user := int(v.members[w.rng.IntN(len(v.members))])
		w.ask(func(ctx context.Context) {
			done := w.chk.Read(w.tgt.User(user), v.id)
			if last, whole, err := w.tgt.Last(ctx, user, v.id); err == nil {
				done(last, whole)
			}
			w.loop.Do(func() { w.waiting-- })
		})
	}
}
