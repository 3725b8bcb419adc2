package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// Role of a member of a group.
type Role string

// Higher may do all that lower may.
const (
	RoleMember Role = "member"
	RoleAdmin  Role = "admin"
	RoleOwner  Role = "owner"
)

// Permissions of a group: the lowest role that may do something. Empty fields of a change stay as they are.
type Permissions struct {
	Add        Role `json:"who_can_add,omitempty"`
	Pin        Role `json:"who_can_pin,omitempty"`
	MentionAll Role `json:"who_can_mention_all,omitempty"`
}

// act posts an action on a conversation.
func (c *Client) act(ctx context.Context, conversation, action string, body any) error {
	if err := c.rest(ctx, http.MethodPost, "conversations/"+url.PathEscape(conversation)+"/"+action+"/", nil, body, nil); err != nil {
		return fmt.Errorf("%s: %w", action, err)
	}
	return nil
}

// Conversation returns one conversation with all its participants.
func (c *Client) Conversation(ctx context.Context, conversation string) (*Conversation, error) {
	out := new(Conversation)
	if err := c.rest(ctx, http.MethodGet, "conversations/"+url.PathEscape(conversation)+"/", nil, nil, out); err != nil {
		return nil, fmt.Errorf("read a conversation: %w", err)
	}
	return out, nil
}

// AddParticipants adds users to a group. Those who are in it are skipped, and so are those with whom there is a block.
func (c *Client) AddParticipants(ctx context.Context, conversation string, users ...UserID) error {
	return c.act(ctx, conversation, "add_participants", map[string]any{"user_ids": users})
}

// RemoveParticipants removes users from a group.
func (c *Client) RemoveParticipants(ctx context.Context, conversation string, users ...UserID) error {
	return c.act(ctx, conversation, "remove_participants", map[string]any{"user_ids": users})
}

// Leave leaves a group.
func (c *Client) Leave(ctx context.Context, conversation string) error {
	return c.act(ctx, conversation, "leave", nil)
}

// SetRole gives a member of a group another role; the owner only. RoleOwner hands ownership over.
func (c *Client) SetRole(ctx context.Context, conversation string, user UserID, role Role) error {
	return c.act(ctx, conversation, "set_role", map[string]any{"user_id": user, "role": role})
}

// Rename changes the name of a group.
func (c *Client) Rename(ctx context.Context, conversation, name string) error {
	return c.patch(ctx, conversation, map[string]string{"name": name})
}

// SetPermissions says who may do what in a group.
func (c *Client) SetPermissions(ctx context.Context, conversation string, p Permissions) error {
	return c.patch(ctx, conversation, p)
}

func (c *Client) patch(ctx context.Context, conversation string, body any) error {
	if err := c.rest(ctx, http.MethodPatch, "conversations/"+url.PathEscape(conversation)+"/", nil, body, nil); err != nil {
		return fmt.Errorf("change a conversation: %w", err)
	}
	return nil
}

// Events returns the events of a conversation's log after seq, the oldest first, and the seq of its newest event. It is
// how a program follows a conversation without a socket.
func (c *Client) Events(ctx context.Context, conversation string, after uint64) (events []Event, head uint64, err error) {
	var page struct {
		Head    uint64            `json:"head_seq"`
		Results []json.RawMessage `json:"results"`
	}
	q := url.Values{"after": {strconv.FormatUint(after, 10)}}
	if err := c.rest(ctx, http.MethodGet, "conversations/"+url.PathEscape(conversation)+"/events/", q, nil, &page); err != nil {
		return nil, 0, fmt.Errorf("read events: %w", err)
	}
	for _, raw := range page.Results {
		f, err := decodeFrame(raw)
		if err != nil {
			return nil, 0, fmt.Errorf("read events: %w", err)
		}
		if ev := f.logEvent(f.Seq); ev != nil {
			events = append(events, ev)
		}
	}
	return events, page.Head, nil
}
