package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Scheduled is a message that is to be sent later.
type Scheduled struct {
	ID           string    `json:"id"`
	Conversation string    `json:"conversation"`
	Content      string    `json:"content"`
	SendAt       time.Time `json:"send_at"`
	State        string    `json:"state"`         // pending, sending or failed
	FailedReason string    `json:"failed_reason"` // with state failed
	ReplyTo      string    `json:"reply_to"`
}

// Schedule has a message sent at a time, from a second to 365 days ahead. clientID may be empty; the same again answers the
// message that it scheduled before.
func (c *Client) Schedule(ctx context.Context, conversation, content string, at time.Time, clientID string) (*Scheduled, error) {
	body := map[string]string{"conversation_id": conversation, "content": content, "send_at": at.UTC().Format(time.RFC3339Nano)}
	if clientID != "" {
		body["client_id"] = clientID
	}
	out := new(Scheduled)
	if err := c.rest(ctx, http.MethodPost, "scheduled/", nil, body, out); err != nil {
		return nil, fmt.Errorf("schedule a message: %w", err)
	}
	return out, nil
}

// ScheduledMessages lists the user's messages that were not sent yet, by time: of one conversation, or of all if it is empty.
func (c *Client) ScheduledMessages(ctx context.Context, conversation string) ([]Scheduled, error) {
	var q url.Values
	if conversation != "" {
		q = url.Values{"conversation": {conversation}}
	}
	var page struct {
		Results []Scheduled `json:"results"`
	}
	if err := c.rest(ctx, http.MethodGet, "scheduled/", q, nil, &page); err != nil {
		return nil, fmt.Errorf("list scheduled messages: %w", err)
	}
	return page.Results, nil
}

// Reschedule gives a scheduled message another content, another time, or both; empty and zero ones stay. One that failed is
// tried again at a new time.
func (c *Client) Reschedule(ctx context.Context, id, content string, at time.Time) (*Scheduled, error) {
	body := map[string]string{}
	if content != "" {
		body["content"] = content
	}
	if !at.IsZero() {
		body["send_at"] = at.UTC().Format(time.RFC3339Nano)
	}
	out := new(Scheduled)
	if err := c.rest(ctx, http.MethodPatch, "scheduled/"+url.PathEscape(id)+"/", nil, body, out); err != nil {
		return nil, fmt.Errorf("change a scheduled message: %w", err)
	}
	return out, nil
}

// CancelScheduled takes a scheduled message back.
func (c *Client) CancelScheduled(ctx context.Context, id string) error {
	if err := c.rest(ctx, http.MethodDelete, "scheduled/"+url.PathEscape(id)+"/", nil, nil, nil); err != nil {
		return fmt.Errorf("cancel a scheduled message: %w", err)
	}
	return nil
}
