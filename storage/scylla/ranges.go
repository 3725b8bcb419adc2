package scylla

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/zumodra/hub/storage"
)

// bound of a slice on one clustering column, in the order of the table.
type bound struct {
	v         storage.Value
	inclusive bool
}

// slice is a run of rows that one SELECT can name: leading clustering columns that equal eq, and bounds on the next.
// CQL compares tuples of columns by value, not by the order of the table, so a range of mixed order takes several.
type slice struct {
	eq     []storage.Value
	lo, hi *bound
}

// slicesOf splits a range into slices in the order of the table.
func slicesOf(cols []storage.Column, from, to storage.Key, toInclusive bool) []slice {
	return split(nil, cols, nil, from, to, toInclusive)
}

// split handles what lies below eq; from and to are the rest of the bounds there, empty ones are open.
func split(out []slice, cols []storage.Column, eq, from, to []storage.Value, toInclusive bool) []slice {
	below := func(v storage.Value) []storage.Value { return append(eq[:len(eq):len(eq)], v) }
	n := len(eq)
	switch {
	case len(from) == 0 && len(to) == 0:
		return append(out, slice{eq: eq})
	case len(to) == 0:
		if len(from) > 1 {
			out = split(out, cols, below(from[0]), from[1:], nil, false)
		}
		return append(out, slice{eq: eq, lo: &bound{from[0], len(from) == 1}})
	case len(from) == 0:
		out = append(out, slice{eq: eq, hi: &bound{to[0], len(to) == 1 && toInclusive}})
		if len(to) > 1 {
			out = split(out, cols, below(to[0]), nil, to[1:], toInclusive)
		}
		return out
	}
	switch c := compare(cols[n], from[0], to[0]); {
	case c > 0:
		return out
	case c == 0:
		if len(to) == 1 && !toInclusive {
			return out
		}
		return split(out, cols, below(from[0]), from[1:], to[1:], toInclusive)
	}
	if len(from) > 1 {
		out = split(out, cols, below(from[0]), from[1:], nil, false)
	}
	out = append(out, slice{eq: eq, lo: &bound{from[0], len(from) == 1}, hi: &bound{to[0], len(to) == 1 && toInclusive}})
	if len(to) > 1 {
		out = split(out, cols, below(to[0]), nil, to[1:], toInclusive)
	}
	return out
}

// compare compares two values in the order of the table.
func compare(c storage.Column, a, b storage.Value) int {
	var r int
	switch c.Kind {
	case storage.Text, storage.Blob:
		r = bytes.Compare(a.B, b.B)
	case storage.Bool:
		r = cmp.Compare(min(1, uint64(a.I)), min(1, uint64(b.I)))
	default:
		r = cmp.Compare(a.I, b.I)
	}
	if c.Desc {
		return -r
	}
	return r
}

// where adds the conditions of a slice.
func (s *slice) where(b *strings.Builder, a *args, cols []storage.Column) {
	for i, v := range s.eq {
		fmt.Fprintf(b, " AND %s = ?", quote(cols[i].Name))
		a.add(cols[i].Kind, v)
	}
	n := len(s.eq)
	for _, side := range []struct {
		b     *bound
		above bool
	}{{s.lo, true}, {s.hi, false}} {
		if side.b == nil {
			continue
		}
		op := "<"
		if side.above != cols[n].Desc {
			op = ">"
		}
		if side.b.inclusive {
			op += "="
		}
		fmt.Fprintf(b, " AND %s %s ?", quote(cols[n].Name), op)
		a.add(cols[n].Kind, side.b.v)
	}
}
