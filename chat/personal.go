package chat

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// What a member keeps for itself alone. Other members learn nothing of it.

// Bounds of it.
const (
	// MaxHidden is how many messages of one conversation a member can hide.
	MaxHidden = 5_000
	// MaxPinnedConversations is how many conversations a user can pin.
	MaxPinnedConversations = 100
)

// Forever is until when a conversation is muted that is muted without an end.
var Forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

type (
	// Hide deletes a message for the caller alone. It may be anybody's, of any age, deleted for all or not. Idempotent.
	// At most MaxHidden of a conversation.
	Hide struct {
		Conversation ConversationID
		Message      MessageID
	}
	// Mute marks the conversation as muted until a time in the future, or Forever; zero: not any more. The hub delivers
	// and counts as before: it is for clients and notifications to keep quiet.
	Mute struct {
		Conversation ConversationID
		Until        time.Time
	}
	// PinConversation puts the conversation before those that are not pinned in the caller's list, behind those that
	// were pinned earlier, or takes that back. Idempotent. At most MaxPinnedConversations, which the Hub counts.
	PinConversation struct {
		Conversation ConversationID
		On           bool
	}
	// SetDraft replaces what the caller has written and not sent; the last one wins. Without text there is none.
	// ReplyTo may be zero; it is not looked up.
	SetDraft struct {
		Conversation ConversationID
		Text         string
		ReplyTo      MessageID
	}
)

func (c Hide) Target() ConversationID            { return c.Conversation }
func (c Mute) Target() ConversationID            { return c.Conversation }
func (c PinConversation) Target() ConversationID { return c.Conversation }
func (c SetDraft) Target() ConversationID        { return c.Conversation }

func (Hide) Name() string            { return "hide" }
func (Mute) Name() string            { return "mute" }
func (PinConversation) Name() string { return "pin_conversation" }
func (SetDraft) Name() string        { return "set_draft" }

// HiddenMessage is one that a member has deleted for itself.
type HiddenMessage struct {
	Seq     uint64
	MsgNo   uint64
	ReplyTo uint64 // place of the message that it answers; 0: none
	Own     bool   // it is the member's own
}

// Draft is what a member has written in a conversation and not sent.
type Draft struct {
	Conversation ConversationID
	Text         string // empty: there is no draft
	ReplyTo      MessageID
	At           time.Time
}

// NormalizeDraft checks the text of a draft, which keeps its white space unless it is nothing else.
func NormalizeDraft(s string) (string, error) {
	switch {
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return "", &FieldError{"text", "Not a valid string."}
	case strings.TrimSpace(s) == "":
		return "", nil
	case len(s) > MaxContent && utf8.RuneCountInString(s) > MaxContent:
		return "", &FieldError{"text", fmt.Sprintf("Ensure this field has no more than %d characters.", MaxContent)}
	}
	return s, nil
}

// Personal are rows that members keep for themselves in one conversation.
type Personal struct {
	Hidden []HiddenRow
	Drafts []DraftRow
}

// IsZero reports whether there are none.
func (p *Personal) IsZero() bool { return len(p.Hidden) == 0 && len(p.Drafts) == 0 }

// HiddenRow is a message that User has hidden.
type HiddenRow struct {
	User UserID
	HiddenMessage
}

// DraftRow is what User has written; without text: nothing any more.
type DraftRow struct {
	User UserID
	Draft
}

// Settings are how a member has its conversation shown.
type Settings struct {
	MutedUntil time.Time // zero: not muted
	Pinned     bool
	Archived   bool
}

// OwnNotice tells the sessions of one member what that member did for itself: one of the fields is set.
type OwnNotice struct {
	Hidden   MessageID
	Settings *Settings
	Draft    *Draft
}

// Kind is the name that the wire uses.
func (n *OwnNotice) Kind() string {
	switch {
	case n.Settings != nil:
		return "conversation_settings"
	case n.Draft != nil:
		return "draft"
	}
	return "message_hidden"
}

// Settings of the member, given the conversation's head.
func (m *Member) Settings(head uint64) Settings {
	return Settings{MutedUntil: m.MutedUntil, Pinned: !m.PinnedAt.IsZero(), Archived: m.Archived(head)}
}

// Muted reports whether the conversation is muted at a time.
func (s *Settings) Muted(now time.Time) bool { return now.Before(s.MutedUntil) }
