package chat

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of contract §2, §3 and §12. Lengths of text are in code points unless said otherwise.
const (
	MaxContent      = 10_000
	MaxName         = 255
	MaxEmojiBytes   = 64
	LastMessageText = 255 // code points kept of the last message in a conversation's head
	PreviewText     = 50
	MaxPins         = 50 // pinned messages of a conversation
)

// Rules are the limits an operator may set. Zero values mean the defaults.
type Rules struct {
	MaxGroupSize int           // members of a group; default 10,000
	EditWindow   time.Duration // how long a message may be edited; default 15 min; negative: never
	// NamedReaders is the number of members up to which each is told who read and received what; default 256. The frames
	// grow with its square. Larger groups are told once a second how many have read.
	NamedReaders int
	TypingExpiry time.Duration // typing without renewal ends after this; default 5 s
	// RequestRetry is how long after a rejection the same sender may ask the same receiver again; default 24 h;
	// negative: at once.
	RequestRetry time.Duration
}

// WithDefaults fills the zero values.
func (r Rules) WithDefaults() Rules {
	if r.MaxGroupSize == 0 {
		r.MaxGroupSize = 10_000
	}
	if r.NamedReaders == 0 {
		r.NamedReaders = 256
	}
	if r.EditWindow == 0 {
		r.EditWindow = 15 * time.Minute
	}
	if r.TypingExpiry == 0 {
		r.TypingExpiry = 5 * time.Second
	}
	if r.RequestRetry == 0 {
		r.RequestRetry = 24 * time.Hour
	}
	return r
}

// NormalizeContent trims white space and checks the content of a message: ErrEmptyMessage, ErrTooLong, or
// ErrInvalid for text that is not UTF-8.
func NormalizeContent(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: content is not UTF-8", ErrInvalid)
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return "", ErrEmptyMessage
	}
	if len(s) > MaxContent && utf8.RuneCountInString(s) > MaxContent {
		return "", fmt.Errorf("content: %w (max %d characters)", ErrTooLong, MaxContent)
	}
	return s, nil
}

// NormalizeName trims and checks the name of a group; empty is allowed here.
func NormalizeName(s string) (string, error) {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return "", &FieldError{"name", "Not a valid string."}
	}
	s = strings.TrimSpace(s)
	if utf8.RuneCountInString(s) > MaxName {
		return "", &FieldError{"name", fmt.Sprintf("Ensure this field has no more than %d characters.", MaxName)}
	}
	return s, nil
}

// NormalizeEmoji checks a reaction: 1 to 64 bytes of UTF-8 without spaces and control characters.
func NormalizeEmoji(s string) (string, error) {
	if s == "" || len(s) > MaxEmojiBytes || !utf8.ValidString(s) {
		return "", &FieldError{"emoji", fmt.Sprintf("An emoji has 1 to %d bytes.", MaxEmojiBytes)}
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f {
			return "", &FieldError{"emoji", "An emoji holds no spaces or control characters."}
		}
	}
	return s, nil
}

// Truncate returns at most n code points of s.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
