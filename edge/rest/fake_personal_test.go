package rest_test

import (
	"context"
	"time"

	"github.com/zumodra/hub/chat"
)

// nothingOwn is what a conversation is to somebody who did nothing for itself there.
const nothingOwn = `"is_muted":false,"muted_until":null,"is_pinned":false,"is_archived":false,"draft":null`

// own carries out what a member does for itself alone; false: it is something else.
func (c *fakeConv) own(me *chat.Member, cmd chat.Command, now time.Time) (error, bool) { //nolint:revive // as two values of a switch
	switch cmd := cmd.(type) {
	case chat.Mute:
		if !cmd.Until.IsZero() && !cmd.Until.After(now) {
			return &chat.FieldError{Field: "until", Text: "Must be in the future."}, true
		}
		me.MutedUntil = cmd.Until
	case chat.PinConversation:
		if me.PinnedAt = (time.Time{}); cmd.On {
			me.PinnedAt = now
		}
	case chat.SetDraft:
		text, err := chat.NormalizeDraft(cmd.Text)
		if err != nil {
			return err, true
		}
		if c.drafts == nil {
			c.drafts = map[chat.UserID]chat.Draft{}
		}
		if delete(c.drafts, me.User); text != "" {
			c.drafts[me.User] = chat.Draft{Conversation: cmd.Conversation, Text: text, ReplyTo: cmd.ReplyTo, At: now}
		}
	default:
		return nil, false
	}
	return nil, true
}

// Hide takes a message for hidden that is there.
func (h *fakeHub) Hide(ctx context.Context, p chat.Principal, id chat.MessageID) error {
	_, err := h.Message(ctx, p, id)
	return err
}

func (h *fakeHub) Draft(ctx context.Context, p chat.Principal, id chat.ConversationID) (chat.Draft, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.check(ctx, "draft"); err != nil {
		return chat.Draft{}, err
	}
	c, _, err := h.find(p, id)
	if err != nil {
		return chat.Draft{}, err
	}
	return c.drafts[p.User], nil
}
