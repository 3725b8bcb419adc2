package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// serverFrame is the union of all frames that the server sends.
type serverFrame struct {
	Type         string `json:"type"`
	Conversation string `json:"conversation_id"`
	Seq          uint64 `json:"seq"`
	Ref          string `json:"ref"`
	ClientID     string `json:"client_id"`

	ID        string    `json:"id"`
	Sender    string    `json:"sender"`
	SenderID  UserID    `json:"sender_id"`
	Content   string    `json:"content"`
	Timestamp time.Time `json:"timestamp"`
	File      string    `json:"file"`
	IsVoice   bool      `json:"is_voice"`
	IsRead    bool      `json:"is_read"`
	Deleted   deletedAt `json:"deleted_at"`

	ReplyTo       string       `json:"reply_to"`
	ReplyCount    int          `json:"reply_count"`
	Mentions      []UserID     `json:"mentions"`
	MentionAll    bool         `json:"mention_all"`
	ForwardedFrom *Attribution `json:"forwarded_from"`
	LinkPreview   *LinkPreview `json:"link_preview"`

	TypingUser string    `json:"typing_user"`
	IsTyping   bool      `json:"is_typing"`
	MessageID  string    `json:"message_id"`
	User       string    `json:"user"`
	UserID     UserID    `json:"user_id"`
	ReadAt     time.Time `json:"read_at"`
	ReadCount  int       `json:"read_count"`
	MessageSeq uint64    `json:"message_seq"`
	GotAt      time.Time `json:"delivered_at"`
	UpToSeq    uint64    `json:"up_to_seq"`
	Emoji      string    `json:"emoji"`
	Removed    bool      `json:"removed"`
	Remove     bool      `json:"remove"`
	Change     string    `json:"change"`
	Name       string    `json:"name"`
	IsMuted    bool      `json:"is_muted"`
	MutedUntil time.Time `json:"muted_until"`
	IsPinned   bool      `json:"is_pinned"`
	IsArchived bool      `json:"is_archived"`
	Text       string    `json:"text"`
	UpdatedAt  time.Time `json:"updated_at"`
	Group      struct {
		ID           string `json:"id"`
		Name         string `json:"name"`
		Participants int    `json:"participant_count"`
	} `json:"group"`

	HeadSeq      uint64 `json:"head_seq"`
	Message      string `json:"message"`
	Code         string `json:"code"`
	RetryAfterMS int64  `json:"retry_after_ms"`

	raw []byte
}

// deletedAt is set when the field holds anything but null and the empty string.
type deletedAt bool

func (d *deletedAt) UnmarshalJSON(b []byte) error {
	s := string(b)
	*d = s != "null" && s != `""` && s != "false"
	return nil
}

var errFrame = errors.New("not a frame of the protocol")

// decodeFrame reads one frame. A field of an unexpected JSON type is ignored, so that a newer server does not
// break an older client; a frame without a type is an error.
func decodeFrame(b []byte) (*serverFrame, error) {
	f := new(serverFrame)
	if err := json.Unmarshal(b, f); err != nil {
		if ute := (*json.UnmarshalTypeError)(nil); !errors.As(err, &ute) {
			return nil, fmt.Errorf("%w: %w", errFrame, err)
		}
	}
	if f.Type == "" {
		return nil, errFrame
	}
	f.raw = b
	return f, nil
}

func (f *serverFrame) retryAfter() time.Duration {
	// A day bounds what a broken server can make a client wait.
	return time.Duration(min(max(f.RetryAfterMS, 0), 86_400_000)) * time.Millisecond
}

func (f *serverFrame) err() *Error {
	return &Error{Code: f.Code, Message: f.Message, RetryAfter: f.retryAfter(), Conversation: f.Conversation}
}

func (f *serverFrame) message() Message {
	return Message{
		ID: f.ID, Conversation: f.Conversation, Seq: f.Seq, ClientID: f.ClientID, Sender: f.Sender,
		SenderID: f.SenderID, Content: f.Content, File: f.File, IsVoice: f.IsVoice, IsRead: f.IsRead,
		Deleted: bool(f.Deleted), At: f.Timestamp, ReplyTo: f.ReplyTo, ReplyCount: f.ReplyCount, Mentions: f.Mentions,
		MentionAll: f.MentionAll, ForwardedFrom: f.ForwardedFrom, LinkPreview: f.LinkPreview,
	}
}

func (f *serverFrame) log() Log {
	return Log{Conversation: f.Conversation, Seq: f.Seq, At: f.Timestamp}
}

// actor is who caused the event: named "user" in some frames and "sender" in others.
func (f *serverFrame) actor() (string, UserID) {
	name, id := f.User, f.UserID
	if name == "" {
		name = f.Sender
	}
	if id == "" {
		id = f.SenderID
	}
	return name, id
}

// logEvent returns the event of a frame that belongs to a log, or nil. next is the seq that the conversation
// expects: a frame of an unknown type is taken for a log event only where one is due.
func (f *serverFrame) logEvent(next uint64) Event {
	if f.Seq == 0 || f.Conversation == "" {
		return nil
	}
	name, id := f.actor()
	switch f.Type {
	case "message":
		return &MessageEvent{Message: f.message()}
	case "message_edited":
		return &EditedEvent{f.log(), f.MessageID, f.Content, name, id}
	case "message_deleted":
		return &DeletedEvent{f.log(), f.MessageID, name, id}
	case "reaction":
		return &ReactionEvent{f.log(), f.MessageID, f.Emoji, f.Removed || f.Remove, name, id}
	case "link_preview":
		return &PreviewEvent{f.log(), f.MessageID, f.LinkPreview}
	case "message_pinned":
		return &PinEvent{f.log(), f.MessageID, f.Removed, name, id}
	case "message_hidden":
		return &HiddenEvent{f.log(), f.MessageID}
	case "participants_changed", "conversation_updated":
		return &ChangeEvent{f.log(), f.Type, f.Change, f.Name, f.raw}
	case "status", "typing", "read", "read_count", "delivered", "presence", "error", "goaway", "ping", "pong", "resumed", "gap", "head",
		"ok", "auth", "group_created", "contact_added":
		return nil
	}
	if f.Seq == next {
		return &UnknownEvent{f.log(), f.Type, f.raw}
	}
	return nil
}

// clientFrame is the union of the frames that the client sends.
type clientFrame struct {
	Type         string  `json:"type"`
	Conversation string  `json:"conversation_id,omitempty"`
	Ref          string  `json:"ref,omitempty"`
	ClientID     string  `json:"client_id,omitempty"`
	Content      *string `json:"content,omitempty"`
	IsTyping     *bool   `json:"is_typing,omitempty"`
	MessageID    string  `json:"message_id,omitempty"`
	UpToSeq      uint64  `json:"up_to_seq,omitempty"`
	Seq          uint64  `json:"seq,omitempty"`
	LastSeq      *uint64 `json:"last_seq,omitempty"`
	Emoji        string  `json:"emoji,omitempty"`
	Remove       bool    `json:"remove,omitempty"`
	Token        string  `json:"token,omitempty"`
	UploadID     string  `json:"upload_id,omitempty"`
	IsVoice      bool    `json:"is_voice,omitempty"`

	Conversations []resumePoint `json:"conversations,omitempty"`
}

// resumePoint is one conversation of a resume for several.
type resumePoint struct {
	Conversation string `json:"conversation_id"`
	LastSeq      uint64 `json:"last_seq"`
}

func (f *clientFrame) encode() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic("client: encode frame: " + err.Error()) // strings and numbers alone: cannot fail
	}
	return b
}
