package chat

import (
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Bounds of messages that are to be sent later.
const (
	// MinScheduled and MaxScheduled are how far ahead of now the time of sending may be.
	MinScheduled = time.Second
	MaxScheduled = 365 * 24 * time.Hour
	// MaxPendingScheduled is how many of a user's may wait at once, in all conversations together.
	MaxPendingScheduled = 100
	// KeepFailedScheduled is how long one that was refused is listed.
	KeepFailedScheduled = 30 * 24 * time.Hour
)

// ScheduledID names a message that is to be sent later, or was: a UUID of version 7, or, of one with a client's id, of
// version 8.
type ScheduledID [16]byte

// NewScheduledID returns the id of a message of a user's with that client id: the same again for the same. Without a client
// id it is a new one.
func NewScheduledID(k UserKey, clientID string) ScheduledID {
	if clientID == "" {
		return ScheduledID(uuid.Must(uuid.NewV7()))
	}
	sum := sha256.Sum256([]byte("hub scheduled message\x00" + string(k.Tenant) + "\x00" + string(k.User) + "\x00" + clientID))
	id := ScheduledID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseScheduledID accepts the hyphenated and the plain form.
func ParseScheduledID(s string) (ScheduledID, error) {
	u, err := parseUUID(s)
	return ScheduledID(u), err
}

// String returns the canonical hyphenated form.
func (s ScheduledID) String() string { return uuid.UUID(s).String() }

// IsZero reports whether s names nothing.
func (s ScheduledID) IsZero() bool { return s == ScheduledID{} }

// MarshalText implements encoding.TextMarshaler.
func (s ScheduledID) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ClientID is that of the message that it becomes: sending it twice is one message (I3).
func (s ScheduledID) ClientID() string { return "scheduled-" + s.String() }

// ScheduledState is what became of a message that is to be sent later. The numbers are stored.
type ScheduledState uint8

const (
	ScheduledPending   ScheduledState = 1 // can be changed and cancelled
	ScheduledSending   ScheduledState = 2 // may have been sent
	ScheduledSent      ScheduledState = 3
	ScheduledFailed    ScheduledState = 4 // refused; can be given another time
	ScheduledCancelled ScheduledState = 5

	// LastScheduledState is the highest that is stored.
	LastScheduledState = ScheduledCancelled
)

// String returns the name that the API uses.
func (s ScheduledState) String() string {
	switch s {
	case ScheduledPending:
		return "pending"
	case ScheduledSending:
		return "sending"
	case ScheduledSent:
		return "sent"
	case ScheduledFailed:
		return "failed"
	case ScheduledCancelled:
		return "cancelled"
	}
	return "unknown"
}

// Scheduled is a message that is to be sent at SendAt, as if By sent it then.
type Scheduled struct {
	ID         ScheduledID
	By         Principal
	ClientID   string // by which it was scheduled, or empty; of the message it is ID.ClientID
	Key        ConversationKey
	Content    string
	ReplyTo    MessageID
	Mentions   []UserID
	MentionAll bool
	SendAt     time.Time
	State      ScheduledState
	Reason     string // why it failed: one of ScheduledReasons
	CreatedAt  time.Time
	ChangedAt  time.Time // of State

	// Due is when it is to be looked at next: SendAt, or when it is to be forgotten. Turn counts the changes of Due.
	Due  time.Time
	Turn uint64
}

// Listed reports whether its user still sees it.
func (s *Scheduled) Listed() bool { return s.State != ScheduledSent && s.State != ScheduledCancelled }

// Send is the command that sends it.
func (s *Scheduled) Send() Send {
	return Send{Conversation: s.Key.ID, ClientID: s.ID.ClientID(), Content: s.Content, ReplyTo: s.ReplyTo, Mentions: s.Mentions,
		MentionAll: s.MentionAll}
}

// ScheduledDue is an entry of the calendar: a scheduled message is to be looked at.
type ScheduledDue struct {
	Due  time.Time
	User UserKey
	ID   ScheduledID
	Turn uint64
	Key  ConversationKey
}

// ScheduledNotice tells the sockets of a user that a message could not be sent at its time.
type ScheduledNotice struct {
	ID     ScheduledID
	Reason string
	SendAt time.Time
}

// ScheduledReason is why a scheduled message was refused, with the sentinel that says so.
type ScheduledReason struct {
	Err  error
	Name string
	Doc  string
}

// ScheduledReasons lists them, the most specific first. What is none of them passes, and is tried again.
var ScheduledReasons = []ScheduledReason{
	{ErrEmptyMessage, "empty_message", "there is no content"},
	{ErrTooLong, "too_long", "the content is too long"},
	{ErrSuspended, "suspended", "the user, or the tenant, was suspended"},
	{ErrUnauthorized, "unauthorized", "the tenant is not there any more"},
	{ErrNotMember, "not_participant", "the user is not, or no longer, in the conversation"},
	{ErrBlocked, "blocked", "one of the two blocked the other"},
	{ErrNotFound, "not_found", "the conversation is not there any more"},
	{ErrGone, "gone", "the conversation is not there any more"},
	{ErrForbidden, "forbidden", "the user may not send this there"},
	{ErrQuota, "quota", "a limit of the tenant's"},
	{ErrConflict, "outcome_unknown", "it may have been sent: nobody can tell"},
	{ErrInvalid, "invalid", "the message that it answers was deleted"},
}

// ScheduledReasonOf is the reason that err stands for; empty if it passes.
func ScheduledReasonOf(err error) string {
	for _, r := range ScheduledReasons {
		if errors.Is(err, r.Err) && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrUnavailable) {
			return r.Name
		}
	}
	return ""
}

// ScheduledSlots is how many parts the calendar has. It is stored in keys.
const ScheduledSlots = 8

// ScheduledSlot is the part of the calendar in which what is about a conversation stands.
func ScheduledSlot(k ConversationKey) int { return k.Shard() % ScheduledSlots }

// CheckScheduledTime answers a FieldError for a time that is not between MinScheduled and MaxScheduled after now.
func CheckScheduledTime(at, now time.Time) error {
	switch d := at.Sub(now); {
	case d < MinScheduled:
		return &FieldError{"send_at", "Ensure this time is at least 1 second in the future."}
	case d > MaxScheduled:
		return &FieldError{"send_at", "Ensure this time is at most 365 days in the future."}
	}
	return nil
}

// ErrTooManyScheduled refuses more than MaxPendingScheduled.
var ErrTooManyScheduled = &RuleError{"At most 100 messages can be scheduled."}

// ScheduledChange is what is to become of a scheduled message. Nil fields stay as they are.
type ScheduledChange struct {
	Content    *string // with Mentions and MentionAll
	Mentions   []UserID
	MentionAll bool
	SendAt     *time.Time
}

// Check answers a FieldError for what cannot be sent, whoever sends it.
func (c *ScheduledChange) Check(now time.Time) error {
	if c.Content != nil {
		if strings.TrimSpace(*c.Content) == "" {
			return ErrEmptyMessage
		}
		if _, err := NormalizeContent(*c.Content); err != nil {
			return err
		}
	}
	if c.SendAt != nil {
		return CheckScheduledTime(*c.SendAt, now)
	}
	return nil
}
