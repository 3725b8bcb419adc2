package conversation

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
	// readChunk is how many events are read at once.
	readChunk = 500
	// firstPart is how many are for a resume as long as it is not known how long they are, mostPart how many ever, and to
	// count.
	firstPart, mostPart = 32, 128
)

// pause waits before a retry, twice as long each time; it reports false if the registry gave up.
func (a *activation) pause(d *time.Duration) bool {
	if *d == 0 {
		*d = firstRetry
	}
	t := time.NewTimer(*d)
	defer t.Stop()
	*d = min(2**d, lastRetry)
	select {
	case <-t.C:
		return true
	case <-a.term.ctx.Done():
		return false
	}
}

// commit makes a batch durable, by itself or with the next group, and hands it back.
func (a *activation) commit(j commitJob) {
	g, b := a.reg, j.b
	if a.term.lost.Load() && !j.tried { // nobody waits for it
		b.Err = chat.ErrMoved
		j.done()
		return
	}
	select {
	case g.commits <- struct{}{}:
	default:
		select {
		case g.commits <- struct{}{}:
		case <-a.term.ctx.Done():
			b.Err = chat.ErrShutdown
			if j.tried {
				b.Err = chat.ErrUnknown
			}
			j.done()
			return
		}
	}
	first := j.start.IsZero() // it has not been in a group
	if first {
		j.start = g.cfg.Now()
		b.Err = a.prepare(b)
	}
	if b.Err == nil && len(b.Events) > 0 {
		if first && g.committers.grouping() {
			<-g.commits
			g.committers.join(j)
			return
		}
		b.Err = a.untilKnown(j.tried, func() error { return a.term.store.AppendEvents(a.term.ctx, a.key, b.Events) })
	}
	<-g.commits
	g.cfg.Observer.Committed(len(b.Events), g.cfg.Now().Sub(j.start))
	j.done()
}

// prepare numbers the events, once it is known which are new, and marks the conversation.
func (a *activation) prepare(b *Batch) error {
	ctx, store := a.term.ctx, a.term.store
	var found []uint64
	if len(b.Check) > 0 {
		var err error
		if found, err = store.FindDuplicates(ctx, a.key, b.Check); err != nil {
			return fmt.Errorf("%w: find duplicates: %w", chat.ErrUnavailable, known(err))
		}
	}
	b.Number(found)
	if len(b.Events) == 0 {
		return nil
	}
	if !b.marked {
		if err := store.MarkDirty(ctx, a.key); err != nil {
			return fmt.Errorf("%w: mark dirty: %w", chat.ErrUnavailable, known(err))
		}
		b.marked = true
	}
	return nil
}

// known strips a chat.ErrUnknown from an error of a step after which nothing was appended for sure.
func known(err error) error { return errors.New(err.Error()) }

// untilKnown repeats a write until it is known to have happened, or to have been refused before any of it may
// have happened; tried: it may have happened before.
func (a *activation) untilKnown(tried bool, write func() error) error {
	var wait time.Duration
	for ; ; tried = true {
		err := write()
		if err == nil || !tried && Refused(err) {
			return err
		}
		if errors.Is(err, chat.ErrFenced) { // an earlier attempt may have come before the fence
			return fmt.Errorf("%w: %w", chat.ErrUnknown, err)
		}
		if a.term.ctx.Err() != nil || !a.owns() || !a.pause(&wait) {
			return fmt.Errorf("%w: %w", chat.ErrUnknown, err)
		}
		a.reg.cfg.Observer.CommitRetried()
	}
}

// owned carries a write out unless the conversation is not this node's: one that was suspended must not overwrite what
// its successor wrote. The check narrows the window in which it could; what an owner acknowledges is checked after.
func (a *activation) owned(write func() error) error {
	if !a.owns() {
		return notOwner(a.key)
	}
	return write()
}

// clear takes the dirty mark away. Commits wait meanwhile, so that none sets the mark before it is cleared.
func (a *activation) clear() {
	a.start(func() any {
		clearDirty := func() error { return a.term.store.ClearDirty(a.term.ctx, a.key) }
		err := a.owned(clearDirty)
		var wait time.Duration
		for range 3 {
			if err == nil || !a.pause(&wait) {
				break
			}
			err = a.owned(clearDirty)
		}
		if err != nil {
			a.reg.cfg.Log.Warn("dirty mark stays: the conversation will be checked again",
				"tenant", string(a.key.Tenant), "conversation", a.key.ID.String(), "error", err)
		}
		return cleared{err}
	})
}

// write carries out a change of derived rows.
func (a *activation) write(w *Write) *Write {
	ctx, store := a.term.ctx, a.term.store
	if w.Watermarks {
		w.Err = a.untilKnown(false, func() error {
			return a.owned(func() error {
				if !w.Personal.IsZero() { // first: the members' rows say that it is there
					if err := store.SavePersonal(ctx, a.key, w.Personal); err != nil {
						return err
					}
				}
				return store.SaveWatermarks(ctx, a.key, w.Members, w.Receipts)
			})
		})
		w.Lost = w.Err == nil && !a.owns()
		return w
	}
	var wait time.Duration
	for {
		w.Err = a.owned(func() error {
			if w.Delete {
				return store.DeleteConversation(ctx, a.key, w.Users)
			}
			return store.SaveDerived(ctx, a.key, *w.Derived)
		})
		if w.Err == nil || errors.Is(w.Err, chat.ErrFenced) || ctx.Err() != nil || !a.pause(&wait) {
			return w
		}
	}
}

// read looks into the log.
func (a *activation) read(r *Read) *Read {
	ctx, store := a.term.ctx, a.term.store
	if r.Conceal || r.Kind == ReadHidden {
		if r.Hidden, r.Err = store.ListHidden(ctx, a.key, r.User); r.Err != nil {
			return r
		}
	}
	switch r.Kind {
	case ReadOne, ReadHidden:
		var e chat.Event
		if e, r.Err = store.GetEvent(ctx, a.key, r.To); r.Err == nil {
			r.Events = []chat.Event{e}
		}
	case ReadRange:
		a.readRange(r)
	case ReadCount:
		r.Err = a.scan(r.From, r.To, mostPart, func(es []chat.Event) int {
			for i := range es {
				if es[i].IsMessage() && es[i].Actor == r.User {
					r.Count++
				}
			}
			return mostPart
		})
	case ReadBack:
		r.Err = store.ReadEventsReverse(ctx, a.key, r.To, readChunk, func(e chat.Event) bool {
			if len(r.Events) == 0 || e.IsMessage() {
				r.Events = append(r.Events, e)
			}
			return !e.IsMessage()
		})
	}
	return r
}

// readRange reads no more than a resume may bring, in parts that are no larger where events are as long as those before them.
func (a *activation) readRange(r *Read) {
	size := 0
	r.Err = a.scan(r.From, r.To, firstPart, func(es []chat.Event) int {
		r.Events = append(r.Events, es...)
		for i := range es {
			size += len(es[i].Content)
			for _, u := range es[i].Users {
				size += len(u)
			}
		}
		if size > maxResumeBytes {
			r.Events, r.Large = nil, true
			return 0
		}
		return min(mostPart, 1+(maxResumeBytes-size)/max(1, size/len(r.Events)))
	})
}

// scan reads the events from … to, in order and without a gap as far as there are any: n of them, then as many as f answers,
// until that is 0.
func (a *activation) scan(from, to uint64, n int, f func([]chat.Event) int) error {
	for from <= to && n > 0 {
		es, err := a.term.store.ReadEvents(a.term.ctx, a.key, from, to, n)
		if err != nil {
			return err
		}
		if len(es) == 0 {
			return nil
		}
		n = f(es)
		from = es[len(es)-1].Seq + 1
	}
	return nil
}

// load reads the stored state: what is derived, and the log behind it.
func (a *activation) load() any {
	for _, ended := range a.after {
		<-ended // its I/O was given up
	}
	l := new(Loaded)
	err := a.loadInto(l)
	if errors.Is(err, chat.ErrFenced) {
		l.Err = fmt.Errorf("%w: %w", notOwner(a.key), err)
		return l
	}
	if err != nil {
		l.Err = fmt.Errorf("%w: load conversation: %w", chat.ErrUnavailable, err)
		return l
	}
	newest := l.Head.Epoch
	if n := len(l.Tail); n > 0 {
		newest = max(newest, l.Tail[n-1].Epoch)
	}
	if newest > a.term.epoch {
		// Readers drop what we would append behind it: it must not be acknowledged.
		l.Err = fmt.Errorf("%w: it was written under epoch %d, ours is %d", notOwner(a.key), newest, a.term.epoch)
		return l
	}
	if err := a.seal(l.Tail); err != nil {
		l.Err = fmt.Errorf("%w: load conversation: %w", chat.ErrUnavailable, err)
	}
	return l
}

// seal writes what the log has behind the stored head again, under this term's epoch, if some of it is older than the
// last term: of two former owners that died with a write under way to the same seq, that of the newer one may still
// land, and would replace what readers have seen by then (cluster/lease, TestModelSeal). It goes from the end to the
// beginning, so that epochs do not fall along the log if this term ends in the middle.
func (a *activation) seal(tail []chat.Event) error {
	if len(tail) == 0 || tail[0].Epoch+1 >= a.term.epoch {
		return nil
	}
	for i := len(tail) - 1; i >= 0; i-- {
		tail[i].Epoch = a.term.epoch
		err := a.untilKnown(false, func() error { return a.term.store.AppendEvents(a.term.ctx, a.key, tail[i:i+1]) })
		if err != nil {
			return fmt.Errorf("seal event %d: %w", tail[i].Seq, err)
		}
	}
	if !a.owns() {
		return notOwner(a.key)
	}
	return nil
}

// loadTail reads what the log has behind the stored head. With strict fencing each part is fenced before it is read, so that
// what is read is all that former owners have written, and ever will. Parts behind the one that the log ends in need no fence: a
// former owner gets there through that one alone. Nor do those before the head: what a former owner might still rewrite there
// it takes from the log, of which this one knows more, and rewrites later.
func (a *activation) loadTail(l *Loaded) error {
	for from := l.Head.Seq + 1; ; {
		last := uint64(math.MaxInt64)
		if f := a.term.fences; f != nil {
			var err error
			if last, err = f.Fence(a.term.ctx, a.key, from); err != nil {
				return err
			}
		}
		if err := a.scan(from, last, readChunk, func(es []chat.Event) int {
			l.Tail = append(l.Tail, es...)
			return readChunk
		}); err != nil {
			return err
		}
		if n := len(l.Tail); n == 0 || l.Tail[n-1].Seq < last {
			return nil
		}
		from = last + 1
	}
}

// damaged says that the log lacks an event that it must have.
func (a *activation) damaged(seq uint64) {
	a.reg.cfg.Log.Error("the log of a conversation has a hole", "tenant", string(a.key.Tenant),
		"conversation", a.key.ID.String(), "seq", seq)
}

func (a *activation) loadInto(l *Loaded) error {
	ctx, store := a.term.ctx, a.term.store
	var err error
	l.Head, l.Members, err = store.LoadConversation(ctx, a.key)
	if err != nil && !errors.Is(err, chat.ErrNotFound) {
		return err
	}
	if err != nil {
		l.Head, l.Members = chat.Head{}, nil
	}
	if err = a.loadTail(l); err != nil {
		return err
	}
	for i := range l.Tail {
		if want := l.Head.Seq + 1 + uint64(i); l.Tail[i].Seq != want {
			a.damaged(want)
			return fmt.Errorf("event %d is missing", want)
		}
	}
	if l.Head.Seq > 0 {
		var back []chat.Event
		err = store.ReadEventsReverse(ctx, a.key, l.Head.Seq, a.reg.cfg.Replay, func(e chat.Event) bool {
			back = append(back, e)
			return len(back) < a.reg.cfg.Replay
		})
		if err != nil {
			return err
		}
		n := 0
		for n < len(back) && back[n].Seq == l.Head.Seq-uint64(n) {
			n++
		}
		if n < len(back) || n == 0 { // it goes on with what it has
			a.damaged(l.Head.Seq - uint64(n))
		}
		for i := n - 1; i >= 0; i-- {
			l.Recent = append(l.Recent, back[i])
		}
	}
	if err := a.loadBar(l); err != nil {
		return err
	}
	for _, seq := range Targets(l.Tail) {
		e, err := store.GetEvent(ctx, a.key, seq)
		if errors.Is(err, chat.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l.Rows = append(l.Rows, e)
	}
	return nil
}
