package chat

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Action is what an audit entry is about. The values are stored and part of the API.
type Action string

const (
	ActionBlock         Action = "user.block"
	ActionUnblock       Action = "user.unblock"
	ActionRemove        Action = "conversation.remove_participant"
	ActionRole          Action = "conversation.set_role"
	ActionDeleteMessage Action = "message.delete"
	ActionUserSuspend   Action = "user.suspend"
	ActionUserResume    Action = "user.resume"
	ActionUserWrite     Action = "user.write"
	ActionTokensRevoke  Action = "token.revoke_user"
	ActionTokenRevoke   Action = "token.revoke"
	ActionTokenMint     Action = "token.mint"
	ActionExport        Action = "user.export"
	ActionImport        Action = "user.import"
	ActionTenantCreate  Action = "tenant.create"
	ActionTenantUpdate  Action = "tenant.update"
	ActionTenantSuspend Action = "tenant.suspend"
	ActionTenantResume  Action = "tenant.resume"
	ActionTenantDelete  Action = "tenant.delete"
	ActionTenantErase   Action = "tenant.erase"  // wanted
	ActionTenantErased  Action = "tenant.erased" // done: all that is left in the tenant's log
	ActionKeyCreate     Action = "key.create"
	ActionKeyRotate     Action = "key.rotate"
	ActionKeyRevoke     Action = "key.revoke"
)

// ActorKind says what an Actor names.
type ActorKind string

const (
	ActorUser     ActorKind = "user"
	ActorKey      ActorKind = "key"      // an API key, by its id
	ActorOperator ActorKind = "operator" // a key of --admin-key-file, which has no name
)

// Actor is who did something.
type Actor struct {
	Kind ActorKind `json:"kind"`
	ID   string    `json:"id,omitempty"`
}

// AuditID names an audit entry: a UUID of version 7, so that ids sort by time.
type AuditID [16]byte

// String returns the canonical hyphenated form.
func (a AuditID) String() string { return uuid.UUID(a).String() }

// ParseAuditID accepts the hyphenated and the plain form.
func ParseAuditID(s string) (AuditID, error) {
	u, err := parseUUID(s)
	return AuditID(u), err
}

// AuditEntry says who did what to whom, from where, and how it ended (requirement 120). It holds ids alone: neither
// content nor names nor e-mail addresses.
type AuditEntry struct {
	ID      AuditID
	Tenant  TenantID
	At      time.Time
	Actor   Actor
	Action  Action
	Objects []string // ids, of what the action is about: users, conversation, message, key
	Address string   // of the client; empty: not known
	Outcome string   // "ok", or what else there is to say, such as a number of users
}

// NewAuditEntry is an entry with a fresh id for now.
func NewAuditEntry(now time.Time, t TenantID, who Actor, a Action, objects ...string) AuditEntry {
	e := AuditEntry{ID: AuditID(uuid.Must(uuid.NewV7())), Tenant: t, At: now.UTC().Truncate(time.Microsecond), Actor: who, Action: a,
		Objects: objects, Outcome: "ok"}
	// The id carries the entry's time and not that of the machine's clock: it decides the order.
	ms := e.At.UnixMilli()
	for i := range 6 {
		e.ID[i] = byte(ms >> (40 - 8*i))
	}
	return e
}

// AuditQuery selects entries of a tenant, the newest first. Empty fields do not select.
type AuditQuery struct {
	Tenant   TenantID
	Action   Action
	Actor    string // id
	Object   string // one of the ids
	From, To time.Time
	Before   AuditID // continue below this entry
	Limit    int
}

// Match reports whether the fields of an entry are what is asked for; its time is not looked at.
func (q *AuditQuery) Match(e *AuditEntry) bool {
	if q.Action != "" && e.Action != q.Action || q.Actor != "" && e.Actor.ID != q.Actor {
		return false
	}
	if q.Object == "" {
		return true
	}
	for _, o := range e.Objects {
		if o == q.Object {
			return true
		}
	}
	return false
}

// AuditPage is a page of entries. More says that older ones may follow Last, which is where to go on from.
type AuditPage struct {
	Entries []AuditEntry
	More    bool
	Last    AuditID
}

type addressKey struct{}

// WithAddress notes the client's network address in a context, for the audit log.
func WithAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// AddressOf is the address noted in a context, or empty.
func AddressOf(ctx context.Context) string {
	s, _ := ctx.Value(addressKey{}).(string)
	return s
}
