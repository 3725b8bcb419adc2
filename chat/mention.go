package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxMentions is how many users one message may mention.
const MaxMentions = 50

// MentionAllName mentions everybody where it stands in a text behind an @.
const MentionAllName = "all"

// MentionsIn returns what stands behind the @ signs of a text: at most MaxMentions names, in their order. An @ within a
// word, as in an e-mail address, is none. A name is letters, digits, '_', '-' and '.', and does not end in the last two.
func MentionsIn(text string) []string {
	var names []string
	for from := 0; len(names) < MaxMentions; {
		i := strings.IndexByte(text[from:], '@')
		if i < 0 {
			break
		}
		at := from + i
		from = at + 1
		if before, _ := utf8.DecodeLastRuneInString(text[:at]); at > 0 && (inName(before) || before == '@') {
			continue
		}
		end := from
		for end < len(text) {
			r, n := utf8.DecodeRuneInString(text[end:])
			if !inName(r) {
				break
			}
			end += n
		}
		name := strings.TrimRight(text[from:end], "-.")
		if name != "" {
			names = append(names, name)
		}
		from = end
	}
	return names
}

func inName(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-' || r == '.'
}
