package chat

import (
	"strings"
	"time"

	"github.com/google/uuid"
)

// PairKey names two users of one tenant, whatever is between them: Lo sorts before Hi. It is comparable.
type PairKey struct {
	Tenant TenantID
	Lo, Hi UserID
}

// PairOf is the key of a and b in either order.
func PairOf(t TenantID, a, b UserID) PairKey {
	if b < a {
		a, b = b, a
	}
	return PairKey{t, a, b}
}

// String is for logs and errors.
func (k PairKey) String() string { return string(k.Tenant) + "/" + string(k.Lo) + "+" + string(k.Hi) }

// Home is the user whose actor decides about the pair.
func (k PairKey) Home() UserKey { return UserKey{k.Tenant, k.Lo} }

// Direct is the conversation that the two have, or would have.
func (k PairKey) Direct() ConversationKey {
	return ConversationKey{k.Tenant, DirectID(k.Tenant, k.Lo, k.Hi)}
}

// Other is the one of the two who is not u.
func (k PairKey) Other(u UserID) UserID {
	if u == k.Lo {
		return k.Hi
	}
	return k.Lo
}

// Pair is all that is between two users, both sides of it. Version counts its changes; 0: there is nothing yet.
type Pair struct {
	Key     PairKey
	Version uint64
	Lo, Hi  Side // what Lo did about Hi, and Hi about Lo
}

// Side is what one user of a pair did about the other.
type Side struct {
	ContactSince time.Time // zero: the other is no contact
	Favorite     bool
	BlockedAt    time.Time // zero: the other is not blocked
	Request      FriendRequest
}

// Of is what u did about the other.
func (p *Pair) Of(u UserID) *Side {
	if u == p.Key.Lo {
		return &p.Lo
	}
	return &p.Hi
}

// Blocked reports whether one of the two blocked the other.
func (p *Pair) Blocked() bool { return !p.Lo.BlockedAt.IsZero() || !p.Hi.BlockedAt.IsZero() }

// RequestID names a friend request: a UUID of version 7.
type RequestID [16]byte

// NewRequestID returns a fresh id.
func NewRequestID() RequestID { return RequestID(uuid.Must(uuid.NewV7())) }

// ParseRequestID accepts the hyphenated and the plain form.
func ParseRequestID(s string) (RequestID, error) {
	u, err := parseUUID(s)
	return RequestID(u), err
}

// String returns the canonical hyphenated form.
func (r RequestID) String() string { return uuid.UUID(r).String() }

// IsZero reports whether r names nothing.
func (r RequestID) IsZero() bool { return r == RequestID{} }

// MarshalText implements encoding.TextMarshaler.
func (r RequestID) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// RequestState is what became of a friend request.
type RequestState uint8

const (
	RequestNone     RequestState = iota // there is none
	RequestPending                      // the receiver has not answered
	RequestAccepted                     // both are contacts since, unless they removed one another
	RequestRejected
)

// String returns the status_display of the REST contract.
func (s RequestState) String() string {
	switch s {
	case RequestPending:
		return "Pending"
	case RequestAccepted:
		return "Accepted"
	case RequestRejected:
		return "Rejected"
	}
	return "None"
}

// FriendRequest of one user to another. The zero value is none.
type FriendRequest struct {
	ID        RequestID
	State     RequestState
	CreatedAt time.Time
	DecidedAt time.Time // accepted or rejected
	// Quiet: the sender named the receiver by an e-mail address where addresses must not be probed. It is not shown
	// to the sender before it is accepted.
	Quiet bool
}

// Contact is one entry of a user's list of contacts.
type Contact struct {
	User     UserID
	Since    time.Time
	Favorite bool
}

// RequestRow is one friend request as one of its two users lists it.
type RequestRow struct {
	FriendRequest
	Sender, Receiver UserID
}

// BlockRow is one entry of the list of users whom a user blocked.
type BlockRow struct {
	User UserID
	At   time.Time
}

// Preferences of a user. The zero value is what everybody starts with.
type Preferences struct {
	// HideReceipts: the user's reading and receiving is told to nobody. It still counts for the user.
	HideReceipts bool
	// Invisible: the user is shown as offline whatever sockets are open.
	Invisible bool
}

// PeopleCommand is one of the types below: something between the caller and one other user.
type PeopleCommand interface {
	// About is the other user.
	About() UserID
	// Name is the command's name in metrics and logs.
	Name() string
}

type (
	// AddContact makes User a contact of the caller. With Ask it also asks them for friendship, as far as the rules
	// for RequestFriend allow it. Refused with ErrCannotRequest and ErrContactExists.
	AddContact struct {
		User     UserID
		Favorite bool
		Ask      bool
	}
	// SetFavorite marks a contact, or takes the mark back. Idempotent. ErrNotFound if User is no contact.
	SetFavorite struct {
		User UserID
		On   bool
	}
	// RemoveContact takes User from the caller's contacts. ErrNotFound if User is none.
	RemoveContact struct{ User UserID }
	// RequestFriend asks User for friendship. Refused with ErrCannotRequest, ErrRequestSent, ErrAlreadyContacts.
	RequestFriend struct {
		User  UserID
		Quiet bool
	}
	// AnswerRequest accepts or rejects the request that User sent to the caller; ID is that of the request meant.
	AnswerRequest struct {
		User   UserID
		ID     RequestID
		Accept bool
	}
	// CancelRequest takes back the caller's own request to User.
	CancelRequest struct {
		User UserID
		ID   RequestID
	}
	// Block keeps the two from one another: it takes back their pending requests and closes their direct
	// conversation. ErrAlreadyBlocked.
	Block struct{ User UserID }
	// Unblock takes the caller's own block back. ErrNotFound if there is none.
	Unblock struct{ User UserID }
)

func (c AddContact) About() UserID    { return c.User }
func (c SetFavorite) About() UserID   { return c.User }
func (c RemoveContact) About() UserID { return c.User }
func (c RequestFriend) About() UserID { return c.User }
func (c AnswerRequest) About() UserID { return c.User }
func (c CancelRequest) About() UserID { return c.User }
func (c Block) About() UserID         { return c.User }
func (c Unblock) About() UserID       { return c.User }

func (AddContact) Name() string    { return "add_contact" }
func (SetFavorite) Name() string   { return "set_favorite" }
func (RemoveContact) Name() string { return "remove_contact" }
func (RequestFriend) Name() string { return "request_friend" }
func (AnswerRequest) Name() string { return "answer_request" }
func (CancelRequest) Name() string { return "cancel_request" }
func (Block) Name() string         { return "block" }
func (Unblock) Name() string       { return "unblock" }

// RuleError is an ErrInvalid whose text, the original system's, is fit for the client: the rules about two users
// refused a command.
type RuleError struct{ Text string }

func (e *RuleError) Error() string { return e.Text }

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *RuleError) Is(target error) bool { return target == ErrInvalid }

// What the rules about two users refuse (contract §3.3 and §4).
var (
	ErrContactExists   = &RuleError{"Contact already exists."}
	ErrSelfContact     = &RuleError{"Cannot add yourself as a contact."}
	ErrSelfRequest     = &RuleError{"Cannot send request to yourself."}
	ErrSelfBlock       = &RuleError{"Cannot block yourself."}
	ErrRequestSent     = &RuleError{"Friend request already sent."}
	ErrAlreadyContacts = &RuleError{"Already in contacts."}
	// ErrCannotRequest says nothing of who blocked whom, nor that it is a block.
	ErrCannotRequest    = &RuleError{"Cannot send request to this user."}
	ErrAlreadyBlocked   = &RuleError{"User already blocked."}
	ErrAcceptRejected   = &RuleError{"Cannot accept a rejected request."}
	ErrAlreadyAccepted  = &RuleError{"Request already accepted."}
	ErrRejectAccepted   = &RuleError{"Cannot reject an accepted request."}
	ErrAlreadyRejected  = &RuleError{"Request already rejected."}
	ErrCancelCompleted  = &RuleError{"Cannot cancel a completed request."}
	ErrTooManyContacts  = &RuleError{"Too many contacts."}
	ErrTooManyRequests  = &RuleError{"Too many friend requests wait for an answer."}
	ErrTooManyBlocks    = &RuleError{"Too many blocked users."}
	errEmailUnspecified = &FieldError{"email", "Enter a valid email address."}
)

// Bounds of a user's lists.
const (
	MaxContacts        = 10_000
	MaxPendingRequests = 1_000 // sent, and received
	MaxBlocks          = 10_000
	MaxEmail           = 254 // bytes (RFC 5321 §4.5.3.1)
)

// NormalizeEmail is the form that addresses are compared in: lower case, without white space around it. The local
// part of an address is case-sensitive by RFC 5321, and nowhere in practice.
func NormalizeEmail(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > MaxEmail || strings.ContainsAny(s, " \t\r\n\x00") {
		return "", errEmailUnspecified
	}
	return s, nil
}

// Number is the integer id by which u's entry about other goes in a list of that kind ("contact", "block",
// "status"), as the original's clients expect integers: a hash of 52 bits, which every JSON reader can hold, the
// same again whenever the entry is made again.
func (k UserKey) Number(kind string, other UserID) int64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{kind, string(k.Tenant), string(k.User), string(other)} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = mix64(h ^ 0xff)
	}
	return int64(h>>12 | 1)
}

// ContactItem is a contact with what is shown of them.
type ContactItem struct {
	Contact
	Profile  User
	Standing      // not there, where Blocked
	Blocked  bool // one of the two blocked the other
	Mutual   bool // the contact has made the caller a contact, too
}

// RequestItem is a friend request with its users resolved.
type RequestItem struct {
	RequestRow
	From, To User
}

// BlockItem is a blocked user with what is shown of them.
type BlockItem struct {
	BlockRow
	Profile User
}

// MaxSuggestions is how many contacts are suggested to a user at once.
const MaxSuggestions = 10

// SuggestionItem is a user whom another may want as a contact.
type SuggestionItem struct {
	Profile      User
	SharedGroups int // 0: a colleague, who is of the same tenant
}

// Score is what suggestions are ranked by (contract §8).
func (s *SuggestionItem) Score() float64 {
	if s.SharedGroups == 0 {
		return 0.5
	}
	return float64(s.SharedGroups)
}

// Seen is a user and a time at which they were connected.
type Seen struct {
	User UserKey
	At   time.Time
}

// Standing is whether a user is there, as another user may know it.
type Standing struct {
	Online   bool
	LastSeen time.Time // zero: unknown
}
