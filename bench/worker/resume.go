package worker

import (
	"slices"
	"time"

	"github.com/zumodra/hub/bench/measure"
	"github.com/zumodra/hub/bench/target"
)

// resume asks for what is missing in conversations.
func (w *Worker) resume(i int32, convs ...int32) {
	c := &w.conns[i]
	var positions []target.Position
	for part := range slices.Chunk(convs, resumeBatch) {
		positions = positions[:0]
		for _, ci := range part {
			id := w.convs[ci].id
			positions = append(positions, target.Position{Conversation: id, Seq: w.lastSeq(c, ci)})
			if c.obs != nil {
				c.obs.Resumed(id)
			}
			if k := c.find(ci); k != nil {
				k.done = time.Time{}
			} else {
				c.asked = append(c.asked, asked{conv: ci})
			}
		}
		if b := w.tgt.Resume(w.buf[:0], positions); len(b) > 0 {
			w.write(i, b)
			continue
		}
		for _, ci := range part { // the protocol resumes by itself, or not at all
			w.caughtUp(i, ci)
		}
	}
}

func (c *conn) find(ci int32) *asked {
	for i := range c.asked {
		if c.asked[i].conv == ci {
			return &c.asked[i]
		}
	}
	return nil
}

// asks reports whether the answer to a resume is awaited.
func (c *conn) asks(ci int32) bool {
	k := c.find(ci)
	return k != nil && k.done.IsZero()
}

func (w *Worker) lastSeq(c *conn, ci int32) uint64 {
	if c.obs != nil {
		return c.obs.Last(w.convs[ci].id)
	}
	if j := slices.Index(c.convs, ci); j >= 0 {
		return c.seqs[j]
	}
	return 0
}

// askAgain repeats a resume that was refused, after a while.
func (w *Worker) askAgain(i, ci int32) {
	w.rec.Add("resumes refused", 1)
	opened := w.conns[i].opened
	w.loop.At(time.Now().Add(firstWait+time.Duration(w.rng.Int64N(int64(firstWait)))), func() {
		if c := &w.conns[i]; (c.ready || c.joining) && c.opened.Equal(opened) && c.asks(ci) {
			w.resume(i, ci)
		}
	})
}

// resumed ends the wait for what was missing in one conversation.
func (w *Worker) resumed(i int32, e *target.Event) {
	if ci, ok := w.byID[string(e.Conversation)]; ok {
		w.caughtUp(i, ci)
	}
}

func (w *Worker) caughtUp(i, ci int32) {
	c := &w.conns[i]
	k := c.find(ci)
	if k == nil || !k.done.IsZero() {
		return
	}
	now := time.Now()
	k.done = now
	w.touched = now
	c.asked = slices.DeleteFunc(c.asked, func(a asked) bool { return !a.done.IsZero() && now.Sub(a.done) > grace })
	if c.awaiting > 0 {
		switch c.awaiting--; {
		case c.awaiting > 0:
		case c.joining:
			c.joining = false
			w.use(i)
		default:
			w.isBack(i)
		}
	}
	w.repeat(i, ci)
}

// isBack: the session has all that it missed.
func (w *Worker) isBack(i int32) {
	c := &w.conns[i]
	if c.gap {
		w.rec.Add(measure.CountGaps, 1)
	} else {
		w.rec.Add(measure.CountResumed, 1)
	}
	w.rec.Record(measure.NameResume, w.cfg.Now().Sub(c.lost))
}

// repeat sends again what was not answered in a conversation before the connection was lost.
func (w *Worker) repeat(i, ci int32) {
	var again []uint64
	for n, p := range w.pending {
		if p.conn == i && p.conv == ci {
			again = append(again, n)
		}
	}
	slices.Sort(again) // as they were sent
	for _, n := range again {
		w.transmit(w.pending[n])
		w.rec.Add("repeats", 1)
	}
}

// gap: the target gives the newest events only. The client goes on from there.
func (w *Worker) gap(i int32, e *target.Event) {
	c := &w.conns[i]
	ci, ok := w.byID[string(e.Conversation)]
	if !ok || !c.asks(ci) {
		return
	}
	c.gap = true
	if c.obs != nil {
		c.obs.Gap(w.convs[ci].id, e.Seq, nil)
	} else if j := slices.Index(c.convs, ci); j >= 0 {
		c.seqs[j] = e.Seq
	}
	w.resume(i, ci) // what came meanwhile was put aside
}
