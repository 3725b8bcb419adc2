package hub

import (
	"bytes"
	"errors"
)

var errFrame = errors.New("hub: the frame is not a JSON object")

// scanner walks through the fields of a JSON object, without looking into nested ones.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

func (s *scanner) byte(c byte) bool {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) open() bool { return s.byte('{') }

// field returns the next one: a string without its quotes and with its escapes as they are, anything else as it is
// written. more is false at the end of the object.
func (s *scanner) field() (key, value []byte, more bool, err error) {
	s.byte(',')
	if s.byte('}') {
		return nil, nil, false, nil
	}
	if !s.byte('"') {
		return nil, nil, false, errFrame
	}
	if key = s.text(); key == nil || !s.byte(':') {
		return nil, nil, false, errFrame
	}
	s.space()
	if s.i >= len(s.b) {
		return nil, nil, false, errFrame
	}
	switch c := s.b[s.i]; c {
	case '"':
		s.i++
		if value = s.text(); value == nil {
			return nil, nil, false, errFrame
		}
		return key, value, true, nil
	case '{', '[':
		return key, nil, s.skip(), s.failed()
	}
	from := s.i
	for s.i < len(s.b) && s.b[s.i] != ',' && s.b[s.i] != '}' && s.b[s.i] > ' ' {
		s.i++
	}
	if s.i == from {
		return nil, nil, false, errFrame
	}
	return key, s.b[from:s.i], true, nil
}

func (s *scanner) failed() error {
	if s.i > len(s.b) {
		return errFrame
	}
	return nil
}

// text is what stands before the closing quote; nil: there is none.
func (s *scanner) text() []byte {
	from := s.i
	for {
		n := bytes.IndexByte(s.b[s.i:], '"')
		if n < 0 {
			return nil
		}
		s.i += n + 1
		slashes := 0
		for j := s.i - 2; j >= from && s.b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return s.b[from : s.i-1 : s.i-1]
		}
	}
}

// skip goes behind a nested value.
func (s *scanner) skip() bool {
	depth := 0
	for s.i < len(s.b) {
		c := s.b[s.i]
		s.i++
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return true
			}
		case '"':
			if s.text() == nil {
				s.i = len(s.b) + 1
				return false
			}
		}
	}
	s.i = len(s.b) + 1
	return false
}
