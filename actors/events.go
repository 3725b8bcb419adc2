package actors

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// Events reads a part of a conversation's log.
func (h *Hub) Events(ctx context.Context, p chat.Principal, q chat.EventQuery) (chat.EventPage, error) {
	r, err := h.reader(ctx, p, q.Conversation)
	if err != nil {
		return chat.EventPage{}, err
	}
	page := chat.EventPage{Head: r.view.Head.Seq}
	limit := min(max(q.Limit, 1), maxPage)
	var events []chat.Event
	if q.After != nil {
		if *q.After < page.Head {
			events, err = h.store.ReadEvents(ctx, r.key(), *q.After+1, page.Head, limit)
		}
	} else {
		from := page.Head
		if q.Before > 0 {
			from = min(from, q.Before-1)
		}
		if from > 0 {
			err = h.store.ReadEventsReverse(ctx, r.key(), from, limit, func(e chat.Event) bool {
				events = append(events, e)
				return true
			})
		}
	}
	if err != nil {
		return chat.EventPage{}, fmt.Errorf("read events: %w", err)
	}
	gone, err := r.deleted(ctx, events)
	if err != nil {
		return chat.EventPage{}, err
	}
	for i := range events {
		it := chat.EventItem{Event: events[i]}
		if r.hides(it.Event.Concerns()) {
			it.Event = it.Event.Concealed()
		} else if it.Event.IsMessage() {
			it.Event = r.present(it.Event)
			it.IsRead = r.view.ReadByOther(it.Event.Actor, it.Event.Seq)
		} else if gone[it.Event.MessageSeq] {
			it.Event = it.Event.Emptied()
		}
		page.Items = append(page.Items, it)
	}
	if n := len(events); n > 0 {
		last := events[n-1].Seq
		page.More = q.After != nil && last < page.Head || q.After == nil && last > 1
	}
	return page, nil
}

// deleted are those of the messages whose texts are in edits and previews among events that are deleted.
func (r *reader) deleted(ctx context.Context, events []chat.Event) (map[uint64]bool, error) {
	gone := make(map[uint64]bool)
	for i := range events {
		e := &events[i]
		if e.Type != chat.EventEdited && e.Type != chat.EventPreview {
			continue
		}
		if _, known := gone[e.MessageSeq]; known {
			continue
		}
		m := r.changed[e.MessageSeq]
		if m == nil {
			row, err := r.event(ctx, e.MessageSeq)
			if err != nil {
				return nil, err
			}
			m = &row
		}
		gone[e.MessageSeq] = !m.DeletedAt.IsZero()
	}
	return gone, nil
}
