package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const apiPrefix = "/api/v1/messages/"

// maxBody bounds a REST answer.
const maxBody = 16 << 20

// User as the REST API shows one.
type User struct {
	ID       UserID `json:"id"`
	Email    string `json:"email"`
	FullName string `json:"full_name"`
	Role     Role   `json:"role"` // of a participant of a group
}

// Conversation as the REST API shows one.
type Conversation struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Participants []User    `json:"participants"`
	IsGroup      bool      `json:"is_group"`
	Unread       int       `json:"unread_count"`
	LastText     string    `json:"last_message_text"`
	UpdatedAt    time.Time `json:"updated_at"`
	IsMuted      bool      `json:"is_muted"`
	MutedUntil   time.Time `json:"muted_until"` // zero: not muted, or without an end
	IsPinned     bool      `json:"is_pinned"`
	IsArchived   bool      `json:"is_archived"`
	Draft        *Draft    `json:"draft"`   // nil: none
	MyRole       Role      `json:"my_role"` // in a group; not in lists, nor are the permissions
	Permissions
}

// ConversationPage is one page of the user's conversations: pinned ones, then the newest activity first.
type ConversationPage struct {
	Count         int
	Conversations []Conversation
	More          bool
}

// MessagePage is one page of messages, newest first.
type MessagePage struct {
	Messages []Message
	More     bool
}

// CreateDirect returns the direct conversation with a user, which is made if it does not exist.
func (c *Client) CreateDirect(ctx context.Context, user UserID) (*Conversation, error) {
	return c.create(ctx, map[string]any{"participant_ids": []UserID{user}})
}

// CreateGroup makes a group of the caller and at least two others.
func (c *Client) CreateGroup(ctx context.Context, name string, users ...UserID) (*Conversation, error) {
	return c.create(ctx, map[string]any{"participant_ids": users, "name": name})
}

func (c *Client) create(ctx context.Context, body any) (*Conversation, error) {
	out := new(Conversation)
	if err := c.rest(ctx, http.MethodPost, "conversations/", nil, body, out); err != nil {
		return nil, fmt.Errorf("create a conversation: %w", err)
	}
	return out, nil
}

// Conversations returns page n (from 1) of the user's conversations.
func (c *Client) Conversations(ctx context.Context, n int) (*ConversationPage, error) {
	var page struct {
		Count   int            `json:"count"`
		Next    *string        `json:"next"`
		Results []Conversation `json:"results"`
	}
	q := url.Values{"page": {strconv.Itoa(max(n, 1))}}
	if err := c.rest(ctx, http.MethodGet, "conversations/", q, nil, &page); err != nil {
		return nil, fmt.Errorf("list conversations: %w", err)
	}
	return &ConversationPage{page.Count, page.Results, page.Next != nil}, nil
}

// Messages returns a page of a conversation's messages older than the message before, or the newest page if
// that is empty.
func (c *Client) Messages(ctx context.Context, conversation, before string) (*MessagePage, error) {
	return c.messagePage(ctx, "messages/", url.Values{"conversation": {conversation}}, before)
}

// Replies returns a page of the messages that answer a message, older than the message before, or the newest page.
func (c *Client) Replies(ctx context.Context, message, before string) (*MessagePage, error) {
	return c.messagePage(ctx, "messages/"+url.PathEscape(message)+"/replies/", url.Values{}, before)
}

// restMessage is a message as the REST API shows one in lists and as the answer to a send.
type restMessage struct {
	ID           string   `json:"id"`
	Conversation string   `json:"conversation"`
	Seq          uint64   `json:"seq"`
	ClientID     string   `json:"client_id"`
	Sender       restUser `json:"sender"`
	Content      string   `json:"content"`
	Attachment   *struct {
		Path string `json:"path"`
	} `json:"attachment"`
	IsVoice   bool      `json:"is_voice"`
	IsRead    bool      `json:"is_read"`
	Deleted   deletedAt `json:"deleted_at"`
	Timestamp time.Time `json:"timestamp"`

	ReplyTo       string       `json:"reply_to"`
	ReplyCount    int          `json:"reply_count"`
	Mentions      []UserID     `json:"mentions"`
	MentionAll    bool         `json:"mention_all"`
	ForwardedFrom *Attribution `json:"forwarded_from"`
	LinkPreview   *LinkPreview `json:"link_preview"`
}

func (m *restMessage) message() Message {
	file := ""
	if m.Attachment != nil {
		file = m.Attachment.Path
	}
	return Message{
		ID: m.ID, Conversation: m.Conversation, Seq: m.Seq, ClientID: m.ClientID, Sender: m.Sender.name(),
		SenderID: m.Sender.ID, Content: m.Content, File: file, IsVoice: m.IsVoice, IsRead: m.IsRead,
		Deleted: bool(m.Deleted), At: m.Timestamp, ReplyTo: m.ReplyTo, ReplyCount: m.ReplyCount, Mentions: m.Mentions,
		MentionAll: m.MentionAll, ForwardedFrom: m.ForwardedFrom, LinkPreview: m.LinkPreview,
	}
}

func (c *Client) messagePage(ctx context.Context, path string, q url.Values, before string) (*MessagePage, error) {
	var page struct {
		Next    *string       `json:"next"`
		Results []restMessage `json:"results"`
	}
	if before != "" {
		q.Set("before", before)
	}
	if err := c.rest(ctx, http.MethodGet, path, q, nil, &page); err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	out := &MessagePage{More: page.Next != nil}
	for i := range page.Results {
		out.Messages = append(out.Messages, page.Results[i].message())
	}
	return out, nil
}

// Post sends a message by REST, at once or not at all.
func (c *Client) Post(ctx context.Context, m Post) (*Message, error) {
	out := new(restMessage)
	if err := c.rest(ctx, http.MethodPost, "messages/", nil, m, out); err != nil {
		return nil, fmt.Errorf("post a message: %w", err)
	}
	sent := out.message()
	return &sent, nil
}

// Post is a message to be sent by REST. Empty fields are not given.
type Post struct {
	Conversation string   `json:"conversation_id"`
	Content      string   `json:"content"`
	ClientID     string   `json:"client_id,omitempty"` // makes it safe to repeat
	ReplyTo      string   `json:"reply_to,omitempty"`  // id of the message that it answers
	Mentions     []UserID `json:"mentions,omitempty"`
	MentionAll   bool     `json:"mention_all,omitempty"`
}

type restUser struct {
	ID       UserID `json:"id"`
	Username string `json:"username"`
	FullName string `json:"full_name"`
}

func (u restUser) name() string {
	switch {
	case u.Username != "":
		return u.Username
	case u.FullName != "":
		return u.FullName
	}
	return string(u.ID)
}

// rest makes one call of the messaging API. A refused token is replaced once. A node that cannot be reached is left for
// the next; a call that may have reached one, and is not a GET, is not made again.
func (c *Client) rest(ctx context.Context, method, path string, query url.Values, body, out any) error {
	refused := ""
	for tries := 1; ; {
		node, place := c.endpoint()
		u := *node.rest
		u.Path += apiPrefix + path
		u.RawQuery = query.Encode()
		token, err := c.cfg.TokenSource(ctx)
		if err != nil {
			return fmt.Errorf("get a token: %w", err)
		}
		if token == refused && refused != "" {
			return ErrUnauthorized
		}
		err = doJSON(ctx, c.cfg.HTTPClient, method, u.String(), token, body, out)
		if he := (*HTTPError)(nil); errors.As(err, &he) && he.Status == http.StatusUnauthorized && refused == "" {
			refused = token
			continue
		}
		if ue := (*url.Error)(nil); errors.As(err, &ue) && ctx.Err() == nil && tries < len(c.nodes) && (unsent(err) || method == http.MethodGet) {
			tries++
			c.leave(place)
			continue
		}
		return err
	}
}

// doJSON sends body (nil: none) and decodes the answer into out, unless that is nil.
func doJSON(ctx context.Context, hc *http.Client, method, url, token string, body, out any) error {
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, rd)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return httpError(resp)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(out); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	return nil
}

// DevToken asks a hub that runs with --dev for an access token of any user, whom it thereby introduces. tenant
// may be empty.
func DevToken(ctx context.Context, baseURL, tenant, user string) (string, error) {
	body := map[string]string{"username": user, "password": "any"}
	if tenant != "" {
		body["tenant"] = tenant
	}
	var out struct {
		Access string `json:"access"`
	}
	u := strings.TrimSuffix(baseURL, "/") + "/api/v1/auth/token/"
	if err := doJSON(ctx, http.DefaultClient, http.MethodPost, u, "", body, &out); err != nil {
		return "", fmt.Errorf("get a development token: %w", err)
	}
	if out.Access == "" {
		return "", errors.New("get a development token: the answer holds none")
	}
	return out.Access, nil
}

// Forward sends a copy of a message into a conversation. clientID, if not empty, makes it safe to repeat.
func (c *Client) Forward(ctx context.Context, message, conversation, clientID string) (*Message, error) {
	body := map[string]string{"conversation_id": conversation}
	if clientID != "" {
		body["client_id"] = clientID
	}
	out := new(restMessage)
	if err := c.rest(ctx, http.MethodPost, "messages/"+url.PathEscape(message)+"/forward/", nil, body, out); err != nil {
		return nil, fmt.Errorf("forward a message: %w", err)
	}
	sent := out.message()
	return &sent, nil
}

// Pin pins a message for all members of its conversation, or takes that back.
func (c *Client) Pin(ctx context.Context, message string, remove bool) error {
	action := "pin"
	if remove {
		action = "unpin"
	}
	if err := c.rest(ctx, http.MethodPost, "messages/"+url.PathEscape(message)+"/"+action+"/", nil, nil, nil); err != nil {
		return fmt.Errorf("%s a message: %w", action, err)
	}
	return nil
}

// Pins returns the pinned messages of a conversation, the newest pin first.
func (c *Client) Pins(ctx context.Context, conversation string) ([]Message, error) {
	page, err := c.messagePage(ctx, "conversations/"+url.PathEscape(conversation)+"/pins/", url.Values{}, "")
	if err != nil {
		return nil, err
	}
	return page.Messages, nil
}
