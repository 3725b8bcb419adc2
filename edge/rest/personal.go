package rest

import (
	"context"
	"net/http"

	"github.com/zumodra/hub/chat"
)

// draftView is what the caller has written and not sent.
type draftView struct {
	Text      string  `json:"text"`
	ReplyTo   *string `json:"reply_to"`
	UpdatedAt stamp   `json:"updated_at"` // null without a draft
}

func viewDraft(d *chat.Draft) *draftView {
	v := &draftView{Text: d.Text, UpdatedAt: stamp(d.At)}
	if !d.ReplyTo.IsZero() {
		v.ReplyTo = orNull(d.ReplyTo.String())
	}
	return v
}

// ownView is what a conversation is to the caller alone.
type ownView struct {
	IsMuted    bool       `json:"is_muted"`
	MutedUntil stamp      `json:"muted_until"` // null: not muted, or without an end
	IsPinned   bool       `json:"is_pinned"`
	IsArchived bool       `json:"is_archived"`
	Draft      *draftView `json:"draft"`
}

func (a *API) viewOwn(it *chat.ConversationItem) ownView {
	s := it.Me.Settings(it.Head.MsgNo)
	v := ownView{IsMuted: s.Muted(a.cfg.Now()), IsPinned: s.Pinned, IsArchived: s.Archived}
	if v.IsMuted && s.MutedUntil.Before(chat.Forever) {
		v.MutedUntil = stamp(s.MutedUntil)
	}
	if it.Draft != nil {
		v.Draft = viewDraft(it.Draft)
	}
	return v
}

// POST conversations/{id}/mute/: until a time, or without an end.
func (a *API) mute(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	until := b.moment("until")
	if until.IsZero() {
		until = chat.Forever
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.Mute{Conversation: id, Until: until}); err != nil {
		return a.failure(err, texts{name: "mute", write: true})
	}
	return a.envelope(nil, "Conversation muted")
}

// POST conversations/{id}/unmute/
func (a *API) unmute(ctx context.Context, c *call) response {
	return a.act(ctx, c, texts{name: "unmute", write: true}, "Conversation unmuted", func(id chat.ConversationID) chat.Command {
		return chat.Mute{Conversation: id}
	})
}

// POST conversations/{id}/pin/
func (a *API) pinConversation(ctx context.Context, c *call) response {
	return a.act(ctx, c, texts{name: "pin_conversation", write: true}, "Conversation pinned", func(id chat.ConversationID) chat.Command {
		return chat.PinConversation{Conversation: id, On: true}
	})
}

// POST conversations/{id}/unpin/
func (a *API) unpinConversation(ctx context.Context, c *call) response {
	return a.act(ctx, c, texts{name: "unpin_conversation", write: true}, "Conversation unpinned", func(id chat.ConversationID) chat.Command {
		return chat.PinConversation{Conversation: id}
	})
}

// GET conversations/{id}/draft/
func (a *API) getDraft(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	d, err := a.cfg.Hub.Draft(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "get_draft"})
	}
	return ok(viewDraft(&d))
}

// PUT conversations/{id}/draft/. An empty text deletes it.
func (a *API) putDraft(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	d := chat.SetDraft{Conversation: id, Text: b.required("text")}
	if s, given := b.text("reply_to"); given {
		to, err := chat.ParseMessageID(s)
		if err != nil || to.IsZero() {
			b.fault("reply_to", "Must be a valid UUID.")
		}
		d.ReplyTo = to
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, d); err != nil {
		return a.failure(err, texts{name: "put_draft", write: true})
	}
	return a.getDraft(ctx, c)
}

// DELETE conversations/{id}/draft/. Deleting again is not an error.
func (a *API) deleteDraft(ctx context.Context, c *call) response {
	id, bad := conversationID(c)
	if bad != nil {
		return *bad
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.SetDraft{Conversation: id}); err != nil {
		return a.failure(err, texts{name: "delete_draft", write: true})
	}
	return response{status: http.StatusNoContent}
}

// hideMessage deletes a message for the caller alone.
func (a *API) hideMessage(ctx context.Context, c *call, id chat.MessageID) response {
	if err := a.cfg.Hub.Hide(ctx, c.p, id); err != nil {
		return a.failure(err, texts{name: "hide", write: true})
	}
	return response{status: http.StatusNoContent}
}
