package attachment

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name of a file, in bytes of UTF-8: what file systems hold.
const MaxName = 255

// SafeName makes of what a client calls a file a name that is one component of a path on every system, that shows what
// it is (no control characters, none that reverse the order of others), and has at most MaxName bytes, its extension
// kept. It returns "" if nothing is left. SafeName(SafeName(s)) is SafeName(s).
func SafeName(s string) string {
	s = strings.ToValidUTF8(s, "")
	if i := strings.LastIndexAny(s, `/\`); i >= 0 {
		s = s[i+1:]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return -1
		case strings.ContainsRune(`<>:"|?*`, r): // mean something to Windows, to shells, or in markup
			return -1
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, s)
	for strings.Contains(s, "..") {
		s = strings.ReplaceAll(s, "..", "")
	}
	// Windows drops dots and spaces at the end: a.exe. would become a.exe.
	s = strings.TrimLeft(strings.TrimRight(s, ". "), " ")
	if len(s) > MaxName {
		s = shorten(s)
	}
	return s
}

// shorten cuts the stem. An extension that does not fit is none.
func shorten(s string) string {
	stem, ext := s, ""
	if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= MaxName/2 {
		stem, ext = s[:i], s[i:]
	}
	stem = stem[:MaxName-len(ext)]
	for !utf8.ValidString(stem) { // at most one character was cut
		stem = stem[:len(stem)-1]
	}
	return strings.TrimRight(stem, ". ") + ext
}

// extensions are the parts of a name after its dots, in lower case, the last one last; the name itself if it has no dot.
func extensions(name string) []string {
	parts := strings.Split(strings.ToLower(name), ".")
	if len(parts) > 1 {
		parts = parts[1:]
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
