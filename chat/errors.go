package chat

import (
	"errors"
	"fmt"
	"time"
)

// Sentinels for errors.Is. What the wire says of each (texts, codes, statuses) is the edge's business.
var (
	ErrInvalid      = errors.New("invalid")           // the request itself is wrong; the wrapping text says how
	ErrNotFound     = errors.New("not found")         // or not visible to the caller: the two are not told apart
	ErrNotMember    = errors.New("not a participant") // of the conversation
	ErrForbidden    = errors.New("forbidden")         // a member, but the role does not allow it
	ErrBlocked      = errors.New("blocked")           // one of the two blocked the other
	ErrUnknownUser  = errors.New("user not found")    // a user id that names nobody
	ErrDirect       = errors.New("not for a direct conversation")
	ErrGroupFull    = errors.New("group is full")
	ErrEmptyMessage = errors.New("empty message")
	ErrTooLong      = errors.New("too long")
	ErrEditWindow   = errors.New("edit window is over")
	ErrGone         = errors.New("conversation is gone") // deleted when its last member left
	ErrOverloaded   = errors.New("overloaded")           // a bounded queue is full; retry later
	ErrRateLimited  = errors.New("rate limited")         // see RateLimitError
	ErrUnavailable  = errors.New("unavailable")          // storage or owner cannot be reached now; retry
	ErrUnknown      = errors.New("outcome unknown")      // a write may or may not have happened; retry with the same client id
	ErrShutdown     = errors.New("shutting down")
	ErrMoved        = errors.New("shard moved")                         // this node does not own it: ask the owner. Never reaches a client
	ErrFenced       = errors.New("fenced off")                          // a later owner has written, whatever this node's lease says. Never reaches a client
	ErrUnknownSet   = errors.New("unknown set of members")              // a Parcel names one that was not sent. Never reaches a client
	ErrUnauthorized = errors.New("unauthorized")                        // no, or no valid, credential
	ErrSuperseded   = errors.New("a later owner has delivered already") // refuses a Delivery of an earlier term. Never reaches a client
	ErrTokenExpired = errors.New("token expired")
	ErrTokenRevoked = fmt.Errorf("%w: token revoked", ErrUnauthorized)
	ErrNotSupported = errors.New("not supported")    // by this server as it is configured
	ErrSuspended    = errors.New("suspended")        // the user or the tenant, by an operator
	ErrConflict     = errors.New("conflict")         // somebody else changed it meanwhile, or it is there already
	ErrQuota        = errors.New("quota is used up") // see QuotaError
)

// FieldError is an ErrInvalid that names the field at fault and a text fit for the client.
type FieldError struct {
	Field string
	Text  string
}

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %s", e.Field, e.Text) }

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// RateLimitError is an ErrRateLimited that says when to come back.
type RateLimitError struct{ RetryAfter time.Duration }

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("rate limited, retry after %v", e.RetryAfter)
}

// Is makes errors.Is(err, ErrRateLimited) hold.
func (e *RateLimitError) Is(target error) bool { return target == ErrRateLimited }

// QuotaError is an ErrQuota with a text fit for the client: a limit of the tenant's.
type QuotaError struct {
	Limit string // the field of Limits, as "users"
	Text  string
	// RetryAfter is how long until time alone lifts it, as the end of a day does; 0: never.
	RetryAfter time.Duration
}

func (e *QuotaError) Error() string { return e.Limit + ": " + e.Text }

// Is makes errors.Is(err, ErrQuota) hold.
func (e *QuotaError) Is(target error) bool { return target == ErrQuota }

// SuspendedError is an ErrSuspended that says of whom, and why if the operator wants that to be known.
type SuspendedError struct {
	Tenant bool // all of the tenant's users
	Reason string
}

func (e *SuspendedError) Error() string {
	text := "Your account has been suspended."
	if e.Tenant {
		text = "This service has been suspended."
	}
	if e.Reason != "" {
		text += " " + e.Reason
	}
	return text
}

// Is makes errors.Is(err, ErrSuspended) hold.
func (e *SuspendedError) Is(target error) bool { return target == ErrSuspended }
