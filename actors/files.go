package actors

import (
	"context"
	"fmt"

	"github.com/zumodra/hub/chat"
)

// FileOf returns the file of a message, if the caller may read it now: a member of the conversation, as long as the
// message has not been deleted. Everybody else is told that there is nothing (chat.ErrNotFound).
func (h *Hub) FileOf(ctx context.Context, p chat.Principal, conversation chat.ConversationID, message chat.MessageID) (*chat.File, error) {
	r, err := h.reader(ctx, p, conversation)
	if err != nil {
		return nil, err
	}
	e, err := r.find(ctx, message)
	if err != nil {
		return nil, err
	}
	if e.File == nil {
		return nil, fmt.Errorf("file of message %s: %w", message, chat.ErrNotFound)
	}
	return e.File, nil
}

// Serves reports whether this node owns a shard.
func (h *Hub) Serves(shard int) bool {
	owns := h.serves()
	return owns == nil || owns(shard)
}
