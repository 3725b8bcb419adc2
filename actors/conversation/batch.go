package conversation

import (
	"errors"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// item is an accepted command in the order of the log. One without event waits for those before it, because
// its answer follows from them.
type item struct {
	req    *Request
	ev     chat.Event
	second *chat.Event // a second event of the same command
	has    bool        // ev is an event
	dup    bool        // repeats a message that is accepted and not committed
	row    *chat.Event // the message as this command leaves it
	was    *chat.Event // and as it found it
	// replyTo is the place of the message that this one answers, whose row waits for it; 0: none.
	replyTo uint64
	ord     uint64
	size    int

	at    int    // place of ev in Batch.Events; -1: none
	found uint64 // seq of the earlier event that the store knows
}

// Batch is a group commit: frozen from the moment it leaves the core until it comes back.
type Batch struct {
	// Check names the messages that the store must be asked for first; see Number.
	Check []chat.SenderClientID
	// Events are to be appended; set by Number. Empty if all turned out to be duplicates.
	Events []chat.Event
	// Err is the outcome: nil, or a definite refusal (nothing was written).
	Err error
	// Lost says that the write happened while the conversation was not ours any more.
	Lost bool
	// At is when the oldest command of the batch was accepted.
	At time.Time

	key        chat.ConversationKey
	epoch      uint64
	seq, msgNo uint64
	items      []item
	checked    []int
	marked     bool // the dirty mark is set
	woken      *runner
	lone       *lone
	deliveries []*chat.Delivery
}

// lone is what one message needs once it is committed, in one allocation.
type lone struct {
	events   [1]chat.Event
	delivery chat.Delivery
	notices  [1]chat.Notice
}

// form starts the next commit.
func (s *State) form() {
	if s.inflight || len(s.pending) == 0 || s.phase != ready {
		return
	}
	b := s.batch
	if b == nil {
		b = new(Batch)
		s.batch = b
	}
	n, events, bytes := 0, 0, 0
	for n < len(s.pending) {
		it := &s.pending[n]
		k := 0
		if it.has {
			k++
		}
		if it.second != nil {
			k++
		}
		if n > 0 && (events+k > MaxBatch || bytes+it.size > MaxBatchBytes) {
			break
		}
		events, bytes, n = events+k, bytes+it.size, n+1
	}
	*b = Batch{key: s.key, epoch: s.epoch, seq: s.head.Seq, msgNo: s.head.MsgNo,
		items: append(b.items[:0], s.pending[:n]...), Check: b.Check[:0], checked: b.checked[:0],
		deliveries: b.deliveries[:0]}
	left := copy(s.pending, s.pending[n:])
	clear(s.pending[left:])
	s.pending = s.pending[:left]
	for i := range b.items {
		it := &b.items[i]
		if b.At.IsZero() || it.req.At.Before(b.At) {
			b.At = it.req.At
		}
		if it.has && it.ev.Type == chat.EventMessage && it.ev.ClientID != "" {
			if id := (chat.SenderClientID{Sender: it.ev.Actor, ClientID: it.ev.ClientID}); s.window.unsure(id) {
				b.Check = append(b.Check, id)
				b.checked = append(b.checked, i)
			}
		}
	}
	s.inflight = true
	s.fx.Commit = b
}

// Number gives the events of the batch their numbers. found holds, for each of Check, the seq that the store
// knows it by, or 0; nil if Check is empty. It touches nothing but the batch.
func (b *Batch) Number(found []uint64) {
	for i, at := range b.checked {
		if i < len(found) {
			b.items[at].found = found[i]
		}
	}
	n := 0
	for i := range b.items {
		if it := &b.items[i]; it.has && it.found == 0 {
			n++
			if it.second != nil {
				n++
			}
		}
	}
	switch {
	case n == 0:
		b.Events = nil
	case n == 1:
		b.lone = new(lone)
		b.Events = b.lone.events[:0]
	default:
		b.Events = make([]chat.Event, 0, n)
	}
	for i := range b.items {
		it := &b.items[i]
		it.at = -1
		if !it.has || it.found != 0 {
			continue
		}
		it.at = len(b.Events)
		b.number(&it.ev)
		if it.second != nil {
			b.number(it.second)
		}
	}
}

func (b *Batch) number(e *chat.Event) {
	b.seq++
	e.Seq, e.Epoch = b.seq, b.epoch
	if e.Type == chat.EventMessage {
		b.msgNo++
		e.Message, e.MessageSeq = chat.NewMessageID(b.key, e.Seq, e.At), e.Seq
	}
	e.MsgNo = b.msgNo
	b.Events = append(b.Events, *e)
}

// Len is the number of commands in the batch.
func (b *Batch) Len() int { return len(b.items) }

// Refused reports whether err says for sure that nothing was written. Anything else leaves the outcome unknown.
func Refused(err error) bool {
	if errors.Is(err, chat.ErrUnknown) {
		return false
	}
	return errors.Is(err, chat.ErrInvalid) || errors.Is(err, chat.ErrUnavailable) ||
		errors.Is(err, chat.ErrOverloaded) || errors.Is(err, chat.ErrShutdown) || errors.Is(err, chat.ErrMoved) ||
		errors.Is(err, chat.ErrFenced)
}

// committed takes the outcome of the batch.
func (s *State) committed(b *Batch) {
	if !s.inflight || b != s.batch {
		return
	}
	switch {
	case b.Lost || b.Err != nil && !Refused(b.Err):
		err := b.Err
		if err == nil {
			err = notOwner(s.key)
		}
		s.abort(err)
		return
	case b.Err != nil:
		s.inflight = false
		s.rollback(b)
		return
	}
	s.inflight = false
	if len(b.Events) > 0 && s.dirtySince.IsZero() {
		s.dirtySince = s.now
	}
	for i := range b.items {
		it := &b.items[i]
		s.committedOrd = it.ord
		if it.at < 0 {
			s.settle(b, it)
			continue
		}
		s.fx.Committed++
		e := &b.Events[it.at]
		s.commitEvent(b, it, e)
		res := chat.Result{Event: e}
		if it.second != nil {
			s.fx.Committed++
			s.commitEvent(b, it, &b.Events[it.at+1])
		}
		if wantsView(it.req.Command) && s.exists() {
			res.View = s.view(s.find(it.req.Principal.User))
		}
		if _, ok := it.req.Command.(chat.Create); ok {
			res.Created = true
		}
		s.reply(it.req, res)
	}
	// Answers leave before the fan-out that they announce, deliveries in log order.
	s.flushDeliveries(b)
	clear(b.items)
	b.items = b.items[:0]
	s.relax()
	if s.barrier != 0 && s.barrier <= s.committedOrd {
		// A change of membership shows in users' lists once the derived rows are saved: until then nobody is
		// told of it, and nothing behind it is judged.
		s.held = append(s.held, s.fx.Out...)
		s.fx.Out = s.fx.Out[:0]
		s.urgent = true
		return
	}
	s.undefer()
}

func wantsView(c chat.Command) bool {
	switch c.(type) {
	case chat.Create, chat.AddMembers, chat.RemoveMembers, chat.Rename, chat.SetRole, chat.SetPermissions:
		return true
	}
	return false
}

// settle answers an item that appended nothing.
func (s *State) settle(b *Batch, it *item) {
	s.unanswered(it)
	if _, ok := it.req.Command.(Bar); ok {
		s.reply(it.req, chat.Result{})
		if s.bar.on {
			s.delivery(b, s.set).Detached = s.set.Users
		}
		return
	}
	seq := it.found
	id := chat.SenderClientID{}
	if c, ok := it.req.Command.(chat.Send); ok {
		id = chat.SenderClientID{Sender: it.req.Principal.User, ClientID: c.ClientID}
	}
	if it.dup {
		seq, _ = s.window.get(id)
	}
	if seq == 0 {
		s.reply(it.req, chat.Result{})
		return
	}
	if it.found != 0 {
		s.window.put(id, seq, s.savedSeq)
	}
	s.duplicate(it.req, seq)
}

// rollback undoes what was accepted on top of the committed state: the batch's commands get the error, those
// behind them are judged again.
func (s *State) rollback(b *Batch) {
	for i := range b.items {
		s.unaccept(&b.items[i])
		s.fail(b.items[i].req, fmt.Errorf("commit: %w", b.Err))
	}
	again := make([]*Request, 0, len(s.pending)+len(s.deferred))
	for i := range s.pending {
		s.unaccept(&s.pending[i])
		again = append(again, s.pending[i].req)
	}
	for seq, r := range s.rows {
		switch {
		case r.committed != nil:
			r.accepted = r.committed
		default:
			delete(s.rows, seq)
		}
	}
	clear(b.items)
	b.items = b.items[:0]
	clear(s.pending)
	s.pending = s.pending[:0]
	s.deferred = append(again, s.deferred...)
	s.barrier = 0
	s.undefer()
}

func (s *State) unaccept(it *item) {
	s.unanswered(it)
	if it.has && it.ev.Type == chat.EventMessage && it.ev.ClientID != "" {
		s.window.drop(chat.SenderClientID{Sender: it.ev.Actor, ClientID: it.ev.ClientID})
	}
}

// unanswered takes back that a reply waits for its commit.
func (s *State) unanswered(it *item) {
	if w := s.rows[it.replyTo]; it.replyTo != 0 && w != nil {
		w.replies--
		it.replyTo = 0
	}
}

// relax gives back what a burst left behind.
func (s *State) relax() {
	if cap(s.pending) > 32 && len(s.pending) == 0 {
		s.pending = nil
	}
	if s.batch != nil && cap(s.batch.items) > 32 && !s.inflight {
		s.batch = nil
	}
}
