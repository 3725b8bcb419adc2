package frame

import (
	"time"

	"github.com/zumodra/hub/chat"
)

// search reads a search frame.
func (v *values) search(f *ClientFrame) *Error {
	q := new(chat.SearchQuery)
	if err := firstOf(v.str(fieldQuery, &q.Text), v.date(fieldDateFrom, &q.From, false), v.date(fieldDateTo, &q.Before, true)); err != nil {
		return err
	}
	if raw := v[fieldSenderID]; raw != nil && (q.Sender.UnmarshalJSON(raw) != nil || q.Sender == "") {
		return wrongType(fieldSenderID, "a user id")
	}
	if v[fieldHasAttachments] != nil {
		q.HasAttachments = new(bool)
		if err := v.boolean(fieldHasAttachments, q.HasAttachments); err != nil {
			return err
		}
	}
	if err := q.Normalize(); err != nil {
		return fromChat(err)
	}
	f.Search = q
	return nil
}

func (v *values) date(f field, dst *time.Time, end bool) *Error {
	var s string
	if err := v.str(f, &s); err != nil || s == "" {
		return err
	}
	var ok bool
	if *dst, ok = chat.SearchDate(s, end); !ok {
		return wrongType(f, "a date or a date and time in ISO 8601 format")
	}
	return nil
}
