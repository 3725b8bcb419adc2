package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/zumodra/hub/chat"
)

// Scheduled keeps messages that are to be sent later. Errors are those of package chat; all are about the caller's own.
type Scheduled interface {
	// Schedule keeps a message to be sent at a time. The same client id answers the one that it made before.
	Schedule(ctx context.Context, p chat.Principal, s chat.Send, at time.Time) (chat.Scheduled, error)
	// List answers what was not sent yet, by time: of one conversation, or of all if it is zero.
	List(ctx context.Context, p chat.Principal, c chat.ConversationID) ([]chat.Scheduled, error)
	Get(ctx context.Context, p chat.Principal, id chat.ScheduledID) (chat.Scheduled, error)
	// Change and Cancel answer chat.ErrConflict for one that is being sent.
	Change(ctx context.Context, p chat.Principal, id chat.ScheduledID, c chat.ScheduledChange) (chat.Scheduled, error)
	Cancel(ctx context.Context, p chat.Principal, id chat.ScheduledID) error
}

func scheduledTable() []route {
	const m = prefix + "/messages/scheduled"
	type methods = map[string]handler
	return []route{
		{m, signedIn, methods{"GET": (*API).listScheduled, "POST": (*API).schedule}},
		{m + "/{id}", signedIn, methods{"GET": (*API).getScheduled, "PATCH": (*API).changeScheduled, "DELETE": (*API).cancelScheduled}},
	}
}

// scheduledView is a message that is to be sent later.
type scheduledView struct {
	ID           string        `json:"id"`
	Conversation string        `json:"conversation"`
	Content      string        `json:"content"`
	SendAt       stamp         `json:"send_at"`
	State        string        `json:"state"`
	FailedReason *string       `json:"failed_reason"`
	ClientID     *string       `json:"client_id"`
	ReplyTo      *string       `json:"reply_to"`
	Mentions     []chat.UserID `json:"mentions"`
	MentionAll   bool          `json:"mention_all"`
	CreatedAt    stamp         `json:"created_at"`
}

func viewScheduled(m *chat.Scheduled) scheduledView {
	v := scheduledView{ID: m.ID.String(), Conversation: m.Key.ID.String(), Content: m.Content, SendAt: stamp(m.SendAt), State: m.State.String(),
		FailedReason: orNull(m.Reason), ClientID: orNull(m.ClientID), Mentions: m.Mentions, MentionAll: m.MentionAll, CreatedAt: stamp(m.CreatedAt)}
	if v.Mentions == nil {
		v.Mentions = []chat.UserID{}
	}
	if !m.ReplyTo.IsZero() {
		v.ReplyTo = orNull(m.ReplyTo.String())
	}
	return v
}

// POST scheduled/
func (a *API) schedule(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	send, field, upload := a.newMessage(b, false, true)
	at := b.moment("send_at")
	if at.IsZero() && len(b.errs["send_at"]) == 0 {
		b.missing("send_at")
	}
	if !upload.IsZero() || b.get("file") != nil || b.get("voice_message") != nil {
		b.fault("upload_id", "A scheduled message cannot have a file.")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	m, err := a.cfg.Scheduled.Schedule(ctx, c.p, send, at)
	if err != nil {
		return a.failure(err, texts{name: "send", conversation: field, write: true})
	}
	return response{status: http.StatusCreated, body: viewScheduled(&m)}
}

// GET scheduled/
func (a *API) listScheduled(ctx context.Context, c *call) response {
	var id chat.ConversationID
	if s := c.r.URL.Query().Get("conversation"); s != "" {
		var err error
		if id, err = chat.ParseConversationID(s); err != nil {
			return invalid("conversation", "Must be a valid UUID.")
		}
		if id.IsZero() { // would mean "all"
			return notFound
		}
	}
	list, err := a.cfg.Scheduled.List(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "list_scheduled"})
	}
	results := make([]scheduledView, len(list))
	for i := range list {
		results[i] = viewScheduled(&list[i])
	}
	return ok(page{Count: len(results), Results: results})
}

func scheduledID(c *call) (chat.ScheduledID, *response) {
	id, err := chat.ParseScheduledID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return id, &notFound
	}
	return id, nil
}

// scheduledFailure is failure for what is about one of them.
func (a *API) scheduledFailure(err error, t texts) response {
	if errors.Is(err, chat.ErrConflict) {
		return fail(http.StatusConflict, "The message is being sent, or may have been.")
	}
	return a.failure(err, t)
}

// GET scheduled/{id}/
func (a *API) getScheduled(ctx context.Context, c *call) response {
	id, bad := scheduledID(c)
	if bad != nil {
		return *bad
	}
	m, err := a.cfg.Scheduled.Get(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "get_scheduled"})
	}
	return ok(viewScheduled(&m))
}

// PATCH scheduled/{id}/
func (a *API) changeScheduled(ctx context.Context, c *call) response {
	id, bad := scheduledID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	var change chat.ScheduledChange
	if content, given := b.text("content"); given {
		b.checkContent(content, "This field may not be blank.")
		change.Content = &content
		change.Mentions, change.MentionAll = b.mentions()
	}
	if at := b.moment("send_at"); !at.IsZero() {
		change.SendAt = &at
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	m, err := a.cfg.Scheduled.Change(ctx, c.p, id, change)
	if err != nil {
		return a.scheduledFailure(err, texts{name: "change_scheduled", write: true})
	}
	return ok(viewScheduled(&m))
}

// DELETE scheduled/{id}/
func (a *API) cancelScheduled(ctx context.Context, c *call) response {
	id, bad := scheduledID(c)
	if bad != nil {
		return *bad
	}
	if err := a.cfg.Scheduled.Cancel(ctx, c.p, id); err != nil {
		return a.scheduledFailure(err, texts{name: "cancel_scheduled", write: true})
	}
	return response{status: http.StatusNoContent}
}
