package wire

import (
	"context"
	"errors"
	"time"

	"github.com/zumodra/hub/chat"
	"github.com/zumodra/hub/cluster/wire/internal/pb"
)

// sentinels are the errors that errors.Is tells apart, with their numbers, which are for ever.
var sentinels = [...]struct {
	number uint32
	err    error
}{
	{1, chat.ErrInvalid},
	{2, chat.ErrNotFound},
	{3, chat.ErrNotMember},
	{4, chat.ErrForbidden},
	{5, chat.ErrBlocked},
	{6, chat.ErrUnknownUser},
	{7, chat.ErrDirect},
	{8, chat.ErrGroupFull},
	{9, chat.ErrEmptyMessage},
	{10, chat.ErrTooLong},
	{11, chat.ErrEditWindow},
	{12, chat.ErrGone},
	{13, chat.ErrOverloaded},
	{14, chat.ErrRateLimited},
	{15, chat.ErrUnavailable},
	{16, chat.ErrUnknown},
	{17, chat.ErrShutdown},
	{18, chat.ErrMoved},
	{19, chat.ErrUnknownSet},
	{20, chat.ErrUnauthorized},
	{21, chat.ErrTokenExpired},
	{22, chat.ErrNotSupported},
	{23, chat.ErrFenced},
	{40, chat.ErrTokenRevoked},
	{41, chat.ErrSuspended},
	{42, chat.ErrConflict},
	{43, chat.ErrQuota},
	{24, chat.ErrSuperseded},

	{64, chat.ErrContactExists},
	{65, chat.ErrSelfContact},
	{66, chat.ErrSelfRequest},
	{67, chat.ErrSelfBlock},
	{68, chat.ErrRequestSent},
	{69, chat.ErrAlreadyContacts},
	{70, chat.ErrCannotRequest},
	{71, chat.ErrAlreadyBlocked},
	{72, chat.ErrAcceptRejected},
	{73, chat.ErrAlreadyAccepted},
	{74, chat.ErrRejectAccepted},
	{75, chat.ErrAlreadyRejected},
	{76, chat.ErrCancelCompleted},
	{77, chat.ErrTooManyContacts},
	{78, chat.ErrTooManyRequests},
	{79, chat.ErrTooManyBlocks},
	{80, chat.ErrTooManyScheduled},

	{128, context.Canceled},
	{129, context.DeadlineExceeded},
}

// remoteError is an error of another node.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

func putError(m *pb.Error, err error) {
	m.Text = err.Error()
	for i := range sentinels {
		if errors.Is(err, sentinels[i].err) {
			m.Is = append(m.Is, sentinels[i].number)
		}
	}
	var field *chat.FieldError
	if errors.As(err, &field) {
		m.Field = pb.FieldErrorFromVTPool()
		m.Field.Field, m.Field.Text = field.Field, field.Text
	}
	var limit *chat.RateLimitError
	if errors.As(err, &limit) {
		m.RateLimit = pb.RateLimitErrorFromVTPool()
		m.RateLimit.RetryAfterNs = int64(limit.RetryAfter)
	}
	var rule *chat.RuleError
	if errors.As(err, &rule) && !numbered(rule) {
		m.Rule = pb.RuleErrorFromVTPool()
		m.Rule.Text = rule.Text
	}
}

func numbered(rule *chat.RuleError) bool {
	for i := range sentinels {
		if s, ok := sentinels[i].err.(*chat.RuleError); ok && s == rule { //nolint:errorlint // the sentinel itself
			return true
		}
	}
	return false
}

func errorOf(m *pb.Error) error {
	var causes []error
	if m.Field != nil {
		causes = append(causes, &chat.FieldError{Field: m.Field.Field, Text: m.Field.Text})
	}
	if m.RateLimit != nil {
		causes = append(causes, &chat.RateLimitError{RetryAfter: time.Duration(m.RateLimit.RetryAfterNs)})
	}
	if m.Rule != nil {
		causes = append(causes, &chat.RuleError{Text: m.Rule.Text})
	}
	for i := range sentinels {
		for _, n := range m.Is {
			if n == sentinels[i].number {
				causes = append(causes, sentinels[i].err)
				break
			}
		}
	}
	for _, c := range causes {
		if c.Error() == m.Text && isAll(c, causes) {
			return c // the error was this one, not wrapped
		}
	}
	return &remoteError{text: m.Text, causes: causes}
}

func isAll(err error, targets []error) bool {
	for _, t := range targets {
		if !errors.Is(err, t) {
			return false
		}
	}
	return true
}
