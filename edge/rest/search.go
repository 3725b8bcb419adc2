package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/zumodra/hub/chat"
)

// searchView is the data of a search's envelope.
type searchView struct {
	Query   string             `json:"query"`
	Count   int                `json:"count"`
	Results []searchResultView `json:"results"`
}

// searchResultView is the SearchResult of contract §3.2.
type searchResultView struct {
	ID               string   `json:"id"`
	Conversation     string   `json:"conversation"`
	ConversationName *string  `json:"conversation_name"` // null in direct conversations, as in lists
	Sender           userView `json:"sender"`
	Content          string   `json:"content"`
	ContentHighlight string   `json:"content_highlight"` // HTML, escaped but for <mark> (D-17)
	Timestamp        stamp    `json:"timestamp"`
	Seq              uint64   `json:"seq"`
}

const badDate = "Enter a date or a date and time in ISO 8601 format."

// filters are what narrows a search, as texts; the names are those of the request.
type filters struct {
	conversation, conversationName string
	sender, from, to, attachments  string
}

// parse fills q in. What is wrong is collected in errs.
func (f *filters) parse(q *chat.SearchQuery, fault func(field, text string)) {
	if f.conversation != "" {
		id, err := chat.ParseConversationID(f.conversation)
		if err != nil || id.IsZero() { // zero would mean "all"
			fault(f.conversationName, "Must be a valid UUID.")
		}
		q.Conversation = id
	}
	if f.sender != "" {
		id, err := chat.ParseUserID(f.sender)
		if err != nil {
			fault("sender", "Must be a valid user id.")
		}
		q.Sender = id
	}
	var ok bool
	if f.from != "" {
		if q.From, ok = chat.SearchDate(f.from, false); !ok {
			fault("date_from", badDate)
		}
	}
	if f.to != "" {
		if q.Before, ok = chat.SearchDate(f.to, true); !ok {
			fault("date_to", badDate)
		}
	}
	switch strings.ToLower(f.attachments) {
	case "":
	case "true", "1", "t", "yes", "y", "on":
		yes := true
		q.HasAttachments = &yes
	case "false", "0", "f", "no", "n", "off":
		no := false
		q.HasAttachments = &no
	default:
		fault("has_attachments", "Must be a valid boolean.")
	}
}

// GET messages/search/. What is wrong with the text is answered in an envelope, as by the original.
func (a *API) searchMessages(ctx context.Context, c *call) response {
	v := c.r.URL.Query()
	q := chat.SearchQuery{Text: v.Get("q")}
	f := filters{conversation: v.Get("conversation"), conversationName: "conversation", sender: v.Get("sender"),
		from: v.Get("date_from"), to: v.Get("date_to"), attachments: v.Get("has_attachments")}
	b := &body{}
	f.parse(&q, b.fault)
	if res, bad := b.invalid(); bad {
		return res
	}
	return a.search(ctx, c, q, func(e *chat.FieldError) response { return a.refuse(http.StatusBadRequest, "", e.Text) })
}

// POST messages/search/
func (a *API) searchMessagesBody(ctx context.Context, c *call) response {
	b, bad := a.readBody(c.w, c.r)
	if bad != nil {
		return *bad
	}
	q := chat.SearchQuery{Text: b.required("query")}
	f := filters{conversationName: b.first("conversation_id", "conversation")}
	for field, to := range map[string]*string{f.conversationName: &f.conversation, "sender": &f.sender, "date_from": &f.from,
		"date_to": &f.to} {
		*to, _ = b.text(field)
	}
	if raw := b.get("has_attachments"); raw != nil {
		if f.attachments = strings.Trim(string(raw), `"`); f.attachments == "" {
			f.attachments = "?"
		}
	}
	f.parse(&q, b.fault)
	if res, bad := b.invalid(); bad {
		return res
	}
	return a.search(ctx, c, q, func(e *chat.FieldError) response { return invalid("query", e.Text) })
}

// search is what both verbs do. wrong answers a text that cannot be searched for.
func (a *API) search(ctx context.Context, c *call, q chat.SearchQuery, wrong func(*chat.FieldError) response) response {
	var field *chat.FieldError
	if err := q.Normalize(); errors.As(err, &field) {
		return wrong(field)
	}
	if res := a.limit(c); res != nil {
		return *res
	}
	items, err := a.cfg.Hub.Search(ctx, c.p, q)
	switch {
	case errors.As(err, &field):
		return wrong(field)
	case errors.Is(err, chat.ErrNotSupported):
		return fail(http.StatusNotImplemented, "Search is switched off on this server.")
	case errors.Is(err, chat.ErrUnavailable):
		return retryable(http.StatusServiceUnavailable, "Search is temporarily unavailable. Try again later.", unavailableRetry)
	case err != nil:
		return a.failure(err, texts{name: "search"})
	}
	v := searchView{Query: q.Text, Count: len(items), Results: make([]searchResultView, len(items))}
	for i := range items {
		it := &items[i]
		v.Results[i] = searchResultView{
			ID: it.Event.Message.String(), Conversation: it.Conversation.String(), ConversationName: orNull(it.ConversationName),
			Sender: viewSender(&it.MessageItem, c.p.User), Content: it.Event.Content, ContentHighlight: it.Highlight,
			Timestamp: stamp(it.Event.At), Seq: it.Event.Seq,
		}
	}
	return ok(success{Success: true, Data: v, Meta: a.meta()})
}
