package rest

import (
	"context"

	"github.com/zumodra/hub/chat"
)

// GET conversations/{id}/pins/
func (a *API) listPins(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	found, err := a.cfg.Hub.Pins(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "list_pins"})
	}
	results := make([]messageListView, len(found))
	for i := range found {
		results[i] = listMessage(&found[i], c.p.User)
	}
	return ok(page{Count: len(results), Results: results})
}

// POST messages/{id}/pin/
func (a *API) pinMessage(ctx context.Context, c *call) response {
	return a.pin(ctx, c, false, "Message pinned")
}

// POST messages/{id}/unpin/
func (a *API) unpinMessage(ctx context.Context, c *call) response {
	return a.pin(ctx, c, true, "Message unpinned")
}

func (a *API) pin(ctx context.Context, c *call, remove bool, done string) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	it, err := a.cfg.Hub.Message(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "pin"})
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.Pin{Conversation: it.Conversation, Message: id, Remove: remove}); err != nil {
		return a.failure(err, texts{name: "pin", write: true})
	}
	return a.envelope(nil, done)
}
