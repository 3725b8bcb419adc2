package jsonwalk

import (
	"bytes"
	"errors"
)

// ErrSyntax says that what was to be read is not what JSON writes there.
var ErrSyntax = errors.New("jsonwalk: not a JSON object")

// Kind of a value.
type Kind uint8

// The kinds. End means that there is no further one.
const (
	End    Kind = iota
	Plain       // a number, true, false or null, as it is written
	String      // without its quotes, with its escapes as they are
	Nested      // an object or an array, whole
)

// Walker goes through the fields of one object, or the elements of one array.
type Walker struct {
	b []byte
	i int
}

// Object begins before the first field of an object.
func Object(b []byte) (Walker, error) { return open(b, '{') }

// Array begins before the first element of an array.
func Array(b []byte) (Walker, error) { return open(b, '[') }

func open(b []byte, c byte) (Walker, error) {
	w := Walker{b: b}
	if !w.byte(c) {
		return w, ErrSyntax
	}
	return w, nil
}

// Field returns the next one of an object. The slices are of what was given to Object.
func (w *Walker) Field() (key, value []byte, kind Kind, err error) {
	w.byte(',')
	if w.byte('}') {
		return nil, nil, End, nil
	}
	if !w.byte('"') {
		return nil, nil, End, ErrSyntax
	}
	if key = w.text(); key == nil || !w.byte(':') {
		return nil, nil, End, ErrSyntax
	}
	value, kind, err = w.value()
	return key, value, kind, err
}

// Element returns the next one of an array.
func (w *Walker) Element() (value []byte, kind Kind, err error) {
	w.byte(',')
	if w.byte(']') {
		return nil, End, nil
	}
	return w.value()
}

func (w *Walker) value() ([]byte, Kind, error) {
	w.space()
	if w.i >= len(w.b) {
		return nil, End, ErrSyntax
	}
	from := w.i
	switch w.b[from] {
	case '"':
		w.i++
		if v := w.text(); v != nil {
			return v, String, nil
		}
		return nil, End, ErrSyntax
	case '{', '[':
		if !w.skip() {
			return nil, End, ErrSyntax
		}
		return w.b[from:w.i:w.i], Nested, nil
	}
	for w.i < len(w.b) && w.b[w.i] != ',' && w.b[w.i] != '}' && w.b[w.i] != ']' && w.b[w.i] > ' ' {
		w.i++
	}
	if w.i == from {
		return nil, End, ErrSyntax
	}
	return w.b[from:w.i:w.i], Plain, nil
}

func (w *Walker) space() {
	for w.i < len(w.b) && (w.b[w.i] == ' ' || w.b[w.i] == '\n' || w.b[w.i] == '\t' || w.b[w.i] == '\r') {
		w.i++
	}
}

func (w *Walker) byte(c byte) bool {
	w.space()
	if w.i >= len(w.b) || w.b[w.i] != c {
		return false
	}
	w.i++
	return true
}

// text is what stands before the closing quote; nil: there is none.
func (w *Walker) text() []byte {
	from := w.i
	for {
		n := bytes.IndexByte(w.b[w.i:], '"')
		if n < 0 {
			return nil
		}
		w.i += n + 1
		slashes := 0
		for j := w.i - 2; j >= from && w.b[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return w.b[from : w.i-1 : w.i-1]
		}
	}
}

// skip goes behind a nested value.
func (w *Walker) skip() bool {
	depth := 0
	for w.i < len(w.b) {
		c := w.b[w.i]
		w.i++
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return true
			}
		case '"':
			if w.text() == nil {
				return false
			}
		}
	}
	return false
}

// Uint reads a number; 0 for what is no unsigned whole number.
func Uint(b []byte) (n uint64) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}

// Word is the first word of a text.
func Word(b []byte) []byte {
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return b[:i]
	}
	return b
}
