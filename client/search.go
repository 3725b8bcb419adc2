package client

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// SearchQuery is what to look for. Zero fields do not narrow.
type SearchQuery struct {
	// Text is 2 to 100 characters: words, "phrases", AND, OR, NOT and parentheses.
	Text           string
	Conversation   string
	Sender         UserID
	From, To       time.Time // sent at or after From, and at or before To
	HasAttachments *bool
}

// SearchResult is a message that was found. Seq is its place in the conversation, as in Message.
type SearchResult struct {
	ID               string
	Conversation     string
	ConversationName string // of a group
	Sender           string // name
	SenderID         UserID
	Seq              uint64
	Content          string
	Highlight        string // the content as HTML, escaped, with <mark> around what was found
	At               time.Time
}

// Search finds messages in the user's conversations, newest first, at most 50. While the server's index cannot be
// asked the error is an *HTTPError with status 503.
func (c *Client) Search(ctx context.Context, q SearchQuery) ([]SearchResult, error) {
	body := map[string]any{"query": q.Text}
	if q.Conversation != "" {
		body["conversation_id"] = q.Conversation
	}
	if q.Sender != "" {
		body["sender"] = q.Sender
	}
	if !q.From.IsZero() {
		body["date_from"] = q.From.UTC().Format(time.RFC3339Nano)
	}
	if !q.To.IsZero() {
		body["date_to"] = q.To.UTC().Format(time.RFC3339Nano)
	}
	if q.HasAttachments != nil {
		body["has_attachments"] = *q.HasAttachments
	}
	var answer struct {
		Data struct {
			Results []struct {
				ID               string    `json:"id"`
				Conversation     string    `json:"conversation"`
				ConversationName string    `json:"conversation_name"`
				Sender           restUser  `json:"sender"`
				Content          string    `json:"content"`
				Highlight        string    `json:"content_highlight"`
				Timestamp        time.Time `json:"timestamp"`
				Seq              uint64    `json:"seq"`
			} `json:"results"`
		} `json:"data"`
	}
	if err := c.rest(ctx, http.MethodPost, "messages/search/", nil, body, &answer); err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	out := make([]SearchResult, 0, len(answer.Data.Results))
	for _, r := range answer.Data.Results {
		out = append(out, SearchResult{ID: r.ID, Conversation: r.Conversation, ConversationName: r.ConversationName,
			Sender: r.Sender.name(), SenderID: r.Sender.ID, Seq: r.Seq, Content: r.Content, Highlight: r.Highlight, At: r.Timestamp})
	}
	return out, nil
}
