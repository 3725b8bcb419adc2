package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// UserID is a user's id. On the wire it is a number or a string; here always a string.
type UserID string

// UnmarshalJSON accepts a number, a string, or null (empty).
func (u *UserID) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(u))
	}
	if bytes.Equal(b, []byte("null")) {
		*u = ""
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return fmt.Errorf("user id: %w", err)
	}
	*u = UserID(n)
	return nil
}

// Event is what the handler gets: one of the *…Event types of this package. Values are the handler's to keep.
type Event interface{ isEvent() }

// Log places an event in the log of its conversation. Seq counts from 1 without gaps.
type Log struct {
	Conversation string
	Seq          uint64
	At           time.Time
}

// Message is a message of a conversation.
type Message struct {
	ID           string
	Conversation string
	Seq          uint64 // 0 if the server did not say (REST of older servers)
	ClientID     string
	Sender       string // username
	SenderID     UserID
	Content      string
	File         string // path of the file for Download; may be empty
	IsVoice      bool
	IsRead       bool
	Deleted      bool
	At           time.Time

	ReplyTo    string // id of the message that it answers
	ReplyCount int    // how many answer it
	Mentions   []UserID
	MentionAll bool
	// ForwardedFrom is who wrote it, if it was forwarded.
	ForwardedFrom *Attribution
	// LinkPreview is what its first link leads to, where the hub looked.
	LinkPreview *LinkPreview
}

// LinkPreview is what a page says of itself: plain text, to be escaped, and not to be trusted. Empty: it does not say.
type LinkPreview struct {
	URL         string `json:"url"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Site        string `json:"site_name"`
	Image       string `json:"image_url"`
}

// Attribution says who wrote what was forwarded.
type Attribution struct {
	User   string `json:"user"`
	UserID UserID `json:"user_id"`
}

// Events of the log. Each is delivered exactly once and in order of Seq per conversation.
type (
	// MessageEvent is a new message, also one's own.
	MessageEvent struct {
		Message
		Own bool // of this user, through this client or another, as far as this client knows who it is
	}
	// EditedEvent replaces the content of a message.
	EditedEvent struct {
		Log
		MessageID string
		Content   string
		User      string
		UserID    UserID
	}
	// DeletedEvent empties a message.
	DeletedEvent struct {
		Log
		MessageID string
		User      string
		UserID    UserID
	}
	// ReactionEvent adds a reaction to a message, or removes it.
	ReactionEvent struct {
		Log
		MessageID string
		Emoji     string
		Removed   bool
		User      string
		UserID    UserID
	}
	// PreviewEvent says what the first link of a message leads to, in that page's own words.
	PreviewEvent struct {
		Log
		MessageID string
		Preview   *LinkPreview
	}
	// PinEvent pins a message, or takes that back. A message that is deleted is pinned no more, too.
	PinEvent struct {
		Log
		MessageID string
		Removed   bool
		User      string
		UserID    UserID
	}
	// HiddenEvent says that this user has hidden a message. Seq is 0 when it happens; in a replay it is that of an event
	// about the message, which it stands for.
	HiddenEvent struct {
		Log
		MessageID string
	}
	// ChangeEvent is participants_changed or conversation_updated (Type). Raw is the whole frame.
	ChangeEvent struct {
		Log
		Type   string
		Change string // created, renamed, added, removed, left, role
		Name   string
		Raw    json.RawMessage
	}
	// UnknownEvent is a frame of a type that this version does not know. Seq is 0 if it is not of a log.
	UnknownEvent struct {
		Log
		Type string
		Raw  json.RawMessage
	}
)

// Events beside the log: best effort, shed first when something is slow.
type (
	// TypingEvent says that somebody types, or stopped.
	TypingEvent struct {
		Conversation string
		User         string
		UserID       UserID
		Typing       bool
	}
	// PositionEvent says that a user has read, or received, everything up to Seq. Kind is "read" or
	// "delivered".
	PositionEvent struct {
		Kind         string
		Conversation string
		User         string
		UserID       UserID
		MessageID    string
		Seq          uint64
		At           time.Time
	}
	// ReadCountEvent says how many have read a message of a group that is too large to name them.
	ReadCountEvent struct {
		Conversation string
		MessageID    string
		Seq          uint64
		Readers      int
		At           time.Time // when the last of them did
	}
	// SettingsEvent says how this user has a conversation shown now.
	SettingsEvent struct {
		Conversation string
		Muted        bool
		MutedUntil   time.Time // zero: not muted, or without an end
		Pinned       bool
		Archived     bool
	}
	// DraftEvent is what this user has written through another client.
	DraftEvent struct {
		Conversation string
		Draft        Draft
	}
	// GroupCreatedEvent says that a group was made with this user in it.
	GroupCreatedEvent struct {
		Conversation string
		Name         string
		Participants int
	}
)

// Events about the client itself.
type (
	// GapEvent says that the events From…To could not be replayed. Messages are what the history holds of
	// that range now, oldest first; changes to older messages are not in it. What follows has Seq > To.
	GapEvent struct {
		Conversation string
		From, To     uint64
		Messages     []Message
		// Truncated: the range held more messages than Config.HistoryLimit.
		Truncated bool
		// Reset: the server's log is shorter than what this client has seen. To is then its head.
		Reset bool
	}
	// LostEvent says that a conversation is followed no more: the user was removed from it, or it is gone.
	LostEvent struct {
		Conversation string
		Err          error
	}
	// ErrorEvent is a refusal that belongs to no call.
	ErrorEvent struct{ Err *Error }
	// StateEvent says that the connection changed.
	StateEvent struct {
		State State
		// Err is why the connection was lost or closed; nil otherwise.
		Err error
		// RetryIn is the pause before the next attempt (StateConnecting).
		RetryIn time.Duration
	}
)

func (*MessageEvent) isEvent()      {}
func (*EditedEvent) isEvent()       {}
func (*DeletedEvent) isEvent()      {}
func (*ReactionEvent) isEvent()     {}
func (*PinEvent) isEvent()          {}
func (*PreviewEvent) isEvent()      {}
func (*HiddenEvent) isEvent()       {}
func (*SettingsEvent) isEvent()     {}
func (*DraftEvent) isEvent()        {}
func (*ChangeEvent) isEvent()       {}
func (*UnknownEvent) isEvent()      {}
func (*TypingEvent) isEvent()       {}
func (*PositionEvent) isEvent()     {}
func (*ReadCountEvent) isEvent()    {}
func (*GroupCreatedEvent) isEvent() {}
func (*GapEvent) isEvent()          {}
func (*LostEvent) isEvent()         {}
func (*ErrorEvent) isEvent()        {}
func (*StateEvent) isEvent()        {}

// State of the connection.
type State uint8

const (
	StateIdle       State = iota // Run was not called yet
	StateConnecting              // dialling, or waiting before the next attempt
	StateResuming                // connected, catching up with the followed conversations
	StateOnline                  // connected and caught up
	StateClosed                  // for good
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case StateIdle:
		return "idle"
	case StateConnecting:
		return "connecting"
	case StateResuming:
		return "resuming"
	case StateOnline:
		return "online"
	case StateClosed:
		return "closed"
	}
	return "unknown"
}
