package chat

import (
	"slices"
	"time"
)

// Bounds of what the administration of tenants keeps.
const (
	// MaxTenants is how many tenants can be created: every node keeps them all in memory.
	MaxTenants = 10_000
	// MaxRestrictions is how many users may be suspended, and tokens revoked, at once over all tenants: every node keeps
	// them all in memory, about 200 bytes each.
	MaxRestrictions = 200_000
	// MaxKeys is how many API keys a tenant may have, revoked ones of the last KeyMemory included.
	MaxKeys = 200
	// KeyMemory is how long a revoked or expired key is listed.
	KeyMemory = 90 * 24 * time.Hour
	// MaxSettings bounds the settings of a tenant in bytes of JSON.
	MaxSettings = 16 << 10
	// MaxReason bounds the reason of a suspension in code points.
	MaxReason = 500
)

// TenantState says whether a tenant's users and keys are let in.
type TenantState uint8

const (
	TenantActive TenantState = iota
	TenantSuspended
	// TenantDeleted is for ever: the id is not given again, and the data stay.
	TenantDeleted
	// TenantErasing: its data are being erased.
	TenantErasing
	// TenantErased: nothing is left of it but its id, which keeps those out who still have tokens, and can be given again.
	TenantErased
)

// EraseRest is how long after its erasure a tenant's id can be given again: by then no node remembers anything of it.
const EraseRest = 10 * time.Minute

// String returns the name that the API uses.
func (s TenantState) String() string {
	switch s {
	case TenantSuspended:
		return "suspended"
	case TenantDeleted:
		return "deleted"
	case TenantErasing:
		return "erasing"
	case TenantErased:
		return "erased"
	}
	return "active"
}

// Tenant is a tenant as the operator keeps it. A tenant that only tokens name has no such row: it is active, with the
// limits of the hub. Settings are the tenant's own JSON object, which the hub does not read.
type Tenant struct {
	ID        TenantID
	Name      string
	State     TenantState
	Reason    string // of the suspension; shown to its users
	Settings  string // a JSON object
	Limits    Limits
	Erasure   Erasure // of TenantErasing
	Version   uint64  // counts the changes, from 1
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Erasure says how far the erasing of a tenant's data has come, and who wanted it.
type Erasure struct {
	Step    string    `json:"step,omitempty"` // that is under way; empty: none yet
	By      Actor     `json:"by"`
	Address string    `json:"address,omitempty"` // of the client
	At      time.Time `json:"at"`
}

// Limits of a tenant. Zero means: what the hub is configured with, or no limit where it has none. They can be lower than
// the hub's own and, but for GroupSize, also higher.
type Limits struct {
	// Users that may be known. Counted now and then: on several nodes at once a few more may come.
	Users int `json:"users,omitempty"`
	// Conversations that a user may be in when creating another one.
	Conversations int `json:"conversations_per_user,omitempty"`
	// GroupSize is the number of members of a group.
	GroupSize int `json:"group_size,omitempty"`
	// Sockets open at once on one node: of the tenant, of one of its users, of its users at one network address.
	Connections           int `json:"connections,omitempty"`
	ConnectionsPerUser    int `json:"connections_per_user,omitempty"`
	ConnectionsPerAddress int `json:"connections_per_address,omitempty"`
	// MessageRate is commands per second and user, MessageBurst how many at once.
	MessageRate  float64 `json:"message_rate,omitempty"`
	MessageBurst int     `json:"message_burst,omitempty"`
	// UploadBytes is what the tenant's users may upload in a day of UTC together, UploadBytesPerUser each of them.
	UploadBytes        int64 `json:"upload_bytes,omitempty"`
	UploadBytesPerUser int64 `json:"upload_bytes_per_user,omitempty"`
}

// Check answers a FieldError for a limit that is out of its range.
func (l *Limits) Check() error {
	const most = 1_000_000_000
	for _, f := range []struct {
		name string
		n    int
	}{
		{"users", l.Users}, {"conversations_per_user", l.Conversations}, {"group_size", l.GroupSize}, {"connections", l.Connections},
		{"connections_per_user", l.ConnectionsPerUser}, {"connections_per_address", l.ConnectionsPerAddress},
		{"message_burst", l.MessageBurst},
	} {
		if f.n < 0 || f.n > most {
			return &FieldError{"limits", f.name + ": Ensure this value is between 0 and 1000000000."}
		}
	}
	switch {
	case l.GroupSize != 0 && l.GroupSize < 3:
		return &FieldError{"limits", "group_size: Ensure this value is 0 or at least 3."}
	case !(l.MessageRate >= 0 && l.MessageRate <= 100_000):
		return &FieldError{"limits", "message_rate: Ensure this value is between 0 and 100000."}
	case l.UploadBytes < 0 || l.UploadBytes > 1<<60:
		return &FieldError{"limits", "upload_bytes: Ensure this value is between 0 and 1152921504606846976."}
	case l.UploadBytesPerUser < 0 || l.UploadBytesPerUser > 1<<60:
		return &FieldError{"limits", "upload_bytes_per_user: Ensure this value is between 0 and 1152921504606846976."}
	}
	return nil
}

// Restriction keeps one user or one token out. Exactly one of User and Token is set.
type Restriction struct {
	Tenant TenantID
	User   UserID
	Token  string // the id of a token, its claim jti

	// Of a user. Tokens issued before RevokedBefore, or that do not say when, are refused.
	Suspended     bool
	SuspendedAt   time.Time
	Reason        string
	RevokedBefore time.Time

	// Of a token: when it has expired anyhow and can be forgotten.
	Until time.Time
}

// Empty reports whether it keeps nobody out at now.
func (r *Restriction) Empty(now time.Time) bool {
	if r.Token != "" {
		return !now.Before(r.Until)
	}
	return !r.Suspended && r.RevokedBefore.IsZero()
}

// TenancyChange names what was changed, for the nodes that keep it in memory: the tenant itself, or the restriction of
// one of its users, or of a token.
type TenancyChange struct {
	Tenant TenantID `json:"tenant"`
	User   UserID   `json:"user,omitempty"`
	Token  string   `json:"token,omitempty"`
}

// Scope is one thing that an API key allows.
type Scope string

const (
	// ScopeTenants allows everything, of every tenant: it makes a key an operator's.
	ScopeTenants    Scope = "tenants:admin"
	ScopeKeys       Scope = "keys:admin" // of the key's own tenant, with no scope that it lacks itself
	ScopeUsersRead  Scope = "users:read"
	ScopeUsersWrite Scope = "users:write"
	ScopeSend       Scope = "messages:send" // on behalf of any user
	ScopeModerate   Scope = "moderation"    // suspend users, revoke their tokens
	ScopeAudit      Scope = "audit:read"
	ScopeMint       Scope = "tokens:mint" // access tokens for any user
)

// Scopes lists all scopes.
func Scopes() []Scope {
	return []Scope{ScopeTenants, ScopeKeys, ScopeUsersRead, ScopeUsersWrite, ScopeSend, ScopeModerate, ScopeAudit, ScopeMint}
}

// KeyHash is the SHA-256 of a key's secret: 256 random bits, which need neither salt nor stretching.
type KeyHash [32]byte

// APIKey is a key of a tenant's, without its secret.
type APIKey struct {
	ID        string
	Tenant    TenantID
	Name      string
	Scopes    []Scope
	Hash      KeyHash
	Old       KeyHash   // the one before the last rotation
	OldUntil  time.Time // that Old is accepted
	CreatedBy string
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: not
	UsedAt    time.Time // to the hour; zero: never
	Version   uint64
}

// Allows reports whether the key has a scope.
func (k *APIKey) Allows(s Scope) bool {
	return slices.Contains(k.Scopes, s) || slices.Contains(k.Scopes, ScopeTenants)
}

// Live reports whether the key can be used at now.
func (k *APIKey) Live(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// UserSlots is how many partitions the list of a tenant's users has: of a million users each has a megabyte.
const UserSlots = 32

// UserCursor says how far a walk over the users of a tenant has come. The zero value is the beginning, and one with any
// other Slot below UserSlots alone is a place in between.
type UserCursor struct {
	Slot  int
	After UserID
}
