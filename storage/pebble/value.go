package pebble

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/zumodra/hub/storage"
)

// Encoding of a row's value: one byte of format (1: for ever, 2: followed by eight bytes with the time of expiry in
// microseconds), then the columns that are set in ascending order: uvarint index<<1|isBytes, and uvarint length and
// bytes, or the zig-zag varint of the number. Blocks and log records carry pebble's checksums; what decoding rejects
// passed those and was therefore written wrong.
const (
	valueForever = 1
	valueExpires = 2
)

func appendValue(b []byte, cols []storage.Column, v []storage.Value, expires int64) ([]byte, error) {
	if len(v) > len(cols) {
		return b, fmt.Errorf("storage: row has %d values for %d columns", len(v), len(cols))
	}
	if expires == 0 {
		b = append(b, valueForever)
	} else {
		b = append(b, valueExpires)
		b = binary.BigEndian.AppendUint64(b, uint64(expires))
	}
	for i := range v {
		if !v[i].Set {
			continue
		}
		switch cols[i].Kind {
		case storage.Text, storage.Blob:
			b = binary.AppendUvarint(b, uint64(i)<<1|1)
			b = binary.AppendUvarint(b, uint64(len(v[i].B)))
			b = append(b, v[i].B...)
		case storage.Bool:
			b = binary.AppendUvarint(b, uint64(i)<<1)
			b = binary.AppendVarint(b, int64(boolByte(v[i].I)))
		default:
			b = binary.AppendUvarint(b, uint64(i)<<1)
			b = binary.AppendVarint(b, v[i].I)
		}
	}
	return b, nil
}

// expiry returns when the row with this value ends, 0: never.
func expiry(b []byte) (at int64, rest []byte, err error) {
	switch {
	case len(b) > 0 && b[0] == valueForever:
		return 0, b[1:], nil
	case len(b) >= 9 && b[0] == valueExpires:
		if at = int64(binary.BigEndian.Uint64(b[1:])); at > 0 {
			return at, b[9:], nil
		}
	}
	return 0, nil, fmt.Errorf("%w: row has an unknown header", storage.ErrCorrupt)
}

// decodeValue fills v, which has one zero value per column, from what follows the header. Bytes alias b.
func decodeValue(v []storage.Value, cols []storage.Column, b []byte) error {
	next := uint64(0)
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return fmt.Errorf("%w: bad column tag", storage.ErrCorrupt)
		}
		b = b[n:]
		i := tag >> 1
		if i < next || i >= uint64(len(cols)) {
			return fmt.Errorf("%w: unexpected column %d", storage.ErrCorrupt, i)
		}
		next = i + 1
		isBytes := cols[i].Kind == storage.Text || cols[i].Kind == storage.Blob
		if isBytes != (tag&1 == 1) {
			return fmt.Errorf("%w: column %s is of another kind", storage.ErrCorrupt, cols[i].Name)
		}
		v[i].Set = true
		if isBytes {
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return fmt.Errorf("%w: column %s is cut off", storage.ErrCorrupt, cols[i].Name)
			}
			end := n + int(size)
			v[i].B, b = b[n:end:end], b[end:]
			continue
		}
		x, n := binary.Varint(b)
		if n <= 0 {
			return fmt.Errorf("%w: column %s is cut off", storage.ErrCorrupt, cols[i].Name)
		}
		if cols[i].Kind == storage.Bool && x != 0 && x != 1 {
			return fmt.Errorf("%w: column %s is not a bool", storage.ErrCorrupt, cols[i].Name)
		}
		v[i].I, b = x, b[n:]
	}
	return nil
}

// rowOf decodes a value into a row of its own memory: one allocation for the bytes, one for the columns. ok is false
// if the row has expired.
func rowOf(t *storage.Table, value []byte, now func() time.Time) (columns []storage.Value, ok bool, err error) {
	at, rest, err := expiry(value)
	if err != nil {
		return nil, false, err
	}
	if at != 0 && at <= now().UnixMicro() {
		return nil, false, nil
	}
	columns = make([]storage.Value, len(t.Columns))
	return columns, true, decodeValue(columns, t.Columns, append([]byte(nil), rest...))
}
