package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

// GET messages/
func (a *API) listMessages(ctx context.Context, c *call) response {
	q := c.r.URL.Query()
	query := chat.MessageQuery{Limit: pageSize}
	if s := q.Get("conversation"); s != "" {
		id, err := chat.ParseConversationID(s)
		if err != nil {
			return invalid("conversation", "Must be a valid UUID.")
		}
		if id.IsZero() { // would mean "all"
			return notFound
		}
		query.Conversation = id
	}
	if s := q.Get("before"); s != "" {
		if id, err := chat.ParseMessageID(s); err == nil && !id.IsZero() {
			query.Before = id
		} else if at, ok := parseTime(s); ok {
			query.BeforeTime = at
		} else {
			return invalid("before", "Enter a date and time in ISO 8601 format, or the id of a message.")
		}
	}
	if s := q.Get("reply_to"); s != "" {
		id, err := chat.ParseMessageID(s)
		if err != nil {
			return invalid("reply_to", "Must be a valid UUID.")
		}
		if id.IsZero() { // would mean "all"
			return notFound
		}
		query.ReplyTo = id
	}
	return a.messagePage(ctx, c, query)
}

// GET messages/{id}/replies/
func (a *API) listReplies(ctx context.Context, c *call) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	query := chat.MessageQuery{ReplyTo: id, Limit: pageSize}
	if s := c.r.URL.Query().Get("before"); s != "" {
		before, err := chat.ParseMessageID(s)
		if err != nil || before.IsZero() {
			return invalid("before", "Must be a valid UUID.")
		}
		query.Before = before
	}
	return a.messagePage(ctx, c, query)
}

// messagePage answers the page of messages that the request names.
func (a *API) messagePage(ctx context.Context, c *call, query chat.MessageQuery) response {
	n, valid := pageNumber(c.r.URL.Query().Get("page"))
	if !valid {
		return invalidPage
	}
	t := texts{name: "list_messages"}
	if n == 0 {
		first := query
		first.Limit = 1
		found, err := a.cfg.Hub.Messages(ctx, c.p, first)
		if err != nil {
			return a.failure(err, t)
		}
		n = lastPage(found.Total)
	}
	query.Offset = (n - 1) * pageSize
	found, err := a.cfg.Hub.Messages(ctx, c.p, query)
	if err != nil {
		return a.failure(err, t)
	}
	results := make([]messageListView, len(found.Items))
	for i := range found.Items {
		results[i] = listMessage(&found.Items[i], c.p.User)
	}
	return a.page(c.r, n, found.Total, len(results), found.More, results)
}

// parseTime accepts the ISO 8601 forms that clients of the original send. A time without a zone is UTC, and so
// is a '+' that arrived as a space because nobody escaped it.
func parseTime(s string) (time.Time, bool) {
	if i := strings.LastIndexByte(s, ' '); i > 10 {
		s = s[:i] + "+" + s[i+1:]
	}
	s = strings.Replace(s, " ", "T", 1)
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly,
	} {
		// The range keeps Unix microseconds within what every layer below can hold.
		if t, err := time.Parse(layout, s); err == nil {
			t = t.UTC()
			return t, t.Year() >= 1970 && t.Year() <= 9999
		}
	}
	return time.Time{}, false
}

// POST messages/
func (a *API) sendMessage(ctx context.Context, c *call) response {
	if boundary, ok := isMultipart(c.r); ok && a.cfg.Files != nil {
		return a.sendForm(ctx, c, boundary)
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	if len(b.files) > 0 {
		return invalid(b.files[0], "This server does not accept files.")
	}
	for _, field := range []string{"file", "voice_message"} {
		if v := string(b.get(field)); v != "" && v != `""` {
			b.fault(field, "The submitted data was not a file. Check the encoding type on the form.")
		}
	}
	send, field, upload := a.newMessage(b, false, false)
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	return a.send(ctx, c, send, field, "upload_id", upload)
}

// sendForm sends a message whose form may hold a file.
func (a *API) sendForm(ctx context.Context, c *call, boundary string) response {
	charged := false
	f, bad := a.readUpload(ctx, c, boundary, func(b *body) *response {
		if res := a.throttle(scopeUpload, c.p.Key().String()); res != nil {
			return res
		}
		charged = true
		if res := a.limit(c); res != nil {
			return res
		}
		// The fields before the file are enough to know whether it is worth receiving.
		send, field, _ := a.newMessage(b, true, false)
		if len(b.errs) > 0 || send.Conversation.IsZero() {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
		if _, err := a.cfg.Hub.Do(ctx, c.p, chat.Attach{Conversation: send.Conversation, Join: true}); err != nil {
			res := a.failure(err, texts{name: "send", conversation: field})
			return &res
		}
		return nil
	})
	if bad != nil {
		return *bad
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	send, field, upload := a.newMessage(&f.body, f.field != "", false)
	blame := "upload_id"
	if f.field != "" {
		if !upload.IsZero() {
			f.fault("upload_id", "Only one file can be sent.")
		}
		blame, upload, send.IsVoice = f.field, f.id, send.IsVoice || f.field == "voice_message"
	}
	res, bad2 := f.invalid()
	if !bad2 && !charged {
		if limited := a.limit(c); limited != nil {
			res, bad2 = *limited, true
		}
	}
	if !bad2 {
		res = a.send(ctx, c, send, field, blame, upload)
	}
	if f.field != "" && res.status != http.StatusCreated {
		a.cfg.Files.Drop(ctx, c.p, f.id) // does nothing once it is part of a message, or may be
	}
	return res
}

// newMessage reads the fields of a message; field is the name under which the conversation came. What is wrong is among
// the body's errors. later: it is one that is to be sent later. With a file, which is uploaded with the request or was before, there need not be content.
func (a *API) newMessage(b *body, file, later bool) (send chat.Send, field string, upload chat.FileID) {
	field = b.first("conversation_id", "conversation")
	target := b.required(field)
	content, _ := b.text("content")
	send = chat.Send{ClientID: b.clientID(), Content: content, IsVoice: b.flag("is_voice")}
	if s, given := b.text("reply_to"); given {
		id, err := chat.ParseMessageID(s)
		if err != nil || id.IsZero() {
			b.fault("reply_to", "Must be a valid UUID.")
		}
		send.ReplyTo = id
	}
	send.Mentions, send.MentionAll = b.mentions()
	if !later && b.get("send_at") != nil {
		b.fault("send_at", "To send a message later, POST it to /api/v1/messages/scheduled/.")
	}
	if len(b.errs[field]) == 0 {
		id, err := chat.ParseConversationID(target)
		if err != nil || id.IsZero() {
			b.fault(field, "Must be a valid UUID.")
		}
		send.Conversation = id
	}
	if s, given := b.text("upload_id"); given && s != "" {
		var err error
		if upload, err = chat.ParseFileID(s); err != nil || upload.IsZero() || a.cfg.Files == nil {
			b.fault("upload_id", attachment.ErrNoUpload.Text)
		}
	}
	if len(b.errs["content"]) == 0 && (strings.TrimSpace(content) != "" || !file && upload.IsZero()) {
		b.checkContent(content, emptyMessage)
	}
	if send.IsVoice && !file && upload.IsZero() { // a voice message is a file (defect D-30)
		b.fault("is_voice", attachment.ErrInvalidData.Text)
	}
	return send, field, upload
}

// send sends a message, with a file that was uploaded unless upload is zero. blame is the field of the file.
func (a *API) send(ctx context.Context, c *call, send chat.Send, field, blame string, upload chat.FileID) response {
	var res chat.Result
	var err error
	if upload.IsZero() {
		res, err = a.cfg.Hub.Do(ctx, c.p, send)
	} else {
		res, err = a.cfg.Files.Send(ctx, c.p, chat.Origin{}, send, upload)
	}
	if refused := (*attachment.Error)(nil); errors.As(err, &refused) {
		return invalid(blame, refused.Text)
	}
	if err != nil {
		return a.failure(err, texts{name: "send", conversation: field, write: true})
	}
	return a.sent(c, send.Conversation, res.Event)
}

// POST messages/{id}/forward/
func (a *API) forwardMessage(ctx context.Context, c *call) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	target, clientID := b.required("conversation_id"), b.clientID()
	to, err := chat.ParseConversationID(target)
	if len(b.errs["conversation_id"]) == 0 && (err != nil || to.IsZero()) {
		b.fault("conversation_id", "Must be a valid UUID.")
	}
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	it, err := a.cfg.Hub.Message(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "get_message"})
	}
	if !it.Event.DeletedAt.IsZero() {
		return notFound
	}
	res, err := a.cfg.Hub.Do(ctx, c.p, chat.Forward{Conversation: to, From: it.Conversation, Message: id, ClientID: clientID})
	if refused := (*attachment.Error)(nil); errors.As(err, &refused) {
		return invalid(nonField, refused.Text)
	}
	if err != nil {
		return a.failure(err, texts{name: "forward", conversation: "conversation_id", write: true})
	}
	return a.sent(c, to, res.Event)
}

// sent is the answer to a message that was sent.
func (a *API) sent(c *call, to chat.ConversationID, e *chat.Event) response {
	f := a.fileFields(c, e)
	return response{status: http.StatusCreated, body: sentView{
		Content:      e.Content,
		File:         f.file,
		VoiceMessage: f.voice,
		IsVoice:      e.IsVoice,
		ID:           e.Message.String(),
		Conversation: to.String(),
		Sender:       viewUser(c.user, c.p.User),
		Timestamp:    stamp(e.At),
		Seq:          e.Seq,
		ClientID:     orNull(chat.OwnClientID(e.ClientID)),
		extrasView:   viewMore(e),
		Attachment:   viewAttachment(e.File),
	}}
}

// mentions are the users and "all" whom a body says to mention.
func (b *body) mentions() ([]chat.UserID, bool) {
	var users []chat.UserID
	if raw := b.get("mentions"); raw != nil && string(raw) != "[]" {
		if users = b.users("mentions"); len(users) > chat.MaxMentions {
			b.fault("mentions", "At most 50 users can be mentioned.")
		}
	}
	return users, b.flag("mention_all")
}

// checkContent says what is wrong with the content of a message. That it is empty is said of the message as a
// whole where it could have had a file instead.
func (b *body) checkContent(s, empty string) {
	switch _, err := chat.NormalizeContent(s); {
	case err == nil:
	case strings.TrimSpace(s) == "" && empty == emptyMessage:
		b.fault(nonField, empty)
	case strings.TrimSpace(s) == "":
		b.fault("content", empty)
	default:
		b.fault("content", tooLong)
	}
}

// charged is a handler of a command that is one of the user's rate on sockets, too: what others are told of.
func charged(h handler) handler {
	return func(a *API, ctx context.Context, c *call) response {
		if res := a.limit(c); res != nil {
			return *res
		}
		return h(a, ctx, c)
	}
}

// limit takes a token of the caller's bucket, which commands share with the sockets.
func (a *API) limit(c *call) *response {
	if allowed, after := a.cfg.Limiter.Allow(c.p.Key()); !allowed {
		res := throttled(after)
		return &res
	}
	return nil
}

func messageID(c *call) (chat.MessageID, *response) {
	id, err := chat.ParseMessageID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return id, &notFound
	}
	return id, nil
}

// GET messages/{id}/
func (a *API) getMessage(ctx context.Context, c *call) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	it, err := a.cfg.Hub.Message(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "get_message"})
	}
	return ok(a.detailMessage(c, &it))
}

// PATCH messages/{id}/
func (a *API) editMessage(ctx context.Context, c *call) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	content := b.required("content")
	if len(b.errs) == 0 {
		b.checkContent(content, "This field may not be blank.")
	}
	mentions, all := b.mentions()
	if res, bad := b.invalid(); bad {
		return res
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	t := texts{name: "edit", write: true}
	it, err := a.cfg.Hub.Message(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "edit"})
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.Edit{Conversation: it.Conversation, Message: id, Content: content, Mentions: mentions, MentionAll: all}); err != nil {
		return a.failure(err, t)
	}
	return a.getMessage(ctx, c)
}

// DELETE messages/{id}/: for all, or with scope=me for the caller alone. Deleting again is not an error.
func (a *API) deleteMessage(ctx context.Context, c *call) response {
	id, bad := messageID(c)
	if bad != nil {
		return *bad
	}
	switch s := c.r.URL.Query().Get("scope"); s {
	case "", "all":
	case "me":
		return a.hideMessage(ctx, c, id)
	default:
		return invalid("scope", `"`+printable(s)+`" is not a valid choice.`)
	}
	it, err := a.cfg.Hub.Message(ctx, c.p, id)
	if err != nil {
		return a.failure(err, texts{name: "delete"})
	}
	if _, err := a.cfg.Hub.Do(ctx, c.p, chat.Delete{Conversation: it.Conversation, Message: id}); err != nil {
		return a.failure(err, texts{name: "delete", write: true})
	}
	return response{status: http.StatusNoContent}
}
