package actors

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/zumodra/hub/chat"
)

const (
	// deep is the distance from which on a place in a log is searched by halving rather than walked to.
	deep = 256
	// logChunk is how many events a walk reads at once, at least.
	logChunk = 32
)

// position of a message among all: by time, then id.
type position struct {
	at time.Time
	id chat.MessageID
}

func (p position) before(q position) bool {
	if !p.at.Equal(q.at) {
		return p.at.Before(q.at)
	}
	return bytes.Compare(p.id[:], q.id[:]) < 0
}

// reader walks the messages of one conversation from new to old, as one member may see them.
type reader struct {
	h       *Hub
	view    *chat.View
	changed map[uint64]*chat.Event // rows newer than the store's
	next    uint64                 // seq to go on from; 0: at the end
	buf     []chat.Event           // messages read, newest first
	hidden  []chat.HiddenMessage   // by seq: the member does not see these
}

// reader asks the conversation for leave to read, and how far.
func (h *Hub) reader(ctx context.Context, p chat.Principal, id chat.ConversationID) (*reader, error) {
	got, err := h.leave(ctx, p, id)
	if err != nil {
		return nil, err
	}
	r := &reader{h: h, view: got.View, next: got.View.Head.Seq}
	if got.View.Me.HiddenMessages > 0 {
		if r.hidden, err = h.store.ListHidden(ctx, r.key(), p.User); err != nil {
			return nil, fmt.Errorf("list hidden messages: %w", err)
		}
		r.hidden = slices.DeleteFunc(r.hidden, func(x chat.HiddenMessage) bool { return x.Seq > r.next }) // since
	}
	for _, e := range got.Rewritten {
		if r.changed == nil {
			r.changed = make(map[uint64]*chat.Event)
		}
		r.changed[e.Seq] = e
	}
	return r, nil
}

// leave is the conversation's leave to read it, with the message rows that the store does not show yet.
func (h *Hub) leave(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.Reading, error) {
	if h.closed.Load() {
		return chat.Reading{}, fmt.Errorf("conversation %s: %w", id, chat.ErrShutdown)
	}
	got, err := decide[chat.Reading](ctx, h, chat.ConversationKey{Tenant: p.Tenant, ID: id}.Shard(), chat.Read{Principal: p, Conversation: id})
	return got, unattached(id, err)
}

func (r *reader) key() chat.ConversationKey { return r.view.Head.Key }

// fill makes sure that the next message is at hand; want says how many more will be asked for.
func (r *reader) fill(ctx context.Context, want int) error {
	for len(r.buf) == 0 && r.next > 0 {
		from, n := r.next, 0
		limit := max(want+want/4, logChunk)
		r.buf = r.buf[:0]
		err := r.h.store.ReadEventsReverse(ctx, r.key(), from, limit, func(e chat.Event) bool {
			r.next = e.Seq - 1
			n++
			if e.IsMessage() && !r.hides(e.Seq) {
				r.buf = append(r.buf, r.present(e))
			}
			return true
		})
		if err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		if n == 0 {
			r.next = 0
		}
	}
	return nil
}

// present is the message as it is now; nothing is left of one that was deleted.
func (r *reader) present(e chat.Event) chat.Event {
	if c := r.changed[e.Seq]; c != nil {
		e = *c
	}
	if !e.DeletedAt.IsZero() {
		e.Content, e.Reactions, e.File = "", nil, nil
		if x := e.More(); e.Extras != nil {
			e.Extras = &chat.Extras{ReplyTo: x.ReplyTo, Replies: x.Replies, LastReply: x.LastReply}
		}
	}
	return e
}

func (r *reader) take() chat.Event {
	e := r.buf[0]
	r.buf = r.buf[1:]
	return e
}

// event reads the event at seq, which is not beyond the head.
func (r *reader) event(ctx context.Context, seq uint64) (chat.Event, error) {
	e, err := r.h.store.GetEvent(ctx, r.key(), seq)
	if err != nil {
		return e, fmt.Errorf("read event %d of %s: %w", seq, r.key(), err)
	}
	return e, nil
}

// search returns the last seq up to the head for which ok holds, given that it holds for a prefix of the log;
// 0 if for none.
func (r *reader) search(ctx context.Context, ok func(*chat.Event) bool) (uint64, error) {
	var failed error
	n := sort.Search(int(r.view.Head.Seq), func(i int) bool {
		if failed != nil {
			return true
		}
		e, err := r.event(ctx, uint64(i)+1)
		if err != nil {
			failed = err
			return true
		}
		return !ok(&e)
	})
	return uint64(n), failed
}

// skip leaves out n more messages. However many they are, few events are read.
func (r *reader) skip(ctx context.Context, n int) error {
	if n <= 0 || r.next == 0 {
		return nil
	}
	left := r.total()
	if r.next < r.view.Head.Seq {
		e, err := r.event(ctx, r.next)
		if err != nil {
			return err
		}
		left = e.MsgNo
		for i := range r.hidden {
			if r.hidden[i].Seq <= r.next {
				left--
			}
		}
	}
	if uint64(n) >= left {
		r.next = 0
		return nil
	}
	if n > deep {
		last := r.numbered(left - uint64(n))
		seq, err := r.search(ctx, func(e *chat.Event) bool { return e.MsgNo <= last })
		r.next = seq
		return err
	}
	return r.walk(ctx, n)
}

// olderThan leaves out everything from t on.
func (r *reader) olderThan(ctx context.Context, t time.Time) (err error) {
	r.next, err = r.search(ctx, func(e *chat.Event) bool { return e.At.Before(t) })
	return err
}

// Messages selects messages, newest first. Deleted ones are there, empty.
func (h *Hub) Messages(ctx context.Context, p chat.Principal, q chat.MessageQuery) (chat.MessagePage, error) {
	q.Limit = min(max(q.Limit, 0), maxPage)
	q.Offset = max(q.Offset, 0)
	if !q.ReplyTo.IsZero() {
		return h.replies(ctx, p, q)
	}
	if q.Conversation.IsZero() {
		return h.allMessages(ctx, p, q)
	}
	r, err := h.reader(ctx, p, q.Conversation)
	if err != nil {
		return chat.MessagePage{}, err
	}
	page := chat.MessagePage{Total: int(r.total())}
	switch {
	case !q.Before.IsZero():
		e, err := r.findAny(ctx, q.Before)
		if err != nil {
			return chat.MessagePage{}, err
		}
		r.next = e.Seq - 1
	case !q.BeforeTime.IsZero():
		err = r.olderThan(ctx, q.BeforeTime)
	}
	if err != nil {
		return chat.MessagePage{}, err
	}
	if err := r.skip(ctx, q.Offset); err != nil {
		return chat.MessagePage{}, err
	}
	var rows []found
	for len(rows) < q.Limit {
		if err := r.fill(ctx, q.Limit-len(rows)); err != nil {
			return chat.MessagePage{}, err
		}
		if len(r.buf) == 0 {
			break
		}
		rows = append(rows, found{r, r.take()})
	}
	if err := r.fill(ctx, 1); err != nil {
		return chat.MessagePage{}, err
	}
	page.More = len(r.buf) > 0
	page.Items, err = h.messageItems(ctx, p, rows)
	return page, err
}

// walk leaves out n more messages.
func (r *reader) walk(ctx context.Context, n int) error {
	for ; n > 0; n-- {
		if err := r.fill(ctx, n); err != nil {
			return err
		}
		if len(r.buf) == 0 {
			return nil
		}
		r.take()
	}
	return nil
}

// find reads the message that id names, or says chat.ErrNotFound.
func (r *reader) find(ctx context.Context, id chat.MessageID) (chat.Event, error) {
	e, err := r.findAny(ctx, id)
	if err == nil && r.hides(e.Seq) {
		return chat.Event{}, fmt.Errorf("message %s: %w", id, chat.ErrNotFound)
	}
	return e, err
}

// findAny is find, also of one that the reader has hidden: to go on behind it, or to hide it again.
func (r *reader) findAny(ctx context.Context, id chat.MessageID) (chat.Event, error) {
	seq := id.Seq()
	if !id.MayBelongTo(r.key()) || seq == 0 || seq > r.view.Head.Seq {
		return chat.Event{}, fmt.Errorf("message %s: %w", id, chat.ErrNotFound)
	}
	e, err := r.event(ctx, seq)
	if err != nil {
		return e, err
	}
	if !e.IsMessage() || e.Message != id {
		return e, fmt.Errorf("message %s: %w", id, chat.ErrNotFound)
	}
	return r.present(e), nil
}

type found struct {
	r *reader
	e chat.Event
}

func (h *Hub) messageItems(ctx context.Context, p chat.Principal, rows []found) ([]chat.MessageItem, error) {
	users := newUserSet(p.Tenant)
	for i := range rows {
		users.want(rows[i].e.Actor)
	}
	if err := users.fetch(ctx, h.store); err != nil {
		return nil, err
	}
	out := make([]chat.MessageItem, len(rows))
	for i, f := range rows {
		out[i] = chat.MessageItem{Conversation: f.r.key().ID, Event: f.e, Sender: users.get(f.e.Actor, f.e.ActorName),
			IsOwn: f.e.Actor == p.User, IsRead: f.r.view.ReadByOther(f.e.Actor, f.e.Seq)}
	}
	return out, nil
}

// Message is one message of a conversation of the caller's, with who has read it.
func (h *Hub) Message(ctx context.Context, p chat.Principal, id chat.MessageID) (chat.MessageItem, error) {
	r, e, err := h.locate(ctx, p, id)
	if err != nil {
		return chat.MessageItem{}, err
	}
	items, err := h.messageItems(ctx, p, []found{{r, e}})
	if err != nil {
		return chat.MessageItem{}, err
	}
	page, err := h.readers(ctx, r, &e, chat.ReceiptQuery{Limit: maxReadBy})
	if err != nil {
		return chat.MessageItem{}, err
	}
	items[0].ReadBy, items[0].Readers = page.Receipts, page.Total
	sort.Slice(items[0].ReadBy, func(i, j int) bool {
		a, b := items[0].ReadBy[i], items[0].ReadBy[j]
		return a.At.Before(b.At) || a.At.Equal(b.At) && a.User < b.User
	})
	items[0].IsRead = items[0].IsRead || page.Total > 0
	return items[0], nil
}

// maxReadBy is how many readers come with a message.
const maxReadBy = 100

// Readers are the members who have read a message, and when, in the order of the events up to which they read.
func (h *Hub) Readers(ctx context.Context, p chat.Principal, id chat.MessageID, q chat.ReceiptQuery) (chat.ReaderPage, error) {
	r, e, err := h.locate(ctx, p, id)
	if err != nil {
		return chat.ReaderPage{}, err
	}
	return h.readers(ctx, r, &e, q)
}

// readers leaves out the sender and who has left since, also if they are back. Once all are found nothing more is read.
func (h *Hub) readers(ctx context.Context, r *reader, e *chat.Event, q chat.ReceiptQuery) (out chat.ReaderPage, err error) {
	var late []chat.UserID
	if out.Total, late, err = h.store.CountReaders(ctx, r.key(), e.Actor, e.Seq); err != nil {
		return out, fmt.Errorf("count readers: %w", err)
	}
	q.Kind, q.Seq = chat.ReceiptRead, e.Seq
	if out.Total == 0 {
		return out, nil
	}
	page, err := h.store.ListReceipts(ctx, r.key(), q)
	if err != nil {
		return out, fmt.Errorf("list receipts: %w", err)
	}
	out.More, out.Next, out.NextUser = page.More, page.Next, page.NextUser
	for _, x := range page.Receipts {
		if _, back := slices.BinarySearch(late, x.User); x.User != e.Actor && !back && r.view.Members.Contains(x.User) {
			out.Receipts = append(out.Receipts, x)
		}
	}
	if q.After == 0 && len(out.Receipts) >= out.Total {
		out.More = false
	}
	return out, nil
}

// locate finds the conversation of a message among the caller's.
func (h *Hub) locate(ctx context.Context, p chat.Principal, id chat.MessageID) (*reader, chat.Event, error) {
	r, e, err := h.locateAny(ctx, p, id)
	if err == nil && r.hides(e.Seq) {
		return nil, chat.Event{}, fmt.Errorf("message %s: %w", id, chat.ErrNotFound)
	}
	return r, e, err
}

// locateAny is locate, also of a message that the caller has hidden.
func (h *Hub) locateAny(ctx context.Context, p chat.Principal, id chat.MessageID) (*reader, chat.Event, error) {
	rows, err := h.store.ListMemberships(ctx, p.Key())
	if err != nil {
		return nil, chat.Event{}, fmt.Errorf("list memberships: %w", err)
	}
	for _, row := range rows {
		if !id.MayBelongTo(row.Key) {
			continue
		}
		r, err := h.reader(ctx, p, row.Key.ID)
		var e chat.Event
		if err == nil {
			e, err = r.findAny(ctx, id)
		}
		if err == nil || !errors.Is(err, chat.ErrNotFound) {
			return r, e, err
		}
	}
	return nil, chat.Event{}, fmt.Errorf("message %s: %w", id, chat.ErrNotFound)
}

// source is a conversation in the merge of all: closed it stands at the time of its last message, open at its
// next message.
type source struct {
	pos  position
	id   chat.ConversationID
	open *reader
}

type sources []*source

func (s sources) Len() int           { return len(s) }
func (s sources) Less(i, j int) bool { return s[j].pos.before(s[i].pos) }
func (s sources) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *sources) Push(x any)        { *s = append(*s, x.(*source)) }
func (s *sources) Pop() any {
	old := *s
	x := old[len(old)-1]
	*s = old[:len(old)-1]
	return x
}

// allMessages merges all conversations of the caller; those whose messages are not reached are not read.
func (h *Hub) allMessages(ctx context.Context, p chat.Principal, q chat.MessageQuery) (chat.MessagePage, error) {
	if q.Offset > maxOffset {
		return chat.MessagePage{}, &chat.FieldError{Field: "page", Text: fmt.Sprintf("At most %d messages can be skipped.", maxOffset)}
	}
	all, err := h.standings(ctx, p.Key())
	if err != nil {
		return chat.MessagePage{}, err
	}
	limit := position{at: q.BeforeTime}
	if !q.Before.IsZero() {
		_, e, err := h.locateAny(ctx, p, q.Before)
		if err != nil {
			return chat.MessagePage{}, err
		}
		limit = position{e.At, e.Message}
	}
	var page chat.MessagePage
	var queue sources
	for _, s := range all {
		page.Total += int(s.head.MsgNo - min(s.me.HiddenMessages, s.head.MsgNo))
		if s.head.MsgNo > 0 {
			queue = append(queue, &source{pos: position{s.head.Last.At, s.head.Last.ID}, id: s.head.Key.ID})
		}
	}
	heap.Init(&queue)
	var rows []found
	for skip := q.Offset; len(queue) > 0; {
		src := queue[0]
		if src.open == nil {
			src.open, err = h.openSource(ctx, p, src.id, limit)
		} else {
			if len(rows) == q.Limit {
				page.More = true
				break
			}
			e := src.open.take()
			if skip > 0 {
				skip--
			} else {
				rows = append(rows, found{src.open, e})
			}
			err = src.open.fill(ctx, logChunk)
		}
		switch {
		case errors.Is(err, chat.ErrNotFound): // left since the list was read
			heap.Pop(&queue)
		case err != nil:
			return chat.MessagePage{}, err
		case len(src.open.buf) == 0:
			heap.Pop(&queue)
		default:
			src.pos = position{src.open.buf[0].At, src.open.buf[0].Message}
			heap.Fix(&queue, 0)
		}
	}
	page.Items, err = h.messageItems(ctx, p, rows)
	return page, err
}

// openSource starts to read a conversation at its first message below limit.
func (h *Hub) openSource(ctx context.Context, p chat.Principal, id chat.ConversationID, limit position) (*reader, error) {
	r, err := h.reader(ctx, p, id)
	if err != nil {
		return nil, err
	}
	if limit.at.IsZero() {
		return r, r.fill(ctx, logChunk)
	}
	if limit.id.IsZero() {
		err = r.olderThan(ctx, limit.at)
	} else {
		err = r.olderThan(ctx, limit.at.Add(1))
	}
	if err == nil {
		err = r.fill(ctx, logChunk)
	}
	for err == nil && len(r.buf) > 0 && !limit.id.IsZero() && !(position{r.buf[0].At, r.buf[0].Message}).before(limit) {
		r.take()
		err = r.fill(ctx, logChunk)
	}
	return r, err
}
