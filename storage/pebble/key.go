package pebble

import (
	"encoding/binary"
	"fmt"

	"github.com/zumodra/hub/storage"
)

// Encoding of a key column. Text and blob: the bytes with 0x00 written as 00 FF, ended by 00 01. Int and time: eight
// bytes, big endian, sign bit flipped. Bool: one byte. Desc: all of that inverted.
const (
	keyEscape  = 0x00
	keyEscaped = 0xff
	keyEnd     = 0x01
)

// appendTable appends the prefix of all of a table's keys.
func appendTable(b []byte, t *storage.Table) []byte { return binary.BigEndian.AppendUint16(b, t.ID) }

// appendKey appends values of the first len(k) of cols.
func appendKey(b []byte, cols []storage.Column, k storage.Key) ([]byte, error) {
	if len(k) > len(cols) {
		return b, fmt.Errorf("storage: key has %d values for %d columns", len(k), len(cols))
	}
	for i := range k {
		if !k[i].Set {
			return b, fmt.Errorf("storage: key column %s is not set", cols[i].Name)
		}
		start := len(b)
		switch cols[i].Kind {
		case storage.Text, storage.Blob:
			b = appendBytes(b, k[i].B)
		case storage.Int, storage.Time:
			b = binary.BigEndian.AppendUint64(b, uint64(k[i].I)^(1<<63))
		case storage.Bool:
			b = append(b, boolByte(k[i].I))
		default:
			return b, fmt.Errorf("storage: column %s has unknown kind %d", cols[i].Name, cols[i].Kind)
		}
		if cols[i].Desc {
			invert(b[start:])
		}
	}
	return b, nil
}

func appendBytes(b, v []byte) []byte {
	for _, c := range v {
		if b = append(b, c); c == keyEscape {
			b = append(b, keyEscaped)
		}
	}
	return append(b, keyEscape, keyEnd)
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

func boolByte(i int64) byte {
	if i != 0 {
		return 1
	}
	return 0
}

// keyDecoder decodes columns of one key. The bytes of text and blob values alias the key where they can, else buf,
// so they are valid until the next decode.
type keyDecoder struct{ buf []byte }

// decode appends values of cols to k and returns the rest of b.
func (d *keyDecoder) decode(k storage.Key, cols []storage.Column, b []byte) (storage.Key, []byte, error) {
	for i := range cols {
		var mask byte
		if cols[i].Desc {
			mask = 0xff
		}
		v := storage.Value{Set: true}
		switch cols[i].Kind {
		case storage.Text, storage.Blob:
			var err error
			if v.B, b, err = d.decodeBytes(b, mask); err != nil {
				return k, b, fmt.Errorf("%w: key column %s: %w", storage.ErrCorrupt, cols[i].Name, err)
			}
		case storage.Int, storage.Time:
			if len(b) < 8 {
				return k, b, fmt.Errorf("%w: key column %s is cut off", storage.ErrCorrupt, cols[i].Name)
			}
			u := binary.BigEndian.Uint64(b)
			if mask != 0 {
				u = ^u
			}
			v.I, b = int64(u^(1<<63)), b[8:]
		case storage.Bool:
			if len(b) < 1 || b[0]^mask > 1 {
				return k, b, fmt.Errorf("%w: key column %s is not a bool", storage.ErrCorrupt, cols[i].Name)
			}
			v.I, b = int64(b[0]^mask), b[1:]
		}
		k = append(k, v)
	}
	return k, b, nil
}

func (d *keyDecoder) decodeBytes(b []byte, mask byte) (v, rest []byte, err error) {
	start, copied := len(d.buf), mask != 0
	for i := 0; i < len(b); i++ {
		c := b[i] ^ mask
		if c != keyEscape {
			if copied {
				d.buf = append(d.buf, c)
			}
			continue
		}
		if i+1 == len(b) {
			break
		}
		switch b[i+1] ^ mask {
		case keyEnd:
			if copied {
				return d.buf[start:len(d.buf):len(d.buf)], b[i+2:], nil
			}
			return b[:i:i], b[i+2:], nil
		case keyEscaped:
			if !copied {
				d.buf, copied = append(d.buf, b[:i]...), true
			}
			d.buf = append(d.buf, 0)
			i++
		default:
			return nil, b, fmt.Errorf("bad escape %#02x", b[i+1])
		}
	}
	return nil, b, fmt.Errorf("no end")
}

// decodeRowKey splits a whole key of table t. What it returns is valid until the next call and while key is.
func (d *keyDecoder) decodeRowKey(t *storage.Table, partition, clustering storage.Key, key []byte) (storage.Key, storage.Key, error) {
	d.buf = d.buf[:0]
	if len(key) < 2 || binary.BigEndian.Uint16(key) != t.ID {
		return partition, clustering, fmt.Errorf("%w: key is not of table %s", storage.ErrCorrupt, t.Name)
	}
	partition, rest, err := d.decode(partition[:0], t.Partition, key[2:])
	if err == nil {
		clustering, rest, err = d.decode(clustering[:0], t.Clustering, rest)
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %d bytes after the key", storage.ErrCorrupt, len(rest))
	}
	return partition, clustering, err
}

// appendSuccessor appends the smallest key that is greater than all keys with prefix p, p being part of b.
// Prefixes begin with a table id below 0xffff, so there always is one.
func appendSuccessor(b, p []byte) []byte {
	n := len(p)
	for n > 0 && p[n-1] == 0xff {
		n--
	}
	if n == 0 {
		return append(b, 0xff, 0xff, 0xff)
	}
	b = append(b, p[:n]...)
	b[len(b)-1]++
	return b
}
