package actors

import (
	"context"
	"fmt"
	"slices"

	"github.com/zumodra/hub/chat"
)

// replies selects the messages that answer one, newest first.
func (h *Hub) replies(ctx context.Context, p chat.Principal, q chat.MessageQuery) (chat.MessagePage, error) {
	if q.Offset > maxOffset {
		return chat.MessagePage{}, &chat.FieldError{Field: "page", Text: fmt.Sprintf("At most %d messages can be skipped.", maxOffset)}
	}
	r, parent, err := h.locateIn(ctx, p, q.Conversation, q.ReplyTo)
	if err != nil {
		return chat.MessagePage{}, err
	}
	before := r.view.Head.Seq + 1
	if !q.Before.IsZero() {
		e, err := r.findAny(ctx, q.Before)
		if err != nil {
			return chat.MessagePage{}, err
		}
		before = e.Seq
	} else if !q.BeforeTime.IsZero() {
		if err := r.olderThan(ctx, q.BeforeTime); err != nil {
			return chat.MessagePage{}, err
		}
		before = r.next + 1
	}
	hidden := r.hiddenReplies(parent.Seq)
	seqs, err := r.replies(ctx, parent.Seq, before, q.Offset+q.Limit+1+hidden)
	if err != nil {
		return chat.MessagePage{}, err
	}
	seqs = slices.DeleteFunc(seqs, r.hides)
	page := chat.MessagePage{Total: int(parent.More().Replies) - hidden, More: len(seqs) > q.Offset+q.Limit}
	from, to := window(q.Offset, q.Limit, len(seqs))
	refs := make([]chat.EventRef, 0, to-from)
	for _, seq := range seqs[from:to] {
		refs = append(refs, chat.EventRef{Key: r.key(), Seq: seq, Epoch: r.view.Head.Epoch})
	}
	events, err := h.store.GetEvents(ctx, refs)
	if err != nil {
		return chat.MessagePage{}, fmt.Errorf("read messages: %w", err)
	}
	var rows []found
	for _, e := range events {
		if e.IsMessage() {
			rows = append(rows, found{r, r.present(e)})
		}
	}
	page.Items, err = h.messageItems(ctx, p, rows)
	return page, err
}

// replies are the places before before of the newest messages that answer the one at to: those that are not derived yet
// are found in the log.
func (r *reader) replies(ctx context.Context, to, before uint64, limit int) ([]uint64, error) {
	stored, err := r.h.store.GetHead(ctx, r.key()) // first: what it covers is in the list
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	last := min(r.view.Head.Seq, before-1)
	var tail []uint64
	for from := max(stored.Seq, to) + 1; from <= last; {
		events, err := r.h.store.ReadEvents(ctx, r.key(), from, last, logChunk)
		if err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		if len(events) == 0 {
			break
		}
		for i := range events {
			if events[i].IsMessage() && events[i].More().ReplyTo.Seq() == to {
				tail = append(tail, events[i].Seq)
			}
		}
		from = events[len(events)-1].Seq + 1
	}
	var seqs []uint64
	for i := len(tail) - 1; i >= 0 && len(seqs) < limit; i-- {
		seqs = append(seqs, tail[i])
	}
	if len(seqs) == limit {
		return seqs, nil
	}
	listed, err := r.h.store.ReadReplies(ctx, r.key(), to, min(stored.Seq, last)+1, limit-len(seqs))
	if err != nil {
		return nil, fmt.Errorf("list replies: %w", err)
	}
	return append(seqs, listed...), nil
}

// locateIn is locate within one conversation, if it is given.
func (h *Hub) locateIn(ctx context.Context, p chat.Principal, c chat.ConversationID, id chat.MessageID) (*reader, chat.Event, error) {
	if c.IsZero() {
		return h.locate(ctx, p, id)
	}
	r, err := h.reader(ctx, p, c)
	if err != nil {
		return nil, chat.Event{}, err
	}
	e, err := r.find(ctx, id)
	return r, e, err
}
