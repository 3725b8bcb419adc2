package storage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Hash is a SHA-256, or a sum of some; hexadecimal in text and JSON.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("storage: a hash has %d hexadecimal digits, not %d", 2*len(h), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// TableState is what HashState says of one table.
type TableState struct {
	Name string `json:"name"`
	Rows uint64 `json:"rows"`
	Hash Hash   `json:"hash"`
}

// State of a store: two stores of equal Hash hold the same rows, on whatever engine and in whatever files.
type State struct {
	Hash   Hash         `json:"hash"`
	Rows   uint64       `json:"rows"`
	Tables []TableState `json:"tables"` // by ascending id; those without rows are left out
}

// Diff says in which tables s and other differ, empty if they are equal.
func (s State) Diff(other State) []string {
	theirs := make(map[string]TableState, len(other.Tables))
	for _, t := range other.Tables {
		theirs[t.Name] = t
	}
	var diff []string
	say := func(name string, a, b TableState) {
		switch {
		case a.Rows != b.Rows:
			diff = append(diff, fmt.Sprintf("%s: %d rows, not %d", name, a.Rows, b.Rows))
		case a.Hash != b.Hash:
			diff = append(diff, fmt.Sprintf("%s: other content in its %d rows", name, a.Rows))
		}
	}
	for _, t := range s.Tables {
		say(t.Name, t, theirs[t.Name])
		delete(theirs, t.Name)
	}
	for _, t := range other.Tables {
		if _, left := theirs[t.Name]; left {
			say(t.Name, TableState{}, t)
		}
	}
	if len(diff) == 0 && (s.Hash != other.Hash || s.Rows != other.Rows) {
		diff = append(diff, "the totals do not belong to the tables")
	}
	return diff
}

// HashState reads every row of the tables (nil: all of them) and returns what they hold as a hash, whatever their order.
// Rows whose time is over are not there; the moments at which rows end are not part of the hash. Nothing may write
// meanwhile. progress, if not nil, is called with the number of rows so far, every few thousand.
//
// The hash of a table is the sum modulo 2^256 of the SHA-256 of its rows, that of the state the SHA-256 of names, row
// counts and sums. It finds damage and loss; it is no proof against somebody who makes up rows to fit (sums of hashes
// can be hit by generalized birthday attacks: Wagner, CRYPTO 2002). A table or column that is empty does not count, so
// that a version which only adds some finds the same hash.
func HashState(ctx context.Context, e Engine, tables []*Table, progress func(rows uint64)) (State, error) {
	if tables == nil {
		tables = Tables()
	}
	var state State
	total := sha256.New()
	var buf []byte
	for _, t := range tables {
		ts := TableState{Name: t.Name}
		err := e.ScanTable(ctx, t, func(partition Key, r Row) bool {
			buf = appendRow(buf[:0], t, partition, &r)
			ts.Hash.add(sha256.Sum256(buf))
			ts.Rows++
			if state.Rows++; progress != nil && state.Rows%8192 == 0 {
				progress(state.Rows)
			}
			return true
		})
		if err != nil {
			return State{}, fmt.Errorf("hash of %s: %w", t.Name, err)
		}
		if ts.Rows == 0 {
			continue
		}
		state.Tables = append(state.Tables, ts)
		buf = binary.AppendUvarint(buf[:0], uint64(len(t.Name)))
		buf = append(buf, t.Name...)
		buf = binary.BigEndian.AppendUint64(buf, ts.Rows)
		total.Write(append(buf, ts.Hash[:]...))
	}
	total.Sum(state.Hash[:0])
	return state, nil
}

// appendRow appends an encoding of a row from which it could be read back, so that different rows differ.
func appendRow(b []byte, t *Table, partition Key, r *Row) []byte {
	for i := range partition {
		b = appendColumn(b, t.Partition[i].Kind, partition[i])
	}
	for i := range r.Clustering {
		b = appendColumn(b, t.Clustering[i].Kind, r.Clustering[i])
	}
	for i := range r.Columns {
		if r.Columns[i].Set {
			b = binary.AppendUvarint(b, uint64(i)+1)
			b = appendColumn(b, t.Columns[i].Kind, r.Columns[i])
		}
	}
	return b
}

func appendColumn(b []byte, kind ColumnKind, v Value) []byte {
	switch kind {
	case Text, Blob:
		b = binary.AppendUvarint(b, uint64(len(v.B)))
		return append(b, v.B...)
	case Bool:
		return append(b, byte(boolean(v.I != 0).I))
	default:
		return binary.BigEndian.AppendUint64(b, uint64(v.I))
	}
}

// add adds modulo 2^256.
func (h *Hash) add(o [sha256.Size]byte) {
	var carry uint64
	for i := len(h) - 8; i >= 0; i -= 8 {
		var sum uint64
		sum, carry = bits.Add64(binary.BigEndian.Uint64(h[i:]), binary.BigEndian.Uint64(o[i:]), carry)
		binary.BigEndian.PutUint64(h[i:], sum)
	}
}
