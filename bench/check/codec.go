package check

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An op is one thing that happened. The record of a run is a sequence of them for each shard; the same bytes are
// kept in memory, spilled to a file and exported.
type op struct {
	kind    opKind
	conv    uint64 // the number of the conversation in its shard and worker, in order of their opConversation
	who     string // sender, observer, reader
	user    string // of who; empty: none, or the same
	key, id string
	seq, to uint64
	at, end int64 // nanoseconds after the base of the record
	entries []Entry
}

type opKind byte

const (
	opConversation opKind = iota + 1 // id
	opSent                           // who (of user) sent key at; intended at end
	opAcked                          // key got id and seq at
	opRefused                        // key
	opSeen                           // who saw what stands at seq: once for each seq, and whenever it is not remembered
	opRun                            // who (of user) saw seq to to, without a hole
	opStand                          // who (of user) follows and has come to seq
	opAdded                          // user may see from seq on
	opRemoved                        // user may see up to seq
	opFinal                          // who found entries when all had ended
	opRead                           // who read the last entries between at and end; seq 1: they are all
	opMark                           // user has read up to seq
	opUnread                         // user is told that to are unread
	opEnd                            // none: one behind the last
)

// Fields that an op of a kind has, in this order.
const (
	hasWho = 1 << iota
	hasUser
	hasKey
	hasID
	hasSeq
	hasTo
	hasAt
	hasEnd
	hasEntries
)

var opFields = [opEnd]uint16{
	opConversation: hasID,
	opSent:         hasWho | hasUser | hasKey | hasAt | hasEnd,
	opAcked:        hasKey | hasID | hasSeq | hasAt,
	opRefused:      hasKey,
	opSeen:         hasWho | hasKey | hasID | hasSeq,
	opRun:          hasWho | hasUser | hasSeq | hasTo,
	opStand:        hasWho | hasUser | hasSeq,
	opAdded:        hasUser | hasSeq,
	opRemoved:      hasUser | hasSeq,
	opFinal:        hasWho | hasEntries,
	opRead:         hasWho | hasSeq | hasAt | hasEnd | hasEntries,
	opMark:         hasUser | hasSeq,
	opUnread:       hasUser | hasTo,
}

// ErrFormat says that a record is damaged or is none.
var ErrFormat = errors.New("not a record of a run")

// appendOp appends the encoding of o: kind, conversation, fields. Numbers are varints, strings have their length
// before them, the seqs of entries are differences.
func appendOp(b []byte, o *op) []byte {
	has := opFields[o.kind]
	b = append(b, byte(o.kind))
	b = binary.AppendUvarint(b, o.conv)
	if has&hasWho != 0 {
		b = appendString(b, o.who)
	}
	if has&hasUser != 0 {
		b = appendString(b, o.user)
	}
	if has&hasKey != 0 {
		b = appendString(b, o.key)
	}
	if has&hasID != 0 {
		b = appendString(b, o.id)
	}
	if has&hasSeq != 0 {
		b = binary.AppendUvarint(b, o.seq)
	}
	if has&hasTo != 0 {
		b = binary.AppendUvarint(b, o.to)
	}
	if has&hasAt != 0 {
		b = binary.AppendVarint(b, o.at)
	}
	if has&hasEnd != 0 {
		b = binary.AppendVarint(b, o.end-o.at)
	}
	if has&hasEntries != 0 {
		b = binary.AppendUvarint(b, uint64(len(o.entries)))
		last := uint64(0)
		for _, e := range o.entries {
			b = binary.AppendVarint(b, int64(e.Seq-last))
			last = e.Seq
			b = appendString(b, e.ID)
			b = appendString(b, e.Key)
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads ops. Its strings share the memory of the record.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fmt.Errorf("an op is cut short or has no meaning: %w", ErrFormat)
	}
	d.rest = ""
}

func (d *decoder) uvarint() (x uint64) {
	for i := range min(len(d.rest), binary.MaxVarintLen64) {
		c := d.rest[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			d.rest = d.rest[i+1:]
			return x | uint64(c)<<(7*i)
		}
		x |= uint64(c&0x7f) << (7 * i)
	}
	d.fail()
	return 0
}

func (d *decoder) varint() int64 {
	x := d.uvarint()
	return int64(x>>1) ^ -int64(x&1)
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

// next decodes an op into o and reports whether there was one.
func (d *decoder) next(o *op) bool {
	if d.rest == "" || d.err != nil {
		return false
	}
	*o = op{kind: opKind(d.rest[0])}
	d.rest = d.rest[1:]
	if o.kind == 0 || o.kind >= opEnd {
		d.fail()
		return false
	}
	has := opFields[o.kind]
	o.conv = d.uvarint()
	for _, f := range []struct {
		bit uint16
		s   *string
	}{{hasWho, &o.who}, {hasUser, &o.user}, {hasKey, &o.key}, {hasID, &o.id}} {
		if has&f.bit != 0 {
			*f.s = d.string()
		}
	}
	if has&hasSeq != 0 {
		o.seq = d.uvarint()
	}
	if has&hasTo != 0 {
		o.to = d.uvarint()
	}
	if has&hasAt != 0 {
		o.at = d.varint()
	}
	if has&hasEnd != 0 {
		o.end = o.at + d.varint()
	}
	if has&hasEntries != 0 {
		n := d.uvarint()
		if n > uint64(len(d.rest))/3 { // an entry has three bytes at least
			d.fail()
			return false
		}
		o.entries = make([]Entry, n)
		last := uint64(0)
		for i := range o.entries {
			last += uint64(d.varint())
			o.entries[i] = Entry{Seq: last, ID: d.string(), Key: d.string()}
		}
	}
	return d.err == nil
}
