package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Draft is what a user has written in a conversation and not sent.
type Draft struct {
	Text      string    `json:"text"` // empty: there is none
	ReplyTo   string    `json:"reply_to"`
	UpdatedAt time.Time `json:"updated_at"`
}

// HideMessage deletes a message for this user alone, for good.
func (c *Client) HideMessage(ctx context.Context, message string) error {
	err := c.rest(ctx, http.MethodDelete, "messages/"+url.PathEscape(message)+"/", url.Values{"scope": {"me"}}, nil, nil)
	if err != nil {
		return fmt.Errorf("hide a message: %w", err)
	}
	return nil
}

// Mute marks a conversation as muted until a time, or without an end if that is zero.
func (c *Client) Mute(ctx context.Context, conversation string, until time.Time) error {
	body := map[string]any{}
	if !until.IsZero() {
		body["until"] = until.UTC().Format(time.RFC3339Nano)
	}
	return c.act(ctx, conversation, "mute", body)
}

// Unmute takes Mute back.
func (c *Client) Unmute(ctx context.Context, conversation string) error {
	return c.act(ctx, conversation, "unmute", nil)
}

// PinConversation puts a conversation before those that are not pinned in this user's list.
func (c *Client) PinConversation(ctx context.Context, conversation string) error {
	return c.act(ctx, conversation, "pin", nil)
}

// UnpinConversation takes PinConversation back.
func (c *Client) UnpinConversation(ctx context.Context, conversation string) error {
	return c.act(ctx, conversation, "unpin", nil)
}

// Draft is what the user has written in a conversation and not sent: without text if there is nothing.
func (c *Client) Draft(ctx context.Context, conversation string) (*Draft, error) {
	d := new(Draft)
	if err := c.rest(ctx, http.MethodGet, draftPath(conversation), nil, nil, d); err != nil {
		return nil, fmt.Errorf("read a draft: %w", err)
	}
	return d, nil
}

// SaveDraft keeps what the user has written; replyTo, the message that it is to answer, may be empty. Sending does not
// delete it: save an empty text then.
func (c *Client) SaveDraft(ctx context.Context, conversation, text, replyTo string) error {
	body := map[string]any{"text": text}
	if replyTo != "" {
		body["reply_to"] = replyTo
	}
	if err := c.rest(ctx, http.MethodPut, draftPath(conversation), nil, body, nil); err != nil {
		return fmt.Errorf("save a draft: %w", err)
	}
	return nil
}

func draftPath(conversation string) string {
	return "conversations/" + url.PathEscape(conversation) + "/draft/"
}
