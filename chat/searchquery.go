package chat

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Normalize trims the text and checks it, and brings Limit within its bounds. The error is a *FieldError of "query"
// with the original's texts.
func (q *SearchQuery) Normalize() error {
	q.Text = strings.TrimSpace(q.Text)
	switch n := utf8.RuneCountInString(q.Text); {
	case !utf8.ValidString(q.Text):
		return &FieldError{Field: "query", Text: "Not a valid string."}
	case n < MinSearchText:
		return &FieldError{Field: "query", Text: fmt.Sprintf("Search query must be at least %d characters", MinSearchText)}
	case n > MaxSearchText:
		return &FieldError{Field: "query", Text: fmt.Sprintf("Search query must be at most %d characters", MaxSearchText)}
	}
	if q.Limit <= 0 || q.Limit > MaxSearchResults {
		q.Limit = MaxSearchResults
	}
	return nil
}

// Admits reports whether a message passes the filters, leaving the text and the conversation aside.
func (q *SearchQuery) Admits(e *Event) bool {
	return (q.Sender == "" || e.Actor == q.Sender) && (q.From.IsZero() || !e.At.Before(q.From)) &&
		(q.Before.IsZero() || e.At.Before(q.Before))
}

// SearchDate reads a bound of a search: an ISO 8601 date, which means all of that day in UTC, or a date and time, in
// UTC unless it says otherwise. For the end of a range (end) it returns the moment behind it, since that is meant to be
// included.
func SearchDate(s string, end bool) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		if end {
			t = t.AddDate(0, 0, 1)
		}
		return t, plausible(t)
	}
	// A '+' that nobody escaped in a URL arrives as a space.
	if i := strings.LastIndexByte(s, ' '); i > 10 {
		s = s[:i] + "+" + s[i+1:]
	}
	s = strings.Replace(s, " ", "T", 1)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t = t.UTC(); end {
				t = t.Truncate(time.Microsecond).Add(time.Microsecond)
			}
			return t, plausible(t)
		}
	}
	return time.Time{}, false
}

// plausible keeps times within what every layer below can hold as Unix microseconds.
func plausible(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9999 }
