package frame

import (
	"errors"
	"net/http"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/chat/attachment"
)

// Code of an error frame: what a program acts on, whereas the text is for people and for old clients.
type Code string

const (
	CodeEmptyMessage   Code = "empty_message"
	CodeTooLong        Code = "too_long"
	CodeInvalidJSON    Code = "invalid_json"
	CodeInvalidType    Code = "invalid_type"
	CodeInvalid        Code = "invalid"
	CodeUnknownType    Code = "unknown_type"
	CodeMissingField   Code = "missing_field"
	CodeNotParticipant Code = "not_participant"
	CodeNotFound       Code = "not_found"
	CodeForbidden      Code = "forbidden"
	CodeBlocked        Code = "blocked"
	CodeUnauthorized   Code = "unauthorized"
	CodeTokenExpired   Code = "token_expired"
	CodeTokenRevoked   Code = "token_revoked"
	CodeSuspended      Code = "suspended"
	CodeQuota          Code = "quota"
	CodeRateLimited    Code = "rate_limited"
	CodeOverloaded     Code = "overloaded"
	CodeUnavailable    Code = "unavailable"
	CodeOutcomeUnknown Code = "outcome_unknown"
	CodeGroupFull      Code = "group_full"
	CodeDirect         Code = "direct"
	CodeEditWindow     Code = "edit_window"
	CodeGone           Code = "gone"
	CodeNotSupported   Code = "not_supported"
	CodeInternal       Code = "internal"

	// Those of package attachment.
	CodeFileTooLarge    Code = attachment.CodeTooLarge
	CodeInvalidFile     Code = attachment.CodeInvalid
	CodeFileNotAllowed  Code = attachment.CodeNotAllowed
	CodeFileMismatch    Code = attachment.CodeMismatch
	CodeFileInfected    Code = attachment.CodeInfected
	CodeFileUnavailable Code = attachment.CodeUnavailable
)

// Codes lists all of them.
var Codes = []Code{CodeEmptyMessage, CodeTooLong, CodeInvalidJSON, CodeInvalidType, CodeInvalid, CodeUnknownType, CodeMissingField,
	CodeNotParticipant, CodeNotFound, CodeForbidden, CodeBlocked, CodeUnauthorized, CodeTokenExpired, CodeTokenRevoked, CodeSuspended,
	CodeQuota, CodeRateLimited, CodeOverloaded,
	CodeUnavailable, CodeOutcomeUnknown, CodeGroupFull, CodeDirect, CodeEditWindow, CodeGone, CodeNotSupported, CodeInternal, CodeFileTooLarge,
	CodeInvalidFile, CodeFileNotAllowed, CodeFileMismatch, CodeFileInfected, CodeFileUnavailable}

// Close codes of contract §12.3. Reconnectable are 1001, 1011, 1013 and 4008; 4001 with a new token.
const (
	CloseNormal       uint16 = 1000
	CloseGoingAway    uint16 = 1001
	ClosePolicy       uint16 = 1008
	CloseTooBig       uint16 = 1009
	CloseInternal     uint16 = 1011
	CloseOverload     uint16 = 1013
	CloseUnauthorized uint16 = 4001 // no, no valid, or no longer valid credential
	CloseForbidden    uint16 = 4003 // not, or no longer, a participant
	CloseGone         uint16 = 4004 // the conversation has been deleted
	CloseSlowConsumer uint16 = 4008
	CloseRateLimited  uint16 = 4029
)

// CloseCode describes a close code for documents.
type CloseCode struct {
	Code uint16
	Doc  string
}

// CloseCodes lists what the hub closes connections with. Those of RFC 6455 that its transport uses by itself (1002, 1007)
// are not of this protocol.
var CloseCodes = []CloseCode{
	{CloseNormal, "normal"},
	{CloseGoingAway, "the server shuts down: come back after a random delay"},
	{ClosePolicy, "policy"},
	{CloseTooBig, "message too long"},
	{CloseInternal, "a bug in the server: come back"},
	{CloseOverload, "overloaded: come back later"},
	{CloseUnauthorized, "no, no valid, or an expired credential: come back with a new token"},
	{CloseForbidden, "not, or no longer, a participant"},
	{CloseGone, "the conversation is gone"},
	{CloseSlowConsumer, "the client did not read fast enough: come back and resume"},
	{CloseRateLimited, "kept sending in spite of rate_limited, or too many sockets of one user: come back later"},
}

// Error is what an error frame says.
type Error struct {
	Code       Code
	Text       string
	Ref        string        // as in ClientFrame
	RetryAfter time.Duration // 0: not said
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Text }

// Texts of the original system (contract §2.3) that more than one place uses.
const (
	TextEmptyMessage  = "Empty message"
	TextTooLong       = "Message too long (max 10,000 characters)"
	TextNoGroupName   = "Group name required"
	TextNoMembers     = "At least one member required"
	TextUserNotFound  = "User not found"
	TextNoContactData = "Missing fields in add contact"
	TextInvalidFile   = "Invalid file data"
	TextInvalidJSON   = "Invalid JSON"
	TextNotSupported  = "Not supported"
	TextBlockedMember = "Cannot create conversation with blocked user."

	TextSearchUnavailable = "Search is temporarily unavailable, try again later."
)

// Outcome is how one kind of chat error appears on the wire.
type Outcome struct {
	Err   error
	Code  Code
	Text  string
	Close uint16 // when it ends an opening session
	HTTP  int    // the same for an upgrade that is refused before it is accepted
}

// Outcomes maps the errors of package chat, most specific first. An error that is none of them is CodeInternal.
var Outcomes = []Outcome{
	{chat.ErrEmptyMessage, CodeEmptyMessage, TextEmptyMessage, ClosePolicy, http.StatusBadRequest},
	{chat.ErrTooLong, CodeTooLong, TextTooLong, ClosePolicy, http.StatusBadRequest},
	{chat.ErrTokenExpired, CodeTokenExpired, "Token expired", CloseUnauthorized, http.StatusUnauthorized},
	{chat.ErrTokenRevoked, CodeTokenRevoked, "Token revoked", CloseUnauthorized, http.StatusUnauthorized},
	{chat.ErrSuspended, CodeSuspended, "Your account has been suspended.", CloseForbidden, http.StatusForbidden},
	{chat.ErrUnauthorized, CodeUnauthorized, "Authentication required", CloseUnauthorized, http.StatusUnauthorized},
	{chat.ErrNotMember, CodeNotParticipant, "You are not a participant.", CloseForbidden, http.StatusForbidden},
	{chat.ErrBlocked, CodeBlocked, "Cannot message this user.", CloseForbidden, http.StatusForbidden},
	{chat.ErrUnknownUser, CodeNotFound, TextUserNotFound, CloseForbidden, http.StatusForbidden},
	// A conversation that is not there is answered like one that is not the caller's: ids must not be probed.
	{chat.ErrNotFound, CodeNotFound, "Not found.", CloseForbidden, http.StatusForbidden},
	{chat.ErrForbidden, CodeForbidden, "You do not have permission to perform this action.", CloseForbidden, http.StatusForbidden},
	{chat.ErrGone, CodeGone, "Conversation is gone.", CloseGone, http.StatusForbidden},
	{chat.ErrDirect, CodeDirect, "Not possible in a direct conversation.", ClosePolicy, http.StatusBadRequest},
	{chat.ErrGroupFull, CodeGroupFull, "Group is full.", ClosePolicy, http.StatusBadRequest},
	{chat.ErrEditWindow, CodeEditWindow, "Message can no longer be edited.", ClosePolicy, http.StatusBadRequest},
	{chat.ErrQuota, CodeQuota, "A limit of this service has been reached.", ClosePolicy, http.StatusForbidden},
	{chat.ErrRateLimited, CodeRateLimited, "Too many messages, slow down.", CloseRateLimited, http.StatusTooManyRequests},
	{chat.ErrOverloaded, CodeOverloaded, "Overloaded, try again later.", CloseOverload, http.StatusServiceUnavailable},
	{chat.ErrShutdown, CodeUnavailable, "Unavailable, try again later.", CloseOverload, http.StatusServiceUnavailable},
	{chat.ErrMoved, CodeUnavailable, "Unavailable, try again later.", CloseOverload, http.StatusServiceUnavailable},
	{chat.ErrUnavailable, CodeUnavailable, "Unavailable, try again later.", CloseOverload, http.StatusServiceUnavailable},
	{chat.ErrUnknown, CodeOutcomeUnknown, "Outcome unknown, try again with the same client_id.", CloseOverload, http.StatusServiceUnavailable},
	{chat.ErrNotSupported, CodeNotSupported, TextNotSupported, ClosePolicy, http.StatusNotImplemented},
	{chat.ErrInvalid, CodeInvalid, "Invalid request.", ClosePolicy, http.StatusBadRequest},
}

var internalOutcome = Outcome{nil, CodeInternal, "Internal error.", CloseInternal, http.StatusInternalServerError}

// OutcomeOf finds the outcome of err.
func OutcomeOf(err error) Outcome {
	for _, o := range Outcomes {
		if errors.Is(err, o.Err) {
			return o
		}
	}
	return internalOutcome
}

// ErrorOf is the error frame for err. Texts of a chat.FieldError, a chat.RuleError and an
// attachment.Error are meant for clients and kept; of any other
// error nothing but its kind leaves the hub.
func ErrorOf(err error, ref string) *Error {
	var fe *Error
	if errors.As(err, &fe) {
		e := *fe
		e.Ref = ref
		return &e
	}
	o := OutcomeOf(err)
	e := &Error{Code: o.Code, Text: o.Text, Ref: ref}
	var field *chat.FieldError
	if errors.As(err, &field) {
		e.Text = field.Field + ": " + field.Text
	}
	var rule *chat.RuleError
	if errors.As(err, &rule) {
		e.Text = rule.Text
	}
	var suspended *chat.SuspendedError
	if errors.As(err, &suspended) {
		e.Text = suspended.Error()
	}
	var quota *chat.QuotaError
	if errors.As(err, &quota) {
		e.Text, e.RetryAfter = quota.Text, quota.RetryAfter
	}
	var refused *attachment.Error
	if errors.As(err, &refused) {
		e.Code, e.Text = Code(refused.Code), refused.Text
	}
	var limit *chat.RateLimitError
	if errors.As(err, &limit) {
		e.RetryAfter = limit.RetryAfter
	}
	return e
}
