package frame

import (
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays of a client frame may be nested.
const MaxDepth = 16

// scanner walks JSON text (RFC 8259) without building values. Every method returns false on a syntax error.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() == c && s.i < len(s.b) {
		s.i++
		return true
	}
	return false
}

// value skips one value and returns its text.
func (s *scanner) value(depth int) (raw []byte, ok bool) {
	start := s.i
	switch c := s.peek(); {
	case c == '"':
		ok = s.str()
	case c == '{' && depth > 0:
		ok = s.members(depth, func([]byte, []byte) {})
	case c == '[' && depth > 0:
		ok = s.elements(depth, func([]byte) bool { return true })
	case c == 't':
		ok = s.word("true")
	case c == 'f':
		ok = s.word("false")
	case c == 'n':
		ok = s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		ok = s.number()
	}
	return s.b[start:s.i], ok
}

// members walks an object; key is still quoted.
func (s *scanner) members(depth int, each func(key, value []byte)) bool {
	s.i++
	s.space()
	if s.take('}') {
		return true
	}
	for {
		s.space()
		start := s.i
		if s.peek() != '"' || !s.str() {
			return false
		}
		key := s.b[start:s.i]
		s.space()
		if !s.take(':') {
			return false
		}
		s.space()
		v, ok := s.value(depth - 1)
		if !ok {
			return false
		}
		each(key, v)
		s.space()
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// elements walks an array until each says stop.
func (s *scanner) elements(depth int, each func(value []byte) bool) bool {
	s.i++
	s.space()
	if s.take(']') {
		return true
	}
	for {
		s.space()
		v, ok := s.value(depth - 1)
		if !ok || !each(v) {
			return false
		}
		s.space()
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) word(w string) bool {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return false
	}
	s.i += len(w)
	return true
}

func (s *scanner) str() bool {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return true
		case c < ' ':
			return false
		case c == '\\':
			s.i++
			switch s.peek() {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if _, ok := hex4(s.b[s.i+1:]); !ok {
					return false
				}
				s.i += 4
			default:
				return false
			}
		}
	}
	return false
}

func (s *scanner) digits() bool {
	start := s.i
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// plain reports whether a quoted string stands for itself: nothing escaped, nothing that is not UTF-8.
func plain(quoted []byte) bool {
	ascii := true
	for _, c := range quoted {
		if c == '\\' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(quoted)
}

// unquote returns the value of a scanned string, as encoding/json would: lone surrogates and bytes that are not
// UTF-8 become U+FFFD.
func unquote(quoted []byte) string {
	in := quoted[1 : len(quoted)-1]
	if plain(quoted) {
		return string(in)
	}
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); {
		c := in[i]
		if c == '\\' {
			i++
			switch in[i] {
			case 'b':
				out = append(out, '\b')
			case 'f':
				out = append(out, '\f')
			case 'n':
				out = append(out, '\n')
			case 'r':
				out = append(out, '\r')
			case 't':
				out = append(out, '\t')
			case 'u':
				r, _ := hex4(in[i+1:])
				i += 4
				if utf16.IsSurrogate(r) {
					r = pair(r, in[i+1:])
					if r != utf8.RuneError {
						i += 6
					}
				}
				out = utf8.AppendRune(out, r)
			default:
				out = append(out, in[i])
			}
			i++
			continue
		}
		if c < utf8.RuneSelf {
			out = append(out, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(in[i:])
		out = utf8.AppendRune(out, r)
		i += n
	}
	return string(out)
}

func pair(high rune, rest []byte) rune {
	if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
		return utf8.RuneError
	}
	low, _ := hex4(rest[2:])
	return utf16.DecodeRune(high, low)
}

// Valid reports whether b is one JSON value that the decoder accepts. It exists for tests and tools; the
// decoder itself needs one pass only.
func Valid(b []byte) bool {
	s := scanner{b: b}
	s.space()
	_, ok := s.value(MaxDepth)
	s.space()
	return ok && s.i == len(b)
}
