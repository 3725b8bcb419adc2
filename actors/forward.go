package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/zumodra/hub/chat"
)

// forward reads a message as the caller may and sends what it says. Whether the caller may send there, the other
// conversation decides.
func (h *Hub) forward(p chat.Principal, o chat.Origin, c chat.Forward, done func(chat.Result, error)) {
	var send chat.Send
	var file *chat.File
	var res chat.Result
	h.lookup(done, func(ctx context.Context) error {
		_, e, err := h.locateIn(ctx, p, c.From, c.Message)
		switch {
		case err != nil:
			return err
		case !e.DeletedAt.IsZero():
			return fmt.Errorf("message %s: %w", c.Message, chat.ErrNotFound)
		}
		by := e.More().Forwarded // the one who wrote it, however often it was forwarded
		if by.User == "" {
			by = chat.Attribution{User: e.Actor, Name: e.ActorName}
		}
		send = chat.Send{Conversation: c.Conversation, ClientID: c.ClientID, Content: e.Content, Forwarded: by}
		if file = e.File; file == nil {
			return nil
		}
		if h.cfg.ForwardFile == nil {
			return fmt.Errorf("forward a file: %w", chat.ErrNotSupported)
		}
		ctx, cancel := context.WithTimeout(ctx, forwardTime)
		defer cancel()
		res, err = h.cfg.ForwardFile(ctx, p, o, send, file.ID)
		return err
	}, func() {
		if file != nil {
			done(res, nil)
			return
		}
		h.send(p, o, send, done)
	})
}

// forwardTime bounds the forwarding of a message with a file.
const forwardTime = 30 * time.Second
