package jsonwalk

import (
	"bytes"
	"errors"
)

// ErrSyntax says that what was to be read is not what JSON writes there.
var ErrSyntax = errors.New("jsonwalk: not a JSON object")

// Kind of a value.
type Kind uint8

// The kinds.
const (
	Plain  Kind = iota // a number, true, false or null, as it is written
	String             // without its quotes, with its escapes as they are
	Nested             // an object or an array, whole
)

// Fields calls f for each field of an object. The slices are of b.
func Fields(b []byte, f func(key, value []byte, kind Kind)) error {
	w := walker{b: b}
	if !w.byte('{') {
		return ErrSyntax
	}
	for {
		w.byte(',')
		if w.byte('}') {
			return nil
		}
		if !w.byte('"') {
			return ErrSyntax
		}
		key := w.text()
		if key == nil || !w.byte(':') {
			return ErrSyntax
		}
		value, kind, err := w.value()
		if err != nil {
			return err
		}
		f(key, value, kind)
	}
}

// Elements calls f for each element of an array, and ends with the first error of f.
func Elements(b []byte, f func(value []byte, kind Kind) error) error {
	w := walker{b: b}
	if !w.byte('[') {
		return ErrSyntax
	}
	for {
		w.byte(',')
		if w.byte(']') {
			return nil
		}
		value, kind, err := w.value()
		if err == nil {
			err = f(value, kind)
		}
		if err != nil {
			return err
		}
	}
}

// walker is at a place in an object or an array.
type walker struct {
	b []byte
	i int
}

func (w *walker) value() ([]byte, Kind, error) {
	w.space()
	if w.i >= len(w.b) {
		return nil, 0, ErrSyntax
	}
	from := w.i
	switch w.b[from] {
	case '"':
		w.i++
		if v := w.text(); v != nil {
			return v, String, nil
		}
		return nil, 0, ErrSyntax
	case '{', '[':
		if !w.skip() {
			return nil, 0, ErrSyntax
		}
		return w.b[from:w.i:w.i], Nested, nil
	}
	for w.i < len(w.b) && w.b[w.i] != ',' && w.b[w.i] != '}' && w.b[w.i] != ']' && w.b[w.i] > ' ' {
		w.i++
	}
	if w.i == from {
		return nil, 0, ErrSyntax
	}
	return w.b[from:w.i:w.i], Plain, nil
}

func (w *walker) space() {
	for w.i < len(w.b) && (w.b[w.i] == ' ' || w.b[w.i] == '\n' || w.b[w.i] == '\t' || w.b[w.i] == '\r') {
		w.i++
	}
}

func (w *walker) byte(c byte) bool {
	w.space()
	if w.i >= len(w.b) || w.b[w.i] != c {
		return false
	}
	w.i++
	return true
}

// text is what stands before the closing quote; nil: there is none.
func (w *walker) text() []byte {
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
func (w *walker) skip() bool {
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
