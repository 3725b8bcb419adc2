package chat

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Bounds of identifiers, in bytes.
const (
	MaxTenantID = 64
	MaxUserID   = 128
	MaxClientID = 128
)

// DefaultTenant is the tenant of a token that names none.
const DefaultTenant TenantID = "default"

// TenantID names a tenant: 1–64 of [A-Za-z0-9._-].
type TenantID string

// ParseTenantID checks s; the empty string is DefaultTenant.
func ParseTenantID(s string) (TenantID, error) {
	if s == "" {
		return DefaultTenant, nil
	}
	if len(s) > MaxTenantID {
		return "", fmt.Errorf("%w: tenant is longer than %d bytes", ErrInvalid, MaxTenantID)
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return "", fmt.Errorf("%w: tenant may hold only letters, digits, '.', '_' and '-'", ErrInvalid)
		}
	}
	return TenantID(s), nil
}

// UserID is an opaque user id, unique within its tenant: 1–128 bytes of valid UTF-8 without control characters
// and spaces. The system that the hub replaces used integers; such ids are kept in canonical decimal form.
type UserID string

// ParseUserID checks and canonicalises s. A UUID whose upper 64 bits are zero is the integer it holds, because
// clients of the original system send either form (contract §3.1).
func ParseUserID(s string) (UserID, error) {
	if s == "" || len(s) > MaxUserID {
		return "", fmt.Errorf("%w: a user id has 1 to %d bytes", ErrInvalid, MaxUserID)
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: a user id is UTF-8", ErrInvalid)
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return "", fmt.Errorf("%w: a user id holds no spaces or control characters", ErrInvalid)
		}
	}
	if len(s) == 36 || len(s) == 32 {
		if u, err := uuid.Parse(s); err == nil && binary.BigEndian.Uint64(u[:8]) == 0 {
			return UserID(strconv.FormatUint(binary.BigEndian.Uint64(u[8:]), 10)), nil
		}
	}
	return UserID(s), nil
}

// Integer reports the id as an integer if it is one in canonical decimal form that every JSON reader can hold
// exactly (below 2^53). Such ids are JSON numbers on the wire, as clients of the original system expect.
func (u UserID) Integer() (int64, bool) {
	if u == "" || len(u) > 16 || (u[0] == '0' && len(u) > 1) {
		return 0, false
	}
	for i := range len(u) {
		if u[i] < '0' || u[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(u), 10, 64)
	return n, err == nil && n < 1<<53
}

// AppendJSON appends the id as a JSON value: a number where Integer holds, a string otherwise.
func (u UserID) AppendJSON(b []byte) []byte {
	if _, ok := u.Integer(); ok {
		return append(b, u...)
	}
	return AppendJSONString(b, string(u))
}

// MarshalJSON implements json.Marshaler, see AppendJSON.
func (u UserID) MarshalJSON() ([]byte, error) { return u.AppendJSON(nil), nil }

// UnmarshalJSON accepts a JSON number or string and canonicalises it as ParseUserID does.
func (u *UserID) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(s) > 1 && s[0] == '"' {
		var err error
		if s, err = unquoteJSON(b); err != nil {
			return fmt.Errorf("%w: user id: %w", ErrInvalid, err)
		}
	} else if n, err := strconv.ParseInt(s, 10, 64); err != nil || n < 0 {
		return fmt.Errorf("%w: a user id is a string or a non-negative integer", ErrInvalid)
	} else {
		s = strconv.FormatInt(n, 10)
	}
	id, err := ParseUserID(s)
	if err != nil {
		return err
	}
	*u = id
	return nil
}

// ConversationID is a UUID: version 8, derived from tenant and pair, for direct conversations (DirectID);
// version 7 for groups (NewConversationID).
type ConversationID [16]byte

// NewConversationID returns a fresh id for a group, ordered by time (RFC 9562 §5.7).
func NewConversationID() ConversationID { return ConversationID(uuid.Must(uuid.NewV7())) }

// DirectID returns the id of the direct conversation between a and b: the same for either order, on every
// node, at any time, so that creating it twice is the same row (RFC 9562 §5.8).
func DirectID(t TenantID, a, b UserID) ConversationID {
	if b < a {
		a, b = b, a
	}
	h := sha256.New()
	h.Write([]byte("hub direct conversation\x00"))
	for _, s := range []string{string(t), string(a), string(b)} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	var id ConversationID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseConversationID accepts the hyphenated form (36 characters) and the plain form (32 hex digits).
func ParseConversationID(s string) (ConversationID, error) {
	u, err := parseUUID(s)
	return ConversationID(u), err
}

// String returns the canonical hyphenated form.
func (c ConversationID) String() string { return uuid.UUID(c).String() }

// IsZero reports whether c names nothing.
func (c ConversationID) IsZero() bool { return c == ConversationID{} }

// MarshalText implements encoding.TextMarshaler.
func (c ConversationID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText accepts what ParseConversationID accepts.
func (c *ConversationID) UnmarshalText(b []byte) error {
	id, err := ParseConversationID(string(b))
	if err == nil {
		*c = id
	}
	return err
}

// MessageID is a UUID of version 8 (RFC 9562 §5.8) that says where its message lies, so that no index from id
// to place is needed:
//
//	48 bits  Unix milliseconds of the message
//	 4 bits  version 8
//	12 bits  upper bits of seq
//	 2 bits  variant
//	28 bits  lower bits of seq
//	34 bits  tag of the conversation
//
// Ids order by time and, within a conversation, by seq. The tag finds the conversation among those of a user;
// whoever resolves an id compares the whole id with that of the row found.
type MessageID [16]byte

const maxIDSeq = 1<<40 - 1

// NewMessageID builds the id of the message that stands at seq (1 … 2^40-1) of a conversation.
func NewMessageID(k ConversationKey, seq uint64, at time.Time) MessageID {
	var m MessageID
	seq &= maxIDSeq
	binary.BigEndian.PutUint64(m[:8], uint64(at.UnixMilli())<<16|0x8000|seq>>28)
	binary.BigEndian.PutUint64(m[8:], 0x8000000000000000|(seq&(1<<28-1))<<34|k.tag())
	return m
}

// Seq is the place in the conversation's log that the id claims.
func (m MessageID) Seq() uint64 {
	hi, lo := binary.BigEndian.Uint64(m[:8]), binary.BigEndian.Uint64(m[8:])
	return (hi&0xfff)<<28 | lo>>34&(1<<28-1)
}

// MayBelongTo reports whether the id can be of a message of that conversation. False is certain.
func (m MessageID) MayBelongTo(k ConversationKey) bool {
	lo := binary.BigEndian.Uint64(m[8:])
	return m[6]>>4 == 8 && lo>>62 == 2 && lo&(1<<34-1) == k.tag()
}

// ParseMessageID accepts the hyphenated and the plain form.
func ParseMessageID(s string) (MessageID, error) {
	u, err := parseUUID(s)
	return MessageID(u), err
}

// String returns the canonical hyphenated form.
func (m MessageID) String() string { return uuid.UUID(m).String() }

// IsZero reports whether m names nothing.
func (m MessageID) IsZero() bool { return m == MessageID{} }

// MarshalText implements encoding.TextMarshaler.
func (m MessageID) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText accepts what ParseMessageID accepts.
func (m *MessageID) UnmarshalText(b []byte) error {
	id, err := ParseMessageID(string(b))
	if err == nil {
		*m = id
	}
	return err
}

// ConversationKey names a conversation across tenants. It is comparable and may be a map key.
type ConversationKey struct {
	Tenant TenantID
	ID     ConversationID
}

// String is for logs and errors.
func (k ConversationKey) String() string { return string(k.Tenant) + "/" + k.ID.String() }

// Shards is the fixed number of shards that conversations and users are spread over (DESIGN §5).
const Shards = 1024

// Shard is the shard that owns the conversation.
func (k ConversationKey) Shard() int { return int(k.hash() % Shards) }

func (k ConversationKey) tag() uint64 { return k.hash() >> 30 }

// hash is stable across processes and versions: stored ids depend on it.
func (k ConversationKey) hash() uint64 {
	h := uint64(14695981039346656037)
	for i := range len(k.Tenant) {
		h = (h ^ uint64(k.Tenant[i])) * 1099511628211
	}
	h = mix64(h ^ binary.BigEndian.Uint64(k.ID[:8]))
	return mix64(h ^ binary.BigEndian.Uint64(k.ID[8:]))
}

// UserKey names a user across tenants. It is comparable and may be a map key.
type UserKey struct {
	Tenant TenantID
	User   UserID
}

// String is for logs and errors.
func (k UserKey) String() string { return string(k.Tenant) + "/" + string(k.User) }

// Shard is the directory shard that knows the user's sessions.
func (k UserKey) Shard() int { return int(k.Hash() % Shards) }

// Hash is stable across processes and versions.
func (k UserKey) Hash() uint64 {
	h := uint64(14695981039346656037)
	for i := range len(k.Tenant) {
		h = (h ^ uint64(k.Tenant[i])) * 1099511628211
	}
	h = (h ^ 0xff) * 1099511628211
	for i := range len(k.User) {
		h = (h ^ uint64(k.User[i])) * 1099511628211
	}
	return mix64(h)
}

// mix64 is the finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
func mix64(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// SessionID names a live client session on its edge. Zero means "no session" (a REST call).
type SessionID uint64

var errUUID = errors.New("expected a UUID, hyphenated or as 32 hex digits")

func parseUUID(s string) (id [16]byte, err error) {
	switch len(s) {
	case 36:
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return id, fmt.Errorf("%w: %w", ErrInvalid, errUUID)
		}
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	case 32:
	default:
		return id, fmt.Errorf("%w: %w", ErrInvalid, errUUID)
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return [16]byte{}, fmt.Errorf("%w: %w", ErrInvalid, errUUID)
	}
	return id, nil
}

const uploadClientID = "upload-"

// UploadClientID is the client id of a message with a file whose sender gave none, so that the file becomes one message.
// Clients are not shown it: see OwnClientID.
func UploadClientID(id FileID) string { return uploadClientID + id.String() }

// OwnClientID is the client id of a message as its sender gave it: empty for one that UploadClientID made.
func OwnClientID(s string) string {
	if rest, ok := strings.CutPrefix(s, uploadClientID); ok {
		if id, err := ParseFileID(rest); err == nil && rest == id.String() {
			return ""
		}
	}
	return s
}

// NormalizeClientID checks a client's own id of a command: at most MaxClientID bytes of UTF-8; empty is none.
func NormalizeClientID(s string) (string, error) {
	if len(s) > MaxClientID || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", fmt.Errorf("%w: client_id is at most %d bytes of UTF-8", ErrInvalid, MaxClientID)
	}
	return s, nil
}
