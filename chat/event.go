package chat

import "time"

// EventType is the type of an event of a conversation's log. The numbers are stored.
type EventType uint8

const (
	EventMessage      EventType = 1
	EventEdited       EventType = 2 // message_edited
	EventDeleted      EventType = 3 // message_deleted
	EventReaction     EventType = 4
	EventParticipants EventType = 5 // participants_changed
	EventConversation EventType = 6 // conversation_updated
	EventPin          EventType = 7 // message_pinned
	EventPreview      EventType = 8 // link_preview

	// LastEventType is the highest that is stored.
	LastEventType = EventPreview

	// EventHidden is in no log: it stands for an event about a message that the reader has hidden. Only Seq, Epoch,
	// MsgNo, At, Message and MessageSeq are set.
	EventHidden EventType = 255
)

// String returns the name that the wire uses.
func (t EventType) String() string {
	switch t {
	case EventMessage:
		return "message"
	case EventEdited:
		return "message_edited"
	case EventDeleted:
		return "message_deleted"
	case EventReaction:
		return "reaction"
	case EventParticipants:
		return "participants_changed"
	case EventConversation:
		return "conversation_updated"
	case EventPin:
		return "message_pinned"
	case EventPreview:
		return "link_preview"
	case EventHidden:
		return "message_hidden"
	}
	return "unknown"
}

// Change says what an EventParticipants or EventConversation did.
type Change uint8

const (
	ChangeCreated Change = 1 // EventConversation, always event 1: Kind, Name, Users (the creator first)
	ChangeRenamed Change = 2 // EventConversation: Name
	ChangeAdded   Change = 3 // EventParticipants: Users
	ChangeRemoved Change = 4
	ChangeLeft    Change = 5
	ChangeRole    Change = 6 // EventParticipants: Users, Role
	// ChangePermissions is of EventConversation: Permissions, as they are from then on.
	ChangePermissions Change = 7

	// LastChange is the highest that is stored.
	LastChange = ChangePermissions
)

// String returns the name that the wire uses.
func (c Change) String() string {
	switch c {
	case ChangeCreated:
		return "created"
	case ChangeRenamed:
		return "renamed"
	case ChangeAdded:
		return "added"
	case ChangeRemoved:
		return "removed"
	case ChangeLeft:
		return "left"
	case ChangeRole:
		return "role"
	case ChangePermissions:
		return "permissions"
	}
	return "unknown"
}

// Reaction of one user to one message.
type Reaction struct {
	User  UserID
	Emoji string
	At    time.Time
}

// Event is one entry of a conversation's log: number Seq of an unbroken sequence 1, 2, 3 … It is immutable
// once committed, but for the row of an EventMessage, which an edit, a deletion or a reaction rewrites to show
// the present (each being an event of its own as well).
type Event struct {
	Seq   uint64
	Epoch uint64 // of the owner that wrote it; never decreases along a log
	MsgNo uint64 // messages up to and including this event
	Type  EventType
	At    time.Time // UTC, whole microseconds, never decreasing along a log

	Actor     UserID // who caused it
	ActorName string // username at that time
	ClientID  string // the sender's own id; unique per conversation and sender

	// Message is the id of the message: its own for EventMessage, its target for EventEdited, EventDeleted,
	// EventReaction, EventPin and EventPreview, whose place is MessageSeq.
	Message    MessageID
	MessageSeq uint64

	Content   string // EventMessage (empty once deleted), EventEdited
	IsVoice   bool
	File      *File      // EventMessage: nil if there is none, or once deleted
	EditedAt  time.Time  // EventMessage: zero if never
	DeletedAt time.Time  // EventMessage: zero if not
	Reactions []Reaction // EventMessage, in the order of arrival
	Extras    *Extras    // EventMessage; the mentions of an EventEdited; the preview of an EventPreview; nil: none

	Emoji   string // EventReaction
	Removed bool   // EventReaction, EventPin: taken back

	Change Change   // EventParticipants, EventConversation
	Users  []UserID // EventParticipants; EventConversation when ChangeCreated
	Role   Role     // ChangeRole
	Name   string   // EventConversation, but for ChangePermissions
	Kind   Kind     // EventConversation when ChangeCreated

	Permissions Permissions // ChangePermissions
}

// Extras are what few messages have. They are never changed in place.
type Extras struct {
	ReplyTo MessageID // the message of the same conversation that it answers; zero: none
	// Replies counts the messages that answer it, deleted ones included; LastReply is the seq of the newest of them.
	Replies, LastReply uint64
	Mentions           []UserID // members at that time, in the order of mention
	MentionAll         bool
	Forwarded          Attribution
	Preview            *LinkPreview // of the first link in the content, as long as that is there; nil: none
}

// Attribution says who wrote what was forwarded. It does not say where: readers may not know that conversation.
type Attribution struct {
	User UserID // empty: it was not forwarded
	Name string // username
}

// More is Extras, the zero value where there are none.
func (e *Event) More() Extras {
	if e.Extras == nil {
		return Extras{}
	}
	return *e.Extras
}

// IsMessage reports whether the event is a message.
func (e *Event) IsMessage() bool { return e.Type == EventMessage }

// Concerns is the place of the message that the event is, or is about; 0: none.
func (e *Event) Concerns() uint64 {
	switch e.Type {
	case EventMessage:
		return e.Seq
	case EventEdited, EventDeleted, EventReaction, EventPin, EventPreview:
		return e.MessageSeq
	}
	return 0
}

// Emptied is what an edit or a preview says once its message is deleted: that it was, and nothing of the text.
func (e *Event) Emptied() Event {
	x := *e
	switch e.Type {
	case EventEdited:
		x.Content, x.Extras = "", nil
	case EventPreview:
		x.Extras = &Extras{Preview: &LinkPreview{}}
	}
	return x
}

// Concealed is what a reader who has hidden its message is shown of the event.
func (e *Event) Concealed() Event {
	return Event{Seq: e.Seq, Epoch: e.Epoch, MsgNo: e.MsgNo, Type: EventHidden, At: e.At, Message: e.Message,
		MessageSeq: e.Concerns()}
}
