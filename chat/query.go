package chat

import (
	"sync"
	"time"
)

// SenderClientID names a message by what its sender called it.
type SenderClientID struct {
	Sender   UserID
	ClientID string
}

// Derived is a step of the state that is derived from a conversation's log up to Head.Seq: written after the
// events, idempotently, and written again on activation when a crash came between.
type Derived struct {
	Head    Head
	Members []Member // added or changed
	Removed []UserID // no members any more
	// Rewritten are EventMessage rows as they are now, after edits, deletions and reactions.
	Rewritten []Event
	// Replies are the messages since the last step that answer another.
	Replies []Reply
	// Sent are the client ids of messages since the last step, for FindDuplicates.
	Sent []SentMessage
}

// Append is the next events of one conversation's log, with consecutive seqs.
type Append struct {
	Key    ConversationKey
	Events []Event
}

// GroupLimits says which groups of conversations are worth committing in one step. The zero value: none.
type GroupLimits struct {
	// Parallel is how many groups go at once; as many as MaxParallel, if what is ready fills another one or has to wait.
	Parallel, MaxParallel int
	// Conversations of a group, and bytes of their events, beyond which a larger group is no cheaper.
	Conversations, Bytes int
}

// SentMessage ties a client id to the event it became.
type SentMessage struct {
	SenderClientID
	Seq uint64
}

// SessionSet is an immutable list of sessions of one edge.
type SessionSet struct {
	Sessions []SessionID

	once     sync.Once
	prepared any
}

// Prepare returns what build made of the sessions the first time: the edge keeps its sorted handles here.
func (s *SessionSet) Prepare(build func([]SessionID) any) any {
	s.once.Do(func() { s.prepared = build(s.Sessions) })
	return s.prepared
}

// ListQuery selects from the caller's conversations, newest activity first.
type ListQuery struct {
	Kind     Kind // 0: all
	Archived bool // only archived ones; they are left out otherwise
	Offset   int
	Limit    int
}

// ConversationItem is a conversation as its member sees it, with its members resolved.
type ConversationItem struct {
	Head    Head
	Me      Member
	Unread  uint64
	Members []User // sorted by joining; the caller included. Lists carry at most 100 of them.
	Roles   []Role // of Members
	Other   *User  // direct: the other member
	CanAdd  bool   // the caller may add members
	Draft   *Draft // nil: the caller has none
}

// ConversationPage is a slice of the caller's conversations.
type ConversationPage struct {
	Total int
	Items []ConversationItem
}

// MessageQuery selects messages, newest first: of one conversation, or of all of the caller's.
type MessageQuery struct {
	Conversation ConversationID // zero: all
	// ReplyTo, if not zero, selects the messages that answer this one; Conversation may be zero then.
	ReplyTo MessageID
	// Before, if not zero, is the message to continue after (exclusive).
	Before MessageID
	// BeforeTime, if not zero and Before is, selects messages older than it.
	BeforeTime time.Time
	Offset     int
	Limit      int
}

// MessageItem is a message as one member sees it.
type MessageItem struct {
	Conversation ConversationID
	Event        Event
	Sender       User
	IsOwn        bool
	IsRead       bool      // somebody but the sender has read it
	ReadBy       []Receipt // of Message alone: the first hundred
	Readers      int       // how many have read it
}

// MessagePage is a slice of messages.
type MessagePage struct {
	Total int
	Items []MessageItem
	More  bool
}

// EventQuery selects events of one conversation's log: what happened, messages included. Those after After, the oldest
// first, if After is set; else those before Before, the newest first; Before 0: from the head on.
type EventQuery struct {
	Conversation ConversationID
	After        *uint64
	Before       uint64
	Limit        int
}

// EventPage is a part of a log. Rows of messages show the present.
type EventPage struct {
	Head  uint64 // seq of the newest event of the conversation
	Items []EventItem
	More  bool // in the direction that was asked for
}

// EventItem is one event as a member sees it.
type EventItem struct {
	Event  Event
	IsRead bool // of a message: somebody but the sender has read it
}
