package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/zumodra/hub/chat"
)

// errManyPinned refuses one more pinned conversation.
var errManyPinned = &chat.RuleError{Text: fmt.Sprintf("At most %d conversations can be pinned.", chat.MaxPinnedConversations)}

// pinConversation counts the caller's pinned conversations first. The bound is not exact: commands at one time may each
// find room for the last one.
func (h *Hub) pinConversation(p chat.Principal, o chat.Origin, c chat.PinConversation, done func(chat.Result, error)) {
	if !c.On {
		h.send(p, o, c, done)
		return
	}
	h.lookup(done, func(ctx context.Context) error {
		all, err := h.standings(ctx, p.Key())
		if err != nil {
			return err
		}
		n := 0
		for i := range all {
			if !all[i].me.PinnedAt.IsZero() && all[i].head.Key.ID != c.Conversation {
				n++
			}
		}
		if n >= chat.MaxPinnedConversations {
			return errManyPinned
		}
		return nil
	}, func() { h.send(p, o, c, done) })
}

// Hide deletes a message of any of the caller's conversations for the caller alone. Idempotent.
func (h *Hub) Hide(ctx context.Context, p chat.Principal, id chat.MessageID) error {
	r, _, err := h.locateAny(ctx, p, id)
	if err != nil {
		return err
	}
	_, err = h.Do(ctx, p, chat.Hide{Conversation: r.key().ID, Message: id})
	return err
}

// Draft is what the caller has written in a conversation and not sent: without text if there is nothing.
func (h *Hub) Draft(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.Draft, error) {
	v, err := h.attach(ctx, p, id)
	if err != nil || v.Me.DraftAt.IsZero() {
		return chat.Draft{Conversation: id}, err
	}
	found, err := h.store.GetDrafts(ctx, p.Key(), []chat.ConversationID{id})
	if err != nil {
		return chat.Draft{}, fmt.Errorf("read draft: %w", err)
	}
	return found[0], nil
}

// drafts fills in those of the items that have one, in one read.
func (h *Hub) drafts(ctx context.Context, p chat.Principal, items []chat.ConversationItem) error {
	var ids []chat.ConversationID
	var at []int
	for i := range items {
		if !items[i].Me.DraftAt.IsZero() {
			ids, at = append(ids, items[i].Head.Key.ID), append(at, i)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	found, err := h.store.GetDrafts(ctx, p.Key(), ids)
	if err != nil {
		return fmt.Errorf("read drafts: %w", err)
	}
	for i := range found {
		if found[i].Text != "" {
			items[at[i]].Draft = &found[i]
		}
	}
	return nil
}

// byActivity orders a list: pinned conversations first, in the order of pinning, then the newest activity.
func byActivity(a, b standing) int {
	if x, y := a.me.PinnedAt, b.me.PinnedAt; !x.IsZero() || !y.IsZero() {
		switch {
		case x.IsZero():
			return 1
		case y.IsZero():
			return -1
		}
		return cmp.Or(x.Compare(y), slices.Compare(a.head.Key.ID[:], b.head.Key.ID[:]))
	}
	return cmp.Or(b.head.UpdatedAt.Compare(a.head.UpdatedAt), slices.Compare(b.head.Key.ID[:], a.head.Key.ID[:]))
}

// lastVisible replaces the last message of those conversations of a page where the caller has hidden it. That costs
// reads of each, and few pages have one.
func (h *Hub) lastVisible(ctx context.Context, p chat.Principal, page []standing) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range page {
		s := &page[i]
		if s.head.Last.Seq == 0 || s.me.HiddenLast < s.head.Last.Seq {
			continue
		}
		g.Go(func() error {
			r, err := h.reader(ctx, p, s.head.Key.ID)
			if err == nil {
				err = r.fill(ctx, 1)
			}
			switch {
			case errors.Is(err, chat.ErrNotFound): // left since the list was read
				s.head.Last = chat.LastMessage{}
			case err != nil:
				return err
			case len(r.buf) == 0:
				s.head.Last = chat.LastMessage{}
			default:
				e := r.take()
				s.head.Last = chat.LastMessage{Seq: e.Seq, ID: e.Message, Sender: e.Actor,
					Text: chat.Truncate(e.Content, chat.LastMessageText), At: e.At}
			}
			return nil
		})
	}
	return g.Wait()
}

// hides reports whether the reader has hidden the message at seq.
func (r *reader) hides(seq uint64) bool {
	_, is := slices.BinarySearchFunc(r.hidden, seq, func(h chat.HiddenMessage, seq uint64) int { return cmp.Compare(h.Seq, seq) })
	return is
}

// total is how many messages the reader may see.
func (r *reader) total() uint64 { return r.view.Head.MsgNo - uint64(len(r.hidden)) }

// numbered is the msg_no of the nth message that the reader may see.
func (r *reader) numbered(n uint64) uint64 {
	for i := range r.hidden {
		if r.hidden[i].MsgNo <= n {
			n++
		}
	}
	return n
}

// hiddenReplies counts the messages that the reader has hidden among those that answer the one at seq.
func (r *reader) hiddenReplies(seq uint64) (n int) {
	for i := range r.hidden {
		if r.hidden[i].ReplyTo == seq {
			n++
		}
	}
	return n
}

// concealed drops the hits that the caller has hidden: among those of conversations where the caller has hidden anything.
func (h *Hub) concealed(ctx context.Context, user chat.UserID, refs []chat.EventRef, hides map[chat.ConversationKey]bool) ([]bool, error) {
	out := make([]bool, len(refs))
	if len(hides) == 0 {
		return out, nil
	}
	var some []chat.EventRef
	var at []int
	for i := range refs {
		if hides[refs[i].Key] {
			some, at = append(some, refs[i]), append(at, i)
		}
	}
	found, err := h.store.AreHidden(ctx, user, some)
	if err != nil {
		return nil, fmt.Errorf("look up hidden messages: %w", err)
	}
	for i, is := range found {
		out[at[i]] = is
	}
	return out, nil
}
