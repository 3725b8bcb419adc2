package chat

import "time"

// Principal is an authenticated caller.
type Principal struct {
	Tenant   TenantID
	User     UserID
	Username string // shown to others as the sender
}

// Key returns the caller's user key.
func (p Principal) Key() UserKey { return UserKey{p.Tenant, p.User} }

// Origin says which session a command came from. The zero value is "none" (REST).
type Origin struct {
	Node    NodeID // that holds the session; 0: this one, where there is no other
	Session SessionID
	Ref     string // the client's reference, echoed in the reply
}

// Command is one of the types below, all of which name a conversation of the caller's tenant.
type Command interface {
	// Target is the conversation that decides on the command.
	Target() ConversationID
	// Name is the command's name in metrics and logs.
	Name() string
}

type (
	// Create makes a conversation. For Direct, Conversation is DirectID and Members the one other user;
	// creating it again answers the existing one (Result.Created false). For Group, Conversation is a
	// NewConversationID. Members never includes the caller, who becomes the owner of a group. The Hub has
	// checked that the users exist before the command reaches the conversation.
	Create struct {
		Conversation ConversationID
		Kind         Kind
		Title        string
		Members      []UserID
	}
	// Send appends a message. The same (conversation, caller, ClientID) yields the same event again
	// (Result.Duplicate).
	Send struct {
		Conversation ConversationID
		ClientID     string
		Content      string // may be empty with a File
		IsVoice      bool
		File         *File // one that the caller uploaded; the edge has claimed it for this message
		// ReplyTo, if not zero, is the message that this one answers: of the same conversation and not deleted, else the
		// send is refused (FieldError of "reply_to").
		ReplyTo MessageID
		// Mentions are users whom the message mentions, beside those whose id stands behind an @ in its content. Who is no
		// member is left out. MentionAll mentions everybody, as does "@all" in the content of one who may.
		Mentions   []UserID
		MentionAll bool
		// Forwarded is set by the Hub alone.
		Forwarded Attribution
	}
	// Forward sends a copy of a message that the caller may read into Conversation, with Extras.Forwarded. From is the
	// message's conversation; zero: any of the caller's. The Hub turns it into a Send, to which ClientID belongs.
	Forward struct {
		Conversation ConversationID
		From         ConversationID
		Message      MessageID
		ClientID     string
	}
	// Edit replaces the content of the caller's own message, and whom it mentions, within Rules.EditWindow; not of a copy of
	// what somebody else wrote (ErrForbidden).
	Edit struct {
		Conversation ConversationID
		Message      MessageID
		Content      string
		Mentions     []UserID
		MentionAll   bool
	}
	// Delete empties a message for all: the caller's own, or any for an admin of the group. Idempotent.
	Delete struct {
		Conversation ConversationID
		Message      MessageID
	}
	// React adds the caller's reaction to a message, or takes it back. Idempotent.
	React struct {
		Conversation ConversationID
		Message      MessageID
		Emoji        string
		Remove       bool
	}
	// Pin pins a message for all members, or takes that back; who may is said by the group. A message that is deleted
	// is pinned no more. Idempotent.
	Pin struct {
		Conversation ConversationID
		Message      MessageID
		Remove       bool
	}
	// Erase deletes the conversation, whatever it is, for all: the tenant's data are being erased. The Hub alone gives it,
	// and asks nobody's leave. It is done when there is no conversation.
	Erase struct{ Conversation ConversationID }
	// Preview says what the first link in the caller's own message leads to. The Hub alone gives it. A preview of another
	// link than the one that is there now changes nothing.
	Preview struct {
		Conversation ConversationID
		Message      MessageID
		Preview      LinkPreview
	}
	// Typing tells the others; it is never stored and ends by itself after Rules.TypingExpiry.
	Typing struct {
		Conversation ConversationID
		On           bool
	}
	// MarkRead advances the caller's read position (and with it the delivered one): to Message if not zero,
	// else to Seq if not zero, else to the head. Going back is a no-op. Result.Marked counts the messages of
	// others that became read. Private, which the Hub sets by the caller's preferences, tells nobody else.
	MarkRead struct {
		Conversation ConversationID
		Message      MessageID
		Seq          uint64
		Private      bool
	}
	// MarkDelivered advances the caller's delivered position to Seq. Going back is a no-op. Private as in MarkRead.
	MarkDelivered struct {
		Conversation ConversationID
		Seq          uint64
		Private      bool
	}
	// AddMembers adds users to a group, as far as its Permissions allow it. Those who are members already are skipped.
	AddMembers struct {
		Conversation ConversationID
		Users        []UserID
	}
	// RemoveMembers removes users from a group; admins only. The caller and non-members are skipped; an owner
	// can be removed by nobody, an admin by the owner.
	RemoveMembers struct {
		Conversation ConversationID
		Users        []UserID
	}
	// Leave takes the caller out of a group. When the owner leaves, the oldest admin, else the oldest member,
	// becomes owner; when the last member leaves, the conversation is deleted.
	Leave struct{ Conversation ConversationID }
	// Rename changes a group's name; admins only.
	Rename struct {
		Conversation ConversationID
		Title        string
	}
	// SetRole makes a member an admin or a plain member; the owner only. RoleOwner hands ownership over.
	SetRole struct {
		Conversation ConversationID
		User         UserID
		Role         Role
	}
	// SetPermissions says who may do what in a group; admins only. Zero fields stay as they are.
	SetPermissions struct {
		Conversation ConversationID
		Permissions  Permissions
	}
	// Archive hides the conversation from the caller's list until the next message, or shows it again.
	Archive struct {
		Conversation ConversationID
		On           bool
	}
	// Attach checks that the caller is a member and answers Result.View. It is what a session asks before it
	// opens, and every reader before it reads history: nothing beyond View.Head.Seq may be read. With Join the
	// caller wants to take part and not only to read: ErrBlocked in a direct conversation with a block.
	Attach struct {
		Conversation ConversationID
		Join         bool
	}
	// Resume answers the events after LastSeq in Result.Events and the head in Result.View, or Result.Gap
	// when more than Limit events are missing, or more text than a session sends at once, or LastSeq lies beyond the head.
	Resume struct {
		Conversation ConversationID
		LastSeq      uint64
		Limit        int // default and maximum 1,000
	}
)

func (c Create) Target() ConversationID         { return c.Conversation }
func (c Send) Target() ConversationID           { return c.Conversation }
func (c Forward) Target() ConversationID        { return c.Conversation }
func (c Edit) Target() ConversationID           { return c.Conversation }
func (c Delete) Target() ConversationID         { return c.Conversation }
func (c Pin) Target() ConversationID            { return c.Conversation }
func (c Preview) Target() ConversationID        { return c.Conversation }
func (c Erase) Target() ConversationID          { return c.Conversation }
func (c React) Target() ConversationID          { return c.Conversation }
func (c Typing) Target() ConversationID         { return c.Conversation }
func (c MarkRead) Target() ConversationID       { return c.Conversation }
func (c MarkDelivered) Target() ConversationID  { return c.Conversation }
func (c AddMembers) Target() ConversationID     { return c.Conversation }
func (c RemoveMembers) Target() ConversationID  { return c.Conversation }
func (c Leave) Target() ConversationID          { return c.Conversation }
func (c Rename) Target() ConversationID         { return c.Conversation }
func (c SetRole) Target() ConversationID        { return c.Conversation }
func (c SetPermissions) Target() ConversationID { return c.Conversation }
func (c Archive) Target() ConversationID        { return c.Conversation }
func (c Attach) Target() ConversationID         { return c.Conversation }
func (c Resume) Target() ConversationID         { return c.Conversation }

func (Create) Name() string         { return "create" }
func (Send) Name() string           { return "send" }
func (Forward) Name() string        { return "forward" }
func (Edit) Name() string           { return "edit" }
func (Delete) Name() string         { return "delete" }
func (Pin) Name() string            { return "pin" }
func (Preview) Name() string        { return "link_preview" }
func (Erase) Name() string          { return "erase" }
func (React) Name() string          { return "react" }
func (Typing) Name() string         { return "typing" }
func (MarkRead) Name() string       { return "mark_read" }
func (MarkDelivered) Name() string  { return "mark_delivered" }
func (AddMembers) Name() string     { return "add_members" }
func (RemoveMembers) Name() string  { return "remove_members" }
func (Leave) Name() string          { return "leave" }
func (Rename) Name() string         { return "rename" }
func (SetRole) Name() string        { return "set_role" }
func (SetPermissions) Name() string { return "set_permissions" }
func (Archive) Name() string        { return "archive" }
func (Attach) Name() string         { return "attach" }
func (Resume) Name() string         { return "resume" }

// Result of a command. Which fields are set is said at each command; Event is set by every command that
// appended one, View by Create, AddMembers, RemoveMembers, Rename, SetRole, SetPermissions, Attach and Resume.
type Result struct {
	Event     *Event
	Duplicate bool   // Event was there before: the command had been carried out already
	Created   bool   // Create: the conversation is new
	Marked    uint64 // MarkRead
	View      *View
	Events    []Event // Resume
	Gap       bool    // Resume
}

// View is a conversation as one member sees it at one moment. Immutable.
type View struct {
	Head    Head
	Me      Member
	Members *MemberSet
	// ReadSeq is the furthest read position among members, and ReadSeqOther the furthest among those who are
	// not ReadBy: together they answer "has anybody but the sender read this".
	ReadSeq      uint64
	ReadBy       UserID
	ReadSeqOther uint64
}

// ReadByOther reports whether a message by sender at seq was read by somebody else.
func (v *View) ReadByOther(sender UserID, seq uint64) bool {
	if v.ReadBy == sender {
		return v.ReadSeqOther >= seq
	}
	return v.ReadSeq >= seq
}

// MemberSet is the immutable set of a conversation's members at one version. The pointer may be kept and
// compared: equal pointers are equal sets.
type MemberSet struct {
	Version uint64   // seq of the event that made it
	Users   []UserID // sorted
}

// Contains reports whether u is in the set.
func (s *MemberSet) Contains(u UserID) bool {
	lo, hi := 0, len(s.Users)
	for lo < hi {
		if mid := (lo + hi) / 2; s.Users[mid] < u {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s.Users) && s.Users[lo] == u
}

// Notice is one thing to tell the members of a conversation: exactly one of the pointers is set.
type Notice struct {
	Event  *Event
	Typing *TypingNotice
	Read   *ReadNotice
	Head   *HeadNotice
	Own    *OwnNotice // its delivery is for that member alone
	// Scheduled is for one user alone.
	Scheduled *ScheduledNotice
	// Origin is the session whose command caused it: it gets the same frame with its Ref.
	Origin Origin
}

// TypingNotice says that somebody types, or stopped.
type TypingNotice struct {
	User     UserID
	Username string
	On       bool
}

// ReadNotice says that somebody read, or received, everything up to Seq. Message is the newest message there. In a group of
// more than Rules.NamedReaders members, whoever read is told by one with a User, and all by one without: so many Readers
// have read Message, its sender not counted.
type ReadNotice struct {
	Kind     ReceiptKind
	User     UserID
	Username string
	Message  MessageID
	Seq      uint64
	At       time.Time
	Readers  uint64
}

// HeadNotice says how far the log reaches: deliveries may have got lost, and who has less resumes.
type HeadNotice struct{ Seq uint64 }

// Delivery is what one commit of one conversation has to tell its members, in order. Immutable.
type Delivery struct {
	Key        ConversationKey
	Recipients *MemberSet
	Notices    []Notice
	// Detached are users who are members no more (they are among Recipients for this one delivery), or who may no
	// longer take part because of a block: their sessions on this conversation are closed after it, with Gone saying
	// that the conversation itself ended.
	Detached []UserID
	Gone     bool
	// Epoch under which its node served the conversation's shard: where something of that shard was delivered under a
	// higher one, it is refused (ErrSuperseded). 0, as of an older version: never.
	Epoch uint64
	// AcceptedAt is when the oldest command of the delivery was accepted, for the latency metrics.
	AcceptedAt time.Time
}
