package actors

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// Pins are the pinned messages of a conversation, the newest pin first.
func (h *Hub) Pins(ctx context.Context, p chat.Principal, id chat.ConversationID) ([]chat.MessageItem, error) {
	r, err := h.reader(ctx, p, id)
	if err != nil {
		return nil, err
	}
	pins := r.view.Head.Pins
	refs := make([]chat.EventRef, len(pins))
	for i := range pins {
		refs[i] = chat.EventRef{Key: r.key(), Seq: pins[len(pins)-1-i].Seq(), Epoch: r.view.Head.Epoch}
	}
	events, err := h.store.GetEvents(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("read messages: %w", err)
	}
	var rows []found
	for _, e := range events {
		if e.IsMessage() && !r.hides(e.Seq) {
			rows = append(rows, found{r, r.present(e)})
		}
	}
	return h.messageItems(ctx, p, rows)
}
