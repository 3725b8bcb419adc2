package chat

import "time"

// Kind tells a direct conversation from a group. It is stored: a group that shrinks to two stays a group.
type Kind uint8

const (
	Direct Kind = 1 // exactly two members, for ever
	Group  Kind = 2
)

// String returns "direct" or "group", the values of the REST filter.
func (k Kind) String() string {
	switch k {
	case Direct:
		return "direct"
	case Group:
		return "group"
	}
	return "unknown"
}

// Role of a member. Higher may do all that lower may.
type Role uint8

const (
	RoleMember Role = 1
	RoleAdmin  Role = 2
	RoleOwner  Role = 3
)

// String returns "member", "admin" or "owner".
func (r Role) String() string {
	switch r {
	case RoleMember:
		return "member"
	case RoleAdmin:
		return "admin"
	case RoleOwner:
		return "owner"
	}
	return "unknown"
}

// ParseRole is the inverse of Role.String.
func ParseRole(s string) (Role, bool) {
	switch s {
	case "member":
		return RoleMember, true
	case "admin":
		return RoleAdmin, true
	case "owner":
		return RoleOwner, true
	}
	return 0, false
}

// Watermark is a position up to which a member has read, or received, a conversation.
type Watermark struct {
	Seq   uint64    // of the log
	MsgNo uint64    // messages up to and including Seq
	At    time.Time // when it was advanced to here
}

// Member of a conversation.
type Member struct {
	User      UserID
	Role      Role
	JoinedAt  time.Time
	JoinedSeq uint64
	Read      Watermark
	Delivered Watermark
	// OwnAfterRead counts the member's own messages beyond Read: they are not unread.
	OwnAfterRead uint64
	// ArchivedAt is the msg_no at which the member archived the conversation, plus one; 0: not archived.
	// A later message un-archives it by itself.
	ArchivedAt uint64
	// Hidden is one more than the read position that others may know of, where Read is ahead of it because the
	// member read privately; 0: they may know Read.
	Hidden uint64

	// HiddenMessages counts the messages that the member has deleted for itself, HiddenLast is the seq of the newest of
	// them, and HiddenUnread counts those of others beyond Read: they are not unread.
	HiddenMessages, HiddenLast, HiddenUnread uint64
	MutedUntil                               time.Time // zero or past: not muted
	PinnedAt                                 time.Time // zero: not pinned in the member's list
	DraftAt                                  time.Time // zero: there is no draft
}

// Shown is the read position that others may know of.
func (m *Member) Shown() uint64 {
	if m.Hidden > 0 {
		return m.Hidden - 1
	}
	return m.Read.Seq
}

// HasRead reports whether others may know that the member has read the message at seq. The position that one joins with
// says nothing about reading.
func (m *Member) HasRead(seq uint64) bool { return m.JoinedSeq < seq && m.Shown() >= seq }

// Unread is how many messages of others the member has not read, given the conversation's head.
func (m *Member) Unread(head uint64) uint64 {
	if n := m.Read.MsgNo + m.OwnAfterRead + m.HiddenUnread; n < head {
		return head - n
	}
	return 0
}

// Archived reports whether the conversation is hidden from the member's list, given the conversation's head.
func (m *Member) Archived(head uint64) bool { return m.ArchivedAt > 0 && head < m.ArchivedAt }

// LastMessage is the newest message of a conversation as lists show it.
type LastMessage struct {
	Seq    uint64
	ID     MessageID
	Sender UserID
	Text   string // the first LastMessageText code points
	At     time.Time
}

// Head is what is known of a conversation without its members and its log. It is immutable once published.
type Head struct {
	Key         ConversationKey
	Kind        Kind
	Name        string
	CreatedBy   UserID
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Seq         uint64 // of the newest event; 0: the conversation does not exist
	Epoch       uint64 // of the newest event
	MsgNo       uint64 // number of messages, deleted ones included
	MemberCount int
	Last        LastMessage
	Permissions Permissions // of a group
	Pins        []MessageID // pinned messages in the order of pinning, at most MaxPins
}

// User as the hub knows it. Tokens introduce users; an operator may write them.
type User struct {
	Tenant    TenantID
	ID        UserID
	Username  string // the "sender" of the wire; default: the id
	Email     string
	FirstName string
	LastName  string
	AvatarURL string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Name returns the full name, or the username if there is none.
func (u *User) Name() string {
	switch {
	case u.FirstName == "" && u.LastName == "":
		return u.Username
	case u.LastName == "":
		return u.FirstName
	case u.FirstName == "":
		return u.LastName
	}
	return u.FirstName + " " + u.LastName
}

// Receipt records that a user's watermark was advanced: together they answer "who read this message, and when".
type Receipt struct {
	User UserID
	Kind ReceiptKind
	Seq  uint64 // everything up to this event
	From uint64 // and behind this one, where the watermark was before
	At   time.Time
}

// ReceiptQuery selects those whose watermark of a kind has reached Seq.
type ReceiptQuery struct {
	Kind ReceiptKind
	Seq  uint64
	// After and AfterUser, if not zero, are the receipt to continue behind.
	After     uint64
	AfterUser UserID
	Limit     int // at most 1,000
}

// ReceiptPage is what was found, by (Receipt.Seq, Receipt.User).
type ReceiptPage struct {
	Receipts []Receipt
	// More says that there may be more behind the receipt at Next: a page may be short, or empty, where many advances lie
	// between the receipts that were asked for.
	More     bool
	Next     uint64
	NextUser UserID
}

// ReaderPage is the readers of a message, a page at a time.
type ReaderPage struct {
	ReceiptPage
	Total int // members who have read it
}

// ReceiptKind tells a read position from a delivered one.
type ReceiptKind uint8

const (
	ReceiptRead      ReceiptKind = 1
	ReceiptDelivered ReceiptKind = 2
)

// Membership is one row of a user's list of conversations.
type Membership struct {
	Key      ConversationKey
	Kind     Kind
	JoinedAt time.Time
}
