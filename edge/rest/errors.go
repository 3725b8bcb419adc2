package rest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/zumodra/hub/chat"
)

// texts are what an action says of errors whose wording depends on it. Empty ones mean the general answer.
type texts struct {
	name   string // of the action, for logs
	direct string // ErrDirect
	users  string // the field that ErrUnknownUser, ErrGroupFull and ErrBlocked blame
	// POST messages/ tells apart, as errors of this field, what everything else answers 404.
	conversation string
	write        bool // running out of time leaves the outcome unknown
}

// How long clients are asked to wait before they try again, where nothing better is known.
const (
	overloadRetry    = time.Second
	unavailableRetry = 2 * time.Second
)

// failure is the one place where an error of the Hub becomes a response.
func (a *API) failure(err error, t texts) response {
	var field *chat.FieldError
	var limited *chat.RateLimitError
	var suspended *chat.SuspendedError
	var quota *chat.QuotaError
	var rule *chat.RuleError
	switch {
	case errors.As(err, &field):
		return invalid(field.Field, field.Text)
	case errors.As(err, &limited):
		return throttled(limited.RetryAfter)
	case errors.Is(err, chat.ErrRateLimited):
		return throttled(overloadRetry)
	case errors.As(err, &suspended):
		return response{status: http.StatusForbidden, body: codeDetail{suspended.Error(), "suspended"}}
	case errors.As(err, &quota):
		return a.quota(quota)
	case errors.As(err, &rule):
		return invalid(nonField, rule.Text)
	case errors.Is(err, chat.ErrConflict):
		return fail(http.StatusConflict, "It was changed meanwhile, or is there already.")
	case errors.Is(err, chat.ErrTokenRevoked):
		return response{status: http.StatusUnauthorized, body: codeDetail{"Token is revoked", "token_not_valid"},
			header: map[string]string{"WWW-Authenticate": challenge}}
	case errors.Is(err, chat.ErrNotMember) && t.conversation != "":
		return invalid(t.conversation, "You are not a participant.")
	case t.conversation != "" && (errors.Is(err, chat.ErrNotFound) || errors.Is(err, chat.ErrGone)):
		return invalid(t.conversation, "Conversation not found.")
	case errors.Is(err, chat.ErrNotMember), errors.Is(err, chat.ErrNotFound), errors.Is(err, chat.ErrGone):
		return notFound
	case errors.Is(err, chat.ErrForbidden):
		return a.refuse(http.StatusForbidden, "FORBIDDEN", "You do not have permission to perform this action.")
	case errors.Is(err, chat.ErrEditWindow):
		return a.refuse(http.StatusForbidden, "FORBIDDEN", "This message can no longer be edited.")
	case errors.Is(err, chat.ErrBlocked) && t.users != "":
		return invalid(t.users, "Cannot create conversation with blocked user.")
	case errors.Is(err, chat.ErrBlocked):
		return a.refuse(http.StatusForbidden, "FORBIDDEN", "You cannot message this user.")
	case errors.Is(err, chat.ErrDirect) && t.direct != "":
		return a.refuse(http.StatusBadRequest, "", t.direct)
	case errors.Is(err, chat.ErrDirect):
		return a.refuse(http.StatusBadRequest, "", "Not possible in a direct conversation.")
	case errors.Is(err, chat.ErrUnknownUser):
		return invalid(orElse(t.users, nonField), "One or more users not found.")
	case errors.Is(err, chat.ErrGroupFull):
		return invalid(orElse(t.users, nonField), "The group has the maximum number of participants.")
	case errors.Is(err, chat.ErrEmptyMessage):
		return invalid(nonField, emptyMessage)
	case errors.Is(err, chat.ErrTooLong):
		return invalid("content", tooLong)
	case errors.Is(err, chat.ErrInvalid):
		return fail(http.StatusBadRequest, "Invalid input.")
	case errors.Is(err, chat.ErrTokenExpired), errors.Is(err, chat.ErrUnauthorized):
		return badToken()
	case errors.Is(err, chat.ErrOverloaded):
		return retryable(http.StatusServiceUnavailable, "The server is overloaded. Try again later.", overloadRetry)
	case errors.Is(err, chat.ErrUnknown), t.write && isTimeout(err):
		advice := " Look before you repeat it."
		if t.name == "send" {
			advice = " Retry with the same client_id."
		}
		return retryable(http.StatusServiceUnavailable,
			"It is not known whether the request was carried out."+advice, unavailableRetry)
	case errors.Is(err, chat.ErrUnavailable), errors.Is(err, chat.ErrShutdown), errors.Is(err, chat.ErrMoved), isTimeout(err):
		return retryable(http.StatusServiceUnavailable, "The service is temporarily unavailable. Try again later.", unavailableRetry)
	}
	// Errors of the layers below name keys and operations, never content.
	id := rand.Text()
	a.cfg.Logger.Error("rest: unexpected error", "error_id", id, "action", t.name, "error", err)
	return internal(id)
}

// quota answers 403 for what time does not lift, and else when it does.
func (a *API) quota(q *chat.QuotaError) response {
	if q.RetryAfter <= 0 {
		return a.refuse(http.StatusForbidden, "QUOTA", q.Text)
	}
	return retryable(http.StatusTooManyRequests, q.Text, q.RetryAfter)
}

const (
	emptyMessage = "Message must have content, file, or voice message."
	tooLong      = "Ensure this field has no more than 10000 characters."
)

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
